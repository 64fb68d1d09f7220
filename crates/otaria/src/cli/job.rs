//! `otaria job`.

use clap::{Args, Subcommand};
use otaria_proto::v1::{
    CancelOtaStrategyByJobRequest, CancelOtaTaskByJobRequest, DynamicMode, ListOtaJobByDeviceRequest,
    ListOtaJobByFirmwareRequest, PauseOtaJobRequest, QueryOtaJobRequest, QueryOtaJobResponse,
    ResumeOtaJobRequest, SimpleOtaJobInfo,
};

use super::job_create::{self, CreateArgs, DynamicArgs, VerifyArgs};
use super::job_orders;
use super::link::LinkArgs;
use super::output::{Table, facts, instant, json_line, line, word};
use super::watch;
use crate::remote::{Remote, answer};

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Roll a package out to devices
    #[command(after_help = "\
Examples:
  otaria job create --firmware FIRMWARE_ID pump-0001 pump-0002 --watch
  otaria job create --firmware FIRMWARE_ID --list-file names.txt --maximum-per-minute 600
  otaria job create --firmware FIRMWARE_ID --all --src-version 1.0.0 --schedule-time 2026-12-01T02:00:00Z
  otaria job create --firmware FIRMWARE_ID --all --retry-interval 10 --retry-count 2 --timeout 60")]
    Create(Box<CreateArgs>),
    /// Roll a package out to every device that matches, now and later, until the strategy is cancelled
    #[command(after_help = "\
Examples:
  otaria job create-dynamic --firmware FIRMWARE_ID
  otaria job create-dynamic --firmware FIRMWARE_ID --src-version 1.0.0 --later-only
  otaria job create-dynamic --firmware FIRMWARE_ID --group GROUP_ID")]
    CreateDynamic(Box<DynamicArgs>),
    /// Prove a package on a few devices, which upgrade jobs need
    #[command(after_help = "Examples:\n  otaria job verify --firmware FIRMWARE_ID pump-0001 --watch")]
    Verify(VerifyArgs),
    /// Tell everything about a job
    #[command(after_help = "Examples:\n  otaria job show JOB_ID\n  otaria job show JOB_ID --json")]
    Show {
        /// The job
        id: String,
    },
    /// List the jobs of a package, newest first
    #[command(after_help = "\
Examples:
  otaria job list --firmware FIRMWARE_ID
  otaria job list --firmware FIRMWARE_ID --device pump-0001    those that have a task for the device")]
    List {
        /// The package
        #[arg(long, value_name = "ID")]
        firmware: String,
        /// Only jobs that have a task for this device
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
    },
    /// Follow a job until it ends
    #[command(after_help = "Examples:\n  otaria job watch JOB_ID\n  otaria job watch JOB_ID --json")]
    Watch {
        /// The job
        id: String,
    },
    /// Change the pace, the timeout or the labels of a job that has not ended
    #[command(after_help = "Examples:\n  otaria job update JOB_ID --maximum-per-minute 600")]
    Update(job_orders::UpdateArgs),
    /// Stop pushing until the job is resumed
    #[command(after_help = "Examples:\n  otaria job pause JOB_ID")]
    Pause {
        /// The job
        id: String,
    },
    /// Take a paused job up again
    #[command(after_help = "Examples:\n  otaria job resume JOB_ID")]
    Resume {
        /// The job
        id: String,
    },
    /// Confirm every task of a job that waits for it, in the background
    #[command(after_help = "\
Examples:
  otaria job confirm JOB_ID --watch
  otaria task confirm TASK_ID       only this one")]
    Confirm(job_orders::ConfirmArgs),
    /// Start tasks of a job again that failed or were cancelled, in the background
    #[command(after_help = "\
Examples:
  otaria job reupgrade JOB_ID --watch
  otaria job reupgrade JOB_ID --status failed
  otaria job reupgrade JOB_ID --cause timeout --cause download-failed
  otaria task reupgrade JOB_ID TASK_ID     only this one")]
    Reupgrade(job_orders::ReupgradeArgs),
    /// Cancel tasks of a job: all that are not final, or those in the statuses named
    #[command(after_help = "\
Examples:
  otaria job cancel JOB_ID
  otaria job cancel JOB_ID --queued    devices that were told already go on")]
    Cancel(CancelArgs),
    /// End the strategy of a dynamic job: no more devices join, tasks that are there go on
    #[command(after_help = "Examples:\n  otaria job cancel-strategy JOB_ID")]
    CancelStrategy {
        /// The job, a dynamic one
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job
    id: String,
    /// The whole job, if it has not begun
    #[arg(long)]
    scheduled: bool,
    /// Tasks that wait to be notified
    #[arg(long)]
    queued: bool,
    /// Tasks that were notified
    #[arg(long)]
    notified: bool,
    /// Tasks whose devices reported progress
    #[arg(long)]
    in_progress: bool,
    /// Tasks that wait for confirmation
    #[arg(long)]
    unconfirmed: bool,
}

pub(super) async fn run(command: JobCommand, link: &LinkArgs) -> anyhow::Result<()> {
    match command {
        JobCommand::Create(args) => job_create::create(*args, link).await,
        JobCommand::CreateDynamic(args) => job_create::create_dynamic(*args, link).await,
        JobCommand::CancelStrategy { id } => cancel_strategy(id, link).await,
        JobCommand::Verify(args) => job_create::verify(args, link).await,
        JobCommand::Show { id } => show(id, link).await,
        JobCommand::List { firmware, device: None } => list(firmware, link).await,
        JobCommand::List { firmware, device: Some(device) } => list_of(firmware, device, link).await,
        JobCommand::Watch { id } => watch::follow(&link.connect().await?, &id, link.json).await,
        JobCommand::Update(args) => job_orders::update(args, link).await,
        JobCommand::Pause { id } => pause(id, link).await,
        JobCommand::Resume { id } => resume(id, link).await,
        JobCommand::Confirm(args) => job_orders::confirm(args, link).await,
        JobCommand::Reupgrade(args) => job_orders::reupgrade(args, link).await,
        JobCommand::Cancel(args) => cancel(args, link).await,
    }
}

async fn show(job_id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let job = answer(remote.jobs().query_ota_job(QueryOtaJobRequest { job_id })).await?;
    if link.json {
        return json_line("QueryOTAJobResponse", &job);
    }
    let minutes = |value: Option<i32>| value.map(|minutes| format!("{minutes} min")).unwrap_or_default();
    let retry = job.retry_count.map(|count| format!("{count} after {}", minutes(job.retry_interval)));
    let tags = job.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect::<Vec<_>>();
    let group = format!("{} {}", job.group_id, job.group_name).trim().to_owned();
    facts(&[
        ("id", job.job_id.clone()),
        ("status", word(job.job_status().as_str_name(), "JOB_STATUS_")),
        ("kind", word(job.job_type().as_str_name(), "JOB_TYPE_")),
        ("firmware", format!("{} ({})", job.firmware_id, job.name)),
        ("product", job.product_key.clone()),
        ("version", job.dest_version.clone()),
        ("from", job.src_versions.join(" ")),
        ("takes devices", dynamic_mode(&job).to_owned()),
        ("group", group),
        ("targets", word(job.target_selection().as_str_name(), "TARGET_SELECTION_")),
        ("gray percent", job.gray_percent.clone().unwrap_or_default()),
        ("pace", format!("{} a minute", job.maximum_per_minute)),
        ("retries", retry.unwrap_or_default()),
        ("timeout", minutes(job.timeout_in_minutes)),
        ("offer timeout", minutes(job.offer_timeout_in_minutes)),
        ("overwrite", word(job.overwrite_mode().as_str_name(), "OVERWRITE_MODE_")),
        ("push", if job.need_push { "yes" } else { "no" }.to_owned()),
        ("confirm", if job.need_confirm { "yes" } else { "no" }.to_owned()),
        ("tags", tags.join(" ")),
        ("created", instant(job.utc_create.as_ref())),
        ("begins", instant(job.utc_schedule_time.as_ref())),
        ("ends by", instant(job.utc_schedule_finish_time.as_ref())),
        ("began", instant(job.utc_start_time.as_ref())),
        ("ended", instant(job.utc_end_time.as_ref())),
    ])?;
    line("")?;
    progress(&job)
}

/// Which devices a dynamic job takes, as long as it takes any.
fn dynamic_mode(job: &QueryOtaJobResponse) -> &'static str {
    match job.dynamic_mode.map(DynamicMode::try_from) {
        Some(Ok(_)) if job.utc_end_time.is_some() => "no more",
        Some(Ok(DynamicMode::NowAndLater)) => "that are there and that come",
        Some(Ok(DynamicMode::Later)) => "that report from now on",
        Some(Ok(DynamicMode::Unspecified) | Err(_)) | None => "",
    }
}

fn progress(job: &QueryOtaJobResponse) -> anyhow::Result<()> {
    let expansion = job.expansion.clone().unwrap_or_default();
    let counts = job.task_counts.unwrap_or_default();
    let reading = if expansion.complete { "" } else { ", still reading" };
    facts(&[
        (
            "devices",
            format!(
                "{} = {} tasks + {} skipped + {} rejected{reading}",
                expansion.lines, expansion.tasks, expansion.skipped, expansion.rejected
            ),
        ),
        ("tasks", watch::describe(&counts)),
        ("notices", job.notices_written.to_string()),
        ("bulk", job.bulk.as_ref().map(watch::describe_bulk).unwrap_or_default()),
        ("rejects", job.reject_file_url.clone().unwrap_or_default()),
    ])
}

const TITLES: [&str; 6] = ["ID", "STATUS", "KIND", "TARGETS", "CREATED", "ENDED"];

async fn list(firmware_id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let mut request = ListOtaJobByFirmwareRequest { firmware_id, ..ListOtaJobByFirmwareRequest::default() };
    let mut table = Table::new(&TITLES);
    loop {
        let page = answer(remote.jobs().list_ota_job_by_firmware(request.clone())).await?;
        rows(&page.jobs, &mut table, link)?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn list_of(firmware_id: String, device_name: String, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let mut request = ListOtaJobByDeviceRequest {
        product_key: job_create::product_of(&remote, None, &firmware_id).await?,
        device_name,
        firmware_id,
        ..ListOtaJobByDeviceRequest::default()
    };
    let mut table = Table::new(&TITLES);
    loop {
        let page = answer(remote.jobs().list_ota_job_by_device(request.clone())).await?;
        rows(&page.jobs, &mut table, link)?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

fn rows(jobs: &[SimpleOtaJobInfo], table: &mut Table, link: &LinkArgs) -> anyhow::Result<()> {
    for job in jobs {
        if link.json {
            json_line("SimpleOTAJobInfo", job)?;
            continue;
        }
        table.row([
            job.job_id.clone(),
            word(job.job_status().as_str_name(), "JOB_STATUS_"),
            word(job.job_type().as_str_name(), "JOB_TYPE_"),
            word(job.target_selection().as_str_name(), "TARGET_SELECTION_"),
            instant(job.utc_create.as_ref()),
            instant(job.utc_end_time.as_ref()),
        ]);
    }
    if link.json { Ok(()) } else { table.print() }
}

async fn pause(job_id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = PauseOtaJobRequest { job_id: job_id.clone() };
    let paused = answer(remote.jobs().pause_ota_job(request)).await?;
    if link.json { json_line("PauseOTAJobResponse", &paused) } else { summary(&remote, job_id).await }
}

async fn resume(job_id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = ResumeOtaJobRequest { job_id: job_id.clone() };
    let resumed = answer(remote.jobs().resume_ota_job(request)).await?;
    if link.json { json_line("ResumeOTAJobResponse", &resumed) } else { summary(&remote, job_id).await }
}

async fn cancel(args: CancelArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let any = args.scheduled || args.queued || args.notified || args.in_progress || args.unconfirmed;
    let flag = |given: bool| Some(given || !any);
    let request = CancelOtaTaskByJobRequest {
        cancel_scheduled_task: flag(args.scheduled),
        cancel_queued_task: flag(args.queued),
        cancel_notified_task: flag(args.notified),
        cancel_in_progress_task: flag(args.in_progress),
        cancel_unconfirmed_task: flag(args.unconfirmed),
        job_id: args.id,
    };
    let job_id = request.job_id.clone();
    let cancelled = answer(remote.tasks().cancel_ota_task_by_job(request)).await?;
    if link.json {
        return json_line("CancelOTATaskByJobResponse", &cancelled);
    }
    summary(&remote, job_id).await
}

async fn cancel_strategy(job_id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = CancelOtaStrategyByJobRequest { job_id: job_id.clone() };
    let ended = answer(remote.jobs().cancel_ota_strategy_by_job(request)).await?;
    if link.json {
        json_line("CancelOTAStrategyByJobResponse", &ended)
    } else {
        summary(&remote, job_id).await
    }
}

pub(super) async fn summary(remote: &Remote, job_id: String) -> anyhow::Result<()> {
    let job = answer(remote.jobs().query_ota_job(QueryOtaJobRequest { job_id })).await?;
    let status = word(job.job_status().as_str_name(), "JOB_STATUS_");
    line(&format!("job {} is {status}", job.job_id))?;
    progress(&job)
}
