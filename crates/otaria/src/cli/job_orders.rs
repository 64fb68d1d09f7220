//! `otaria job update`, `confirm` and `reupgrade`: what is ordered of a whole job.

use clap::{Args, ValueEnum};
use otaria_proto::v1::{
    ConfirmOtaTaskRequest, FailureCause, ReupgradeFilter, ReupgradeOtaTaskRequest, Tag, TaskStatus,
    UpdateOtaJobRequest,
};

use super::job::summary;
use super::job_create::tag;
use super::link::LinkArgs;
use super::output::json_line;
use super::watch;
use crate::remote::answer;

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The job
    id: String,
    /// The new pace: notices in any 60 seconds
    #[arg(long, value_name = "N")]
    maximum_per_minute: Option<i32>,
    /// Minutes from a device's first progress to its failure: 1 to 1,440
    #[arg(long = "timeout", value_name = "MINUTES")]
    timeout_in_minutes: Option<i32>,
    /// A label, in the place of all earlier ones; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<Tag>,
    /// A source version of a dynamic job, in the place of all earlier ones; may be repeated
    #[arg(long, value_name = "VERSION")]
    src_version: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// The job
    id: String,
    /// Follow the job until it ends
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReupgradeArgs {
    /// The job
    id: String,
    /// Only tasks in this status; may be repeated
    #[arg(long, value_enum)]
    status: Vec<Final>,
    /// Only tasks that failed for this cause; may be repeated
    #[arg(long, value_enum)]
    cause: Vec<Cause>,
    /// Follow the job until it ends
    #[arg(long)]
    watch: bool,
}

/// A status from which tasks are started again.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Final {
    Failed,
    Canceled,
}

/// Why a task failed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Cause {
    Busy,
    UpdateFailed,
    DownloadFailed,
    DigestMismatch,
    BurnFailed,
    ForeignVersion,
    Timeout,
    OfferTimeout,
}

impl From<Final> for TaskStatus {
    fn from(status: Final) -> Self {
        match status {
            Final::Failed => Self::Failed,
            Final::Canceled => Self::Canceled,
        }
    }
}

impl From<Cause> for FailureCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Busy => Self::Busy,
            Cause::UpdateFailed => Self::UpdateFailed,
            Cause::DownloadFailed => Self::DownloadFailed,
            Cause::DigestMismatch => Self::DigestMismatch,
            Cause::BurnFailed => Self::BurnFailed,
            Cause::ForeignVersion => Self::ForeignVersion,
            Cause::Timeout => Self::Timeout,
            Cause::OfferTimeout => Self::OfferTimeout,
        }
    }
}

pub(super) async fn update(args: UpdateArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = UpdateOtaJobRequest {
        job_id: args.id.clone(),
        maximum_per_minute: args.maximum_per_minute,
        src_version_list: args.src_version,
        tags: args.tag,
        timeout_in_minutes: args.timeout_in_minutes,
        ..UpdateOtaJobRequest::default()
    };
    let updated = answer(remote.jobs().update_ota_job(request)).await?;
    if link.json {
        return json_line("UpdateOTAJobResponse", &updated);
    }
    summary(&remote, args.id).await
}

pub(super) async fn confirm(args: ConfirmArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = ConfirmOtaTaskRequest { task_id: Vec::new(), job_id: Some(args.id.clone()) };
    let asked = answer(remote.tasks().confirm_ota_task(request)).await?;
    match (args.watch, link.json) {
        (true, json) => watch::follow(&remote, &args.id, json).await,
        (false, true) => json_line("ConfirmOTATaskResponse", &asked),
        (false, false) => summary(&remote, args.id).await,
    }
}

pub(super) async fn reupgrade(args: ReupgradeArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let filter = ReupgradeFilter {
        task_status: args.status.into_iter().map(|status| TaskStatus::from(status).into()).collect(),
        failure_cause: args.cause.into_iter().map(|cause| FailureCause::from(cause).into()).collect(),
    };
    let job_id = args.id.clone();
    let request = ReupgradeOtaTaskRequest { job_id, task_id: Vec::new(), filter: Some(filter) };
    let asked = answer(remote.tasks().reupgrade_ota_task(request)).await?;
    match (args.watch, link.json) {
        (true, json) => watch::follow(&remote, &args.id, json).await,
        (false, true) => json_line("ReupgradeOTATaskResponse", &asked),
        (false, false) => summary(&remote, args.id).await,
    }
}
