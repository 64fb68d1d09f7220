//! Cancels tasks, many at a time: replaced ones, and those of a running cancellation.
//!
//! Invariant: a running cancellation looks at every task of its job once, in order, and ends only when no
//! more of them can come.

use std::collections::BTreeSet;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::task::{CancelCause, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{StoreError, Sweep};
use sqlx::{query, query_scalar};

use crate::counters::Counters;
use crate::feed::{self, Moved};
use crate::rows::Of;
use crate::sql::jobs as sql;
use crate::sql::tasks::STAND;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::text;

const DOING: &str = "cancelling tasks";

/// Cancels open tasks, given as (task, device, status), sorted by task.
pub(crate) async fn cancel(
    tx: &mut Tx,
    tasks: &[(i64, DeviceId, TaskStatus)],
    cause: CancelCause,
    counters: &mut Counters,
    now: Timestamp,
) -> Result<(), StoreError> {
    if tasks.is_empty() {
        return Ok(());
    }
    let ids = text::numbers(tasks.iter().map(|(id, ..)| *id));
    let jobs: BTreeSet<JobNo> = tasks.iter().map(|(id, ..)| JobNo(id >> 32)).collect();
    let wanted = feed::any_wanted(tx, &jobs).await?;
    let cancel = query(sql::CANCEL_TASKS).bind(ids.clone()).bind(cause.code()).bind(now.millis());
    cancel.execute(&mut tx.conn).await.map_err(failed(DOING))?;
    for (id, _, status) in tasks {
        counters.moved(JobNo(id >> 32), *status, TaskStatus::Canceled);
    }
    if !wanted {
        return Ok(());
    }

    let found = query_scalar(STAND).bind(ids).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    let stands = text::lines::<6>("task", found.as_deref())?;
    let moved = tasks.iter().zip(stands).map(|((id, device, status), [_, _, revision, _, attempts, _])| {
        let state = TaskState::Canceled { attempts: u8::try_from(attempts).unwrap_or(u8::MAX), cause };
        Moved::to((JobNo(id >> 32), *device), Some(*status), &state, revision, None)
    });
    feed::tasks_moved(tx, moved.collect(), now).await
}

/// Looks at up to `limit` more tasks of a running cancellation.
pub(crate) async fn sweep(
    tx: &mut Tx,
    job: JobNo,
    limit: usize,
    now: Timestamp,
) -> Result<Sweep, StoreError> {
    let found = query(sql::CANCELING).bind(job.0).fetch_optional(&mut tx.conn).await;
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
    let looked = query_scalar(sql::TO_CANCEL).bind(job.0).bind(after);
    let looked = looked.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_one(&mut tx.conn).await;
    let looked: Option<String> = looked.map_err(failed(DOING))?;
    let looked = text::lines::<3>("task", looked.as_deref())?;
    let (end, last) = (looked.len() < limit, looked.last().map_or(after, |[id, ..]| id & 0xffff_ffff));
    let mut meant = Vec::new();
    for [id, device, code] in looked {
        let corrupt = || StoreError::Corrupt { table: "task", reason: format!("status {code}") };
        let status = TaskStatus::from_code(code).ok_or_else(corrupt)?;
        if status.is_open() && mask & (1 << code) != 0 {
            meant.push((id, DeviceId(device), status));
        }
    }

    let mut counters = Counters::default();
    cancel(tx, &meant, cause, &mut counters, now).await?;
    let done = end && expanded;
    let cursor = query(sql::CANCEL_CURSOR).bind(job.0).bind(last).bind(done).bind(now.millis());
    cursor.execute(&mut tx.conn).await.map_err(failed(DOING))?;
    if done {
        query(sql::REFRESH_LIVE).bind(job.0).execute(&mut tx.conn).await.map_err(failed(DOING))?;
    }
    counters.write(tx).await?;
    Ok(Sweep { canceled: u64::try_from(meant.len()).unwrap_or(u64::MAX), done })
}
