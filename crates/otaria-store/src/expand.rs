//! One slice of an expansion: devices become tasks, and the cursor moves with them.
//!
//! Invariants: a device is no twice in a job, at most one open task of a device (of each module, with
//! MultiModuleMode), and lines = tasks + skipped + rejected after every commit (I2, I4, I10).
//!
//! What is wanted is decided here and written in one statement, instead of leaving it to `on conflict`: so
//! places have no gaps, and each device that gets no task is accounted for by name.
//!
//! 2026-11-21, a slice of 5,000 devices: about 13 ms, of which half is the insert into the table and two
//! indexes, a quarter asking whether the job had the devices before, an eighth asking whether they are busy,
//! the rest the commit. Chunks of 131,072 names instead of 65,536, written in such slices, save a tenth:
//! each index page is touched half as often.

use std::collections::HashSet;
use std::fmt::Write;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::OverwriteMode;
use otaria_core::task::{CancelCause, FailureCause, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Expansion, NewTask, RejectCause, RejectedLine, Slice, SliceOutcome, StoreError};
use sqlx::{query, query_scalar};

use crate::cancel::cancel;
use crate::counters::Counters;
use crate::feed::{self, Moved};
use crate::names::names;
use crate::rows::{self, Of};
use crate::sql::expand as sql;
use crate::sql::jobs::REFRESH_LIVE;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::{deletion, text};

const DOING: &str = "expanding a job";

/// Skipped devices forgotten in the transaction that completes an expansion; the rest goes with retention.
const FORGET_MAX: i64 = 20_000;

/// What the slice needs to know of its job.
struct Rules {
    module: String,
    need_confirm: bool,
    multi_module: bool,
    /// Whether any earlier task that is not in progress makes room.
    replaces: bool,
}

pub(crate) async fn expand(
    tx: &mut Tx,
    mut slice: Slice,
    now: Timestamp,
) -> Result<SliceOutcome, StoreError> {
    let (rules, mut expansion) = begin(tx, &slice).await?;
    let devices = slice.tasks.iter().map(|task| task.device).chain(slice.skipped.iter().copied());
    deletion::expect_devices(tx, devices).await?;
    let duplicates = take_duplicates(tx, &mut slice, &expansion).await?;
    let (busy, replaced) = conflicts(tx, &slice, &rules).await?;

    let mut counters = Counters::default();
    let wanted = feed::facts(tx, slice.job).await?;
    let wanted = tx.wanted(wanted.account);
    cancel(tx, &replaced, CancelCause::Overwritten, &mut counters, now).await?;
    let queued = insert(tx, &slice, &rules, &busy, expansion.tasks + 1, now).await?;
    let made = slice.tasks.len() - busy.len();
    let open = if rules.need_confirm { TaskStatus::Confirm } else { TaskStatus::Queued };
    counters.add(slice.job, open, i64::try_from(made).unwrap_or(i64::MAX));
    counters.add(slice.job, TaskStatus::Failed, i64::try_from(busy.len()).unwrap_or(i64::MAX));
    if wanted {
        let new = slice.tasks.iter().map(|task| {
            let state = if busy.contains(&task.device) {
                TaskState::Failed { attempts: 0, cause: FailureCause::Busy }
            } else if rules.need_confirm {
                TaskState::Confirm
            } else {
                TaskState::Queued
            };
            Moved::to((slice.job, task.device), None, &state, 1, None)
        });
        feed::tasks_moved(tx, new.collect(), now).await?;
    }
    if !slice.skipped.is_empty() {
        let skipped = text::numbers(slice.skipped.iter().map(|device| device.0));
        let skip = query(sql::SKIP).bind(slice.job.0).bind(skipped).execute(&mut tx.conn).await;
        skip.map_err(failed(DOING))?;
    }
    reject(tx, slice.job, &slice.rejects, &duplicates).await?;

    expansion.cursor = slice.to;
    expansion.complete = slice.complete;
    expansion.lines += slice.lines;
    expansion.tasks += count(&slice.tasks);
    expansion.skipped += count(&slice.skipped);
    expansion.rejected.malformed += slice.rejected.malformed;
    expansion.rejected.unknown += slice.rejected.unknown;
    expansion.rejected.duplicate += slice.rejected.duplicate + count(&duplicates);
    expansion.busy += u64::try_from(busy.len()).unwrap_or(u64::MAX);
    advance(tx, slice.job, &expansion).await?;
    counters.write(tx).await?;
    Ok(SliceOutcome { queued, expansion })
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// Reads the job and refuses a slice that does not begin where the cursor is.
async fn begin(tx: &mut Tx, slice: &Slice) -> Result<(Rules, Expansion), StoreError> {
    let found = query(sql::JOB).bind(slice.job.0).fetch_optional(&mut tx.conn).await;
    let row = found.map_err(failed(DOING))?.ok_or(StoreError::NotFound { what: "job" })?;
    let of = Of { table: "job", row: &row };
    let expansion = rows::expansion(&of)?;
    if expansion.complete || expansion.cursor != slice.from {
        return Err(StoreError::Conflict { what: "expansion" });
    }
    let rules = Rules {
        module: of.get("module")?,
        need_confirm: of.get::<i64>("need_confirm")? == 1,
        multi_module: of.get::<i64>("multi_module")? == 1,
        replaces: of.parsed("overwrite", OverwriteMode::from_code)? == OverwriteMode::Replace,
    };
    Ok((rules, expansion))
}

/// Takes out of the slice the devices that the job had before; also those twice in the slice.
async fn take_duplicates(
    tx: &mut Tx,
    slice: &mut Slice,
    expansion: &Expansion,
) -> Result<Vec<DeviceId>, StoreError> {
    let mut duplicates = Vec::new();
    slice.tasks.sort_by_key(|task| task.device);
    slice.skipped.sort_unstable();
    let mut seen = HashSet::with_capacity(slice.tasks.len() + slice.skipped.len());
    if expansion.tasks + expansion.skipped > 0 {
        let devices = slice.tasks.iter().map(|task| task.device.0);
        let devices = text::numbers(devices.chain(slice.skipped.iter().map(|device| device.0)));
        let found = query_scalar(sql::SEEN).bind(slice.job.0).bind(devices).fetch_one(&mut tx.conn).await;
        let found: Option<String> = found.map_err(failed(DOING))?;
        seen.extend(text::lines::<1>("task", found.as_deref())?.into_iter().map(|[device]| DeviceId(device)));
    }
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

/// The devices that are busy, and the earlier tasks that make room.
async fn conflicts(
    tx: &mut Tx,
    slice: &Slice,
    rules: &Rules,
) -> Result<(HashSet<DeviceId>, Vec<(i64, DeviceId, TaskStatus)>), StoreError> {
    if slice.tasks.is_empty() {
        return Ok(Default::default());
    }
    let devices = text::numbers(slice.tasks.iter().map(|task| task.device.0));
    let found =
        query_scalar(sql::OPEN).bind(rules.module.as_str()).bind(devices).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    let mut busy = HashSet::new();
    let mut replaced = Vec::new();
    for [device, task, status, same_module] in text::lines::<4>("task", found.as_deref())? {
        let corrupt = || StoreError::Corrupt { table: "task", reason: format!("status {status}") };
        let status = TaskStatus::from_code(status).ok_or_else(corrupt)?;
        let of_same_module = rules.multi_module && same_module == 1;
        if rules.multi_module && !of_same_module && feed::facts(tx, JobNo(task >> 32)).await?.multi_module {
            continue;
        }
        if status != TaskStatus::InProgress && (rules.replaces || of_same_module) {
            replaced.push((task, DeviceId(device), status));
        } else {
            busy.insert(DeviceId(device));
        }
    }
    // All make room, or none does.
    replaced.retain(|(_, device, _)| !busy.contains(device));
    replaced.sort_unstable_by_key(|(task, ..)| *task);
    Ok((busy, replaced))
}

/// Writes the tasks; returns the devices whose tasks may be pushed.
async fn insert(
    tx: &mut Tx,
    slice: &Slice,
    rules: &Rules,
    busy: &HashSet<DeviceId>,
    first_seq: u64,
    now: Timestamp,
) -> Result<Vec<DeviceId>, StoreError> {
    if slice.tasks.is_empty() {
        return Ok(Vec::new());
    }
    let mut queued = Vec::with_capacity(slice.tasks.len());
    let mut packed = String::new();
    let set = text::array(&slice.tasks, |out, NewTask { device, src_version }| {
        let is_busy = busy.contains(device);
        if !is_busy {
            queued.push(*device);
        }
        packed.clear();
        let flag = if is_busy { 'b' } else { '-' };
        let version = src_version.as_ref().map_or("", |version| version.as_str());
        let _ = write!(packed, "{:017}{flag}{version}", device.0); // Writing to a String cannot fail.
        text::quote(out, &packed);
    });
    let open = if rules.need_confirm { TaskStatus::Confirm } else { TaskStatus::Queued };
    let new = query(sql::NEW_TASKS)
        .bind((slice.job.0 << 32) + first_seq.cast_signed())
        .bind(set)
        .bind(rules.module.as_str())
        .bind(open.code())
        .bind(now.millis())
        .bind(FailureCause::Busy.code());
    new.execute(&mut tx.conn).await.map_err(failed(DOING))?;
    Ok(if rules.need_confirm { Vec::new() } else { queued })
}

async fn reject(
    tx: &mut Tx,
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
    let mut packed = String::new();
    let set = text::array(lines, |out, (cause, line)| {
        packed.clear();
        let _ = write!(packed, "{}{line}", reject_code(cause)); // Writing to a String cannot fail.
        text::quote(out, &packed);
    });
    let kept = query(sql::REJECT).bind(job.0).bind(set).execute(&mut tx.conn).await;
    kept.map(drop).map_err(failed(DOING))
}

async fn advance(tx: &mut Tx, job: JobNo, expansion: &Expansion) -> Result<(), StoreError> {
    let Expansion { cursor, complete, lines, tasks, skipped, rejected, busy } = expansion;
    let advance = query(sql::ADVANCE)
        .bind(job.0)
        .bind(cursor.offset.cast_signed())
        .bind(i64::from(cursor.slice))
        .bind(cursor.after.as_deref())
        .bind(*complete)
        .bind(lines.cast_signed())
        .bind(tasks.cast_signed())
        .bind(skipped.cast_signed())
        .bind(rejected.malformed.cast_signed())
        .bind(rejected.unknown.cast_signed())
        .bind(rejected.duplicate.cast_signed())
        .bind(busy.cast_signed());
    advance.execute(&mut tx.conn).await.map_err(failed(DOING))?;
    if *complete {
        let forget = query(sql::FORGET_SKIPPED).bind(job.0).bind(FORGET_MAX).execute(&mut tx.conn).await;
        forget.map_err(failed(DOING))?;
        deletion::forget_past(tx, job, FORGET_MAX).await?;
        query(REFRESH_LIVE).bind(job.0).execute(&mut tx.conn).await.map_err(failed(DOING))?;
    }
    Ok(())
}

const fn reject_code(cause: RejectCause) -> i64 {
    match cause {
        RejectCause::Malformed => 1,
        RejectCause::Unknown => 2,
        RejectCause::Duplicate => 3,
    }
}

/// Reads the store's number of a cause.
pub(crate) const fn reject_cause(code: i64) -> Option<RejectCause> {
    match code {
        1 => Some(RejectCause::Malformed),
        2 => Some(RejectCause::Unknown),
        3 => Some(RejectCause::Duplicate),
        _ => None,
    }
}
