//! One slice of an expansion: devices become tasks, and the cursor moves with them.
//!
//! Invariants: a device is no twice in a job, at most one open task of a device (of each module, with
//! MultiModuleMode), and lines = tasks + skipped + rejected after every commit (I2, I4, I10).
//!
//! The order of locks: the product is shared, so no device of the slice can be deleted; the job, if the
//! expansion ends; the cursor, so that one writer follows the other; the places of the slice's shards, so that
//! nobody else opens a task of its devices between the look and the insert; tasks that may make room, in the
//! order of their keys; counters last. What is wanted is decided from what was read under these, so no
//! unique key is ever violated by two expansions that meet.
//!
//! 2026-11-22, 1,000,000 shuffled names against as many devices on 2 cores (`examples/bench`): 7.1 s, where a
//! bare `COPY` of the 880,000 tasks in the order of the list takes 3.8 s, and sorted as they are here 2.3 s. Of the
//! server's 8.6 s of processor names take 4.2; here the copy takes about half, asking whether the job had the
//! devices before a quarter, whether they are busy an eighth. Chunks of 131,072 in slices of 10,000 take 5.9 s,
//! 262,144 in slices of 20,000 5.3 s: each index page is touched less often.

use std::collections::HashSet;
use std::fmt::Write;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::task::{CancelCause, FailureCause, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    Expansion, NewTask, RejectCause, RejectedLine, Replaced, Slice, SliceOutcome, StoreError,
};
use sqlx::{query, query_scalar};

use super::cancel::cancel;
use super::counters::Counters;
use super::names::names;
use super::sql::{expand as sql, jobs};
use super::{PgTx, changes, deletion, feed};
use crate::errors::failed;
use crate::expand::{FORGET_MAX, Rules, count, reject_code};
use crate::feed::Moved;
use crate::rows::{self, Of};
use crate::sql::expand::ADVANCE;

const DOING: &str = "expanding a job";

/// Bytes of a message of a copy.
const COPY_BYTES: usize = 64 * 1024;

/// What stands in the way of new tasks.
#[derive(Default)]
pub(crate) struct Conflicts {
    /// Devices whose unfinished tasks stay.
    pub(crate) busy: HashSet<DeviceId>,
    /// Devices of a dynamic job that a later one has.
    pub(crate) beaten: HashSet<DeviceId>,
    /// Tasks that make room, sorted.
    replaced: Vec<(DeviceId, JobNo)>,
}

pub(crate) async fn expand(
    tx: &mut PgTx<'_>,
    slice: &Slice,
    now: Timestamp,
) -> Result<SliceOutcome, StoreError> {
    let (rules, mut expansion) = begin(tx, slice).await?;
    let mut slice = slice.clone();
    let devices = || slice.tasks.iter().map(|task| task.device).chain(slice.skipped.iter().copied());
    deletion::expect_devices(tx, devices()).await?;
    changes::places(tx, slice.tasks.iter().map(|task| task.device)).await?;
    let mut duplicates = take_duplicates(tx, &mut slice, &expansion).await?;
    let conflicts = conflicts(tx, &slice.tasks, &rules).await?;
    let mut skipped = count(&slice.skipped);
    if rules.dynamic {
        // Who came by itself is no line, and who needs no task may come later.
        slice.lines -= count(&duplicates);
        duplicates.clear();
        slice.skipped.clear();
        slice.tasks.retain(|task| !conflicts.beaten.contains(&task.device));
        skipped += count(&conflicts.beaten);
    }

    let mut counters = Counters::default();
    let Added { queued, replaced } =
        add(tx, &rules, &slice.tasks, &conflicts, (expansion.tasks + 1, now), &mut counters).await?;
    if !slice.skipped.is_empty() {
        let skipped: Vec<i64> = slice.skipped.iter().map(|device| device.0).collect();
        let skip = query(sql::SKIP).bind(slice.job.0).bind(skipped).execute(tx.conn()).await;
        skip.map_err(failed(DOING))?;
    }
    reject(tx, slice.job, &slice.rejects, &duplicates).await?;

    expansion.cursor = slice.to;
    expansion.complete = slice.complete;
    expansion.lines += slice.lines;
    expansion.tasks += count(&slice.tasks);
    expansion.skipped += skipped;
    expansion.rejected.malformed += slice.rejected.malformed;
    expansion.rejected.unknown += slice.rejected.unknown;
    expansion.rejected.duplicate += slice.rejected.duplicate + count(&duplicates);
    expansion.busy += count(&conflicts.busy);
    advance(tx, slice.job, &expansion).await?;
    counters.write(tx).await?;
    Ok(SliceOutcome { queued, replaced, expansion })
}

/// What came of new tasks.
pub(crate) struct Added {
    /// Devices whose tasks may be pushed.
    pub(crate) queued: Vec<DeviceId>,
    /// Tasks that made room, as they were locked.
    replaced: Vec<Replaced>,
}

/// Writes new tasks from a place on and cancels those that they replace. The caller writes the counts.
pub(crate) async fn add(
    tx: &mut PgTx<'_>,
    rules: &Rules,
    tasks: &[NewTask],
    conflicts: &Conflicts,
    (first_seq, now): (u64, Timestamp),
    counters: &mut Counters,
) -> Result<Added, StoreError> {
    let busy = &conflicts.busy;
    let listener = feed::facts(tx, rules.job).await?.account;
    let canceled = cancel(tx, &conflicts.replaced, |_| true, CancelCause::Overwritten, counters, now).await?;
    let queued = insert(tx, rules, tasks, busy, first_seq, now).await?;
    let made = tasks.len() - busy.len();
    counters.add(rules.job, rules.first_status(), i64::try_from(made).unwrap_or(i64::MAX));
    counters.add(rules.job, TaskStatus::Failed, i64::try_from(busy.len()).unwrap_or(i64::MAX));
    if tx.wanted(listener) {
        let new = tasks.iter().map(|task| {
            let state = if busy.contains(&task.device) {
                TaskState::Failed { attempts: 0, cause: FailureCause::Busy }
            } else if rules.need_confirm {
                TaskState::Confirm
            } else {
                TaskState::Queued
            };
            Moved::to((rules.job, task.device), None, &state, 1, None)
        });
        feed::tasks_moved(tx, new.collect(), now).await?;
    }
    let replaced = canceled.into_iter().map(|(key, status)| Replaced { key, status }).collect();
    Ok(Added { queued, replaced })
}

/// Holds what the slice needs, reads the job and refuses a slice that does not begin where the cursor is.
async fn begin(tx: &mut PgTx<'_>, slice: &Slice) -> Result<(Rules, Expansion), StoreError> {
    let unavailable = failed(DOING);
    query(jobs::SHARE_PRODUCT).bind(slice.job.0).execute(tx.conn()).await.map_err(unavailable)?;
    if slice.complete {
        super::jobs::lock(tx, &[slice.job.0]).await?;
    }
    let found = query(sql::JOB).bind(slice.job.0).fetch_optional(tx.conn()).await.map_err(unavailable)?;
    let row = found.ok_or(StoreError::NotFound { what: "job" })?;
    let of = Of { table: "job", row: &row };
    let expansion = rows::expansion(&of)?;
    if expansion.complete || expansion.cursor != slice.from {
        return Err(StoreError::Conflict { what: "expansion" });
    }
    Ok((Rules::read(slice.job, &of)?, expansion))
}

/// Takes out of the slice the devices that the job had before; also those twice in the slice.
async fn take_duplicates(
    tx: &mut PgTx<'_>,
    slice: &mut Slice,
    expansion: &Expansion,
) -> Result<Vec<DeviceId>, StoreError> {
    let mut duplicates = Vec::new();
    slice.tasks.sort_by_key(|task| task.device);
    slice.skipped.sort_unstable();
    let devices = slice.tasks.iter().map(|task| task.device).chain(slice.skipped.iter().copied());
    let any = (expansion.tasks > 0, expansion.skipped > 0);
    let mut seen = seen_before(tx, slice.job, devices, any).await?;
    let mut first = |device: DeviceId| {
        let first = seen.insert(device);
        if !first {
            duplicates.push(device);
        }
        first
    };
    slice.tasks.retain(|task| first(task.device));
    slice.skipped.retain(|device| first(*device));
    Ok(duplicates)
}

/// Which of these devices a job accounted for before. `any`: whether it has tasks, and skipped devices.
pub(crate) async fn seen_before(
    tx: &mut PgTx<'_>,
    job: JobNo,
    devices: impl Iterator<Item = DeviceId>,
    any: (bool, bool),
) -> Result<HashSet<DeviceId>, StoreError> {
    let devices: Vec<i64> = devices.map(|device| device.0).collect();
    if any == (false, false) || devices.is_empty() {
        return Ok(HashSet::with_capacity(devices.len()));
    }
    let mut seen = HashSet::with_capacity(devices.len());
    let found = query_scalar(sql::SEEN).bind(job.0).bind(devices).bind(any.0).bind(any.1);
    let found: Vec<i64> = found.fetch_all(tx.conn()).await.map_err(failed(DOING))?;
    seen.extend(found.into_iter().map(DeviceId));
    Ok(seen)
}

/// What stands in the way of new tasks of these devices, whose places are held.
///
/// Where earlier tasks may make room they are locked, then looked at again: none can be opened meanwhile,
/// and none can move any more.
pub(crate) async fn conflicts(
    tx: &mut PgTx<'_>,
    tasks: &[NewTask],
    rules: &Rules,
) -> Result<Conflicts, StoreError> {
    if tasks.is_empty() {
        return Ok(Conflicts::default());
    }
    let devices: Vec<i64> = tasks.iter().map(|task| task.device.0).collect();
    let mut open = open(tx, rules, &devices).await?;
    if !open.is_empty() && (rules.replaces || rules.multi_module || rules.dynamic) {
        let mut keys: Vec<_> = open.iter().map(|open| (open.device, open.job)).collect();
        keys.sort_unstable();
        let (devices_of, jobs) = super::cancel::columns(&keys);
        let lock = query(super::sql::tasks::LOCK_OPEN).bind(devices_of).bind(jobs).fetch_all(tx.conn()).await;
        lock.map_err(failed(DOING))?;
        open = self::open(tx, rules, &devices).await?;
    }

    let mut conflicts = Conflicts::default();
    for Open { device, job, status, same_module } in open {
        let of_same_module = rules.multi_module && same_module;
        if rules.multi_module && !of_same_module && feed::facts(tx, job).await?.multi_module {
            continue;
        }
        let among_dynamic = rules.dynamic && feed::facts(tx, job).await?.dynamic;
        if among_dynamic && job > rules.job {
            conflicts.beaten.insert(device);
        } else if status != TaskStatus::InProgress && (rules.replaces || of_same_module || among_dynamic) {
            conflicts.replaced.push((device, job));
        } else {
            conflicts.busy.insert(device);
        }
    }
    // All make room, or none does.
    let Conflicts { busy, beaten, replaced } = &mut conflicts;
    busy.retain(|device| !beaten.contains(device));
    replaced.retain(|(device, _)| !busy.contains(device) && !beaten.contains(device));
    replaced.sort_unstable();
    Ok(conflicts)
}

/// An open task of another job.
struct Open {
    device: DeviceId,
    job: JobNo,
    status: TaskStatus,
    same_module: bool,
}

async fn open(tx: &mut PgTx<'_>, rules: &Rules, devices: &[i64]) -> Result<Vec<Open>, StoreError> {
    let found = query(sql::OPEN).bind(rules.module.as_str()).bind(devices).fetch_all(tx.conn()).await;
    let read = |row| {
        let of = Of { table: "task", row };
        Ok(Open {
            device: DeviceId(of.get("device_id")?),
            job: JobNo(of.get("job_no")?),
            status: of.parsed("status", TaskStatus::from_code)?,
            same_module: of.get::<i64>("same_module")? == 1,
        })
    };
    found.map_err(failed(DOING))?.iter().map(read).collect()
}

/// Writes the tasks; returns the devices whose tasks may be pushed.
async fn insert(
    tx: &mut PgTx<'_>,
    rules: &Rules,
    tasks: &[NewTask],
    busy: &HashSet<DeviceId>,
    first_seq: u64,
    now: Timestamp,
) -> Result<Vec<DeviceId>, StoreError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let unavailable = failed(DOING);
    let mut queued = Vec::with_capacity(tasks.len());
    let mut copy = tx.conn().copy_in_raw(sql::COPY).await.map_err(unavailable)?;
    let mut lines = String::with_capacity(COPY_BYTES + 1024);
    let (open, failed, cause) =
        (rules.first_status().code(), TaskStatus::Failed.code(), FailureCause::Busy.code());
    let (job, now) = (rules.job.0, now.millis());
    let mut module = String::new();
    escape(&mut module, &rules.module);
    let first_id = (job << 32) + first_seq.cast_signed();
    for (id, NewTask { device, src_version }) in (first_id..).zip(tasks) {
        // Writing to a String cannot fail.
        let _ = write!(lines, "{}\t{job}\t{id}\t{now}\t", device.0);
        let is_busy = busy.contains(device);
        let _ = match is_busy {
            true => write!(lines, "{failed}\tf\t{module}\t"),
            false => write!(lines, "{open}\tt\t{module}\t"),
        };
        match src_version {
            Some(version) => escape(&mut lines, version.as_str()),
            None => lines.push_str("\\N"),
        }
        let _ = match is_busy {
            true => writeln!(lines, "\t{cause}"),
            false => writeln!(lines, "\t\\N"),
        };
        if !is_busy {
            queued.push(*device);
        }
        if lines.len() >= COPY_BYTES {
            copy.send(lines.as_bytes()).await.map_err(unavailable)?;
            lines.clear();
        }
    }
    copy.send(lines.as_bytes()).await.map_err(unavailable)?;
    copy.finish().await.map_err(unavailable)?;
    Ok(if rules.need_confirm { Vec::new() } else { queued })
}

/// Writes a text as the format of a copy wants it.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
}

async fn reject(
    tx: &mut PgTx<'_>,
    job: JobNo,
    rejects: &[RejectedLine],
    duplicates: &[DeviceId],
) -> Result<(), StoreError> {
    if rejects.is_empty() && duplicates.is_empty() {
        return Ok(());
    }
    let names = names(tx, duplicates.iter().copied()).await?;
    let duplicates = duplicates.iter().filter_map(|device| names.get(device));
    let lines = rejects.iter().map(|line| (line.cause, line.text.as_str()));
    let lines = lines.chain(duplicates.map(|name| (RejectCause::Duplicate, name.as_str())));
    let (causes, lines): (Vec<i64>, Vec<&str>) =
        lines.map(|(cause, line)| (reject_code(cause), line)).unzip();
    let kept = query(sql::REJECT).bind(job.0).bind(causes).bind(lines).execute(tx.conn()).await;
    kept.map(drop).map_err(failed(DOING))
}

async fn advance(tx: &mut PgTx<'_>, job: JobNo, expansion: &Expansion) -> Result<(), StoreError> {
    let unavailable = failed(DOING);
    let Expansion { cursor, complete, lines, tasks, skipped, rejected, busy } = expansion;
    let advance = query(ADVANCE)
        .bind(job.0)
        .bind(cursor.offset.cast_signed())
        .bind(i64::from(cursor.slice))
        .bind(cursor.after.as_deref())
        .bind(i64::from(*complete))
        .bind(lines.cast_signed())
        .bind(tasks.cast_signed())
        .bind(skipped.cast_signed())
        .bind(rejected.malformed.cast_signed())
        .bind(rejected.unknown.cast_signed())
        .bind(rejected.duplicate.cast_signed())
        .bind(busy.cast_signed());
    advance.execute(tx.conn()).await.map_err(unavailable)?;
    if *complete {
        let forget = query(sql::FORGET_SKIPPED).bind(job.0).bind(FORGET_MAX).execute(tx.conn()).await;
        forget.map_err(unavailable)?;
        deletion::forget_past(tx, job, FORGET_MAX).await?;
        super::jobs::refresh_live(tx, job).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_text_is_escaped_as_a_copy_wants_it() {
        let mut out = String::new();
        escape(&mut out, "1.0\t\\N\nü\r");
        assert_eq!(out, "1.0\\t\\\\N\\nü\\r");
    }
}
