//! One job's tasks that could be pushed now, in memory.
//!
//! First offers go in the order of the list; what goes out again (retries, redeliveries, repeats) takes
//! turns with them, so that neither starves the other and repeats never take more than half of the tokens.

use std::collections::{BTreeMap, BTreeSet};

use otaria_core::task::Want;
use otaria_core::time::Timestamp;
use otaria_ports::store::Task;

use crate::Wake;

/// A task and the session that its notice is meant for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) task: Task,
    pub(super) session: i64,
}

/// See the module. Keyed by the task's place in the job, so that a task is in here once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    first: BTreeMap<u32, Waiting>,
    again: BTreeMap<u32, Waiting>,
    /// Repeats for a new session, not before their instant.
    later: BTreeMap<u32, (Timestamp, Waiting)>,
    /// Sessions in which a task was repeated already, by task.
    repeated: BTreeMap<u32, i64>,
    turn: bool,
}

impl Ready {
    /// Takes a task that was read just now, in place of what was known of it.
    pub(super) fn add(&mut self, task: Task, session: i64, now: Timestamp) {
        let seq = task.key.seq;
        self.first.remove(&seq);
        self.again.remove(&seq);
        self.later.remove(&seq);
        let want = task.state.want(now);
        let waiting = Waiting { task, session };
        match want {
            Want::First => drop(self.first.insert(seq, waiting)),
            Want::Retry | Want::Redelivery => drop(self.again.insert(seq, waiting)),
            // One repeat a session: whoever stays connected has the notice.
            Want::Repeat(_) if self.repeated.get(&seq).is_some_and(|last| *last >= session) => {}
            Want::Repeat(from) => drop(self.later.insert(seq, (from, waiting))),
            Want::Nothing => {}
        }
    }

    /// Moves repeats whose time has come to what is ready; says when the next one's comes.
    pub(super) fn ripen(&mut self, now: Timestamp) -> Wake {
        let ripe: BTreeSet<u32> =
            self.later.iter().filter(|(_, (from, _))| *from <= now).map(|(seq, _)| *seq).collect();
        for seq in ripe {
            if let Some((_, waiting)) = self.later.remove(&seq) {
                self.repeated.insert(seq, waiting.session);
                self.again.insert(seq, waiting);
            }
        }
        self.later.values().map(|(from, _)| *from).min().map_or(Wake::OnSignal, Wake::At)
    }

    /// How many could go out now.
    pub(super) fn ripe(&self) -> usize {
        self.first.len() + self.again.len()
    }

    /// Takes up to `count` tasks, of both kinds in turn.
    pub(super) fn take(&mut self, count: usize) -> Vec<Waiting> {
        let mut taken = Vec::with_capacity(count.min(self.ripe()));
        while taken.len() < count {
            self.turn = !self.turn;
            let (one, other) = if self.turn {
                (&mut self.first, &mut self.again)
            } else {
                (&mut self.again, &mut self.first)
            };
            let Some((_, waiting)) = one.pop_first().or_else(|| other.pop_first()) else { break };
            taken.push(waiting);
        }
        taken
    }

    /// Whether nothing is known of the job any more.
    pub(super) fn is_empty(&self) -> bool {
        self.ripe() == 0 && self.later.is_empty() && self.repeated.is_empty()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
