//! The deploy command: what lies below `deploy/` for Kubernetes and for a container, as far as it can be
//! checked without either.
//!
//! Renders the overlays, holds each object against the schema of its kind and against the others, lets the
//! program read each config, lets Prometheus read alerts and queries, starts the server in the root folder of
//! the image, and updates a device with the processes of the large overlay, on services of its own. The checks
//! themselves are `deploy/check.py`. Needs the rights to mount and to change the root.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::program;
use crate::services::{self, Kind, Services};
use crate::{repo, suite};

/// Runs all checks. True if none failed.
pub(crate) fn run() -> Result<bool> {
    let root = repo::root()?;
    let scripts = root.join("crates/xtask/deploy");
    let folder = root.join("target/deploy");
    let environment = folder.join("venv");
    let python = suite::python(&environment, &scripts.join("requirements.txt"))?;
    let node = folder.join("node");
    suite::node_modules(&node, &scripts.join("package.json"))?;
    let promtool = promtool()?;
    let server = suite::server(&root)?;
    let mut running = Services::start(&root, &[Kind::Postgres, Kind::Redis])?;
    running.start_moto(&root)?;

    let mut checks = Command::new(python);
    checks
        .arg(scripts.join("check.py"))
        .env("OTARIA_BIN", server)
        .env("OTARIA_WORK", folder.join("work"))
        .env("OTARIA_NODE", &node)
        .env("OTARIA_TOOLS", environment.join("bin"))
        .env("OTARIA_PROMTOOL", promtool)
        .env("OTARIA_TEST_POSTGRES", running.postgres()?.url())
        .env("OTARIA_TEST_REDIS", running.redis()?.url())
        .env("OTARIA_TEST_S3", running.moto()?.url());
    let counts = suite::counted("check.py", &mut checks)?;
    drop(running);
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(counts.failed == 0)
}

/// Reads rules and queries as Prometheus does; installed now if it is missing.
fn promtool() -> Result<PathBuf> {
    if let Some(promtool) = program("promtool") {
        return Ok(promtool);
    }
    services::install(&["prometheus"])?;
    program("promtool").context("the package prometheus brought no promtool")
}
