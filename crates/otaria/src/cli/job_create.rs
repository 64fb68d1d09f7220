//! `otaria job create`, `create-dynamic` and `verify`: every parameter of a job as a flag.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use otaria_proto::v1::{
    CreateOtaDynamicUpgradeJobRequest, CreateOtaStaticUpgradeJobRequest, CreateOtaVerifyJobRequest,
    DownloadProtocol, DynamicMode, GroupType, OverwriteMode, QueryOtaFirmwareRequest, Tag, TargetSelection,
};

use super::link::LinkArgs;
use super::output::{byte_bar, json_line, line};
use super::{Usage, watch};
use crate::remote::{self, Remote, answer};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("targets").required(true).args(["names", "list_file", "list_url", "all", "gray", "group_id"]))]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Names of devices, at most 200
    #[arg(value_name = "DEVICE")]
    names: Vec<String>,
    /// A file with a device name on each line, up to a million
    #[arg(long, value_name = "FILE")]
    list_file: Option<PathBuf>,
    /// The address of a device list that was uploaded before
    #[arg(long, value_name = "URL")]
    list_url: Option<String>,
    /// All devices of the product
    #[arg(long)]
    all: bool,
    /// A share of all devices, in percent with up to three decimals
    #[arg(long, value_name = "PERCENT")]
    gray: Option<String>,
    /// The devices of a group
    #[arg(long = "group", value_name = "ID")]
    group_id: Option<String>,
    /// Only devices with this version, with --all and --gray; may be repeated
    #[arg(long, value_name = "VERSION")]
    src_version: Vec<String>,
    /// Begin pushing then: RFC 3339 time, or Unix milliseconds
    #[arg(long, value_name = "TIME", value_parser = unix_ms)]
    schedule_time: Option<i64>,
    /// End the job then: RFC 3339 time, or Unix milliseconds
    #[arg(long, value_name = "TIME", value_parser = unix_ms)]
    schedule_finish_time: Option<i64>,
    #[command(flatten)]
    upgrade: UpgradeArgs,
    /// Follow the job until it ends
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DynamicArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Only devices that report from now on, and none for being there
    #[arg(long)]
    later_only: bool,
    /// Only devices with this version; may be repeated
    #[arg(long, value_name = "VERSION")]
    src_version: Vec<String>,
    /// Only devices that match the rule of a dynamic group
    #[arg(long = "group", value_name = "ID", conflicts_with = "src_version")]
    group_id: Option<String>,
    #[command(flatten)]
    upgrade: UpgradeArgs,
    /// Follow the job until its strategy is cancelled and its tasks are through
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Names of 1 to 10 devices
    #[arg(value_name = "DEVICE", required = true)]
    names: Vec<String>,
    /// Follow the job until it ends
    #[arg(long)]
    watch: bool,
}

/// What upgrade jobs know.
#[derive(Debug, Args)]
struct UpgradeArgs {
    /// Minutes from a failure to the next try: 0, 10, 30, 60 or 1440
    #[arg(long, value_name = "MINUTES", requires = "retry_count")]
    retry_interval: Option<i32>,
    /// Tries after the first: 1, 2 or 5
    #[arg(long, value_name = "N", requires = "retry_interval")]
    retry_count: Option<i32>,
    /// Notices in any 60 seconds: 10 to 10,000
    #[arg(long, value_name = "N")]
    maximum_per_minute: Option<i32>,
    /// What happens to a device that has an open task already
    #[arg(long, value_enum)]
    overwrite_mode: Option<Overwrite>,
    /// One open task for each module of a device
    #[arg(long)]
    multi_module: bool,
}

/// What jobs of all kinds know.
#[derive(Debug, Args)]
struct CommonArgs {
    /// The package
    #[arg(long, value_name = "ID")]
    firmware: String,
    /// The package's product [default: looked up]
    #[arg(long, value_name = "KEY")]
    product: Option<String>,
    /// Minutes from a device's first progress to its failure: 1 to 1,440
    #[arg(long = "timeout", value_name = "MINUTES")]
    timeout_in_minutes: Option<i32>,
    /// Minutes from the notice to a failure if the device never reports: 1 to 1,440
    #[arg(long = "offer-timeout", value_name = "MINUTES")]
    offer_timeout_in_minutes: Option<i32>,
    /// Do not push: devices must ask
    #[arg(long)]
    no_push: bool,
    /// Each task waits until it is confirmed
    #[arg(long)]
    need_confirm: bool,
    /// How devices download
    #[arg(long, value_enum)]
    download_protocol: Option<Protocol>,
    /// A label that is handed to the devices; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<Tag>,
    /// Makes the call safe to repeat: the same token gives the same job. Not with a list file, which is sent anew
    #[arg(long, value_name = "TOKEN")]
    client_token: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Overwrite {
    /// The earlier task stays, the new one fails
    Keep,
    /// The new task replaces the earlier one, unless that is in progress
    Replace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    /// From an address in the notice
    Https,
    /// In pieces over the device's MQTT connection
    Mqtt,
}

impl CommonArgs {
    async fn product(&self, remote: &Remote) -> anyhow::Result<String> {
        product_of(remote, self.product.clone(), &self.firmware).await
    }

    fn protocol(&self) -> i32 {
        match self.download_protocol {
            None => DownloadProtocol::Unspecified,
            Some(Protocol::Https) => DownloadProtocol::Https,
            Some(Protocol::Mqtt) => DownloadProtocol::Mqtt,
        }
        .into()
    }
}

impl UpgradeArgs {
    fn overwrite(&self) -> i32 {
        match self.overwrite_mode {
            None => OverwriteMode::Unspecified,
            Some(Overwrite::Keep) => OverwriteMode::Keep,
            Some(Overwrite::Replace) => OverwriteMode::Replace,
        }
        .into()
    }
}

pub(super) async fn create(args: CreateArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let target = match &args {
        _ if args.all => TargetSelection::All,
        _ if args.gray.is_some() => TargetSelection::Gray,
        _ if args.group_id.is_some() => TargetSelection::Group,
        _ => TargetSelection::Specific,
    };
    if !args.src_version.is_empty() && !matches!(target, TargetSelection::All | TargetSelection::Gray) {
        return Err(Usage("--src-version goes with --all or --gray only".to_owned()).into());
    }
    let remote = link.connect().await?;
    let product_key = args.common.product(&remote).await?;
    let list_url = match &args.list_file {
        Some(path) => Some(upload(&remote, path, link.json).await?),
        None => args.list_url,
    };
    let request = CreateOtaStaticUpgradeJobRequest {
        product_key,
        target_selection: target.into(),
        src_version: args.src_version,
        target_device_name: args.names,
        dn_list_file_url: list_url,
        group_type: if args.group_id.is_some() { GroupType::LinkPlatform.into() } else { 0 },
        group_id: args.group_id,
        gray_percent: args.gray,
        schedule_time: args.schedule_time,
        schedule_finish_time: args.schedule_finish_time,
        retry_interval: args.upgrade.retry_interval,
        retry_count: args.upgrade.retry_count,
        timeout_in_minutes: args.common.timeout_in_minutes,
        maximum_per_minute: args.upgrade.maximum_per_minute,
        overwrite_mode: args.upgrade.overwrite(),
        multi_module_mode: args.upgrade.multi_module.then_some(true),
        need_push: args.common.no_push.then_some(false),
        need_confirm: args.common.need_confirm.then_some(true),
        download_protocol: args.common.protocol(),
        tag: args.common.tag,
        offer_timeout_in_minutes: args.common.offer_timeout_in_minutes,
        client_token: args.common.client_token,
        firmware_id: args.common.firmware,
    };
    let job = answer(remote.jobs().create_ota_static_upgrade_job(request)).await?;
    if link.json {
        json_line("CreateOTAStaticUpgradeJobResponse", &job)?;
    } else {
        made(&job.job_id, args.watch)?;
    }
    if args.watch { watch::follow(&remote, &job.job_id, link.json).await } else { Ok(()) }
}

pub(super) async fn create_dynamic(args: DynamicArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let mode = if args.later_only { DynamicMode::Later } else { DynamicMode::NowAndLater };
    let request = CreateOtaDynamicUpgradeJobRequest {
        product_key: args.common.product(&remote).await?,
        src_version: args.src_version,
        group_type: if args.group_id.is_some() { GroupType::LinkPlatformDynamic.into() } else { 0 },
        group_id: args.group_id,
        dynamic_mode: mode.into(),
        retry_interval: args.upgrade.retry_interval,
        retry_count: args.upgrade.retry_count,
        timeout_in_minutes: args.common.timeout_in_minutes,
        maximum_per_minute: args.upgrade.maximum_per_minute,
        overwrite_mode: args.upgrade.overwrite(),
        multi_module_mode: args.upgrade.multi_module.then_some(true),
        need_push: args.common.no_push.then_some(false),
        need_confirm: args.common.need_confirm.then_some(true),
        download_protocol: args.common.protocol(),
        tag: args.common.tag,
        offer_timeout_in_minutes: args.common.offer_timeout_in_minutes,
        client_token: args.common.client_token,
        firmware_id: args.common.firmware,
    };
    let job = answer(remote.jobs().create_ota_dynamic_upgrade_job(request)).await?;
    if link.json {
        json_line("CreateOTADynamicUpgradeJobResponse", &job)?;
    } else {
        made(&job.job_id, args.watch)?;
    }
    if args.watch { watch::follow(&remote, &job.job_id, link.json).await } else { Ok(()) }
}

pub(super) async fn verify(args: VerifyArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    let request = CreateOtaVerifyJobRequest {
        product_key: args.common.product(&remote).await?,
        target_device_name: args.names,
        timeout_in_minutes: args.common.timeout_in_minutes,
        need_push: args.common.no_push.then_some(false),
        need_confirm: args.common.need_confirm.then_some(true),
        download_protocol: args.common.protocol(),
        tag: args.common.tag,
        offer_timeout_in_minutes: args.common.offer_timeout_in_minutes,
        client_token: args.common.client_token,
        firmware_id: args.common.firmware,
    };
    let job = answer(remote.jobs().create_ota_verify_job(request)).await?;
    if link.json {
        json_line("CreateOTAVerifyJobResponse", &job)?;
    } else {
        made(&job.job_id, args.watch)?;
    }
    if args.watch { watch::follow(&remote, &job.job_id, link.json).await } else { Ok(()) }
}

/// The product that is named, or that of a package.
pub(super) async fn product_of(
    remote: &Remote,
    named: Option<String>,
    firmware_id: &str,
) -> anyhow::Result<String> {
    if let Some(key) = named {
        return Ok(key);
    }
    let request = QueryOtaFirmwareRequest { firmware_id: firmware_id.to_owned() };
    let found = answer(remote.firmware().query_ota_firmware(request)).await?;
    Ok(found.firmware_info.map(|firmware| firmware.product_key).unwrap_or_default())
}

fn made(job_id: &str, watched: bool) -> anyhow::Result<()> {
    line(&format!("job {job_id} is made"))?;
    if watched { Ok(()) } else { line(&format!("\nnext: otaria job watch {job_id}")) }
}

async fn upload(remote: &Remote, path: &std::path::Path, quiet: bool) -> anyhow::Result<String> {
    let (file, size_bytes) = remote::open(path).await?;
    let bar = byte_bar(size_bytes, "uploading");
    let shown = bar.clone();
    let sent = move |bytes| shown.inc(u64::try_from(bytes).unwrap_or(0));
    let uploaded = remote.upload_list(size_bytes, file, sent).await;
    bar.finish_and_clear();
    let uploaded = uploaded?;
    if !quiet {
        line(&format!("{} names are uploaded", uploaded.line_count))?;
    }
    Ok(uploaded.file_url)
}

/// `2026-12-01T08:00:00Z`, or Unix milliseconds.
fn unix_ms(text: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let at: Result<jiff::Timestamp, _> = text.parse();
    at.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "neither a time like 2026-12-01T08:00:00Z nor Unix milliseconds".to_owned())
}

pub(super) fn tag(text: &str) -> Result<Tag, String> {
    let (key, value) = text.split_once('=').ok_or("a tag looks like KEY=VALUE")?;
    Ok(Tag { key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_tags_are_read() {
        assert_eq!(unix_ms("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(unix_ms("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(unix_ms("tomorrow").is_err());
        assert_eq!(tag("a=b=c").unwrap().value, "b=c");
        assert!(tag("a").is_err());
    }
}
