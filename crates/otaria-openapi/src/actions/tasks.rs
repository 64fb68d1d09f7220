//! Tasks.

use otaria_core::ids::{DeviceName, TaskId, iot_id};
use otaria_core::job::CancelFlags;
use otaria_core::rules::{Code, Refusal};
use otaria_core::task::TaskStatus;
use otaria_engine::CommandError;
use otaria_engine::command::{CancelByDeviceParams, JobHead, TaskList, UnfinishedParams, UnfinishedTask};
use otaria_ports::store::{BATCH_MAX, TaskFilter, TaskView};

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::utc;
use crate::paging::Paging;
use crate::params::Params;

/// Readings for one page at most: each looks at a bounded number of tasks, and a page by number has nothing
/// to say where to go on.
const READS_MAX: usize = 400;

pub(super) async fn list_by_job(call: &Call<'_>) -> Done {
    let page = Paging::up_to(100).read(&call.params)?;
    let filter = filter(&call.params)?;
    let (head, rows) = rows(call, &filter, page.skip(), page.size).await?;
    let total = total(call, &filter, &head).await?;
    let rows = rows.iter().map(|view| row(&head, view));
    Ok(page.fields(total).wrapped("Data", "SimpleOTATaskInfo", rows))
}

fn filter(params: &Params) -> Result<TaskFilter, Refusal> {
    let status = params.text("TaskStatus").map(|text| {
        let rule = "must be one of CONFIRM, QUEUED, NOTIFIED, IN_PROGRESS, SUCCEEDED, FAILED, CANCELED";
        TaskStatus::parse(text).ok_or_else(|| Refusal::invalid(Code::InvalidParameter, "TaskStatus", rule))
    });
    let names = params.list("DeviceNames");
    // The command has the last word on how many there may be; this spares reading thousands of them.
    let devices = (1..).zip(names.iter().take(BATCH_MAX)).map(|(n, name)| {
        DeviceName::parse(name).map_err(|bad| {
            let rule = format!("must be {}", bad.rule);
            Refusal::invalid(Code::InvalidDeviceName, format!("DeviceNames.{n}"), rule)
        })
    });
    Ok(TaskFilter { status: status.transpose()?, devices: devices.collect::<Result<_, _>>()? })
}

/// The tasks behind the first `skip`, at most `size`, and their job.
async fn rows(
    call: &Call<'_>,
    filter: &TaskFilter,
    skip: usize,
    size: usize,
) -> Result<(JobHead, Vec<TaskView>), CommandError> {
    let unfiltered = filter.status.is_none() && filter.devices.is_empty();
    // Places in a job have no gaps: without a filter a page by number is one by place.
    let (mut after, mut skip) = match u32::try_from(skip) {
        Ok(place) if unfiltered => (place, 0),
        _ => (0, skip),
    };
    let job_id = call.id("JobId");
    let mut rows = Vec::new();
    for read in 1.. {
        let limit = (skip + size - rows.len()).min(BATCH_MAX);
        let found = call.commands().list_tasks(&call.caller, job_id, filter, after, limit).await?;
        let TaskList { job, page, .. } = found;
        let passed = skip.min(page.tasks.len());
        skip -= passed;
        rows.extend(page.tasks.into_iter().skip(passed));
        match page.next {
            Some(next) if rows.len() < size && read < READS_MAX => after = next,
            _ => return Ok((job, rows)),
        }
    }
    Err(CommandError::Internal("a list without an end".into()))
}

/// How many tasks match in all.
async fn total(call: &Call<'_>, filter: &TaskFilter, head: &JobHead) -> Result<u64, CommandError> {
    if !filter.devices.is_empty() {
        // At most 200 names with one task each: they are counted by looking at them.
        let (_, all) = rows(call, filter, 0, BATCH_MAX).await?;
        return Ok(all.len() as u64);
    }
    let counts = call.commands().deps().store.task_counts(head.job.no).await?;
    Ok(filter.status.map_or_else(|| counts.total(), |status| counts.of(status)))
}

fn row(head: &JobHead, view: &TaskView) -> Fields {
    let timeout = head.job.new.policy.timeout.map(|span| (span.as_secs() / 60).to_string());
    // Texts, both of them.
    short_row(head, view)
        .with("TaskDesc", view.task.ended_because())
        .with_some("Progress", view.task.progress().map(|percent| percent.to_string()))
        .with_some("Timeout", timeout)
}

/// What both lists tell of a task.
fn short_row(head: &JobHead, view: &TaskView) -> Fields {
    let (job, task) = (&head.job, &view.task);
    Fields::new()
        .with("TaskId", TaskId { job: task.key.job, seq: task.key.seq }.to_string())
        .with("JobId", job.id.as_str())
        .with("FirmwareId", job.new.firmware.as_str())
        .with("ProductKey", job.new.product.as_str())
        .with("ProductName", head.product.new.name.as_str())
        .with("DeviceName", view.device_name.as_str())
        .with("IotId", iot_id(task.key.device))
        .with_some("SrcVersion", task.src_version.as_ref().map(|version| version.as_str()))
        .with("DestVersion", head.firmware.new.dest_version.as_str())
        .with("TaskStatus", task.state.status().as_str())
        .with("UtcCreate", utc(task.created_at))
        .with("UtcModified", utc(task.modified_at))
}

pub(super) async fn list_unfinished(call: &Call<'_>) -> Done {
    let params = UnfinishedParams {
        device: call.device(),
        module_name: call.params.owned("ModuleName"),
        task_status: call.params.owned("TaskStatus"),
        task_status_list: call.params.list("TaskStatusList"),
    };
    let tasks = call.commands().list_unfinished_tasks(&call.caller, &params).await?;
    let rows = tasks.iter().map(|UnfinishedTask { job, view, .. }| {
        short_row(job, view).with("ModuleName", view.task.module.as_str())
    });
    Ok(Fields::new().wrapped("Data", "SimpleOTATaskInfo", rows))
}

pub(super) async fn confirm(call: &Call<'_>) -> Done {
    let tasks = call.params.list("TaskId");
    call.commands().confirm_tasks(&call.caller, call.now, &tasks).await?;
    Ok(Fields::new())
}

pub(super) async fn reupgrade(call: &Call<'_>) -> Done {
    let (job, tasks) = (call.id("JobId"), call.params.list("TaskId"));
    call.commands().reupgrade_tasks(&call.caller, call.now, job, &tasks).await?;
    Ok(Fields::new())
}

pub(super) async fn cancel_by_device(call: &Call<'_>) -> Done {
    let params = CancelByDeviceParams {
        product_key: call.params.owned("ProductKey"),
        firmware_id: call.params.owned("FirmwareId"),
        device_name: call.params.list("DeviceName"),
        job_id: call.params.owned("JobId"),
    };
    call.commands().cancel_tasks_by_device(&call.caller, call.now, &params).await?;
    Ok(Fields::new())
}

pub(super) async fn cancel_by_job(call: &Call<'_>) -> Done {
    let flag = |name| call.params.flag(name);
    let flags = CancelFlags {
        scheduled: flag("CancelScheduledTask")?.unwrap_or(false),
        queued: flag("CancelQueuedTask")?.unwrap_or(false),
        notified: flag("CancelNotifiedTask")?.unwrap_or(false),
        in_progress: flag("CancelInProgressTask")?.unwrap_or(false),
        unconfirmed: flag("CancelUnconfirmedTask")?,
    };
    call.commands().cancel_tasks_by_job(&call.caller, call.now, call.id("JobId"), flags).await?;
    Ok(Fields::new())
}
