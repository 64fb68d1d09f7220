//! Writes what became of tasks, by compare-and-set on their revisions.
//!
//! One transaction locks the tasks in the order of their keys and reads where they stand, decides which
//! changes still hold, and writes those: nobody else moves them in between, so the decision needs no place in
//! the statement. What the decision rests on besides is held as well: claims hold jobs and leases (I5, I13), and
//! what may open a task holds the places of its shard (I2), both before any task.
//!
//! 2026-11-22, 1,000 a call, one caller, 2 cores: 77 thousand claims a second in the order of the list, 71 thousand
//! of random tasks, 67 thousand reports. With the deadline in an index of `task` itself each would have made
//! a new entry in every index: twice the cost for random tasks.
//!
//! Invariant: a change is written whole, with its counts and its event, or not at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{JobKind, JobStatus};
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::store::{OwnedShards, StoreError, TaskChange};
use sqlx::query;

use super::PgTx;
use super::counters::Counters;
use super::feed;
use super::sql::tasks as sql;
use crate::errors::failed;
use crate::feed::{Moved, percent};
use crate::rows::{Of, StateColumns};

const DOING: &str = "writing tasks";

/// Where a task stands.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    revision: i64,
    status: TaskStatus,
    attempts: i64,
    percent: Option<i64>,
}

/// Writes changes; says for each whether it was written. `owner`: they are claims of that member.
pub(crate) async fn apply(
    tx: &mut PgTx<'_>,
    owner: Option<&OwnedShards>,
    changes: &[TaskChange],
    now: Timestamp,
) -> Result<Vec<bool>, StoreError> {
    let mut counters = Counters::default();
    let written = apply_uncounted(tx, owner, changes, &mut counters, now).await?;
    counters.write(tx).await?;
    Ok(written)
}

/// The same, where the caller writes the counts.
pub(crate) async fn apply_uncounted(
    tx: &mut PgTx<'_>,
    owner: Option<&OwnedShards>,
    changes: &[TaskChange],
    counters: &mut Counters,
    now: Timestamp,
) -> Result<Vec<bool>, StoreError> {
    let mut written = vec![false; changes.len()];
    if changes.is_empty() {
        return Ok(written);
    }
    let gate = match owner {
        Some(owner) => Some(Gate::read(tx, owner, changes).await?),
        None => None,
    };
    hold_places(tx, changes).await?;
    let chosen = choose(tx, gate.as_ref(), changes).await?;
    for (i, _) in &chosen {
        written[*i] = true;
    }
    write(tx, changes, &chosen, counters, now).await?;
    Ok(written)
}

/// Holds the places of the shards in which a change may open a task: those that bring one back to its
/// beginning. Before any task is locked; see [`places`].
pub(crate) async fn hold_places(tx: &mut PgTx<'_>, changes: &[TaskChange]) -> Result<(), StoreError> {
    let begins = |status| matches!(status, TaskStatus::Confirm | TaskStatus::Queued);
    let opening = changes.iter().filter(|change| begins(change.to.status()));
    places(tx, opening.map(|change| change.key.device)).await
}

/// Locks the places of devices: until the end of the transaction nobody else opens a task of a device of the
/// same shards. Shards and not devices, since a slice of an expansion has thousands of devices, and locks of
/// rows would write every one of them; in their order, so that two who open cannot block each other.
pub(crate) async fn places(
    tx: &mut PgTx<'_>,
    devices: impl Iterator<Item = DeviceId>,
) -> Result<(), StoreError> {
    let shards: BTreeSet<u8> = devices.map(|device| device.shard().0).collect();
    if shards.is_empty() {
        return Ok(());
    }
    let keys: Vec<i64> = shards.into_iter().map(|shard| PLACES | i64::from(shard)).collect();
    let locked = query(sql::LOCK_SHARDS).bind(keys).execute(tx.conn()).await;
    locked.map(drop).map_err(failed("waiting for a lock"))
}

/// Above the shard in the key of its places; [`super::Lock`] has the numbers below.
const PLACES: i64 = 4 << 48;

/// The changes that still hold, by their places, sorted by key. Their tasks are locked.
pub(crate) async fn choose(
    tx: &mut PgTx<'_>,
    gate: Option<&Gate>,
    changes: &[TaskChange],
) -> Result<Vec<(usize, Stand)>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|i| key(&changes[*i]));
    // Each task once: a second change of it comes too late, the first one grows the revision.
    let asked: Vec<&TaskChange> = order.iter().map(|i| &changes[*i]).collect();
    let stands = stands(tx, &asked).await?;

    let mut last = None;
    let mut chosen = Vec::with_capacity(changes.len());
    for (i, stand) in order.iter().zip(stands) {
        let change = &changes[*i];
        let Some(stand) = stand.filter(|stand| stand.revision == change.revision) else { continue };
        if last == Some(key(change)) || gate.is_some_and(|gate| !gate.lets(change, stand)) {
            continue;
        }
        last = Some(key(change));
        chosen.push((*i, stand));
    }
    refuse_busy(tx, changes, &mut chosen).await?;
    Ok(chosen)
}

fn key(change: &TaskChange) -> (DeviceId, JobNo) {
    (change.key.device, change.key.job)
}

fn id(change: &TaskChange) -> i64 {
    (change.key.job.0 << 32) | i64::from(change.key.seq)
}

/// Devices and jobs, for a statement.
fn keys<'c>(changes: impl Iterator<Item = &'c TaskChange>) -> (Vec<i64>, Vec<i64>) {
    changes.map(|change| (change.key.device.0, change.key.job.0)).unzip()
}

fn place(of: &Of<'_, sqlx::postgres::PgRow>) -> Result<usize, StoreError> {
    of.parsed("place", |place: i64| usize::try_from(place - 1).ok())
}

async fn stands(tx: &mut PgTx<'_>, asked: &[&TaskChange]) -> Result<Vec<Option<Stand>>, StoreError> {
    let (devices, jobs) = keys(asked.iter().copied());
    let found = query(sql::STAND).bind(devices).bind(jobs).fetch_all(tx.conn()).await;
    let mut stands = vec![None; asked.len()];
    for row in &found.map_err(failed(DOING))? {
        let of = Of { table: "task", row };
        let place = place(&of)?;
        let stand = Stand {
            revision: of.get("revision")?,
            status: of.parsed("status", TaskStatus::from_code)?,
            attempts: of.get("attempts")?,
            percent: of.get("percent")?,
        };
        // The row is found by device and job; the place in the job is part of the key too.
        if asked.get(place).is_some_and(|change| of.get("id").ok() == Some(id(change))) {
            stands[place] = Some(stand);
        }
    }
    Ok(stands)
}

/// Which changes are let through.
pub(crate) enum Gate {
    /// Claims: of shards under a current lease, of jobs that deliver.
    Claims {
        /// Under a current lease.
        shards: HashSet<i64>,
        /// Jobs that deliver, with the statuses that they are cancelling.
        jobs: BTreeMap<JobNo, i64>,
    },
    /// What an operator wants of the tasks of jobs; with the statuses that those are cancelling.
    Ordered(BTreeMap<JobNo, i64>),
}

impl Gate {
    /// Holds jobs, then leases, until the claims are committed: a cancellation, a pause and a take-over wait for
    /// them, and what comes after those sees them.
    async fn read(
        tx: &mut PgTx<'_>,
        owner: &OwnedShards,
        changes: &[TaskChange],
    ) -> Result<Self, StoreError> {
        let jobs: BTreeSet<i64> = changes.iter().map(|change| change.key.job.0).collect();
        let jobs: Vec<i64> = jobs.into_iter().collect();
        let found = query(sql::DELIVERING).bind(jobs).fetch_all(tx.conn()).await;
        let mut jobs = BTreeMap::new();
        for row in &found.map_err(failed(DOING))? {
            let of = Of { table: "job", row };
            let status = of.parsed("status", JobStatus::from_code)?;
            if status.delivers(of.parsed("kind", JobKind::from_code)?) {
                jobs.insert(JobNo(of.get("no")?), of.get("cancel_mask")?);
            }
        }

        let asked: BTreeSet<u8> = changes.iter().map(|change| change.key.device.shard().0).collect();
        let asked: Vec<i16> = asked.into_iter().map(i16::from).collect();
        let found = query(sql::EPOCHS).bind(owner.member.0).bind(asked).fetch_all(tx.conn()).await;
        let owned: BTreeMap<i64, i64> =
            owner.epochs.iter().map(|(shard, epoch)| (i64::from(shard.0), *epoch)).collect();
        let mut shards = HashSet::new();
        for row in &found.map_err(failed(DOING))? {
            let of = Of { table: "shard_lease", row };
            let (shard, epoch): (i64, i64) = (of.get("shard")?, of.get("epoch")?);
            if owned.get(&shard) == Some(&epoch) {
                shards.insert(shard);
            }
        }
        Ok(Self::Claims { shards, jobs })
    }

    fn lets(&self, change: &TaskChange, stand: Stand) -> bool {
        let holds = |mask: i64, status: TaskStatus| mask & (1 << status.code()) != 0;
        match self {
            Self::Claims { shards, jobs } => {
                shards.contains(&i64::from(change.key.device.shard().0))
                    && jobs.get(&change.key.job).is_some_and(|mask| !holds(*mask, stand.status))
            }
            Self::Ordered(jobs) => {
                let free = |mask: &i64| !holds(*mask, stand.status) && !holds(*mask, change.to.status());
                jobs.get(&change.key.job).is_some_and(free)
            }
        }
    }
}

/// Leaves out what would open an ended task of a device that has an open one by now (I2).
async fn refuse_busy(
    tx: &mut PgTx<'_>,
    changes: &[TaskChange],
    chosen: &mut Vec<(usize, Stand)>,
) -> Result<(), StoreError> {
    let opens = |i: usize, stand: &Stand| !stand.status.is_open() && changes[i].to.status().is_open();
    let opening: Vec<usize> = chosen.iter().filter(|(i, stand)| opens(*i, stand)).map(|(i, _)| *i).collect();
    if opening.is_empty() {
        return Ok(());
    }
    // Held by now for all that the rules bring about; for the rest this may end as a deadlock's victim.
    places(tx, opening.iter().map(|i| changes[*i].key.device)).await?;
    let (devices, jobs) = keys(opening.iter().map(|i| &changes[*i]));
    let found = query(sql::OPEN_BESIDE).bind(devices).bind(jobs).fetch_all(tx.conn()).await;
    let mut refused = HashSet::new();
    for row in &found.map_err(failed(DOING))? {
        let of = Of { table: "task", row };
        let Some(i) = opening.get(place(&of)?) else { continue };
        let both_multi_module = feed::facts(tx, changes[*i].key.job).await?.multi_module
            && feed::facts(tx, JobNo(of.get("job_no")?)).await?.multi_module;
        if of.get::<i64>("same_module")? == 1 || !both_multi_module {
            refused.insert(*i);
        }
    }
    // Of several that this call would open at one device the first one may.
    let mut opened = HashSet::new();
    chosen.retain(|(i, stand)| {
        !opens(*i, stand) || (!refused.contains(i) && opened.insert(changes[*i].key.device))
    });
    Ok(())
}

/// Writes chosen changes; the caller writes the counts.
pub(crate) async fn write(
    tx: &mut PgTx<'_>,
    changes: &[TaskChange],
    chosen: &[(usize, Stand)],
    counters: &mut Counters,
    now: Timestamp,
) -> Result<(), StoreError> {
    if chosen.is_empty() {
        return Ok(());
    }
    let jobs = chosen.iter().map(|(i, _)| changes[*i].key.job).collect();
    let wanted = feed::any_wanted(tx, &jobs).await?;
    let moved = if wanted { moved(tx, changes, chosen).await? } else { Vec::new() };
    Set::of(changes, chosen).write(tx, now).await?;
    for (i, stand) in chosen {
        let TaskChange { key, to, notices, .. } = &changes[*i];
        counters.moved(key.job, stand.status, to.status());
        counters.notices(key.job, *notices);
    }
    feed::tasks_moved(tx, moved, now).await
}

/// Changes as columns.
#[derive(Default)]
struct Set {
    device: Vec<i64>,
    job: Vec<i64>,
    status: Vec<i16>,
    open: Vec<bool>,
    attempts: Vec<i16>,
    offered_at: Vec<Option<i64>>,
    delivery: Vec<Option<i16>>,
    delivery_at: Vec<Option<i64>>,
    deadline_at: Vec<Option<i64>>,
    retry_at: Vec<Option<i64>>,
    percent: Vec<Option<i16>>,
    cause: Vec<Option<i16>>,
    due_at: Vec<Option<i64>>,
    session: Vec<Option<i64>>,
    n: Vec<Option<i64>>,
    notices: Vec<i32>,
    words: Vec<Option<String>>,
}

/// Codes, attempts and percentages are small.
fn small(n: i64) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

impl Set {
    fn of(changes: &[TaskChange], chosen: &[(usize, Stand)]) -> Self {
        let mut set = Self::default();
        for (i, _) in chosen {
            let TaskChange { key, to, report, notices, desc, .. } = &changes[*i];
            let state = StateColumns::of(to);
            set.device.push(key.device.0);
            set.job.push(key.job.0);
            set.status.push(small(state.status));
            set.open.push(to.status().is_open());
            set.attempts.push(small(state.attempts));
            set.offered_at.push(state.offered_at);
            set.delivery.push(state.delivery.map(small));
            set.delivery_at.push(state.delivery_at);
            set.deadline_at.push(state.deadline_at);
            set.retry_at.push(state.retry_at);
            set.percent.push(state.percent.map(small));
            set.cause.push(state.cause.map(small));
            set.due_at.push(to.due_at().map(Timestamp::millis));
            set.session.push(report.map(|report| report.session));
            set.n.push(report.map(|report| i64::from(report.n)));
            set.notices.push(i32::try_from(*notices).unwrap_or(i32::MAX));
            set.words.push(desc.clone());
        }
        set
    }

    async fn write(self, tx: &mut PgTx<'_>, now: Timestamp) -> Result<(), StoreError> {
        let write = query(sql::MOVE)
            .bind(now.millis())
            .bind(self.device)
            .bind(self.job)
            .bind(self.status)
            .bind(self.open)
            .bind(self.attempts)
            .bind(self.offered_at)
            .bind(self.delivery)
            .bind(self.delivery_at)
            .bind(self.deadline_at)
            .bind(self.retry_at)
            .bind(self.percent)
            .bind(self.cause)
            .bind(self.due_at)
            .bind(self.session)
            .bind(self.n)
            .bind(self.notices)
            .bind(self.words);
        write.execute(tx.conn()).await.map(drop).map_err(failed(DOING))
    }
}

/// What listeners hear: not that only a delivery or a clock moved. Read before it is written.
async fn moved(
    tx: &mut PgTx<'_>,
    changes: &[TaskChange],
    chosen: &[(usize, Stand)],
) -> Result<Vec<Moved>, StoreError> {
    let (devices, jobs) = keys(chosen.iter().map(|(i, _)| &changes[*i]));
    let kept = query(sql::WORDS).bind(devices).bind(jobs).fetch_all(tx.conn()).await;
    let mut words = BTreeMap::new();
    for row in &kept.map_err(failed(DOING))? {
        let of = Of { table: "task", row };
        words.insert(place(&of)?, of.get::<String>("words")?);
    }
    let mut moved = Vec::with_capacity(chosen.len());
    for (place, (i, stand)) in chosen.iter().enumerate() {
        let TaskChange { key, to, revision, desc, .. } = &changes[*i];
        let before = words.get(&place).map(String::as_str);
        let after = desc.as_deref().or(before);
        let is_shown = stand.status != to.status()
            || stand.attempts != i64::from(to.attempts())
            || stand.percent != percent(to).map(i64::from)
            || before != after;
        if is_shown {
            moved.push(Moved::to((key.job, key.device), Some(stand.status), to, revision + 1, after));
        }
    }
    Ok(moved)
}
