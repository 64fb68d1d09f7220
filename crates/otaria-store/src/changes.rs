//! Writes what became of tasks, by compare-and-set on their revisions.
//!
//! One transaction reads where the tasks stand, decides which changes still hold, and writes those: nobody
//! else writes in between, so the decision needs no place in the statement.
//!
//! 2026-11-21, 1,000 a call: 140–230 thousand claims a second in the order of the list, 34–40 thousand of tasks
//! drawn at random from 830,000 (each on a page of its own that is read, logged and moved), 100–190 thousand
//! reports. `jsonb_each`, which hands an inner array over without writing it out as text, made half of it.
//!
//! Invariant: a change is written whole, with its counts and its event, or not at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{JobKind, JobStatus};
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::store::{OwnedShards, StoreError, TaskChange};
use sqlx::{Row, query, query_scalar};

use crate::counters::Counters;
use crate::feed::{self, Moved};
use crate::rows::StateColumns;
use crate::sql::tasks as sql;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::text;

const DOING: &str = "writing tasks";

/// Where a task stands.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    device: DeviceId,
    revision: i64,
    status: TaskStatus,
    attempts: i64,
    percent: i64,
}

/// Writes changes; says for each whether it was written. `owner`: they are claims of that member.
pub(crate) async fn apply(
    tx: &mut Tx,
    owner: Option<&OwnedShards>,
    changes: &[TaskChange],
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
    let chosen = choose(tx, gate.as_ref(), changes).await?;
    for (i, _) in &chosen {
        written[*i] = true;
    }
    write(tx, changes, &chosen, now).await?;
    Ok(written)
}

/// The changes that still hold, by their places, sorted by task.
pub(crate) async fn choose(
    tx: &mut Tx,
    gate: Option<&Gate>,
    changes: &[TaskChange],
) -> Result<Vec<(usize, Stand)>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    // In the order of the table: neighbours share pages.
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|i| id(&changes[*i]));
    let stands = stands(tx, changes, &order).await?;

    let mut last = None;
    let mut chosen = Vec::with_capacity(changes.len());
    for (i, stand) in order.iter().zip(stands) {
        let change = &changes[*i];
        let as_seen = |stand: &Stand| stand.revision == change.revision && stand.device == change.key.device;
        let Some(stand) = stand.filter(as_seen) else { continue };
        // A second change of the same task comes too late: the first one grew the revision.
        if last == Some(id(change)) || gate.is_some_and(|gate| !gate.lets(change, stand)) {
            continue;
        }
        last = Some(id(change));
        chosen.push((*i, stand));
    }
    refuse_busy(tx, changes, &mut chosen).await?;
    Ok(chosen)
}

fn id(change: &TaskChange) -> i64 {
    (change.key.job.0 << 32) | i64::from(change.key.seq)
}

async fn stands(
    tx: &mut Tx,
    changes: &[TaskChange],
    order: &[usize],
) -> Result<Vec<Option<Stand>>, StoreError> {
    let ids = text::numbers(order.iter().map(|i| id(&changes[*i])));
    let found = query_scalar(sql::STAND).bind(ids).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    let mut stands = vec![None; order.len()];
    for [place, device, revision, status, attempts, percent] in text::lines::<6>("task", found.as_deref())? {
        let corrupt = || StoreError::Corrupt { table: "task", reason: format!("status {status}") };
        let slot = usize::try_from(place).ok().and_then(|place| stands.get_mut(place));
        let status = TaskStatus::from_code(status).ok_or_else(corrupt)?;
        let device = DeviceId(device);
        *slot.ok_or_else(corrupt)? = Some(Stand { device, revision, status, attempts, percent });
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
    async fn read(tx: &mut Tx, owner: &OwnedShards, changes: &[TaskChange]) -> Result<Self, StoreError> {
        let shards: BTreeSet<i64> =
            changes.iter().map(|change| i64::from(change.key.device.shard().0)).collect();
        let epochs = query_scalar(sql::EPOCHS).bind(owner.member.0).bind(text::numbers(shards));
        let epochs: Option<String> = epochs.fetch_one(&mut tx.conn).await.map_err(failed(DOING))?;
        let owned: BTreeMap<i64, i64> =
            owner.epochs.iter().map(|(shard, epoch)| (i64::from(shard.0), *epoch)).collect();
        let current = text::lines::<2>("shard_lease", epochs.as_deref())?;
        let current = current.into_iter().filter(|[shard, epoch]| owned.get(shard) == Some(epoch));
        let shards = current.map(|[shard, _]| shard).collect();

        let jobs: BTreeSet<i64> = changes.iter().map(|change| change.key.job.0).collect();
        let jobs = query_scalar(sql::DELIVERING).bind(text::numbers(jobs));
        let jobs: Option<String> = jobs.fetch_one(&mut tx.conn).await.map_err(failed(DOING))?;
        let jobs = text::lines::<4>("job", jobs.as_deref())?;
        let delivers = |status, kind| {
            let (status, kind) = (JobStatus::from_code(status), JobKind::from_code(kind));
            status.zip(kind).is_some_and(|(status, kind)| status.delivers(kind))
        };
        let jobs = jobs.into_iter().filter(|[_, status, kind, _]| delivers(*status, *kind));
        Ok(Self::Claims { shards, jobs: jobs.map(|[job, _, _, mask]| (JobNo(job), mask)).collect() })
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
    tx: &mut Tx,
    changes: &[TaskChange],
    chosen: &mut Vec<(usize, Stand)>,
) -> Result<(), StoreError> {
    let opens = |i: usize, stand: &Stand| !stand.status.is_open() && changes[i].to.status().is_open();
    let opening: Vec<usize> = chosen.iter().filter(|(i, stand)| opens(*i, stand)).map(|(i, _)| *i).collect();
    if opening.is_empty() {
        return Ok(());
    }
    let ids = text::numbers(opening.iter().map(|i| id(&changes[*i])));
    let found = query_scalar(sql::OPEN_BESIDE).bind(ids).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    let mut refused = HashSet::new();
    for [place, other, same_module] in text::lines::<3>("task", found.as_deref())? {
        let Some(i) = usize::try_from(place).ok().and_then(|place| opening.get(place)) else { continue };
        let both_multi_module = feed::facts(tx, changes[*i].key.job).await?.multi_module
            && feed::facts(tx, JobNo(other)).await?.multi_module;
        if same_module == 1 || !both_multi_module {
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

pub(crate) async fn write(
    tx: &mut Tx,
    changes: &[TaskChange],
    chosen: &[(usize, Stand)],
    now: Timestamp,
) -> Result<(), StoreError> {
    if chosen.is_empty() {
        return Ok(());
    }
    let moved =
        if wanted(tx, changes, chosen).await? { moved(tx, changes, chosen).await? } else { Vec::new() };
    let set = text::array(chosen, |out, (i, _)| columns(out, &changes[*i]));
    let write = query(sql::MOVE).bind(set).bind(now.millis()).execute(&mut tx.conn).await;
    write.map_err(failed(DOING))?;

    let mut counters = Counters::default();
    for (i, stand) in chosen {
        let TaskChange { key, to, notices, .. } = &changes[*i];
        counters.moved(key.job, stand.status, to.status());
        counters.notices(key.job, *notices);
    }
    counters.write(tx).await?;
    feed::tasks_moved(tx, moved, now).await
}

fn columns(out: &mut String, change: &TaskChange) {
    let state = StateColumns::of(&change.to);
    let open = change.to.status().is_open().then_some(1);
    let _ = write!(out, "[{},{},", id(change), state.status); // Writing to a String cannot fail.
    text::optional(out, open);
    let _ = write!(out, ",{}", state.attempts);
    let StateColumns { offered_at, delivery, delivery_at, deadline_at, retry_at, percent, cause, .. } = state;
    let due_at = change.to.due_at().map(Timestamp::millis);
    let session = change.report.map(|report| report.session);
    let n = change.report.map(|report| i64::from(report.n));
    for column in
        [offered_at, delivery, delivery_at, deadline_at, retry_at, percent, cause, due_at, session, n]
    {
        out.push(',');
        text::optional(out, column);
    }
    let _ = write!(out, ",{},", change.notices);
    match &change.desc {
        Some(words) => text::quote(out, words),
        None => out.push_str("null"),
    }
    out.push(']');
}

async fn wanted(tx: &mut Tx, changes: &[TaskChange], chosen: &[(usize, Stand)]) -> Result<bool, StoreError> {
    let jobs = chosen.iter().map(|(i, _)| changes[*i].key.job).collect();
    feed::any_wanted(tx, &jobs).await
}

/// What listeners hear: not that only a delivery or a clock moved. Read before it is written.
async fn moved(
    tx: &mut Tx,
    changes: &[TaskChange],
    chosen: &[(usize, Stand)],
) -> Result<Vec<Moved>, StoreError> {
    let ids = text::numbers(chosen.iter().map(|(i, _)| id(&changes[*i])));
    let kept = query(sql::WORDS).bind(ids).fetch_all(&mut tx.conn).await.map_err(failed(DOING))?;
    let mut words = BTreeMap::new();
    for row in &kept {
        let place: i64 = row.try_get("place").map_err(failed(DOING))?;
        let text: String = row.try_get("words").map_err(failed(DOING))?;
        words.insert(usize::try_from(place).unwrap_or(usize::MAX), text);
    }
    let mut moved = Vec::with_capacity(chosen.len());
    for (place, (i, stand)) in chosen.iter().enumerate() {
        let TaskChange { key, to, revision, desc, .. } = &changes[*i];
        let before = words.get(&place).map(String::as_str);
        let after = desc.as_deref().or(before);
        let is_shown = stand.status != to.status()
            || stand.attempts != i64::from(to.attempts())
            || stand.percent != feed::percent(to).map_or(-1, i64::from)
            || before != after;
        if is_shown {
            moved.push(Moved::to((key.job, key.device), Some(stand.status), to, revision + 1, after));
        }
    }
    Ok(moved)
}
