//! What an observer at the store and at the sockets writes down, and what the model makes of it.
//!
//! Never moves anything. Every committed write passes by here; what the model says of the tasks that it touched
//! is compared with what the store kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, FirmwareNo, JobId, JobNo};
use otaria_core::job::JobStatus;
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, Report, Said, TaskKey, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_core::witness::Invariant;
use otaria_ports::pusher::Settled;
use otaria_ports::store::Task;

use crate::model::{Promise, Row};

/// Where a job's devices come from, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The text of a list.
    List(String),
    /// Names in the call.
    Names(Vec<String>),
    /// All devices.
    All,
    /// So many thousandths of a percent of those that match.
    Part(u64),
    /// Those that match, now and later.
    Standing,
}

/// A job as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) promise: Promise,
    pub(crate) source: Source,
    pub(crate) rate: u32,
    pub(crate) replaces: bool,
    pub(crate) need_push: bool,
    pub(crate) start: Option<Timestamp>,
    pub(crate) finish: Option<Timestamp>,
}

/// A device in a job, with what is noted beside the model.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) row: Row,
    /// When the device had what it was to have.
    pub(crate) arrived_at: Option<Timestamp>,
    /// The version that it had when the task was made.
    pub(crate) source: Option<String>,
    /// The cancellation that meant it.
    pub(crate) doomed: Option<usize>,
    /// Offers that were claimed, with their wire ids.
    pub(crate) claimed: BTreeMap<u8, i64>,
}

/// A job, with what is noted of it.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) id: JobId,
    pub(crate) firmware: FirmwareNo,
    pub(crate) spec: Spec,
    pub(crate) status: JobStatus,
    pub(crate) created_at: Timestamp,
    /// For a part: who matched when it was made.
    pub(crate) matching: BTreeSet<DeviceId>,
    pub(crate) rows: BTreeMap<DeviceId, Kept>,
    /// Rates, and since when.
    pub(crate) rates: Vec<(Timestamp, u32)>,
    pub(crate) canceling: i64,
    pub(crate) cancel_cause: CancelCause,
    /// Since when a pause is answered.
    pub(crate) paused: Option<Timestamp>,
    /// Calls that may end a pause: under way, and begun or ended in all.
    pub(crate) waking: (u64, u64),
    /// The token of the call that made it.
    pub(crate) token: String,
    pub(crate) reopened: bool,
    pub(crate) writes: Vec<Write>,
    /// Writes looked at, and where the running minute of the last one begins.
    pub(crate) looked: (usize, usize, usize),
    /// Whether the lines were compared.
    pub(crate) is_read: bool,
}

/// A notice that was written to a socket.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// By the true time.
    pub(crate) at: Timestamp,
    /// By the gateway's clock.
    pub(crate) shown: Timestamp,
    /// When it came to the device, if it did.
    pub(crate) heard: Option<Timestamp>,
    pub(crate) key: TaskKey,
    pub(crate) offer: u8,
    pub(crate) wire: i64,
    pub(crate) shard: Shard,
    pub(crate) epoch: i64,
}

/// Who is at work.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stimulus {
    #[default]
    Other,
    Overdue,
    Settle(Arc<Vec<Settled>>),
    Take(Arc<Vec<Report>>),
    Fetch,
    Confirm,
    Reupgrade,
    Cancel(usize),
}

/// A version that a device informed.
#[derive(Clone, Debug)]
pub(crate) struct Informed {
    pub(crate) version: String,
    pub(crate) order: (i64, u32),
    pub(crate) changed: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Jobs that are asked for, by token.
    pub(crate) asked: BTreeMap<String, Spec>,
    pub(crate) jobs: BTreeMap<JobNo, Noted>,
    pub(crate) names: BTreeMap<String, DeviceId>,
    pub(crate) versions: BTreeMap<DeviceId, Informed>,
    pub(crate) stimulus: Stimulus,
    /// When each cancellation was answered.
    pub(crate) cancels: Vec<Option<Timestamp>>,
    pub(crate) leases: BTreeMap<Shard, (i64, i64)>,
    /// The greatest epoch under which something was written to a socket.
    pub(crate) wrote_under: BTreeMap<Shard, i64>,
    pub(crate) dirty: BTreeSet<JobNo>,
    pub(crate) violations: Vec<String>,
    pub(crate) checked: BTreeMap<&'static str, u64>,
    pub(crate) events: BTreeMap<&'static str, u64>,
    /// Words about notices that got lost.
    pub(crate) lost_words: u64,
}

impl Book {
    pub(crate) fn count(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    /// Notes that an invariant was looked at.
    pub(crate) fn check(&mut self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        *self.checked.entry(invariant).or_default() += 1;
        if !holds {
            self.violations.push(format!("{invariant}: {}", what()));
        }
    }

    /// Notes an alarm of a witness of production. It is one more violation where a mistake is planted, and a false
    /// alarm where none is.
    pub(crate) fn witnessed(&mut self, invariant: Invariant, seen: &str) {
        self.violations.push(format!("{}: a witness saw it: {seen}", invariant.as_str()));
    }

    /// Forgets what was noted during the set-up.
    pub(crate) fn begin(&mut self) {
        self.violations.clear();
    }

    pub(crate) fn version(&self, device: DeviceId) -> Option<&str> {
        self.versions.get(&device).map(|informed| informed.version.as_str())
    }

    pub(crate) fn kept(&mut self, key: &TaskKey) -> Option<(&mut Kept, Promise)> {
        let job = self.jobs.get_mut(&key.job)?;
        let promise = job.spec.promise.clone();
        Some((job.rows.get_mut(&key.device)?, promise))
    }

    /// What a device was offered by tasks that ended without it.
    pub(crate) fn missed(&self, device: DeviceId) -> BTreeSet<String> {
        let rows = self.jobs.values().filter_map(|noted| Some((noted, &noted.rows.get(&device)?.row)));
        let ended = rows.filter(|(_, row)| {
            row.offers > 0 && matches!(row.status, TaskStatus::Failed | TaskStatus::Canceled)
        });
        ended.map(|(noted, _)| noted.spec.promise.dest.clone()).collect()
    }

    /// What a device had before it said this, as far as a job cares: what it had when its task was made, or what
    /// another job has brought it since the job was asked for.
    pub(crate) fn had(&self, job: JobNo, device: DeviceId, said: &Said) -> Option<String> {
        let noted = self.jobs.get(&job)?;
        let since = noted.created_at - Duration::from_secs(2);
        let brought = self.jobs.values().filter(|other| {
            other.rows.get(&device).and_then(|kept| kept.arrived_at).is_some_and(|at| at >= since)
        });
        let mut brought = brought.map(|other| other.spec.promise.dest.clone());
        let news = match said {
            Said::Version(version) => brought.find(|dest| dest == version.as_str()),
            Said::Progress { .. } | Said::Refused { .. } => None,
        };
        news.or_else(|| noted.rows.get(&device)?.source.clone())
    }

    /// The open rows of a device beside one job.
    pub(crate) fn open_beside(&self, job: JobNo, device: DeviceId) -> Vec<JobNo> {
        let others = self.jobs.iter().filter(|(no, _)| **no != job);
        let open = others.filter(|(_, noted)| noted.rows.get(&device).is_some_and(|kept| kept.row.is_open()));
        open.map(|(no, _)| *no).collect()
    }

    /// A task is made: busy, or in the place of those that it may replace.
    pub(crate) fn make(&mut self, job: JobNo, device: DeviceId) {
        let beside = self.open_beside(job, device);
        let source = self.version(device).map(str::to_owned);
        let Some(noted) = self.jobs.get(&job) else { return };
        let is_standing = |no: &JobNo| matches!(self.jobs[no].spec.source, Source::Standing);
        let may_replace = |no: &JobNo| {
            let other = &self.jobs[no].rows[&device].row;
            other.status != TaskStatus::InProgress
                && (noted.spec.replaces || (is_standing(no) && is_standing(&job)))
        };
        let is_busy = !beside.iter().all(may_replace);
        let need_confirm = noted.spec.promise.need_confirm;
        if is_busy {
            self.count("busy");
        } else {
            for other in beside {
                self.count("overwrite");
                self.dirty.insert(other);
                if let Some(kept) = self.jobs.get_mut(&other).and_then(|noted| noted.rows.get_mut(&device)) {
                    kept.row.cancel(CancelCause::Overwritten);
                }
            }
        }
        let row = if is_busy { Row::busy() } else { Row::new(need_confirm) };
        let Some(noted) = self.jobs.get_mut(&job) else { return };
        let kept = Kept { row, arrived_at: None, source, doomed: None, claimed: BTreeMap::new() };
        noted.rows.insert(device, kept);
        self.dirty.insert(job);
    }

    /// Compares a task with its row.
    pub(crate) fn compare(&mut self, task: &Task) {
        let Some(noted) = self.jobs.get(&task.key.job) else { return };
        let stored = Row::of(task);
        let row = noted.rows.get(&task.key.device).map(|kept| &kept.row);
        if row == Some(&stored) {
            let looked = match stored.done_until {
                _ if !stored.is_open() => "I3",
                Some(_) => "I8",
                None => "I7",
            };
            for what in ["model", looked] {
                *self.checked.entry(what).or_default() += 1;
            }
            return;
        }
        let invariant = match row {
            None => "I4",
            Some(row) if row.done_until != stored.done_until => "I8",
            Some(row) if !row.is_open() && stored.is_open() => "I3",
            Some(row) if row.offers != stored.offers => "I7",
            Some(_) => "model",
        };
        let what = format!("{:?} is {stored:?}, and the model says {row:?}", task.key);
        self.check(invariant, false, || what);
    }

    /// A notice was written to a socket.
    pub(crate) fn wrote(&mut self, write: Write) {
        self.count("written");
        let last = self.wrote_under.entry(write.shard).or_insert(write.epoch);
        let epoch = write.epoch;
        *last = epoch.max(*last);
        // Not only after a later epoch wrote: from the moment of its take-over.
        let newest = self.leases.get(&write.shard).map_or(epoch, |(_, epoch)| *epoch).max(*last);
        self.check("I13", epoch >= newest, || {
            format!("{:?} was written under epoch {epoch} after {newest} began", write.key)
        });
        let claimed = self.jobs.get(&write.key.job).and_then(|noted| {
            noted.rows.get(&write.key.device).and_then(|kept| kept.claimed.get(&write.offer)).copied()
        });
        self.check("I7", claimed == Some(write.wire), || {
            format!(
                "offer {} of {:?} was written, and was not claimed so: {claimed:?}",
                write.offer, write.key
            )
        });
        let Some(noted) = self.jobs.get_mut(&write.key.job) else { return };
        let doomed = noted.rows.get(&write.key.device).and_then(|kept| kept.doomed);
        let answered = doomed.and_then(|cancel| self.cancels.get(cancel).copied().flatten());
        let (paused, spec) = (noted.paused, noted.spec.clone());
        let confirmed =
            noted.rows.get(&write.key.device).is_some_and(|kept| kept.row.status != TaskStatus::Confirm);
        let (at, shown, key) = (write.at, write.shown, write.key.clone());
        let is_silent = |since: Option<Timestamp>| since.is_some_and(|since| since < at);
        noted.writes.push(write);
        self.check("I5", !is_silent(answered) && !is_silent(paused), || {
            format!("{key:?} was written at {at:?}; cancelled {answered:?}, paused {paused:?}")
        });
        let within =
            spec.start.is_none_or(|start| start <= shown) && spec.finish.is_none_or(|end| shown < end);
        self.check("I6", within, || format!("{key:?} was written at {shown:?} outside {spec:?}"));
        self.check("I15", confirmed && spec.need_push, || format!("{key:?} was pushed"));
    }

    /// The largest rate that may be in force in the minute before an instant: who was not told of a change hears
    /// of it with the next sweep.
    pub(crate) fn rate(noted: &Noted, at: Timestamp) -> u32 {
        let from = at - Duration::from_secs(135);
        let mut rate = 0;
        for (n, (_, of)) in noted.rates.iter().enumerate() {
            let until = noted.rates.get(n + 1).map_or(at, |(since, _)| *since);
            if until >= from {
                rate = rate.max(*of);
            }
        }
        rate
    }
}
