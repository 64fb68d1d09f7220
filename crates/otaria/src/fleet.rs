//! Simulated devices on real sockets: they prove who they are, inform their version, take notices, download,
//! check, report and restart, many thousands in one process.
//!
//! They know the server by its MQTT and HTTP faces only, and each keeps its own record of what it saw.

mod bench;
mod blocks;
mod command;
mod device;
mod download;
mod draw;
mod events;
mod link;
mod login;
mod names;
mod notice;
mod recorder;
mod report;
mod session;
mod tally;
mod update;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::device::{Device, Site};
use self::download::Downloads;
use self::link::Dialer;
use crate::stopwatch::Stopwatch;

pub(crate) use self::command::{FleetArgs, run};
pub(crate) use self::download::Mode;
pub(crate) use self::events::Events;
pub(crate) use self::login::{Kit, SignMethod};
pub(crate) use self::names::read as read_identities;
pub(crate) use self::recorder::{Recorder, sum};
pub(crate) use self::tally::{MINUTE, count};

/// Connections that come about at the same time; far below what a listener keeps waiting.
const DOORSTEP: usize = 256;

/// Descriptors that this process needs besides the devices' sockets.
const OTHER_FILES: u64 = 200;

/// How a device behaves when it is told to update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Updates.
    Good,
    /// Reports step −1 at every attempt.
    Failing,
    /// Fails the first time that it hears of a version, and updates the next time.
    Flaky,
    /// Takes the notice and never answers.
    Silent,
    /// Reports that it began, and never goes on.
    Stalling,
}

impl Temper {
    /// Reads the name that a file of names has for it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "good" => Some(Self::Good),
            "failing" => Some(Self::Failing),
            "flaky" => Some(Self::Flaky),
            "silent" => Some(Self::Silent),
            "stalling" => Some(Self::Stalling),
            _ => None,
        }
    }
}

/// Who a device is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: Box<str>,
    pub(crate) secret: Box<str>,
    pub(crate) temper: Temper,
}

/// What a fleet is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) product_key: String,
    /// Gateways, `host:port` each: devices begin spread over them, and go to the next when one fails them.
    pub(crate) mqtt: Vec<String>,
    /// Certificates to trust; `None`: plain TCP.
    pub(crate) tls_ca: Option<PathBuf>,
    /// New connections a second.
    pub(crate) connect_rate: u32,
    pub(crate) download: Mode,
    /// The kit that all devices have; each of the three in equal shares without one.
    pub(crate) kit: Option<Kit>,
    /// Whether devices subscribe to their topics, for servers that do not take `_ss=1` for it.
    pub(crate) subscribe: bool,
    /// Most that a device thinks before it begins an update, in milliseconds.
    pub(crate) work_ms: u64,
    /// The version that all devices have at first.
    pub(crate) version: String,
    pub(crate) seed: u64,
    /// Where everything is written down as it happens.
    pub(crate) events: Events,
}

/// Devices at work. Dropping it disconnects them all.
pub(crate) struct Fleet {
    recorder: Arc<Recorder>,
    _tasks: JoinSet<()>,
}

impl Fleet {
    /// Starts all devices. Refused if this process may not open as many sockets.
    pub(crate) fn start(plan: Plan, devices: Vec<Identity>) -> anyhow::Result<Self> {
        let wanted = u64::try_from(devices.len())? + OTHER_FILES;
        if let Some(limit) = crate::process::lift_open_files().filter(|limit| *limit < wanted) {
            anyhow::bail!(
                "{} devices need {wanted} open files, and this process may open {limit}: raise `ulimit -n`, or share the devices among several processes",
                devices.len()
            );
        }
        let dialer = Arc::new(match &plan.tls_ca {
            Some(certificates) => Dialer::trusting(certificates)?,
            None => Dialer::plain(),
        });
        let names = devices.iter().map(|device| device.name.clone()).collect();
        let recorder =
            Arc::new(Recorder::new(plan.product_key.clone(), names, Stopwatch::start(), plan.events));
        let site = Arc::new(Site {
            product_key: plan.product_key,
            mqtt: plan.mqtt,
            tls: plan.tls_ca.is_some(),
            downloads: Downloads::new(plan.download, Arc::clone(&dialer)),
            dialer,
            recorder: Arc::clone(&recorder),
            doorstep: Semaphore::new(DOORSTEP),
            kit: plan.kit,
            subscribe: plan.subscribe,
            work_ms: plan.work_ms,
            seed: plan.seed,
        });
        let mut tasks = JoinSet::new();
        for (place, identity) in devices.into_iter().enumerate() {
            let device = Device::new(Arc::clone(&site), place, identity, plan.version.clone());
            let wait = Duration::from_secs_f64(count(place) / f64::from(plan.connect_rate.max(1)));
            tasks.spawn(device.live(wait));
        }
        Ok(Self { recorder, _tasks: tasks })
    }

    /// What the devices saw and did.
    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Waits until all devices were connected once; `told` hears how many are, several times a second. Returns
    /// how many are connected when the patience ends.
    pub(crate) async fn connected(&self, patience: Duration, mut told: impl FnMut(usize)) -> usize {
        let waiting = Stopwatch::start();
        loop {
            let connected = self.recorder.count(|record| record.connects > 0);
            told(connected);
            if connected == self.recorder.len() || waiting.elapsed() > patience {
                return connected;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
