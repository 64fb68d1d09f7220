//! A Mosquitto of our own: the broker that pushes are measured beside.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Ground, Kind, free_port, install};
use crate::process::{Process, Signal};

const START_PATIENCE: Duration = Duration::from_secs(10);

const NAME: &str = "mosquitto";

/// A running Mosquitto that lets anybody in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mosquitto {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Mosquitto {
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        let program = install::found(Kind::Mosquitto)?;
        let folder = ground.folder.join(NAME);
        std::fs::create_dir_all(&folder)?;
        let address = SocketAddr::new(ground.hosts[0], free_port()?);
        let config = format!(
            "listener {} {}\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type error\nlog_type warning\n\
             max_queued_messages 0\nmax_inflight_messages 1000\nuser root\n",
            address.port(),
            address.ip()
        );
        let file = folder.join("mosquitto.conf");
        std::fs::write(&file, config)?;
        let launch = ground.launch(NAME, program).args(["-c"]).args([file]);
        let mut process = launch.start()?;
        let ready = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok();
        process.wait_ready(START_PATIENCE, ready).context("Mosquitto")?;
        Ok(Self { process, address })
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM).map(drop)
    }

    pub(super) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
