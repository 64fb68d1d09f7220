//! Confirming and starting again many tasks of a job at once (ours): asked for here, carried out by the
//! closer.

use otaria_core::rules::{BulkParams, Code};
use otaria_core::task::BulkFilter;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Job, JobTurn, Role, StoreError};

use super::orders::status_to_go_on;
use super::{Caller, Commands};
use crate::error::CommandError;

/// How often it is asked anew when the job moves meanwhile.
const TRIES: usize = 5;

impl Commands {
    /// Confirms every task of a job that waits for it, in the background. Asking again while it runs changes
    /// nothing; a cancellation ends it.
    ///
    /// # Errors
    /// `JobNotFound`, a job outside its schedule, or another bulk action under way.
    pub async fn confirm_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        self.ask(caller, now, job_id, &BulkFilter::confirm(), |job| {
            // The tasks of a dynamic job outlive its strategy.
            let is_over = job.status.is_ended() && !job.status.delivers(job.new.kind);
            if is_over || !job.new.schedule.is_open(now) {
                let message = "the job has ended, or is outside its schedule";
                return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
            }
            Ok(JobTurn { job: job.no, from: job.status, to: job.status })
        })
        .await
    }

    /// Starts the tasks of a job again that failed or were cancelled, by status and cause, in the background;
    /// a static job that has ended goes on. Devices with another open task in the way are passed over. Asking
    /// again while it runs changes nothing; a cancellation ends it.
    ///
    /// # Errors
    /// `JobNotFound`, a filter that makes no sense, a verify job, one whose time is over, or another bulk
    /// action under way.
    pub async fn reupgrade_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        params: &BulkParams,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let filter = params.reupgrade()?;
        self.ask(caller, now, job_id, &filter, |job| {
            Ok(JobTurn { job: job.no, from: job.status, to: status_to_go_on(job, now)? })
        })
        .await
    }

    async fn ask(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        filter: &BulkFilter,
        turn: impl Fn(&Job) -> Result<JobTurn, CommandError>,
    ) -> Result<(), CommandError> {
        for _ in 0..TRIES {
            let job = self.own_job(caller, job_id).await?;
            let asked = self.deps().store.request_bulk(turn(&job)?, filter, now).await;
            // Also when the call failed: it may have been done all the same.
            self.shell.job_changed(job.no);
            self.shell.close_hints.add([job.no]);
            match asked {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(StoreError::Conflict { .. }) => {
                    let message = "another bulk action of the job is under way; QueryOTAJob tells how far";
                    return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict { what: "job" }.into())
    }
}
