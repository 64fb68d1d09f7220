//! Jobs: making, moving, counting. Expansion and cancellation have modules of their own.

use async_trait::async_trait;
use otaria_core::firmware::FirmwareStatus;
use otaria_core::gray::Last;
use otaria_core::ids::{AccountNo, ClientToken, DeviceId, FirmwareId, FirmwareNo, JobId, JobNo, ProductNo};
use otaria_core::job::{DynamicMode, JobKind, JobStatus, JobUpdate, Target};
use otaria_core::task::{BulkFilter, CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    BulkStep, CreateJob, CreatedJob, Job, JobMove, JobTurn, Jobs, RejectedLine, Slice, SliceOutcome,
    SourceKind, StoreError, Sweep, TaskCounts,
};
use sqlx::{Row, query, query_scalar};

use crate::counters::NOTICES;
use crate::expand::reject_cause;
use crate::rows::Columns;
use crate::sql::jobs as sql;
use crate::sqlite::errors::{failed, taken};
use crate::sqlite::{Lane, SqliteStore, Tx};
use crate::{bulk, cancel, expand, feed, part, retention, rows, source, text};

#[async_trait]
impl Jobs for SqliteStore {
    async fn create_job(&self, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
        let job = job.clone();
        let work = self.writer.run(Lane::Api, 2, "making a job", move |tx| {
            Box::pin(async move { create(tx, &job, now).await })
        });
        work.await
    }

    async fn put_draw(&self, job: JobNo, last: Last) -> Result<Option<Last>, StoreError> {
        let work = self.writer.run(Lane::Expansion, 1, "keeping a draw", move |tx| {
            Box::pin(async move { part::put_draw(tx, job, last).await })
        });
        work.await
    }

    async fn job(&self, account: AccountNo, id: &JobId) -> Result<Option<Job>, StoreError> {
        let one = query(sql::JOB).bind(id.as_str()).bind(account.0);
        self.row("reading a job", one).await?.as_ref().map(rows::job).transpose()
    }

    async fn job_by_token(
        &self,
        account: AccountNo,
        token: &ClientToken,
    ) -> Result<Option<(Job, [u8; 32])>, StoreError> {
        let one = query(sql::BY_TOKEN).bind(account.0).bind(token.as_str());
        let Some(row) = self.row("reading a job by its token", one).await? else { return Ok(None) };
        let digest = rows::Of { table: "job", row: &row }
            .parsed("digest", |digest: &[u8]| <[u8; 32]>::try_from(digest).ok())?;
        Ok(Some((rows::job(&row)?, digest)))
    }

    async fn jobs_by_no(&self, jobs: &[JobNo]) -> Result<Vec<Job>, StoreError> {
        let set = text::numbers(jobs.iter().map(|job| job.0));
        self.rows("reading jobs", query(sql::BY_NO).bind(set)).await?.iter().map(rows::job).collect()
    }

    async fn jobs(&self, account: AccountNo, after: JobNo, limit: usize) -> Result<Vec<Job>, StoreError> {
        let page = query(sql::JOBS).bind(account.0).bind(after.0).bind(int(limit));
        self.rows("listing jobs", page).await?.iter().map(rows::job).collect()
    }

    async fn jobs_of_firmware(
        &self,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Job>, u64), StoreError> {
        let doing = "listing a firmware's jobs";
        let page = query(sql::OF_FIRMWARE).bind(firmware.0).bind(place(before));
        let found = self.rows(doing, page.bind(int(limit)).bind(int(skip))).await?;
        let total: i64 = self.value(doing, query(sql::COUNT_OF_FIRMWARE).bind(firmware.0)).await?;
        Ok((found.iter().map(rows::job).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn jobs_of_device(
        &self,
        device: DeviceId,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Job>, u64), StoreError> {
        let doing = "listing a device's jobs";
        let page = query(sql::OF_DEVICE).bind(device.0).bind(firmware.0).bind(place(before));
        let found = self.rows(doing, page.bind(int(limit)).bind(int(skip))).await?;
        let total = query(sql::COUNT_OF_DEVICE).bind(device.0).bind(firmware.0);
        let total: i64 = self.value(doing, total).await?;
        Ok((found.iter().map(rows::job).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn update_job(
        &self,
        job: JobNo,
        update: &JobUpdate,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let update = update.clone();
        let work = self.writer.run(Lane::Api, 1, "changing a job", move |tx| {
            Box::pin(async move { bulk::update(tx, job, &update, now).await })
        });
        work.await
    }

    async fn unfinished_jobs(&self) -> Result<Vec<Job>, StoreError> {
        self.rows("reading unfinished jobs", query(sql::UNFINISHED)).await?.iter().map(rows::job).collect()
    }

    async fn ended_jobs(&self, since: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        let ended = query(sql::ENDED).bind(since.millis()).bind(int(limit));
        self.rows("reading ended jobs", ended).await?.iter().map(rows::job).collect()
    }

    async fn unfinished_jobs_of(&self, firmware: &FirmwareId) -> Result<u64, StoreError> {
        let count = query(sql::UNFINISHED_OF).bind(firmware.as_str());
        let count: i64 = self.value("counting a firmware's jobs", count).await?;
        Ok(count.unsigned_abs())
    }

    async fn job_names(&self, job: JobNo, offset: u64, limit: usize) -> Result<Vec<String>, StoreError> {
        let doing = "reading a job's names";
        let Some(row) = self.row(doing, query(sql::TARGET).bind(job.0)).await? else { return Ok(Vec::new()) };
        names_of(&row, offset, limit)
    }

    async fn expand(&self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError> {
        let slice = slice.clone();
        let rows = slice.tasks.len() + slice.skipped.len();
        let work = self.writer.run(Lane::Expansion, rows, "expanding a job", move |tx| {
            Box::pin(async move { expand::expand(tx, slice, now).await })
        });
        work.await
    }

    async fn rejected_lines(
        &self,
        job: JobNo,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, StoreError> {
        let page = query(sql::REJECTED).bind(job.0).bind(after.cast_signed()).bind(int(limit));
        let rejected = self.rows("reading rejected lines", page).await?;
        let line = |row| {
            let of = rows::Of { table: "job_reject", row };
            Ok(RejectedLine { text: of.get("line")?, cause: of.parsed("cause", reject_cause)? })
        };
        rejected.iter().map(line).collect()
    }

    async fn move_job(&self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
        let change = change.clone();
        let work = self.writer.run(Lane::Api, 1, "moving a job", move |tx| {
            Box::pin(async move { move_job(tx, &change, now).await })
        });
        work.await
    }

    async fn task_counts(&self, job: JobNo) -> Result<TaskCounts, StoreError> {
        let found: Option<String> = self.value("counting tasks", query(sql::COUNTS).bind(job.0)).await?;
        let mut counts = TaskCounts::default();
        for [status, n] in text::lines::<2>("job_counter", found.as_deref())? {
            let negative = |_| corrupt_counter(format!("{n} tasks in status {status}"));
            let n = u64::try_from(n).map_err(negative)?;
            if status == NOTICES {
                counts.notices = n;
                continue;
            }
            let slot = usize::try_from(status).ok().and_then(|place| counts.by_status.get_mut(place));
            *slot.ok_or_else(|| corrupt_counter(format!("status {status}")))? = n;
        }
        Ok(counts)
    }

    async fn request_cancel(
        &self,
        job: JobNo,
        mask: i64,
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Job, StoreError> {
        let doing = "cancelling tasks";
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let request = query(sql::REQUEST_CANCEL).bind(job.0).bind(mask).bind(cause.code());
                let request =
                    request.bind(now.millis()).execute(&mut tx.conn).await.map_err(failed(doing))?;
                if request.rows_affected() == 0 {
                    return Err(StoreError::NotFound { what: "job" });
                }
                let end = query(crate::sql::bulk::END).bind(job.0).execute(&mut tx.conn).await;
                end.map_err(failed(doing))?;
                read(tx, job).await
            })
        });
        work.await
    }

    async fn sweep_cancel(&self, job: JobNo, limit: usize, now: Timestamp) -> Result<Sweep, StoreError> {
        let work = self.writer.run(Lane::Api, limit, "cancelling tasks", move |tx| {
            Box::pin(async move { cancel::sweep(tx, job, limit, now).await })
        });
        work.await
    }

    async fn request_bulk(
        &self,
        turn: JobTurn,
        filter: &BulkFilter,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let filter = filter.clone();
        let work = self.writer.run(Lane::Api, 1, "asking for many tasks", move |tx| {
            Box::pin(async move { bulk::request(tx, turn, &filter, now).await })
        });
        work.await
    }

    async fn write_bulk(&self, job: JobNo, step: &BulkStep, now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let step = step.clone();
        let work = self.writer.run(Lane::Api, step.changes.len(), "moving many tasks", move |tx| {
            Box::pin(async move { bulk::write(tx, job, &step, now).await })
        });
        work.await
    }

    async fn audit_counts(&self, job: JobNo) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError> {
        retention::audit(self, job).await
    }

    async fn purge_jobs(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let work = self.writer.run(Lane::Expansion, limit, "removing old jobs", move |tx| {
            Box::pin(async move { retention::purge(tx, before, limit).await })
        });
        work.await
    }
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Names of a row with a job's target.
pub(crate) fn names_of(row: &impl Columns, offset: u64, limit: usize) -> Result<Vec<String>, StoreError> {
    let of = rows::Of { table: "job", row };
    let names = match of.parsed("target", rows::read_target)? {
        Target::Names(names) => names,
        Target::All { .. } | Target::ListFile { .. } | Target::Gray { .. } | Target::Group { .. } => {
            Vec::new()
        }
    };
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    Ok(names.iter().skip(offset).take(limit).map(|name| name.as_str().to_owned()).collect())
}

/// The place of a job before which a page ends.
pub(crate) fn place(before: Option<JobNo>) -> i64 {
    before.map_or(i64::MAX, |job| job.0)
}

fn corrupt_counter(reason: String) -> StoreError {
    StoreError::Corrupt { table: "job_counter", reason }
}

pub(crate) async fn read(tx: &mut Tx, job: JobNo) -> Result<Job, StoreError> {
    let set = text::numbers([job.0]);
    let row = query(sql::BY_NO).bind(set).fetch_optional(&mut tx.conn).await;
    let row = row.map_err(failed("reading a job"))?.ok_or(StoreError::NotFound { what: "job" })?;
    rows::job(&row)
}

async fn create(tx: &mut Tx, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
    let doing = "making a job";
    if let Some(token) = &job.new.client_token {
        let before = query(sql::BY_TOKEN).bind(job.account.0).bind(token.as_str());
        if let Some(row) = before.fetch_optional(&mut tx.conn).await.map_err(failed(doing))? {
            let digest: Vec<u8> = row.try_get("digest").map_err(failed(doing))?;
            if digest != job.digest {
                return Err(StoreError::Exists { what: "client token" });
            }
            return Ok(CreatedJob::Before(Box::new(rows::job(&row)?)));
        }
    }

    let product = query_scalar(sql::PRODUCT_OF).bind(job.new.product.as_str()).bind(job.account.0);
    let product: Option<i64> = product.fetch_optional(&mut tx.conn).await.map_err(failed(doing))?;
    let product = ProductNo(product.ok_or(StoreError::NotFound { what: "product" })?);
    let firmware = query(sql::FIRMWARE_OF).bind(job.new.firmware.as_str()).bind(job.account.0);
    let firmware = firmware.bind(product.0).fetch_optional(&mut tx.conn).await.map_err(failed(doing))?;
    let found = firmware.ok_or(StoreError::NotFound { what: "firmware" })?;
    let firmware = FirmwareNo(found.try_get("no").map_err(failed(doing))?);
    let source = match source::freeze(tx, job, product, &found).await? {
        Ok(source) => source,
        Err(matching) => return Ok(CreatedJob::Nobody { matching }),
    };
    move_firmware(tx, firmware, job.firmware, now).await?;

    let upto = query_scalar(sql::LAST).bind("device").fetch_one(&mut tx.conn).await;
    let upto: i64 = upto.map_err(failed(doing))?;
    let no = insert(tx, job, &source, (product, firmware), upto, now).await?;
    let is_complete = matches!(source, SourceKind::Standing { mode: DynamicMode::LaterOnly, .. });
    query(sql::NEW_SOURCE).bind(no.0).bind(is_complete).execute(&mut tx.conn).await.map_err(failed(doing))?;
    feed::job_moved(tx, no, job.status, now).await?;
    Ok(CreatedJob::New(Box::new(read(tx, no).await?)))
}

async fn insert(
    tx: &mut Tx,
    job: &CreateJob,
    source: &SourceKind,
    (product, firmware): (ProductNo, FirmwareNo),
    upto: i64,
    now: Timestamp,
) -> Result<JobNo, StoreError> {
    let (new, policy) = (&job.new, &job.new.policy);
    let span = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let file_url = match &new.target {
        Target::ListFile { file_url } => Some(file_url.as_str()),
        Target::All { .. } | Target::Names(_) | Target::Gray { .. } | Target::Group { .. } => None,
    };
    let source = source::columns(source);
    let insert = query_scalar(sql::NEW)
        .bind(job.id.as_str())
        .bind(job.account.0)
        .bind(product.0)
        .bind(firmware.0)
        .bind(new.kind.code())
        .bind(rows::target(&new.target))
        .bind(file_url)
        .bind(new.schedule.start.map(Timestamp::millis))
        .bind(new.schedule.finish.map(Timestamp::millis))
        .bind(i64::from(policy.maximum_per_minute.get()))
        .bind(policy.retry.map(|retry| span(retry.interval)))
        .bind(policy.retry.map(|retry| i64::from(retry.count)))
        .bind(policy.timeout.map(span))
        .bind(policy.offer_timeout.map(span))
        .bind(policy.overwrite.code())
        .bind(policy.multi_module)
        .bind(policy.need_push)
        .bind(policy.need_confirm)
        .bind(policy.download_protocol.as_str())
        .bind(rows::tags(&new.tags))
        .bind(new.description.as_str())
        .bind(new.client_token.as_ref().map(ClientToken::as_str))
        .bind(&job.digest[..])
        .bind(source.kind)
        .bind(source.object)
        .bind(source.size)
        .bind(upto)
        .bind(job.status.code())
        .bind((job.status == JobStatus::InProgress).then_some(now.millis()))
        .bind(job.status.is_ended().then_some(now.millis()))
        .bind(now.millis())
        .bind(source.matching)
        .bind(source.count)
        .bind(source.group)
        .bind(source.group_upto)
        .bind(source.mode)
        .bind(source.standing_group)
        .bind(source.expression)
        .bind((source.mode.is_some() && !job.status.is_ended()).then_some(1_i64));
    insert.fetch_one(&mut tx.conn).await.map(JobNo).map_err(taken("making a job", "job"))
}

async fn move_firmware(
    tx: &mut Tx,
    firmware: FirmwareNo,
    (from, to): (FirmwareStatus, FirmwareStatus),
    now: Timestamp,
) -> Result<(), StoreError> {
    let change = query(sql::MOVE_FIRMWARE).bind(firmware.0).bind(from.code()).bind(to.code());
    let change = change.bind(now.millis()).execute(&mut tx.conn).await;
    match change.map_err(failed("moving a firmware"))?.rows_affected() {
        0 => Err(StoreError::Conflict { what: "firmware" }),
        _ => Ok(()),
    }
}

async fn move_job(tx: &mut Tx, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
    let doing = "moving a job";
    let moved = query(sql::MOVE)
        .bind(change.job.0)
        .bind(change.from.code())
        .bind(change.to.code())
        .bind(change.only_if_done)
        .bind(now.millis())
        .bind(i64::from(change.fence));
    let Some(moved) = moved.fetch_optional(&mut tx.conn).await.map_err(failed(doing))? else {
        return Ok(false);
    };
    let of = rows::Of { table: "job", row: &moved };
    let firmware = of.get("firmware_no")?;
    if change.to.is_ended() && of.parsed("kind", JobKind::from_code)? == JobKind::Dynamic {
        let stop = query(sql::STOP_EXPANSION).bind(change.job.0).execute(&mut tx.conn).await;
        stop.map_err(failed(doing))?;
    }
    if let Some(statuses) = change.firmware {
        move_firmware(tx, FirmwareNo(firmware), statuses, now).await?;
    }
    query(sql::REFRESH_LIVE).bind(change.job.0).execute(&mut tx.conn).await.map_err(failed(doing))?;
    feed::job_moved(tx, change.job, change.to, now).await?;
    Ok(true)
}
