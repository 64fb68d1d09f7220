//! A gateway without sockets: holds notices for their date, asks the real fences right before the write, and
//! gathers the words about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::door::{Arrival, Fences, Latest, Refusal, SessionSeq, Stamp};
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::time::Timestamp;
use otaria_core::witness::Writes;
use otaria_history::writer::History;
use otaria_ports::pusher::{Notice, Outcome, Settled};

use crate::book::Write;
use crate::medium::Inner;

/// Words are gathered for so long.
const GATHERED: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Default)]
pub(crate) struct Door {
    pub(crate) fences: Fences,
    /// The witness of production, beside the checks of the simulation.
    pub(crate) witness: Writes,
    pub(crate) sessions: BTreeMap<DeviceId, i64>,
    /// The job that each session was told of last, of those that were told of any.
    told: BTreeMap<(DeviceId, i64), JobNo>,
    waiting: BTreeMap<(Timestamp, u64), Notice>,
    latest: Latest,
    held: u64,
    /// Letters of notices that came.
    came: BTreeSet<u64>,
    pub(crate) words: Vec<Settled>,
    /// Tells what became of notices, where that is recorded.
    history: Option<Arc<History>>,
    /// When the words go to the inbox, by the true time.
    pub(crate) words_at: Option<Timestamp>,
}

/// A notice that was written.
pub(crate) struct Written {
    pub(crate) device: DeviceId,
    pub(crate) session: i64,
    pub(crate) wire: i64,
    pub(crate) version: String,
    pub(crate) job: JobNo,
    /// Its place among the job's writes.
    pub(crate) place: usize,
}

impl Door {
    /// A gateway that begins, with its history if it has one.
    pub(crate) fn new(history: Option<Arc<History>>) -> Self {
        Self { history, ..Self::default() }
    }

    /// A device comes in.
    pub(crate) fn enter(&mut self, device: DeviceId, session: i64) {
        let known = self.sessions.get(&device).copied().map(SessionSeq);
        match Arrival::of(SessionSeq(session), known) {
            Arrival::First | Arrival::Replaces(_) => drop(self.sessions.insert(device, session)),
            Arrival::Outdated => {}
        }
    }

    /// A session is over.
    pub(crate) fn leave(&mut self, device: DeviceId, session: i64) {
        if self.sessions.get(&device) == Some(&session) {
            self.sessions.remove(&device);
        }
    }

    /// The job that a session was told of last.
    pub(crate) fn told(&self, device: DeviceId, session: i64) -> Option<JobNo> {
        self.told.get(&(device, session)).copied()
    }

    /// A session's question is answered.
    pub(crate) fn tell(&mut self, device: DeviceId, session: i64, job: JobNo) {
        self.told.insert((device, session), job);
    }

    /// Takes notices, each letter once.
    pub(crate) fn take(&mut self, number: u64, notices: Vec<Notice>) {
        if self.came.insert(number) {
            for notice in notices {
                self.held += 1;
                self.latest.came(notice.key.device, &notice.offer.module, notice.key.job, notice.wire_id);
                self.waiting.insert((notice.not_before, self.held), notice);
            }
        }
    }

    /// When the next notice is to be looked at, by the gateway's clock.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Looks at what is due, and writes what may be written.
    pub(crate) fn deliver(&mut self, shown: Timestamp, inner: &mut Inner) -> Vec<Written> {
        let mut written = Vec::new();
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= shown) {
            let notice = entry.remove();
            let device = notice.key.device;
            let current = self.sessions.get(&device).copied().map(SessionSeq);
            let is_overtaken = self.latest.left(device, &notice.offer.module, notice.key.job);
            if is_overtaken {
                inner.book.count("overtaken");
            }
            let outcome = match self.fences.may_write(&stamp(&notice), current, shown) {
                _ if is_overtaken => Outcome::Stale,
                // Its date has come: the queue is sorted by it.
                Err(Refusal::TooEarly) => continue,
                Err(Refusal::Gone) => Outcome::Gone,
                Err(Refusal::Stale | Refusal::Fenced | Refusal::Late) => Outcome::Stale,
                Ok(()) if inner.chance.permille(inner.mood.jams) => Outcome::Congested,
                Ok(()) => Outcome::Written,
            };
            inner.tell(|| format!("notice {:?} offer {} {outcome:?}", notice.key, notice.attempt));
            match outcome {
                Outcome::Written => {}
                Outcome::Gone => inner.book.count("gone"),
                Outcome::Stale => inner.book.count("stale"),
                Outcome::Congested => inner.book.count("congested"),
            }
            if outcome == Outcome::Written {
                self.told.insert((device, notice.session), notice.key.job);
                for broken in self.witness.wrote(&stamp(&notice), notice.terms.as_ref(), shown) {
                    inner.book.witnessed(broken.invariant, &broken.seen);
                }
                let at = inner.now;
                inner.book.wrote(Write {
                    at,
                    shown,
                    heard: None,
                    key: notice.key.clone(),
                    offer: notice.attempt,
                    wire: notice.wire_id,
                    shard: notice.shard.0,
                    epoch: notice.shard.1,
                });
                let place = inner.book.jobs.get(&notice.key.job).map_or(0, |noted| noted.writes.len());
                written.push(Written {
                    device,
                    session: notice.session,
                    wire: notice.wire_id,
                    version: notice.offer.version.to_string(),
                    job: notice.key.job,
                    place,
                });
            }
            let settled = Settled::of(&notice, outcome, shown, shown);
            if let Some(history) = &self.history {
                history.tell_settled(vec![settled.clone()]);
            }
            self.words.push(settled);
            self.words_at.get_or_insert(inner.now + GATHERED);
        }
        written
    }
}

fn stamp(notice: &Notice) -> Stamp {
    Stamp {
        shard: notice.shard.0,
        epoch: notice.shard.1,
        job: notice.key.job,
        fence: notice.fence,
        session: SessionSeq(notice.session),
        not_before: notice.not_before,
        not_after: notice.not_after,
    }
}
