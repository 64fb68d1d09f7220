//! Jobs.

use otaria_core::job::{CancelFlags, DynamicMode, JobKind, JobStatus, NewJob, OverwriteMode, Target};
use otaria_core::rules::{
    DynamicUpgradeParams, JobParams, StaticUpgradeParams, TagParams, UpdateJobParams, VerifyParams,
};
use otaria_core::task::{BulkAction, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_engine::command::{JobView, dynamic_mode};
use otaria_ports::store::{Job, RejectCause, RejectedLine, TaskCounts};
use otaria_proto::v1;

use super::{choice, count, instant, minutes, tags, text};

const SELECTIONS: [&str; 4] = ["ALL", "SPECIFIC", "GRAY", "GROUP"];
const PROTOCOLS: [&str; 2] = ["HTTPS", "MQTT"];
const GROUP_TYPES: [&str; 2] = ["LINK_PLATFORM", "LINK_PLATFORM_DYNAMIC"];
/// Bytes of a rejected line that are shown.
const SAMPLE_MAX_BYTES: usize = 128;

fn tag_params(tags: Vec<v1::Tag>) -> Vec<TagParams> {
    tags.into_iter().map(|tag| TagParams { key: text(tag.key), value: text(tag.value) }).collect()
}

pub(crate) fn verify_params(request: v1::CreateOtaVerifyJobRequest) -> VerifyParams {
    VerifyParams {
        job: JobParams {
            product_key: text(request.product_key),
            firmware_id: text(request.firmware_id),
            timeout_in_minutes: request.timeout_in_minutes.map(i64::from),
            offer_timeout_in_minutes: request.offer_timeout_in_minutes.map(i64::from),
            need_push: request.need_push,
            need_confirm: request.need_confirm,
            download_protocol: choice(request.download_protocol, &PROTOCOLS),
            tag: tag_params(request.tag),
            client_token: request.client_token,
            ..JobParams::default()
        },
        target_device_name: request.target_device_name,
    }
}

pub(crate) fn static_params(request: v1::CreateOtaStaticUpgradeJobRequest) -> StaticUpgradeParams {
    StaticUpgradeParams {
        job: JobParams {
            product_key: text(request.product_key),
            firmware_id: text(request.firmware_id),
            maximum_per_minute: request.maximum_per_minute.map(i64::from),
            retry_interval: request.retry_interval.map(i64::from),
            retry_count: request.retry_count.map(i64::from),
            timeout_in_minutes: request.timeout_in_minutes.map(i64::from),
            offer_timeout_in_minutes: request.offer_timeout_in_minutes.map(i64::from),
            overwrite_mode: (request.overwrite_mode != 0).then(|| i64::from(request.overwrite_mode)),
            multi_module_mode: request.multi_module_mode,
            need_push: request.need_push,
            need_confirm: request.need_confirm,
            download_protocol: choice(request.download_protocol, &PROTOCOLS),
            tag: tag_params(request.tag),
            job_desc: None,
            client_token: request.client_token,
        },
        target_selection: choice(request.target_selection, &SELECTIONS),
        src_version: request.src_version,
        target_device_name: request.target_device_name,
        dn_list_file_url: request.dn_list_file_url,
        group_id: request.group_id,
        group_type: choice(request.group_type, &GROUP_TYPES),
        gray_percent: request.gray_percent,
        schedule_time: request.schedule_time,
        schedule_finish_time: request.schedule_finish_time,
    }
}

pub(crate) fn dynamic_params(request: v1::CreateOtaDynamicUpgradeJobRequest) -> DynamicUpgradeParams {
    DynamicUpgradeParams {
        job: JobParams {
            product_key: text(request.product_key),
            firmware_id: text(request.firmware_id),
            maximum_per_minute: request.maximum_per_minute.map(i64::from),
            retry_interval: request.retry_interval.map(i64::from),
            retry_count: request.retry_count.map(i64::from),
            timeout_in_minutes: request.timeout_in_minutes.map(i64::from),
            offer_timeout_in_minutes: request.offer_timeout_in_minutes.map(i64::from),
            overwrite_mode: (request.overwrite_mode != 0).then(|| i64::from(request.overwrite_mode)),
            multi_module_mode: request.multi_module_mode,
            need_push: request.need_push,
            need_confirm: request.need_confirm,
            download_protocol: choice(request.download_protocol, &PROTOCOLS),
            tag: tag_params(request.tag),
            job_desc: None,
            client_token: request.client_token,
        },
        src_version: request.src_version,
        group_id: request.group_id,
        group_type: choice(request.group_type, &GROUP_TYPES),
        dynamic_mode: (request.dynamic_mode != 0).then(|| i64::from(request.dynamic_mode)),
    }
}

pub(crate) fn update_params(request: v1::UpdateOtaJobRequest) -> UpdateJobParams {
    UpdateJobParams {
        maximum_per_minute: request.maximum_per_minute.map(i64::from),
        timeout_in_minutes: request.timeout_in_minutes.map(i64::from),
        src_version_list: request.src_version_list,
        tags: tag_params(request.tags),
        target_selection: choice(request.target_selection, &SELECTIONS),
    }
}

pub(crate) fn cancel_flags(request: &v1::CancelOtaTaskByJobRequest) -> CancelFlags {
    CancelFlags {
        scheduled: request.cancel_scheduled_task.unwrap_or(false),
        queued: request.cancel_queued_task.unwrap_or(false),
        notified: request.cancel_notified_task.unwrap_or(false),
        in_progress: request.cancel_in_progress_task.unwrap_or(false),
        unconfirmed: request.cancel_unconfirmed_task,
    }
}

pub(crate) const fn status(status: JobStatus) -> v1::JobStatus {
    match status {
        JobStatus::Planned => v1::JobStatus::Planned,
        JobStatus::InProgress => v1::JobStatus::InProgress,
        JobStatus::Paused => v1::JobStatus::Paused,
        JobStatus::Completed => v1::JobStatus::Completed,
        JobStatus::Canceled => v1::JobStatus::Canceled,
    }
}

/// Every dynamic job says `ALL`, as [`NewJob::target_selection`] has it.
const fn selection(new: &NewJob) -> v1::TargetSelection {
    if matches!(new.kind, JobKind::Dynamic) {
        return v1::TargetSelection::All;
    }
    match &new.target {
        Target::All { .. } => v1::TargetSelection::All,
        Target::Names(_) | Target::ListFile { .. } => v1::TargetSelection::Specific,
        Target::Gray { .. } => v1::TargetSelection::Gray,
        Target::Group { .. } => v1::TargetSelection::Group,
    }
}

fn task_counts(counts: &TaskCounts) -> v1::TaskCounts {
    let of = |status| count(counts.of(status));
    v1::TaskCounts {
        confirm: of(TaskStatus::Confirm),
        queued: of(TaskStatus::Queued),
        notified: of(TaskStatus::Notified),
        in_progress: of(TaskStatus::InProgress),
        succeeded: of(TaskStatus::Succeeded),
        failed: of(TaskStatus::Failed),
        canceled: of(TaskStatus::Canceled),
    }
}

fn reject_sample(line: &RejectedLine) -> v1::RejectSample {
    let reason = match line.cause {
        RejectCause::Malformed => v1::RejectReason::Malformed,
        RejectCause::Unknown => v1::RejectReason::Unknown,
        RejectCause::Duplicate => v1::RejectReason::Duplicate,
    };
    let end = line.text.floor_char_boundary(SAMPLE_MAX_BYTES);
    v1::RejectSample { device_name: line.text[..end].to_owned(), reason: reason.into() }
}

fn expansion(view: &JobView) -> v1::Expansion {
    let expansion = &view.job.expansion;
    v1::Expansion {
        complete: expansion.complete,
        lines: count(expansion.lines),
        tasks: count(expansion.tasks),
        skipped: count(expansion.skipped),
        rejected: count(expansion.rejected.total()),
        busy: count(expansion.busy),
        reject_samples: view.reject_samples.iter().map(reject_sample).collect(),
    }
}

/// How far the last action on many tasks has come.
fn bulk(view: &JobView) -> Option<v1::Bulk> {
    let bulk = view.job.bulk.as_ref()?;
    let action = match bulk.filter.action {
        BulkAction::Confirm => v1::BulkAction::Confirm,
        BulkAction::Reupgrade => v1::BulkAction::Reupgrade,
    };
    Some(v1::Bulk {
        action: action.into(),
        looked_at: bulk.after.into(),
        moved: count(bulk.moved),
        passed_over: count(bulk.passed),
        done: bulk.done,
    })
}

/// A row of the lists of jobs.
pub(crate) fn simple(job: &Job) -> v1::SimpleOtaJobInfo {
    let (kind, by) = kinds(job.new.kind);
    v1::SimpleOtaJobInfo {
        job_id: job.id.to_string(),
        firmware_id: job.new.firmware.to_string(),
        product_key: job.new.product.to_string(),
        job_status: status(job.status).into(),
        job_type: kind.into(),
        selection_type: by.into(),
        target_selection: selection(&job.new).into(),
        tags: tags(&job.new.tags),
        utc_create: Some(instant(job.created_at)),
        utc_modified: Some(instant(job.modified_at)),
        utc_start_time: job.started_at.map(instant),
        utc_end_time: job.ended_at.filter(|_| job.status.is_ended()).map(instant),
    }
}

const fn kinds(kind: JobKind) -> (v1::JobType, v1::SelectionType) {
    match kind {
        JobKind::Verify => (v1::JobType::VerifyFirmware, v1::SelectionType::Static),
        JobKind::Static => (v1::JobType::UpgradeFirmware, v1::SelectionType::Static),
        JobKind::Dynamic => (v1::JobType::UpgradeFirmware, v1::SelectionType::Dynamic),
    }
}

/// What a watcher sees.
pub(crate) fn watched(view: &JobView, read_at: Timestamp) -> v1::WatchOtaJobResponse {
    v1::WatchOtaJobResponse {
        job_id: view.job.id.to_string(),
        job_status: status(view.job.status).into(),
        expansion: Some(expansion(view)),
        task_counts: Some(task_counts(&view.counts)),
        notices_written: count(view.counts.notices),
        utc_read: Some(instant(read_at)),
        bulk: bulk(view),
    }
}

/// Everything, with fields present or absent as the seed has it.
pub(crate) fn queried(view: &JobView) -> v1::QueryOtaJobResponse {
    let (job, new, policy) = (&view.job, &view.job.new, &view.job.new.policy);
    let (kind, by) = kinds(new.kind);
    let overwrite = match policy.overwrite {
        OverwriteMode::Keep => v1::OverwriteMode::Keep,
        OverwriteMode::Replace => v1::OverwriteMode::Replace,
    };
    let download = match policy.download_protocol {
        otaria_core::job::DownloadProtocol::Https => v1::DownloadProtocol::Https,
        otaria_core::job::DownloadProtocol::Mqtt => v1::DownloadProtocol::Mqtt,
    };
    let (gray_percent, group_id) = match &new.target {
        Target::Gray { percent, .. } => (Some(percent.to_string()), String::new()),
        Target::Group { group_id } => (None, group_id.clone()),
        Target::All { .. } | Target::Names(_) | Target::ListFile { .. } => (None, String::new()),
    };
    v1::QueryOtaJobResponse {
        job_id: job.id.to_string(),
        firmware_id: new.firmware.to_string(),
        product_key: new.product.to_string(),
        name: view.firmware.new.name.to_string(),
        job_desc: new.description.clone(),
        job_status: status(job.status).into(),
        job_type: kind.into(),
        selection_type: by.into(),
        target_selection: selection(new).into(),
        dest_version: view.firmware.new.dest_version.to_string(),
        src_versions: new.target.src_versions().iter().map(ToString::to_string).collect(),
        group_id,
        group_name: view.group_name.clone().unwrap_or_default(),
        gray_percent,
        dynamic_mode: dynamic_mode(job).map(|mode| {
            let mode = match mode {
                DynamicMode::NowAndLater => v1::DynamicMode::NowAndLater,
                DynamicMode::LaterOnly => v1::DynamicMode::Later,
            };
            mode.into()
        }),
        retry_interval: policy.retry.map(|retry| minutes(retry.interval)),
        retry_count: policy.retry.map(|retry| retry.count.into()),
        timeout_in_minutes: policy.timeout.map(minutes),
        maximum_per_minute: i32::try_from(policy.maximum_per_minute.get()).unwrap_or(i32::MAX),
        overwrite_mode: overwrite.into(),
        multi_module_mode: policy.multi_module,
        need_push: policy.need_push,
        need_confirm: policy.need_confirm,
        download_protocol: download.into(),
        tags: tags(&new.tags),
        utc_create: Some(instant(job.created_at)),
        utc_modified: Some(instant(job.modified_at)),
        utc_schedule_time: new.schedule.start.map(instant),
        utc_schedule_finish_time: new.schedule.finish.map(instant),
        utc_start_time: job.started_at.map(instant),
        utc_end_time: job.ended_at.filter(|_| job.status.is_ended()).map(instant),
        offer_timeout_in_minutes: policy.offer_timeout.map(minutes),
        account_id: job.account.to_string(),
        task_counts: Some(task_counts(&view.counts)),
        expansion: Some(expansion(view)),
        notices_written: count(view.counts.notices),
        reject_file_url: view.reject_file_url.clone(),
        bulk: bulk(view),
    }
}
