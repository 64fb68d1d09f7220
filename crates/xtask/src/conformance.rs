//! The conformance command: suites of the official SDKs, unmodified, against a server built here.
//!
//! Makes a Python environment under `target/` of its own and installs the SDKs into it, at the versions that
//! `conformance/requirements.txt` names. The suites start their servers themselves, since some of them kill
//! and restart one. Nothing outside `target/` is touched.
//!
//! Invariant: the last line is `N passed, N failed`, summed over all suites; a suite that ends without its
//! count has failed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::repo;

/// A suite of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The device side, with the Link SDK for Python.
    Devices,
    /// The HTTP face, with the cloud SDKs for Python, new and old.
    Cloud,
    /// The HTTP face, with the cloud SDKs for Node.js, new and old.
    Node,
}

impl Suite {
    const ALL: [Self; 3] = [Self::Devices, Self::Cloud, Self::Node];

    const fn script(self) -> &'static str {
        match self {
            Self::Devices => "devices.py",
            Self::Cloud => "cloud.py",
            Self::Node => "node.py",
        }
    }
}

/// Where the suites lie, and where their tools and data go.
struct Places {
    root: PathBuf,
    scripts: PathBuf,
    folder: PathBuf,
}

/// Runs these suites, or all. True if no check failed.
pub(crate) fn run(suites: &[Suite]) -> Result<bool> {
    let root = repo::root()?;
    let places = Places {
        scripts: root.join("crates/xtask/conformance"),
        folder: root.join("target/conformance"),
        root,
    };
    let suites = if suites.is_empty() { &Suite::ALL } else { suites };
    let python = python(&places)?;
    if suites.contains(&Suite::Node) {
        node_modules(&places)?;
    }
    succeed(repo::cargo(&places.root).args(["build", "--package", "otaria", "--locked"]))?;

    let (mut passed, mut failed) = (0, 0);
    for suite in suites {
        println!("── {}", suite.script());
        let counts = run_suite(&places, &python, *suite)?;
        passed += counts.0;
        failed += counts.1;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Runs one suite and returns how many of its checks passed and failed.
fn run_suite(places: &Places, python: &Path, suite: Suite) -> Result<(u64, u64)> {
    let mut child = Command::new(python)
        .arg(places.scripts.join(suite.script()))
        .env("OTARIA_BIN", places.root.join("target/debug/otaria"))
        .env("OTARIA_WORK", places.folder.join("work"))
        .env("OTARIA_NODE", places.folder.join("node"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", suite.script()))?;
    // Taken right after it was asked for above.
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut last = None;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        last = counts(&line);
        if last.is_none() {
            println!("{line}");
        }
    }
    let ended_well = child.wait()?.success();
    Ok(match last {
        Some((passed, failed)) if ended_well || failed > 0 => (passed, failed),
        _ => {
            println!("FAILED {} ended before its last check", suite.script());
            (last.map_or(0, |counts| counts.0), 1)
        }
    })
}

/// Reads `3 passed, 1 failed`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (passed, rest) = line.split_once(" passed, ")?;
    Some((passed.parse().ok()?, rest.strip_suffix(" failed")?.parse().ok()?))
}

/// The Python of an environment that has the SDKs; made anew when other versions are wanted.
fn python(places: &Places) -> Result<PathBuf> {
    let environment = places.folder.join("venv");
    let python = environment.join("bin/python");
    let wanted = places.scripts.join("requirements.txt");
    installed(&wanted, &environment.join("installed.txt"), || {
        println!("── installing the SDKs for Python");
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        succeed(Command::new(&python).args(pip).arg(&wanted))
    })?;
    Ok(python)
}

/// The SDKs for Node.js.
fn node_modules(places: &Places) -> Result<()> {
    let folder = places.folder.join("node");
    std::fs::create_dir_all(&folder)?;
    let wanted = places.scripts.join("package.json");
    installed(&wanted, &folder.join("installed.json"), || {
        println!("── installing the SDKs for Node.js");
        std::fs::copy(&wanted, folder.join("package.json"))?;
        let npm = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
        succeed(Command::new("npm").args(npm).current_dir(&folder))
    })
}

/// Installs what the file `wanted` names, unless `stamp` says that this was done.
fn installed(wanted: &Path, stamp: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = std::fs::read(wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    if std::fs::read(stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    install()?;
    Ok(std::fs::write(stamp, wanted)?)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_a_line_of_their_own() {
        assert_eq!(counts("12 passed, 3 failed"), Some((12, 3)));
        for other in ["ok     12 passed, 3 failed", "12 passed", "12 passed, 3 failed in all", ""] {
            assert_eq!(counts(other), None, "{other}");
        }
    }

    #[test]
    fn every_suite_has_a_script() {
        let scripts = repo::root().unwrap().join("crates/xtask/conformance");
        for suite in Suite::ALL {
            assert!(scripts.join(suite.script()).is_file(), "{}", suite.script());
        }
    }

    #[test]
    fn what_is_installed_is_installed_once_and_again_when_other_versions_are_wanted() {
        let folder = std::env::temp_dir().join(format!("xtask-installed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (wanted, stamp) = (folder.join("wanted"), folder.join("stamp"));
        let mut times = 0;
        for versions in ["a==1", "a==1", "a==2"] {
            std::fs::write(&wanted, versions).unwrap();
            installed(&wanted, &stamp, || {
                times += 1;
                Ok(())
            })
            .unwrap();
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(times, 2);
    }
}
