//! Jobs.

use std::time::Duration;

use otaria_core::job::{DynamicMode, JobKind, JobStatus, Tag, Target};
use otaria_core::rules::{
    DynamicUpgradeParams, JobParams, Refusal, StaticUpgradeParams, TagParams, UpdateJobParams, VerifyParams,
};
use otaria_engine::command::{JobView, NewJobAnswer, dynamic_mode};
use otaria_ports::store::Job;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::utc;
use crate::paging::Paging;
use crate::params::Params;

pub(super) async fn create_verify(call: &Call<'_>) -> Done {
    let params = verify_params(&call.params)?;
    Ok(created(&call.commands().create_verify_job(&call.caller, call.now, &params).await?))
}

pub(super) async fn create_static(call: &Call<'_>) -> Done {
    let params = static_params(&call.params)?;
    Ok(created(&call.commands().create_static_job(&call.caller, call.now, &params).await?))
}

pub(super) async fn create_dynamic(call: &Call<'_>) -> Done {
    let params = dynamic_params(&call.params)?;
    Ok(created(&call.commands().create_dynamic_job(&call.caller, call.now, &params).await?))
}

pub(crate) fn verify_params(params: &Params) -> Result<VerifyParams, Refusal> {
    let names = params.list("TargetDeviceName");
    // An older document has the plural.
    let names = if names.is_empty() { params.list("TargetDeviceNames") } else { names };
    Ok(VerifyParams { job: job_params(params)?, target_device_name: names })
}

pub(crate) fn static_params(params: &Params) -> Result<StaticUpgradeParams, Refusal> {
    Ok(StaticUpgradeParams {
        job: job_params(params)?,
        target_selection: params.owned("TargetSelection"),
        src_version: params.list("SrcVersion"),
        target_device_name: params.list("TargetDeviceName"),
        dn_list_file_url: params.owned("DnListFileUrl"),
        group_id: params.owned("GroupId"),
        group_type: params.owned("GroupType"),
        gray_percent: params.owned("GrayPercent"),
        schedule_time: params.int("ScheduleTime")?,
        schedule_finish_time: params.int("ScheduleFinishTime")?,
    })
}

pub(crate) fn dynamic_params(params: &Params) -> Result<DynamicUpgradeParams, Refusal> {
    Ok(DynamicUpgradeParams {
        job: job_params(params)?,
        src_version: params.list("SrcVersion"),
        group_id: params.owned("GroupId"),
        group_type: params.owned("GroupType"),
        dynamic_mode: params.int("DynamicMode")?,
    })
}

pub(super) async fn cancel_strategy(call: &Call<'_>) -> Done {
    call.commands().cancel_strategy(&call.caller, call.now, call.id("JobId")).await?;
    Ok(Fields::new())
}

fn job_params(params: &Params) -> Result<JobParams, Refusal> {
    Ok(JobParams {
        product_key: params.owned("ProductKey"),
        firmware_id: params.owned("FirmwareId"),
        maximum_per_minute: params.int("MaximumPerMinute")?,
        retry_interval: params.int("RetryInterval")?,
        retry_count: params.int("RetryCount")?,
        timeout_in_minutes: params.int("TimeoutInMinutes")?,
        offer_timeout_in_minutes: params.int("OfferTimeoutInMinutes")?,
        overwrite_mode: params.int("OverwriteMode")?,
        multi_module_mode: params.flag("MultiModuleMode")?,
        need_push: params.flag("NeedPush")?,
        need_confirm: params.flag("NeedConfirm")?,
        download_protocol: params.owned("DownloadProtocol"),
        tag: tag_params(params, "Tag"),
        job_desc: params.owned("JobDesc"),
        client_token: params.owned("ClientToken"),
    })
}

fn tag_params(params: &Params, name: &str) -> Vec<TagParams> {
    let tags = params.entries(name);
    tags.iter().map(|tag| TagParams { key: tag.owned("Key"), value: tag.owned("Value") }).collect()
}

fn created(answer: &NewJobAnswer) -> Fields {
    let data = Fields::new().with("JobId", answer.job_id.as_str()).with("UtcCreate", utc(answer.created_at));
    Fields::new().with("Data", data)
}

pub(super) async fn query(call: &Call<'_>) -> Done {
    let view = call.commands().query_job(&call.caller, call.now, call.id("JobId")).await?;
    Ok(Fields::new().with("Data", queried(&view)))
}

pub(super) async fn update(call: &Call<'_>) -> Done {
    let update = update_params(&call.params)?;
    call.commands().update_job(&call.caller, call.now, call.id("JobId"), &update).await?;
    Ok(Fields::new())
}

pub(crate) fn update_params(params: &Params) -> Result<UpdateJobParams, Refusal> {
    Ok(UpdateJobParams {
        maximum_per_minute: params.int("MaximumPerMinute")?,
        timeout_in_minutes: params.int("TimeoutInMinutes")?,
        src_version_list: params.list("SrcVersionList"),
        tags: tag_params(params, "Tags"),
        target_selection: params.owned("TargetSelection"),
    })
}

pub(super) async fn list_by_firmware(call: &Call<'_>) -> Done {
    let page = Paging::up_to(200).read(&call.params)?;
    let (firmware, commands) = (call.id("FirmwareId"), call.commands());
    let listed = commands.list_jobs_of_firmware(&call.caller, firmware, None, page.skip(), page.size).await?;
    let rows = listed.rows.iter().map(row);
    Ok(page.fields(listed.total).wrapped("Data", "SimpleOTAJobInfo", rows))
}

pub(super) async fn list_by_device(call: &Call<'_>) -> Done {
    let page = Paging::up_to(100).read(&call.params)?;
    let (device, firmware) = (call.device(), call.id("FirmwareId"));
    let commands = call.commands();
    let (skip, size) = (page.skip(), page.size);
    let listed = commands.list_jobs_of_device(&call.caller, &device, firmware, None, skip, size).await?;
    let rows = listed.rows.iter().map(row);
    Ok(page.fields(listed.total).wrapped("Data", "SimpleOTAJobInfo", rows))
}

fn row(job: &Job) -> Fields {
    let new = &job.new;
    Fields::new()
        .with("JobId", job.id.as_str())
        .with("JobStatus", status(job.status))
        .with("JobType", kind(new.kind))
        .with("SelectionType", selection(new.kind))
        .with("TargetSelection", new.target_selection())
        .with("FirmwareId", new.firmware.as_str())
        .with("ProductKey", new.product.as_str())
        .and(tags(&new.tags))
        .with("UtcCreate", utc(job.created_at))
        .with("UtcModified", utc(job.modified_at))
        .with_some("UtcStartTime", job.started_at.map(utc))
        .with_some("UtcEndTime", job.ended_at.filter(|_| job.status.is_ended()).map(utc))
}

/// What is set is told; see [`optional`] for what is left out when it is not.
fn queried(view: &JobView) -> Fields {
    let (job, new, policy) = (&view.job, &view.job.new, &view.job.new.policy);
    let group_id = match &new.target {
        Target::Group { group_id } => group_id.as_str(),
        Target::All { .. } | Target::Names(_) | Target::ListFile { .. } | Target::Gray { .. } => "",
    };
    Fields::new()
        .with("JobId", job.id.as_str())
        .with("JobDesc", new.description.as_str())
        .with("JobStatus", status(job.status))
        .with("JobType", kind(new.kind))
        .with("SelectionType", selection(new.kind))
        .with("TargetSelection", new.target_selection())
        .with("FirmwareId", new.firmware.as_str())
        .with("Name", view.firmware.new.name.as_str())
        .with("DestVersion", view.firmware.new.dest_version.as_str())
        .with("ProductKey", new.product.as_str())
        .wrapped("SrcVersions", "SrcVersion", new.target.src_versions().iter().map(|v| v.as_str()))
        .with("GroupId", group_id)
        .with("GroupName", view.group_name.as_deref().unwrap_or_default())
        .with("MaximumPerMinute", policy.maximum_per_minute.get())
        .with("OverwriteMode", policy.overwrite.code())
        .with("MultiModuleMode", policy.multi_module)
        .with("NeedPush", policy.need_push)
        .with("NeedConfirm", policy.need_confirm)
        .with("DownloadProtocol", policy.download_protocol.as_str())
        .and(tags(&new.tags))
        .with("UtcCreate", utc(job.created_at))
        .with("UtcModified", utc(job.modified_at))
        .and(optional(view))
}

/// What a job has only sometimes.
fn optional(view: &JobView) -> Fields {
    let (job, new, policy) = (&view.job, &view.job.new, &view.job.new.policy);
    let gray_percent = match &new.target {
        Target::Gray { percent, .. } => Some(percent.to_string()),
        Target::All { .. } | Target::Names(_) | Target::ListFile { .. } | Target::Group { .. } => None,
    };
    Fields::new()
        .with_some("DynamicMode", dynamic_mode(job).map(DynamicMode::code))
        .with_some("GrayPercent", gray_percent)
        .with_some("RetryInterval", policy.retry.map(|retry| minutes(retry.interval)))
        .with_some("RetryCount", policy.retry.map(|retry| retry.count))
        .with_some("TimeoutInMinutes", policy.timeout.map(minutes))
        .with_some("UtcScheduleTime", new.schedule.start.map(utc))
        .with_some("UtcScheduleFinishTime", new.schedule.finish.map(utc))
        .with_some("UtcStartTime", job.started_at.map(utc))
        .with_some("UtcEndTime", job.ended_at.filter(|_| job.status.is_ended()).map(utc))
}

fn tags(tags: &[Tag]) -> Fields {
    let tags =
        tags.iter().map(|tag| Fields::new().with("Key", tag.key.as_str()).with("Value", tag.value.as_str()));
    Fields::new().wrapped("Tags", "OtaTagDTO", tags)
}

/// This wire knows no pause.
const fn status(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Paused => JobStatus::InProgress.as_str(),
        JobStatus::Planned | JobStatus::InProgress | JobStatus::Completed | JobStatus::Canceled => {
            status.as_str()
        }
    }
}

/// The first one is misspelled so on the real wire.
const fn kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Verify => "VERFIY_FIRMWARE",
        JobKind::Static | JobKind::Dynamic => "UPGRADE_FIRMWARE",
    }
}

const fn selection(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Verify | JobKind::Static => "STATIC",
        JobKind::Dynamic => "DYNAMIC",
    }
}

fn minutes(span: Duration) -> u64 {
    span.as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_does_not_show_and_a_verify_job_is_misspelled() {
        assert_eq!(status(JobStatus::Paused), "IN_PROGRESS");
        assert_eq!(status(JobStatus::Canceled), "CANCELED");
        assert_eq!(kind(JobKind::Verify), "VERFIY_FIRMWARE");
    }
}
