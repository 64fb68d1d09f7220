//! What operators make of tasks: some by name, all or none; those of devices; many by a filter, in pieces.
//!
//! Each holds its jobs before it looks at what they are cancelling, and a cancellation writes the job: so they
//! follow each other. Those that also turn a job's status, or grow its fence, hold it alone from the beginning;
//! two who share it first and want to write it then would block each other.
//!
//! Invariant: a task in a status that its job is cancelling is left to the cancellation, and none comes into
//! such a status; so what a cancellation was answered for stays so.

use std::collections::{BTreeMap, BTreeSet};

use otaria_core::ids::{DeviceId, FirmwareNo, JobNo};
use otaria_core::job::JobUpdate;
use otaria_core::task::{BulkFilter, CancelCause};
use otaria_core::time::Timestamp;
use otaria_ports::store::{BulkStep, Job, JobTurn, StoreError, TaskChange};
use sqlx::query;

use super::counters::Counters;
use super::sql::{bulk as sql, jobs as own};
use super::{PgTx, cancel, changes, feed, jobs};
use crate::errors::failed;
use crate::rows::{self, Of};
use crate::sql::bulk::{RUNNING, TURN};

/// See `Tasks::settle_all`.
pub(crate) async fn settle_all(
    tx: &mut PgTx<'_>,
    turns: &[JobTurn],
    wanted: &[TaskChange],
    now: Timestamp,
) -> Result<Vec<usize>, StoreError> {
    let numbers: Vec<i64> = turns.iter().map(|turn| turn.job.0).collect();
    jobs::lock(tx, &numbers).await?;
    let gate = gate(tx, &numbers).await?;
    changes::hold_places(tx, wanted).await?;
    let chosen = changes::choose(tx, Some(&gate), wanted).await?;
    let places: BTreeSet<usize> = chosen.iter().map(|(place, _)| *place).collect();
    let refused: Vec<usize> = (0..wanted.len()).filter(|place| !places.contains(place)).collect();
    for one in turns {
        // Looked at in any case: who hears what stands in the way hears it of the job as it thinks it is.
        let to = if refused.is_empty() { one.to } else { one.from };
        if !turn(tx, JobTurn { to, ..*one }, now).await? {
            return Err(StoreError::Conflict { what: "job" });
        }
    }
    if refused.is_empty() {
        let mut counters = Counters::default();
        changes::write(tx, wanted, &chosen, &mut counters, now).await?;
        counters.write(tx).await?;
    }
    Ok(refused)
}

/// What jobs are cancelling, which are held.
async fn gate(tx: &mut PgTx<'_>, jobs: &[i64]) -> Result<changes::Gate, StoreError> {
    let found = query(sql::MASKS).bind(jobs).fetch_all(tx.conn()).await;
    let mut masks = BTreeMap::new();
    for row in &found.map_err(failed("looking at cancellations"))? {
        let of = Of { table: "job", row };
        masks.insert(JobNo(of.get("no")?), of.get("cancel_mask")?);
    }
    Ok(changes::Gate::Ordered(masks))
}

/// Turns a job's status; whether it was in the one that its turn begins with.
async fn turn(tx: &mut PgTx<'_>, turn: JobTurn, now: Timestamp) -> Result<bool, StoreError> {
    let JobTurn { job, from, to } = turn;
    let turned = query(TURN).bind(job.0).bind(from.code()).bind(to.code()).bind(now.millis());
    let turned = turned.execute(tx.conn()).await.map_err(failed("moving a job"))?.rows_affected() > 0;
    if turned && from != to {
        feed::job_moved(tx, job, to, now).await?;
    }
    Ok(turned)
}

/// See `Tasks::cancel_of_devices`.
///
/// Which jobs are concerned is looked up first and without a lock, since jobs are locked before tasks. A task
/// that comes to be meanwhile is as one that comes after this call.
pub(crate) async fn cancel_of_devices(
    tx: &mut PgTx<'_>,
    firmware: FirmwareNo,
    job: Option<JobNo>,
    devices: &[DeviceId],
    cause: CancelCause,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    let unavailable = failed("cancelling tasks of devices");
    let devices: BTreeSet<i64> = devices.iter().map(|device| device.0).collect();
    let devices: Vec<i64> = devices.into_iter().collect();
    let found = query(sql::OF_DEVICES).bind(devices).bind(firmware.0).bind(job.map(|job| job.0));
    let found = found.fetch_all(tx.conn()).await.map_err(unavailable)?;
    let (mut concerned, mut open) = (BTreeSet::new(), Vec::new());
    for row in &found {
        let of = Of { table: "task", row };
        let job = JobNo(of.get("job_no")?);
        concerned.insert(job.0);
        if of.get::<i64>("open")? == 1 {
            open.push((DeviceId(of.get("device_id")?), job));
        }
    }
    open.sort_unstable();
    let concerned: Vec<i64> = concerned.into_iter().collect();
    let with_open: BTreeSet<i64> = open.iter().map(|(_, job)| job.0).collect();
    let with_open: Vec<i64> = with_open.into_iter().collect();
    jobs::lock(tx, &with_open).await?;

    let mut counters = Counters::default();
    let canceled = cancel::cancel(tx, &open, |_| true, cause, &mut counters, now).await?;
    let fenced: BTreeSet<i64> = canceled.iter().map(|(key, _)| key.job.0).collect();
    if !fenced.is_empty() {
        let fenced: Vec<i64> = fenced.into_iter().collect();
        query(sql::FENCE).bind(fenced).execute(tx.conn()).await.map_err(unavailable)?;
    }
    counters.write(tx).await?;
    let jobs = query(own::BY_NO).bind(concerned).fetch_all(tx.conn()).await.map_err(unavailable)?;
    jobs.iter().map(rows::job).collect()
}

/// See `Jobs::request_bulk`.
pub(crate) async fn request(
    tx: &mut PgTx<'_>,
    order: JobTurn,
    filter: &BulkFilter,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let (unavailable, job) = (failed("asking for many tasks"), order.job);
    jobs::lock(tx, &[job.0]).await?;
    let running = query(RUNNING).bind(job.0).fetch_optional(tx.conn()).await.map_err(unavailable)?;
    let running = running.as_ref().map(rows::bulk).transpose()?.flatten().filter(|bulk| !bulk.done);
    if !turn(tx, order, now).await? {
        return Ok(None);
    }
    match running {
        Some(running) if running.filter != *filter => return Err(StoreError::Conflict { what: "bulk" }),
        Some(_) => {}
        None => {
            let begin = query(sql::BEGIN).bind(job.0).bind(filter.action.code()).bind(filter.mask());
            let causes = crate::text::numbers(filter.causes.iter().map(|cause| cause.code()));
            begin.bind(causes).execute(tx.conn()).await.map_err(unavailable)?;
            jobs::refresh_live(tx, job).await?;
        }
    }
    jobs::read(tx, job).await.map(Some)
}

/// See `Jobs::write_bulk`.
pub(crate) async fn write(
    tx: &mut PgTx<'_>,
    job: JobNo,
    step: &BulkStep,
    now: Timestamp,
) -> Result<Vec<bool>, StoreError> {
    let unavailable = failed("moving many tasks");
    // The last piece writes the job.
    if step.done {
        jobs::lock(tx, &[job.0]).await?;
    } else {
        jobs::hold(tx, &[job.0]).await?;
    }
    let gate = gate(tx, &[job.0]).await?;
    changes::hold_places(tx, &step.changes).await?;
    let chosen = changes::choose(tx, Some(&gate), &step.changes).await?;
    let mut written = vec![false; step.changes.len()];
    for (place, _) in &chosen {
        written[*place] = true;
    }
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let advance = query(sql::ADVANCE)
        .bind(job.0)
        .bind(i64::from(step.from))
        .bind(i64::from(step.to))
        .bind(i64::from(step.done))
        .bind(count(chosen.len()))
        .bind(count(written.len() - chosen.len()));
    if advance.execute(tx.conn()).await.map_err(unavailable)?.rows_affected() == 0 {
        return Err(StoreError::Conflict { what: "bulk" });
    }
    if step.done {
        jobs::refresh_live(tx, job).await?;
    }
    let mut counters = Counters::default();
    changes::write(tx, &step.changes, &chosen, &mut counters, now).await?;
    counters.write(tx).await?;
    Ok(written)
}

/// See `Jobs::update_job`.
pub(crate) async fn update(
    tx: &mut PgTx<'_>,
    job: JobNo,
    update: &JobUpdate,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    jobs::lock(tx, &[job.0]).await?;
    let found = match jobs::read(tx, job).await {
        Ok(found) if !found.status.is_ended() => found,
        Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut new = found.new;
    update.apply(&mut new);
    let span = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let change = query(sql::UPDATE)
        .bind(job.0)
        .bind(i64::from(new.policy.maximum_per_minute.get()))
        .bind(new.policy.timeout.map(span))
        .bind(rows::tags(&new.tags))
        .bind(rows::target(&new.target))
        .bind(now.millis());
    change.execute(tx.conn()).await.map_err(failed("changing a job"))?;
    jobs::read(tx, job).await.map(Some)
}
