//! Writes what became of tasks, by compare-and-set on their revisions.
//!
//! One statement finds the tasks in the order of their keys, writes those that are still in the revision that was
//! seen, and answers where they stood: who knows the revision knows the task. What else a change rests on is held
//! before any task: claims hold jobs and leases (I5, I13), and what may open a task holds the places of its shard
//! (I2). Only what brings a task back to its beginning has to look before it writes; it locks the tasks first.
//!
//! 2026-11-22, random tasks, 1,000 a call: looking at them under a lock first cost a sixth more, and found by device
//! and job, a claim among ten million open tasks cost a tenth more than among one million; found by their place in
//! the job it costs the same. With the deadline in an index of `task` itself each claim would have made a new
//! entry in every index: twice the cost.
//!
//! Invariant: a change is written whole, with its counts and its event, or not at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{JobKind, JobStatus};
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::store::{OwnedShards, StoreError, TaskChange};
use sqlx::postgres::PgRow;
use sqlx::query;

use super::counters::Counters;
use super::feed;
use super::sql::tasks as sql;
use super::{PgTx, raced};
use crate::errors::failed;
use crate::feed::{Moved, percent};
use crate::rows::{Of, StateColumns};

const DOING: &str = "writing tasks";

/// Where a task stands.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    revision: i64,
    status: TaskStatus,
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
    let done = if changes.iter().any(begins) {
        write_locked(tx, gate.as_ref(), changes, counters, now).await?
    } else {
        write_open(tx, gate.as_ref(), changes, counters, now).await?
    };
    for i in done {
        written[i] = true;
    }
    Ok(written)
}

/// Whether a change brings a task back to its beginning, and so may open one that has ended.
fn begins(change: &TaskChange) -> bool {
    matches!(change.to.status(), TaskStatus::Confirm | TaskStatus::Queued)
}

/// Holds the places of the shards in which a change may open a task: those that bring one back to its
/// beginning. Before any task is locked; see [`places`].
pub(crate) async fn hold_places(tx: &mut PgTx<'_>, changes: &[TaskChange]) -> Result<(), StoreError> {
    let opening = changes.iter().filter(|change| begins(change));
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

fn place(of: &Of<'_, PgRow>) -> Result<usize, StoreError> {
    of.parsed("place", |place: i64| usize::try_from(place - 1).ok())
}

async fn stands(tx: &mut PgTx<'_>, asked: &[&TaskChange]) -> Result<Vec<Option<Stand>>, StoreError> {
    let (devices, jobs) = keys(asked.iter().copied());
    let found = query(sql::STAND).bind(devices).bind(jobs).fetch_all(tx.conn()).await;
    let mut stands = vec![None; asked.len()];
    for row in &found.map_err(failed(DOING))? {
        let of = Of { table: "task", row };
        let place = place(&of)?;
        let stand =
            Stand { revision: of.get("revision")?, status: of.parsed("status", TaskStatus::from_code)? };
        // The row is found by device and job; the place in the job is part of the key too.
        if asked.get(place).is_some_and(|change| of.get("id").ok() == Some(id(change))) {
            stands[place] = Some(stand);
        }
    }
    Ok(stands)
}

const fn bit(status: TaskStatus) -> i64 {
    1 << status.code()
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

    /// The statuses that a change's task must not be in, as bits; `None` when it is not let through at all.
    fn held(&self, change: &TaskChange) -> Option<i64> {
        match self {
            Self::Claims { shards, jobs } => {
                let mask = jobs.get(&change.key.job).copied();
                mask.filter(|_| shards.contains(&i64::from(change.key.device.shard().0)))
            }
            Self::Ordered(jobs) => {
                let mask = jobs.get(&change.key.job).copied();
                mask.filter(|mask| mask & bit(change.to.status()) == 0)
            }
        }
    }

    fn lets(&self, change: &TaskChange, stand: Stand) -> bool {
        self.held(change).is_some_and(|mask| mask & bit(stand.status) == 0)
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

/// Writes chosen changes, whose tasks are locked; the caller writes the counts.
pub(crate) async fn write(
    tx: &mut PgTx<'_>,
    changes: &[TaskChange],
    chosen: &[(usize, Stand)],
    counters: &mut Counters,
    now: Timestamp,
) -> Result<(), StoreError> {
    let places: Vec<(usize, i64)> = chosen.iter().map(|(i, _)| (*i, 0)).collect();
    let written = write_at(tx, changes, &places, true, counters, now).await?;
    if written.len() == chosen.len() { Ok(()) } else { Err(raced(DOING)) }
}

/// Looks at tasks under a lock and writes the changes that hold; returns their places.
async fn write_locked(
    tx: &mut PgTx<'_>,
    gate: Option<&Gate>,
    changes: &[TaskChange],
    counters: &mut Counters,
    now: Timestamp,
) -> Result<Vec<usize>, StoreError> {
    hold_places(tx, changes).await?;
    let chosen = choose(tx, gate, changes).await?;
    write(tx, changes, &chosen, counters, now).await?;
    Ok(chosen.into_iter().map(|(i, _)| i).collect())
}

/// Writes the changes that hold; returns their places. Those that would open an ended task, which no rule brings
/// about without [`begins`], take the longer way.
async fn write_open(
    tx: &mut PgTx<'_>,
    gate: Option<&Gate>,
    changes: &[TaskChange],
    counters: &mut Counters,
    now: Timestamp,
) -> Result<Vec<usize>, StoreError> {
    let held = |i: usize| gate.map_or(Some(0), |gate| gate.held(&changes[i]));
    let mut places: Vec<(usize, i64)> = (0..changes.len()).filter_map(|i| Some((i, held(i)?))).collect();
    // Each task once: a second change of it comes too late, the first one grows the revision.
    let seen = |i: usize| (key(&changes[i]), id(&changes[i]), changes[i].revision);
    places.sort_by_key(|(i, _)| seen(*i));
    places.dedup_by_key(|(i, _)| seen(*i));
    let mut written = write_at(tx, changes, &places, false, counters, now).await?;
    if written.len() < places.len() {
        let done: HashSet<usize> = written.iter().copied().collect();
        let left = places.iter().map(|(i, _)| *i).filter(|i| !done.contains(i));
        let ended = ended(tx, changes, left.collect()).await?;
        if !ended.is_empty() {
            let opening: Vec<TaskChange> = ended.iter().map(|i| changes[*i].clone()).collect();
            let opened = write_locked(tx, gate, &opening, counters, now).await?;
            written.extend(opened.into_iter().map(|place| ended[place]));
        }
    }
    Ok(written)
}

/// Of changes at these places those whose task has ended in the revision that was seen.
async fn ended(
    tx: &mut PgTx<'_>,
    changes: &[TaskChange],
    places: Vec<usize>,
) -> Result<Vec<usize>, StoreError> {
    let (devices, jobs) = keys(places.iter().map(|i| &changes[*i]));
    let revisions: Vec<i64> = places.iter().map(|i| changes[*i].revision).collect();
    let found = query(sql::ENDED).bind(devices).bind(jobs).bind(revisions).fetch_all(tx.conn()).await;
    let found = found.map_err(failed(DOING))?;
    let ended = found.iter().map(|row| place(&Of { table: "task", row }));
    ended.map(|at| Ok(places[at?])).collect()
}

/// Writes changes at these places, sorted by key, each with the statuses that it must not find; returns the places of
/// those that were written.
async fn write_at(
    tx: &mut PgTx<'_>,
    changes: &[TaskChange],
    places: &[(usize, i64)],
    may_open: bool,
    counters: &mut Counters,
    now: Timestamp,
) -> Result<Vec<usize>, StoreError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Set::of(changes, places).write(tx, may_open, now).await?;
    let stood: Vec<Of<'_, PgRow>> = rows.iter().map(|row| Of { table: "task", row }).collect();
    let mut written = Vec::with_capacity(stood.len());
    for of in &stood {
        let (i, _) = places.get(place(of)?).ok_or_else(|| of.corrupt("place"))?;
        let TaskChange { key, to, notices, .. } = &changes[*i];
        counters.moved(key.job, of.parsed("status", TaskStatus::from_code)?, to.status());
        counters.notices(key.job, *notices);
        written.push(*i);
    }
    let jobs = written.iter().map(|i| changes[*i].key.job).collect();
    if feed::any_wanted(tx, &jobs).await? {
        let moved = written.iter().zip(&stood).map(|(i, of)| shown(&changes[*i], of));
        let moved: Vec<Option<Moved>> = moved.collect::<Result<_, _>>()?;
        feed::tasks_moved(tx, moved.into_iter().flatten().collect(), now).await?;
    }
    Ok(written)
}

/// What listeners hear: not that only a delivery or a clock moved.
fn shown(change: &TaskChange, of: &Of<'_, PgRow>) -> Result<Option<Moved>, StoreError> {
    let TaskChange { key, to, revision, desc, .. } = change;
    let stood: TaskStatus = of.parsed("status", TaskStatus::from_code)?;
    let before: Option<String> = of.get("words")?;
    let after = desc.as_deref().or(before.as_deref());
    let is_shown = stood != to.status()
        || of.get::<i64>("attempts")? != i64::from(to.attempts())
        || of.get::<Option<i64>>("percent")? != percent(to).map(i64::from)
        || before.as_deref() != after;
    Ok(is_shown.then(|| Moved::to((key.job, key.device), Some(stood), to, revision + 1, after)))
}

/// Changes as columns.
#[derive(Default)]
struct Set {
    device: Vec<i64>,
    job: Vec<i64>,
    id: Vec<i64>,
    revision: Vec<i64>,
    held: Vec<i64>,
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
    fn of(changes: &[TaskChange], places: &[(usize, i64)]) -> Self {
        let mut set = Self::default();
        for (i, held) in places {
            let TaskChange { key, revision, to, report, notices, desc } = &changes[*i];
            let state = StateColumns::of(to);
            set.device.push(key.device.0);
            set.job.push(key.job.0);
            set.id.push(id(&changes[*i]));
            set.revision.push(*revision);
            set.held.push(*held);
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

    /// Writes what still holds, and returns where it stood.
    async fn write(
        self,
        tx: &mut PgTx<'_>,
        may_open: bool,
        now: Timestamp,
    ) -> Result<Vec<PgRow>, StoreError> {
        let write = query(sql::MOVE)
            .bind(now.millis())
            .bind(may_open)
            .bind(self.device)
            .bind(self.job)
            .bind(self.id)
            .bind(self.revision)
            .bind(self.held)
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
        write.fetch_all(tx.conn()).await.map_err(failed(DOING))
    }
}
