//! Cancels tasks, many at a time: replaced ones, and those of a running cancellation.
//!
//! Invariant: a running cancellation looks at every task of its job once, in order, and ends only when no
//! more of them can come.

use std::collections::BTreeSet;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::task::{CancelCause, TaskKey, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{StoreError, Sweep};
use sqlx::query;

use super::PgTx;
use super::counters::Counters;
use super::feed;
use super::sql::{jobs as sql, tasks};
use crate::errors::failed;
use crate::feed::Moved;
use crate::rows::Of;
use crate::sql::jobs::{CANCEL_CURSOR, CANCELING};

const DOING: &str = "cancelling tasks";

/// Locks open tasks and cancels those that are open still and that `meant` means; which were cancelled, and in which
/// status each was locked. `keys` are devices and jobs, sorted; the caller writes the counts.
pub(crate) async fn cancel(
    tx: &mut PgTx<'_>,
    keys: &[(DeviceId, JobNo)],
    meant: impl Fn(TaskStatus) -> bool,
    cause: CancelCause,
    counters: &mut Counters,
    now: Timestamp,
) -> Result<Vec<(TaskKey, TaskStatus)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (devices, jobs) = columns(keys);
    let found = query(tasks::LOCK_OPEN).bind(devices).bind(jobs).fetch_all(tx.conn()).await;
    let (mut canceled, mut moved) = (Vec::new(), Vec::new());
    for row in &found.map_err(failed(DOING))? {
        let of = Of { table: "task", row };
        let key = TaskKey {
            device: DeviceId(of.get("device_id")?),
            job: JobNo(of.get("job_no")?),
            seq: of.parsed("id", |id: i64| u32::try_from(id & 0xffff_ffff).ok())?,
        };
        let status = of.parsed("status", TaskStatus::from_code)?;
        if !meant(status) {
            continue;
        }
        counters.moved(key.job, status, TaskStatus::Canceled);
        let attempts = of.parsed("attempts", |n: i64| u8::try_from(n).ok())?;
        let state = TaskState::Canceled { attempts, cause };
        let revision = of.get::<i64>("revision")? + 1;
        moved.push(Moved::to((key.job, key.device), Some(status), &state, revision, None));
        canceled.push((key, status));
    }
    if canceled.is_empty() {
        return Ok(canceled);
    }
    let (devices, jobs): (Vec<i64>, Vec<i64>) =
        canceled.iter().map(|(key, _)| (key.device.0, key.job.0)).unzip();
    let cancel = query(tasks::CANCEL).bind(devices).bind(jobs).bind(cause.code()).bind(now.millis());
    cancel.execute(tx.conn()).await.map_err(failed(DOING))?;
    let jobs: BTreeSet<JobNo> = canceled.iter().map(|(key, _)| key.job).collect();
    if feed::any_wanted(tx, &jobs).await? {
        feed::tasks_moved(tx, moved, now).await?;
    }
    Ok(canceled)
}

/// Keys as two arrays.
pub(crate) fn columns(keys: &[(DeviceId, JobNo)]) -> (Vec<i64>, Vec<i64>) {
    keys.iter().map(|(device, job)| (device.0, job.0)).unzip()
}

/// Looks at up to `limit` more tasks of a running cancellation.
///
/// The job is locked first: a second request and another sweep wait, and what comes after this commit sees
/// where it ended. `complete` and the tasks are read after that, by statements of their own: an expansion
/// that is complete has committed all its tasks, so none of them can be missing from the page.
pub(crate) async fn sweep(
    tx: &mut PgTx<'_>,
    job: JobNo,
    limit: usize,
    now: Timestamp,
) -> Result<Sweep, StoreError> {
    super::jobs::lock(tx, &[job.0]).await?;
    let found = query(CANCELING).bind(job.0).fetch_optional(tx.conn()).await;
    let row = found.map_err(failed(DOING))?.ok_or(StoreError::NotFound { what: "job" })?;
    let of = Of { table: "job", row: &row };
    let mask: i64 = of.get("cancel_mask")?;
    if mask == 0 {
        return Ok(Sweep { canceled: 0, done: true });
    }
    let cause = of.parsed("cancel_cause", CancelCause::from_code)?;
    let after: i64 = of.get("cancel_seq")?;
    let expanded = of.get::<i64>("complete")? == 1;

    let limit = limit.max(1);
    let looked = query(sql::TO_CANCEL).bind(job.0).bind(after).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let looked = looked.fetch_all(tx.conn()).await.map_err(failed(DOING))?;
    let (end, mut last) = (looked.len() < limit, after);
    let mut keys = Vec::new();
    for row in &looked {
        let of = Of { table: "task", row };
        last = of.get::<i64>("id")? & 0xffff_ffff;
        if of.get::<i64>("open")? == 1 {
            keys.push((DeviceId(of.get("device_id")?), job));
        }
    }
    keys.sort_unstable();

    let mut counters = Counters::default();
    let meant = |status: TaskStatus| mask & (1 << status.code()) != 0;
    let canceled = cancel(tx, &keys, meant, cause, &mut counters, now).await?;
    let done = end && expanded;
    let cursor = query(CANCEL_CURSOR).bind(job.0).bind(last).bind(i64::from(done)).bind(now.millis());
    cursor.execute(tx.conn()).await.map_err(failed(DOING))?;
    if done {
        super::jobs::refresh_live(tx, job).await?;
    }
    counters.write(tx).await?;
    Ok(Sweep { canceled: u64::try_from(canceled.len()).unwrap_or(u64::MAX), done })
}
