//! Tasks.

use otaria_core::ids::{DeviceName, TaskId, iot_id};
use otaria_core::rules::{Code, Refusal};
use otaria_core::task::{Delivery, TaskState, TaskStatus, WaitReason, wait_reason};
use otaria_core::time::Timestamp;
use otaria_engine::command::JobHead;
use otaria_ports::store::{Task, TaskFilter, TaskView};
use otaria_proto::v1;
use tonic::Status;

use super::{instant, minutes};
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
        task_desc: describe(task),
        progress: progress(&task.state),
        timeout: job.new.policy.timeout.map(minutes),
        utc_create: Some(instant(task.created_at)),
        utc_modified: Some(instant(task.modified_at)),
        attempt: task.state.attempts().into(),
        wait_reason: reason(waits_for).into(),
        notices: i32::try_from(task.notices).unwrap_or(i32::MAX),
        utc_notified: notified_at(task).map(instant),
    }
}

/// Why a task ended without success, with the device's own words if it had any.
fn describe(task: &Task) -> String {
    let why = match &task.state {
        TaskState::Failed { cause, .. } => cause.describe(),
        TaskState::Canceled { cause, .. } => cause.describe(),
        TaskState::Confirm
        | TaskState::Queued
        | TaskState::Notified { .. }
        | TaskState::InProgress { .. }
        | TaskState::Succeeded { .. } => return String::new(),
    };
    match task.desc.as_deref().filter(|words| !words.is_empty()) {
        Some(words) => format!("{why} ({words})"),
        None => why.to_owned(),
    }
}

/// A device that runs the version is through, whatever it reported last.
fn progress(state: &TaskState) -> Option<i32> {
    match state {
        TaskState::InProgress { percent, .. } => Some(percent.get().into()),
        TaskState::Succeeded { .. } => Some(100),
        TaskState::Confirm
        | TaskState::Queued
        | TaskState::Notified { .. }
        | TaskState::Failed { .. }
        | TaskState::Canceled { .. } => None,
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
