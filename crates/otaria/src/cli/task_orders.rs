//! `otaria task open`, `confirm`, `reupgrade` and `cancel`: what is asked and ordered of tasks by name.

use clap::Args;
use otaria_proto::v1::{
    CancelOtaTaskByDeviceRequest, ConfirmOtaTaskRequest, ListOtaUnfinishedTaskByDeviceRequest,
    ReupgradeOtaTaskRequest,
};

use super::job_create::product_of;
use super::link::LinkArgs;
use super::output::{Table, instant, json_line, line, word};
use crate::remote::answer;

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// The device, by its id
    #[arg(long, value_name = "ID", required_unless_present = "device")]
    iot_id: Option<String>,
    /// The device's product
    #[arg(long, value_name = "KEY", requires = "device")]
    product: Option<String>,
    /// The device's name in the product
    #[arg(long, value_name = "NAME", requires = "product")]
    device: Option<String>,
    /// Only the task for this module
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReupgradeArgs {
    /// The job
    job: String,
    /// 1 to 10 tasks of the job
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The package
    #[arg(long, value_name = "ID")]
    firmware: String,
    /// The package's product [default: looked up]
    #[arg(long, value_name = "KEY")]
    product: Option<String>,
    /// Only tasks of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Names of 1 to 200 devices
    #[arg(value_name = "DEVICE", required = true)]
    names: Vec<String>,
}

pub(super) async fn open(args: OpenArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let mut request = ListOtaUnfinishedTaskByDeviceRequest {
        iot_id: args.iot_id,
        product_key: args.product,
        device_name: args.device,
        module_name: args.module,
        ..ListOtaUnfinishedTaskByDeviceRequest::default()
    };
    let mut client = link.connect().await?.tasks();
    let mut table = Table::new(&["MODULE", "STATUS", "FROM", "TO", "WAITS FOR", "CHANGED", "JOB", "ID"]);
    loop {
        let page = answer(client.list_ota_unfinished_task_by_device(request.clone())).await?;
        for task in &page.tasks {
            if link.json {
                json_line("SimpleOTATaskInfo", task)?;
                continue;
            }
            table.row([
                task.module_name.clone(),
                word(task.task_status().as_str_name(), "TASK_STATUS_"),
                task.src_version.clone().unwrap_or_default(),
                task.dest_version.clone(),
                word(task.wait_reason().as_str_name(), "WAIT_REASON_"),
                instant(task.utc_modified.as_ref()),
                task.job_id.clone(),
                task.task_id.clone(),
            ]);
        }
        if !link.json {
            table.print()?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

pub(super) async fn confirm(tasks: Vec<String>, link: &LinkArgs) -> anyhow::Result<()> {
    let request = ConfirmOtaTaskRequest { task_id: tasks, job_id: None };
    let confirmed = answer(link.connect().await?.tasks().confirm_ota_task(request)).await?;
    if link.json { json_line("ConfirmOTATaskResponse", &confirmed) } else { line("confirmed") }
}

pub(super) async fn reupgrade(args: ReupgradeArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let request = ReupgradeOtaTaskRequest { job_id: args.job, task_id: args.tasks, filter: None };
    let started = answer(link.connect().await?.tasks().reupgrade_ota_task(request)).await?;
    if link.json { json_line("ReupgradeOTATaskResponse", &started) } else { line("started again") }
}

pub(super) async fn cancel(args: CancelArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = CancelOtaTaskByDeviceRequest {
        product_key: product_of(&remote, args.product, &args.firmware).await?,
        firmware_id: args.firmware,
        device_name: args.names,
        job_id: args.job,
    };
    let canceled = answer(remote.tasks().cancel_ota_task_by_device(request)).await?;
    if link.json { json_line("CancelOTATaskByDeviceResponse", &canceled) } else { line("canceled") }
}
