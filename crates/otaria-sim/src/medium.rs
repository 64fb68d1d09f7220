//! What lies between hosts and outlives them: the true time, letters on their way, who is online, the state of
//! limiters. And the observer's book.
//!
//! Never decides what a letter means. Its chance is seeded anew by each operation, so that what is cut out of a
//! list of operations changes nothing in the others' draws.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::pace::Pace;
use otaria_core::shard::Shard;
use otaria_core::task::Report;
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::presence::PresenceChange;
use otaria_ports::pusher::{Notice, Settled};

use crate::book::Book;
use crate::chance::Chance;
use crate::plant::Plant;

/// A host's place in the list of hosts.
pub(crate) type HostNo = usize;

/// One life of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) host: HostNo,
    pub(crate) number: u64,
}

/// What goes from one to another.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// Notices to a gateway. Its number tells a second copy: the way of notices brings none twice.
    Notices {
        to: Life,
        number: u64,
        notices: Vec<Notice>,
    },
    Fence {
        to: Life,
        job: JobNo,
        fence: u64,
    },
    Epoch {
        to: Life,
        shard: Shard,
        epoch: i64,
    },
    Signal {
        to: Life,
        signal: Signal,
    },
    /// A session has a later one elsewhere.
    Outdated {
        to: Life,
        device: DeviceId,
        session: i64,
    },
    /// Words about notices, on their way to the inbox of their gateway.
    Words {
        at: Life,
        words: Vec<Settled>,
    },
    /// What a device says, on its way into its gateway's inbox.
    Reports {
        at: Life,
        reports: Vec<Report>,
    },
    /// A gateway finds out that a connection is gone.
    Hangup {
        at: Life,
        device: DeviceId,
        session: i64,
    },
    /// A gateway that died counts as offline from now on.
    Buried {
        life: Life,
    },
}

impl Letter {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Notices { .. } => "notices",
            Self::Fence { .. } => "fence",
            Self::Epoch { .. } => "epoch",
            Self::Signal { .. } => "signal",
            Self::Outdated { .. } => "outdated",
            Self::Words { .. } => "words",
            Self::Reports { .. } => "reports",
            Self::Hangup { .. } => "hangup",
            Self::Buried { .. } => "buried",
        }
    }

    /// Whether it goes over a network that loses and doubles.
    pub(crate) const fn is_mail(&self) -> bool {
        !matches!(self, Self::Hangup { .. } | Self::Buried { .. })
    }
}

/// How the network is disposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mood {
    pub(crate) loss: u64,
    pub(crate) double: u64,
    pub(crate) delay: u64,
    pub(crate) jams: u64,
    pub(crate) stalls: u64,
    pub(crate) faults: u64,
    /// How much later owners hear of presence, in milliseconds.
    pub(crate) lag: u64,
}

impl Mood {
    pub(crate) const PEACE: Self =
        Self { loss: 0, double: 0, delay: 5, jams: 0, stalls: 0, faults: 0, lag: 5 };
}

/// Where a job's pace stands.
#[derive(Debug)]
pub(crate) enum Bucket {
    Gcra(Pace),
    /// The planted one: tokens left in millionths, and since when.
    Naive {
        left: i64,
        since: Timestamp,
    },
}

/// Who is online, and the log of what changed.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) last: i64,
    pub(crate) online: BTreeMap<DeviceId, (Life, i64)>,
    pub(crate) log: Vec<(Timestamp, PresenceChange)>,
    pub(crate) dead: BTreeSet<Life>,
}

impl Registry {
    pub(crate) fn arrive(&mut self, device: DeviceId, at: Life, session: i64, now: Timestamp) {
        self.last = self.last.max(session);
        self.online.insert(device, (at, session));
        self.log.push((now, PresenceChange::Arrived(device, session)));
    }

    pub(crate) fn leave(&mut self, device: DeviceId, session: i64, now: Timestamp) {
        if self.online.get(&device).is_some_and(|(_, known)| *known == session) {
            self.online.remove(&device);
            self.log.push((now, PresenceChange::Left(device, session)));
        }
    }

    pub(crate) fn bury(&mut self, life: Life, now: Timestamp) {
        self.dead.insert(life);
        let gone: Vec<(DeviceId, i64)> = self
            .online
            .iter()
            .filter(|(_, (at, _))| *at == life)
            .map(|(device, (_, session))| (*device, *session))
            .collect();
        gone.into_iter().for_each(|(device, session)| self.leave(device, session, now));
    }
}

/// Everything behind the lock.
pub(crate) struct Inner {
    pub(crate) now: Timestamp,
    pub(crate) chance: Chance,
    pub(crate) mood: Mood,
    pub(crate) mail: BTreeMap<(Timestamp, u64), Letter>,
    pub(crate) posted: u64,
    /// Those alive, gateways among them.
    pub(crate) alive: BTreeMap<HostNo, (u64, bool)>,
    pub(crate) paces: BTreeMap<JobNo, (Bucket, Timestamp)>,
    /// Since when limiters remember.
    pub(crate) remembers_since: Timestamp,
    pub(crate) registry: Registry,
    pub(crate) book: Book,
    pub(crate) plant: Option<Plant>,
    /// When a call that waits wants to be looked at again.
    pub(crate) alarm: Option<Timestamp>,
    pub(crate) trace: Option<String>,
}

/// See the module.
pub(crate) struct Medium(Mutex<Inner>);

impl Medium {
    pub(crate) fn new(now: Timestamp, plant: Option<Plant>, traced: bool) -> Self {
        Self(Mutex::new(Inner {
            now,
            chance: Chance::new(0),
            mood: Mood::PEACE,
            mail: BTreeMap::new(),
            posted: 0,
            alive: BTreeMap::new(),
            paces: BTreeMap::new(),
            remembers_since: now - Duration::from_secs(60),
            registry: Registry::default(),
            book: Book::default(),
            plant,
            alarm: None,
            trace: traced.then(String::new),
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic ends the world anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Sends a letter: it may get lost, come twice, or late.
    pub(crate) fn post(&mut self, letter: Letter) {
        if self.chance.permille(self.mood.loss) {
            self.lose(&letter);
            return;
        }
        if self.chance.permille(self.mood.double) {
            self.book.count("doubled");
            self.put(letter.clone());
        }
        self.put(letter);
    }

    pub(crate) fn lose(&mut self, letter: &Letter) {
        self.book.count("lost");
        if let Letter::Words { words, .. } = letter {
            self.book.lost_words += words.len() as u64;
        }
        self.tell(|| format!("lost {}", letter.name()));
    }

    fn put(&mut self, letter: Letter) {
        let delay = 1 + self.chance.below(self.mood.delay);
        self.put_at(self.now + Duration::from_millis(delay), letter);
    }

    /// Sends a letter that comes at an instant.
    pub(crate) fn put_at(&mut self, at: Timestamp, letter: Letter) {
        self.posted += 1;
        self.mail.insert((at, self.posted), letter);
    }

    /// The gateways that live.
    pub(crate) fn gateways(&self) -> Vec<Life> {
        let gateways = self.alive.iter().filter(|(_, (_, is_gateway))| *is_gateway);
        gateways.map(|(host, (number, _))| Life { host: *host, number: *number }).collect()
    }

    /// Writes a line of the trace, if there is one.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let millis = self.now.millis() - crate::world::BEGIN;
            trace.push_str(&format!("{millis:>9} {}\n", line()));
        }
    }
}
