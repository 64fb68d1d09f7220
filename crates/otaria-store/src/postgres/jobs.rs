//! Jobs: making, moving, counting. Expansion and cancellation have modules of their own.
//!
//! A job's row is what its writers agree on. Who wants to move it, cancel in it or end it holds it alone; who
//! only needs it to stay as it is (claims) shares it. What depends on it is read after that, by statements of
//! their own, so that it is what is committed and not what was when the wait began.

use async_trait::async_trait;
use otaria_core::firmware::FirmwareStatus;
use otaria_core::gray::Last;
use otaria_core::ids::{AccountNo, ClientToken, DeviceId, FirmwareId, FirmwareNo, JobId, JobNo, ProductNo};
use otaria_core::job::{DynamicMode, JobKind, JobStatus, JobUpdate, Target};
use otaria_core::task::{BulkFilter, CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    BulkStep, CreateJob, CreatedJob, Job, JobMove, JobTurn, Jobs, RejectedLine, Slice, SliceOutcome, Slicing,
    SourceKind, StoreError, Sweep, TaskCounts,
};
use sqlx::error::DatabaseError;
use sqlx::{Error, query, query_scalar};

use super::devices::int;
use super::sql::jobs as own;
use super::{PgTx, PostgresStore, bulk, cancel, expand, feed, part, retention, source};
use crate::counters::NOTICES;
use crate::errors::{failed, taken};
use crate::expand::reject_cause;
use crate::jobs::{names_of, place};
use crate::rows::{self, Of};
use crate::sql::jobs as sql;

#[async_trait]
impl Jobs for PostgresStore {
    // 2026-11-22, a million names on a quiet machine: 7.1 s with the default, 5.3 s so, with 25 MiB more.
    fn slicing(&self) -> Slicing {
        Slicing { chunk_lines: 262_144, slice_names: 20_000 }
    }

    async fn create_job(&self, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
        self.tx("making a job", |tx| Box::pin(create(tx, job, now))).await
    }

    async fn put_draw(&self, job: JobNo, last: Last) -> Result<Option<Last>, StoreError> {
        self.tx("keeping a draw", |tx| Box::pin(part::put_draw(tx, job, last))).await
    }

    async fn job(&self, account: AccountNo, id: &JobId) -> Result<Option<Job>, StoreError> {
        let one = self.row("reading a job", || query(sql::JOB).bind(id.as_str()).bind(account.0)).await?;
        one.as_ref().map(rows::job).transpose()
    }

    async fn job_by_token(
        &self,
        account: AccountNo,
        token: &ClientToken,
    ) -> Result<Option<(Job, [u8; 32])>, StoreError> {
        let one = || query(sql::BY_TOKEN).bind(account.0).bind(token.as_str());
        let Some(row) = self.row("reading a job by its token", one).await? else { return Ok(None) };
        let digest = Of { table: "job", row: &row }
            .parsed("digest", |digest: &[u8]| <[u8; 32]>::try_from(digest).ok())?;
        Ok(Some((rows::job(&row)?, digest)))
    }

    async fn jobs_by_no(&self, jobs: &[JobNo]) -> Result<Vec<Job>, StoreError> {
        let numbers: Vec<i64> = jobs.iter().map(|job| job.0).collect();
        let found = self.rows("reading jobs", || query(own::BY_NO).bind(&numbers)).await?;
        found.iter().map(rows::job).collect()
    }

    async fn jobs(&self, account: AccountNo, after: JobNo, limit: usize) -> Result<Vec<Job>, StoreError> {
        let page = || query(sql::JOBS).bind(account.0).bind(after.0).bind(int(limit));
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
        let page =
            || query(sql::OF_FIRMWARE).bind(firmware.0).bind(place(before)).bind(int(limit)).bind(int(skip));
        let found = self.rows(doing, page).await?;
        let total: i64 = self.value(doing, || query(sql::COUNT_OF_FIRMWARE).bind(firmware.0)).await?;
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
        let page = || {
            let page = query(own::OF_DEVICE).bind(device.0).bind(firmware.0).bind(place(before));
            page.bind(int(limit)).bind(int(skip))
        };
        let found = self.rows(doing, page).await?;
        let total = || query(own::COUNT_OF_DEVICE).bind(device.0).bind(firmware.0);
        let total: i64 = self.value(doing, total).await?;
        Ok((found.iter().map(rows::job).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn update_job(
        &self,
        job: JobNo,
        update: &JobUpdate,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.tx("changing a job", |tx| Box::pin(bulk::update(tx, job, update, now))).await
    }

    async fn unfinished_jobs(&self) -> Result<Vec<Job>, StoreError> {
        let found = self.rows("reading unfinished jobs", || query(sql::UNFINISHED)).await?;
        found.iter().map(rows::job).collect()
    }

    async fn ended_jobs(&self, since: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        let ended = || query(sql::ENDED).bind(since.millis()).bind(int(limit));
        self.rows("reading ended jobs", ended).await?.iter().map(rows::job).collect()
    }

    async fn unfinished_jobs_of(&self, firmware: &FirmwareId) -> Result<u64, StoreError> {
        let count = || query(own::UNFINISHED_OF).bind(firmware.as_str());
        let count: i64 = self.value("counting a firmware's jobs", count).await?;
        Ok(count.unsigned_abs())
    }

    async fn job_names(&self, job: JobNo, offset: u64, limit: usize) -> Result<Vec<String>, StoreError> {
        let found = self.row("reading a job's names", || query(sql::TARGET).bind(job.0)).await?;
        found.as_ref().map_or_else(|| Ok(Vec::new()), |row| names_of(row, offset, limit))
    }

    async fn expand(&self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError> {
        self.long_tx("expanding a job", |tx| Box::pin(expand::expand(tx, slice, now))).await
    }

    async fn rejected_lines(
        &self,
        job: JobNo,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, StoreError> {
        let page = || query(own::REJECTED).bind(job.0).bind(after.cast_signed()).bind(int(limit));
        let rejected = self.rows("reading rejected lines", page).await?;
        let line = |row| {
            let of = Of { table: "job_reject", row };
            Ok(RejectedLine { text: of.get("line")?, cause: of.parsed("cause", reject_cause)? })
        };
        rejected.iter().map(line).collect()
    }

    async fn move_job(&self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
        self.tx("moving a job", |tx| Box::pin(move_job(tx, change, now))).await
    }

    async fn task_counts(&self, job: JobNo) -> Result<TaskCounts, StoreError> {
        let found = self.rows("counting tasks", || query(own::COUNTS).bind(job.0)).await?;
        let mut counts = TaskCounts::default();
        for row in &found {
            let of = Of { table: "job_counter", row };
            let (status, n): (i64, u64) = (of.get("status")?, of.count("n")?);
            if status == NOTICES {
                counts.notices = n;
                continue;
            }
            let slot = usize::try_from(status).ok().and_then(|place| counts.by_status.get_mut(place));
            *slot.ok_or_else(|| of.corrupt(format!("status {status}")))? = n;
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
        self.tx("cancelling tasks", |tx| Box::pin(request_cancel(tx, job, mask, cause, now))).await
    }

    async fn sweep_cancel(&self, job: JobNo, limit: usize, now: Timestamp) -> Result<Sweep, StoreError> {
        self.tx("cancelling tasks", |tx| Box::pin(cancel::sweep(tx, job, limit, now))).await
    }

    async fn request_bulk(
        &self,
        turn: JobTurn,
        filter: &BulkFilter,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.tx("asking for many tasks", |tx| Box::pin(bulk::request(tx, turn, filter, now))).await
    }

    async fn write_bulk(&self, job: JobNo, step: &BulkStep, now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.tx("moving many tasks", |tx| Box::pin(bulk::write(tx, job, step, now))).await
    }

    async fn audit_counts(&self, job: JobNo) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError> {
        retention::audit(self, job).await
    }

    async fn purge_jobs(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.long_tx("removing old jobs", |tx| Box::pin(retention::purge(tx, before, limit))).await
    }
}

/// Holds jobs alone, in their order.
pub(crate) async fn lock(tx: &mut PgTx<'_>, jobs: &[i64]) -> Result<(), StoreError> {
    let locked = query(own::LOCK).bind(jobs).fetch_all(tx.conn()).await;
    locked.map(drop).map_err(failed("waiting for a job"))
}

/// Holds jobs together with others, in their order. Who holds them so never writes them.
pub(crate) async fn hold(tx: &mut PgTx<'_>, jobs: &[i64]) -> Result<(), StoreError> {
    let held = query(own::HOLD).bind(jobs).fetch_all(tx.conn()).await;
    held.map(drop).map_err(failed("waiting for a job"))
}

/// Works out anew whether a job, which is held alone, has work left.
pub(crate) async fn refresh_live(tx: &mut PgTx<'_>, job: JobNo) -> Result<(), StoreError> {
    let refresh = query(sql::REFRESH_LIVE).bind(job.0).execute(tx.conn()).await;
    refresh.map(drop).map_err(failed("moving a job"))
}

pub(crate) async fn read(tx: &mut PgTx<'_>, job: JobNo) -> Result<Job, StoreError> {
    let row = query(own::BY_NO).bind(vec![job.0]).fetch_optional(tx.conn()).await;
    let row = row.map_err(failed("reading a job"))?.ok_or(StoreError::NotFound { what: "job" })?;
    rows::job(&row)
}

async fn create(tx: &mut PgTx<'_>, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
    let unavailable = failed("making a job");
    if let Some(token) = &job.new.client_token {
        let before = query(sql::BY_TOKEN).bind(job.account.0).bind(token.as_str());
        if let Some(row) = before.fetch_optional(tx.conn()).await.map_err(unavailable)? {
            let digest: &[u8] = Of { table: "job", row: &row }.get("digest")?;
            if digest != job.digest {
                return Err(StoreError::Exists { what: "client token" });
            }
            return Ok(CreatedJob::Before(Box::new(rows::job(&row)?)));
        }
    }

    let product = product(tx, job).await?;
    source::hold(tx, &job.source, product).await?;
    // It may have been deleted during the wait.
    let product = self::product(tx, job).await?;
    // Mostly a firmware stays as it is, and then its jobs need not be made one after the other.
    let (from, to) = job.firmware;
    let firmware_of = if from == to { own::SHARED_FIRMWARE_OF } else { own::FIRMWARE_OF };
    let firmware = query(firmware_of).bind(job.new.firmware.as_str()).bind(job.account.0);
    let firmware = firmware.bind(product.0).fetch_optional(tx.conn()).await.map_err(unavailable)?;
    let found = firmware.ok_or(StoreError::NotFound { what: "firmware" })?;
    let of = Of { table: "firmware", row: &found };
    let (firmware, status) = (FirmwareNo(of.get("no")?), of.get::<i64>("status")?);
    let source = match source::freeze(tx, job, product, &found).await? {
        Ok(source) => source,
        Err(matching) => return Ok(CreatedJob::Nobody { matching }),
    };
    if status != from.code() {
        return Err(StoreError::Conflict { what: "firmware" });
    }
    if from != to {
        move_firmware(tx, firmware, job.firmware, now).await?;
    }

    let upto = query_scalar(own::LAST_DEVICE).fetch_one(tx.conn()).await.map_err(unavailable)?;
    let no = insert(tx, job, &source, (product, firmware), upto, now).await?;
    let is_complete = matches!(source, SourceKind::Standing { mode: DynamicMode::LaterOnly, .. });
    let new_source = query(sql::NEW_SOURCE).bind(no.0).bind(i64::from(is_complete));
    new_source.execute(tx.conn()).await.map_err(unavailable)?;
    feed::job_moved(tx, no, job.status, now).await?;
    Ok(CreatedJob::New(Box::new(read(tx, no).await?)))
}

async fn product(tx: &mut PgTx<'_>, job: &CreateJob) -> Result<ProductNo, StoreError> {
    let product = query_scalar(sql::PRODUCT_OF).bind(job.new.product.as_str()).bind(job.account.0);
    let product: Option<i64> = product.fetch_optional(tx.conn()).await.map_err(failed("making a job"))?;
    product.map(ProductNo).ok_or(StoreError::NotFound { what: "product" })
}

async fn insert(
    tx: &mut PgTx<'_>,
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
    let source = crate::source::columns(source);
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
        .bind(i64::from(policy.multi_module))
        .bind(i64::from(policy.need_push))
        .bind(i64::from(policy.need_confirm))
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
    let no: Result<i64, Error> = insert.fetch_one(tx.conn()).await;
    no.map(JobNo).map_err(|error| {
        // The same token, or another strategy of the firmware, in this moment: the next try sees it.
        let key = error.as_database_error().and_then(DatabaseError::constraint);
        match key {
            Some("job_token" | "job_strategy_firmware") => failed("making a job")(error),
            _ => taken("making a job", "job")(error),
        }
    })
}

async fn move_firmware(
    tx: &mut PgTx<'_>,
    firmware: FirmwareNo,
    (from, to): (FirmwareStatus, FirmwareStatus),
    now: Timestamp,
) -> Result<(), StoreError> {
    let change = query(sql::MOVE_FIRMWARE).bind(firmware.0).bind(from.code()).bind(to.code());
    let change = change.bind(now.millis()).execute(tx.conn()).await;
    match change.map_err(failed("moving a firmware"))?.rows_affected() {
        0 => Err(StoreError::Conflict { what: "firmware" }),
        _ => Ok(()),
    }
}

/// Moves a job (I22).
///
/// `only_if_done` is right although tasks are written at the same moment by those who do not hold the job. Tasks
/// end without it: that can only make the job done, and a later look sees it. Tasks come to be open by an
/// expansion, which commits them no later than the word that it is complete, so counts that are read after
/// that word hold them all; or by an order, which holds the job, and therefore is either committed, and its
/// tasks are counted, or comes after this and finds the job ended. The lock and the look are two statements,
/// so the look sees what was committed during the wait.
async fn move_job(tx: &mut PgTx<'_>, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
    let (unavailable, job) = (failed("moving a job"), change.job.0);
    lock(tx, &[job]).await?;
    let found = query(own::STATUS).bind(job).fetch_optional(tx.conn()).await.map_err(unavailable)?;
    let Some(row) = found else { return Ok(false) };
    let of = Of { table: "job", row: &row };
    if of.get::<i64>("status")? != change.from.code() {
        return Ok(false);
    }
    if change.only_if_done {
        let is_done: bool =
            query_scalar(own::IS_DONE).bind(job).fetch_one(tx.conn()).await.map_err(unavailable)?;
        if !is_done {
            return Ok(false);
        }
    }
    let moved = query(own::MOVE).bind(job).bind(change.to.code()).bind(now.millis());
    moved.bind(i64::from(change.fence)).execute(tx.conn()).await.map_err(unavailable)?;
    if change.to.is_ended() && of.parsed("kind", JobKind::from_code)? == JobKind::Dynamic {
        query(sql::STOP_EXPANSION).bind(job).execute(tx.conn()).await.map_err(unavailable)?;
    }
    if let Some(statuses) = change.firmware {
        move_firmware(tx, FirmwareNo(of.get("firmware_no")?), statuses, now).await?;
    }
    refresh_live(tx, change.job).await?;
    feed::job_moved(tx, change.job, change.to, now).await?;
    Ok(true)
}

/// See `Jobs::request_cancel`. Claims share the job: those that hold it are committed before this is, and the
/// fence drops them; those that come after it see the mask (I5).
async fn request_cancel(
    tx: &mut PgTx<'_>,
    job: JobNo,
    mask: i64,
    cause: CancelCause,
    now: Timestamp,
) -> Result<Job, StoreError> {
    let unavailable = failed("cancelling tasks");
    lock(tx, &[job.0]).await?;
    let request = query(sql::REQUEST_CANCEL).bind(job.0).bind(mask).bind(cause.code()).bind(now.millis());
    if request.execute(tx.conn()).await.map_err(unavailable)?.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "job" });
    }
    query(crate::sql::bulk::END).bind(job.0).execute(tx.conn()).await.map_err(unavailable)?;
    read(tx, job).await
}
