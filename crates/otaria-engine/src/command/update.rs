//! UpdateOTAJob.

use otaria_core::rules::{Code, Refusal, UpdateJobParams};
use otaria_core::time::Timestamp;
use otaria_ports::store::Role;

use super::{Caller, Commands};
use crate::error::CommandError;

impl Commands {
    /// UpdateOTAJob: what is given changes at once, for what is still to come. The pace holds across a change
    /// of the rate; tasks that are `IN_PROGRESS` keep their timeout; notices that were sent keep their tags.
    ///
    /// # Errors
    /// `JobNotFound`, a parameter that breaks its rule, or a job that has ended.
    pub async fn update_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        params: &UpdateJobParams,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let head = self.job_head(caller, job_id).await?;
        let job = head.job;
        let ended = || {
            let message = "the job has ended; only a job that has not ended can be changed";
            CommandError::not_allowed(Code::JobStatusNotAllowed, message)
        };
        if job.status.is_ended() {
            return Err(ended());
        }
        let update = params.parse(&job.new, &self.deps().limits)?;
        let only = head.firmware.new.kind.src_version();
        let foreign = update.src_versions.iter().flatten().position(|version| Some(version) != only);
        if let (Some(only), Some(place)) = (only, foreign) {
            let rule = format!("must be {only}, the version that the difference package is for");
            let parameter = format!("SrcVersionList.{}", place + 1);
            return Err(Refusal::invalid(Code::InvalidSrcVersion, parameter, rule).into());
        }
        if update.is_empty() {
            return Ok(());
        }
        let updated = self.deps().store.update_job(job.no, &update, now).await;
        // Also when the call failed: it may have been done all the same.
        self.shell.job_changed(job.no);
        match updated? {
            Some(_) => Ok(()),
            None => Err(ended()),
        }
    }
}
