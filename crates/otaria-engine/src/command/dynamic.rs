//! Dynamic jobs: making one, and ending its strategy.
//!
//! Who joins later is not decided here: the store asks the rules in the transactions that keep a version or
//! register a device.

use otaria_core::job::{DynamicMode, JobEvent, JobKind, JobStatus, Target};
use otaria_core::rules::{Code, DynamicUpgradeParams, NewDynamicJob, Refusal};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Job, JobMove, Role, SourceKind, StandingGroup, StoreError};

use super::{Caller, Commands, NewJobAnswer};
use crate::error::CommandError;

/// How often a job that moves meanwhile is read anew.
const TRIES: usize = 5;

/// Which devices a dynamic job takes; `None` for every other job.
#[must_use]
pub const fn dynamic_mode(job: &Job) -> Option<DynamicMode> {
    match &job.source {
        SourceKind::Standing { mode, .. } => Some(*mode),
        SourceKind::Names
        | SourceKind::File { .. }
        | SourceKind::Product
        | SourceKind::Part { .. }
        | SourceKind::Group { .. } => None,
    }
}

impl Commands {
    /// CreateOTADynamicUpgradeJob. Devices that match join from this answer on: those that are there are
    /// walked over in the background, the others come with their reports or when they are registered.
    ///
    /// # Errors
    /// A parameter that breaks its rule, unknown things, a firmware that may not be rolled out or has a
    /// running dynamic job, or modes that differ from those of the group's running dynamic job.
    pub async fn create_dynamic_job(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &DynamicUpgradeParams,
    ) -> Result<NewJobAnswer, CommandError> {
        caller.needs(Role::Operator)?;
        let NewDynamicJob { job, mode } = params.parse(&self.deps().limits)?;
        self.create_job(caller, now, job, Some(mode)).await
    }

    /// CancelOTAStrategyByJob: no device joins any more once this is answered. Tasks that are there go on, and
    /// a pause ends, since nobody could resume the job. Cancelling it again changes nothing.
    ///
    /// # Errors
    /// `JobNotFound`, or a job that is not dynamic.
    pub async fn cancel_strategy(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        for _ in 0..TRIES {
            let job = self.own_job(caller, job_id).await?;
            if job.new.kind != JobKind::Dynamic {
                let rule = "must name a dynamic job; CancelOTATaskByJob cancels the tasks of any job";
                return Err(Refusal::invalid(Code::JobStatusNotAllowed, "JobId", rule).into());
            }
            if self.end_strategy(&job, now).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict { what: "job" }.into())
    }

    /// Moves a dynamic job to its end and tells of it; `false` when somebody else moved it.
    async fn end_strategy(&self, job: &Job, now: Timestamp) -> Result<bool, CommandError> {
        let moved = match job.status.on(JobEvent::StrategyCanceled) {
            // It has ended: perhaps by a call whose answer was lost, so it is told of again.
            Err(_) => Ok(true),
            Ok(to) => {
                let (no, from) = (job.no, job.status);
                let change = JobMove { job: no, from, to, only_if_done: false, fence: false, firmware: None };
                self.deps().store.move_job(&change, now).await
            }
        };
        // Also when the call failed: it may have been done all the same.
        if job.status == JobStatus::Paused {
            self.shell.job_opened(job.no);
        } else {
            self.shell.job_changed(job.no);
        }
        let moved = moved?;
        if moved && !job.status.is_ended() {
            tracing::info!(job.id = %job.id, "strategy cancelled: no more devices join");
        }
        Ok(moved)
    }

    /// Where the devices of a dynamic job come from.
    pub(super) async fn standing_source(
        &self,
        caller: &Caller,
        target: &Target,
        mode: DynamicMode,
    ) -> Result<SourceKind, CommandError> {
        let group = match target {
            Target::Group { group_id } => {
                let (group, expression) = self.own_dynamic_group(caller, "GroupId", group_id).await?;
                Some(StandingGroup { no: group.no, expression })
            }
            Target::All { .. } | Target::Names(_) | Target::ListFile { .. } | Target::Gray { .. } => None,
        };
        Ok(SourceKind::Standing { mode, group })
    }
}

/// What stands in the way of a new dynamic job, if it is that.
pub(super) fn not_joined(error: &StoreError) -> Option<CommandError> {
    let as_in_the_group = |parameter: &str| {
        let rule = "must be as in the running dynamic job of the same group";
        Some(Refusal::invalid(Code::InvalidParameter, parameter, rule).into())
    };
    match error {
        StoreError::Exists { what: "dynamic job" } => {
            let rule = "names a firmware that has a running dynamic job; CancelOTAStrategyByJob ends it";
            Some(Refusal::invalid(Code::DynamicJobExisted, "FirmwareId", rule).into())
        }
        StoreError::Conflict { what: "overwrite mode" } => as_in_the_group("OverwriteMode"),
        StoreError::Conflict { what: "multi-module mode" } => as_in_the_group("MultiModuleMode"),
        StoreError::Exists { .. }
        | StoreError::Conflict { .. }
        | StoreError::NotFound { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Corrupt { .. } => None,
    }
}
