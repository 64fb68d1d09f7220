//! Looks at jobs as they are kept: whether counts, expansion, status and tasks agree.
//!
//! Reads only, in statements that are bounded by a page each (but for the count of a job's tasks, one pass), and
//! says what it found; whoever repaired something would destroy the evidence. Where a look takes more than one statement it counts only if the job stood still
//! meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otaria_core::ids::{DeviceId, FirmwareNo, JobNo};
use otaria_core::job::{JobKind, JobStatus, Target};
use otaria_core::task::TaskKey;
use otaria_core::time::Timestamp;
use otaria_core::witness::{Broken, Invariant, stands};
use otaria_ports::store::{BATCH_MAX, Job, SourceKind, Store, StoreError, Task, TaskCounts, TaskFilter};

use crate::book::{JobBook, JobFacts};
use crate::error::CommandError;
use crate::ownership::Ownership;
use crate::shell::Shell;
use crate::witness;

/// Jobs that ended so long ago are looked at once more: two rounds of the audit.
const ENDED_WITHIN: Duration = Duration::from_secs(2 * 3_600);
/// Ended jobs in one audit, the latest first.
const ENDED_MAX: usize = 1_000;
/// Tasks of a job in one audit; of a larger job another piece each hour.
const TASKS_MAX: u64 = 100_000;
/// Open tasks so long after a job's finish were forgotten.
const UNFINISHED_FOR: Duration = Duration::from_secs(3_600);
const HOUR_MILLIS: i64 = 3_600_000;

/// Something that was found, of one task or of the job as a whole.
type Finding = (Option<TaskKey>, Broken);

/// Looks at the jobs that are unfinished or ended lately. Jobs are kept for `kept` after their end.
pub(crate) async fn run(
    shell: &Shell,
    kept: Duration,
    owned: &Ownership,
    now: Timestamp,
) -> Result<(), CommandError> {
    let (store, watch) = (&*shell.deps.store, Watch::of(owned, now));
    let unfinished = store.unfinished_jobs().await?;
    for (job, broken) in strategies(&unfinished) {
        witness::of_job(job, &broken);
    }
    // Nothing that is about to be removed: its tasks go before their counts.
    let since = now - ENDED_WITHIN.min(kept / 2);
    let ended = store.ended_jobs(since, ENDED_MAX).await?;
    let jobs: BTreeMap<JobNo, Job> = unfinished.into_iter().chain(ended).map(|job| (job.no, job)).collect();
    for job in jobs.into_values() {
        for (key, broken) in look_at(store, &shell.book, &job, watch).await? {
            match key {
                Some(key) => witness::of_task(&key, &broken),
                None => witness::of_job(job.no, &broken),
            }
        }
    }
    Ok(())
}

/// When a look is taken, and what this process has been there for itself, and since when: of shards and jobs that
/// others look after it knows neither the clock nor the troubles.
#[derive(Clone, Copy)]
struct Watch<'o> {
    owned: &'o Ownership,
    since: Timestamp,
    now: Timestamp,
}

impl<'o> Watch<'o> {
    /// A membership that has run out says nothing: the process stood still.
    fn of(owned: &'o Ownership, now: Timestamp) -> Self {
        Self { owned, since: if now < owned.until { owned.since } else { now }, now }
    }

    fn has(self, device: DeviceId) -> bool {
        self.owned.shards.epochs.contains_key(&device.shard())
    }
}

/// I16: of the jobs that are unfinished at one moment, at most one of a firmware takes devices.
fn strategies(unfinished: &[Job]) -> Vec<(JobNo, Broken)> {
    let mut taking: BTreeMap<FirmwareNo, JobNo> = BTreeMap::new();
    let mut found = Vec::new();
    for job in unfinished {
        let takes = job.new.kind == JobKind::Dynamic
            && matches!(job.status, JobStatus::InProgress | JobStatus::Paused);
        if takes && let Some(other) = taking.insert(job.firmware, job.no) {
            let seen = format!("job {other} of the same firmware takes devices too");
            found.push((job.no, Broken::new(Invariant::Dynamic, seen)));
        }
    }
    found
}

async fn look_at(
    store: &dyn Store,
    book: &JobBook,
    job: &Job,
    watch: Watch<'_>,
) -> Result<Vec<Finding>, StoreError> {
    let mut found: Vec<Finding> = expansion(job).into_iter().map(|broken| (None, broken)).collect();
    for (status, kept, counted) in store.audit_counts(job.no).await? {
        let seen = format!("{kept} tasks are counted as {}, and there are {counted}", status.as_str());
        found.push((None, Broken::new(Invariant::Counters, seen)));
    }
    let counts = store.task_counts(job.no).await?;
    let mut doubts = against_counts(job, &counts);
    doubts.extend(beyond_finish(job, &counts, watch));
    // What moved meanwhile is looked at the next time.
    if !doubts.is_empty() && store.jobs_by_no(&[job.no]).await?.first() == Some(job) {
        found.extend(doubts.into_iter().map(|broken| (None, broken)));
    }
    if let Some(facts) = book.one(store, job.no).await? {
        found.extend(tasks(store, book, &facts, counts.total(), watch).await?);
    }
    Ok(found)
}

/// I4 and I11, as far as the job's row tells.
fn expansion(job: &Job) -> Vec<Broken> {
    let kept = &job.expansion;
    let mut found = Vec::new();
    if kept.lines != kept.tasks + kept.skipped + kept.rejected.total() {
        let seen = format!(
            "{} lines, {} tasks, {} skipped, {} rejected",
            kept.lines,
            kept.tasks,
            kept.skipped,
            kept.rejected.total()
        );
        found.push(Broken::new(Invariant::Lines, seen));
    }
    if let (SourceKind::Part { matching, count, .. }, Target::Gray { percent, .. }) =
        (&job.source, &job.new.target)
    {
        // In thousandths of a percent, multiplied out.
        let (whole, part) = (u128::from(*matching) * u128::from(percent.thousandths()), u128::from(*count));
        let is_floor = part * 100_000 <= whole && whole < (part + 1) * 100_000;
        if !is_floor || *count == 0 || kept.lines > *count {
            let seen = format!("{percent} % of {matching} is said to be {count}; {} are in", kept.lines);
            found.push(Broken::new(Invariant::Part, seen));
        }
    }
    found
}

/// I4 and I22: what the job says of itself, against its tasks.
fn against_counts(job: &Job, counts: &TaskCounts) -> Vec<Broken> {
    let mut found = Vec::new();
    let is_fixed = job.expansion.complete && job.new.kind != JobKind::Dynamic;
    if is_fixed && counts.total() != job.expansion.tasks {
        let seen = format!("{} tasks were made, and there are {}", job.expansion.tasks, counts.total());
        found.push(Broken::new(Invariant::Lines, seen));
    }
    if job.status == JobStatus::Completed && (counts.open() > 0 || !job.expansion.complete) {
        let seen =
            format!("COMPLETED with {} open tasks; expanded: {}", counts.open(), job.expansion.complete);
        found.push(Broken::new(Invariant::Completed, seen));
    }
    found
}

/// I18: at its finish everything open of a job is cancelled, a million in seconds.
fn beyond_finish(job: &Job, counts: &TaskCounts, watch: Watch<'_>) -> Option<Broken> {
    let over = watch.now.since(job.new.schedule.finish?.max(watch.since));
    (over >= UNFINISHED_FOR && counts.open() > 0 && watch.owned.carries(job.no)).then(|| {
        let seen = format!("{} open tasks {} s after the finish", counts.open(), over.as_secs());
        Broken::new(Invariant::Clocks, seen)
    })
}

/// Looks at a piece of a job's tasks: another one each hour, until all had their turn.
async fn tasks(
    store: &dyn Store,
    book: &JobBook,
    facts: &JobFacts,
    total: u64,
    watch: Watch<'_>,
) -> Result<Vec<Finding>, StoreError> {
    let pieces = total.div_ceil(TASKS_MAX).max(1);
    let hour = u64::try_from(watch.now.millis().div_euclid(HOUR_MILLIS)).unwrap_or(0);
    let start = u32::try_from(hour % pieces * TASKS_MAX).unwrap_or(0);
    let mut found = Vec::new();
    let mut after = Some(start);
    while let Some(from) = after.filter(|from| u64::from(from - start) < TASKS_MAX) {
        let page = store.list_tasks(facts.job.no, &TaskFilter::default(), from, BATCH_MAX).await?;
        for task in page.tasks.iter().map(|view| &view.task) {
            let broken = one(task, facts).or_else(|| {
                let stands = stands(&task.state, watch.since, watch.now);
                stands.filter(|_| watch.has(task.key.device))
            });
            found.extend(broken.map(|broken| (Some(task.key.clone()), broken)));
        }
        let open = page.tasks.iter().filter(|view| view.task.state.status().is_open());
        let devices: Vec<DeviceId> = open.map(|view| view.task.key.device).collect();
        if !devices.is_empty() {
            found.extend(beside(store, book, &devices).await?);
        }
        after = page.next;
    }
    Ok(found)
}

/// I7 and I15, as far as a task's row tells.
fn one(task: &Task, facts: &JobFacts) -> Option<Broken> {
    let policy = &facts.job.new.policy;
    let granted = policy.retry.map_or(1, |retry| 1 + u16::from(retry.count));
    if u16::from(task.state.attempts()) > granted {
        let seen = format!("{} attempts, and {granted} are granted", task.state.attempts());
        return Some(Broken::new(Invariant::Attempts, seen));
    }
    // Answers to a device that asks by itself are not counted as notices.
    (!policy.need_push && task.notices > 0).then(|| {
        Broken::new(
            Invariant::Consent,
            format!("NeedPush is false, and {} notices were written", task.notices),
        )
    })
}

/// I2: open tasks of the same device, read in one statement.
async fn beside(store: &dyn Store, book: &JobBook, devices: &[DeviceId]) -> Result<Vec<Finding>, StoreError> {
    let open = store.open_tasks(devices).await?;
    let mut of: BTreeMap<DeviceId, Vec<&Task>> = BTreeMap::new();
    for task in &open {
        of.entry(task.key.device).or_default().push(task);
    }
    of.retain(|_, tasks| tasks.len() > 1);
    let jobs: BTreeSet<JobNo> = of.values().flatten().map(|task| task.key.job).collect();
    let facts = book.get(store, &jobs).await?;
    let multi_module = |task: &Task| {
        // A job that is gone since had no open task: this one is only just being read.
        facts.get(&task.key.job).is_none_or(|facts| facts.job.new.policy.multi_module)
    };
    Ok(of.values().flat_map(|tasks| crowded(tasks, multi_module)).collect())
}

/// The tasks of one device that may not be open together.
fn crowded(tasks: &[&Task], multi_module: impl Fn(&Task) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (n, task) in tasks.iter().enumerate() {
        for other in &tasks[..n] {
            let may_be = task.module != other.module && multi_module(task) && multi_module(other);
            if !may_be {
                let seen = format!("a task of job {} is open at the same device", other.key.job);
                found.push((Some(task.key.clone()), Broken::new(Invariant::OneOpenTask, seen)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
