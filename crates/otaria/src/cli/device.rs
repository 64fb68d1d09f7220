//! `otaria device`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use otaria_proto::v1::{
    DeleteDeviceRequest, DeviceInfo, DisableThingRequest, EnableThingRequest, QueryDeviceDetailRequest,
    QueryDeviceRequest, RegisterDeviceResult,
};

use super::link::LinkArgs;
use super::output::{Table, bar, facts, instant, json_line, line, word};
use crate::keyfile::private;
use crate::remote::{Registered, answer};

/// Refused devices that are shown one by one.
const REFUSALS_SHOWN: usize = 10;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Register devices: by name, from a file, or any number of them
    #[command(after_help = "\
Examples:
  otaria device register --product a1B2c3D4e5F pump-0001 pump-0002
  otaria device register --product a1B2c3D4e5F --file names.txt --out devices.csv
  otaria device register --product a1B2c3D4e5F --count 10000 --prefix pump- --out devices.csv")]
    Register(RegisterArgs),
    /// List the devices of a product, by name
    #[command(after_help = "Examples:\n  otaria device list --product a1B2c3D4e5F --limit 20")]
    List {
        /// The product
        #[arg(long, value_name = "KEY")]
        product: String,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Tell everything about a device
    #[command(after_help = "Examples:\n  otaria device show --product a1B2c3D4e5F pump-0001")]
    Show(DeviceArgs),
    /// Shut a device out: it loses its connection and may not connect
    #[command(after_help = "Examples:\n  otaria device disable --product a1B2c3D4e5F pump-0001")]
    Disable(DeviceArgs),
    /// Let a device in again
    #[command(after_help = "Examples:\n  otaria device enable --product a1B2c3D4e5F pump-0001")]
    Enable(DeviceArgs),
    /// Delete a device: it loses its connection, and its open tasks are cancelled
    #[command(after_help = "Examples:\n  otaria device delete --product a1B2c3D4e5F pump-0001")]
    Delete(DeviceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// The product
    #[arg(long, value_name = "KEY")]
    product: String,
    /// The device's name
    name: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["names", "file", "count"]))]
pub(crate) struct RegisterArgs {
    /// The product
    #[arg(long, value_name = "KEY")]
    product: String,
    /// Names: 4 to 32 letters, digits and -_@.:
    names: Vec<String>,
    /// A file with a name on each line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// So many devices, numbered from 1
    #[arg(long, value_name = "N", requires = "prefix")]
    count: Option<u64>,
    /// What the names of numbered devices begin with
    #[arg(long, value_name = "TEXT", requires = "count")]
    prefix: Option<String>,
    /// Write `name,secret` lines to this file, readable by you only
    #[arg(long, value_name = "CSV")]
    out: Option<PathBuf>,
}

pub(super) async fn run(command: DeviceCommand, link: &LinkArgs) -> anyhow::Result<()> {
    match command {
        DeviceCommand::Register(args) => register(args, link).await,
        DeviceCommand::List { product, limit } => list(product, limit.unwrap_or(usize::MAX), link).await,
        DeviceCommand::Show(DeviceArgs { product, name }) => show(product, name, link).await,
        DeviceCommand::Disable(DeviceArgs { product, name }) => {
            let request =
                DisableThingRequest { iot_id: None, product_key: Some(product), device_name: Some(name) };
            answer(link.connect().await?.devices().disable_thing(request)).await.map(drop)
        }
        DeviceCommand::Enable(DeviceArgs { product, name }) => {
            let request =
                EnableThingRequest { iot_id: None, product_key: Some(product), device_name: Some(name) };
            answer(link.connect().await?.devices().enable_thing(request)).await.map(drop)
        }
        DeviceCommand::Delete(DeviceArgs { product, name }) => {
            let request =
                DeleteDeviceRequest { iot_id: None, product_key: Some(product), device_name: Some(name) };
            answer(link.connect().await?.devices().delete_device(request)).await.map(drop)
        }
    }
}

async fn register(args: RegisterArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let names = names(&args)?;
    // Made before the first device is: there may be no second chance to keep the secrets.
    let mut out = match &args.out {
        Some(path) => {
            let file = private(OpenOptions::new().write(true).create_new(true)).open(path);
            Some(BufWriter::new(file.with_context(|| format!("cannot make {}", path.display()))?))
        }
        None => None,
    };
    let total = names.len();
    let remote = link.connect().await?;
    let bar = bar(u64::try_from(total)?, "registering");
    let (mut made, mut refused) = (0_usize, Vec::new());
    let keep = |batch: Vec<Registered>| {
        bar.inc(u64::try_from(batch.len())?);
        for registered in batch {
            if link.json {
                json_line("RegisterDeviceResult", &as_message(&registered))?;
            }
            match (registered, &mut out) {
                (Ok(device), Some(out)) => {
                    made += 1;
                    writeln!(out, "{},{}", device.device_name, device.device_secret)?;
                }
                (Ok(device), None) => {
                    made += 1;
                    if !link.json {
                        bar.suspend(|| line(&format!("{},{}", device.device_name, device.device_secret)))?;
                    }
                }
                (Err(error), _) => refused.push(error),
            }
        }
        Ok(())
    };
    remote.register(&args.product, names.into_iter(), keep).await?;
    bar.finish_and_clear();
    if let Some(mut out) = out {
        out.flush()?;
    }

    for error in refused.iter().take(REFUSALS_SHOWN) {
        eprintln!("{}: {} ({})", error.device_name, error.message, error.code);
    }
    if refused.len() > REFUSALS_SHOWN {
        eprintln!("and {} more", refused.len() - REFUSALS_SHOWN);
    }
    if let Some(path) = args.out.filter(|_| !link.json) {
        line(&format!("{made} devices are registered, their secrets are in {}", path.display()))?;
    }
    if refused.is_empty() { Ok(()) } else { bail!("{} of {total} devices were refused", refused.len()) }
}

fn names(args: &RegisterArgs) -> anyhow::Result<Vec<String>> {
    if let Some(path) = &args.file {
        return names_of_file(path);
    }
    if let (Some(count), Some(prefix)) = (args.count, &args.prefix) {
        let digits = count.to_string().len().max(4);
        return Ok((1..=count).map(|number| format!("{prefix}{number:0digits$}")).collect());
    }
    Ok(args.names.clone())
}

/// The names in a file, one on each line.
pub(super) fn names_of_file(path: &Path) -> anyhow::Result<Vec<String>> {
    let doing = || format!("cannot read {}", path.display());
    let mut names = Vec::new();
    for text in BufReader::new(File::open(path).with_context(doing)?).lines() {
        let text = text.with_context(doing)?;
        let name = text.trim_start_matches('\u{feff}').trim();
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn as_message(registered: &Registered) -> RegisterDeviceResult {
    use otaria_proto::v1::register_device_result::Result;
    let result = match registered {
        Ok(device) => Result::Device(device.clone()),
        Err(error) => Result::Error(error.clone()),
    };
    RegisterDeviceResult { result: Some(result) }
}

async fn list(product_key: String, mut limit: usize, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    let mut request =
        QueryDeviceRequest { product_key, page_size: Some(1_000), ..QueryDeviceRequest::default() };
    let mut table = Table::new(&["NAME", "STATUS", "VERSIONS", "CREATED"]);
    loop {
        let page = answer(client.query_device(request.clone())).await?;
        for device in page.devices.iter().take(limit) {
            if link.json {
                json_line("DeviceInfo", device)?;
            } else {
                table.row(row(device));
            }
        }
        if !link.json {
            table.print()?;
        }
        limit = limit.saturating_sub(page.devices.len());
        if page.next_page_token.is_empty() || limit == 0 {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

fn row(device: &DeviceInfo) -> [String; 4] {
    [
        device.device_name.clone(),
        word(device.device_status().as_str_name(), "DEVICE_STATUS_"),
        versions(&device.module_versions),
        instant(device.utc_create.as_ref()),
    ]
}

/// `1.0.0`, or `1.0.0 modem=7` for a device with modules.
fn versions(modules: &[otaria_proto::v1::ModuleVersion]) -> String {
    let each = modules.iter().map(|module| match module.module_name.as_str() {
        "default" => module.module_version.clone(),
        name => format!("{name}={}", module.module_version),
    });
    each.collect::<Vec<_>>().join(" ")
}

async fn show(product: String, name: String, link: &LinkArgs) -> anyhow::Result<()> {
    let request =
        QueryDeviceDetailRequest { iot_id: None, product_key: Some(product), device_name: Some(name) };
    let device = answer(link.connect().await?.devices().query_device_detail(request)).await?;
    if link.json {
        return json_line("QueryDeviceDetailResponse", &device);
    }
    facts(&[
        ("name", device.device_name.clone()),
        ("product", format!("{} ({})", device.product_key, device.product_name)),
        ("id", device.iot_id.clone()),
        ("secret", device.device_secret.clone().unwrap_or_default()),
        ("nickname", device.nickname.clone().unwrap_or_default()),
        ("status", word(device.status().as_str_name(), "DEVICE_STATUS_")),
        ("versions", versions(&device.module_versions)),
        ("address", device.ip_address.clone().unwrap_or_default()),
        ("registered", instant(device.utc_create.as_ref())),
        ("first online", instant(device.utc_active.as_ref())),
        ("last online", instant(device.utc_online.as_ref())),
    ])
}
