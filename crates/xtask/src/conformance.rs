//! The conformance command: suites of the official SDKs, unmodified, against a server built here.
//!
//! Installs the SDKs at the versions that `conformance/requirements.txt` and `package.json` name. The suites
//! start their servers themselves, since some of them kill and restart one. Nothing outside `target/` is touched.
//!
//! Invariant: the last line is `N passed, N failed`, summed over all suites; a suite that ends without its
//! count has failed.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::repo;
use crate::suite::{self, Counts};

/// A suite of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The device side, with the Link SDK for Python.
    Devices,
    /// The HTTP face, with the cloud SDKs for Python, new and old.
    Cloud,
    /// The HTTP face, with the cloud SDKs for Node.js, new and old.
    Node,
    /// The samples in the documentation of the HTTP face and of the device gateway.
    Docs,
}

impl Suite {
    const ALL: [Self; 4] = [Self::Devices, Self::Cloud, Self::Node, Self::Docs];

    const fn script(self) -> &'static str {
        match self {
            Self::Devices => "devices.py",
            Self::Cloud => "cloud.py",
            Self::Node => "node.py",
            Self::Docs => "docs.py",
        }
    }
}

/// Runs these suites, or all. True if no check failed.
pub(crate) fn run(suites: &[Suite]) -> Result<bool> {
    let root = repo::root()?;
    let scripts = root.join("crates/xtask/conformance");
    let folder = root.join("target/conformance");
    let suites = if suites.is_empty() { &Suite::ALL } else { suites };
    let python = suite::python(&folder.join("venv"), &scripts.join("requirements.txt"))?;
    let node = folder.join("node");
    if suites.contains(&Suite::Node) || suites.contains(&Suite::Docs) {
        suite::node_modules(&node, &scripts.join("package.json"))?;
    }
    let server = suite::server(&root)?;

    let mut counts = Counts::default();
    for suite in suites {
        println!("── {}", suite.script());
        let mut command = Command::new(&python);
        command
            .arg(scripts.join(suite.script()))
            .env("OTARIA_BIN", &server)
            .env("OTARIA_WORK", folder.join("work"))
            .env("OTARIA_NODE", &node);
        counts += suite::counted(suite.script(), &mut command)?;
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(counts.failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_script() {
        let scripts = repo::root().unwrap().join("crates/xtask/conformance");
        for suite in Suite::ALL {
            assert!(scripts.join(suite.script()).is_file(), "{}", suite.script());
        }
    }
}
