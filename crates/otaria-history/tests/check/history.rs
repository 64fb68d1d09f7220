//! A history as values: written out, numbered, judged.

use std::fs;
use std::path::Path;

use otaria_history::check::{Checker, Options, Place, Verdict};
use otaria_history::record::{Fact, Line, Seen};

/// Draws numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(&of[self.below(of.len() as u64) as usize]) }
    }
}

/// A line before it is numbered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) process: usize,
    pub(crate) from: u64,
    pub(crate) at: u64,
    pub(crate) fact: Fact,
}

/// Both records.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) processes: usize,
    pub(crate) lines: Vec<Draft>,
    pub(crate) seen: Vec<Seen>,
    /// When the processes end.
    pub(crate) end: u64,
}

impl History {
    /// A kept history of real processes, as values that can be changed and numbered anew.
    pub(crate) fn read(folder: &Path) -> Self {
        let lines = |path: &Path| -> Vec<String> {
            fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
        };
        let mut drafts = Vec::new();
        let mut files: Vec<_> =
            fs::read_dir(folder.join("server")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut end = 0;
        for (process, path) in files.iter().enumerate() {
            for line in lines(path) {
                let Line { from, at, fact, .. } = serde_json::from_str(&line).unwrap();
                end = end.max(at);
                if !matches!(fact, Fact::Start { .. } | Fact::Stop {}) {
                    drafts.push(Draft { process, from, at, fact });
                }
            }
        }
        let seen = lines(&folder.join("devices.ndjson"));
        let seen = seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut history = Self { processes: files.len(), lines: drafts, seen, end };
        history.sort();
        history
    }

    pub(crate) fn sort(&mut self) {
        self.lines.sort_by_key(|line| line.at);
        self.seen.sort_by_key(|seen| seen.at);
    }

    /// The lines of each process, numbered, from its start to its stop.
    pub(crate) fn numbered(&self) -> Vec<Vec<Line>> {
        let begin = self.lines.iter().map(|line| line.from).min().unwrap_or(0);
        let mut files = Vec::new();
        for process in 0..self.processes {
            let start = Fact::Start { process: format!("p{process}"), version: "0".into() };
            let mut file = vec![Line { n: 1, from: begin, at: begin, fact: start }];
            for line in self.lines.iter().filter(|line| line.process == process) {
                let n = file.len() as u64 + 1;
                file.push(Line { n, from: line.from, at: line.at, fact: line.fact.clone() });
            }
            let last = file.last().map_or(begin, |line| line.at).max(self.end);
            file.push(Line { n: file.len() as u64 + 1, from: last, at: last, fact: Fact::Stop {} });
            files.push(file);
        }
        files
    }

    pub(crate) fn judge(&self) -> Verdict {
        judge(&self.numbered(), &self.seen, Options::default())
    }
}

/// Judges lines as they would stand in files.
pub(crate) fn judge(files: &[Vec<Line>], seen: &[Seen], options: Options) -> Verdict {
    judge_buried(files, seen, options, &[])
}

/// The same, where it is known of some processes when they were gone.
pub(crate) fn judge_buried(
    files: &[Vec<Line>],
    seen: &[Seen],
    options: Options,
    graves: &[(String, u64)],
) -> Verdict {
    let mut checker = Checker::default();
    for (process, at) in graves {
        checker.buried(process, *at);
    }
    for (file, lines) in files.iter().enumerate() {
        for (n, line) in (1..).zip(lines) {
            checker.server_line(Place::new(file, n), &serde_json::to_string(line).unwrap()).unwrap();
        }
    }
    for (n, seen) in (1..).zip(seen) {
        checker.device_line(Place::new(files.len(), n), &serde_json::to_string(seen).unwrap()).unwrap();
    }
    checker.judge(options).unwrap()
}
