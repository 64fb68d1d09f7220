//! The judge: lines of both records in, a verdict out. It trusts nobody and knows nothing but the lines.
//!
//! Never reads a file itself (see [`files`]) and never calls the rules that the server runs by: what a rule says
//! is said here a second time, about lines.
//!
//! Invariant: it reports only what is certain. A commit or a write lies somewhere within `from..=at`, so orders
//! follow only from spans that do not overlap and from the revisions of one task. Where lines are missing (a
//! process was killed, a disk was full, a file rotated away), what depends on them is counted as not judged, and
//! all else is judged.

mod calls;
mod counts;
mod devices;
mod fences;
pub mod files;
mod lives;
mod offers;
mod pace;
mod place;
mod processes;
mod single;
mod tables;
mod verdict;
mod world;

pub use place::Place;
pub use verdict::{RULES, Verdict, Violation, rule};

use crate::record::{Line, Seen};
use tables::Tables;
use verdict::Judge;
use world::World;

/// What is allowed for. All in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the clocks of two processes may differ by: each is at most 0.1 s off (`otaria_core::pace`).
    pub clock_error: u64,
    /// What a device's clock and a server's may differ by, with the time that a message is under way.
    pub device_clock_error: u64,
    /// How long a notice may be under way before the devices' record counts it to a later window. The servers'
    /// record is exact; this is only for what the devices say. A network that held notices back for longer shows in
    /// how long they took, and is allowed for by itself.
    pub arrival_slack: u64,
    /// How late a timeout may be found while a server is up.
    pub late: u64,
    /// Each call of an operator that was carried out has its line, whatever else is lost. Then limits, pauses and
    /// strategies are judged across holes too.
    pub calls_are_kept: bool,
    /// How long after its last line a process that ended without a word did its last work at most. Without it such
    /// a process may have worked on forever, and nothing after it is known to be complete.
    pub ended_after: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock_error: 200_000,
            device_clock_error: 1_000_000,
            arrival_slack: 2_000_000,
            late: 60_000_000,
            calls_are_kept: false,
            ended_after: None,
        }
    }
}

/// A line that is none of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    /// Where it stands.
    pub place: Place,
    /// What is wrong with it.
    pub what: String,
}

/// Takes the lines of both records, then judges them.
#[derive(Debug, Default)]
pub struct Checker {
    tables: Tables,
}

impl Checker {
    /// Takes a line of a server's file. Lines of a file come in its order; files come in any.
    ///
    /// # Errors
    /// When it is no line of the record.
    pub fn server_line(&mut self, place: Place, text: &str) -> Result<(), Unreadable> {
        let unreadable = |what: String| Unreadable { place, what };
        let line: Line = serde_json::from_str(text)
            .map_err(|error| unreadable(format!("no line of a server's record: {error}")))?;
        self.tables.take(place, line).map_err(unreadable)
    }

    /// Takes it that this process was gone at this instant, in microseconds, as whoever ended it says: it did
    /// nothing later, however many of its lines it took with it.
    pub fn buried(&mut self, process: &str, at: u64) {
        self.tables.processes.bury(process, at);
    }

    /// Takes a line of a fleet's file.
    ///
    /// # Errors
    /// When it is no line of the record.
    pub fn device_line(&mut self, place: Place, text: &str) -> Result<(), Unreadable> {
        let seen: Seen = serde_json::from_str(text)
            .map_err(|error| Unreadable { place, what: format!("no line of a device's record: {error}") })?;
        self.tables.see(place, &seen);
        Ok(())
    }

    /// Judges what was taken.
    ///
    /// # Errors
    /// When lines of a process are there twice.
    pub fn judge(self, options: Options) -> Result<Verdict, Unreadable> {
        let mut tables = self.tables;
        let account = tables.processes.account(options.ended_after);
        let account = account.map_err(|(place, what)| Unreadable { place, what })?;
        let mut verdict = Verdict {
            lines: tables.lines,
            device_lines: tables.device_lines,
            jobs: tables.jobs.len() as u64,
            tasks: tables.tasks.len() as u64,
            processes: tables.processes.len() as u64,
            holes: account.holes.len() as u64,
            lost: account.lost,
            unfinished: account.unfinished,
            ..Verdict::default()
        };
        let mut world = World::new(tables, account.holes, account.spans, options);
        let mut judge = Judge::default();
        pace::judge(&world, &mut judge);
        offers::judge(&world, &mut judge);
        devices::judge(&world, &mut judge);
        world.forget_devices();
        single::judge(&world, &mut judge);
        lives::judge(&world, &mut judge);
        counts::judge(&world, &mut judge);
        fences::judge(&world, &mut judge);
        calls::judge(&world, &mut judge);
        judge.close(&mut verdict);
        Ok(verdict)
    }
}
