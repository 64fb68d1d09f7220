//! A witness of I19: has the dispatcher forgotten a task that it could push?
//!
//! Looks right before each sweep, at some of the devices that are online, for tasks that could be pushed and that
//! nobody has in hand. A sweep has everybody looked at afresh. So a task that is found so before three sweeps in a
//! row, with nothing about it, its device or its job changed, was looked at twice in between, and forgotten. Never
//! puts it right: it changes nothing but what it remembers itself.
//!
//! Invariant: no false alarm. What cannot be read, a tick that failed, and a clock that was put back make it begin
//! anew; of devices that wait to be looked at, and of jobs that are not plainly under way, it says nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{DYNAMIC_PUSHES_MAX, JobKind, JobStatus, Schedule};
use otaria_core::shard::Shard;
use otaria_core::task::{TaskKey, Want};
use otaria_core::time::Timestamp;
use otaria_core::witness::{Broken, Invariant};
use otaria_ports::store::{BATCH_MAX, Job, Store, StoreError, Task};

use super::SWEEP_PERIOD;
use super::online::Online;
use super::ready::Ready;
use crate::witness;

/// A task that is found in nobody's hands so often in a row is forgotten.
const LOOKS: u8 = 3;
/// Tasks kept in mind. Those that were found most often come first.
const SUSPECTS_MAX: usize = 1_000;

/// What the dispatcher holds at the moment.
pub(super) struct Hands<'d> {
    /// The shards that are followed.
    pub(super) epochs: &'d BTreeMap<Shard, i64>,
    pub(super) online: &'d Online,
    pub(super) ready: &'d BTreeMap<JobNo, Ready>,
}

/// A device's session, and the epoch of its shard.
type Place = (i64, i64);

/// All that must be the same at each look: whatever changed may be the reason why the task waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    place: Place,
    revision: i64,
    /// Grows with every pause and cancellation.
    fence: u64,
    rate_version: u64,
    schedule: Schedule,
    job_modified_at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Tasks that were found in nobody's hands at the last look, and at how many in a row.
    suspects: BTreeMap<TaskKey, (Sight, u8)>,
    /// The last device of the last sample; the next sample begins behind it.
    after: Option<DeviceId>,
    looked_at: Option<Timestamp>,
    ticked_at: Option<Timestamp>,
}

impl Forgotten {
    /// Looks, and tells of what was found; to be called right before a sweep.
    pub(super) async fn look(&mut self, store: &dyn Store, hands: &Hands<'_>, now: Timestamp) {
        for key in self.find(store, hands, now).await {
            let seen = format!("in nobody's hands before {LOOKS} sweeps in a row");
            witness::of_task(&key, &Broken::new(Invariant::Delivery, seen));
        }
    }

    /// Notes how a tick went. After a failure the last sweep may not be complete; and what a task wants, and which
    /// tokens are good for it, is another matter when the clock was put back.
    pub(super) fn ticked(&mut self, went_well: bool, now: Timestamp) {
        if !went_well || self.ticked_at.is_some_and(|last| now < last) {
            self.suspects.clear();
        }
        self.ticked_at = Some(now);
    }

    async fn find(&mut self, store: &dyn Store, hands: &Hands<'_>, now: Timestamp) -> Vec<TaskKey> {
        // A sweep that failed is repeated at once; that is no reason to read more.
        if self.looked_at.is_some_and(|last| now.since(last) < SWEEP_PERIOD) {
            return Vec::new();
        }
        self.looked_at = Some(now);
        let sample = self.sample(hands);
        if let Ok(mut sights) = sights(store, &sample, hands, now).await {
            // Nearly always there is nothing, and half the fleet may be waiting for its instant.
            if !sights.is_empty() {
                let later: BTreeSet<DeviceId> =
                    hands.online.looked_at_later().filter(|device| sample.contains_key(device)).collect();
                sights.retain(|(key, _)| !later.contains(&key.device));
            }
            self.note(sights)
        } else {
            self.suspects.clear();
            Vec::new()
        }
    }

    /// The suspects' devices and some more, at most a batch; of these, those that are not looked at next.
    fn sample(&mut self, hands: &Hands<'_>) -> BTreeMap<DeviceId, Place> {
        let mut devices: BTreeSet<DeviceId> = self.suspects.keys().map(|key| key.device).collect();
        let room = BATCH_MAX.saturating_sub(devices.len());
        let next: Vec<DeviceId> = hands.online.behind(self.after).take(room).collect();
        if room > 0 {
            // Behind the last of them it begins at the first again.
            self.after = next.last().copied().filter(|_| next.len() == room);
        }
        devices.extend(next);
        let place = |device: DeviceId| {
            let epoch = hands.epochs.get(&device.shard()).copied();
            Some((hands.online.session(device)?, epoch?))
        };
        let mut sample: BTreeMap<DeviceId, Place> =
            devices.into_iter().filter_map(|device| Some((device, place(device)?))).collect();
        sample.retain(|device, _| !hands.online.is_looked_at_next(*device));
        sample
    }

    /// Compares with the last look; answers what is forgotten, each once.
    fn note(&mut self, sights: Vec<(TaskKey, Sight)>) -> Vec<TaskKey> {
        let mut noted: Vec<(TaskKey, (Sight, u8))> = Vec::with_capacity(sights.len());
        for (key, sight) in sights {
            let looks = match self.suspects.get(&key) {
                Some((before, looks)) if *before == sight => looks.saturating_add(1),
                _ => 1,
            };
            noted.push((key, (sight, looks)));
        }
        noted.sort_by_key(|(_, (_, looks))| Reverse(*looks));
        noted.truncate(SUSPECTS_MAX);
        self.suspects = noted.into_iter().collect();
        let forgotten = self.suspects.iter().filter(|(_, (_, looks))| *looks == LOOKS);
        forgotten.map(|(key, _)| key.clone()).collect()
    }
}

/// What could be pushed to these devices and is in nobody's hands.
async fn sights(
    store: &dyn Store,
    sample: &BTreeMap<DeviceId, Place>,
    hands: &Hands<'_>,
    now: Timestamp,
) -> Result<Vec<(TaskKey, Sight)>, StoreError> {
    if sample.is_empty() {
        return Ok(Vec::new());
    }
    let devices: Vec<DeviceId> = sample.keys().copied().collect();
    let mut tasks = store.open_tasks(&devices).await?;
    let in_hand = |key: &TaskKey| hands.ready.get(&key.job).is_some_and(|ready| ready.has(key));
    tasks.retain(|task| is_wanted(task, now) && !in_hand(&task.key));
    let jobs: BTreeSet<JobNo> = tasks.iter().map(|task| task.key.job).collect();
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    // Not from the book: what it says is what the dispatcher believes.
    let jobs = store.jobs_by_no(&jobs.into_iter().take(BATCH_MAX).collect::<Vec<_>>()).await?;
    let jobs: BTreeMap<JobNo, Job> = jobs.into_iter().map(|job| (job.no, job)).collect();
    let sight = |task: Task| {
        let sight = sight(&task, jobs.get(&task.key.job)?, *sample.get(&task.key.device)?, now)?;
        Some((task.key, sight))
    };
    Ok(tasks.into_iter().filter_map(sight).collect())
}

/// Whether the task wants a notice by itself. A repeat for a new session is a kindness, and nobody owes it.
fn is_wanted(task: &Task, now: Timestamp) -> bool {
    match task.state.want(now) {
        Want::First | Want::Retry | Want::Redelivery => true,
        Want::Repeat(_) | Want::Nothing => false,
    }
}

/// What there is to see of a task that its job lets go out, beyond doubt; `None` where there is any.
fn sight(task: &Task, job: &Job, place: Place, now: Timestamp) -> Option<Sight> {
    let schedule = job.new.schedule;
    // Tokens are dated ahead: right before the finish there may be none left.
    let is_open = schedule.is_open(now) && schedule.is_open(now + SWEEP_PERIOD);
    let is_under_way =
        job.status == JobStatus::InProgress && job.new.policy.need_push && job.canceling.is_none();
    // A notice of which nobody has told may count.
    let is_within_pushes = job.new.kind != JobKind::Dynamic || task.notices + 1 < DYNAMIC_PUSHES_MAX;
    (is_open && is_under_way && is_within_pushes).then_some(Sight {
        place,
        revision: task.revision,
        fence: job.fence,
        rate_version: job.rate_version,
        schedule,
        job_modified_at: job.modified_at,
    })
}

#[cfg(test)]
mod tests;
