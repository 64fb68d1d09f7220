//! The command line: what there is to say, and the commands of operators, which speak gRPC to a server.

mod access;
mod broker_config;
mod check_history;
mod device;
mod firmware;
mod group;
mod job;
mod job_create;
mod job_orders;
mod link;
mod migrate;
mod mosquitto;
pub(crate) mod output;
mod product;
mod task;
mod task_orders;
mod watch;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{demo, fleet, serve};
use link::LinkArgs;

/// An open rollout scheduler for over-the-air updates.
#[derive(Debug, Parser)]
#[command(name = "otaria", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
First steps:
  otaria demo                      a whole rollout to 2,000 simulated devices, here and now
  otaria serve                     the server; its access key is in ./otaria-data/access-key
  otaria product create my_sensor  and so on: `device register`, `firmware create`, `job create`

Commands that need a server find it and its access key by --endpoint and --data-dir, or by
OTARIA_ENDPOINT, OTARIA_ACCESS_KEY_ID and OTARIA_ACCESS_KEY_SECRET.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<serve::ServeArgs>),
    /// Bring the schema of a PostgreSQL database up to date
    Migrate(migrate::MigrateArgs),
    /// Prove it: a rollout end to end, with a server and devices of its own
    Demo(demo::DemoArgs),
    /// Connect simulated devices to a server
    Fleet(fleet::FleetArgs),
    /// Write the configuration of an MQTT broker that is to hold the devices
    BrokerConfig {
        #[command(subcommand)]
        of: broker_config::BrokerConfigCommand,
    },
    /// Judge what servers and devices wrote down
    CheckHistory(check_history::CheckHistoryArgs),
    /// Products: kinds of devices
    Product(Operator<product::ProductCommand>),
    /// Devices of a product
    Device(Operator<device::DeviceCommand>),
    /// Groups of devices
    Group(Operator<group::GroupCommand>),
    /// Update packages
    Firmware(Operator<firmware::FirmwareCommand>),
    /// Jobs: the rollout of a package to a set of devices
    Job(Operator<job::JobCommand>),
    /// Tasks: one device in one job
    Task(Operator<task::TaskCommand>),
    /// Access keys
    Key(Operator<access::KeyCommand>),
    /// Accounts, which own everything else
    Account(Operator<access::AccountCommand>),
    /// Print completions for a shell
    #[command(after_help = "Examples:\n  otaria completions bash > /etc/bash_completion.d/otaria")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A group of commands that need a server.
#[derive(Debug, Args)]
pub(crate) struct Operator<C: Subcommand> {
    #[command(flatten)]
    link: LinkArgs,
    #[command(subcommand)]
    command: C,
}

/// Arguments that do not go together: the exit code is that of a wrong command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Cli {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        // Each command is a large future; on the heap it does not matter which is the largest.
        match self.command {
            Command::Serve(args) => Box::pin(serve::run(*args)).await?,
            Command::Migrate(args) => Box::pin(migrate::run(&args)).await?,
            Command::Demo(args) => return Box::pin(demo::run(args)).await,
            Command::Fleet(args) => Box::pin(fleet::run(args)).await?,
            Command::BrokerConfig { of } => broker_config::run(&of)?,
            Command::CheckHistory(args) => return check_history::run(&args),
            Command::Product(of) => Box::pin(product::run(of.command, &of.link)).await?,
            Command::Device(of) => Box::pin(device::run(of.command, &of.link)).await?,
            Command::Group(of) => Box::pin(group::run(of.command, &of.link)).await?,
            Command::Firmware(of) => Box::pin(firmware::run(of.command, &of.link)).await?,
            Command::Job(of) => Box::pin(job::run(of.command, &of.link)).await?,
            Command::Task(of) => Box::pin(task::run(of.command, &of.link)).await?,
            Command::Key(of) => Box::pin(access::run_key(of.command, &of.link)).await?,
            Command::Account(of) => Box::pin(access::run_account(of.command, &of.link)).await?,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "otaria", &mut script);
                output::line(String::from_utf8_lossy(&script).trim_end())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn the_lines_of_the_help_are_understood() {
        for line in [
            "otaria demo --devices 35 --maximum-per-minute 10 --json",
            "otaria serve --grpc 127.0.0.1:0 --json",
            "otaria serve --role api,gateway --store postgres://h/d --redis redis://h --master-key-file k",
            "otaria migrate --store postgres://h/d",
            "otaria fleet --names-file a.csv --product-key k --stay until-idle",
            "otaria fleet bench --devices 10 --jobs 1",
            "otaria broker-config mosquitto --devices a.csv --product-key k --broker mqtt://u:p@h --out d",
            "otaria check-history history devices.ndjson --json --arrival-slack-ms 0",
            "otaria check-history history devices.ndjson --keep-job 12 --out evidence",
            "otaria product create my_sensor --endpoint http://h:1",
            "otaria product --json list",
            "otaria device register --product k --count 5 --prefix sim- --out a.csv",
            "otaria firmware create --file a.bin --product k --version 2.0.0",
            "otaria job create --firmware f d1 d2 --maximum-per-minute 600",
            "otaria job create --firmware f --list-file l.txt --retry-interval 0 --retry-count 1",
            "otaria job verify --firmware f d1",
            "otaria job cancel j",
            "otaria task list j --status queued",
            "otaria key create --role viewer",
            "otaria group create hall-3 --within g",
            "otaria group add g --product k d1 d2",
            "otaria device disable --product k d1",
            "otaria product delete k",
            "otaria firmware delete f",
            "otaria job create --firmware f --group g",
            "otaria completions fish",
        ] {
            assert!(parses(line), "{line}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "otaria fleet",
            "otaria fleet --product-key k",
            "otaria job create --firmware f",
            "otaria job create --firmware f --all d1",
            "otaria job create --firmware f --all --list-file l.txt",
            "otaria job create --firmware f --all --retry-count 1",
            "otaria device register --product k",
            "otaria device register --product k --count 5",
            "otaria firmware create --product k --version 2.0.0",
            "otaria group add g --product k",
            "otaria check-history history",
            "otaria check-history history devices.ndjson --keep-job 12",
        ] {
            assert!(!parses(line), "{line}");
        }
    }
}
