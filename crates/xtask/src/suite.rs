//! Suites of checks in Python: the tools that they need, installed below `target/`, and their counts.
//!
//! Never knows what a suite checks.
//!
//! Invariant: a suite that ends without its count, or badly, has failed, whatever it printed before.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::repo;

/// How many checks passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
    }
}

/// Runs one suite, shows what it says, and returns its counts.
pub(crate) fn counted(name: &str, suite: &mut Command) -> Result<Counts> {
    suite.env("PYTHONDONTWRITEBYTECODE", "1").stdout(Stdio::piped());
    let mut child = suite.spawn().with_context(|| format!("cannot run {name}"))?;
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
        Some(counts) if ended_well || counts.failed > 0 => counts,
        _ => {
            println!("FAILED {name} ended before its last check");
            Counts { passed: last.map_or(0, |counts| counts.passed), failed: 1 }
        }
    })
}

/// Reads `3 passed, 1 failed`.
fn counts(line: &str) -> Option<Counts> {
    let (passed, rest) = line.split_once(" passed, ")?;
    Some(Counts { passed: passed.parse().ok()?, failed: rest.strip_suffix(" failed")?.parse().ok()? })
}

/// The Python of an environment with the packages that the file `wanted` names.
pub(crate) fn python(environment: &Path, wanted: &Path) -> Result<PathBuf> {
    let python = environment.join("bin/python");
    installed(wanted, &environment.join("installed.txt"), || {
        println!("── installing what {} names", wanted.display());
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        succeed(Command::new(&python).args(pip).arg(wanted))
    })?;
    Ok(python)
}

/// A folder with the `node_modules` that the file `wanted` names.
pub(crate) fn node_modules(folder: &Path, wanted: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    installed(wanted, &folder.join("installed.json"), || {
        println!("── installing what {} names", wanted.display());
        std::fs::copy(wanted, folder.join("package.json"))?;
        let npm = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
        succeed(Command::new("npm").args(npm).current_dir(folder))
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

/// The server under test: the one that `OTARIA_BIN` names, or else one that is built now.
pub(crate) fn server(root: &Path) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("OTARIA_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "OTARIA_BIN names {}, which is not there", given.display());
        return Ok(std::path::absolute(given)?);
    }
    succeed(repo::cargo(root).args(["build", "--package", "otaria", "--locked"]))?;
    Ok(root.join("target/debug/otaria"))
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_a_line_of_their_own() {
        assert_eq!(counts("12 passed, 3 failed"), Some(Counts { passed: 12, failed: 3 }));
        for other in ["ok     12 passed, 3 failed", "12 passed", "12 passed, 3 failed in all", ""] {
            assert_eq!(counts(other), None, "{other}");
        }
    }

    #[test]
    fn a_suite_that_ends_without_its_count_or_badly_has_failed() {
        let shell = |script: &str| counted("a suite", Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(shell("echo ok; echo 2 passed, 0 failed"), Counts { passed: 2, failed: 0 });
        assert_eq!(shell("echo 2 passed, 1 failed; exit 1"), Counts { passed: 2, failed: 1 });
        assert_eq!(shell("echo 2 passed, 0 failed; exit 1"), Counts { passed: 2, failed: 1 });
        assert_eq!(shell("echo 2 passed, 0 failed; echo more"), Counts { passed: 0, failed: 1 });
        assert_eq!(shell("exit 0"), Counts { passed: 0, failed: 1 });
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
