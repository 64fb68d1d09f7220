//! Takes what devices and gateways say, in batches, and keeps what the rules make of it.
//!
//! Needs no lease: a report is matched to the one open task of (device, module) and written by
//! compare-and-set, so whoever else moved the task meanwhile is seen and the report decided anew.
//!
//! Invariant: a report is answered only after what it caused is durable.

mod earlier;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otaria_core::ids::{DeviceId, JobNo, ModuleName};
use otaria_core::job::JobKind;
use otaria_core::task::{
    Ignored, Report, ReportOrder, Said, TaskEvent, TaskKey, TaskState, TaskStatus, Want,
};
use otaria_core::time::Timestamp;
use otaria_core::witness::told;
use otaria_ports::bus::Signal;
use otaria_ports::inbox::Fetched;
use otaria_ports::pusher::{Outcome, Settled};
use otaria_ports::store::{BATCH_MAX, ModuleVersion, ReportsTaken, Task, TaskChange, VersionReport};

use crate::book::JobFacts;
use crate::error::CommandError;
use crate::shell::Shell;
use crate::witness;
use earlier::Earlier;

/// How often a batch is decided anew when tasks moved meanwhile. Others win at most a few times: each win
/// moves the task on, and a task has few moves.
const TRIES: usize = 8;

/// What a batch of reports came to, before it is written.
#[derive(Default)]
struct Decided {
    versions: BTreeMap<(DeviceId, ModuleName), VersionReport>,
    changes: BTreeMap<TaskKey, TaskChange>,
    /// Devices that say their version while a task in a dynamic job waits to be pushed.
    waiting: BTreeSet<(JobNo, DeviceId)>,
}

/// Takes reports; returns once they are durable.
///
/// # Errors
/// When the store is not available. None of the reports may be acknowledged then.
pub async fn take(shell: &Arc<Shell>, mut reports: Vec<Report>, now: Timestamp) -> Result<(), CommandError> {
    reports.sort_by_key(|report| (report.device, report.order));
    for batch in reports.chunks(BATCH_MAX) {
        take_batch(shell, batch.to_vec(), now).await?;
    }
    Ok(())
}

async fn take_batch(
    shell: &Arc<Shell>,
    mut reports: Vec<Report>,
    now: Timestamp,
) -> Result<(), CommandError> {
    metrics::counter!("otaria_reports_taken_total").increment(reports.len() as u64);
    for _ in 0..TRIES {
        let devices: BTreeSet<DeviceId> = reports.iter().map(|report| report.device).collect();
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let tasks = shell.deps.store.open_tasks(&devices).await?;
        let facts = facts_of(shell, &tasks).await?;
        let earlier = Earlier::find(shell, &reports, &tasks, &facts).await?;
        let decided = decide(&reports, tasks, &facts, &earlier, now);

        let versions: Vec<VersionReport> = decided.versions.into_values().collect();
        let changes: Vec<TaskChange> = decided.changes.into_values().collect();
        if versions.is_empty() && changes.is_empty() {
            return Ok(());
        }
        let ReportsTaken { written, joined } =
            match shell.deps.store.take_reports(&versions, &changes, now).await {
                Ok(taken) => taken,
                Err(error) => {
                    // It may have been done all the same, and a repeat would find nothing left to tell.
                    tell(shell, changes.into_iter(), now);
                    return Err(error.into());
                }
            };
        let (done, moved): (Vec<_>, Vec<_>) =
            changes.into_iter().zip(written).partition(|(_, written)| *written);
        tell(shell, done.into_iter().map(|(change, _)| change), now);
        // A device that joined in a call whose answer was lost says its version again, and is told of then.
        tell_joined(shell, decided.waiting.into_iter().chain(joined));
        if moved.is_empty() {
            return Ok(());
        }
        // Only what met a moved task is decided anew; the rest is durable.
        let again: BTreeSet<DeviceId> = moved.into_iter().map(|(change, _)| change.key.device).collect();
        reports.retain(|report| again.contains(&report.device));
    }
    let source = "tasks kept moving while their reports were decided".into();
    Err(CommandError::Unavailable(source))
}

async fn facts_of(shell: &Shell, tasks: &[Task]) -> Result<BTreeMap<JobNo, Arc<JobFacts>>, CommandError> {
    let jobs = tasks.iter().map(|task| task.key.job).collect();
    Ok(shell.book.get(&*shell.deps.store, &jobs).await?)
}

/// Runs reports, in the order of each device, over the open tasks of their devices.
fn decide(
    reports: &[Report],
    tasks: Vec<Task>,
    facts: &BTreeMap<JobNo, Arc<JobFacts>>,
    earlier: &Earlier,
    now: Timestamp,
) -> Decided {
    let mut open: BTreeMap<(DeviceId, ModuleName), Task> =
        tasks.into_iter().map(|task| ((task.key.device, task.module.clone()), task)).collect();
    let mut decided = Decided::default();
    for report in reports {
        let of = (report.device, report.module.clone());
        let says_version = if let Said::Version(version) = &report.said {
            let (device, module) = of.clone();
            let version = ModuleVersion { device, module, version: version.clone(), at: report.at };
            decided.versions.insert(of.clone(), VersionReport { version, order: report.order });
            true
        } else {
            false
        };
        let Some(task) = open.get_mut(&of) else {
            count_ignored("no_task");
            continue;
        };
        let Some(facts) = facts.get(&task.key.job) else { continue };
        if says_version && facts.job.new.kind == JobKind::Dynamic && task.state == TaskState::Queued {
            decided.waiting.insert((task.key.job, task.key.device));
        }
        if let Err(why) = apply(report, task, facts, earlier, &mut decided.changes, now) {
            count_ignored(why.as_str());
        }
    }
    decided
}

/// Runs one report over its task and notes the change.
fn apply(
    report: &Report,
    task: &mut Task,
    facts: &JobFacts,
    earlier: &Earlier,
    changes: &mut BTreeMap<TaskKey, TaskChange>,
    now: Timestamp,
) -> Result<(), Ignored> {
    if report.order <= task.report && task.report != ReportOrder::default() {
        return Err(Ignored::OlderReport);
    }
    let arrived = matches!(&report.said, Said::Version(version) if *version == facts.policy.dest_version);
    if !arrived && !task.state.is_meant(report.told, task.key.job, report.at) {
        return Err(Ignored::AnotherOffer);
    }
    let (event, desc) = match &report.said {
        Said::Version(version) => (earlier.informed(version, task), None),
        Said::Progress { percent, desc } => (TaskEvent::Progress { percent: *percent }, Some(desc)),
        Said::Refused { step, desc } => (TaskEvent::Refused { step: *step }, Some(desc)),
    };
    task.state = witness::step(&task.key, &task.state, &event, facts, now)?;
    task.report = report.order;
    let change = changes.entry(task.key.clone()).or_insert_with(|| TaskChange {
        key: task.key.clone(),
        revision: task.revision,
        to: task.state.clone(),
        report: None,
        notices: 0,
        desc: None,
    });
    change.to = task.state.clone();
    change.report = Some(report.order);
    if let Some(desc) = desc.filter(|desc| !desc.is_empty()) {
        change.desc = Some(desc.clone());
    }
    Ok(())
}

fn count_ignored(why: &'static str) {
    metrics::counter!("otaria_reports_ignored_total", "reason" => why).increment(1);
}

/// Tells the dispatcher of due retries, and the closer of ended tasks.
fn tell(shell: &Shell, changes: impl Iterator<Item = TaskChange>, now: Timestamp) {
    let mut retries: BTreeMap<JobNo, Vec<DeviceId>> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for change in changes {
        if !change.to.status().is_open() {
            ended.insert(change.key.job);
        } else if change.to.want(now) == Want::Retry {
            retries.entry(change.key.job).or_default().push(change.key.device);
        }
    }
    shell.close_hints.add(ended);
    for (job, devices) in retries {
        shell.deps.bus.tell(Signal::TasksReady { job, devices });
    }
}

/// Tells the dispatcher of devices that have tasks in dynamic jobs to be pushed.
fn tell_joined(shell: &Shell, joined: impl Iterator<Item = (JobNo, DeviceId)>) {
    let mut ready: BTreeMap<JobNo, BTreeSet<DeviceId>> = BTreeMap::new();
    for (job, device) in joined {
        ready.entry(job).or_default().insert(device);
    }
    for (job, devices) in ready {
        let devices = devices.into_iter().collect();
        shell.deps.bus.tell(Signal::TasksReady { job, devices });
    }
}

/// Takes outcomes of notices: a written one stops the delivery deadline and starts the device's clock. The
/// others need nothing: their deadline brings them back.
///
/// # Errors
/// When the store is not available. The gateway may repeat; a lost word costs one more delivery.
pub async fn settle(shell: &Arc<Shell>, outcomes: &[Settled], now: Timestamp) -> Result<(), CommandError> {
    // A task may be in here more than once: offered, failed and offered again within one batch.
    let mut written: BTreeMap<TaskKey, Vec<&Settled>> = BTreeMap::new();
    for settled in outcomes.iter().filter(|settled| settled.outcome == Outcome::Written) {
        written.entry(settled.key.clone()).or_default().push(settled);
    }
    let mut tries = 0;
    while !written.is_empty() {
        if tries == TRIES {
            let source = "tasks kept moving while their notices were settled".into();
            return Err(CommandError::Unavailable(source));
        }
        let keys: Vec<TaskKey> = written.keys().take(BATCH_MAX).cloned().collect();
        let tasks = shell.deps.store.tasks(&keys).await?;
        let facts = facts_of(shell, &tasks).await?;
        let mut changes = Vec::with_capacity(tasks.len());
        for task in tasks {
            if let (Some(settled), Some(facts)) = (written.get(&task.key), facts.get(&task.key.job)) {
                changes.push(after_notices(task, settled, facts));
            }
        }
        let kept = shell.deps.store.settle(&changes, now).await?;
        let refused = changes.into_iter().zip(kept).filter(|(_, kept)| !kept);
        let moved: BTreeSet<TaskKey> = refused.map(|(change, _)| change.key).collect();
        tries = if moved.is_empty() { 0 } else { tries + 1 };
        for key in keys {
            if !moved.contains(&key) {
                written.remove(&key);
            }
        }
    }
    Ok(())
}

/// What notices make of their task, which was just read.
fn after_notices(task: Task, written: &[&Settled], facts: &JobFacts) -> TaskChange {
    let mut to = task.state;
    for settled in written {
        if let Some(broken) = told(&to, task.modified_at, settled.at) {
            witness::of_task(&task.key, &broken);
        }
        // A report that was faster has told as much; the notice is counted all the same.
        let event = TaskEvent::Written { attempt: settled.attempt };
        if let Ok(next) = witness::step(&task.key, &to, &event, facts, settled.at) {
            to = next;
        }
    }
    let notices = u32::try_from(written.len()).unwrap_or(u32::MAX);
    TaskChange { key: task.key, revision: task.revision, to, report: None, notices, desc: None }
}

/// Answers a device that asks for its update; offers what waits.
///
/// # Errors
/// When the store is not available.
pub async fn fetch(
    shell: &Arc<Shell>,
    device: DeviceId,
    module: &ModuleName,
    now: Timestamp,
) -> Result<Option<Fetched>, CommandError> {
    for _ in 0..TRIES {
        let tasks = shell.deps.store.open_tasks(&[device]).await?;
        let Some(task) = tasks.into_iter().find(|task| task.module == *module) else { return Ok(None) };
        let Some(facts) = shell.book.one(&*shell.deps.store, task.key.job).await? else { return Ok(None) };
        if !may_offer(&facts, task.state.status(), now) {
            return Ok(None);
        }
        let state = match witness::step(&task.key, &task.state, &TaskEvent::Fetched, &facts, now) {
            Ok(to) => {
                let change = TaskChange {
                    key: task.key,
                    revision: task.revision,
                    to: to.clone(),
                    report: None,
                    notices: 0,
                    desc: None,
                };
                if shell.deps.store.settle(&[change], now).await? != [true] {
                    continue;
                }
                to
            }
            // The running offer once more.
            Err(_) => task.state,
        };
        let answer = state.attempt().map(|attempt| Fetched {
            wire_id: attempt.offered_at.millis(),
            job: facts.job.no,
            offer: shell.offers.of(&facts, now),
        });
        return Ok(answer);
    }
    Ok(None)
}

/// Whether a device that asks may be told: the job runs, and this task is not being cancelled.
fn may_offer(facts: &JobFacts, status: TaskStatus, now: Timestamp) -> bool {
    facts.job.status.delivers(facts.job.new.kind)
        && facts.job.new.schedule.is_open(now)
        && !facts.is_canceling(status)
}
