//! Making, reading and stopping jobs.

use otaria_core::firmware::FirmwareEvent;
use otaria_core::ids::{FirmwareId, JobId, JobNo, ProductKey};
use otaria_core::job::{
    CancelFlags, DynamicMode, FirmwareFacts, JobEvent, JobKind, JobStatus, NewJob, Target,
};
use otaria_core::link::{Link, Linked, sign};
use otaria_core::rules::{Code, Package, Refusal, StaticUpgradeParams, VerifyParams, fits};
use otaria_core::task::CancelCause;
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    CreateJob, CreatedJob, Firmware, Job, JobMove, Product, RejectedLine, Role, SourceKind, StoreError,
    TaskCounts, UploadKind,
};
use sha2::{Digest, Sha256};

use super::dynamic::not_joined;
use super::{Caller, Commands};
use crate::error::CommandError;
use crate::expander;
use crate::offers::link_end;
use crate::shell::Shell;
use crate::witness;

/// Lines that a create call expands before it answers.
const EXPANDED_AT_ONCE: u64 = 1_000;
/// Steps that it takes for that at most.
const STEPS_AT_ONCE: usize = 2;
/// Rejected lines shown with a job.
const SAMPLES: usize = 20;
/// Rejected lines on a page at most.
const REJECTS_MAX: usize = 10_000;

/// What a create call answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJobAnswer {
    /// The job.
    pub job_id: JobId,
    /// When it was made: earlier than the call when its token was known.
    pub created_at: Timestamp,
}

/// A job and its package.
#[derive(Clone, Debug)]
pub struct JobHead {
    /// The job.
    pub job: Job,
    /// Its package.
    pub firmware: Firmware,
    /// Its product.
    pub product: Product,
}

/// Everything about a job.
#[derive(Clone, Debug)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Its package.
    pub firmware: Firmware,
    /// Its tasks by status.
    pub counts: TaskCounts,
    /// Some of the lines that made no task.
    pub reject_samples: Vec<RejectedLine>,
    /// Where all of them can be downloaded for 24 hours at least; only once the list is read to its end.
    pub reject_file_url: Option<String>,
    /// The name of the group that it is for, while there is one.
    pub group_name: Option<String>,
}

/// Leaves a job to the loops when the call that made it ends, also if its caller does not wait for that.
struct Hint<'a>(&'a Shell, JobNo);

impl Drop for Hint<'_> {
    fn drop(&mut self) {
        self.0.expand_hints.add([self.1]);
        self.0.close_hints.add([self.1]);
    }
}

impl Commands {
    /// CreateOTAVerifyJob.
    ///
    /// # Errors
    /// A parameter that breaks its rule, unknown things, or a firmware whose verification stands otherwise.
    pub async fn create_verify_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &VerifyParams,
    ) -> Result<NewJobAnswer, CommandError> {
        caller.needs(Role::Operator)?;
        let new = params.parse(&self.deps().limits)?;
        self.create_job(caller, now, new, None).await
    }

    /// CreateOTAStaticUpgradeJob. Answers as soon as the job is durable and its first lines are expanded,
    /// however long the list is.
    ///
    /// # Errors
    /// A parameter that breaks its rule, unknown things, or a firmware that may not be rolled out.
    pub async fn create_static_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &StaticUpgradeParams,
    ) -> Result<NewJobAnswer, CommandError> {
        caller.needs(Role::Operator)?;
        let new = params.parse(now, &self.deps().limits)?;
        self.create_job(caller, now, new, None).await
    }

    /// Makes a job; a dynamic one has its mode.
    pub(super) async fn create_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        new: NewJob,
        mode: Option<DynamicMode>,
    ) -> Result<NewJobAnswer, CommandError> {
        let product = self.own_product(caller, &new.product).await?;
        let firmware = self.own_firmware(caller, &new.firmware).await?;
        if firmware.product != product.no {
            let rule = "names a firmware of another product";
            return Err(Refusal::invalid(Code::FirmwareNotFound, "FirmwareId", rule).into());
        }
        let source = match mode {
            Some(mode) => self.standing_source(caller, &new.target, mode).await?,
            None => self.source_of(caller, &product, &new.target).await?,
        };
        let digest = Sha256::digest(match mode {
            Some(mode) => format!("{new:?} {mode:?}"),
            None => format!("{new:?}"),
        })
        .into();
        let status = firmware.status;
        let after = match new.kind {
            JobKind::Verify => status.on(FirmwareEvent::VerifyJobMade).unwrap_or(status),
            JobKind::Static | JobKind::Dynamic => status,
        };
        let begins_later = new.schedule.start.is_some_and(|start| start > now);
        let job = CreateJob {
            id: JobId::parse(&self.deps().ids.text(22))
                .map_err(|bad| CommandError::Internal(Box::new(bad)))?,
            account: caller.account,
            source,
            digest,
            status: if begins_later { JobStatus::Planned } else { JobStatus::InProgress },
            firmware: (status, after),
            new,
        };
        // A repeat of an earlier call is answered before rules are asked again: by now they may refuse it
        // (a verify job that runs would be its own obstacle).
        let fits = fits(&job.new, &facts_of(&firmware), package_of(&firmware));
        if let Err(refusal) = fits {
            return match self.known_by_token(&job).await? {
                Some(answer) => Ok(answer),
                None => Err(refusal.into()),
            };
        }
        match self.deps().store.create_job(&job, now).await {
            Ok(CreatedJob::New(job)) => self.begin(*job, now).await,
            Ok(CreatedJob::Before(known)) => {
                witness::token(&known, &job);
                Ok(answer(&known))
            }
            Ok(CreatedJob::Nobody { matching }) => {
                let rule = format!("comes to no device: {matching} match, and a part is rounded down");
                Err(Refusal::invalid(Code::InvalidGrayPercent, "GrayPercent", rule).into())
            }
            Err(error) => Err(not_created(error)),
        }
    }

    /// The job that the same token and body made before.
    async fn known_by_token(&self, job: &CreateJob) -> Result<Option<NewJobAnswer>, CommandError> {
        let Some(token) = &job.new.client_token else { return Ok(None) };
        match self.deps().store.job_by_token(job.account, token).await? {
            Some((known, digest)) if digest == job.digest => {
                witness::token(&known, job);
                Ok(Some(answer(&known)))
            }
            Some(_) => Err(other_body()),
            None => Ok(None),
        }
    }

    /// Expands the first lines of a new job, so that a small job has all its tasks when the call returns.
    async fn begin(&self, job: Job, now: Timestamp) -> Result<NewJobAnswer, CommandError> {
        tracing::info!(job.id = %job.id, account = job.account.0, "job created");
        let _then = Hint(&self.shell, job.no);
        let mut kept = None;
        for _ in 0..STEPS_AT_ONCE {
            match expander::step(&self.shell, job.no, kept.take(), now).await {
                Ok(Some((step, chunk))) if !step.complete && step.lines < EXPANDED_AT_ONCE => kept = chunk,
                Ok(_) => break,
                // The job is durable: the expander goes on where this stopped.
                Err(error) => {
                    tracing::warn!(job.id = %job.id, %error, "first lines not expanded in the call");
                    break;
                }
            }
        }
        Ok(answer(&job))
    }

    /// Where the devices of a target come from; unknown names in the call are refused, by number.
    async fn source_of(
        &self,
        caller: &Caller,
        product: &Product,
        target: &Target,
    ) -> Result<SourceKind, CommandError> {
        match target {
            Target::All { .. } => Ok(SourceKind::Product),
            Target::Names(names) => {
                let module = otaria_core::ids::ModuleName::default_module();
                let found = self.deps().store.resolve(product.no, i64::MAX, &module, names).await?;
                match found.iter().position(Option::is_none) {
                    Some(unknown) => {
                        let parameter = format!("TargetDeviceName.{}", unknown + 1);
                        let rule = format!("names no device of the product: {}", names[unknown]);
                        Err(Refusal::invalid(Code::InvalidTargetDevices, &parameter, &rule).into())
                    }
                    None => Ok(SourceKind::Names),
                }
            }
            Target::ListFile { file_url } => {
                let upload = self.deps().store.upload(caller.account, file_url).await?;
                match upload.filter(|upload| upload.kind == UploadKind::NameList) {
                    Some(upload) => Ok(SourceKind::File { object: upload.object, size: upload.size }),
                    None => {
                        let rule = "is no device list that was uploaded here; upload the list first";
                        Err(Refusal::invalid(Code::DeviceListFileInvalid, "DnListFileUrl", rule).into())
                    }
                }
            }
            // Who is in is frozen in the transaction that makes the job.
            Target::Gray { .. } => Ok(SourceKind::Part { matching: 0, count: 0, last: None }),
            Target::Group { group_id } => {
                let group = self.own_static_group(caller, "GroupId", group_id).await?;
                Ok(SourceKind::Group { group: group.no, upto: 0 })
            }
        }
    }

    pub(super) async fn own_firmware(
        &self,
        caller: &Caller,
        id: &FirmwareId,
    ) -> Result<Firmware, CommandError> {
        self.deps().store.firmware(caller.account, id).await?.ok_or_else(|| {
            CommandError::not_allowed(Code::FirmwareNotFound, format!("no firmware {id} in this account"))
        })
    }

    pub(super) async fn own_job(&self, caller: &Caller, job_id: &str) -> Result<Job, CommandError> {
        let not_found =
            || CommandError::not_allowed(Code::JobNotFound, format!("no job {job_id:.64} in this account"));
        if job_id.is_empty() {
            return Err(Refusal::missing("JobId", "").into());
        }
        let id = JobId::parse(job_id).map_err(|_| not_found())?;
        self.deps().store.job(caller.account, &id).await?.ok_or_else(not_found)
    }

    pub(super) async fn job_head(&self, caller: &Caller, job_id: &str) -> Result<JobHead, CommandError> {
        let job = self.own_job(caller, job_id).await?;
        let store = &self.deps().store;
        let gone = |what: &'static str| CommandError::from(StoreError::NotFound { what });
        let firmware = store.firmware_by_no(job.firmware).await?.ok_or_else(|| gone("firmware of a job"))?;
        let product = store.product_by_no(job.product).await?.ok_or_else(|| gone("product of a job"))?;
        Ok(JobHead { job, firmware, product })
    }

    /// QueryOTAJob.
    ///
    /// # Errors
    /// `JobNotFound`.
    pub async fn query_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
    ) -> Result<JobView, CommandError> {
        let JobHead { job, firmware, .. } = self.job_head(caller, job_id).await?;
        let store = &self.deps().store;
        let counts = store.task_counts(job.no).await?;
        let reject_samples = match job.expansion.rejected.total() {
            0 => Vec::new(),
            _ => store.rejected_lines(job.no, 0, SAMPLES).await?,
        };
        let reject_file_url = self.reject_file_url(&job, now);
        let group_name = self.group_name(&job).await?;
        Ok(JobView { job, firmware, counts, reject_samples, reject_file_url, group_name })
    }

    /// A link to the lines that made no task, if there are any and none will be added.
    fn reject_file_url(&self, job: &Job, now: Timestamp) -> Option<String> {
        let expansion = &job.expansion;
        let is_final = expansion.complete && expansion.rejected.total() > 0;
        is_final.then(|| {
            let link = Link { to: Linked::RejectFile { job: job.no }, expires_at: link_end(now) };
            format!("{}/d/{}", self.deps().download_base, sign(&self.deps().link_key, link))
        })
    }

    /// The lines of a job's list that made no task, after the `after`th.
    ///
    /// # Errors
    /// `JobNotFound`.
    pub async fn rejected_lines(
        &self,
        caller: &Caller,
        job_id: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, CommandError> {
        let job = self.own_job(caller, job_id).await?;
        Ok(self.deps().store.rejected_lines(job.no, after, limit.clamp(1, REJECTS_MAX)).await?)
    }

    /// CancelOTATaskByJob. Once this is answered no notice of a cancelled task is written any more (I5);
    /// the tasks themselves are cancelled in the background.
    ///
    /// # Errors
    /// `JobNotFound`, no flag at all, or `CancelScheduledTask` alone on a job that has begun.
    pub async fn cancel_tasks_by_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        flags: CancelFlags,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let job = self.own_job(caller, job_id).await?;
        if !flags.is_any() {
            let rule = "or another Cancel… flag must be true: nothing is to be cancelled";
            return Err(Refusal::invalid(Code::IllegalRequest, "CancelQueuedTask", rule).into());
        }
        let planned = flags.scheduled && job.status == JobStatus::Planned;
        let mask = if planned { CancelFlags::EVERYTHING.mask() } else { flags.mask() };
        if mask == 0 {
            let message =
                "CancelScheduledTask cancels only jobs that have not begun; name the tasks to cancel";
            return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
        }
        let asked = self.deps().store.request_cancel(job.no, mask, CancelCause::Operator, now).await;
        // Told before the fence is waited for, since the caller may not wait that long; and also when the call
        // failed, since it may have been done all the same.
        self.shell.job_changed(job.no);
        self.shell.close_hints.add([job.no]);
        let job = asked?;
        if planned {
            self.cancel_planned(&job, now).await?;
            self.shell.job_changed(job.no);
        }
        Ok(self.deps().pusher.fence(job.no, job.fence).await?)
    }

    /// Ends a job that has not begun. After its tasks' cancellation was asked for, never before: a job that
    /// has ended is not looked at, and its tasks would stay open for good.
    async fn cancel_planned(&self, job: &Job, now: Timestamp) -> Result<(), CommandError> {
        // Refused when it began or ended meanwhile: its tasks are cancelled all the same.
        if let Ok(to) = job.status.on(JobEvent::CanceledBeforeStart) {
            let change = JobMove {
                job: job.no,
                from: job.status,
                to,
                only_if_done: false,
                fence: false,
                firmware: None,
            };
            self.deps().store.move_job(&change, now).await?;
        }
        Ok(())
    }

    /// PauseOTAJob. Once this is answered no notice of the job is written any more; the clocks of running
    /// devices go on. Pausing a paused job changes nothing.
    ///
    /// # Errors
    /// `JobNotFound`, or a job that does not run.
    pub async fn pause_job(&self, caller: &Caller, now: Timestamp, job_id: &str) -> Result<(), CommandError> {
        self.turn_job(caller, now, job_id, JobEvent::Paused).await
    }

    /// ResumeOTAJob. Resuming a job that runs changes nothing.
    ///
    /// # Errors
    /// `JobNotFound`, or a job that is not paused.
    pub async fn resume_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
    ) -> Result<(), CommandError> {
        self.turn_job(caller, now, job_id, JobEvent::Resumed).await
    }

    async fn turn_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        event: JobEvent,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let pauses = event == JobEvent::Paused;
        let goal = if pauses { JobStatus::Paused } else { JobStatus::InProgress };
        let job = self.own_job(caller, job_id).await?;
        let (no, from) = (job.no, job.status);
        if from != goal {
            let Ok(to) = from.on(event) else {
                let message = format!("the job is {}; this needs a job that runs", from.as_str());
                return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
            };
            let change = JobMove { job: no, from, to, only_if_done: false, fence: pauses, firmware: None };
            let moved = self.deps().store.move_job(&change, now).await;
            // Also when the call failed: it may have been done all the same.
            self.shell.job_changed(no);
            if !moved? {
                return Err(StoreError::Conflict { what: "job" }.into());
            }
        }
        // Also when it was so before: an earlier call may have ended between the store and the gateways.
        if pauses {
            self.shell.book.forget(no);
            // Read again: another call may have raised the fence beside ours.
            if let Some(paused) = self.deps().store.jobs_by_no(&[no]).await?.pop() {
                self.deps().pusher.fence(no, paused.fence).await?;
            }
            self.shell.job_changed(no);
        } else {
            self.shell.job_opened(no);
        }
        Ok(())
    }

    pub(super) async fn own_product(
        &self,
        caller: &Caller,
        key: &ProductKey,
    ) -> Result<Product, CommandError> {
        let product = self.deps().store.product(key).await?;
        product.filter(|product| product.new.account == caller.account).ok_or_else(|| {
            CommandError::not_allowed(Code::ProductNotFound, format!("no product {key} in this account"))
        })
    }
}

fn answer(job: &Job) -> NewJobAnswer {
    NewJobAnswer { job_id: job.id.clone(), created_at: job.created_at }
}

fn facts_of(firmware: &Firmware) -> FirmwareFacts {
    FirmwareFacts {
        status: firmware.status,
        dest_version: firmware.new.dest_version.clone(),
        module: firmware.new.module.clone(),
        src_version: firmware.new.kind.src_version().cloned(),
    }
}

fn package_of(firmware: &Firmware) -> Package {
    let size_bytes = firmware.files.iter().map(|file| file.size).sum();
    Package { files: firmware.files.len(), size_bytes }
}

fn other_body() -> CommandError {
    let message = "the same ClientToken came with other parameters before; use a new token for a new job";
    CommandError::not_allowed(Code::IdempotentParameterMismatch, message)
}

fn not_created(error: StoreError) -> CommandError {
    if let Some(refused) = not_joined(&error) {
        return refused;
    }
    match error {
        StoreError::Exists { .. } => other_body(),
        StoreError::NotFound { what: "group" } => {
            CommandError::not_allowed(Code::GroupNotFound, "the group was deleted meanwhile")
        }
        StoreError::NotFound { .. } => CommandError::not_allowed(
            Code::FirmwareNotFound,
            "the firmware or its product was deleted meanwhile",
        ),
        // A firmware that moved since it was read: a repeat of the call says what it is now.
        other => other.into(),
    }
}
