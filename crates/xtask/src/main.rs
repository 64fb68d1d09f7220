//! The project's own commands, run as `cargo xtask …`: `tidy` checks the rules of the house that no
//! compiler checks, `test` runs everything that a change must pass, `conformance` runs the official SDKs
//! against a server, `cluster` runs and hurts many processes at once, `chaos` does so in every way at drawn
//! moments, `mutants` makes mistakes that a test has to notice, `fuzz` throws bytes at whatever reads them, `bench`
//! measures. It never knows what Otaria is made of: it uses the product by its command line and its wires, and
//! depends on none of the other crates.

mod bench;
mod chaos;
mod clock;
mod cluster;
mod conformance;
mod deploy;
mod fuzz;
mod mutants;
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
        /// Also do the longer runs, about an hour and a half: more kills (tests see OTARIA_TEST_FULL=1), 10,000
        /// simulated worlds, three minutes of `fuzz` for each reader, a short `chaos`, and `mutants`.
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
    /// Hurt a cluster and a single server in every way for some minutes, and judge what became of their work.
    ///
    /// What happens is drawn from a seed and printed first. The last line is one JSON object.
    Chaos(chaos::ChaosArgs),
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
    /// Throw bytes at everything that reads what strangers send, guided by the code they reach.
    ///
    /// Needs a C++ compiler, which is installed with apt-get if there is none. Fails at a finding, and says which
    /// input it is and how to run it again.
    Fuzz(fuzz::FuzzArgs),
    /// Make small mistakes, one at a time, in the code that keeps the promises; a test has to notice each.
    ///
    /// The state machines, the pace, fair shares, draws, the gateway's door, leases and ownership, each with its own
    /// tests. About 1,000 mistakes, two or three seconds for each: half an hour on two quiet cores. Installs
    /// cargo-mutants under target/mutants. What no test can notice is excepted, with the reason why, in
    /// .cargo/mutants.toml.
    Mutants {
        /// Only files whose paths end like this: `pace.rs`, `task/state.rs`.
        #[arg(long = "file")]
        files: Vec<String>,
        /// Print the counts as JSON on the last line.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Tidy => tidy::run(),
        Command::Test { full, no_services } => test::run(full, !no_services),
        Command::Bench(command) => bench::run_command(command),
        Command::Cluster(command) => cluster::run_command(command),
        Command::Chaos(args) => chaos::run_command(&args),
        Command::Conformance { suites } => conformance::run(&suites),
        Command::Deploy => deploy::run(),
        Command::Mutants { files, json } => mutants::run(&files, json),
        Command::Fuzz(args) => fuzz::run_command(&args),
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
