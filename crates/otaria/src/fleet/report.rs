//! What a fleet saw, summed up for people and for programs.

use std::fmt;

use indicatif::HumanCount;
use serde::Serialize;

use super::recorder::{Recorder, sum};
use super::tally::{count, median};

/// The pushes of one job, told apart from others by the version that it brings.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pushes {
    pub(crate) version: String,
    pub(crate) notices: usize,
    /// From the first notice to the last.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// Devices that informed this version.
    pub(crate) updated: usize,
}

/// A fleet, summed up.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) devices: usize,
    pub(crate) connected: usize,
    /// From the start to the last device's first connection.
    pub(crate) connect_seconds: f64,
    /// What the server's memory grew by, for each connected device. Absent if it was not watched.
    pub(crate) server_bytes_per_device: Option<f64>,
    pub(crate) notices: usize,
    pub(crate) repeats: usize,
    pub(crate) downloads: u64,
    pub(crate) download_failures: u64,
    pub(crate) updates: u64,
    pub(crate) connections_lost: u64,
    pub(crate) connections_refused: u64,
    pub(crate) odd_messages: u64,
    pub(crate) jobs: Vec<Pushes>,
    pub(crate) median_per_second: Option<f64>,
}

impl Report {
    /// `server_growth_kib`: what the server's memory grew by while the fleet connected.
    pub(crate) fn new(recorder: &Recorder, server_growth_kib: Option<f64>) -> Self {
        let tally = recorder.tally();
        let jobs: Vec<Pushes> = recorder
            .versions()
            .into_iter()
            .filter_map(|version| {
                let number = recorder.number_of(&version);
                let of_job = tally.of_version(number);
                (of_job.total() > 0).then(|| Pushes {
                    notices: of_job.total(),
                    seconds: of_job.seconds(),
                    per_second: of_job.per_second(),
                    updated: recorder.count(|record| record.updated_to.contains(&number)),
                    version,
                })
            })
            .collect();
        let connected = recorder.count(|record| record.connects > 0);
        let last = (0..recorder.len()).filter_map(|device| recorder.device(device).connected_at).max();
        let totals = &recorder.totals;
        Self {
            devices: recorder.len(),
            connected,
            connect_seconds: last.unwrap_or_default().as_secs_f64(),
            server_bytes_per_device: server_growth_kib
                .filter(|_| connected > 0)
                .map(|kib| kib * 1024.0 / count(connected)),
            notices: tally.total(),
            repeats: tally.repeats(),
            downloads: sum(&totals.downloads),
            download_failures: sum(&totals.download_failures),
            updates: sum(&totals.updates),
            connections_lost: sum(&totals.lost),
            connections_refused: sum(&totals.refused),
            odd_messages: sum(&totals.odd_messages),
            median_per_second: median(jobs.iter().map(|job| job.per_second).collect()),
            jobs,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: usize| HumanCount(u64::try_from(n).unwrap_or(u64::MAX));
        let (connected, devices) = (number(self.connected), number(self.devices));
        writeln!(out, "connected    {connected} of {devices} in {:.1} s", self.connect_seconds)?;
        if let Some(bytes) = self.server_bytes_per_device {
            writeln!(out, "memory       {:.2} KiB of the server's for each", bytes / 1024.0)?;
        }
        if self.connections_lost + self.connections_refused > 0 {
            let (lost, refused) = (self.connections_lost, self.connections_refused);
            writeln!(out, "connections  {lost} lost, {refused} refused")?;
        }
        writeln!(out, "notices      {} ({} repeats)", number(self.notices), number(self.repeats))?;
        writeln!(
            out,
            "updates      {} ({} downloads, {} failed)",
            HumanCount(self.updates),
            HumanCount(self.downloads),
            HumanCount(self.download_failures)
        )?;
        if self.odd_messages > 0 {
            writeln!(out, "odd          {} messages that were no notices", self.odd_messages)?;
        }
        for job in &self.jobs {
            writeln!(
                out,
                "  {:<10} {:>9} pushes in {:>7.2} s  {:>9.0}/s  {:>9} updated",
                job.version,
                number(job.notices).to_string(),
                job.seconds,
                job.per_second,
                number(job.updated).to_string()
            )?;
        }
        if let Some(median) = self.median_per_second {
            write!(out, "median       {median:.0} pushes/s")?;
        }
        Ok(())
    }
}
