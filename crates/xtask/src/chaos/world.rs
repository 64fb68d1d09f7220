//! One installation with its devices and packages, made ready for a run.
//!
//! Invariant: what devices download and informed before the first fault is committed: nothing of the preparation
//! is part of the trial.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::disk::SmallDisk;
use super::fault::World;
use super::job::{Errand, Kind, pools};
use super::plan::{Plan, Scale};
use crate::clock::Dice;
use crate::cluster::{Cluster, Crew, Fleets, Habits, Networks, Settings, Shape, text};

/// What the devices said about their version has to be committed before the first job is made.
const SETTLE: Duration = Duration::from_secs(2);

/// Most that a device thinks before it begins an update, in milliseconds.
const WORK_MS: u32 = 1_500;

/// Of a hundred devices so many are not good ones.
const FAILING: u64 = 4;
const FLAKY: u64 = 4;
const SILENT: u64 = 2;
const STALLING: u64 = 2;

/// How a device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    Good,
    Failing,
    Flaky,
    Silent,
    Stalling,
}

impl Temper {
    fn draw(dice: &mut Dice) -> Self {
        let drawn = dice.below(100);
        match drawn {
            _ if drawn < FAILING => Self::Failing,
            _ if drawn < FAILING + FLAKY => Self::Flaky,
            _ if drawn < FAILING + FLAKY + SILENT => Self::Silent,
            _ if drawn < FAILING + FLAKY + SILENT + STALLING => Self::Stalling,
            _ => Self::Good,
        }
    }

    /// As fleets read it.
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failing => "failing",
            Self::Flaky => "flaky",
            Self::Silent => "silent",
            Self::Stalling => "stalling",
        }
    }
}

/// Everything that a job needs besides its errand.
#[derive(Clone, Debug)]
pub(super) struct Ware {
    pub(super) firmware: String,
    /// The file that lists its devices.
    pub(super) list: PathBuf,
    /// The dynamic group of the same devices.
    pub(super) group: String,
    /// The devices; none where only their number is known beforehand.
    pub(super) names: BTreeSet<String>,
}

/// An installation at work.
pub(super) struct Installation {
    pub(super) world: World,
    // In the order in which they end: devices, processes, the disk.
    pub(super) fleets: Fleets,
    pub(super) cluster: Cluster,
    pub(super) disk: Option<SmallDisk>,
    pub(super) product_key: String,
    pub(super) tempers: BTreeMap<String, Temper>,
    /// By the numbers of the jobs.
    pub(super) wares: BTreeMap<usize, Ware>,
    /// Processes that were killed, with the microseconds at which they were gone.
    pub(super) graves: Vec<(u32, u64)>,
    pub(super) folder: PathBuf,
}

/// How it is started.
#[derive(Clone, Debug)]
pub(super) struct Making {
    pub(super) folder: PathBuf,
    pub(super) binary: PathBuf,
    pub(super) plant: Option<String>,
}

impl Installation {
    /// Starts everything, and waits until all devices are online.
    pub(super) fn prepare(world: World, plan: &Plan, scale: Scale, making: Making) -> Result<Self> {
        let folder = making.folder.join(world.name());
        std::fs::create_dir_all(&folder)?;
        let (shape, networks, disk) = match world {
            World::Cluster => {
                let nodes = scale.size.dispatchers + scale.size.gateways;
                (Shape::Apart(scale.size), Some(Networks::make(nodes)?), None)
            }
            World::Single => (Shape::Embedded, None, Some(SmallDisk::mount(&folder.join("data"))?)),
        };
        for history in [history_folder(&folder), devices_folder(&folder)] {
            std::fs::create_dir_all(history)?;
        }
        let history = history_folder(&folder).canonicalize()?.display().to_string();
        let options = ["--api-quota", "off", "--history", &history].map(str::to_owned).to_vec();
        let settings = Settings {
            folder: folder.clone(),
            binary: making.binary,
            shape,
            options,
            plant: making.plant,
            outlives_us: false,
        };
        let cluster = Cluster::start(settings, networks)?;
        let folder = folder.canonicalize()?;
        Self::people(world, cluster, disk, plan, scale, folder)
    }

    /// Product, devices, packages.
    fn people(
        world: World,
        cluster: Cluster,
        disk: Option<SmallDisk>,
        plan: &Plan,
        scale: Scale,
        folder: PathBuf,
    ) -> Result<Self> {
        let operator = &cluster.operator;
        let grpc = cluster.grpc().into_iter().next().context("no process serves gRPC")?;
        let product = operator.call(&grpc, &["product", "create", &format!("chaos_{}", world.name())])?;
        let product_key = text(&product, "product_key")?;
        let mut dice = Dice::named(plan.seed, &format!("devices of the {}", world.name()));
        let (mut crew_lines, mut tempers) = (String::new(), BTreeMap::new());
        let mut groups = Vec::new();
        let each = scale.devices(world) / u32::try_from(pools(world))?;
        for pool in 0..pools(world) {
            let lines = register(&cluster, &grpc, &product_key, pool, each, &folder)?;
            let mut names = Vec::new();
            for line in lines.lines() {
                let name = line.split(',').next().unwrap_or_default().to_owned();
                let temper = Temper::draw(&mut dice);
                crew_lines += &format!("{line},{}\n", temper.name());
                tempers.insert(name.clone(), temper);
                names.push(name);
            }
            dice.shuffle(&mut names);
            let list = folder.join(format!("group-{pool}.names"));
            std::fs::write(&list, names.join("\n") + "\n")?;
            let rule = format!("product_key = \"{product_key}\" and name like \"g{pool}-%\"");
            let group =
                operator.call(&grpc, &["group", "create-dynamic", &format!("group_{pool}"), &rule])?;
            groups.push((list, text(&group, "group_id")?, names.into_iter().collect::<BTreeSet<_>>()));
        }
        let wares = wares(&cluster, &grpc, &product_key, plan, world, &groups, &folder)?;

        let gateways = cluster.mqtt();
        let processes = if world == World::Cluster { 2 } else { 1 };
        let crew = Crew {
            operator,
            product_key: &product_key,
            names_and_secrets: &crew_lines,
            gateways: &gateways,
            processes,
            one_gateway_each: false,
            authority: None,
            work_ms: WORK_MS,
            seed: plan.seed,
        };
        let history = devices_folder(&folder);
        let habits = Habits { download: "full", history: Some(&history) };
        let fleets = Fleets::start_with(&folder, &crew, habits)?;
        std::thread::sleep(SETTLE);
        Ok(Self { world, fleets, cluster, disk, product_key, tempers, wares, graves: Vec::new(), folder })
    }
}

/// Where the processes of an installation write their histories.
pub(super) fn history_folder(folder: &Path) -> PathBuf {
    folder.join("history")
}

/// Where its devices write theirs.
pub(super) fn devices_folder(folder: &Path) -> PathBuf {
    folder.join("devices")
}

/// Registers the devices of a group; their lines `name,secret`.
fn register(
    cluster: &Cluster,
    grpc: &str,
    product_key: &str,
    pool: usize,
    count: u32,
    folder: &Path,
) -> Result<String> {
    let out = folder.join(format!("group-{pool}.csv"));
    let out_text = out.to_str().context("the folder's name is not UTF-8")?;
    let (prefix, count) = (format!("g{pool}-"), count.to_string());
    let register = ["device", "register", "--product", product_key, "--prefix", &prefix, "--out", out_text];
    cluster.operator.call(grpc, &[&register[..], &["--count", &count]].concat())?;
    Ok(std::fs::read_to_string(&out)?)
}

type Group = (PathBuf, String, BTreeSet<String>);

/// A package for each job.
fn wares(
    cluster: &Cluster,
    grpc: &str,
    product_key: &str,
    plan: &Plan,
    world: World,
    groups: &[Group],
    folder: &Path,
) -> Result<BTreeMap<usize, Ware>> {
    let package = folder.join("package.bin");
    std::fs::write(&package, [7; 4_096])?;
    let package = package.to_str().context("the folder's name is not UTF-8")?;
    let mut wares = BTreeMap::new();
    for job in plan.jobs.iter().filter(|job: &&Errand| job.world == world) {
        let version = job.version();
        let create =
            ["firmware", "create", "--file", package, "--product", product_key, "--version", &version];
        let made = cluster.operator.call(grpc, &[&create[..], &["--no-verify"]].concat())?;
        let firmware = text(&made, "firmware_id")?;
        let (list, group, names) =
            groups.get(job.pool).context("a job for a group that is not there")?.clone();
        let names = if job.kind == Kind::Gray { BTreeSet::new() } else { names };
        wares.insert(job.number, Ware { firmware, list, group, names });
    }
    Ok(wares)
}
