//! How fast pushes are made without a limit: claimed durably, sent, and marked; with one dispatcher and with several,
//! beside Mosquitto's fan-out to as many topics, which makes nothing durable. And what a push costs the database
//! when many other tasks are open ([`rows`](super::rows)).
//!
//! Both sides have the very same clients, which only count and acknowledge, over as many connections, with QoS 1 and
//! messages of the same size; Mosquitto is measured before, between and after, since other work on the machine comes
//! and goes. A job is expanded at ten pushes a minute first, and then its limit is lifted: what is counted is
//! dispatch alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha1::Sha1;

use super::mqtt::{Client, Subscribers};
use super::{Common, median, rounded, rows};
use crate::clock::{unix_us, wait_for};
use crate::cluster::{Cluster, Operator, Shape, Size, per_second, text};
use crate::process::lift_open_files;
use crate::services::{Kind, Services};

/// Beyond what any machine pushes.
const NO_LIMIT: &str = "100000000";
/// The least that a job may push a minute.
const LEAST: &str = "10";

const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(100);
/// Without any notice for so long, some were lost.
const SILENCE: Duration = Duration::from_secs(20);

/// Below the distance of two pushes at the least pace, and above any at the highest, in microseconds.
const FIRST_PACE_US: u64 = 1_000_000;

/// Rounds of the broker at each of its turns.
const ROUNDS: usize = 3;
/// Bytes of the broker's messages before it is known how many a notice has.
const NOTICE_BYTES: usize = 240;

const TIMESTAMP: &str = "1763712000";

/// The parts of this bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Pushes a second, beside Mosquitto's fan-out.
    Pushes,
    /// The cost of a push by the number of open tasks.
    Rows,
}

#[derive(Debug, Args)]
pub(crate) struct DispatchArgs {
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Devices, connected to two gateways, and subscribers of Mosquitto.
    #[arg(long, value_name = "N", default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(100..=25_000))]
    devices: u32,
    /// Jobs over all of them, one after another; the middle one counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    jobs: usize,
    /// How many dispatchers, in each run.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4])]
    dispatchers: Vec<usize>,
    /// How many open tasks, in a database each; ten million take 2 GiB and two minutes to make.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1_000_000, 10_000_000],
          value_parser = clap::value_parser!(u64).range(700_000..=50_000_000))]
    rows: Vec<u64>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(root: &Path, args: &DispatchArgs) -> Result<Value> {
    let mut line = Map::new();
    if args.only != Some(Part::Rows) {
        pushes(root, args, &mut line)?;
    }
    if args.only != Some(Part::Pushes) {
        line.insert("rows".to_owned(), rows::run(root, &args.common, &args.rows)?);
    }
    Ok(line.into())
}

fn pushes(root: &Path, args: &DispatchArgs, line: &mut Map<String, Value>) -> Result<()> {
    lift_open_files();
    let subscribers = usize::try_from(args.devices)?;
    let mut bytes = NOTICE_BYTES;
    let mut mosquitto = mosquitto_rounds(root, args, subscribers, bytes)?;
    let mut runs = BTreeMap::new();
    for dispatchers in &args.dispatchers {
        let (run, notice_bytes) = cluster(root, args, *dispatchers)?;
        runs.insert(dispatchers.to_string(), run);
        bytes = notice_bytes;
        mosquitto.extend(mosquitto_rounds(root, args, subscribers, bytes)?);
    }
    let bare = median(mosquitto);
    let best = runs.values().filter_map(|run| run["per_second"].as_f64()).fold(0.0, f64::max);
    line.insert("devices".to_owned(), args.devices.into());
    line.insert("dispatchers".to_owned(), json!(runs));
    line.insert("mosquitto_per_second".to_owned(), rounded(bare).into());
    line.insert("notice_bytes".to_owned(), bytes.into());
    line.insert("ratio".to_owned(), rounded(best / bare).into());
    Ok(())
}

fn mosquitto_rounds(root: &Path, args: &DispatchArgs, count: usize, bytes: usize) -> Result<Vec<f64>> {
    args.common.say("Mosquitto");
    let mut services = Services::start(root, &[Kind::Mosquitto])?;
    let address = services.mosquitto()?.address;
    let mut subscribers = Subscribers::connect(&Client::of_broker(address, count))?;
    let rounds: Result<Vec<f64>> = (0..ROUNDS).map(|_| subscribers.round(address, bytes)).collect();
    drop(subscribers);
    services.stop()?;
    let rounds = rounds?;
    args.common.say(&format!("   {:.0} messages a second", median(rounds.clone())));
    Ok(rounds)
}

/// What the operator and the devices of a cluster share.
struct Stage<'a> {
    cluster: &'a Cluster,
    grpc: String,
    operator: Operator,
    product_key: String,
    names: Vec<String>,
    /// Files for calls.
    list: String,
    package: String,
}

fn cluster(root: &Path, args: &DispatchArgs, dispatchers: usize) -> Result<(Value, usize)> {
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
    let registered = std::fs::read_to_string(&out)?;
    let registered: Vec<(&str, &str)> = registered.lines().filter_map(|line| line.split_once(',')).collect();
    ensure!(registered.len() == usize::try_from(args.devices)?, "{} devices registered", registered.len());

    let names: Vec<String> = registered.iter().map(|(name, _)| (*name).to_owned()).collect();
    let (list, package) = (path("names.txt")?, path("package.bin")?);
    std::fs::write(&list, names.join("\n") + "\n")?;
    std::fs::write(&package, [7; 4_096])?;
    let gateways: Vec<SocketAddr> =
        cluster.mqtt().iter().map(|gateway| gateway.parse()).collect::<Result<_, _>>()?;
    let clients: Vec<Client> = registered
        .iter()
        .zip(gateways.iter().cycle())
        .map(|((name, secret), gateway)| device(*gateway, &product_key, name, secret))
        .collect::<Result<_>>()?;
    let mut devices = Subscribers::connect(&clients)?;

    let stage = Stage { cluster: &cluster, grpc, operator, product_key, names, list, package };
    let (mut rates, mut marked) = (Vec::new(), Vec::new());
    for job in 0..args.jobs {
        let version = format!("{}.0.0", job + 2);
        let (rate, with_marks) = stage.push(&version, &mut devices)?;
        common.say(&format!("   {version}: {rate:.0} pushes a second, {with_marks:.0} with their marks"));
        rates.push(rate);
        marked.push(with_marks);
    }
    let bytes = devices.payload_bytes();
    drop(devices);
    drop(stage);
    cluster.stop()?;
    let each: Vec<f64> = rates.iter().map(|rate| rounded(*rate)).collect();
    let (rate, marked) = (rounded(median(rates)), rounded(median(marked)));
    Ok((json!({ "per_second": rate, "marked_per_second": marked, "jobs": each }), bytes))
}

/// A device as it connects: what it hears it only counts.
fn device(gateway: SocketAddr, product_key: &str, name: &str, secret: &str) -> Result<Client> {
    let id = format!("{product_key}&{name}");
    let content = format!("clientId{id}deviceName{name}productKey{product_key}timestamp{TIMESTAMP}");
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).context("a secret is no key")?;
    mac.update(content.as_bytes());
    let password = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Client {
        address: gateway,
        id: format!("{id}|securemode=3,signmethod=hmacsha1,timestamp={TIMESTAMP}|"),
        proof: Some((format!("{name}&{product_key}"), password)),
        topic: format!("/ota/device/upgrade/{product_key}/{name}"),
    })
}

impl Stage<'_> {
    /// Rolls a version out to everybody. Returns the pushes a second, from the first that arrived to the last, and
    /// the same until all of them were marked as written.
    fn push(&self, version: &str, devices: &mut Subscribers) -> Result<(f64, f64)> {
        let Self { operator, grpc, .. } = self;
        let create = ["firmware", "create", "--file", &self.package, "--product", &self.product_key];
        let firmware =
            operator.call(grpc, &[&create[..], &["--version", version, "--no-verify"]].concat())?;
        let firmware = text(&firmware, "firmware_id")?;
        let create = ["job", "create", "--firmware", &firmware, "--product", &self.product_key];
        let more = ["--list-file", &self.list, "--maximum-per-minute", LEAST];
        let job = text(&operator.call(grpc, &[&create[..], &more].concat())?, "job_id")?;
        let is_complete = || Ok(self.show(&job)?["expansion"]["complete"] == true);
        ensure!(wait_for(PATIENCE, PAUSE, is_complete)?, "the list took too long");

        let lift = {
            let (operator, grpc, job) = (operator.clone(), grpc.clone(), job.clone());
            move || operator.call(&grpc, &["job", "update", &job, "--maximum-per-minute", NO_LIMIT])
        };
        let lifted_at = unix_us();
        let lift = std::thread::spawn(lift);
        let mut times = devices.hear(self.names.len(), SILENCE)?;
        lift.join().map_err(|_| anyhow!("the call that lifts the limit panicked"))??;
        let marked = "select coalesce(sum(n), 0) from job_counter where status = 7 and job_no = ";
        let marked = format!("{marked}(select no from job where id = '{job}')");
        let is_marked = || {
            let services = self.cluster.services.as_ref().context("there are no services")?;
            Ok(services.the_postgres()?.query(&marked)?.trim().parse::<usize>()? >= self.names.len())
        };
        ensure!(wait_for(PATIENCE, Duration::from_millis(10), is_marked)?, "notices are not marked");
        let marked_at = unix_us();
        // Some came at the first pace, the last of them perhaps after the call.
        times.retain(|time| *time >= lifted_at);
        let pause = |pair: &[u64]| pair[1] - pair[0] > FIRST_PACE_US;
        let early = times.windows(2).take(10).rposition(pause).map_or(0, |last| last + 1);
        times.drain(..early);
        let rate = per_second(&times);
        *times.last_mut().context("nothing was pushed after the limit was lifted")? = marked_at;
        let with_marks = per_second(&times);

        // All have it, so that the next job finds them idle.
        let inform = |(n, name): (usize, &String)| {
            let payload = format!(r#"{{"id":"{n}","params":{{"version":"{version}"}}}}"#);
            (format!("/ota/device/inform/{}/{name}", self.product_key), payload)
        };
        devices.say(self.names.iter().enumerate().map(inform))?;
        let is_done = || Ok(self.show(&job)?["job_status"] == "JOB_STATUS_COMPLETED");
        ensure!(wait_for(PATIENCE, PAUSE, is_done)?, "the job for {version} did not end");
        Ok((rate, with_marks))
    }

    fn show(&self, job: &str) -> Result<Value> {
        self.operator.call(&self.grpc, &["job", "show", job])
    }
}
