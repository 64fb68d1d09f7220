//! `otaria fleet`: simulated devices against any server.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::bench::{self, BenchArgs};
use super::report::Report;
use super::{Events, Fleet, Kit, Mode, Plan, count, names, sum};
use crate::cli::output;
use crate::process;
use crate::stopwatch::{Stopwatch, fresh_seed};

/// Quiet time after which an idle fleet ends.
const IDLE: Duration = Duration::from_secs(10);

/// How long the connections may take to come about before the fleet goes on with those it has.
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: Option<FleetCommand>,
    #[command(flatten)]
    run: Option<RunArgs>,
}

const EXAMPLES: &str = "\
Examples:
  otaria device register --product a1B2c3D4e5F --count 500 --prefix sim- --out sim.csv
  otaria fleet --names-file sim.csv --product-key a1B2c3D4e5F
  otaria fleet bench --devices 15000 --jobs 10";

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Measure a server of this machine: memory for each device, pushes a second.
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The devices: `name,secret` a line, as `otaria device register --out` writes them. A third word says how one
    /// behaves: `good`, `failing`, `flaky` (fails once), `silent` or `stalling` (begins and never ends).
    #[arg(long, value_name = "CSV", required = true)]
    names_file: PathBuf,
    /// The product of the devices.
    #[arg(long, value_name = "KEY", required = true)]
    product_key: String,
    /// The server's MQTT address; several, with commas: devices begin spread over them, and go to the next
    /// when one fails them.
    #[arg(
        long,
        env = "OTARIA_MQTT",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:1883",
        value_delimiter = ','
    )]
    mqtt: Vec<String>,
    /// Certificates to trust: speak TLS.
    #[arg(long, env = "OTARIA_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Connect only the first so many devices of the file.
    #[arg(long, value_name = "K")]
    connections: Option<usize>,
    /// New connections a second.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    connect_rate: u32,
    /// How much of a package to download.
    #[arg(long, value_enum, default_value_t = Mode::Full)]
    download: Mode,
    /// Let all devices speak as one kit does [default: all three in equal shares].
    #[arg(long, value_enum)]
    kit: Option<Kit>,
    /// Subscribe to what is for the devices, for a broker that is not Otaria's own.
    #[arg(long)]
    subscribe: bool,
    /// Begin each update after a random time of at most so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    work_ms: u64,
    /// The version that the devices have at first.
    #[arg(long, value_name = "VERSION", default_value = "1.0.0")]
    firmware_version: String,
    /// How long to stay: `forever` (until Ctrl-C), a number of seconds, or `until-idle`: until nothing was
    /// pushed or updated for 10 seconds.
    #[arg(long, default_value = "forever")]
    stay: Stay,
    /// Watch the memory of this server process on the same machine.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Write every notice to this file: device, Unix milliseconds, version, number of the notice.
    #[arg(long, value_name = "CSV")]
    record: Option<PathBuf>,
    /// Write down in this file what happens, as it happens: Unix microseconds, device, event (`online`,
    /// `offline`, `notice`, `progress`, `inform`), version or step, number of the notice.
    #[arg(long, value_name = "CSV")]
    events: Option<PathBuf>,
    /// Write down the same in this file as JSON, as `otaria check-history` reads it.
    #[arg(long, value_name = "NDJSON")]
    history: Option<PathBuf>,
    /// Start chance from this number.
    #[arg(long)]
    seed: Option<u64>,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// How long a fleet stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Forever,
    UntilIdle,
    Seconds(u64),
}

impl FromStr for Stay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forever" => Ok(Self::Forever),
            "until-idle" => Ok(Self::UntilIdle),
            _ => {
                let seconds = text.trim_end_matches('s').parse();
                seconds.map(Self::Seconds).map_err(|_| "neither seconds, `until-idle` nor `forever`".into())
            }
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: FleetArgs) -> anyhow::Result<()> {
    match (args.command, args.run) {
        (Some(FleetCommand::Bench(bench)), _) => bench::run(bench).await,
        (None, Some(run)) => stay(run).await,
        // The parser demands one of them.
        (None, None) => Ok(()),
    }
}

async fn stay(args: RunArgs) -> anyhow::Result<()> {
    let devices = names::read(&args.names_file, args.connections)?;
    let total = devices.len();
    let memory = || args.server_pid.and_then(process::resident_kib);
    if args.server_pid.is_some() {
        memory().context("the memory of the process of --server-pid cannot be read")?;
    }
    let idle_kib = memory();
    let events = Events::create(args.events.as_deref(), args.history.as_deref())?;
    let fleet = Fleet::start(
        Plan {
            product_key: args.product_key,
            mqtt: args.mqtt,
            tls_ca: args.tls_ca,
            connect_rate: args.connect_rate,
            download: args.download,
            kit: args.kit,
            subscribe: args.subscribe,
            work_ms: args.work_ms,
            version: args.firmware_version,
            seed: args.seed.unwrap_or_else(fresh_seed),
            events,
        },
        devices,
    )?;

    let line = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    line.enable_steady_tick(Duration::from_millis(200));
    let recorder = Arc::clone(fleet.recorder());
    let keeper = tokio::spawn(async move { recorder.keep_events().await });
    let mut growth_kib = None;
    tokio::select! {
        connected = fleet.connected(CONNECT_PATIENCE, |_| line.set_message(live(&fleet))) => {
            if connected < total {
                let message = format!("{} of {total} devices did not connect", total - connected);
                line.suspend(|| eprintln!("{message}"));
            }
            // What was needed for the logins only is given back in a moment.
            tokio::time::sleep(Duration::from_secs(1)).await;
            growth_kib = memory().zip(idle_kib).map(|(now, before)| grown(before, now));
            tokio::select! {
                () = leave(&fleet, args.stay, &line) => {}
                () = process::interrupted() => {}
            }
        }
        () = process::interrupted() => {}
    }
    line.finish_and_clear();
    keeper.abort();
    fleet.recorder().flush_events();

    for trouble in fleet.recorder().troubles() {
        eprintln!("{trouble}");
    }
    if let Some(path) = args.record {
        fleet.recorder().write_csv(std::io::BufWriter::new(std::fs::File::create(path)?))?;
    }
    let report = Report::new(fleet.recorder(), growth_kib);
    if args.json { output::line(&serde_json::to_string(&report)?) } else { output::line(&report.to_string()) }
}

/// What memory grew by, in KiB; nothing if it shrank.
pub(super) fn grown(before_kib: u64, now_kib: u64) -> f64 {
    count(usize::try_from(now_kib.saturating_sub(before_kib)).unwrap_or(usize::MAX))
}

/// Returns when it is time to go.
async fn leave(fleet: &Fleet, stay: Stay, line: &ProgressBar) {
    let totals = &fleet.recorder().totals;
    let since = Stopwatch::start();
    let mut quiet = Stopwatch::start();
    let mut before = 0;
    loop {
        line.set_message(live(fleet));
        let moved = sum(&totals.notices) + sum(&totals.updates);
        if moved != before {
            before = moved;
            quiet = Stopwatch::start();
        }
        let over = match stay {
            Stay::Forever => false,
            Stay::UntilIdle => moved > 0 && quiet.elapsed() >= IDLE,
            Stay::Seconds(seconds) => since.elapsed() >= Duration::from_secs(seconds),
        };
        if over {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn live(fleet: &Fleet) -> String {
    let totals = &fleet.recorder().totals;
    let number = |of| HumanCount(sum(of));
    format!(
        "{} online · {} notices · {} updated · {} lost",
        number(&totals.online),
        number(&totals.notices),
        number(&totals.updates),
        number(&totals.lost)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_is_a_word_or_seconds() {
        assert_eq!("forever".parse(), Ok(Stay::Forever));
        assert_eq!("until-idle".parse(), Ok(Stay::UntilIdle));
        assert_eq!("30".parse(), Ok(Stay::Seconds(30)));
        assert_eq!("30s".parse(), Ok(Stay::Seconds(30)));
        assert!("soon".parse::<Stay>().is_err());
    }
}
