//! What a server's history costs: the same jobs over the same fleet, without a history and with one, in turn, so that
//! a machine that slows down slows down both.
//!
//! Pushes are counted by the devices, processor time by the kernel, bytes by the files.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{Common, median, rounded};
use crate::cluster::binary;
use crate::process::lift_open_files;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Devices.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=15_000))]
    devices: u32,
    /// Jobs over all of them in each run, one after another.
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: u32,
    /// Pairs of runs; the middle one counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    #[command(flatten)]
    common: Common,
}

/// What one run came to.
struct Run {
    per_second: f64,
    cpu_seconds_per_1000: f64,
}

pub(super) fn run(root: &Path, args: &HistoryArgs) -> Result<Value> {
    lift_open_files();
    let otaria = binary(root, args.common.binary.clone())?;
    let folder = root.join("target/bench/history");
    let tasks = f64::from(args.devices) * f64::from(args.jobs);
    let (mut off, mut on, mut bytes, mut lines) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        args.common.say(&format!("round {round} of {}", args.rounds));
        off.push(fleet(&otaria, args, None)?);
        crate::cluster::clear(&folder)?;
        on.push(fleet(&otaria, args, Some(&folder))?);
        let (round_bytes, round_lines) = written(&folder)?;
        bytes.push(round_bytes / 1e6 / tasks * 1_000.0);
        lines.push(round_lines / tasks);
    }
    let middle = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
    let pushes = |runs: &[Run]| middle(runs, |run| run.per_second);
    let cpu = |runs: &[Run]| middle(runs, |run| run.cpu_seconds_per_1000);
    let told = |runs: &[Run]| {
        json!({
            "pushes_per_second": rounded(pushes(runs)),
            "cpu_seconds_per_1000_tasks": rounded(cpu(runs)),
        })
    };
    let (mb, each) = (median(bytes), median(lines));
    args.common.say(&format!(
        "without: {:.0} pushes/s, {:.3} CPU s per 1,000 tasks",
        pushes(&off),
        cpu(&off)
    ));
    args.common.say(&format!("with:    {:.0} pushes/s, {:.3} CPU s per 1,000 tasks", pushes(&on), cpu(&on)));
    args.common.say(&format!("{mb:.2} MB and {:.0} lines per 1,000 tasks", each * 1_000.0));
    Ok(json!({
        "devices": args.devices,
        "jobs": args.jobs,
        "rounds": args.rounds,
        "without": told(&off),
        "with": told(&on),
        "pushes_ratio": rounded(pushes(&on) / pushes(&off)),
        "cpu_ratio": rounded(cpu(&on) / cpu(&off)),
        "mb_per_1000_tasks": rounded(mb),
        "lines_per_task": rounded(each),
    }))
}

fn fleet(otaria: &Path, args: &HistoryArgs, history: Option<&Path>) -> Result<Run> {
    let mut command = Command::new(otaria);
    command.args(["fleet", "bench", "--json", "--download", "none"]);
    command.args(["--devices", &args.devices.to_string(), "--jobs", &args.jobs.to_string()]);
    command.args(["--seed", &args.common.seed.to_string()]);
    if let Some(folder) = history {
        command.arg("--history").arg(folder);
    }
    command.stdin(Stdio::null());
    command.stderr(if args.common.json { Stdio::null() } else { Stdio::inherit() });
    let output = command.output().context("otaria fleet bench")?;
    ensure!(output.status.success(), "otaria fleet bench: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let said: Value = serde_json::from_str(text.lines().last().context("the fleet said nothing")?)?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("the fleet did not tell {name}"));
    let tasks = f64::from(args.devices) * f64::from(args.jobs);
    Ok(Run {
        per_second: number("median_per_second")?,
        cpu_seconds_per_1000: number("server_cpu_seconds")? / tasks * 1_000.0,
    })
}

/// Bytes and lines of a history. It must say that nothing is missing, or the figures are none.
fn written(folder: &Path) -> Result<(f64, f64)> {
    let (mut bytes, mut lines, mut ended) = (0, 0, false);
    for entry in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(entry?.path())?;
        ensure!(
            !text.contains(r#""kind":"gap""#),
            "the history has a gap: the disk was slower than the work"
        );
        ended |= text.contains(r#""kind":"stop""#);
        bytes += text.len();
        lines += text.lines().count();
    }
    ensure!(ended, "the history was not ended");
    Ok((bytes as f64, lines as f64))
}
