//! Cuts a history down to the lines of one job or one device, small enough to be read, mailed and kept as a test.
//!
//! Never changes a line but for its number.
//!
//! Invariant: what was complete stays complete, and where lines were missing a gap says so: the judge never takes
//! what was cut away for lost, nor what was lost for cut away.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use otaria_core::job::JobStatus;

use crate::check::files::{Files, FilesError};
use crate::check::{Place, Unreadable};
use crate::record::{Fact, Line, Seen};

/// What is kept. Whatever is about neither a job nor a device (processes, leases) always is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Jobs, by number or public id; with them the other jobs of their devices.
    pub jobs: Vec<String>,
    /// Devices, by name.
    pub devices: Vec<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Lines of servers.
    pub lines: u64,
    /// Lines of devices.
    pub device_lines: u64,
    /// Devices.
    pub devices: u64,
}

/// What a first reading finds.
#[derive(Debug, Default)]
struct Wanted {
    /// Jobs of which everything is kept.
    whole: BTreeSet<i64>,
    jobs: BTreeSet<i64>,
    numbers: BTreeSet<i64>,
    names: BTreeSet<String>,
    shards: BTreeSet<u8>,
}

/// Writes `server.ndjson` files (one a process and file) and `devices.ndjson` into a folder.
///
/// # Errors
/// When a file cannot be read or written, or holds something else.
pub fn cut(files: &Files, keep: &Keep, out: &Path) -> Result<Kept, FilesError> {
    let wanted = wanted(files, keep)?;
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |source: std::io::Error| FilesError::Io { path: path.clone(), source }
    };
    let servers = out.join("server");
    fs::create_dir_all(&servers).map_err(broken(&servers))?;
    let mut kept = Kept { devices: wanted.names.len() as u64, ..Kept::default() };
    let mut numbers = Numbers::default();
    for (place, file) in in_order(files)?.into_iter().enumerate() {
        let path = servers.join(format!("{place:04}.ndjson"));
        let mut to = BufWriter::new(File::create(&path).map_err(broken(&path))?);
        let mut failed = None;
        files.each_line(file, &mut |_| {}, |place, text| {
            let line: Line = parse(place, text)?;
            for line in numbers.number(line, |fact| wanted.keeps(fact)) {
                kept.lines += 1;
                failed = failed.take().or(write(&mut to, &line).err());
            }
            Ok(())
        })?;
        let done = failed.map_or_else(|| to.flush(), Err);
        done.map_err(broken(&path))?;
    }
    let path = out.join("devices.ndjson");
    let mut to = BufWriter::new(File::create(&path).map_err(broken(&path))?);
    for file in files.servers..files.paths.len() {
        let mut failed = None;
        files.each_line(file, &mut |_| {}, |place, text| {
            let seen: Seen = parse(place, text)?;
            if wanted.names.contains(&seen.device) {
                kept.device_lines += 1;
                failed = failed.take().or(write(&mut to, &seen).err());
            }
            Ok(())
        })?;
        failed.map_or(Ok(()), Err).map_err(broken(&path))?;
    }
    to.flush().map_err(broken(&path))?;
    Ok(kept)
}

/// The servers' files by process, and each process's by its count of lines.
fn in_order(files: &Files) -> Result<Vec<usize>, FilesError> {
    let mut order = Vec::new();
    for file in 0..files.servers {
        let first = files.first_line(file)?;
        let line: Option<Line> = first.and_then(|text| serde_json::from_str(&text).ok());
        let key = line.map(|line| match line.fact {
            Fact::Start { process, .. } => (process, line.n),
            _ => (String::new(), line.n),
        });
        order.push((key, file));
    }
    order.sort();
    Ok(order.into_iter().map(|(_, file)| file).collect())
}

fn write(to: &mut impl Write, line: &impl serde::Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}

fn parse<T: serde::de::DeserializeOwned>(place: Place, text: &str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable { place, what: error.to_string() })
}

/// Finds the devices of the jobs, the jobs of the devices, and once more the jobs of all those devices: what stands in
/// each other's way at a device belongs together.
fn wanted(files: &Files, keep: &Keep) -> Result<Wanted, FilesError> {
    let mut wanted = Wanted::default();
    wanted.names.extend(keep.devices.iter().cloned());
    let mut asked: BTreeSet<i64> = keep.jobs.iter().filter_map(|job| job.parse().ok()).collect();
    let order = in_order(files)?;
    for round in 0..2 {
        for file in order.iter().copied() {
            files.each_line(file, &mut |_| {}, |place, text| {
                let line: Line = parse(place, text)?;
                match &line.fact {
                    Fact::Job(made) if keep.jobs.contains(&made.id) => drop(asked.insert(made.job)),
                    Fact::Task { job, device, name, .. } => {
                        let of_job = round == 0 && asked.contains(job);
                        if of_job || wanted.names.contains(name) {
                            wanted.names.insert(name.clone());
                            wanted.numbers.insert(*device);
                            wanted.jobs.insert(*job);
                        }
                    }
                    Fact::Claimed { job, device, .. } | Fact::Settled { job, device, .. }
                        if asked.contains(job) || wanted.numbers.contains(device) =>
                    {
                        wanted.numbers.insert(*device);
                        wanted.jobs.insert(*job);
                    }
                    // Nothing else names a device of a job.
                    _ => {}
                }
                Ok(())
            })?;
        }
    }
    wanted.jobs.extend(asked.iter().copied());
    wanted.whole = asked;
    wanted.shards.extend(wanted.numbers.iter().map(|number| (number >> 48) as u8));
    Ok(wanted)
}

impl Wanted {
    fn keeps(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Start { .. } | Fact::Stop {} | Fact::Gap { .. } => true,
            Fact::Unsure { jobs, .. } => jobs.is_empty() || jobs.iter().any(|job| self.jobs.contains(job)),
            // The first job of all says that the record begins with the store.
            Fact::Job(made) => made.job == 1 || self.jobs.contains(&made.job),
            Fact::JobMoved { job, to } if to == JobStatus::Completed.as_str() => self.whole.contains(job),
            Fact::JobAgain { job, .. }
            | Fact::JobChanged { job, .. }
            | Fact::JobMoved { job, .. }
            | Fact::Held { job, .. }
            | Fact::Fenced { job, .. } => self.jobs.contains(job),
            // These are about all devices of a job: they stay true only where all of its tasks are kept.
            Fact::Expanded { job, .. } | Fact::Counts { job, .. } | Fact::Miscounted { job, .. } => {
                self.whole.contains(job)
            }
            Fact::Task { device, .. }
            | Fact::Reupgraded { device, .. }
            | Fact::Claimed { device, .. }
            | Fact::Settled { device, .. }
            | Fact::Report { device, .. } => self.numbers.contains(device),
            Fact::Lease { shard, .. } | Fact::EpochRaised { shard, .. } => self.shards.contains(shard),
            Fact::TokenRefused { .. } => true,
        }
    }
}

/// Counts the kept lines of each process anew.
#[derive(Debug, Default)]
struct Numbers {
    /// By process: its line that was read last, the number that was given last, and whether lines are missing.
    last: std::collections::BTreeMap<String, (u64, u64)>,
    process: String,
}

impl Numbers {
    fn number(&mut self, line: Line, keeps: impl Fn(&Fact) -> bool) -> Vec<Line> {
        if let Fact::Start { process, .. } = &line.fact {
            self.process.clone_from(process);
        }
        let (read, given) = self.last.entry(self.process.clone()).or_insert((0, 0));
        let lost = line.n.saturating_sub(*read + 1);
        *read = line.n;
        let mut kept = Vec::new();
        let mut give = |from: u64, at: u64, fact: Fact| {
            *given += 1;
            kept.push(Line { n: *given, from, at, fact });
        };
        let starts = matches!(line.fact, Fact::Start { .. });
        if starts {
            give(line.from, line.at, line.fact.clone());
        }
        if lost > 0 && !matches!(line.fact, Fact::Gap { .. }) {
            give(line.at, line.at, Fact::Gap { lost });
        }
        if !starts && keeps(&line.fact) {
            give(line.from, line.at, line.fact);
        }
        kept
    }
}
