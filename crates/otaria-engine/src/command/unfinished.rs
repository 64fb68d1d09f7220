//! ListOTAUnfinishedTaskByDevice.

use otaria_core::rules::{Code, Refusal};
use otaria_core::task::TaskStatus;
use otaria_ports::store::TaskView;

use super::{Caller, Commands, DeviceRef, JobHead};
use crate::error::CommandError;

/// `ListOTAUnfinishedTaskByDevice` as a face received it. The list of statuses wins over the single one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct UnfinishedParams {
    pub device: DeviceRef,
    pub module_name: Option<String>,
    pub task_status: Option<String>,
    pub task_status_list: Vec<String>,
}

/// An open task of a device.
#[derive(Clone, Debug)]
pub struct UnfinishedTask {
    /// Its job, package and product.
    pub job: JobHead,
    /// The task.
    pub view: TaskView,
    /// Whether the device is connected.
    pub online: bool,
}

impl UnfinishedParams {
    /// The statuses that are asked for; any when empty.
    fn statuses(&self) -> Result<Vec<TaskStatus>, Refusal> {
        let status = |parameter: String, text: &String| {
            let known = TaskStatus::parse(text).filter(|status| status.is_open());
            let rule = "must be CONFIRM, QUEUED, NOTIFIED or IN_PROGRESS";
            known.ok_or_else(|| Refusal::invalid(Code::InvalidParameter, parameter, rule))
        };
        let single = self.task_status.iter().filter(|text| !text.is_empty());
        let single: Vec<TaskStatus> =
            single.map(|text| status("TaskStatus".into(), text)).collect::<Result<_, _>>()?;
        let list = (1..).zip(&self.task_status_list);
        let list: Vec<TaskStatus> =
            list.map(|(n, text)| status(format!("TaskStatusList.{n}"), text)).collect::<Result<_, _>>()?;
        Ok(if list.is_empty() { single } else { list })
    }
}

impl Commands {
    /// ListOTAUnfinishedTaskByDevice: the device's tasks that are not final, at most one a module.
    ///
    /// # Errors
    /// A device that is not the caller's, or a status that is final.
    pub async fn list_unfinished_tasks(
        &self,
        caller: &Caller,
        params: &UnfinishedParams,
    ) -> Result<Vec<UnfinishedTask>, CommandError> {
        let statuses = params.statuses()?;
        let (product, device) = self.device_of(caller, &params.device).await?;
        let module = params.module_name.as_deref().filter(|name| !name.is_empty());
        let tasks = self.deps().store.open_tasks(&[device.id]).await?;
        let jobs = tasks.iter().map(|task| task.key.job).collect();
        let facts = self.shell.book.get(&*self.deps().store, &jobs).await?;
        let session = self.deps().presence.sessions(&[device.id]).await?;
        let online = session.first().copied().flatten().is_some();

        let meant = tasks.into_iter().filter(|task| {
            (statuses.is_empty() || statuses.contains(&task.state.status()))
                && module.is_none_or(|module| module == task.module.as_str())
        });
        let rows = meant.filter_map(|task| {
            let facts = facts.get(&task.key.job)?;
            let (job, firmware) = (facts.job.clone(), facts.firmware.clone());
            let job = JobHead { job, firmware, product: product.clone() };
            Some(UnfinishedTask { job, view: TaskView { task, device_name: device.name.clone() }, online })
        });
        Ok(rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statuses_that_are_not_final_are_asked_for() {
        let params = |single: Option<&str>, list: &[&str]| UnfinishedParams {
            task_status: single.map(Into::into),
            task_status_list: list.iter().map(|text| (*text).to_owned()).collect(),
            ..UnfinishedParams::default()
        };
        assert_eq!(params(None, &[]).statuses(), Ok(vec![]));
        assert_eq!(params(Some("QUEUED"), &[]).statuses(), Ok(vec![TaskStatus::Queued]));
        let list = [TaskStatus::Confirm, TaskStatus::InProgress];
        assert_eq!(params(Some("QUEUED"), &["CONFIRM", "IN_PROGRESS"]).statuses(), Ok(list.to_vec()));
        assert_eq!(params(Some("FAILED"), &[]).statuses().unwrap_err().parameter, "TaskStatus");
        let wrong = params(None, &["QUEUED", "CANCELED"]).statuses().unwrap_err();
        assert_eq!(wrong.parameter, "TaskStatusList.2");
    }
}
