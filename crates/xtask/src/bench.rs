//! The bench commands: what the product needs on this machine, beside what the services below it need for the same.
//!
//! Each starts everything itself, release builds and throwaway services, and compares within one run only: this
//! machine is another one each time.
//!
//! Invariant: the last line is one JSON object, and a run whose counts are wrong is an error and no number.

mod connections;
mod dispatch;
mod history;
mod ingest;
mod mqtt;
mod rows;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cluster::{Settings, Shape, binary};
use crate::repo;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// A list file of a million names to durable tasks on PostgreSQL, beside COPY of the same rows.
    Ingest(ingest::IngestArgs),
    /// Memory for each connected device, plain and with TLS, spread over several gateways.
    Connections(connections::ConnectionsArgs),
    /// Pushes a second without a limit, by the number of dispatchers, beside Mosquitto's fan-out to the same clients;
    /// and what a push costs the database when a million and ten million tasks are open.
    Dispatch(dispatch::DispatchArgs),
    /// What a server's history costs: the same jobs without one and with one, in turn.
    History(history::HistoryArgs),
}

/// What all of them take.
#[derive(Debug, Args)]
struct Common {
    /// This binary, instead of a release build made now.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Draw from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the JSON alone.
    #[arg(long)]
    json: bool,
}

impl Common {
    /// A fresh folder for the run, and how to start the product in it.
    fn settings(&self, root: &Path, name: &str, shape: Shape) -> Result<Settings> {
        let folder = root.join("target/bench").join(name);
        crate::cluster::clear(&folder)?;
        Ok(Settings {
            folder,
            binary: binary(root, self.binary.clone())?,
            shape,
            options: ["--api-quota", "off", "--maximum-per-minute-ceiling", "off"]
                .map(str::to_owned)
                .to_vec(),
            plant: None,
            outlives_us: false,
        })
    }

    /// Says what is going on, on standard error.
    fn say(&self, text: &str) {
        if !self.json {
            eprintln!("── {text}");
        }
    }
}

/// Runs a command. True if its numbers are right.
pub(crate) fn run_command(command: BenchCommand) -> Result<bool> {
    let root = repo::root()?;
    let line = match command {
        BenchCommand::Ingest(args) => ingest::run(&root, &args)?,
        BenchCommand::Connections(args) => connections::run(&root, &args)?,
        BenchCommand::Dispatch(args) => dispatch::run(&root, &args)?,
        BenchCommand::History(args) => history::run(&root, &args)?,
    };
    println!("{line}");
    Ok(true)
}

/// The middle one, the lower of two; 0 of none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// To the thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_number_that_was_there() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
