//! What listeners hear: collected inside the transaction, told after its commit.
//!
//! Invariant: names are looked up only where somebody listens, so that the feed costs nothing otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use otaria_core::ids::JobNo;
use otaria_core::job::JobStatus;
use otaria_core::time::Timestamp;
use otaria_ports::events::{Event, Happened};
use otaria_ports::store::StoreError;
use sqlx::query;

use super::PgTx;
use super::names::names;
use super::sql::jobs;
use crate::errors::failed;
use crate::feed::{JobFacts, Moved};
use crate::rows::Of;

/// A job moved, or came to be.
pub(crate) async fn job_moved(
    tx: &mut PgTx<'_>,
    job: JobNo,
    status: JobStatus,
    at: Timestamp,
) -> Result<(), StoreError> {
    let facts = facts(tx, job).await?;
    if tx.wanted(facts.account) {
        tell(tx, (job, &facts), at, Happened::Job { status });
    }
    Ok(())
}

/// Whether anybody listens to one of these jobs.
pub(crate) async fn any_wanted(tx: &mut PgTx<'_>, jobs: &BTreeSet<JobNo>) -> Result<bool, StoreError> {
    for job in jobs {
        let facts = facts(tx, *job).await?;
        if tx.wanted(facts.account) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tasks moved, in this order.
pub(crate) async fn tasks_moved(
    tx: &mut PgTx<'_>,
    moved: Vec<Moved>,
    at: Timestamp,
) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let names = names(tx, moved.iter().map(|moved| moved.device)).await?;
    for moved in moved {
        let facts = facts(tx, moved.job).await?;
        let Some(device) = names.get(&moved.device).filter(|_| tx.wanted(facts.account)) else { continue };
        tell(tx, (moved.job, &facts), at, moved.happened(device.clone()));
    }
    Ok(())
}

fn tell(tx: &mut PgTx<'_>, (job_no, facts): (JobNo, &JobFacts), at: Timestamp, what: Happened) {
    let (product, job) = (facts.product.clone(), facts.id.clone());
    tx.tell(Event { account: facts.account, product, job, job_no, at, what });
}

/// What never changes of a job.
pub(crate) async fn facts(tx: &mut PgTx<'_>, job: JobNo) -> Result<Arc<JobFacts>, StoreError> {
    if let Some(facts) = tx.known(job) {
        return Ok(facts);
    }
    let found = query(jobs::FACTS).bind(job.0).fetch_optional(tx.conn()).await;
    let row = found.map_err(failed("reading a job"))?.ok_or(StoreError::NotFound { what: "job" })?;
    let facts = Arc::new(JobFacts::read(&Of { table: "job", row: &row })?);
    tx.know(job, Arc::clone(&facts));
    Ok(facts)
}
