//! What goes when its time is over, and the check that counts are right.

use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::store::StoreError;
use sqlx::{Row, query, query_scalar};

use crate::deletion;
use crate::sql::jobs::COUNT_TASKS;
use crate::sql::part::{FORGET_PAST, PAST_LEFT};
use crate::sql::retention as sql;
use crate::sqlite::errors::failed;
use crate::sqlite::{SqliteStore, Tx};
use crate::text;

/// How long the count of one job's tasks may take: a pass over its rows, 4M a second.
const AUDIT_MAX: Duration = Duration::from_secs(30);

/// The statuses whose kept count is not the number of tasks (I9), in one snapshot.
pub(crate) async fn audit(
    store: &SqliteStore,
    job: JobNo,
) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError> {
    let doing = "auditing counts";
    let mut reader = store.readers.get(doing).await?;
    let counted = query(COUNT_TASKS).bind(job.0);
    let row = reader.read(doing, AUDIT_MAX, |conn| counted.fetch_one(conn)).await?;
    let counted: String = row.try_get(0).map_err(failed(doing))?;
    let pairs = text::lines::<14>("job_counter", Some(&counted))?;
    let [counted] = pairs.as_slice() else {
        return Err(StoreError::Corrupt { table: "job_counter", reason: "not one line".to_owned() });
    };
    let (counted, kept) = counted.split_at(7);
    let all = TaskStatus::ALL.into_iter().zip(kept).zip(counted);
    let differ = all.filter(|((_, kept), counted)| kept != counted);
    let unsigned = |n: &i64| u64::try_from(*n).unwrap_or(0);
    Ok(differ.map(|((status, kept), counted)| (status, unsigned(kept), unsigned(counted))).collect())
}

/// Removes up to `limit` rows of what is over; how many were removed.
pub(crate) async fn purge(tx: &mut Tx, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut removed = 0;
    while removed < limit {
        let left = limit - removed;
        if let Some(job) = one(tx, query_scalar(sql::OLDEST).bind(before.millis())).await? {
            removed += purge_job(tx, job, left).await?;
            continue;
        }
        if let Some(job) = one(tx, query_scalar(sql::SKIPS_LEFT)).await? {
            removed += delete(tx, sql::SKIPS, job, Some(left)).await?;
            continue;
        }
        let Some(job) = one(tx, query_scalar(PAST_LEFT)).await? else { break };
        removed += delete(tx, FORGET_PAST, job, Some(left)).await?;
    }
    Ok(removed)
}

type Scalar<'q> = sqlx::query::QueryScalar<'q, sqlx::Sqlite, i64, sqlx::sqlite::SqliteArguments>;

async fn one(tx: &mut Tx, statement: Scalar<'_>) -> Result<Option<i64>, StoreError> {
    statement.fetch_optional(&mut tx.conn).await.map_err(failed("removing old jobs"))
}

/// Removes up to `limit` rows of a job, the job itself last.
async fn purge_job(tx: &mut Tx, job: i64, limit: u64) -> Result<u64, StoreError> {
    for rows in [sql::TASKS, sql::REJECTS, sql::SKIPS, FORGET_PAST] {
        let removed = delete(tx, rows, job, Some(limit)).await?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    delete(tx, sql::COUNTERS, job, None).await?;
    delete(tx, sql::SOURCE, job, None).await?;
    delete(tx, crate::sql::bulk::FORGET, job, None).await?;
    let removed = delete(tx, sql::JOB, job, None).await?;
    deletion::forget_firmware(tx).await?;
    Ok(removed)
}

async fn delete(
    tx: &mut Tx,
    statement: &'static str,
    job: i64,
    limit: Option<u64>,
) -> Result<u64, StoreError> {
    let mut delete = query(statement).bind(job);
    if let Some(limit) = limit {
        delete = delete.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    let gone = delete.execute(&mut tx.conn).await.map_err(failed("removing old jobs"))?;
    Ok(gone.rows_affected())
}
