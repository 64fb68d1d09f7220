//! Jobs as they are made, changed, held and ended.

use std::sync::PoisonError;

use otaria_core::gray::Last;
use otaria_core::ids::{AccountNo, ClientToken, DeviceId, FirmwareId, FirmwareNo, JobId, JobNo};
use otaria_core::job::{JobStatus, JobUpdate};
use otaria_core::task::{BulkFilter, CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    BulkStep, CreateJob, CreatedJob, Expansion, Job, JobMove, JobTurn, Jobs, RejectedLine, Slice,
    SliceOutcome, Slicing, StoreError, Sweep, TaskCounts,
};

use super::{RecordedStore, forward};
use crate::record::Fact;
use crate::recorder::facts::{counts, hex, job_made, seconds, token_of};

/// Jobs whose counts are remembered.
const COUNTS: usize = 10_000;

impl RecordedStore {
    async fn tell_created(&self, from: Timestamp, asked: &CreateJob, created: &CreatedJob) {
        match created {
            CreatedJob::New(job) => {
                // A firmware that cannot be read at this moment is missing in the line; nothing else waits for it.
                let firmware = self.reader.firmware_by_no(job.firmware).await.ok().flatten();
                self.history.tell_one(from, job_made(asked, job, firmware.as_ref()));
            }
            CreatedJob::Before(job) => {
                self.history.tell_one(from, Fact::JobAgain { job: job.no.0, digest: hex(&asked.digest) });
            }
            CreatedJob::Nobody { .. } => {}
        }
    }

    /// Tells counts that are news.
    fn tell_counts(&self, from: Timestamp, job: JobNo, read: TaskCounts) {
        let mut told = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= COUNTS {
            told.clear();
        }
        if told.insert(job, read) != Some(read) {
            drop(told);
            self.history.tell_one(from, counts(job.0, &read));
        }
    }

    async fn tell_pause(&self, from: Timestamp, job: JobNo) {
        // Another call may have raised the fence beside this one; what holds below the greater one holds below ours.
        let at = self.history.now();
        if let Ok(Some(paused)) = self.reader.jobs_by_no(&[job]).await.map(|mut jobs| jobs.pop()) {
            self.history.tell_between(from, at, Fact::Held { job: job.0, fence: paused.fence, mask: 0 });
        }
    }
}

fn expanded(job: JobNo, expansion: &Expansion) -> Fact {
    let Expansion { complete, lines, tasks, skipped, rejected, .. } = expansion;
    Fact::Expanded {
        job: job.0,
        complete: *complete,
        lines: *lines,
        tasks: *tasks,
        skipped: *skipped,
        rejected: rejected.total(),
    }
}

forward! { Jobs {
    fn slicing(&self) -> Slicing {
        self.inner.slicing()
    }

    async fn create_job(&self, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
        let from = self.history.now();
        let done = self.inner.create_job(job, now).await;
        match &done {
            Ok(created) => self.tell_created(from, job, created).await,
            Err(StoreError::Exists { what: "client token" }) => {
                let (account, token) = (job.account.0, token_of(job));
                self.history.tell_one(from, Fact::TokenRefused { account, token, digest: hex(&job.digest) });
            }
            Err(_) => {}
        }
        self.known(done, from, "create_job", [])
    }

    async fn update_job(
        &self,
        job: JobNo,
        update: &JobUpdate,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let from = self.history.now();
        let done = self.inner.update_job(job, update, now).await;
        let per_minute = update.maximum_per_minute.map(|rate| rate.get());
        let timeout_s = update.timeout.map(seconds);
        if matches!(done, Ok(Some(_))) && (per_minute.is_some() || timeout_s.is_some()) {
            self.history.tell_one(from, Fact::JobChanged { job: job.0, per_minute, timeout_s });
        }
        self.known(done, from, "update_job", [job])
    }

    async fn expand(&self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError> {
        let from = self.history.now();
        let done = self.inner.expand(slice, now).await;
        if let Ok(outcome) = &done {
            self.history.tell_one(from, expanded(slice.job, &outcome.expansion));
        }
        self.known(done, from, "expand", [slice.job])
    }

    async fn move_job(&self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
        let from = self.history.now();
        let done = self.inner.move_job(change, now).await;
        if let Ok(true) = done {
            if change.fence {
                self.tell_pause(from, change.job).await;
            }
            if matches!(change.to, JobStatus::Completed | JobStatus::Canceled) {
                let from = self.history.now();
                if let Ok(last) = self.reader.task_counts(change.job).await {
                    self.tell_counts(from, change.job, last);
                }
            }
        }
        self.known(done, from, "move_job", [change.job])
    }

    async fn task_counts(&self, job: JobNo) -> Result<TaskCounts, StoreError> {
        let from = self.history.now();
        let read = self.inner.task_counts(job).await?;
        self.tell_counts(from, job, read);
        Ok(read)
    }

    async fn request_cancel(
        &self,
        job: JobNo,
        mask: i64,
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Job, StoreError> {
        let from = self.history.now();
        let done = self.inner.request_cancel(job, mask, cause, now).await;
        if let Ok(held) = &done {
            self.history.tell_one(from, Fact::Held { job: job.0, fence: held.fence, mask });
        }
        self.known(done, from, "request_cancel", [job])
    }

    async fn sweep_cancel(&self, job: JobNo, limit: usize, now: Timestamp) -> Result<Sweep, StoreError> {
        let from = self.history.now();
        let done = self.inner.sweep_cancel(job, limit, now).await;
        self.known(done, from, "sweep_cancel", [job])
    }

    async fn write_bulk(&self, job: JobNo, step: &BulkStep, now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let from = self.history.now();
        let done = self.inner.write_bulk(job, step, now).await;
        if let Ok(written) = &done {
            let written = step.changes.iter().zip(written).filter(|(_, written)| **written);
            self.tell_ordered(from, written.map(|(change, _)| change));
        }
        self.known(done, from, "write_bulk", [job])
    }

    async fn audit_counts(&self, job: JobNo) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError> {
        let from = self.history.now();
        let found = self.inner.audit_counts(job).await?;
        for (status, kept, counted) in &found {
            let (status, kept, counted) = (status.as_str().to_owned(), *kept, *counted);
            self.history.tell_one(from, Fact::Miscounted { job: job.0, status, kept, counted });
        }
        Ok(found)
    }
}
    fn job_by_token(&self, account: AccountNo, token: &ClientToken) -> Option<(Job, [u8; 32])>;
    fn put_draw(&self, job: JobNo, last: Last) -> Option<Last>;
    fn job(&self, account: AccountNo, id: &JobId) -> Option<Job>;
    fn jobs_by_no(&self, jobs: &[JobNo]) -> Vec<Job>;
    fn jobs(&self, account: AccountNo, after: JobNo, limit: usize) -> Vec<Job>;
    fn jobs_of_firmware(
        &self,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> (Vec<Job>, u64);
    fn jobs_of_device(
        &self,
        device: DeviceId,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> (Vec<Job>, u64);
    fn unfinished_jobs(&self) -> Vec<Job>;
    fn unfinished_jobs_of(&self, firmware: &FirmwareId) -> u64;
    fn job_names(&self, job: JobNo, offset: u64, limit: usize) -> Vec<String>;
    fn rejected_lines(&self, job: JobNo, after: u64, limit: usize) -> Vec<RejectedLine>;
    fn request_bulk(&self, turn: JobTurn, filter: &BulkFilter, now: Timestamp) -> Option<Job>;
    fn ended_jobs(&self, since: Timestamp, limit: usize) -> Vec<Job>;
    fn purge_jobs(&self, before: Timestamp, limit: usize) -> u64;
}
