//! Otaria, an open rollout scheduler for over-the-air updates: one binary that is the server (`serve`), its
//! proof (`demo`, `fleet`) and its tool (`product`, `device`, `firmware`, `job`, `task`, `key`, `account`).
//!
//! The server is wired together here and nowhere else. All other commands know it only as anybody does, by
//! its public faces: gRPC, MQTT and HTTP.

mod child;
mod cli;
mod clock;
mod config;
mod demo;
mod fleet;
mod ids;
mod keyfile;
mod process;
mod remote;
mod serve;
mod stopwatch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(cli.run()));
    match ended {
        Ok(code) => code,
        // Whoever reads our output has seen enough, as `head` has.
        Err(error) if cli::output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("otaria: {error:#}");
            if error.is::<cli::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
