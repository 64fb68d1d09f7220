//! The project's own commands, run as `cargo xtask …`: `tidy` checks the rules of the house that no
//! compiler checks, `test` runs everything that a change must pass, `conformance` runs the official SDKs
//! against a server. It never knows what Otaria does: it reads manifests and sources, and depends on none of
//! the other crates.

mod conformance;
mod repo;
mod source;
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
    /// Needs a Rust toolchain and a C compiler, nothing else. The last line is `N passed, N failed`.
    Test {
        /// Also do the longer runs: more seeds, more kills (tests see OTARIA_TEST_FULL=1).
        #[arg(long)]
        full: bool,
    },
    /// Run the official SDKs, unmodified, against a server that is built here.
    ///
    /// Needs python3 with pip and, for the suite `node`, npm; installs the SDKs under target/conformance.
    /// The last line is `N passed, N failed`.
    Conformance {
        /// Only these suites.
        suites: Vec<conformance::Suite>,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Tidy => tidy::run(),
        Command::Test { full } => test::run(full),
        Command::Conformance { suites } => conformance::run(&suites),
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
