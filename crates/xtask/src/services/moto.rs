//! An S3-compatible store of our own: moto's server, which keeps everything in memory.
//!
//! Lives in a Python environment below `target/`, made at first use from PyPI; nothing else is touched.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Ground, free_port};
use crate::process::{Process, Signal, run};

/// Importing it takes seconds on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "moto";

/// What is installed. `moto[server]` would be all of it, with hundreds of megabytes for other services.
const PACKAGES: &[&str] = &["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];

/// A running store that lets anybody in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Moto {
    process: Process,
    address: SocketAddr,
}

impl Moto {
    pub(super) fn start(ground: &Ground, root: &Path) -> Result<Self> {
        let program = installed(&root.join("target/moto")).context(
            "moto cannot be installed; it needs python3 with venv (Debian: apt-get install python3-venv) and PyPI",
        )?;
        let address = SocketAddr::new(ground.hosts[0], free_port()?);
        let launch = ground.launch(NAME, program);
        let args = ["-H".to_owned(), address.ip().to_string(), "-p".to_owned(), address.port().to_string()];
        let mut process = launch.args(args).start()?;
        let ready = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok();
        process.wait_ready(START_PATIENCE, ready).context("moto")?;
        Ok(Self { process, address })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM).map(drop)
    }

    pub(super) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The server's program in an environment that has these packages; made anew when others are wanted.
fn installed(environment: &Path) -> Result<PathBuf> {
    // Two commands may begin at the same time.
    let lock = std::fs::File::create(environment.with_extension("lock"))?;
    lock.lock()?;

    let program = environment.join("bin/moto_server");
    let (stamp, wanted) = (environment.join("installed.txt"), PACKAGES.join("\n"));
    if program.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(program);
    }
    println!("── installing {}", PACKAGES.join(" "));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(environment.join("bin/python")).args(pip).args(PACKAGES))?;
    std::fs::write(stamp, wanted)?;
    Ok(program)
}
