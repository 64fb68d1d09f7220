//! The cluster commands: several processes of the product on PostgreSQL and Redis of their own, to be used (`up`, `down`,
//! `status`), or to be hurt while devices watch (`test`).
//!
//! Everything runs on loopback, or in network namespaces made here.
//!
//! Invariant: a verdict rests on what the devices wrote down themselves, and a scenario whose fault did not fall
//! into the work is not ok.

mod caller;
mod fleet;
mod member;
mod net;
mod operator;
mod orphans;
mod pace;
mod record;
mod scenario;
mod signed;
mod trial;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

pub(crate) use self::fleet::{Crew, Fleets, Habits};
use self::member::STATE;
pub(crate) use self::member::{Addresses, Cluster, Role, Settings, Shape, Size};
pub(crate) use self::net::{Networks, hub_name};
pub(crate) use self::operator::{Operator, Refusal, text};
pub(crate) use self::pace::{MINUTE_US, max_in_any, per_second};
pub(crate) use self::record::{Event, Record, What};
use self::trial::Load;
use crate::clock::{Dice, now};
use crate::repo;

use self::scenario::Scenario;

/// Folders of data in a cluster's folder.
const DATA: &[&str] = &["data", "objects", "postgres", "redis"];

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start one, to live until `down`.
    Up(UpArgs),
    /// Stop it and remove its data; its logs stay.
    Down(FolderArgs),
    /// Say what runs and where.
    Status(FolderArgs),
    /// Hurt one, a fresh one for each scenario, while devices write down what reaches them.
    ///
    /// The last line is one JSON object with the verdict on each scenario.
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    binary: BinaryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// Folder of its data, keys and logs [default: target/cluster].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What is started.
#[derive(Debug, Args)]
pub(crate) struct BinaryArgs {
    /// This binary, instead of a release build made now.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// One process with all roles on SQLite, instead of many on PostgreSQL and Redis.
    #[arg(long)]
    embedded: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only these scenarios; may be repeated.
    #[arg(long = "scenario", value_name = "NAME", value_enum)]
    scenarios: Vec<Scenario>,
    /// Draw the moments of the faults and the order of the list from this number.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the JSON alone.
    #[arg(long)]
    json: bool,
    /// Break the product on purpose: the verdict has to notice.
    #[arg(long, value_name = "WHAT", value_parser = ["no-pace"])]
    plant: Option<String>,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    binary: BinaryArgs,
}

/// Runs a command. True if nothing was wrong.
pub(crate) fn run_command(command: ClusterCommand) -> Result<bool> {
    let root = repo::root()?;
    match command {
        ClusterCommand::Up(args) => up(&root, args),
        ClusterCommand::Down(args) => down(&folder(&root, args)),
        ClusterCommand::Status(args) => status(&folder(&root, args)),
        ClusterCommand::Test(args) => test(&root, args),
    }
}

fn folder(root: &Path, args: FolderArgs) -> PathBuf {
    args.folder.unwrap_or_else(|| root.join("target/cluster"))
}

/// The product as it is released; built now unless another is named.
pub(crate) fn binary(root: &Path, named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(binary) = named {
        return binary.canonicalize().with_context(|| format!("there is no {}", binary.display()));
    }
    eprintln!("── building the release of otaria");
    let mut cargo = repo::cargo(root);
    cargo.args(["build", "--release", "--locked", "--package", "otaria"]);
    ensure!(cargo.status()?.success(), "the build failed");
    Ok(root.join("target/release/otaria"))
}

fn up(root: &Path, args: UpArgs) -> Result<bool> {
    let folder = folder(root, args.folder);
    if let Ok(mut running) = Cluster::load(&folder) {
        let alive = running.members.iter_mut().any(|member| member.process.is_running());
        ensure!(!alive, "a cluster runs in {} already: cargo xtask cluster down", folder.display());
        running.stop()?;
        remove_data(&folder)?;
    }
    let foreign = DATA.iter().find(|name| folder.join(name).exists());
    ensure!(foreign.is_none(), "{} is not empty: name another folder", folder.display());
    let settings = Settings {
        folder: folder.clone(),
        binary: binary(root, args.binary.binary)?,
        shape: if args.binary.embedded { Shape::Embedded } else { Shape::Apart(args.size) },
        options: Vec::new(),
        plant: None,
        outlives_us: true,
    };
    let mut cluster = match Cluster::start(settings, None) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("what was started goes again; the logs stay in {}", folder.join("logs").display());
            remove_data(&folder)?;
            return Err(error);
        }
    };
    cluster.save()?;
    show(&mut cluster);
    cluster.leave();
    Ok(true)
}

fn down(folder: &Path) -> Result<bool> {
    let mut cluster = Cluster::load(folder)?;
    cluster.stop()?;
    remove_data(folder)?;
    println!("stopped; the logs stay in {}", folder.join("logs").display());
    Ok(true)
}

/// Removes everything but the logs. Some of it is made only by some forms of a cluster.
fn remove_data(folder: &Path) -> Result<()> {
    for name in DATA {
        clear(&folder.join(name))?;
    }
    for name in [STATE, "master-key", "access-key"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    Ok(())
}

fn status(folder: &Path) -> Result<bool> {
    let mut cluster = Cluster::load(folder)?;
    Ok(show(&mut cluster))
}

/// Prints what runs and where. True if all of it does.
fn show(cluster: &mut Cluster) -> bool {
    let mut all = true;
    let health = |running: bool| if running { "running" } else { "NOT RUNNING" };
    for (name, pid, running) in cluster.services.iter_mut().flat_map(|services| services.processes()) {
        all &= running;
        println!("{name:<14} {:<12} process {pid}", health(running));
    }
    for member in &mut cluster.members {
        let running = member.process.is_running();
        all &= running;
        let Addresses { grpc, http, mqtt, mqtt_tls: _ } = member.at;
        let faces = [("gRPC", grpc), ("HTTP", http), ("MQTT", mqtt)];
        let faces = faces.iter().filter_map(|(name, at)| at.map(|at| format!("{name} {at}")));
        let faces = faces.collect::<Vec<_>>().join(", ");
        println!(
            "{:<14} {:<12} process {:<8} {faces}",
            member.process.name,
            health(running),
            member.process.pid
        );
    }
    let folder = cluster.settings.folder.display();
    println!("\nthe access key: {folder}/access-key, the logs: {folder}/logs");
    if let Some(grpc) = cluster.grpc().first() {
        println!("try: otaria product list --endpoint http://{grpc} --data-dir {folder}");
    }
    all
}

fn test(root: &Path, args: TestArgs) -> Result<bool> {
    let scenarios = if args.scenarios.is_empty() { Scenario::ALL } else { &args.scenarios };
    let (scenarios, left_out): (Vec<Scenario>, Vec<Scenario>) =
        scenarios.iter().partition(|scenario| !args.binary.embedded || scenario.is_for_one_process());
    ensure!(!scenarios.is_empty(), "one process on SQLite plays the scenario baseline only");
    let binary = binary(root, args.binary.binary)?;
    let seed = args.seed.unwrap_or_else(Dice::fresh_seed);
    let home = root.join("target/cluster-test");
    eprintln!("── seed {seed}; the logs go to {}", home.display());
    if !left_out.is_empty() {
        eprintln!(
            "── not for one process: {}",
            left_out.iter().map(|s| s.name()).collect::<Vec<_>>().join(", ")
        );
    }

    let mut verdicts = BTreeMap::new();
    for scenario in scenarios {
        let since = now();
        eprintln!("── {}", scenario.name());
        let folder = home.join(scenario.name());
        clear(&folder)?;
        let settings = Settings {
            folder,
            binary: binary.clone(),
            shape: if args.binary.embedded { Shape::Embedded } else { Shape::Apart(args.size) },
            options: Vec::new(),
            plant: args.plant.clone(),
            outlives_us: false,
        };
        let verdict = trial::play(scenario, seed, args.load, settings);
        let seconds = since.elapsed().as_secs();
        let verdict = match verdict {
            Ok(verdict) => serde_json::to_value(&verdict)?,
            Err(error) => json!({ "ok": false, "seed": seed, "why": [format!("{error:#}")] }),
        };
        if !args.json {
            eprintln!("   {verdict}");
        }
        eprintln!("   {} after {seconds} s", if verdict["ok"] == true { "ok" } else { "FAILED" });
        verdicts.insert(scenario.name(), verdict);
    }
    let ok = verdicts.values().all(|verdict| verdict["ok"] == true);
    println!("{}", json!({ "scenarios": verdicts }));
    Ok(ok)
}

/// Removes what an earlier run left. PostgreSQL's data may belong to another user, but we are root then.
pub(crate) fn clear(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
