//! What operators make of tasks: some by name, all or none; those of devices; many by a filter, in pieces.
//!
//! Invariant: a task in a status that its job is cancelling is left to the cancellation, and none comes into
//! such a status; so what a cancellation was answered for stays so.

use std::collections::BTreeSet;

use otaria_core::ids::{DeviceId, FirmwareNo, JobNo};
use otaria_core::job::JobUpdate;
use otaria_core::task::{BulkFilter, CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{BulkStep, Job, JobTurn, StoreError, TaskChange};
use sqlx::{query, query_scalar};

use crate::counters::Counters;
use crate::sql::bulk as sql;
use crate::sql::jobs::{BY_NO, REFRESH_LIVE};
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::{cancel, changes, feed, jobs, rows, text};

/// See `Tasks::settle_all`.
pub(crate) async fn settle_all(
    tx: &mut Tx,
    turns: &[JobTurn],
    wanted: &[TaskChange],
    now: Timestamp,
) -> Result<Vec<usize>, StoreError> {
    let gate = gate(tx, turns.iter().map(|turn| turn.job)).await?;
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
        changes::write(tx, wanted, &chosen, now).await?;
    }
    Ok(refused)
}

async fn gate(tx: &mut Tx, jobs: impl Iterator<Item = JobNo>) -> Result<changes::Gate, StoreError> {
    let masks = query_scalar(sql::MASKS).bind(text::numbers(jobs.map(|job| job.0)));
    let masks: Option<String> =
        masks.fetch_one(&mut tx.conn).await.map_err(failed("looking at cancellations"))?;
    let masks = text::lines::<2>("job", masks.as_deref())?;
    Ok(changes::Gate::Ordered(masks.into_iter().map(|[job, mask]| (JobNo(job), mask)).collect()))
}

/// Turns a job's status; whether it was in the one that its turn begins with.
async fn turn(tx: &mut Tx, turn: JobTurn, now: Timestamp) -> Result<bool, StoreError> {
    let JobTurn { job, from, to } = turn;
    let turned = query(sql::TURN).bind(job.0).bind(from.code()).bind(to.code()).bind(now.millis());
    let turned = turned.execute(&mut tx.conn).await.map_err(failed("moving a job"))?.rows_affected() > 0;
    if turned && from != to {
        feed::job_moved(tx, job, to, now).await?;
    }
    Ok(turned)
}

/// See `Tasks::cancel_of_devices`.
pub(crate) async fn cancel_of_devices(
    tx: &mut Tx,
    firmware: FirmwareNo,
    job: Option<JobNo>,
    devices: &[DeviceId],
    cause: CancelCause,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    let doing = "cancelling tasks of devices";
    let devices: BTreeSet<i64> = devices.iter().map(|device| device.0).collect();
    let found = query_scalar(sql::OF_DEVICES).bind(text::numbers(devices)).bind(firmware.0);
    let found = found.bind(job.map(|job| job.0)).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(doing))?;
    let mut found = text::lines::<3>("task", found.as_deref())?;
    found.sort_unstable();
    let mut open = Vec::new();
    for [id, device, code] in &found {
        let corrupt = || StoreError::Corrupt { table: "task", reason: format!("status {code}") };
        let status = TaskStatus::from_code(*code).ok_or_else(corrupt)?;
        if status.is_open() {
            open.push((*id, DeviceId(*device), status));
        }
    }
    let mut counters = Counters::default();
    cancel::cancel(tx, &open, cause, &mut counters, now).await?;
    let fenced: BTreeSet<i64> = open.iter().map(|(id, ..)| id >> 32).collect();
    if !fenced.is_empty() {
        let fence = query(sql::FENCE).bind(text::numbers(fenced)).execute(&mut tx.conn).await;
        fence.map_err(failed(doing))?;
    }
    counters.write(tx).await?;

    let jobs: BTreeSet<i64> = found.iter().map(|[id, ..]| id >> 32).collect();
    let jobs = query(BY_NO).bind(text::numbers(jobs)).fetch_all(&mut tx.conn).await.map_err(failed(doing))?;
    jobs.iter().map(rows::job).collect()
}

/// See `Jobs::request_bulk`.
pub(crate) async fn request(
    tx: &mut Tx,
    order: JobTurn,
    filter: &BulkFilter,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let (doing, job) = ("asking for many tasks", order.job);
    let running =
        query(sql::RUNNING).bind(job.0).fetch_optional(&mut tx.conn).await.map_err(failed(doing))?;
    let running = running.as_ref().map(rows::bulk).transpose()?.flatten().filter(|bulk| !bulk.done);
    if !turn(tx, order, now).await? {
        return Ok(None);
    }
    match running {
        Some(running) if running.filter != *filter => return Err(StoreError::Conflict { what: "bulk" }),
        Some(_) => {}
        None => {
            let begin = query(sql::BEGIN).bind(job.0).bind(filter.action.code()).bind(filter.mask());
            let causes = text::numbers(filter.causes.iter().map(|cause| cause.code()));
            begin.bind(causes).execute(&mut tx.conn).await.map_err(failed(doing))?;
            query(REFRESH_LIVE).bind(job.0).execute(&mut tx.conn).await.map_err(failed(doing))?;
        }
    }
    jobs::read(tx, job).await.map(Some)
}

/// See `Jobs::write_bulk`.
pub(crate) async fn write(
    tx: &mut Tx,
    job: JobNo,
    step: &BulkStep,
    now: Timestamp,
) -> Result<Vec<bool>, StoreError> {
    let doing = "moving many tasks";
    let gate = gate(tx, std::iter::once(job)).await?;
    let chosen = changes::choose(tx, Some(&gate), &step.changes).await?;
    let mut written = vec![false; step.changes.len()];
    for (place, _) in &chosen {
        written[*place] = true;
    }
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let advance = query(sql::ADVANCE).bind(job.0).bind(i64::from(step.from)).bind(i64::from(step.to));
    let advance = advance.bind(step.done).bind(count(chosen.len())).bind(count(written.len() - chosen.len()));
    if advance.execute(&mut tx.conn).await.map_err(failed(doing))?.rows_affected() == 0 {
        return Err(StoreError::Conflict { what: "bulk" });
    }
    if step.done {
        query(REFRESH_LIVE).bind(job.0).execute(&mut tx.conn).await.map_err(failed(doing))?;
    }
    changes::write(tx, &step.changes, &chosen, now).await?;
    Ok(written)
}

/// See `Jobs::update_job`.
pub(crate) async fn update(
    tx: &mut Tx,
    job: JobNo,
    update: &JobUpdate,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let doing = "changing a job";
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
    change.execute(&mut tx.conn).await.map_err(failed(doing))?;
    jobs::read(tx, job).await.map(Some)
}
