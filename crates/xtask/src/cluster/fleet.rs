//! The devices of a trial: several processes of `otaria fleet`, which write down what happens to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::operator::Operator;
use super::record::Record;
use crate::clock::wait_for;
use crate::process::{Launch, Life, Process, Signal};

/// How long all devices may take to come online.
const ONLINE_PATIENCE: Duration = Duration::from_secs(240);

/// New connections a second, of all together.
const CONNECT_RATE: usize = 2_000;

const PAUSE: Duration = Duration::from_millis(500);

/// Devices at work.
#[derive(Debug)]
pub(crate) struct Fleets {
    processes: Vec<Process>,
    events: Vec<PathBuf>,
}

/// Who the devices are and where they connect to.
#[derive(Clone, Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) operator: &'a Operator,
    pub(crate) product_key: &'a str,
    /// `name,secret` a line.
    pub(crate) names_and_secrets: &'a str,
    pub(crate) gateways: &'a [String],
    /// Processes that share the devices.
    pub(crate) processes: usize,
    /// Whether each process has only the gateway of its place; else all have all.
    pub(crate) one_gateway_each: bool,
    /// The certificate to trust, with TLS.
    pub(crate) authority: Option<&'a Path>,
    /// Most that a device thinks before it begins an update, in milliseconds.
    pub(crate) work_ms: u32,
    pub(crate) seed: u64,
}

/// What the devices of a fleet do besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits<'a> {
    /// How much of a package they download.
    pub(crate) download: &'static str,
    /// The folder of what they write down for the checker of histories.
    pub(crate) history: Option<&'a Path>,
}

impl Fleets {
    /// Starts the devices, spread over all gateways, and waits until all are online.
    pub(crate) fn start(folder: &Path, crew: &Crew<'_>) -> Result<Self> {
        Self::start_with(folder, crew, Habits { download: "none", history: None })
    }

    /// The same, with other habits.
    pub(crate) fn start_with(folder: &Path, crew: &Crew<'_>, habits: Habits<'_>) -> Result<Self> {
        let lines: Vec<&str> = crew.names_and_secrets.lines().collect();
        let mut fleets = Self { processes: Vec::new(), events: Vec::new() };
        for (number, part) in lines.chunks(lines.len().div_ceil(crew.processes).max(1)).enumerate() {
            let name = format!("fleet-{number}");
            let (names, events) = (folder.join(format!("{name}.names")), folder.join(format!("{name}.csv")));
            std::fs::write(&names, part.join("\n") + "\n")?;
            let own = crew.gateways.get(number).filter(|_| crew.one_gateway_each);
            let gateways = own.cloned().unwrap_or_else(|| crew.gateways.join(","));
            let seed = (crew.seed ^ u64::try_from(number)?).to_string();
            let mut launch = Launch::new(&name, &crew.operator.binary, &folder.join("logs"), Life::WithUs)
                .namespace(crew.operator.namespace.as_deref())
                .last_word("TERM")
                .args(["fleet", "--json", "--product-key", crew.product_key, "--download", habits.download])
                .args(["--mqtt", &gateways, "--seed", &seed, "--work-ms", &crew.work_ms.to_string()])
                .args(["--connect-rate", &(CONNECT_RATE / crew.processes).to_string(), "--names-file"])
                .args([&names])
                .args(["--events"])
                .args([&events]);
            if let Some(history) = habits.history {
                launch = launch.args(["--history"]).args([history.join(format!("{name}.ndjson"))]);
            }
            if let Some(authority) = crew.authority {
                launch = launch.args(["--tls-ca"]).args([authority]);
            }
            fleets.processes.push(launch.start()?);
            fleets.events.push(events);
        }

        let mut online = 0;
        let all = wait_for(ONLINE_PATIENCE, PAUSE, || {
            online = fleets.record()?.online();
            Ok(online == lines.len())
        })?;
        ensure!(all, "{online} of {} devices came online", lines.len());
        Ok(fleets)
    }

    /// What they wrote down until now.
    pub(crate) fn record(&mut self) -> Result<Record> {
        for process in &mut self.processes {
            ensure!(process.is_running(), "{} ended by itself", process.name);
        }
        let written = self.events.iter().all(|file| file.exists());
        if written { Record::read(&self.events) } else { Ok(Record::default()) }
    }

    /// Ends them, and returns the whole record.
    pub(crate) fn end(&mut self) -> Result<Record> {
        for process in &mut self.processes {
            process.stop(Signal::TERM).with_context(|| format!("ending {}", process.name))?;
        }
        Record::read(&self.events)
    }
}
