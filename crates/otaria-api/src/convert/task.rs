//! Tasks.

use otaria_core::ids::{DeviceName, TaskId, iot_id};
use otaria_core::rules::{BulkParams, Code, Refusal};
use otaria_core::task::{Delivery, FailureCause, TaskState, TaskStatus, WaitReason, wait_reason};
use otaria_core::time::Timestamp;
use otaria_engine::command::{DeviceRef, JobHead, UnfinishedParams};
use otaria_ports::store::{Task, TaskFilter, TaskView};
use otaria_proto::v1;
use tonic::Status;

use super::{choice, instant, minutes};
use crate::errors;

const fn status(status: TaskStatus) -> v1::TaskStatus {
    match status {
        TaskStatus::Confirm => v1::TaskStatus::Confirm,
        TaskStatus::Queued => v1::TaskStatus::Queued,
        TaskStatus::Notified => v1::TaskStatus::Notified,
        TaskStatus::InProgress => v1::TaskStatus::InProgress,
        TaskStatus::Succeeded => v1::TaskStatus::Succeeded,
        TaskStatus::Failed => v1::TaskStatus::Failed,
        TaskStatus::Canceled => v1::TaskStatus::Canceled,
    }
}

const fn reason(reason: Option<WaitReason>) -> v1::WaitReason {
    match reason {
        None => v1::WaitReason::Unspecified,
        Some(WaitReason::Schedule) => v1::WaitReason::Schedule,
        Some(WaitReason::Offline) => v1::WaitReason::Offline,
        Some(WaitReason::Pace) => v1::WaitReason::Pace,
        Some(WaitReason::Confirmation) => v1::WaitReason::Confirmation,
        Some(WaitReason::Retry) => v1::WaitReason::Retry,
        Some(WaitReason::Pause) => v1::WaitReason::Pause,
        Some(WaitReason::Request) => v1::WaitReason::Request,
        Some(WaitReason::Report) => v1::WaitReason::Report,
    }
}

/// Which tasks are wanted.
pub(crate) fn filter(request: &v1::ListOtaTaskByJobRequest) -> Result<TaskFilter, Status> {
    let wanted = match v1::TaskStatus::try_from(request.task_status) {
        Ok(v1::TaskStatus::Unspecified) => None,
        Ok(named) => TaskStatus::ALL.into_iter().find(|known| status(*known) == named),
        Err(_) => {
            return Err(errors::invalid("TaskStatus", "must be one of the seven statuses of a task"));
        }
    };
    let names = (1..).zip(&request.device_names).map(|(n, name)| {
        DeviceName::parse(name).map_err(|bad| {
            let rule = format!("must be {}", bad.rule);
            errors::refused(&Refusal::invalid(Code::InvalidDeviceName, format!("DeviceNames.{n}"), rule))
        })
    });
    // The command has the last word on how many there may be; this spares reading thousands of them.
    let devices = names.take(1_000).collect::<Result<_, _>>()?;
    Ok(TaskFilter { status: wanted, devices })
}

/// A status by its name; a number that is none of them is left to the rules.
fn named(raw: i32) -> Option<String> {
    choice(raw, &TaskStatus::ALL.map(TaskStatus::as_str))
}

/// Which open tasks of a device are wanted.
pub(crate) fn unfinished(request: v1::ListOtaUnfinishedTaskByDeviceRequest) -> UnfinishedParams {
    let list = request.task_status_list.into_iter();
    UnfinishedParams {
        device: DeviceRef {
            iot_id: request.iot_id,
            product_key: request.product_key,
            device_name: request.device_name,
        },
        module_name: request.module_name,
        task_status: named(request.task_status),
        task_status_list: list.map(|raw| named(raw).unwrap_or_else(|| raw.to_string())).collect(),
    }
}

/// Which tasks of a job are started again.
pub(crate) fn reupgrade_filter(filter: &v1::ReupgradeFilter) -> BulkParams {
    let causes = FailureCause::ALL.map(FailureCause::as_str);
    let text = |raw: &i32, name: Option<String>| name.unwrap_or_else(|| raw.to_string());
    BulkParams {
        task_status: filter.task_status.iter().map(|raw| text(raw, named(*raw))).collect(),
        failure_cause: filter.failure_cause.iter().map(|raw| text(raw, choice(*raw, &causes))).collect(),
    }
}

/// A row of the list.
pub(crate) fn row(head: &JobHead, view: &TaskView, online: bool, now: Timestamp) -> v1::SimpleOtaTaskInfo {
    let (job, task) = (&head.job, &view.task);
    let waits_for = wait_reason(&task.state, job.status, &job.new, online, now);
    v1::SimpleOtaTaskInfo {
        task_id: TaskId { job: task.key.job, seq: task.key.seq }.to_string(),
        job_id: job.id.to_string(),
        firmware_id: job.new.firmware.to_string(),
        product_key: job.new.product.to_string(),
        product_name: head.product.new.name.clone(),
        device_name: view.device_name.to_string(),
        iot_id: iot_id(task.key.device),
        module_name: task.module.to_string(),
        src_version: task.src_version.as_ref().map(|version| version.as_str().to_owned()),
        dest_version: head.firmware.new.dest_version.to_string(),
        task_status: status(task.state.status()).into(),
        task_desc: task.ended_because(),
        progress: task.progress().map(Into::into),
        timeout: job.new.policy.timeout.map(minutes),
        utc_create: Some(instant(task.created_at)),
        utc_modified: Some(instant(task.modified_at)),
        attempt: task.state.attempts().into(),
        wait_reason: reason(waits_for).into(),
        notices: i32::try_from(task.notices).unwrap_or(i32::MAX),
        utc_notified: notified_at(task).map(instant),
    }
}

/// When the running offer went out, as far as somebody said that it did.
fn notified_at(task: &Task) -> Option<Timestamp> {
    let (TaskState::Notified { attempt, delivery, .. } | TaskState::InProgress { attempt, delivery, .. }) =
        &task.state
    else {
        return None;
    };
    match delivery {
        Delivery::Claimed { .. } | Delivery::Wanted => None,
        Delivery::Written { .. } | Delivery::Fetched => Some(attempt.offered_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_causes_have_the_same_names_on_the_wire_and_in_the_rules() {
        for known in TaskStatus::ALL {
            assert_eq!(named(status(known).into()).as_deref(), Some(known.as_str()));
        }
        for (number, cause) in (1..).zip(FailureCause::ALL) {
            let name = v1::FailureCause::try_from(number).unwrap().as_str_name();
            assert_eq!(name, format!("FAILURE_CAUSE_{}", cause.as_str()));
        }
        let filter = v1::ReupgradeFilter { task_status: vec![6, 99], failure_cause: vec![7, 0] };
        let params = reupgrade_filter(&filter);
        assert_eq!(params.task_status, ["FAILED", "99"]);
        assert_eq!(params.failure_cause, ["TIMEOUT", "0"]);
    }
}
