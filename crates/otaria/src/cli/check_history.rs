//! `otaria check-history`: judges what servers and devices wrote down, and cuts long records short.
//!
//! Never asks a server. Exit code 0 when nothing is wrong, 1 when something is, 2 when the records cannot be read.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::HumanCount;
use otaria_history::check::files::{Files, FilesError};
use otaria_history::check::{Options, Verdict, rule};
use otaria_history::cut::{Keep, cut};
use serde_json::json;

use super::output::{byte_bar, line};

/// Longer lines of evidence are cut on the terminal; `--json` has them whole.
const EVIDENCE_WIDTH: usize = 600;

const HELP: &str = "\
What it says is certain: of what lines are missing for (a process was killed, a disk was full, files were rotated
away) it says that it was not judged. Exit code 0: nothing is wrong; 1: a promise was broken, and the lines that prove
it are printed; 2: the records cannot be read.

Examples:
  otaria serve --history ./history
  otaria fleet --names-file sim.csv --product-key a1B2c3D4e5F --history devices.ndjson
  otaria check-history ./history devices.ndjson
  otaria check-history ./history devices.ndjson --keep-job 12 --out evidence";

/// Which records, and what is allowed for.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CheckHistoryArgs {
    /// What servers wrote: a file, or the folder of all their files (`*.ndjson`)
    server: PathBuf,
    /// What devices wrote: a file or a folder
    devices: PathBuf,
    /// Write the verdict as a line of JSON
    #[arg(long)]
    json: bool,
    /// What the clocks of two server processes may differ by
    #[arg(long, value_name = "MS", default_value_t = 200)]
    clock_error_ms: u64,
    /// What a device's clock and a server's may differ by
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    device_clock_error_ms: u64,
    /// How long notices may be under way before what devices saw counts to another minute; what the servers wrote
    /// down is exact and needs none
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    arrival_slack_ms: u64,
    /// How late a timeout may be found while a server is up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    late_s: u64,
    /// Take it that each operator's call that was carried out has its line, whatever else is missing
    #[arg(long)]
    calls_are_kept: bool,
    /// Take it that a process that ended without a word did nothing any more so long after its last line
    #[arg(long, value_name = "SECONDS")]
    ended_after_s: Option<u64>,
    /// Take it that this process (the name of its file) was gone at this instant, as whoever killed it knows; may be
    /// repeated
    #[arg(long, value_name = "PROCESS@UNIX_MS", value_parser = grave)]
    ended: Vec<(String, u64)>,
    /// Do not judge: write only the lines of this job (by id or number) and of its devices to --out; may be repeated
    #[arg(long, value_name = "JOB", requires = "out")]
    keep_job: Vec<String>,
    /// Do not judge: write only the lines of this device and of its jobs to --out; may be repeated
    #[arg(long, value_name = "NAME", requires = "out")]
    keep_device: Vec<String>,
    /// The folder for what is kept
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl CheckHistoryArgs {
    fn options(&self) -> Options {
        let micros = |ms: u64| ms.saturating_mul(1_000);
        let seconds = |s: u64| s.saturating_mul(1_000_000);
        Options {
            clock_error: micros(self.clock_error_ms),
            device_clock_error: micros(self.device_clock_error_ms),
            arrival_slack: micros(self.arrival_slack_ms),
            late: seconds(self.late_s),
            calls_are_kept: self.calls_are_kept,
            ended_after: self.ended_after_s.map(seconds),
        }
    }
}

/// Reads `PROCESS@UNIX_MS`; in microseconds.
fn grave(text: &str) -> Result<(String, u64), String> {
    let (process, at) = text.rsplit_once('@').ok_or("looks like PROCESS@UNIX_MS")?;
    let at: u64 = at.parse().map_err(|_| "no Unix milliseconds follow the @")?;
    Ok((process.to_owned(), at.saturating_mul(1_000)))
}

/// Runs the command.
pub(crate) fn run(args: &CheckHistoryArgs) -> anyhow::Result<ExitCode> {
    match judge_or_cut(args) {
        Err(error) if error.is::<FilesError>() => {
            eprintln!("otaria: {error:#}");
            Ok(ExitCode::from(2))
        }
        done => done,
    }
}

fn judge_or_cut(args: &CheckHistoryArgs) -> anyhow::Result<ExitCode> {
    let mut files = Files::find(&args.server, &args.devices)?;
    files.graves.clone_from(&args.ended);
    if let Some(out) =
        args.out.as_ref().filter(|_| !(args.keep_job.is_empty() && args.keep_device.is_empty()))
    {
        let keep = Keep { jobs: args.keep_job.clone(), devices: args.keep_device.clone() };
        let kept = cut(&files, &keep, out)?;
        let (lines, device_lines, devices) =
            (HumanCount(kept.lines), HumanCount(kept.device_lines), HumanCount(kept.devices));
        let out = out.display();
        line(&format!("{lines} lines of servers and {device_lines} of {devices} devices are in {out}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let bar = byte_bar(files.bytes(), "reading");
    let verdict = files.judge(args.options(), |read| bar.inc(read));
    bar.finish_and_clear();
    let verdict = verdict?;
    if !args.json {
        show(&files, &verdict)?;
    } else {
        line(&as_json(&files, &verdict)?)?;
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lines of all evidence, in its order, in one reading.
fn evidence(files: &Files, verdict: &Verdict) -> anyhow::Result<Vec<String>> {
    let places: Vec<_> = verdict.violations.iter().flat_map(|violation| violation.evidence.clone()).collect();
    Ok(files.lines(&places)?)
}

fn show(files: &Files, verdict: &Verdict) -> anyhow::Result<()> {
    let mut texts = evidence(files, verdict)?.into_iter();
    for violation in &verdict.violations {
        line(&format!("{} is broken: {}", violation.invariant, violation.what))?;
        line(&format!("  the rule: {}", rule(violation.invariant)))?;
        for (place, text) in violation.evidence.iter().zip(texts.by_ref()) {
            line(&format!("  {}:{}", files.path(*place).display(), place.line()))?;
            let short: String = text.chars().take(EVIDENCE_WIDTH).collect();
            line(&format!("    {short}{}", if short.len() < text.len() { " …" } else { "" }))?;
        }
        if violation.count > 1 {
            line(&format!("  and {} more like it", HumanCount(violation.count - 1)))?;
        }
    }
    let judged: u64 = verdict.checked.values().sum();
    line(&format!(
        "{} lines of {} processes and {} of devices: {} jobs, {} tasks, {} evaluations",
        HumanCount(verdict.lines),
        verdict.processes,
        HumanCount(verdict.device_lines),
        HumanCount(verdict.jobs),
        HumanCount(verdict.tasks),
        HumanCount(judged),
    ))?;
    if verdict.is_incomplete() {
        let (holes, lost) = (verdict.holes, HumanCount(verdict.lost));
        line(&format!(
            "the record is incomplete: {holes} spans of time, {lost} lines are known to be missing, {} processes have no end",
            verdict.unfinished
        ))?;
    }
    for (name, times) in &verdict.not_judged {
        line(&format!(
            "  {name} was not judged {} times, for lines that may be missing",
            HumanCount(*times)
        ))?;
    }
    line(match verdict.is_ok() {
        true => "nothing is wrong",
        false => "promises were broken",
    })
}

fn as_json(files: &Files, verdict: &Verdict) -> anyhow::Result<String> {
    let mut violations = Vec::new();
    let mut texts = evidence(files, verdict)?.into_iter();
    for violation in &verdict.violations {
        let evidence = violation.evidence.iter().zip(texts.by_ref()).map(|(place, text)| {
            // A line that was read before is JSON.
            let text: serde_json::Value =
                serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
            json!({ "file": files.path(*place).display().to_string(), "line": place.line(), "text": text })
        });
        violations.push(json!({
            "invariant": violation.invariant,
            "rule": rule(violation.invariant),
            "what": violation.what,
            "at": violation.at,
            "count": violation.count,
            "evidence": evidence.collect::<Vec<_>>(),
        }));
    }
    let verdict = json!({
        "ok": verdict.is_ok(),
        "lines": verdict.lines,
        "devices_lines": verdict.device_lines,
        "jobs": verdict.jobs,
        "tasks": verdict.tasks,
        "processes": verdict.processes,
        "incomplete": {
            "holes": verdict.holes,
            "lost_lines": verdict.lost,
            "processes_without_end": verdict.unfinished,
            "not_judged": verdict.not_judged,
        },
        "checked": verdict.checked,
        "violations": violations,
    });
    serde_json::to_string(&verdict).context("writing the verdict")
}
