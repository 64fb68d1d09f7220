//! `otaria demo`: a whole rollout here and now, with a server and devices of its own, and a verdict.
//!
//! The server is a child process that is used through its public faces only. The verdict rests on what the
//! devices wrote down themselves; what the server says is only compared with it.

mod numbers;
mod rollout;
mod setup;
mod stage;
mod verdict;
mod world;

use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::child::Server;
use crate::cli::{Usage, output};
use crate::fleet::Fleet;
use crate::process;
use crate::stopwatch::fresh_seed;

use self::numbers::Numbers;
use self::stage::Stage;
use self::verdict::Verdict;
use self::world::World;

/// Above this the server's own ceiling has to be lifted.
const CEILING: u32 = 10_000;

const EXAMPLES: &str = "\
Examples:
  otaria demo
  otaria demo --devices 1500 --maximum-per-minute 600
  otaria demo --fail-percent 20 --silent-percent 5
  otaria demo --devices 1000000 --online 2000 --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Devices in the list file
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    devices: u32,
    /// How many of them are connected [default: all]
    #[arg(long, value_name = "K", value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    online: Option<u32>,
    /// The pace: notices in any 60 seconds
    #[arg(long, value_name = "M", default_value_t = 10_000, value_parser = RangedU64ValueParser::<u32>::new().range(10..=100_000_000))]
    maximum_per_minute: u32,
    /// Devices that report a failure at every attempt, in percent of all
    #[arg(long, value_name = "P", default_value_t = 0, value_parser = RangedU64ValueParser::<u32>::new().range(0..=100))]
    fail_percent: u32,
    /// Devices that take the notice and never answer, in percent of all
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = RangedU64ValueParser::<u32>::new().range(0..=100))]
    silent_percent: u32,
    /// Repeat a run: it drew its devices and its package from this number
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
    /// Write every notice to this file: device, Unix milliseconds, version, number of the notice
    #[arg(long, value_name = "CSV")]
    record: Option<std::path::PathBuf>,
    /// Leave the server's directory and log where they are
    #[arg(long)]
    keep: bool,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. Failure where anything does not add up.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let online = args.online.unwrap_or(args.devices);
    if online > args.devices {
        return Err(Usage(format!("--online {online} is more than --devices {}", args.devices)).into());
    }
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let world = World::draw(seed, args.devices, online, args.fail_percent, args.silent_percent)
        .ok_or_else(|| Usage("fewer devices are online than shall fail or be silent".to_owned()))?;
    let stage = Stage::new();
    stage.say(&format!("seed {seed}"));

    let mut options = vec!["--api-quota", "off"];
    if args.maximum_per_minute > CEILING {
        options.extend(["--maximum-per-minute-ceiling", "off"]);
    }
    let mut server = Server::start(&options).await?;
    let played = tokio::select! {
        played = Box::pin(play(&args, &world, &server, &stage)) => Some(played),
        () = process::interrupted() => None,
    };
    let (mut numbers, mut verdict) = match played {
        Some(Ok(played)) => played,
        Some(Err(error)) => return Err(server.blame(&error)),
        None => {
            server.discard().await;
            anyhow::bail!("interrupted")
        }
    };
    if let Err(error) = server.stop().await {
        verdict.odd(format!("{error:#}"));
    }
    numbers.ok = verdict.is_fine();
    if !numbers.ok || args.keep {
        stage.say(&format!("the server's directory is kept: {}", server.keep().display()));
    }

    if args.json {
        verdict.show();
        output::line(&serde_json::to_string(&numbers)?)?;
    } else {
        output::line(&format!("\n{numbers}"))?;
        verdict.show();
    }
    Ok(if numbers.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(
    args: &DemoArgs,
    world: &World,
    server: &Server,
    stage: &Stage,
) -> anyhow::Result<(Numbers, Verdict)> {
    let remote = server.connect().await?;
    let product_key = setup::product(&remote).await?;
    let cast = setup::register(&remote, &product_key, world, stage).await?;
    let firmware_id = setup::firmware(&remote, &product_key, world, stage).await?;
    setup::verify(&remote, server, &product_key, &firmware_id, &cast.verify, world.seed, stage).await?;

    let plan = setup::plan(server, &product_key, world.seed);
    let fleet = Fleet::start(plan, cast.online)?;
    setup::connect(&fleet, stage).await?;
    let list_url = setup::list(&remote, world, stage).await?;

    let order =
        rollout::Order { product_key, firmware_id, list_url, maximum_per_minute: args.maximum_per_minute };
    let story = rollout::run(&remote, &fleet, world, order, stage).await?;
    let by_name = rollout::tasks_by_name(&remote, &story.job.job_id).await?;

    let verdict = Verdict::of(world, &fleet, &story, &by_name, args.maximum_per_minute);
    if let Some(path) = &args.record {
        fleet.recorder().write_csv(std::io::BufWriter::new(std::fs::File::create(path)?))?;
    }
    let peak_kib = process::peak_resident_kib(server.ready.pid);
    let numbers = Numbers::of(world, &fleet, &story, args.maximum_per_minute, peak_kib);
    Ok((numbers, verdict))
}
