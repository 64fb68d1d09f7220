//! A Redis of our own. It keeps nothing on disk: what the product has there may be lost at any moment.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Ground, Kind, free_port, install};
use crate::process::{Launch, Process, Signal};

const START_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

const NAME: &str = "redis";

/// A running Redis, or one that is being restarted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Redis {
    process: Process,
    ground: Ground,
    program: PathBuf,
    pub(crate) port: u16,
}

impl Redis {
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        let program = install::found(Kind::Redis)?;
        std::fs::create_dir_all(ground.folder.join(NAME))?;
        let port = free_port()?;
        let process = launch(ground, program.clone(), port).start()?;
        let mut redis = Self { process, ground: ground.clone(), program, port };
        redis.wait_ready()?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(self.ground.hosts[0])
    }

    /// For clients that reach it at this address.
    pub(crate) fn url_at(&self, host: IpAddr) -> String {
        format!("redis://{host}:{}", self.port)
    }

    /// Forgets everything.
    pub(crate) fn flush(&self) -> Result<()> {
        let answer = say(&self.socket(), "FLUSHALL")?;
        ensure!(answer.starts_with("+OK"), "FLUSHALL was answered with {answer:?}");
        Ok(())
    }

    /// Stops it and starts it again, empty, on the same port.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.revive()
    }

    /// Starts it again after it was stopped.
    pub(crate) fn revive(&mut self) -> Result<()> {
        self.process = launch(&self.ground, self.program.clone(), self.port).start()?;
        self.wait_ready()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM).map(drop)
    }

    pub(super) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn socket(&self) -> PathBuf {
        self.ground.folder.join(NAME).join("socket")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let socket = self.socket();
        let ready = || say(&socket, "PING").is_ok_and(|answer| answer.starts_with("+PONG"));
        self.process.wait_ready(START_PATIENCE, ready).context("Redis")
    }
}

fn launch(ground: &Ground, program: PathBuf, port: u16) -> Launch {
    let folder = ground.folder.join(NAME);
    let launch = ground.launch(NAME, program).args(["--port", &port.to_string(), "--bind"]);
    launch
        .args(ground.hosts.iter().map(IpAddr::to_string))
        .args(["--protected-mode", "no", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
        .args([&folder])
        .args(["--unixsocket"])
        .args([folder.join("socket")])
}

/// Says a command that has no arguments, and returns the first line of the answer.
fn say(socket: &PathBuf, command: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 128];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
