//! How fast pushes are made without a limit: claimed durably, sent, and written down by the devices; with one
//! dispatcher and with several, beside Mosquitto's fan-out to as many topics, which makes nothing durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::mqtt::Subscribers;
use super::{Common, median, rounded};
use crate::clock::wait_for;
use crate::cluster::{Cluster, Crew, Fleets, Shape, Size, text};
use crate::process::lift_open_files;
use crate::services::{Kind, Services};

/// Beyond what any machine pushes.
const NO_LIMIT: &str = "100000000";

/// Devices think so long at most before they report, so that reports do not overlap the pushes.
const WORK_MS: u32 = 3_000;

const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(500);

/// Rounds of the broker.
const ROUNDS: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// Devices, connected to two gateways.
    #[arg(long, value_name = "N", default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(100..=30_000))]
    devices: u32,
    /// Jobs over all of them, one after another; the middle one counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    jobs: usize,
    /// How many dispatchers, in each run.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4])]
    dispatchers: Vec<usize>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(root: &Path, args: &DispatchArgs) -> Result<Value> {
    lift_open_files();
    args.common.say("Mosquitto");
    let mosquitto = mosquitto(root, usize::try_from(args.devices)?.min(18_000))?;
    args.common.say(&format!("   {mosquitto:.0} messages a second"));
    let mut runs = BTreeMap::new();
    for dispatchers in &args.dispatchers {
        runs.insert(dispatchers.to_string(), cluster(root, args, *dispatchers)?);
    }
    let best = runs.values().filter_map(|run| run["per_second"].as_f64()).fold(0.0, f64::max);
    Ok(json!({
        "devices": args.devices,
        "dispatchers": runs,
        "mosquitto_per_second": rounded(mosquitto),
        "ratio": rounded(best / mosquitto),
    }))
}

fn mosquitto(root: &Path, subscribers: usize) -> Result<f64> {
    let mut services = Services::start(root, &[Kind::Mosquitto])?;
    let address = services.mosquitto()?.address;
    let mut subscribers = Subscribers::connect(address, subscribers)?;
    let rounds: Result<Vec<f64>> = (0..ROUNDS).map(|_| subscribers.round(address)).collect();
    drop(subscribers);
    services.stop()?;
    Ok(median(rounds?))
}

fn cluster(root: &Path, args: &DispatchArgs, dispatchers: usize) -> Result<Value> {
    let common = &args.common;
    let shape = Shape::Apart(Size { apis: 1, dispatchers, gateways: 2 });
    let settings = common.settings(root, &format!("dispatch-{dispatchers}"), shape)?;
    common.say(&format!("{dispatchers} dispatchers, {} devices", args.devices));
    let mut cluster = Cluster::start(settings, None)?;
    let folder = cluster.settings.folder.clone();
    let grpc = cluster.grpc().into_iter().next().context("no process serves gRPC")?;
    let operator = cluster.operator.clone();
    let product_key = text(&operator.call(&grpc, &["product", "create", "bench_dispatch"])?, "product_key")?;
    let path = |name: &str| -> Result<String> {
        Ok(folder.join(name).to_str().context("the folder's name is not UTF-8")?.to_owned())
    };
    let (count, out) = (args.devices.to_string(), path("devices.csv")?);
    let register = ["device", "register", "--product", &product_key, "--prefix", "dev-", "--out", &out];
    operator.run(&grpc, &[&register[..], &["--count", &count]].concat())?;
    let names_and_secrets = std::fs::read_to_string(&out)?;
    let names: String = names_and_secrets
        .lines()
        .filter_map(|line| line.split(',').next())
        .flat_map(|name| [name, "\n"])
        .collect();
    let list = path("names.txt")?;
    std::fs::write(&list, names)?;

    let gateways = cluster.mqtt();
    let crew = Crew {
        operator: &operator,
        product_key: &product_key,
        names_and_secrets: &names_and_secrets,
        gateways: &gateways,
        processes: gateways.len(),
        one_gateway_each: true,
        authority: None,
        work_ms: WORK_MS,
        seed: common.seed,
    };
    let mut fleets = Fleets::start(&folder, &crew)?;
    let package = path("package.bin")?;
    std::fs::write(&package, [7; 4_096])?;
    let mut rates = Vec::new();
    for job in 0..args.jobs {
        let version = format!("{}.0.0", job + 2);
        let create =
            ["firmware", "create", "--file", &package, "--product", &product_key, "--version", &version];
        let firmware = operator.call(&grpc, &[&create[..], &["--no-verify"]].concat())?;
        let firmware = text(&firmware, "firmware_id")?;
        let create =
            ["job", "create", "--firmware", &firmware, "--product", &product_key, "--list-file", &list];
        let job = operator.call(&grpc, &[&create[..], &["--maximum-per-minute", NO_LIMIT]].concat())?;
        let job = text(&job, "job_id")?;
        let done = wait_for(PATIENCE, PAUSE, || {
            let shown = operator.call(&grpc, &["job", "show", &job])?;
            Ok(shown["job_status"] == "JOB_STATUS_COMPLETED")
        })?;
        ensure!(done, "the job for {version} was not over within {} s", PATIENCE.as_secs());
        let record = fleets.record()?;
        let times: Vec<u64> = record.pushes(&version).iter().map(|push| push.unix_us).collect();
        ensure!(times.len() >= usize::try_from(args.devices)?, "{} notices of {}", times.len(), args.devices);
        let rate = crate::cluster::per_second(&times);
        common.say(&format!("   {version}: {rate:.0} pushes a second"));
        rates.push(rate);
    }
    fleets.end()?;
    cluster.stop()?;
    let each: Vec<f64> = rates.iter().map(|rate| rounded(*rate)).collect();
    Ok(json!({ "per_second": rounded(median(rates)), "jobs": each }))
}
