//! What a demo measured, for people and for programs.

use std::fmt;

use indicatif::HumanCount;
use serde::Serialize;

use super::rollout::Story;
use super::world::World;
use crate::fleet::{Fleet, MINUTE};

/// The numbers of a demo. The names are a contract with whoever reads the JSON.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Numbers {
    lines: i64,
    tasks: i64,
    skipped: i64,
    rejected: i64,
    succeeded: i64,
    failed: i64,
    canceled: i64,
    /// Seen by the devices.
    notices: usize,
    /// Seen by the devices.
    max_in_any_60s: usize,
    limit_per_minute: u32,
    /// From the first notice at a device to the last.
    push_seconds: f64,
    /// From the create call to the end of expansion.
    expand_seconds: f64,
    /// From the answer of the create call to the first notice at a device.
    first_push_seconds: f64,
    /// The server's; absent where the system does not tell.
    peak_rss_mib: Option<f64>,
    seed: u64,
    pub(super) ok: bool,
    #[serde(skip)]
    online: usize,
}

impl Numbers {
    pub(super) fn of(
        world: &World,
        fleet: &Fleet,
        story: &Story,
        maximum_per_minute: u32,
        peak_kib: Option<u64>,
    ) -> Self {
        let tally = fleet.recorder().tally();
        let expansion = story.job.expansion.clone().unwrap_or_default();
        let counts = story.job.task_counts.unwrap_or_default();
        // The first notice may be there before the answer is.
        let first = tally.first().map(|at| at.saturating_sub(story.answered_at));
        Self {
            lines: expansion.lines,
            tasks: expansion.tasks,
            skipped: expansion.skipped,
            rejected: expansion.rejected,
            succeeded: counts.succeeded,
            failed: counts.failed,
            canceled: counts.canceled,
            notices: tally.total(),
            max_in_any_60s: tally.max_in_any(MINUTE),
            limit_per_minute: maximum_per_minute,
            push_seconds: thousandths(tally.seconds()),
            expand_seconds: thousandths(story.expand_seconds),
            first_push_seconds: thousandths(first.unwrap_or_default().as_secs_f64()),
            peak_rss_mib: peak_kib
                .and_then(|kib| u32::try_from(kib).ok())
                .map(|kib| (f64::from(kib) / 102.4).round() / 10.0),
            seed: world.seed,
            ok: false,
            online: world.online.len(),
        }
    }
}

fn thousandths(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Numbers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: i64| HumanCount(u64::try_from(count).unwrap_or(0));
        let size = |count: usize| HumanCount(u64::try_from(count).unwrap_or(0));
        let (lines, tasks, skipped, rejected) =
            (of(self.lines), of(self.tasks), of(self.skipped), of(self.rejected));

        writeln!(
            out,
            "Otaria updated {} of {} devices that were online.\n",
            of(self.succeeded),
            size(self.online)
        )?;
        writeln!(out, "  list     {lines} names = {tasks} tasks + {skipped} skipped + {rejected} rejected")?;
        writeln!(out, "           all there {:.2} s after the job was asked for", self.expand_seconds)?;
        writeln!(out, "  pushes   {} notices in {:.1} s", size(self.notices), self.push_seconds)?;
        writeln!(out, "           the first {:.2} s after the job was made", self.first_push_seconds)?;
        writeln!(
            out,
            "  pace     {} at most in any 60 s, {} allowed",
            size(self.max_in_any_60s),
            HumanCount(u64::from(self.limit_per_minute))
        )?;
        writeln!(
            out,
            "  results  {} succeeded, {} failed, {} canceled",
            of(self.succeeded),
            of(self.failed),
            of(self.canceled)
        )?;
        if let Some(mib) = self.peak_rss_mib {
            writeln!(out, "  memory   {mib:.0} MiB at most for the server")?;
        }
        writeln!(out, "  seed     {}", self.seed)
    }
}
