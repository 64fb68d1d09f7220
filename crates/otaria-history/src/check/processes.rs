//! Who wrote, and which of their lines are missing.
//!
//! A process counts its lines. Where the count has a gap, where a line says that some were lost, before the
//! first line that was kept, after the last one of a process that did not end in order, and around a write of which
//! nobody knows what came, lines may be missing: those spans of time are holes.

use std::collections::BTreeMap;

use super::place::{Holes, NEVER, Place, Stamp};
use crate::record::Fact;

/// A write that was not answered may be done so long after its caller gave up.
const DONE_LATER: u64 = 10_000_000;

/// Lines of a file that follow each other without a gap.
#[derive(Debug)]
struct Run {
    process: u32,
    first: u64,
    last: u64,
    begin: Stamp,
    end: Stamp,
    /// Whether the run begins with lines lost, as the line itself says.
    lost: Option<u64>,
    stopped: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    names: BTreeMap<String, u32>,
    of_file: BTreeMap<usize, u32>,
    runs: Vec<Run>,
    /// Writes of which nobody knows what came.
    unsure: Vec<Stamp>,
    /// When processes were gone, as whoever ended them says.
    graves: BTreeMap<String, u64>,
}

/// What the lines' counts come to.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) holes: Holes,
    pub(crate) lost: u64,
    pub(crate) unfinished: u64,
    /// When each process wrote its first and its last line.
    pub(crate) spans: Vec<(u64, u64)>,
}

impl Processes {
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Takes it that this process was gone at this instant.
    pub(crate) fn bury(&mut self, process: &str, at: u64) {
        self.graves.insert(process.to_owned(), at);
    }

    /// Which process wrote a line.
    pub(crate) fn of(&self, place: Place) -> Option<u32> {
        self.of_file.get(&place.file()).copied()
    }

    /// Whether two lines were written by one process, by one clock.
    pub(crate) fn same(&self, one: Place, other: Place) -> bool {
        self.of(one) == self.of(other)
    }

    /// Takes a line's count.
    pub(crate) fn take(&mut self, n: u64, stamp: Stamp, fact: &Fact) -> Result<(), String> {
        let file = stamp.place.file();
        if let Fact::Start { process, .. } = fact {
            let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            let number = *self.names.entry(process.clone()).or_insert(next);
            self.of_file.insert(file, number);
        }
        let Some(process) = self.of_file.get(&file).copied() else {
            return Err("a server's file begins with a line of the kind start".to_owned());
        };
        if n == 0 {
            return Err("lines are counted from 1".to_owned());
        }
        let lost = if let Fact::Gap { lost } = fact { Some(*lost) } else { None };
        if let Fact::Unsure { .. } = fact {
            self.unsure.push(stamp);
        }
        let stopped = matches!(fact, Fact::Stop {});
        let follows = |run: &Run| {
            run.process == process && run.end.place.file() == file && run.last + 1 == n && lost.is_none()
        };
        match self.runs.last_mut().filter(|run| follows(run)) {
            Some(run) => {
                run.last = n;
                run.stopped = stopped;
                // The latest beginning bounds nothing: what was begun earlier may still be under way.
                run.end = stamp;
            }
            None => {
                self.runs.push(Run { process, first: n, last: n, begin: stamp, end: stamp, lost, stopped });
            }
        }
        Ok(())
    }

    /// Adds up the counts.
    ///
    /// `ended_after`: how long after its last line a process that ended without a word did its last work at
    /// most, where that is known.
    pub(crate) fn account(&mut self, ended_after: Option<u64>) -> Result<Account, (Place, String)> {
        let mut account = Account::default();
        for stamp in &self.unsure {
            account.holes.add(stamp.from, stamp.at.saturating_add(DONE_LATER));
        }
        self.runs.sort_by_key(|run| (run.process, run.first, run.begin.place));
        for runs in self.runs.chunk_by(|one, other| one.process == other.process) {
            let mut last: Option<&Run> = None;
            for run in runs {
                let before = last.map_or(0, |last| last.last);
                if run.first <= before {
                    let what = format!(
                        "line {} of this process was there before: is the file here twice?",
                        run.first
                    );
                    return Err((run.begin.place, what));
                }
                let missing = run.first - before - 1;
                if missing > 0 || run.lost.is_some() {
                    account.lost += missing.max(run.lost.unwrap_or(0));
                    account.holes.add(last.map_or(0, |last| last.end.from), run.begin.at);
                }
                last = Some(run);
            }
            let begin = runs.iter().map(|run| run.begin.from).min().unwrap_or(0);
            let end = runs.iter().map(|run| run.end.at).max().unwrap_or(0);
            account.spans.push((begin, end));
            if let Some(last) = last.filter(|last| !last.stopped) {
                account.unfinished += 1;
                let name = self.names.iter().find(|(_, number)| **number == last.process);
                let until = match name.and_then(|(name, _)| self.graves.get(name)) {
                    Some(gone) => last.end.at.max(*gone).saturating_add(DONE_LATER),
                    None => ended_after.map_or(NEVER, |after| last.end.at.saturating_add(after)),
                };
                account.holes.add(last.end.from, until);
            }
        }
        Ok(account)
    }
}
