//! Load tests of Otaria's HTTP face with goose: signed calls in a realistic mix while simulated devices are
//! updated, or downloads of one package. Knows the wire only: none of Otaria's crates, so it cannot agree with
//! the server by sharing its mistakes. Server and devices are the product's binary, run as anybody runs it.

mod local;
mod mix;
mod package;
mod sign;
mod things;
mod verdict;

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use goose::config::GooseConfiguration;
use goose::prelude::*;
use gumdrop::Options;

use crate::local::{Fleet, Server};
use crate::sign::Key;
use crate::things::Things;
use crate::verdict::Limits;

/// Load on the HTTP face; README.md in the folder above tells more.
#[derive(Parser, Debug)]
#[command(max_term_width = 100)]
struct Args {
    /// See whether everything works at all: the same as `--own-server --profile smoke`.
    #[arg(long)]
    smoke: bool,
    /// Start a server, and devices, for this test alone.
    #[arg(long)]
    own_server: bool,
    /// How many users come and go when.
    #[arg(long, value_enum, default_value_t = Profile::Steady)]
    profile: Profile,
    /// HTTP addresses of the servers: users spread over them.
    #[arg(
        long,
        env = "OTARIA_HTTP",
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:8080",
        value_delimiter = ','
    )]
    http: Vec<String>,
    /// MQTT addresses of the servers: connect simulated devices to them.
    #[arg(long, env = "OTARIA_MQTT", value_name = "HOST:PORT,…")]
    mqtt: Option<String>,
    /// Devices to register; half of them, and 200 at most, get the paced job.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    devices: u32,
    /// Download this package instead of calling the API: the path of a notice's URL, such as /d/AQ….
    #[arg(long, env = "OTARIA_DOWNLOAD_PATH", value_name = "PATH")]
    download: Option<String>,
    /// Fail if more calls fail.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    max_error_percent: f64,
    /// Fail if the p95 of any call is longer [default: by the profile].
    #[arg(long, value_name = "MS")]
    max_p95_ms: Option<usize>,
    #[arg(long, env = "OTARIA_ACCESS_KEY_ID", hide = true)]
    access_key_id: Option<String>,
    #[arg(long, env = "OTARIA_ACCESS_KEY_SECRET", hide = true, hide_env_values = true)]
    access_key_secret: Option<String>,
    /// Flags of goose, such as `--report-file report.html` or `--test-plan "10,5s;10,1m;0,1s"`.
    #[arg(last = true)]
    goose: Vec<String>,
}

/// How a test goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// Ten seconds of little load.
    Smoke,
    /// Five minutes of 50 users.
    Steady,
    /// From 20 users to 300 within 5 seconds, a minute, and back.
    Spike,
    /// Two hours of 50 users.
    Soak,
}

impl Profile {
    /// Users and times, as goose reads them.
    const fn plan(self) -> &'static str {
        match self {
            Self::Smoke => "8,1s;8,10s;0,0s",
            Self::Steady => "50,10s;50,5m;0,1s",
            Self::Spike => "20,5s;20,30s;300,5s;300,1m;20,5s;20,30s;0,1s",
            Self::Soak => "50,1m;50,2h;0,1s",
        }
    }

    const fn p95_ms(self) -> usize {
        match self {
            // Any machine, a debug build too.
            Self::Smoke => 2_500,
            Self::Steady | Self::Soak => 250,
            Self::Spike => 1_000,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(wrong) if wrong.is_empty() => {
            println!("good enough");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            wrong.iter().for_each(|what| println!("NOT GOOD ENOUGH: {what}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a test and returns what was not good enough.
async fn run(mut args: Args) -> Result<Vec<String>> {
    if args.smoke {
        (args.own_server, args.profile) = (true, Profile::Smoke);
    }
    let limits = Limits {
        error_percent: args.max_error_percent,
        p95_ms: args.max_p95_ms.unwrap_or(args.profile.p95_ms()),
    };
    if let Some(path) = args.download.clone() {
        let metrics = attack(&args, package::scenario(path)?).await?;
        return Ok(verdict::judge_calls(&verdict::calls(&metrics), metrics.duration, limits));
    }

    let folder = tempfile::tempdir()?;
    let (key, _server) = if args.own_server {
        let key = Key { id: "loadtest-key".to_owned(), secret: "loadtest-secret-0123456789".to_owned() };
        let server = Server::start(&local::binary()?, folder.path(), &key)?;
        (args.http, args.mqtt) = (vec![server.http.clone()], Some(server.mqtt.clone()));
        (key, Some(server))
    } else {
        (given_key(&args)?, None)
    };
    let devices = usize::try_from(args.devices)?;
    let things = Things::make(args.http.clone(), key, devices).await?;
    let fleet = match &args.mqtt {
        Some(mqtt) => Some(Fleet::start(&local::binary()?, folder.path(), &things, mqtt)?),
        None => None,
    };
    things.begin_paced_job().await?;

    let metrics = attack(&args, mix::scenario(&things)?).await?;
    let mut wrong = verdict::judge_calls(&verdict::calls(&metrics), metrics.duration, limits);
    match fleet.map(Fleet::end).transpose()? {
        Some((report, notices)) => wrong.extend(verdict::judge_devices(&things, &report, &notices)),
        None => println!("devices      none connected: no --mqtt"),
    }
    Ok(wrong)
}

fn given_key(args: &Args) -> Result<Key> {
    let missing =
        "set OTARIA_ACCESS_KEY_ID and OTARIA_ACCESS_KEY_SECRET, or let it start a server: --own-server";
    let id = args.access_key_id.clone().context(missing)?;
    Ok(Key { id, secret: args.access_key_secret.clone().context(missing)? })
}

async fn attack(args: &Args, scenario: Scenario) -> Result<GooseMetrics> {
    let host = format!("http://{}", args.http.first().context("no host")?);
    // Its controllers would listen on every address of this machine; its metrics are printed in the end only.
    let mut flags = vec!["--no-telnet", "--no-websocket", "--host", &host];
    let planned = |flag: &String| {
        let plans = ["--test-plan", "-t", "--run-time", "--users", "-u", "--startup-time", "--iterations"];
        plans.iter().any(|plan| flag.split('=').next() == Some(plan))
    };
    if !args.goose.iter().any(planned) {
        flags.extend(["--test-plan", args.profile.plan()]);
    }
    if args.profile == Profile::Smoke {
        flags.extend(["--quiet", "--no-print-metrics"]);
    }
    flags.extend(args.goose.iter().map(String::as_str));
    let config = GooseConfiguration::parse_args_default(&flags)?;
    // Its short form does not say which flag it means.
    let told = |error: GooseError| anyhow!("{error:?}");
    let attack = GooseAttack::initialize_with_config(config).map_err(told)?.register_scenario(scenario);
    attack.execute().await.map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_plan_is_one_that_goose_reads() {
        for profile in Profile::value_variants() {
            let flags = ["--test-plan", profile.plan()];
            assert!(GooseConfiguration::parse_args_default(&flags).is_ok(), "{profile:?}");
        }
    }
}
