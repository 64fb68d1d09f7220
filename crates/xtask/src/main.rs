//! The project's own commands, run as `cargo xtask …`: `tidy` checks the rules of the house that no
//! compiler checks, `test` runs everything that a change must pass. It never knows what Otaria does: it
//! reads manifests and sources, and depends on none of the other crates.

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
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Tidy => tidy::run(),
        Command::Test { full } => test::run(full),
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
