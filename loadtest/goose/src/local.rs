//! The programs that run beside the load: a server of the test's own, and the fleet of devices.
//!
//! Invariant: none of them outlives its value here.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::sign::Key;
use crate::things::Things;

/// A process that is killed when it is no longer wanted.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Finds the product's binary: where `OTARIA_BIN` says, or beside this one, or where cargo puts it.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("OTARIA_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "OTARIA_BIN names {}, which is not there", given.display());
        return Ok(std::path::absolute(given)?);
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().context("this program has no folder")?;
    let places = ["otaria", "../release/otaria", "../debug/otaria"].map(|place| folder.join(place));
    let found = places.iter().find(|place| place.is_file());
    found.cloned().context("no otaria found: build it (cargo build --release), or set OTARIA_BIN")
}

/// A server of one's own on free ports of this machine.
pub(crate) struct Server {
    pub(crate) http: String,
    pub(crate) mqtt: String,
    _process: Process,
}

#[derive(Deserialize)]
struct Addresses {
    http: String,
    mqtt: String,
}

impl Server {
    pub(crate) fn start(binary: &Path, folder: &Path, key: &Key) -> Result<Self> {
        let log = std::fs::File::create(folder.join("server.log"))?;
        let mut command = Command::new(binary);
        // What our environment says about a server is not about this one.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"OTARIA_") {
                command.env_remove(name);
            }
        }
        let process = command
            .args(["serve", "--json", "--api-quota", "off"])
            .args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .env("OTARIA_ACCESS_KEY_ID", &key.id)
            .env("OTARIA_ACCESS_KEY_SECRET", &key.secret)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        let mut process = Process(process.with_context(|| format!("cannot run {}", binary.display()))?);
        let mut line = String::new();
        BufReader::new(stdout(&mut process)?).read_line(&mut line)?;
        if line.is_empty() {
            bail!(
                "the server did not start\n{}",
                std::fs::read_to_string(folder.join("server.log")).unwrap_or_default()
            );
        }
        let Addresses { http, mqtt } = serde_json::from_str(&line).context("the server's first line")?;
        Ok(Self { http, mqtt, _process: process })
    }
}

/// The devices, connected until they are asked what they saw.
pub(crate) struct Fleet {
    process: Process,
    record: PathBuf,
    log: PathBuf,
}

/// What a fleet says in the end.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) devices: usize,
    pub(crate) connected: usize,
    pub(crate) notices: usize,
    pub(crate) repeats: usize,
    pub(crate) updates: u64,
    pub(crate) download_failures: u64,
    pub(crate) connections_lost: u64,
    pub(crate) odd_messages: u64,
}

/// A line of a fleet's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) at_ms: u64,
    pub(crate) version: String,
}

impl Fleet {
    pub(crate) fn start(binary: &Path, folder: &Path, things: &Things, mqtt: &str) -> Result<Self> {
        let (names, record, log) =
            (folder.join("devices.csv"), folder.join("notices.csv"), folder.join("fleet.log"));
        things.write_secrets(&names)?;
        let process = Command::new(binary)
            .args(["fleet", "--json", "--mqtt", mqtt, "--product-key", &things.product, "--names-file"])
            .arg(names)
            .arg("--record")
            .arg(&record)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn();
        let process = Process(process.with_context(|| format!("cannot run {}", binary.display()))?);
        Ok(Self { process, record, log })
    }

    /// Ends it, and returns what it has to say and every notice it got.
    pub(crate) fn end(mut self) -> Result<(Report, Vec<Notice>)> {
        // Ctrl-C. If that came from the keyboard it reached the fleet too, and this one is late.
        let _ = Command::new("kill").args(["-INT", &self.process.0.id().to_string()]).status();
        let mut said = String::new();
        stdout(&mut self.process)?.read_to_string(&mut said)?;
        let line = said.lines().last().with_context(|| {
            format!("the fleet said nothing\n{}", std::fs::read_to_string(&self.log).unwrap_or_default())
        })?;
        let report = serde_json::from_str(line).context("the fleet's report")?;
        let record = std::fs::read_to_string(&self.record).context("the fleet's record")?;
        Ok((report, notices(&record)))
    }
}

fn stdout(process: &mut Process) -> Result<ChildStdout> {
    process.0.stdout.take().context("its output was taken before")
}

/// Reads `device,milliseconds,version,number` lines; a head line, which has no number there, is none.
fn notices(record: &str) -> Vec<Notice> {
    let line = |line: &str| {
        let mut fields = line.split(',').skip(1);
        let at_ms = fields.next()?.parse().ok()?;
        Some(Notice { at_ms, version: fields.next()?.to_owned() })
    };
    record.lines().filter_map(line).collect()
}

/// The largest number of these moments, in milliseconds, that lie in any half-open 60 seconds.
pub(crate) fn most_in_a_minute(mut moments: Vec<u64>) -> usize {
    const MINUTE_MS: u64 = 60_000;
    moments.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (last, at) in moments.iter().enumerate() {
        while at - moments[first] >= MINUTE_MS {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let record = "device,unix_ms,version,notice\na,1700000000001,2.0.0,1\nb,1700000000002,3.0.0,7\n";
        let expected = [(1_700_000_000_001, "2.0.0"), (1_700_000_000_002, "3.0.0")];
        let expected = expected.map(|(at_ms, version)| Notice { at_ms, version: version.to_owned() });
        assert_eq!(notices(record), expected);
    }

    #[test]
    fn a_minute_is_half_open_and_may_begin_anywhere() {
        assert_eq!(most_in_a_minute(Vec::new()), 0);
        assert_eq!(most_in_a_minute(vec![60_000, 0]), 1);
        assert_eq!(most_in_a_minute(vec![59_999, 0, 60_000]), 2);
        assert_eq!(most_in_a_minute(vec![0, 50_000, 55_000, 100_000, 109_999, 110_000]), 4);
    }
}
