//! The rules of the calls that act on tasks.

use std::collections::BTreeSet;

use super::text::name;
use super::{Code, Refusal};
use crate::ids::{DeviceName, TaskId};
use crate::task::{BulkAction, BulkFilter, FailureCause, TaskStatus};

/// Tasks of one call at most.
const TASKS_MAX: usize = 10;
/// Devices of one call at most.
const DEVICES_MAX: usize = 200;

/// `TaskId.N`: 1 to 10 tasks, each once however often it is named, in the order of their names.
///
/// # Errors
/// None, too many, or a text that is no task's id.
pub fn task_ids(texts: &[String]) -> Result<Vec<TaskId>, Refusal> {
    match texts.len() {
        0 => return Err(Refusal::missing("TaskId", "")),
        1..=TASKS_MAX => {}
        many => {
            let rule = format!("may have at most {TASKS_MAX} entries, not {many}");
            return Err(Refusal::invalid(Code::TooManyTasks, "TaskId", rule));
        }
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (n, text) in (1..).zip(texts) {
        let unknown = || Refusal::invalid(Code::TaskNotFound, format!("TaskId.{n}"), "names no task");
        let id = TaskId::parse(text).ok_or_else(unknown)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// `DeviceName.N`: 1 to 200 devices, each once however often it is named.
///
/// # Errors
/// None, too many, or a text that is no device's name.
pub fn device_names(texts: &[String]) -> Result<Vec<DeviceName>, Refusal> {
    match texts.len() {
        0 => return Err(Refusal::missing("DeviceName", "")),
        1..=DEVICES_MAX => {}
        many => {
            let rule = format!("may have at most {DEVICES_MAX} entries, not {many}");
            return Err(Refusal::invalid(Code::DeviceCountExceeded, "DeviceName", rule));
        }
    }
    let names = (1..)
        .zip(texts)
        .map(|(n, text)| name(&format!("DeviceName.{n}"), Code::InvalidDeviceName, text, DeviceName::parse));
    Ok(names.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect())
}

/// Which tasks of a job are started again, as a face received it (ours).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct BulkParams {
    pub task_status: Vec<String>,
    pub failure_cause: Vec<String>,
}

impl BulkParams {
    /// Makes a valid filter of them: without a status FAILED and CANCELED, or with a cause FAILED alone.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn reupgrade(&self) -> Result<BulkFilter, Refusal> {
        let action = BulkAction::Reupgrade;
        let mut statuses = BTreeSet::new();
        for (n, text) in (1..).zip(&self.task_status) {
            let unknown = || {
                let rule = "must be FAILED or CANCELED";
                Refusal::invalid(Code::InvalidParameter, format!("TaskStatus.{n}"), rule)
            };
            let status = TaskStatus::parse(text).filter(|status| action.takes(*status));
            statuses.insert(status.ok_or_else(unknown)?);
        }
        let mut causes = Vec::new();
        for (n, text) in (1..).zip(&self.failure_cause) {
            let unknown = || {
                let known = FailureCause::ALL.map(FailureCause::as_str).join(", ");
                let rule = format!("must be one of {known}");
                Refusal::invalid(Code::InvalidParameter, format!("FailureCause.{n}"), rule)
            };
            let cause = FailureCause::parse(text).ok_or_else(unknown)?;
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        if !causes.is_empty() && !statuses.is_empty() && !statuses.contains(&TaskStatus::Failed) {
            let rule = "is of no use without TaskStatus FAILED";
            return Err(Refusal::invalid(Code::InvalidParameter, "FailureCause", rule));
        }
        if statuses.is_empty() {
            statuses.insert(TaskStatus::Failed);
            if causes.is_empty() {
                statuses.insert(TaskStatus::Canceled);
            }
        }
        Ok(BulkFilter { action, statuses: statuses.into_iter().collect(), causes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobNo;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn one_to_ten_tasks_are_named_each_once() {
        let id = |seq| TaskId { job: JobNo(3), seq };
        let named = [id(2), id(1), id(2)].map(|id| id.to_string());
        assert_eq!(task_ids(&named), Ok(vec![id(2), id(1)]));
        assert_eq!(task_ids(&[]).unwrap_err().code_text(), "MissingTaskId");
        let many: Vec<String> = (1..=11).map(|seq| id(seq).to_string()).collect();
        assert_eq!(task_ids(&many).unwrap_err().code, Code::TooManyTasks);
        assert_eq!(task_ids(&many[..10]).unwrap().len(), 10);
        let wrong = task_ids(&[id(1).to_string(), "nonsense".into()]).unwrap_err();
        assert_eq!((wrong.code, wrong.parameter.as_str()), (Code::TaskNotFound, "TaskId.2"));
    }

    #[test]
    fn one_to_200_devices_are_named() {
        assert_eq!(device_names(&[]).unwrap_err().code_text(), "MissingDeviceName");
        let many: Vec<String> = (0..201).map(|n| format!("dev-{n}")).collect();
        assert_eq!(device_names(&many).unwrap_err().code, Code::DeviceCountExceeded);
        assert_eq!(device_names(&many[..200]).unwrap().len(), 200);
        assert_eq!(device_names(&texts(&["dev-1", "dev-1"])).unwrap().len(), 1);
        assert_eq!(device_names(&texts(&["dev-1", "?"])).unwrap_err().parameter, "DeviceName.2");
    }

    #[test]
    fn a_filter_takes_final_tasks_only_and_a_cause_means_failures() {
        let filter = |status: &[&str], cause: &[&str]| {
            BulkParams { task_status: texts(status), failure_cause: texts(cause) }.reupgrade()
        };
        let both = [TaskStatus::Failed, TaskStatus::Canceled];
        assert_eq!(filter(&[], &[]).unwrap().statuses, both);
        assert_eq!(filter(&["CANCELED", "FAILED"], &[]).unwrap().statuses, both);
        let timeouts = filter(&[], &["TIMEOUT", "BUSY", "TIMEOUT"]).unwrap();
        assert_eq!(timeouts.statuses, [TaskStatus::Failed]);
        assert_eq!(timeouts.causes, [FailureCause::Timeout, FailureCause::Busy]);
        assert_eq!(filter(&["SUCCEEDED"], &[]).unwrap_err().parameter, "TaskStatus.1");
        assert_eq!(filter(&[], &["WEATHER"]).unwrap_err().parameter, "FailureCause.1");
        assert_eq!(filter(&["CANCELED"], &["BUSY"]).unwrap_err().parameter, "FailureCause");
    }
}
