//! A server of our own, started as a child process in a fresh directory, for commands that prove or measure
//! something. It is reached by its public faces only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::keyfile;
use crate::remote::Remote;

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Lines of the log that a failure shows.
const LOG_TAIL: usize = 15;

/// What the server says on its standard output once it is ready.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) grpc: String,
    pub(crate) mqtt: String,
    pub(crate) pid: u32,
    pub(crate) access_key_file: PathBuf,
}

/// A running server. Dropping it kills it and removes its directory.
pub(crate) struct Server {
    pub(crate) ready: Ready,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts a server on free ports with these further options, and waits until it is ready.
    pub(crate) async fn start(options: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("otaria-").tempdir()?;
        let log = fs::File::create(log_in(folder.path()))?;
        let mut command = Command::new(std::env::current_exe()?);
        // The server must not take over what the environment says about another one.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OTARIA_"))
        {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--json", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--mqtt", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;

        let mut lines = BufReader::new(child.stdout.take().context("the server has no output")?).lines();
        let first = timeout(START_PATIENCE, lines.next_line()).await;
        let ready = match first {
            Ok(Ok(Some(line))) => {
                serde_json::from_str(&line).with_context(|| format!("the server said {line:?}"))
            }
            Ok(_) => Err(anyhow::anyhow!("the server ended before it was ready")),
            Err(_) => Err(anyhow::anyhow!("the server was not ready after {} s", START_PATIENCE.as_secs())),
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => bail!("{error:#}\n{}", log_tail(folder.path())),
        };
        // Nothing more is expected, but a full pipe must never stop the server.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { ready, child, folder })
    }

    /// Connects with the access key that the server made at its start.
    pub(crate) async fn connect(&self) -> anyhow::Result<Remote> {
        let key = keyfile::read(&self.ready.access_key_file)?;
        Remote::connect(&self.ready.grpc, None, &key).await
    }

    /// Stops the server as an operator would, by SIGTERM. An error if it had died before, does not stop, or
    /// ends with a failure.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server had ended by itself: {status}");
        }
        let pid = i32::try_from(self.ready.pid).ok().and_then(Pid::from_raw).context("no such process")?;
        kill_process(pid, Signal::TERM)?;
        match timeout(STOP_PATIENCE, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                if status.success() { Ok(()) } else { bail!("the server stopped with {status}") }
            }
            Err(_) => {
                self.child.kill().await?;
                bail!("the server did not stop within {} s of SIGTERM", STOP_PATIENCE.as_secs())
            }
        }
    }

    /// Ends the server at once and removes what it left.
    pub(crate) async fn discard(mut self) {
        // It may have ended already; the directory goes in any case.
        let _ = self.child.kill().await;
    }

    /// An error with all that may explain it: the end of the server's log, and its directory, which is left.
    pub(crate) fn blame(self, error: &anyhow::Error) -> anyhow::Error {
        let tail = log_tail(self.folder.path());
        anyhow::anyhow!("{error:#}\nthe server's directory is kept: {}\n{tail}", self.keep().display())
    }

    /// Leaves the server's directory where it is, and tells where.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

fn log_in(folder: &Path) -> PathBuf {
    folder.join("serve.log")
}

fn log_tail(folder: &Path) -> String {
    let log = fs::read_to_string(log_in(folder)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n  ");
    if tail.is_empty() { "its log is empty".to_owned() } else { format!("its log ends with:\n  {tail}") }
}
