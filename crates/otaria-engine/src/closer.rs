//! Begins planned jobs, ends jobs whose time is over, carries cancellations to their end, and closes jobs
//! that are done.
//!
//! Invariant: a job is COMPLETED only when its expansion is complete and none of its tasks is open (I22);
//! the store checks that in the transaction that moves it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otaria_core::firmware::{FirmwareEvent, FirmwareStatus};
use otaria_core::ids::JobNo;
use otaria_core::job::{CancelFlags, JobEvent, JobKind, JobStatus};
use otaria_core::task::{CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Job, JobMove, StoreError};

use crate::Wake;
use crate::error::CommandError;
use crate::shell::Shell;

/// Tasks cancelled in one step: about 25 ms of the store's writer.
const SWEEP_TASKS: usize = 2_000;

/// See the module.
pub struct Closer {
    shell: Arc<Shell>,
    /// Jobs to look at now.
    look: BTreeSet<JobNo>,
    /// When jobs begin or end.
    at: BTreeMap<JobNo, Timestamp>,
}

impl Closer {
    /// A closer that knows no job yet.
    #[must_use]
    pub const fn new(shell: Arc<Shell>) -> Self {
        Self { shell, look: BTreeSet::new(), at: BTreeMap::new() }
    }

    /// Looks at every unfinished job: after a start, and now and then.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn survey(&mut self) -> Result<(), StoreError> {
        let jobs = self.shell.deps.store.unfinished_jobs().await?;
        self.look.extend(jobs.iter().map(|job| job.no));
        Ok(())
    }

    /// Moves one job one step.
    ///
    /// # Errors
    /// When the store is not available; the next tick tries again.
    pub async fn tick(&mut self, now: Timestamp) -> Result<Wake, CommandError> {
        self.look.extend(self.shell.close_hints.take());
        self.look.extend(self.at.iter().filter(|(_, at)| **at <= now).map(|(job, _)| *job));
        if let Some(no) = self.look.first().copied() {
            let more = match self.shell.deps.store.jobs_by_no(&[no]).await?.pop() {
                Some(job) => self.step(&job, now).await?,
                None => false,
            };
            if !more {
                self.look.remove(&no);
            }
            return Ok(Wake::Now);
        }
        Ok(self.at.values().min().map_or(Wake::OnSignal, |at| Wake::At(*at)))
    }

    /// One step of one job; `true` when it wants another at once.
    async fn step(&mut self, job: &Job, now: Timestamp) -> Result<bool, CommandError> {
        self.at.remove(&job.no);
        if job.canceling.is_some() {
            let sweep = self.shell.deps.store.sweep_cancel(job.no, SWEEP_TASKS, now).await?;
            if sweep.done {
                self.shell.job_changed(job.no);
            }
            // While lines are still expanded there is nothing to hurry for: the expander hints at its end.
            return Ok(sweep.done || (sweep.canceled > 0 || job.expansion.complete));
        }
        if job.status.is_ended() {
            return Ok(false);
        }
        let schedule = job.new.schedule;
        if schedule.finish.is_some_and(|finish| finish <= now) {
            let (mask, cause) = (CancelFlags::EVERYTHING.mask(), CancelCause::FinishTime);
            if self.shell.deps.store.task_counts(job.no).await?.open() > 0 || !job.expansion.complete {
                self.shell.deps.store.request_cancel(job.no, mask, cause, now).await?;
                self.shell.job_changed(job.no);
                return Ok(true);
            }
        }
        if job.status == JobStatus::Planned && schedule.start.is_none_or(|start| start <= now) {
            self.begin(job, now).await?;
            return Ok(true);
        }
        let next = if job.status == JobStatus::Planned { schedule.start } else { schedule.finish };
        if let Some(next) = next.filter(|next| *next > now) {
            self.at.insert(job.no, next);
        }
        self.close(job, now).await?;
        Ok(false)
    }

    async fn begin(&self, job: &Job, now: Timestamp) -> Result<(), CommandError> {
        let Ok(to) = job.status.on(JobEvent::Started) else { return Ok(()) };
        let change = JobMove {
            job: job.no,
            from: job.status,
            to,
            only_if_done: false,
            fence: false,
            firmware: None,
        };
        if self.shell.deps.store.move_job(&change, now).await? {
            tracing::info!(job.id = %job.id, "job begins");
            self.shell.job_opened(job.no);
        }
        Ok(())
    }

    /// Closes the job if it is done; a verify job's verdict goes to its firmware in the same transaction.
    async fn close(&mut self, job: &Job, now: Timestamp) -> Result<(), CommandError> {
        let Ok(to) = job.status.on(JobEvent::AllDone) else { return Ok(()) };
        if job.new.kind == JobKind::Dynamic || !job.expansion.complete {
            return Ok(());
        }
        let counts = self.shell.deps.store.task_counts(job.no).await?;
        if counts.open() > 0 {
            return Ok(());
        }
        let firmware = (job.new.kind == JobKind::Verify).then(|| {
            let all_succeeded = counts.total() > 0 && counts.of(TaskStatus::Succeeded) == counts.total();
            let from = FirmwareStatus::Verifying;
            (from, from.on(FirmwareEvent::VerifyJobEnded { all_succeeded }).unwrap_or(from))
        });
        let change = JobMove { job: job.no, from: job.status, to, only_if_done: true, fence: false, firmware };
        if self.shell.deps.store.move_job(&change, now).await? {
            tracing::info!(
                job.id = %job.id, succeeded = counts.of(TaskStatus::Succeeded),
                failed = counts.of(TaskStatus::Failed), canceled = counts.of(TaskStatus::Canceled),
                "job completed"
            );
            self.at.remove(&job.no);
            self.shell.job_changed(job.no);
        }
        Ok(())
    }
}
