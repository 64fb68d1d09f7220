//! Finds the programs of the services, and installs the packages of those that are missing.
//!
//! Never touches what is there already, and never starts what a package would start by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Kind;
use crate::process::{program, run};

/// The oldest PostgreSQL that the product supports.
const POSTGRES_MIN: u32 = 15;

/// Where Debian and others put the versions of PostgreSQL, each in `VERSION/bin`.
const POSTGRES_HOMES: &[&str] = &["/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt"];

impl Kind {
    /// The package of Debian.
    const fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Redis => "redis-server",
            Self::Mosquitto => "mosquitto",
        }
    }

    /// Its server program, or for PostgreSQL the folder of its programs.
    fn find(self) -> Option<PathBuf> {
        match self {
            Self::Postgres => postgres(),
            Self::Redis => program("redis-server").or_else(|| program("valkey-server")),
            Self::Mosquitto => program("mosquitto"),
        }
    }
}

/// The program of a service, or the folder of its programs; installed now if it is missing.
pub(super) fn ensure_all(kinds: &[Kind]) -> Result<()> {
    let missing: Vec<&str> =
        kinds.iter().filter(|kind| kind.find().is_none()).map(|kind| kind.package()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

pub(super) fn found(kind: Kind) -> Result<PathBuf> {
    kind.find().with_context(|| format!("{} is not there: {}", kind.package(), advice(&[kind.package()])))
}

/// Installs packages of Debian.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let Some(apt) = program("apt-get") else {
        bail!("{} missing, and this system has no apt-get: install them as it does", packages.join(" "))
    };
    let sudo = if rustix::process::geteuid().is_root() {
        None
    } else {
        let sudo = program("sudo").filter(|sudo| {
            let mut quiet = Command::new(sudo);
            quiet.args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        });
        let Some(sudo) = sudo else { bail!("{} missing; {}", packages.join(" "), advice(packages)) };
        Some(sudo)
    };

    println!("── installing {}", packages.join(" "));
    let apt = |args: &[&str]| -> Result<()> {
        let mut command = match &sudo {
            Some(sudo) => {
                let mut command = Command::new(sudo);
                // sudo drops the environment; env brings it back.
                command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]).arg(&apt);
                command
            }
            None => Command::new(&apt),
        };
        // RUNLEVEL: in single-user mode packages do not start their services.
        command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        run(command.args(["--quiet"]).args(args)).map(drop)
    };
    apt(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt(&[&install[..], packages].concat()).with_context(|| advice(packages))
}

/// The library that makes a program see another wall clock, for programs with threads; installed now if it is missing.
pub(crate) fn faketime() -> Result<PathBuf> {
    let find = || {
        let libraries = std::fs::read_dir("/usr/lib").ok()?;
        let folders = libraries.flatten().map(|entry| entry.path()).chain(["/usr/lib".into()]);
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
    };
    if let Some(library) = find() {
        return Ok(library);
    }
    install(&["libfaketime"])?;
    find().with_context(|| format!("libfaketime is not there: {}", advice(&["libfaketime"])))
}

fn advice(packages: &[&str]) -> String {
    format!("install it with: sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// The folder of the programs of the newest PostgreSQL that is new enough.
fn postgres() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for home in POSTGRES_HOMES {
        let Ok(entries) = std::fs::read_dir(home) else { continue };
        for entry in entries.flatten() {
            let version = entry.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(version.map(|version| (version, entry.path().join("bin"))));
        }
    }
    if let Some(folder) =
        program("postgres").and_then(|file| Some(file.canonicalize().ok()?.parent()?.to_owned()))
        && let Ok(version) = version(&folder)
    {
        found.push((version, folder));
    }
    found.retain(|(version, folder)| *version >= POSTGRES_MIN && folder.join("initdb").is_file());
    found.into_iter().max().map(|(_, folder)| folder)
}

fn version(folder: &Path) -> Result<u32> {
    let said = run(Command::new(folder.join("postgres")).arg("--version"))?;
    major(&said).with_context(|| format!("no version in {said:?}"))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("(PostgreSQL) ")?;
    version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// The user that PostgreSQL runs as when we are root, which it refuses.
pub(super) fn postgres_user() -> Result<Option<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let is_there = users.lines().any(|line| line.starts_with("postgres:"));
    ensure!(
        is_there,
        "PostgreSQL does not run as root, and there is no user `postgres`: adduser --system --group postgres"
    );
    Ok(Some("postgres"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18devel\n"), Some(18));
        assert_eq!(major("mysqld 8"), None);
    }

    #[test]
    fn advice_is_a_command_to_copy() {
        let advice = advice(&["redis-server", "mosquitto"]);
        assert!(advice.ends_with("apt-get install --no-install-recommends redis-server mosquitto"));
    }
}
