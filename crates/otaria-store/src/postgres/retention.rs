//! What goes when its time is over, and the check that counts are right.

use otaria_core::ids::JobNo;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::store::StoreError;
use sqlx::{query, query_scalar};

use super::sql::{expand, jobs, retention as sql};
use super::{PgTx, PostgresStore, deletion};
use crate::errors::failed;
use crate::rows::Of;
use crate::sql::bulk::FORGET;
use crate::sql::part::FORGET_PAST;
use crate::sql::retention as shared;

/// The statuses whose kept count is not the number of tasks (I9), in one snapshot.
pub(crate) async fn audit(
    store: &PostgresStore,
    job: JobNo,
) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError> {
    let counted = store.rows("auditing counts", || query(jobs::COUNT_TASKS).bind(job.0)).await?;
    let mut differ = Vec::new();
    for row in &counted {
        let of = Of { table: "job_counter", row };
        let (kept, counted): (i64, i64) = (of.get("kept")?, of.get("counted")?);
        if kept != counted {
            let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
            let status = of.parsed("status", TaskStatus::from_code)?;
            differ.push((status, unsigned(kept), unsigned(counted)));
        }
    }
    Ok(differ)
}

/// Removes up to `limit` rows of what is over; how many were removed.
pub(crate) async fn purge(tx: &mut PgTx<'_>, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut removed = 0;
    while removed < limit {
        let left = limit - removed;
        if let Some(job) = one(tx, sql::OLDEST, Some(before)).await? {
            removed += purge_job(tx, job, left).await?;
            continue;
        }
        if let Some(job) = one(tx, sql::SKIPS_LEFT, None).await? {
            removed += delete(tx, expand::FORGET_SKIPPED, job, Some(left)).await?;
            continue;
        }
        let Some(job) = one(tx, sql::PAST_LEFT, None).await? else { break };
        removed += delete(tx, FORGET_PAST, job, Some(left)).await?;
    }
    Ok(removed)
}

async fn one(
    tx: &mut PgTx<'_>,
    statement: &'static str,
    before: Option<Timestamp>,
) -> Result<Option<i64>, StoreError> {
    let mut one = query_scalar(statement);
    if let Some(before) = before {
        one = one.bind(before.millis());
    }
    one.fetch_optional(tx.conn()).await.map_err(failed("removing old jobs"))
}

/// Removes up to `limit` rows of a job, the job itself last.
async fn purge_job(tx: &mut PgTx<'_>, job: i64, limit: u64) -> Result<u64, StoreError> {
    for rows in [sql::TASKS, sql::REJECTS, expand::FORGET_SKIPPED, FORGET_PAST] {
        let removed = delete(tx, rows, job, Some(limit)).await?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    for rows in [shared::COUNTERS, shared::SOURCE, FORGET] {
        delete(tx, rows, job, None).await?;
    }
    let removed = delete(tx, shared::JOB, job, None).await?;
    deletion::forget_firmware(tx).await?;
    Ok(removed)
}

async fn delete(
    tx: &mut PgTx<'_>,
    statement: &'static str,
    job: i64,
    limit: Option<u64>,
) -> Result<u64, StoreError> {
    let mut delete = query(statement).bind(job);
    if let Some(limit) = limit {
        delete = delete.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    let gone = delete.execute(tx.conn()).await.map_err(failed("removing old jobs"))?;
    Ok(gone.rows_affected())
}
