//! PostgreSQL, Redis, Mosquitto and an S3-compatible store for tests and measurements: found or installed,
//! started on free ports in a folder of their own, stopped at the end.
//!
//! Never uses a service that runs already, and leaves nothing behind but logs.
//!
//! Invariant: all data is below one folder, and all processes in it end with this command, unless they were
//! started to live on their own (`cluster up`).

mod install;
mod mosquitto;
mod moto;
mod postgres;
mod redis;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub(crate) use install::{faketime, install};
pub(crate) use mosquitto::Mosquitto;
pub(crate) use moto::Moto;
pub(crate) use postgres::Postgres;
pub(crate) use redis::Redis;

use crate::process::{Launch, Life};

/// Folders of services: below `target/`, or below the system's folder for what is temporary.
const HOME: &str = "services";

/// The longest path of a Unix socket is 107 bytes; this leaves room for its name.
const PATH_MAX: usize = 75;

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Redis,
    Mosquitto,
}

/// Where services live: their data, their logs, their addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    pub(crate) logs: PathBuf,
    /// Addresses to listen on; the first is the one that is told.
    pub(crate) hosts: Vec<IpAddr>,
    /// The network namespace they live in, when not ours.
    pub(crate) namespace: Option<String>,
    on_their_own: bool,
}

impl Ground {
    /// On loopback, in this folder, where PostgreSQL's user can get at it.
    pub(crate) fn new(folder: &Path, life: Life) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let logs = folder.join("logs");
        let folder = if is_reachable(&folder) && folder.as_os_str().len() <= PATH_MAX {
            folder
        } else {
            // A home that is closed to others, or a path too long for a socket.
            // Several of one command keep apart.
            let own = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let own: String = own.chars().take(16).collect();
            let name = format!("otaria-{HOME}-{}-{own}", std::process::id());
            let other = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&other)?;
            other
        };
        std::fs::create_dir_all(&logs)?;
        let on_their_own = life == Life::OnItsOwn;
        Ok(Self { folder, logs, hosts: vec![Ipv4Addr::LOCALHOST.into()], namespace: None, on_their_own })
    }

    /// In a network namespace, reachable at this address too.
    pub(crate) fn within(mut self, namespace: &str, host: IpAddr) -> Self {
        self.namespace = Some(namespace.to_owned());
        self.hosts.push(host);
        self
    }

    fn launch(&self, name: &str, program: PathBuf) -> Launch {
        let life = if self.on_their_own { Life::OnItsOwn } else { Life::WithUs };
        Launch::new(name, program, &self.logs, life).namespace(self.namespace.as_deref())
    }
}

/// A port that was free a moment ago. Free here is free in a namespace of its own as well.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Running services.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Services {
    ground: Ground,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    mosquitto: Option<Mosquitto>,
    moto: Option<Moto>,
}

impl Services {
    /// Starts these, in a fresh folder below `target/`.
    pub(crate) fn start(root: &Path, kinds: &[Kind]) -> Result<Self> {
        let home = root.join("target").join(HOME);
        clear(&home);
        let folder = home.join(std::process::id().to_string());
        Self::start_on(Ground::new(&folder, Life::WithUs)?, kinds)
    }

    pub(crate) fn start_on(ground: Ground, kinds: &[Kind]) -> Result<Self> {
        install::ensure_all(kinds)?;
        let mut services = Self { ground, postgres: None, redis: None, mosquitto: None, moto: None };
        for kind in kinds {
            match kind {
                Kind::Postgres => services.postgres = Some(Postgres::start(&services.ground)?),
                Kind::Redis => services.redis = Some(Redis::start(&services.ground)?),
                Kind::Mosquitto => services.mosquitto = Some(Mosquitto::start(&services.ground)?),
            }
        }
        Ok(services)
    }

    /// Starts an S3-compatible store besides; its programs lie below `target/`.
    pub(crate) fn start_moto(&mut self, root: &Path) -> Result<&mut Moto> {
        Ok(self.moto.insert(Moto::start(&self.ground, root)?))
    }

    pub(crate) fn postgres(&mut self) -> Result<&mut Postgres> {
        self.postgres.as_mut().context("PostgreSQL was not started")
    }

    pub(crate) fn redis(&mut self) -> Result<&mut Redis> {
        self.redis.as_mut().context("Redis was not started")
    }

    pub(crate) fn the_postgres(&self) -> Result<&Postgres> {
        self.postgres.as_ref().context("PostgreSQL was not started")
    }

    pub(crate) fn the_redis(&self) -> Result<&Redis> {
        self.redis.as_ref().context("Redis was not started")
    }

    pub(crate) fn mosquitto(&mut self) -> Result<&mut Mosquitto> {
        self.mosquitto.as_mut().context("Mosquitto was not started")
    }

    pub(crate) fn moto(&mut self) -> Result<&mut Moto> {
        self.moto.as_mut().context("moto was not started")
    }

    /// The folder of their logs.
    pub(crate) fn logs(&self) -> &Path {
        &self.ground.logs
    }

    /// Name, number and health of each process.
    pub(crate) fn processes(&mut self) -> Vec<(String, u32, bool)> {
        let all = [
            self.postgres.as_mut().map(Postgres::process),
            self.redis.as_mut().map(Redis::process),
            self.mosquitto.as_mut().map(Mosquitto::process),
            self.moto.as_mut().map(Moto::process),
        ];
        let all = all.into_iter().flatten();
        all.map(|process| (process.name.clone(), process.pid, process.is_running())).collect()
    }

    /// Lets them live on.
    pub(crate) fn leave(&mut self) {
        if let Some(postgres) = &mut self.postgres {
            postgres.process().leave();
        }
        if let Some(redis) = &mut self.redis {
            redis.process().leave();
        }
        if let Some(mosquitto) = &mut self.mosquitto {
            mosquitto.process().leave();
        }
        if let Some(moto) = &mut self.moto {
            moto.process().leave();
        }
    }

    /// Stops them and removes their data; the logs stay.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let stopped = [
            self.redis.as_mut().map_or(Ok(()), Redis::stop),
            self.mosquitto.as_mut().map_or(Ok(()), Mosquitto::stop),
            self.moto.as_mut().map_or(Ok(()), Moto::stop),
            self.postgres.as_mut().map_or(Ok(()), Postgres::stop),
        ];
        (self.postgres, self.redis, self.mosquitto, self.moto) = (None, None, None, None);
        for name in ["postgres", "redis", "mosquitto"] {
            // What was never made cannot be removed.
            let _ = std::fs::remove_dir_all(self.ground.folder.join(name));
        }
        stopped.into_iter().collect()
    }
}

/// Services of a command stop with it; those of `cluster up` were let go before.
impl Drop for Services {
    fn drop(&mut self) {
        if !self.ground.on_their_own
            && let Err(error) = self.stop()
        {
            eprintln!("a service did not stop: {error:#}");
        }
    }
}

/// Whether other users can get at a folder: they may pass through all folders above it.
fn is_reachable(folder: &Path) -> bool {
    let passes = |folder: &Path| folder.metadata().is_ok_and(|data| data.permissions().mode() & 0o001 != 0);
    !rustix::process::geteuid().is_root() || folder.ancestors().all(passes)
}

/// Removes the folders of commands that are gone: of the last one, its logs stay until the next begins.
fn clear(home: &Path) {
    let Ok(entries) = std::fs::read_dir(home) else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another command may be doing the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_commands_that_are_gone_are_removed_and_no_others() {
        let home = std::env::temp_dir().join(format!("xtask-services-{}", std::process::id()));
        let ours = home.join(std::process::id().to_string());
        let (gone, other) = (home.join("4294967295"), home.join("notes"));
        for folder in [&ours, &gone, &other] {
            std::fs::create_dir_all(folder).unwrap();
        }
        clear(&home);
        assert!(ours.exists() && !gone.exists() && other.exists());
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    #[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
    fn services_keep_what_they_promise_over_a_restart_and_leave_only_logs() {
        let folder =
            crate::repo::root().unwrap().join("target/services").join(format!("t{}", std::process::id()));
        let ground = Ground::new(&folder, Life::WithUs).unwrap();
        let mut services = Services::start_on(ground, &[Kind::Postgres, Kind::Redis]).unwrap();
        let postgres = services.postgres().unwrap();
        for (setting, value) in [("fsync", "on"), ("synchronous_commit", "on")] {
            assert_eq!(postgres.query(&format!("show {setting}")).unwrap().trim(), value);
        }
        postgres.query("create table kept (a int); insert into kept values (7)").unwrap();
        let port = postgres.port;
        postgres.restart().unwrap();
        assert_eq!((postgres.query("select a from kept").unwrap().trim(), postgres.port), ("7", port));
        assert!(postgres.query("select 1 from nothing").unwrap_err().to_string().contains("nothing"));
        let redis = services.redis().unwrap();
        redis.flush().unwrap();
        redis.restart().unwrap();
        assert_eq!(services.processes().iter().filter(|(_, _, running)| *running).count(), 2);

        let data = services.ground.folder.clone();
        services.stop().unwrap();
        assert!(!data.join("postgres").exists() && folder.join("logs/postgres.log").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_closed_to_others_is_seen() {
        let folder = std::env::temp_dir().join(format!("xtask-closed-{}", std::process::id()));
        let inside = folder.join("inside");
        std::fs::create_dir_all(&inside).unwrap();
        assert!(is_reachable(&inside));
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(is_reachable(&inside), !rustix::process::geteuid().is_root());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
