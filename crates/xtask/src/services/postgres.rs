//! A PostgreSQL of our own: settings as in production where they are promises (fsync, synchronous commit), sizes as
//! on a small machine.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Ground, Kind, free_port, install};
use crate::process::{Launch, Process, Signal, run};

/// Long enough for recovery after a kill.
const START_PATIENCE: Duration = Duration::from_secs(60);

const SETTINGS: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=300",
    "max_wal_size=4GB",
    "log_checkpoints=off",
];

/// In the file, where `alter system` may change it.
const BUFFERS: &str = "shared_buffers = 512MB\n";

/// Its name among the processes, and the name of its log.
const NAME: &str = "postgres";

/// A running PostgreSQL, or one that is being restarted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Postgres {
    process: Process,
    ground: Ground,
    programs: PathBuf,
    user: Option<String>,
    pub(crate) port: u16,
}

impl Postgres {
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        let programs = install::found(Kind::Postgres)?;
        let user = install::postgres_user()?;
        let folder = ground.folder.join("postgres");
        let mut make = Command::new("install");
        make.args(["-d", "-m", "700"]).arg(&folder).arg(folder.join("data"));
        if let Some(user) = user {
            make.args(["-o", user, "-g", user]);
        }
        run(&mut make)?;

        let mut initdb = ground.launch("initdb", programs.join("initdb")).user(user).args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
            "--pgdata",
        ]);
        initdb = initdb.args([folder.join("data")]);
        run(initdb.command().current_dir("/"))?;
        let own = ground.hosts.iter().filter(|host| !host.is_loopback());
        let rules: String = own.map(|host| format!("host all all {host}/24 trust\n")).collect();
        let file = folder.join("data/pg_hba.conf");
        let before = std::fs::read_to_string(&file)?;
        std::fs::write(&file, before + &rules)?;
        let file = folder.join("data/postgresql.conf");
        let before = std::fs::read_to_string(&file)?;
        std::fs::write(&file, before + BUFFERS)?;

        let port = free_port()?;
        let process = launch(ground, &programs, user, port).start()?;
        let user = user.map(str::to_owned);
        let mut postgres = Self { process, ground: ground.clone(), programs, user, port };
        postgres.wait_ready()?;
        Ok(postgres)
    }

    /// For clients on the first of the addresses.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.ground.hosts[0])
    }

    /// For clients that reach it at this address.
    pub(crate) fn url_at(&self, host: IpAddr) -> String {
        format!("postgres://postgres@{host}:{}/postgres", self.port)
    }

    /// Runs statements and returns what they answer: a line a row, `|` between columns.
    pub(crate) fn query(&self, sql: &str) -> Result<String> {
        run(self.psql().args(["--command", sql]))
    }

    /// Runs a file of statements in one session.
    pub(crate) fn script(&self, file: &Path) -> Result<()> {
        run(self.psql().arg("--file").arg(file)).map(drop)
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.arg("--host").arg(self.folder()).args(["--port", &self.port.to_string()]).args([
            "--no-psqlrc",
            "--username=postgres",
            "--dbname=postgres",
            "--set=ON_ERROR_STOP=1",
            "--no-align",
            "--tuples-only",
            "--quiet",
        ]);
        psql
    }

    /// Stops it, ending sessions, and starts it again with the same data and port.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.revive()
    }

    /// Ends it as by a crash: the next start has to recover.
    pub(crate) fn crash(&mut self) -> Result<()> {
        self.process.stop(Signal::QUIT).map(drop)
    }

    /// Starts it again after it was ended.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let launch = launch(&self.ground, &self.programs, self.user.as_deref(), self.port);
        self.process = launch.start()?;
        self.wait_ready()
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) -> Result<()> {
        // Fast: sessions are rolled back and ended.
        self.process.stop(Signal::INT).map(drop)
    }

    pub(super) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn folder(&self) -> PathBuf {
        self.ground.folder.join("postgres")
    }

    /// The server writes into its lock file when it takes connections.
    fn wait_ready(&mut self) -> Result<()> {
        let file = self.folder().join("data/postmaster.pid");
        let pid = self.process.pid;
        let ready = || std::fs::read_to_string(&file).is_ok_and(|text| is_ready(&text, pid));
        self.process.wait_ready(START_PATIENCE, ready).context("PostgreSQL")
    }
}

fn launch(ground: &Ground, programs: &Path, user: Option<&str>, port: u16) -> Launch {
    let hosts: Vec<String> = ground.hosts.iter().map(IpAddr::to_string).collect();
    let folder = ground.folder.join("postgres");
    let mut launch = ground.launch(NAME, programs.join("postgres")).user(user).last_word("INT");
    launch = launch.args(["-D"]).args([folder.join("data")]).args(["-k"]).args([folder]);
    launch = launch.args(["-p", &port.to_string(), "-c", &format!("listen_addresses={}", hosts.join(","))]);
    for setting in SETTINGS {
        launch = launch.args(["-c", setting]);
    }
    launch
}

/// Whether `postmaster.pid` says that the server of this number takes connections: the first and the eighth line.
fn is_ready(text: &str, pid: u32) -> bool {
    let mut lines = text.lines();
    lines.next().is_some_and(|first| first == pid.to_string())
        && lines.nth(6).map(str::trim_end) == Some("ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_read_from_the_lock_file_of_this_very_server() {
        let text = "17\n/data\n1700000000\n5432\n/sock\n127.0.0.1\n  123 45\nready   \n";
        assert!(is_ready(text, 17));
        assert!(!is_ready(text, 18));
        assert!(!is_ready(&text.replace("ready", "starting"), 17));
        assert!(!is_ready("17\n", 17));
    }
}
