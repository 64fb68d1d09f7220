//! Begins planned jobs, ends jobs whose time is over, carries cancellations and bulk actions to their end, and
//! closes jobs that are done.
//!
//! Invariant: a job is COMPLETED only when its expansion is complete and none of its tasks is open (I22);
//! the store checks that in the transaction that moves it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use otaria_core::firmware::{FirmwareEvent, FirmwareStatus};
use otaria_core::ids::JobNo;
use otaria_core::job::{CancelFlags, JobEvent, JobKind, JobStatus};
use otaria_core::task::{CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Job, JobMove, StoreError};

use crate::Wake;
use crate::bulk;
use crate::error::CommandError;
use crate::ownership::{Ownership, Survey};
use crate::shell::Shell;

/// Tasks cancelled in one step: about 25 ms of the store's writer.
const SWEEP_TASKS: usize = 2_000;

/// A job whose step failed is looked at again after this time, so that it does not hold up the others.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub struct Closer {
    shell: Arc<Shell>,
    /// Jobs to look at now, each in turn.
    look: BTreeSet<JobNo>,
    last: JobNo,
    /// When to look at jobs: they begin or end then.
    later: BTreeSet<(Timestamp, JobNo)>,
    survey: Survey,
}

impl Closer {
    /// A closer that knows no job yet.
    #[must_use]
    pub fn new(shell: Arc<Shell>) -> Self {
        let survey = Survey::default();
        Self { shell, look: BTreeSet::new(), last: JobNo(0), later: BTreeSet::new(), survey }
    }

    /// Looks at every unfinished job: after a start, when other shards are owned, and now and then.
    async fn survey(&mut self) -> Result<(), StoreError> {
        let jobs = self.shell.deps.store.unfinished_jobs().await?;
        self.look.extend(jobs.iter().map(|job| job.no));
        Ok(())
    }

    /// Moves one job one step.
    ///
    /// # Errors
    /// When the store is not available; the job is tried again later, the next tick turns to another.
    pub async fn tick(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        if self.survey.is_due(&self.shell, owned, now) {
            let losses = self.shell.losses.load(Ordering::SeqCst);
            self.survey().await?;
            self.survey.done(losses, owned, now);
        }
        let hinted = self.shell.close_hints.take();
        self.look.extend(self.shell.pass_on(hinted, owned));
        self.look.retain(|job| owned.carries(*job));
        self.later.retain(|(_, job)| owned.carries(*job));
        while let Some((at, job)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, job));
            self.look.insert(job);
        }
        let next = self.look.range((Bound::Excluded(self.last), Bound::Unbounded)).next();
        let Some(no) = next.or_else(|| self.look.first()).copied() else {
            return Ok(self.later.first().map_or(Wake::OnSignal, |(at, _)| Wake::At(*at)));
        };
        self.last = no;
        match self.look_at(no, now).await {
            Ok(true) => Ok(Wake::Now),
            Ok(false) => {
                self.look.remove(&no);
                Ok(Wake::Now)
            }
            Err(error) => {
                self.look.remove(&no);
                self.later.insert((now + AGAIN, no));
                Err(error)
            }
        }
    }

    async fn look_at(&mut self, no: JobNo, now: Timestamp) -> Result<bool, CommandError> {
        match self.shell.deps.store.jobs_by_no(&[no]).await?.pop() {
            Some(job) => self.step(&job, now).await,
            None => Ok(false),
        }
    }

    /// One step of one job; `true` when it wants another at once.
    async fn step(&mut self, job: &Job, now: Timestamp) -> Result<bool, CommandError> {
        let schedule = job.new.schedule;
        if job.status == JobStatus::Planned && schedule.start.is_none_or(|start| start <= now) {
            self.begin(job, now).await?;
            return Ok(true);
        }
        if !job.status.is_ended() {
            let instants = [schedule.start, schedule.finish].into_iter().flatten();
            self.later.extend(instants.filter(|at| now < *at).map(|at| (at, job.no)));
            if schedule.finish.is_some_and(|finish| finish <= now) && self.end_of_time(job, now).await? {
                return Ok(true);
            }
        }
        if job.canceling.is_some() {
            let sweep = self.shell.deps.store.sweep_cancel(job.no, SWEEP_TASKS, now).await?;
            if sweep.done {
                self.shell.job_changed(job.no);
            }
            // While lines are still expanded there is nothing to hurry for: the expander hints at its end.
            return Ok(sweep.done || sweep.canceled > 0 || job.expansion.complete);
        }
        if job.bulk.as_ref().is_some_and(|bulk| !bulk.done) {
            return bulk::step(&self.shell, job, now).await;
        }
        if !job.status.is_ended() {
            self.close(job, now).await?;
        }
        Ok(false)
    }

    /// The job's finish time has come: everything open is cancelled. Says whether there was something.
    async fn end_of_time(&self, job: &Job, now: Timestamp) -> Result<bool, CommandError> {
        let mask = CancelFlags::EVERYTHING.mask();
        if job.canceling.is_some_and(|(running, _)| running & mask == mask) {
            return Ok(false);
        }
        let store = &self.shell.deps.store;
        if job.expansion.complete && store.task_counts(job.no).await?.open() == 0 {
            return Ok(false);
        }
        let asked = store.request_cancel(job.no, mask, CancelCause::FinishTime, now).await;
        self.shell.job_changed(job.no);
        asked?;
        Ok(true)
    }

    async fn begin(&self, job: &Job, now: Timestamp) -> Result<(), CommandError> {
        let Ok(to) = job.status.on(JobEvent::Started) else { return Ok(()) };
        let change =
            JobMove { job: job.no, from: job.status, to, only_if_done: false, fence: false, firmware: None };
        let moved = self.shell.deps.store.move_job(&change, now).await;
        // Told in any case: a call that failed may have moved the job, and nobody would hear of it.
        self.shell.job_opened(job.no);
        if moved? {
            tracing::info!(job.id = %job.id, "job begins");
        }
        Ok(())
    }

    /// Closes the job if it is done; a verify job's verdict goes to its firmware in the same transaction.
    async fn close(&self, job: &Job, now: Timestamp) -> Result<(), CommandError> {
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
        let change =
            JobMove { job: job.no, from: job.status, to, only_if_done: true, fence: false, firmware };
        let moved = self.shell.deps.store.move_job(&change, now).await;
        self.shell.job_changed(job.no);
        if moved? {
            tracing::info!(
                job.id = %job.id, succeeded = counts.of(TaskStatus::Succeeded),
                failed = counts.of(TaskStatus::Failed), canceled = counts.of(TaskStatus::Canceled),
                "job completed"
            );
        }
        Ok(())
    }
}
