//! The chaos command: many processes on PostgreSQL and Redis, and one on SQLite with a small disk, do their work
//! while everything that can go wrong does, drawn from a seed.
//!
//! Everything runs on loopback, or in network namespaces made here.
//!
//! Invariant: the verdict rests on what the devices wrote down, on the histories and on the API's own lists; a run
//! whose faults did not fall is not ok.

mod disk;
mod fault;
mod finale;
mod history;
mod job;
mod metrics;
mod operate;
mod plan;
mod run;
mod strike;
mod timeline;
mod verdict;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use self::plan::{Plan, Scale};
use self::run::Outcome;
use self::world::Making;
use crate::clock::Dice;
use crate::cluster::{Size, binary, clear};
use crate::repo;

/// Violations that are told word for word; the file in the folder has all.
const TOLD: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChaosArgs {
    /// How long faults fall, in minutes; what is left then has a few minutes more to come to its end.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=240))]
    minutes: u32,
    /// Draw faults, moments, jobs and devices from this number [default: a fresh one, which is printed].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print the plan and end.
    #[arg(long)]
    plan: bool,
    /// Print the JSON alone.
    #[arg(long)]
    json: bool,
    /// Keep the folder with logs and histories also when everything is well.
    #[arg(long)]
    keep: bool,
    /// Devices of the cluster; the one process on SQLite has a fifth of them.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(40..=12_000))]
    devices: u32,
    /// Break the product on purpose: the verdict has to notice.
    #[arg(long, value_name = "WHAT", value_parser = ["no-pace"])]
    plant: Option<String>,
    #[command(flatten)]
    size: Size,
    /// This binary, instead of a release build made now.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask chaos --minutes 3 --seed 7
  cargo xtask chaos --minutes 30 --seed 7 --json
  cargo xtask chaos --minutes 30 --seed 7 --plan      what would happen, and when
  cargo xtask chaos --minutes 2 --plant no-pace       must fail

The last line is one JSON object:
  {\"ok\", \"seed\", \"minutes\", \"faults\": {kind: count}, \"jobs\", \"tasks\", \"notices\", \"lost\",
   \"violations\": […], \"checked\": {…}, \"not_judged\": {…}, \"ends\": {how tasks ended: count}}
Needs root, for networks and a small disk of its own. Logs and histories of a run that is not ok stay in
target/chaos/SEED.";

/// Runs the command. True if nothing was wrong.
pub(crate) fn run_command(args: &ChaosArgs) -> Result<bool> {
    let root = repo::root()?;
    ensure!(
        args.size.apis > 0 && args.size.dispatchers > 0 && args.size.gateways > 0,
        "each role needs a process"
    );
    let seed = args.seed.unwrap_or_else(Dice::fresh_seed);
    let scale = Scale { minutes: args.minutes, devices: args.devices, size: args.size };
    let plan = Plan::draw(seed, scale);
    if args.plan {
        print!("{}", plan.told());
        return Ok(true);
    }
    let say = |text: &str| {
        if !args.json {
            eprintln!("{text}");
        }
    };
    say(&format!("── seed {seed}, {} faults, {} jobs", plan.faults.len(), plan.jobs.len()));
    say(plan.told().trim_end());
    ensure!(rustix::process::geteuid().is_root(), "networks and a small disk need root");
    let binary = binary(&root, args.binary.clone())?;
    let folder = root.join("target/chaos").join(seed.to_string());
    let making = Making { folder: folder.clone(), binary, plant: args.plant.clone() };
    judge(args, &plan, scale, making, &folder, &say)
}

/// How to repeat what [`run_short`] does.
pub(crate) const SHORT: &str = "cargo xtask chaos --minutes 3 --seed 7";

/// A run that is short enough for every full test.
pub(crate) fn run_short() -> Result<bool> {
    /// What the words of [`SHORT`] are read by.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ChaosArgs,
    }
    let words = SHORT.split(' ').skip_while(|word| *word != "chaos");
    run_command(&<Line as clap::Parser>::try_parse_from(words)?.args)
}

/// The whole run, and its verdict.
fn judge(
    args: &ChaosArgs,
    plan: &Plan,
    scale: Scale,
    making: Making,
    folder: &Path,
    say: &dyn Fn(&str),
) -> Result<bool> {
    clear(folder)?;
    std::fs::create_dir_all(folder)?;
    let outcome = run::play(plan, scale, making, say)?;
    let ok = outcome.is_ok();
    std::fs::write(folder.join("violations.txt"), outcome.violations.join("\n") + "\n")?;
    let Outcome { faults, jobs, tasks, notices, lost, violations, checked, not_judged, ends } = outcome;
    let mut told: Vec<String> = violations.iter().take(TOLD).cloned().collect();
    if violations.len() > TOLD {
        told.push(format!("and {} more, see {}/violations.txt", violations.len() - TOLD, folder.display()));
    }
    if !args.json {
        for violation in &told {
            eprintln!("   {violation}");
        }
    }
    if ok && !args.keep {
        clear(folder)?;
    } else {
        say(&format!("── logs and histories: {}", folder.display()));
    }
    let line = json!({
        "ok": ok,
        "seed": plan.seed,
        "minutes": scale.minutes,
        "faults": faults,
        "jobs": jobs,
        "tasks": tasks,
        "notices": notices,
        "lost": lost,
        "violations": told,
        "checked": checked,
        "not_judged": not_judged,
        "ends": ends,
    });
    println!("{line}");
    Ok(ok)
}
