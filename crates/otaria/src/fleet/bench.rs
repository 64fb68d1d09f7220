//! `otaria fleet bench`: what a server of this machine needs for each device, and how fast it pushes.
//!
//! Starts its own server with the ceiling off, connects all devices, and runs jobs over all of them one after
//! another. What it says about pushes is what the devices saw.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use otaria_proto::v1::{
    CreateOtaFirmwareRequest, CreateOtaStaticUpgradeJobRequest, CreateProductRequest, JobStatus, NodeType,
    QueryOtaJobRequest, TargetSelection, UploadFirmwareFileHeader,
};
use serde::Serialize;

use super::command::grown;
use super::report::Report;
use super::{Events, Fleet, Identity, Mode, Plan, Temper};
use crate::child::Server;
use crate::cli::output;
use crate::process;
use crate::remote::{Remote, answer};
use crate::stopwatch::{Stopwatch, fresh_seed};

/// Beyond what any machine pushes: the pace must not be what is measured.
const NO_PACE: i32 = 100_000_000;

/// How long a job may stand still before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);

const PRODUCT: &str = "fleet_bench";

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Devices to connect.
    #[arg(long, value_name = "N", default_value_t = 15_000)]
    devices: usize,
    /// Jobs to run over all of them, one after another.
    #[arg(long, value_name = "N", default_value_t = 10)]
    jobs: usize,
    /// New connections a second.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..))]
    connect_rate: u32,
    /// How much of a package to download.
    #[arg(long, value_enum, default_value_t = Mode::None)]
    download: Mode,
    /// Begin each update after a random time of at most so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    work_ms: u64,
    /// Let the server write its history to this folder.
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Start chance from this number.
    #[arg(long)]
    seed: Option<u64>,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict {
    #[serde(flatten)]
    report: Report,
    server_idle_kib: Option<u64>,
    server_connected_kib: Option<u64>,
    server_peak_kib: Option<u64>,
    /// Processor time of the server while the jobs ran.
    server_cpu_seconds: Option<f64>,
    seed: u64,
    ok: bool,
}

/// Runs the command.
pub(super) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let mut options = vec!["--api-quota", "off", "--maximum-per-minute-ceiling", "off"];
    if let Some(history) = &args.history {
        options.extend(["--history", history.to_str().context("the folder's name is not UTF-8")?]);
    }
    let mut server = Server::start(&options).await?;
    let measured = tokio::select! {
        measured = Box::pin(measure(&args, &server)) => Some(measured),
        () = process::interrupted() => None,
    };
    match measured {
        None => {
            server.discard().await;
            bail!("interrupted")
        }
        Some(Ok(verdict)) => {
            server.stop().await?;
            if args.json {
                output::line(&serde_json::to_string(&verdict)?)?;
            } else {
                output::line(&verdict.report.to_string())?;
            }
            if verdict.ok { Ok(()) } else { bail!("not every device has every update") }
        }
        Some(Err(error)) => Err(server.blame(&error)),
    }
}

async fn measure(args: &BenchArgs, server: &Server) -> anyhow::Result<Verdict> {
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let remote = server.connect().await?;
    let line = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    line.enable_steady_tick(Duration::from_millis(200));
    line.set_message(format!("registering {} devices", args.devices));
    let product_key = product(&remote).await?;
    let devices = register(&remote, &product_key, args.devices).await?;
    let list: Vec<u8> = devices.iter().flat_map(|device| [device.name.as_bytes(), b"\n"].concat()).collect();

    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle_kib = process::resident_kib(server.ready.pid);
    let total = devices.len();
    let plan = Plan {
        product_key: product_key.clone(),
        mqtt: vec![server.ready.mqtt.clone()],
        tls_ca: None,
        connect_rate: args.connect_rate,
        download: args.download,
        kit: None,
        subscribe: false,
        work_ms: args.work_ms,
        version: "1.0.0".to_owned(),
        seed,
        events: Events::default(),
    };
    let fleet = Fleet::start(plan, devices)?;
    let patience = Duration::from_secs(120);
    let told = |connected| line.set_message(format!("{connected} of {total} connected"));
    if fleet.connected(patience, told).await < total {
        bail!("not all devices connected: {:?}", fleet.recorder().troubles());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let connected_kib = process::resident_kib(server.ready.pid);

    let cpu_before = process::cpu_seconds(server.ready.pid);
    let mut all_updated = true;
    for job in 0..args.jobs {
        let version = format!("{}.0.0", job + 2);
        line.set_message(format!("job {} of {}: version {version}", job + 1, args.jobs));
        roll_out(&remote, &product_key, &version, &list).await?;
        let number = fleet.recorder().number_of(&version);
        all_updated &= fleet.recorder().count(|record| record.updated_to.last() == Some(&number)) == total;
        let seen = fleet.recorder().tally().of_version(number);
        let (notices, seconds, rate) = (seen.total(), seen.seconds(), seen.per_second());
        line.suspend(|| eprintln!("version {version}: {notices} pushes in {seconds:.2} s, {rate:.0}/s"));
    }
    line.finish_and_clear();

    let cpu = cpu_before.zip(process::cpu_seconds(server.ready.pid)).map(|(before, now)| now - before);
    let growth = idle_kib.zip(connected_kib).map(|(before, now)| grown(before, now));
    let report = Report::new(fleet.recorder(), growth);
    Ok(Verdict {
        ok: all_updated && report.jobs.len() == args.jobs && report.odd_messages == 0,
        report,
        server_idle_kib: idle_kib,
        server_connected_kib: connected_kib,
        server_peak_kib: process::peak_resident_kib(server.ready.pid),
        server_cpu_seconds: cpu,
        seed,
    })
}

async fn product(remote: &Remote) -> anyhow::Result<String> {
    let request = CreateProductRequest {
        product_name: PRODUCT.to_owned(),
        node_type: NodeType::Device.into(),
        ..CreateProductRequest::default()
    };
    Ok(answer(remote.devices().create_product(request)).await?.product_key)
}

async fn register(remote: &Remote, product_key: &str, count: usize) -> anyhow::Result<Vec<Identity>> {
    let mut devices = Vec::with_capacity(count);
    let names = (0..count).map(|n| format!("sim-{n:06}"));
    remote
        .register(product_key, names, |batch| {
            for registered in batch {
                let device = registered
                    .map_err(|error| anyhow::anyhow!("{}: {}", error.device_name, error.message))?;
                devices.push(Identity {
                    name: device.device_name.into(),
                    secret: device.device_secret.into(),
                    temper: Temper::Good,
                });
            }
            Ok(())
        })
        .await?;
    Ok(devices)
}

/// Rolls a new version out to the devices of the list, and waits until all have it.
async fn roll_out(remote: &Remote, product_key: &str, version: &str, list: &[u8]) -> anyhow::Result<()> {
    let package = std::io::Cursor::new(version.repeat(1_000).into_bytes());
    let uploaded = remote.upload_firmware(UploadFirmwareFileHeader::default(), package, |_| ()).await?;
    let request = CreateOtaFirmwareRequest {
        firmware_name: format!("bench-{}", version.replace('.', "_")),
        dest_version: version.to_owned(),
        firmware_url: Some(uploaded.firmware_url),
        product_key: product_key.to_owned(),
        need_to_verify: Some(false),
        ..CreateOtaFirmwareRequest::default()
    };
    let firmware_id = answer(remote.firmware().create_ota_firmware(request)).await?.firmware_id;

    let size_bytes = u64::try_from(list.len())?;
    let uploaded = remote.upload_list(size_bytes, std::io::Cursor::new(list.to_vec()), |_| ()).await?;
    let request = CreateOtaStaticUpgradeJobRequest {
        firmware_id,
        product_key: product_key.to_owned(),
        target_selection: TargetSelection::Specific.into(),
        dn_list_file_url: Some(uploaded.file_url),
        maximum_per_minute: Some(NO_PACE),
        ..CreateOtaStaticUpgradeJobRequest::default()
    };
    let job_id = answer(remote.jobs().create_ota_static_upgrade_job(request)).await?.job_id;

    let (mut before, mut still) = (0, Stopwatch::start());
    loop {
        let query = QueryOtaJobRequest { job_id: job_id.clone() };
        let job = answer(remote.jobs().query_ota_job(query)).await?;
        let counts = job.task_counts.context("the job has no counts")?;
        if job.job_status() == JobStatus::Completed {
            return Ok(());
        }
        let moved = counts.notified + 2 * counts.in_progress + 3 * counts.succeeded + 3 * counts.failed;
        if moved != before {
            (before, still) = (moved, Stopwatch::start());
        }
        if still.elapsed() > PATIENCE {
            bail!("job {job_id} stands still at {counts:?}");
        }
        // Seldom: the server is measured meanwhile.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
