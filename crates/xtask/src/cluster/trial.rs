//! One scenario from beginning to end: a fresh cluster, devices, a job of two minutes at full pace, the fault, the verdict.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::caller::{Caller, Target};
use super::fleet::{Crew, Fleets};
use super::member::{Cluster, Role, Settings, Shape};
use super::net::Networks;
use super::operator::text;
use super::orphans::Before;
use super::record::Record;
use super::scenario::{Plan, Scenario};
use super::verdict::{Story, Verdict};
use crate::clock::{Dice, now, unix_us};
use crate::process::Signal;

/// The version that the job brings.
const VERSION: &str = "2.0.0";

/// Processes that share the devices.
const FLEETS: usize = 2;

/// What the devices said about their version has to be committed before the job is made.
const SETTLE: Duration = Duration::from_secs(2);

const FIRST_PUSH_PATIENCE: Duration = Duration::from_secs(30);

/// Without any push for so long, what is missing is lost.
const PUSH_PATIENCE: Duration = Duration::from_secs(60);

/// How long the server may take to know of the last update.
const END_PATIENCE: Duration = Duration::from_secs(90);

/// After the job is over: a notice that comes now would be one too many.
const LISTEN: Duration = Duration::from_secs(3);

const PAUSE: Duration = Duration::from_millis(500);

/// From the moment that one process is ready again to the restart of the next.
const BETWEEN_RESTARTS: Duration = Duration::from_secs(2);

/// How big a job is, and how fast.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// Devices that are online and in the job.
    #[arg(long, value_name = "N", default_value_t = 2_400, value_parser = clap::value_parser!(u32).range(10..=15_000))]
    pub(crate) devices: u32,
    /// The limit of the job.
    #[arg(long, value_name = "N", default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) maximum_per_minute: u32,
}

/// Plays a scenario in the folder of `settings`.
pub(crate) fn play(scenario: Scenario, seed: u64, load: Load, settings: Settings) -> Result<Verdict> {
    let (dispatchers, gateways) = match settings.shape {
        Shape::Apart(size) => (size.dispatchers, size.gateways),
        Shape::Embedded | Shape::Together => (1, 1),
    };
    let of = if scenario == Scenario::GatewayKill { gateways } else { dispatchers };
    let plan = Plan::draw(seed, scenario, of);
    let networks = if scenario.has_networks() { Some(Networks::make(dispatchers)?) } else { None };
    let folder = settings.folder.clone();
    let cluster = Cluster::start(settings, networks)?;
    let mut trial = Trial::prepare(cluster, seed, load, plan, &folder)?;
    trial.run(scenario)?;
    let record = trial.fleets.end()?;
    if let Err(error) = trial.cluster.stop() {
        trial.story.troubles.push(format!("{error:#}"));
    }
    Ok(Verdict::of(scenario, &trial.story, &record))
}

struct Trial {
    cluster: Cluster,
    fleets: Fleets,
    story: Story,
    plan: Plan,
    product_key: String,
    firmware: String,
    list: std::path::PathBuf,
}

impl Trial {
    /// Everything up to the job: product, devices that are online, a package, the list in a drawn order.
    fn prepare(cluster: Cluster, seed: u64, load: Load, plan: Plan, folder: &Path) -> Result<Self> {
        let grpc = cluster.grpc().into_iter().next().context("no process serves gRPC")?;
        let operator = &cluster.operator;
        let product_key =
            text(&operator.call(&grpc, &["product", "create", "cluster_test"])?, "product_key")?;
        let out = folder.join("devices.csv");
        let out_text = out.to_str().context("the folder's name is not UTF-8")?;
        let register =
            ["device", "register", "--product", &product_key, "--prefix", "dev-", "--out", out_text];
        operator.call(&grpc, &[&register[..], &["--count", &load.devices.to_string()]].concat())?;
        let names_and_secrets = std::fs::read_to_string(&out)?;
        let names = names_and_secrets.lines().filter_map(|line| line.split(',').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();

        let package = folder.join("package.bin");
        std::fs::write(&package, [7; 4_096])?;
        let package = package.to_str().context("the folder's name is not UTF-8")?;
        let create =
            ["firmware", "create", "--file", package, "--product", &product_key, "--version", VERSION];
        let firmware = operator.call(&grpc, &[&create[..], &["--no-verify"]].concat())?;
        let firmware = text(&firmware, "firmware_id")?;

        let devices: BTreeSet<String> = names.iter().cloned().collect();
        Dice::new(plan.dice_seed).shuffle(&mut names);
        let list = folder.join("names.txt");
        std::fs::write(&list, names.join("\n") + "\n")?;
        let gateways = cluster.mqtt();
        let crew = Crew {
            operator,
            product_key: &product_key,
            names_and_secrets: &names_and_secrets,
            gateways: &gateways,
            processes: FLEETS,
            one_gateway_each: false,
            authority: None,
            work_ms: 0,
            seed,
        };
        let fleets = Fleets::start(folder, &crew)?;
        std::thread::sleep(SETTLE);
        let limit = load.maximum_per_minute;
        let story = Story { seed, devices, version: VERSION.to_owned(), limit, ..Story::default() };
        Ok(Self { cluster, fleets, story, plan, product_key, firmware, list })
    }

    fn run(&mut self, scenario: Scenario) -> Result<()> {
        let grpc = self.cluster.grpc();
        let list = self.list.to_str().context("the folder's name is not UTF-8")?;
        let limit = self.story.limit.to_string();
        let create = ["job", "create", "--firmware", &self.firmware, "--product", &self.product_key];
        let create = [&create[..], &["--list-file", list, "--maximum-per-minute", &limit]].concat();
        let job = text(&self.cluster.operator.call(&grpc[0], &create)?, "job_id")?;

        let since = now();
        while self.fleets.record()?.pushes(VERSION).is_empty() {
            if since.elapsed() > FIRST_PUSH_PATIENCE {
                bail!("no push within {} s of the job", FIRST_PUSH_PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if scenario != Scenario::Baseline {
            self.wait_for_the_moment()?;
            if self.work_is_left()? {
                self.strike(scenario, &job)?;
            }
        }
        self.wait_for_pushes()?;
        self.story.succeeded = self.succeeded(&grpc, &job);
        std::thread::sleep(LISTEN);
        Ok(())
    }

    /// Sleeps until the drawn moment after the first push.
    fn wait_for_the_moment(&mut self) -> Result<()> {
        let record = self.fleets.record()?;
        let first = record.pushes(VERSION).first().map_or(0, |push| push.unix_us);
        let moment = first + u64::try_from(self.plan.after.as_micros())?;
        while unix_us() < moment && self.work_is_left()? {
            std::thread::sleep(PAUSE.min(Duration::from_micros(moment.saturating_sub(unix_us()))));
        }
        Ok(())
    }

    fn work_is_left(&mut self) -> Result<bool> {
        let record = self.fleets.record()?;
        Ok(self.missing(&record) > 0)
    }

    /// How many devices were not told yet.
    fn missing(&self, record: &Record) -> usize {
        let told: BTreeSet<&str> = record.pushes(VERSION).iter().map(|push| push.device).collect();
        self.story.devices.iter().filter(|device| !told.contains(device.as_str())).count()
    }

    /// The fault.
    fn strike(&mut self, scenario: Scenario, job: &str) -> Result<()> {
        let Plan { victim, outage, .. } = self.plan;
        let before = if scenario.orphans_shards() {
            // Without it the verdict looks at the pushes to all devices.
            let looked = Before::look(self.cluster.postgres()?);
            looked.inspect_err(|error| eprintln!("   whose devices are hit is not known: {error:#}")).ok()
        } else {
            None
        };
        let struck = now();
        self.story.fault_us = Some(unix_us());
        match scenario {
            Scenario::Baseline => {}
            Scenario::DispatcherKill => self.cluster.member(Role::Dispatcher, victim)?.process.kill()?,
            Scenario::DispatcherStop => {
                self.cluster.member(Role::Dispatcher, victim)?.process.signal(Signal::STOP)?;
                self.look_for_orphans(before)?;
                rest_of(outage, struck);
                self.cluster.member(Role::Dispatcher, victim)?.process.signal(Signal::CONT)?;
                return Ok(());
            }
            Scenario::RedisFlush => self.cluster.services()?.redis()?.flush()?,
            Scenario::RedisRestart => self.cluster.services()?.redis()?.restart()?,
            Scenario::PostgresRestart => self.cluster.services()?.postgres()?.restart()?,
            Scenario::GatewayKill => self.cluster.member(Role::Gateway, victim)?.process.kill()?,
            Scenario::NetDispatcherPostgres | Scenario::NetDispatcherRedis => {
                let port = if scenario == Scenario::NetDispatcherPostgres {
                    self.cluster.services()?.postgres()?.port
                } else {
                    self.cluster.services()?.redis()?.port
                };
                self.networks()?.cut(victim, port)?;
                self.look_for_orphans(before)?;
                rest_of(outage, struck);
                self.networks()?.heal(victim)?;
                return Ok(());
            }
            Scenario::RollingRestart => return self.restart_all(job),
        }
        self.look_for_orphans(before)
    }

    fn networks(&self) -> Result<&Networks> {
        self.cluster.networks.as_ref().context("there are no networks")
    }

    fn look_for_orphans(&mut self, before: Option<Before>) -> Result<()> {
        if let Some(before) = before {
            let dispatchers = self.cluster.members.iter().filter(|member| member.role == Role::Dispatcher);
            let dispatchers = dispatchers.count();
            let orphans = before.of_hit(self.cluster.postgres()?, self.plan.victim, dispatchers)?;
            let count =
                orphans.as_ref().map_or("an unknown number of".to_owned(), |found| found.len().to_string());
            eprintln!("   the fault hit the dispatcher of {count} devices");
            if let Some(orphans) = &orphans {
                let names: Vec<&str> = orphans.iter().map(String::as_str).collect();
                std::fs::write(self.cluster.settings.folder.join("orphans.txt"), names.join("\n") + "\n")?;
            }
            self.story.orphans = orphans;
        }
        Ok(())
    }

    /// Restarts all processes of the product while a client calls.
    fn restart_all(&mut self, job: &str) -> Result<()> {
        let target = Target {
            operator: self.cluster.operator.clone(),
            grpc: self.cluster.grpc(),
            http: self.cluster.http(),
            job: job.to_owned(),
            firmware: self.firmware.clone(),
        };
        let caller = Caller::start(target);
        let all: Vec<(Role, usize)> =
            self.cluster.members.iter().map(|member| (member.role, member.place)).collect();
        let restarted = all.into_iter().try_for_each(|(role, place)| {
            let restarted = self.cluster.restart(role, place);
            std::thread::sleep(BETWEEN_RESTARTS);
            restarted
        });
        let (calls, told) = caller.end()?;
        self.story.calls = Some(calls);
        self.story.troubles.extend(told);
        restarted
    }

    /// Waits until every device was told, or nothing was pushed for a long time.
    fn wait_for_pushes(&mut self) -> Result<()> {
        let (mut pushed, mut still) = (0, now());
        loop {
            let record = self.fleets.record()?;
            let count = record.pushes(VERSION).len();
            if self.missing(&record) == 0 {
                return Ok(());
            }
            if count != pushed {
                (pushed, still) = (count, now());
            }
            if still.elapsed() > PUSH_PATIENCE {
                eprintln!(
                    "   no push for {} s, {} devices were not told",
                    PUSH_PATIENCE.as_secs(),
                    self.missing(&record)
                );
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// How many tasks the server says have succeeded, once it says that of all or its time is over.
    fn succeeded(&self, grpc: &[String], job: &str) -> Option<u64> {
        let all = u64::try_from(self.story.devices.len()).unwrap_or(u64::MAX);
        let since = now();
        loop {
            let shown = self.cluster.operator.insist(grpc, &["job", "show", job], 5);
            let count = shown.ok().and_then(|shown| shown["task_counts"]["succeeded"].as_u64());
            if count == Some(all) || since.elapsed() > END_PATIENCE {
                return count;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Sleeps for what is left of an outage.
fn rest_of(outage: Duration, struck: Instant) {
    std::thread::sleep(outage.saturating_sub(struck.elapsed()));
}
