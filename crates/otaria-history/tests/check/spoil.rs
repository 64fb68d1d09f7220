//! Kinds of mistakes, each planted somewhere into a good history, and the rule that it breaks.

mod books;
mod meetings;
mod moves;
mod sending;

use std::collections::BTreeMap;

use otaria_history::record::{Fact, JobMade, Seen, Sight};

use crate::history::{Chance, Draft, History};

pub(crate) const SECOND: u64 = 1_000_000;

/// Plants a mistake; says whether the history had a place for it.
pub(crate) type Spoil = fn(&mut History, &mut Chance) -> bool;

/// All kinds: what is done, the rule that it breaks, and how.
pub(crate) fn kinds() -> Vec<(&'static str, &'static str, Spoil)> {
    [sending::KINDS, moves::KINDS, books::KINDS, meetings::KINDS].concat()
}

/// One line of a task: which job, device, revision, statuses.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) job: i64,
    pub(crate) device: i64,
    pub(crate) name: String,
    pub(crate) previous: Option<String>,
    pub(crate) status: String,
    pub(crate) attempt: u8,
    pub(crate) revision: i64,
}

pub(crate) fn is_open(status: &str) -> bool {
    !matches!(status, "SUCCEEDED" | "FAILED" | "CANCELED")
}

impl History {
    /// The lives of all tasks, by revision.
    pub(crate) fn lives(&self) -> BTreeMap<(i64, i64), Vec<Step>> {
        let mut lives: BTreeMap<(i64, i64), Vec<Step>> = BTreeMap::new();
        for (line, draft) in self.lines.iter().enumerate() {
            if let Fact::Task { job, device, name, previous, status, attempt, revision, .. } = &draft.fact {
                lives.entry((*job, *device)).or_default().push(Step {
                    line,
                    job: *job,
                    device: *device,
                    name: name.clone(),
                    previous: previous.clone(),
                    status: status.clone(),
                    attempt: *attempt,
                    revision: *revision,
                });
            }
        }
        lives.values_mut().for_each(|life| life.sort_by_key(|step| step.revision));
        lives
    }

    /// A step of a task for which something holds, drawn by chance: it and the one after it.
    pub(crate) fn step(
        &self,
        chance: &mut Chance,
        fits: impl Fn(&Step, Option<&Step>) -> bool,
    ) -> Option<(Step, Option<Step>)> {
        let mut found = Vec::new();
        for life in self.lives().values() {
            for (n, step) in life.iter().enumerate() {
                if fits(step, life.get(n + 1)) {
                    found.push((step.clone(), life.get(n + 1).cloned()));
                }
            }
        }
        chance.pick(&found).cloned()
    }

    /// A line for which something holds, drawn by chance.
    pub(crate) fn line(&self, chance: &mut Chance, fits: impl Fn(&Draft) -> bool) -> Option<usize> {
        let found: Vec<usize> =
            self.lines.iter().enumerate().filter(|(_, line)| fits(line)).map(|(n, _)| n).collect();
        chance.pick(&found).copied()
    }

    /// A sight of a device for which something holds.
    pub(crate) fn sight(&self, chance: &mut Chance, fits: impl Fn(&Seen) -> bool) -> Option<usize> {
        let found: Vec<usize> =
            self.seen.iter().enumerate().filter(|(_, seen)| fits(seen)).map(|(n, _)| n).collect();
        chance.pick(&found).copied()
    }

    pub(crate) fn jobs(&self) -> Vec<JobMade> {
        self.lines
            .iter()
            .filter_map(|line| if let Fact::Job(made) = &line.fact { Some((**made).clone()) } else { None })
            .collect()
    }

    pub(crate) fn job(&self, number: i64) -> Option<JobMade> {
        self.jobs().into_iter().find(|job| job.job == number)
    }

    pub(crate) fn job_mut(&mut self, number: i64) -> Option<&mut JobMade> {
        self.lines.iter_mut().find_map(|line| match &mut line.fact {
            Fact::Job(made) if made.job == number => Some(&mut **made),
            _ => None,
        })
    }

    /// Another line, a moment's work of process 0.
    pub(crate) fn add(&mut self, at: u64, fact: Fact) {
        self.lines.push(Draft { process: 0, from: at, at: at + 1_000, fact });
    }

    /// Puts a line elsewhere in time.
    pub(crate) fn shift(&mut self, line: usize, from: u64) {
        let draft = &mut self.lines[line];
        let took = draft.at - draft.from;
        (draft.from, draft.at) = (from, from + took);
    }

    /// The task's line as it would go on.
    pub(crate) fn next(&self, step: &Step, status: &str, desc: Option<&str>) -> Fact {
        Fact::Task {
            job: step.job,
            device: step.device,
            name: step.name.clone(),
            module: String::new(),
            previous: Some(step.status.clone()),
            status: status.to_owned(),
            attempt: step.attempt,
            percent: None,
            revision: step.revision + 1,
            desc: desc.map(str::to_owned),
        }
    }

    pub(crate) fn written(&self) -> Vec<usize> {
        let is_written =
            |line: &Draft| matches!(&line.fact, Fact::Settled { outcome, .. } if outcome == "written");
        self.lines.iter().enumerate().filter(|(_, line)| is_written(line)).map(|(n, _)| n).collect()
    }

    /// A notice that was written, drawn by chance.
    pub(crate) fn a_write(&self, chance: &mut Chance, fits: impl Fn(&Draft) -> bool) -> Option<usize> {
        let found: Vec<usize> = self.written().into_iter().filter(|n| fits(&self.lines[*n])).collect();
        chance.pick(&found).copied()
    }
}

/// Job, device and wire id of a notice's line.
pub(crate) fn of_write(line: &Draft) -> (i64, i64, i64) {
    match &line.fact {
        Fact::Settled { job, device, wire_id, .. } => (*job, *device, *wire_id),
        _ => unreachable!("only written notices are asked"),
    }
}

pub(crate) fn is_notice(seen: &Seen, wire: i64) -> bool {
    matches!(seen.what, Sight::Notice { id, .. } if id == wire)
}
