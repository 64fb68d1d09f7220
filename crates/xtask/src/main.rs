//! The project's own commands, run as `cargo xtask …`: `tidy` checks the rules of the house that no
//! compiler checks, `test` runs everything that a change must pass, `conformance` runs the official SDKs
//! against a server, `cluster` runs and hurts many processes at once, `bench` measures. It never knows what
//! Otaria is made of: it uses the product by its command line and its wires, and depends on none of the other
//! crates.

mod bench;
mod clock;
mod cluster;
mod conformance;
mod deploy;
mod process;
mod repo;
mod services;
mod source;
mod suite;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands for people who work on Otaria.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules of the house: crate arrows, where clock and chance are read, layout, words.
    ///
    /// Every error is printed with its place, the rule and what to do about it, and makes the command
    /// fail. Warnings are printed and do not.
    Tidy,
    /// Run everything a change must pass: `tidy`, then all tests of the workspace.
    ///
    /// Needs a Rust toolchain, a C compiler and python3. Starts a PostgreSQL, a Redis, a Mosquitto and an
    /// S3-compatible store of its own for the tests that need them; they are installed with apt-get, the store
    /// from PyPI, if they are missing. The last line is `N passed, N failed`.
    Test {
        /// Also do the longer runs: more seeds, more kills (tests see OTARIA_TEST_FULL=1).
        #[arg(long)]
        full: bool,
        /// Leave out the tests that need one of these; install and start nothing.
        #[arg(long)]
        no_services: bool,
    },
    /// Measure the product on this machine, beside the services below it.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Start, stop, show or hurt a cluster: several processes on PostgreSQL and Redis of their own.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Run the official SDKs, unmodified, against a server that is built here.
    ///
    /// Needs python3 with pip and, for the suites `node` and `docs`, npm; installs the SDKs under
    /// target/conformance. The last line is `N passed, N failed`.
    Conformance {
        /// Only these suites.
        suites: Vec<conformance::Suite>,
    },
    /// Check what lies below deploy/ for Kubernetes and for a container.
    ///
    /// Needs python3 with pip, npm, and the rights to mount; installs its tools under target/deploy, and with
    /// apt-get Prometheus, PostgreSQL and Redis if they are missing. The last line is `N passed, N failed`.
    Deploy,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Tidy => tidy::run(),
        Command::Test { full, no_services } => test::run(full, !no_services),
        Command::Bench(command) => bench::run_command(command),
        Command::Cluster(command) => cluster::run_command(command),
        Command::Conformance { suites } => conformance::run(&suites),
        Command::Deploy => deploy::run(),
    };

    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }
}
