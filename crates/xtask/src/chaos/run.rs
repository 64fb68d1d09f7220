//! One run from beginning to end: two installations, their operators, the timeline, the finale, the verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::disk::Janitor;
use super::fault::World;
use super::operate::{Desk, Story};
use super::plan::{Plan, Scale};
use super::timeline::{Say, Timeline};
use super::verdict::{self, Ended, Findings};
use super::world::{Installation, Making};
use super::{finale, history, metrics};
use crate::clock::now;
use crate::cluster::hub_name;
use crate::services::faketime;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) jobs: usize,
    pub(super) tasks: usize,
    pub(super) notices: usize,
    pub(super) lost: usize,
    pub(super) violations: Vec<String>,
    pub(super) checked: BTreeMap<String, u64>,
    /// What the histories could not be judged for, since killed processes took lines with them.
    pub(super) not_judged: BTreeMap<String, u64>,
    /// How many tasks ended how.
    pub(super) ends: BTreeMap<String, u64>,
}

impl Outcome {
    pub(super) fn is_ok(&self) -> bool {
        self.violations.is_empty() && self.lost == 0
    }

    fn add(&mut self, world: World, findings: Findings) {
        self.jobs += findings.jobs;
        self.tasks += findings.tasks;
        self.notices += findings.notices;
        self.lost += findings.lost;
        let name = world.name();
        self.violations.extend(findings.violations.into_iter().map(|why| format!("{name} {why}")));
        for (rule, count) in findings.checked {
            *self.checked.entry(rule.to_owned()).or_default() += count;
        }
    }
}

/// Plays a plan.
pub(super) fn play(plan: &Plan, scale: Scale, making: Making, say: Say<'_>) -> Result<Outcome> {
    let faketime = faketime()?;
    // Before all that it takes away, so that it goes last.
    let _janitor = Janitor::hire(&making.folder, &hub_name())?;
    say("── starting a cluster, a single server, and their devices");
    let mut installations = Vec::new();
    for world in [World::Cluster, World::Single] {
        installations.push(Installation::prepare(world, plan, scale, making.clone())?);
    }

    say("── faults and jobs begin");
    let begun = now();
    let mut outcome = Outcome::default();
    let desks: BTreeMap<World, Arc<Desk>> =
        installations.iter().map(|one| (one.world, Arc::new(desk(one, begun)))).collect();
    let operators = set_out(plan, &installations, &desks)?;
    let mut timeline = Timeline {
        plan,
        faketime: &faketime,
        begun,
        say,
        told: Duration::ZERO,
        fell: BTreeMap::new(),
        troubles: Vec::new(),
    };
    timeline.play(&mut installations, scale.length());
    say("── no more faults; what is left has to come to its end");

    let mut stories: BTreeMap<World, Vec<Story>> = BTreeMap::new();
    for (world, operator) in operators {
        while !operator.is_finished() {
            timeline.watch_until(begun.elapsed(), &mut installations, &[]);
        }
        let story = operator.join().map_err(|_| anyhow!("an operator panicked"))?;
        stories.entry(world).or_default().push(story);
    }
    let mut ended = BTreeMap::new();
    for (world, stories) in stories {
        let desk = desks.get(&world).context("no desk")?;
        let bound = finale::bound(&stories);
        let mut last = usize::MAX;
        let look = |open: usize| {
            timeline.watch_until(begun.elapsed(), &mut installations, &[]);
            if open < last {
                last = open;
                let seconds = begun.elapsed().as_secs();
                say(&format!("{seconds:>5}   s  {:<8} {open} jobs are open", world.name()));
            }
        };
        ended.insert(world, finale::end(desk, stories, bound, look)?);
    }
    outcome.faults = std::mem::take(&mut timeline.fell);
    outcome.violations = std::mem::take(&mut timeline.troubles);

    say("── everything is over; the verdict");
    for installation in &mut installations {
        let world = installation.world;
        let (counters, found) = metrics::violations(installation)?;
        *outcome.checked.entry("metrics".to_owned()).or_default() += counters;
        outcome.violations.extend(found);
        let record = installation.fleets.end()?;
        if let Err(error) = installation.cluster.stop() {
            outcome.violations.push(format!("{} does not stop: {error:#}", world.name()));
        }
        let jobs = ended.remove(&world).unwrap_or_default();
        keep(&installation.folder, &jobs, &mut outcome.ends)?;
        outcome.add(world, verdict::judge(&jobs, &installation.tempers, &record));
        let judgment = history::judge(installation)?;
        outcome.violations.extend(judgment.violations);
        for (invariant, count) in judgment.checked {
            *outcome.checked.entry(invariant).or_default() += count;
        }
        for (invariant, count) in judgment.not_judged {
            *outcome.not_judged.entry(invariant).or_default() += count;
        }
    }
    outcome.violations.extend(missing(plan, &outcome));
    Ok(outcome)
}

fn desk(installation: &Installation, begun: std::time::Instant) -> Desk {
    Desk {
        operator: installation.cluster.operator.clone(),
        grpc: installation.cluster.grpc(),
        product_key: installation.product_key.clone(),
        begun,
    }
}

type Operators = Vec<(World, JoinHandle<Story>)>;

/// An operator for each job, who waits for its time.
fn set_out(
    plan: &Plan,
    installations: &[Installation],
    desks: &BTreeMap<World, Arc<Desk>>,
) -> Result<Operators> {
    let mut operators = Vec::new();
    for errand in &plan.jobs {
        let world = errand.world;
        let installation = installations.iter().find(|one| one.world == world).context("no such world")?;
        let ware = installation.wares.get(&errand.number).context("a job without a package")?.clone();
        let (desk, errand) = (Arc::clone(desks.get(&world).context("no desk")?), errand.clone());
        let work = std::thread::Builder::new().name(format!("job {}", errand.version()));
        operators.push((world, work.spawn(move || desk.carry_out(&errand, &ware))?));
    }
    Ok(operators)
}

/// Writes down what the API answered in the end, and counts how tasks ended.
fn keep(folder: &Path, jobs: &[Ended], ends: &mut BTreeMap<String, u64>) -> Result<()> {
    let mut lines = String::new();
    for job in jobs {
        lines += &format!("{}\n", job.shown);
        for task in &job.tasks {
            lines += &format!("{task}\n");
            let status = task["task_status"].as_str().unwrap_or_default();
            let status = status.trim_start_matches("TASK_STATUS_").to_ascii_lowercase();
            // Devices add their own words in brackets.
            let reason = task["task_desc"].as_str().and_then(|reason| reason.split(" (").next());
            let reason = reason.filter(|reason| !reason.is_empty());
            let end = reason.map_or_else(|| status.clone(), |reason| format!("{status}: {reason}"));
            *ends.entry(end).or_default() += 1;
        }
    }
    Ok(std::fs::write(folder.join("jobs.ndjson"), lines)?)
}

/// A run proves something only if what was planned happened.
fn missing(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut missing = Vec::new();
    let fell: u64 = outcome.faults.values().sum();
    if fell != u64::try_from(plan.faults.len()).unwrap_or(u64::MAX) {
        missing.push(format!("{fell} of {} faults fell", plan.faults.len()));
    }
    if outcome.jobs != plan.jobs.len() {
        missing.push(format!("{} of {} jobs were made", outcome.jobs, plan.jobs.len()));
    }
    if outcome.notices == 0 {
        missing.push("no notice reached any device".to_owned());
    }
    missing
}
