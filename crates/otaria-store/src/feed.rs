//! What listeners hear: collected inside the transaction, told after its commit.
//!
//! Invariant: names are looked up only where somebody listens, so that the feed costs nothing otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobId, JobNo, ProductKey};
use otaria_core::job::{JobKind, JobStatus};
use otaria_core::task::{TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::events::{Event, Happened};
use otaria_ports::store::StoreError;
use sqlx::query;

use crate::names::names;
use crate::rows::{Columns, Of};
use crate::sql::jobs as sql;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::text;

/// What never changes of a job. Kept beside the connection for the jobs that move.
#[derive(Debug)]
pub(crate) struct JobFacts {
    pub(crate) id: JobId,
    pub(crate) account: AccountNo,
    pub(crate) product: ProductKey,
    pub(crate) multi_module: bool,
    pub(crate) dynamic: bool,
}

impl JobFacts {
    /// Of a row of `job` with the key of its product.
    pub(crate) fn read(of: &Of<'_, impl Columns>) -> Result<Self, StoreError> {
        Ok(Self {
            id: of.parsed("id", |text: &str| JobId::parse(text).ok())?,
            account: AccountNo(of.get("account_id")?),
            product: of.parsed("key", |text: &str| ProductKey::parse(text).ok())?,
            multi_module: of.get::<i64>("multi_module")? == 1,
            dynamic: of.parsed("kind", JobKind::from_code)? == JobKind::Dynamic,
        })
    }
}

/// A task that came to be or moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) job: JobNo,
    pub(crate) device: DeviceId,
    pub(crate) previous: Option<TaskStatus>,
    pub(crate) status: TaskStatus,
    pub(crate) attempt: u8,
    pub(crate) percent: Option<u8>,
    pub(crate) revision: i64,
    pub(crate) desc: Option<String>,
}

impl Moved {
    /// A task that moved to `state`.
    pub(crate) fn to(
        (job, device): (JobNo, DeviceId),
        previous: Option<TaskStatus>,
        state: &TaskState,
        revision: i64,
        words: Option<&str>,
    ) -> Self {
        let desc = match state {
            TaskState::Failed { cause, .. } => Some(cause.describe()),
            TaskState::Canceled { cause, .. } => Some(cause.describe()),
            TaskState::Confirm
            | TaskState::Queued
            | TaskState::Notified { .. }
            | TaskState::InProgress { .. }
            | TaskState::Succeeded { .. } => words,
        };
        Self {
            job,
            device,
            previous,
            status: state.status(),
            attempt: state.attempts(),
            percent: percent(state),
            revision,
            desc: desc.map(str::to_owned),
        }
    }

    /// The same as it is told.
    pub(crate) fn happened(self, device: DeviceName) -> Happened {
        Happened::Task {
            device,
            device_id: self.device,
            previous: self.previous,
            status: self.status,
            attempt: self.attempt,
            percent: self.percent,
            revision: self.revision,
            desc: self.desc,
        }
    }
}

/// Progress, while there is some.
pub(crate) const fn percent(state: &TaskState) -> Option<u8> {
    match state {
        TaskState::InProgress { percent, .. } => Some(percent.get()),
        TaskState::Confirm
        | TaskState::Queued
        | TaskState::Notified { .. }
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Canceled { .. } => None,
    }
}

/// A job moved, or came to be.
pub(crate) async fn job_moved(
    tx: &mut Tx,
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
pub(crate) async fn any_wanted(tx: &mut Tx, jobs: &BTreeSet<JobNo>) -> Result<bool, StoreError> {
    for job in jobs {
        let facts = facts(tx, *job).await?;
        if tx.wanted(facts.account) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tasks moved, in this order.
pub(crate) async fn tasks_moved(tx: &mut Tx, moved: Vec<Moved>, at: Timestamp) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let names = names(tx, moved.iter().map(|moved| moved.device)).await?;
    for moved in moved {
        let facts = facts(tx, moved.job).await?;
        let Some(device) = names.get(&moved.device).filter(|_| tx.wanted(facts.account)) else { continue };
        let job = moved.job;
        let what = moved.happened(device.clone());
        tell(tx, (job, &facts), at, what);
    }
    Ok(())
}

fn tell(tx: &mut Tx, (job_no, facts): (JobNo, &JobFacts), at: Timestamp, what: Happened) {
    let (product, job) = (facts.product.clone(), facts.id.clone());
    tx.tell(Event { account: facts.account, product, job, job_no, at, what });
}

/// What never changes of a job.
pub(crate) async fn facts(tx: &mut Tx, job: JobNo) -> Result<Arc<JobFacts>, StoreError> {
    if let Some(facts) = tx.known(job) {
        return Ok(facts);
    }
    let found = query(sql::FACTS).bind(text::numbers([job.0])).fetch_optional(&mut tx.conn).await;
    let row = found.map_err(failed("reading a job"))?.ok_or(StoreError::NotFound { what: "job" })?;
    let facts = Arc::new(JobFacts::read(&Of { table: "job", row: &row })?);
    tx.know(job, Arc::clone(&facts));
    Ok(facts)
}
