//! `otaria task`.

use clap::{Subcommand, ValueEnum};
use otaria_proto::v1::{ListOtaTaskByJobRequest, SimpleOtaTaskInfo, TaskStatus};

use super::link::LinkArgs;
use super::output::{Table, instant, json_line, line, word};
use super::task_orders;
use crate::remote::answer;

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List the tasks of a job, in the order in which they were made
    #[command(after_help = "\
Examples:
  otaria task list JOB_ID --status failed
  otaria task list JOB_ID --csv > tasks.csv
  otaria task list JOB_ID --device pump-0001 --json")]
    List {
        /// The job
        job: String,
        /// Only tasks in this status
        #[arg(long, value_enum)]
        status: Option<StatusArg>,
        /// Only the task of this device; may be repeated
        #[arg(long, value_name = "NAME")]
        device: Vec<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print comma separated values
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// List the tasks of a device that are not final
    #[command(after_help = "Examples:\n  otaria task open --product PRODUCT_KEY --device pump-0001")]
    Open(task_orders::OpenArgs),
    /// Confirm tasks that wait for it
    #[command(after_help = "\
Examples:
  otaria task confirm TASK_ID TASK_ID
  otaria job confirm JOB_ID                all of a job")]
    Confirm {
        /// 1 to 10 tasks; their ids are in `otaria task list`
        #[arg(value_name = "TASK", required = true)]
        tasks: Vec<String>,
    },
    /// Start tasks again that failed or were cancelled
    #[command(after_help = "\
Examples:
  otaria task reupgrade JOB_ID TASK_ID
  otaria job reupgrade JOB_ID              all of a job")]
    Reupgrade(task_orders::ReupgradeArgs),
    /// Cancel the tasks of some devices that are not final
    #[command(after_help = "Examples:\n  otaria task cancel --firmware FIRMWARE_ID pump-0001 pump-0002")]
    Cancel(task_orders::CancelArgs),
}

/// A status by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StatusArg {
    Confirm,
    Queued,
    Notified,
    InProgress,
    Succeeded,
    Failed,
    Canceled,
}

impl From<StatusArg> for TaskStatus {
    fn from(status: StatusArg) -> Self {
        match status {
            StatusArg::Confirm => Self::Confirm,
            StatusArg::Queued => Self::Queued,
            StatusArg::Notified => Self::Notified,
            StatusArg::InProgress => Self::InProgress,
            StatusArg::Succeeded => Self::Succeeded,
            StatusArg::Failed => Self::Failed,
            StatusArg::Canceled => Self::Canceled,
        }
    }
}

const TITLES: [&str; 10] =
    ["DEVICE", "STATUS", "PROGRESS", "FROM", "TO", "ATTEMPT", "WAITS FOR", "CHANGED", "ID", "REASON"];

pub(super) async fn run(command: TaskCommand, link: &LinkArgs) -> anyhow::Result<()> {
    match command {
        TaskCommand::List { job, status, device, limit, csv } => {
            list(job, status, device, (limit, csv), link).await
        }
        TaskCommand::Open(args) => task_orders::open(args, link).await,
        TaskCommand::Confirm { tasks } => task_orders::confirm(tasks, link).await,
        TaskCommand::Reupgrade(args) => task_orders::reupgrade(args, link).await,
        TaskCommand::Cancel(args) => task_orders::cancel(args, link).await,
    }
}

async fn list(
    job: String,
    status: Option<StatusArg>,
    device: Vec<String>,
    (limit, csv): (Option<usize>, bool),
    link: &LinkArgs,
) -> anyhow::Result<()> {
    let mut limit = limit.unwrap_or(usize::MAX);
    let mut client = link.connect().await?.tasks();
    let mut request = ListOtaTaskByJobRequest {
        job_id: job,
        task_status: status.map_or(TaskStatus::Unspecified, TaskStatus::from).into(),
        device_names: device,
        page_size: Some(1_000),
        ..ListOtaTaskByJobRequest::default()
    };
    let mut table = Table::new(&TITLES);
    if csv {
        line(&TITLES.map(|title| title.to_ascii_lowercase().replace(' ', "_")).join(","))?;
    }
    loop {
        let page = answer(client.list_ota_task_by_job(request.clone())).await?;
        for task in page.tasks.iter().take(limit) {
            match (link.json, csv) {
                (true, _) => json_line("SimpleOTATaskInfo", task)?,
                (_, true) => line(&row(task).map(|cell| quoted(&cell)).join(","))?,
                (false, false) => table.row(row(task)),
            }
        }
        if !link.json && !csv {
            table.print()?;
        }
        limit = limit.saturating_sub(page.tasks.len());
        if page.next_page_token.is_empty() || limit == 0 {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

fn row(task: &SimpleOtaTaskInfo) -> [String; 10] {
    [
        task.device_name.clone(),
        word(task.task_status().as_str_name(), "TASK_STATUS_"),
        task.progress.map(|percent| format!("{percent} %")).unwrap_or_default(),
        task.src_version.clone().unwrap_or_default(),
        task.dest_version.clone(),
        task.attempt.to_string(),
        word(task.wait_reason().as_str_name(), "WAIT_REASON_"),
        instant(task.utc_modified.as_ref()),
        task.task_id.clone(),
        task.task_desc.clone(),
    ]
}

/// A value as it may stand between commas.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_commas_are_quoted() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
