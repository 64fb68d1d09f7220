//! Listing tasks.

use std::collections::BTreeMap;

use otaria_core::ids::DeviceId;
use otaria_core::rules::Code;
use otaria_ports::store::{BATCH_MAX, TaskFilter, TaskPage};

use super::jobs::JobHead;
use super::{Caller, Commands};
use crate::error::CommandError;

/// Device names in a filter at most.
const DEVICES_MAX: usize = 200;

/// A page of tasks with what each row needs of its job.
#[derive(Clone, Debug)]
pub struct TaskList {
    /// The job and its package.
    pub job: JobHead,
    /// The tasks.
    pub page: TaskPage,
    /// Which of their devices are connected.
    pub online: BTreeMap<DeviceId, i64>,
}

impl Commands {
    /// ListOTATaskByJob: tasks after the `after`th, at most `limit` (1–1,000).
    ///
    /// # Errors
    /// `JobNotFound`, or a filter that is too long.
    pub async fn list_tasks(
        &self,
        caller: &Caller,
        job_id: &str,
        filter: &TaskFilter,
        after: u32,
        limit: usize,
    ) -> Result<TaskList, CommandError> {
        let job = self.job_head(caller, job_id).await?;
        if filter.devices.len() > DEVICES_MAX {
            let message = format!("DeviceNames must be at most {DEVICES_MAX}");
            return Err(CommandError::not_allowed(Code::InvalidTargetDevices, message));
        }
        let limit = limit.clamp(1, BATCH_MAX);
        let page = self.deps().store.list_tasks(job.job.no, filter, after, limit).await?;
        let devices: Vec<DeviceId> = page.tasks.iter().map(|view| view.task.key.device).collect();
        let sessions = self.deps().presence.sessions(&devices).await?;
        let online = devices.into_iter().zip(sessions).filter_map(|(d, s)| Some((d, s?))).collect();
        Ok(TaskList { job, page, online })
    }
}
