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
use otaria_core::job::{JobKind, OverwriteMode};
use otaria_core::task::{CancelCause, FailureCause, TaskKey, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    Expansion, NewTask, RejectCause, RejectedLine, Replaced, Slice, SliceOutcome, StoreError,
};
use sqlx::{query, query_scalar};

use crate::cancel::cancel;
use crate::counters::Counters;
use crate::feed::{self, Moved};
use crate::names::names;
use crate::rows::{self, Columns, Of};
use crate::sql::expand as sql;
use crate::sql::jobs::REFRESH_LIVE;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::{deletion, text};

const DOING: &str = "expanding a job";

/// Skipped devices forgotten in the transaction that completes an expansion; the rest goes with retention.
pub(crate) const FORGET_MAX: i64 = 20_000;

/// What new tasks need to know of their job.
pub(crate) struct Rules {
    pub(crate) job: JobNo,
    pub(crate) module: String,
    pub(crate) need_confirm: bool,
    pub(crate) multi_module: bool,
    /// Whether any earlier task that is not in progress makes room.
    pub(crate) replaces: bool,
    /// Whether the job is dynamic: the latest of those wins.
    pub(crate) dynamic: bool,
}

impl Rules {
    /// What a new task is that nothing stands in the way of.
    pub(crate) const fn first_status(&self) -> TaskStatus {
        if self.need_confirm { TaskStatus::Confirm } else { TaskStatus::Queued }
    }

    /// Of a row of `job` with the module of its firmware.
    pub(crate) fn read(job: JobNo, of: &Of<'_, impl Columns>) -> Result<Self, StoreError> {
        Ok(Self {
            job,
            module: of.get("module")?,
            need_confirm: of.get::<i64>("need_confirm")? == 1,
            multi_module: of.get::<i64>("multi_module")? == 1,
            replaces: of.parsed("overwrite", OverwriteMode::from_code)? == OverwriteMode::Replace,
            dynamic: of.parsed("kind", JobKind::from_code)? == JobKind::Dynamic,
        })
    }
}

/// What stands in the way of new tasks.
#[derive(Default)]
pub(crate) struct Conflicts {
    /// Devices whose unfinished tasks stay.
    pub(crate) busy: HashSet<DeviceId>,
    /// Devices of a dynamic job that a later one has.
    pub(crate) beaten: HashSet<DeviceId>,
    /// Tasks that make room, sorted.
    replaced: Vec<(i64, DeviceId, TaskStatus)>,
}

pub(crate) async fn expand(
    tx: &mut Tx,
    mut slice: Slice,
    now: Timestamp,
) -> Result<SliceOutcome, StoreError> {
    let (rules, mut expansion) = begin(tx, &slice).await?;
    let devices = slice.tasks.iter().map(|task| task.device).chain(slice.skipped.iter().copied());
    deletion::expect_devices(tx, devices).await?;
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
    let queued = add(tx, &rules, &slice.tasks, &conflicts, (expansion.tasks + 1, now), &mut counters).await?;
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
    expansion.skipped += skipped;
    expansion.rejected.malformed += slice.rejected.malformed;
    expansion.rejected.unknown += slice.rejected.unknown;
    expansion.rejected.duplicate += slice.rejected.duplicate + count(&duplicates);
    expansion.busy += count(&conflicts.busy);
    advance(tx, slice.job, &expansion).await?;
    counters.write(tx).await?;
    Ok(SliceOutcome { queued, replaced: replaced(&conflicts)?, expansion })
}

/// The tasks that made room.
fn replaced(conflicts: &Conflicts) -> Result<Vec<Replaced>, StoreError> {
    let one = |(id, device, status): &(i64, DeviceId, TaskStatus)| {
        let corrupt = |_| StoreError::Corrupt { table: "task", reason: format!("id {id}") };
        let seq = u32::try_from(id & 0xffff_ffff).map_err(corrupt)?;
        Ok(Replaced { key: TaskKey { device: *device, job: JobNo(id >> 32), seq }, status: *status })
    };
    conflicts.replaced.iter().map(one).collect()
}

pub(crate) fn count<'a, T: 'a>(items: impl IntoIterator<Item = &'a T>) -> u64 {
    items.into_iter().count() as u64
}

/// Writes new tasks from a place on and cancels those that they replace; returns the devices whose tasks may be
/// pushed. The caller writes the counts.
pub(crate) async fn add(
    tx: &mut Tx,
    rules: &Rules,
    tasks: &[NewTask],
    conflicts: &Conflicts,
    (first_seq, now): (u64, Timestamp),
    counters: &mut Counters,
) -> Result<Vec<DeviceId>, StoreError> {
    let busy = &conflicts.busy;
    let listener = feed::facts(tx, rules.job).await?.account;
    cancel(tx, &conflicts.replaced, CancelCause::Overwritten, counters, now).await?;
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
    Ok(queued)
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
    Ok((Rules::read(slice.job, &of)?, expansion))
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
        let devices = slice.tasks.iter().map(|task| task.device).chain(slice.skipped.iter().copied());
        seen.extend(seen_before(tx, slice.job, devices).await?);
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

/// Which of these devices a job accounted for before.
pub(crate) async fn seen_before(
    tx: &mut Tx,
    job: JobNo,
    devices: impl Iterator<Item = DeviceId>,
) -> Result<HashSet<DeviceId>, StoreError> {
    let devices = text::numbers(devices.map(|device| device.0));
    let found = query_scalar(sql::SEEN).bind(job.0).bind(devices).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    Ok(text::lines::<1>("task", found.as_deref())?.into_iter().map(|[device]| DeviceId(device)).collect())
}

/// What stands in the way of new tasks of these devices.
pub(crate) async fn conflicts(
    tx: &mut Tx,
    tasks: &[NewTask],
    rules: &Rules,
) -> Result<Conflicts, StoreError> {
    let mut conflicts = Conflicts::default();
    if tasks.is_empty() {
        return Ok(conflicts);
    }
    let devices = text::numbers(tasks.iter().map(|task| task.device.0));
    let found =
        query_scalar(sql::OPEN).bind(rules.module.as_str()).bind(devices).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    for [device, task, status, same_module] in text::lines::<4>("task", found.as_deref())? {
        let corrupt = || StoreError::Corrupt { table: "task", reason: format!("status {status}") };
        let status = TaskStatus::from_code(status).ok_or_else(corrupt)?;
        let of_same_module = rules.multi_module && same_module == 1;
        let (device, other) = (DeviceId(device), JobNo(task >> 32));
        if rules.multi_module && !of_same_module && feed::facts(tx, other).await?.multi_module {
            continue;
        }
        let among_dynamic = rules.dynamic && feed::facts(tx, other).await?.dynamic;
        if among_dynamic && other > rules.job {
            conflicts.beaten.insert(device);
        } else if status != TaskStatus::InProgress && (rules.replaces || of_same_module || among_dynamic) {
            conflicts.replaced.push((task, device, status));
        } else {
            conflicts.busy.insert(device);
        }
    }
    // All make room, or none does.
    let Conflicts { busy, beaten, replaced } = &mut conflicts;
    busy.retain(|device| !beaten.contains(device));
    replaced.retain(|(_, device, _)| !busy.contains(device) && !beaten.contains(device));
    replaced.sort_unstable_by_key(|(task, ..)| *task);
    Ok(conflicts)
}

/// Writes the tasks; returns the devices whose tasks may be pushed.
async fn insert(
    tx: &mut Tx,
    rules: &Rules,
    tasks: &[NewTask],
    busy: &HashSet<DeviceId>,
    first_seq: u64,
    now: Timestamp,
) -> Result<Vec<DeviceId>, StoreError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let mut queued = Vec::with_capacity(tasks.len());
    let mut packed = String::new();
    let set = text::array(tasks, |out, NewTask { device, src_version }| {
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
    let open = rules.first_status();
    let new = query(sql::NEW_TASKS)
        .bind((rules.job.0 << 32) + first_seq.cast_signed())
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

pub(crate) const fn reject_code(cause: RejectCause) -> i64 {
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
