//! Who is online, whom to look at, and what was told in whose session: all in memory, all bounded by the
//! devices that are online.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;

use crate::Wake;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Online {
    sessions: BTreeMap<DeviceId, i64>,
    /// Devices whose open tasks are to be read.
    to_probe: BTreeSet<DeviceId>,
    /// Devices whose open tasks are to be read at an instant.
    later: BTreeSet<(Timestamp, DeviceId)>,
    /// Jobs whose notice was claimed for the device's present session.
    told: BTreeSet<(DeviceId, JobNo)>,
}

impl Online {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The device's session, if it is online.
    pub(super) fn session(&self, device: DeviceId) -> Option<i64> {
        self.sessions.get(&device).copied()
    }

    /// A device is online in this session; its tasks are looked at.
    pub(super) fn arrive(&mut self, device: DeviceId, session: i64) {
        if self.sessions.insert(device, session) != Some(session) {
            self.keep_told(device, &BTreeSet::new());
        }
        self.to_probe.insert(device);
    }

    /// A session ended; an older one than the device's own changes nothing.
    pub(super) fn leave(&mut self, device: DeviceId, session: i64) {
        if self.sessions.get(&device) == Some(&session) {
            self.sessions.remove(&device);
            self.to_probe.remove(&device);
            self.keep_told(device, &BTreeSet::new());
        }
    }

    /// Takes what presence says of a shard in place of what was believed, and looks at everybody there.
    pub(super) fn replace(&mut self, shard: Shard, online: Vec<(DeviceId, i64)>) {
        let present: BTreeSet<DeviceId> = online.iter().map(|(device, _)| *device).collect();
        let believed: Vec<(DeviceId, i64)> = self.of(shard).collect();
        for (device, session) in believed {
            if !present.contains(&device) {
                self.leave(device, session);
            }
        }
        for (device, session) in online {
            self.arrive(device, session);
        }
    }

    fn of(&self, shard: Shard) -> impl Iterator<Item = (DeviceId, i64)> {
        let sessions = self.sessions.range(DeviceId::new(shard, 0)..=DeviceId::new(shard, i64::MAX));
        sessions.map(|(device, session)| (*device, *session))
    }

    /// Looks at a device, if it is online.
    pub(super) fn look(&mut self, device: DeviceId) {
        if self.sessions.contains_key(&device) {
            self.to_probe.insert(device);
        }
    }

    /// Looks at a device at an instant, if it is online then.
    pub(super) fn look_at(&mut self, at: Timestamp, device: DeviceId) {
        self.later.insert((at, device));
    }

    /// Looks at everybody.
    pub(super) fn look_at_all(&mut self) {
        self.to_probe.extend(self.sessions.keys().copied());
    }

    /// Looks at those whose instant has come.
    pub(super) fn ripen(&mut self, now: Timestamp) {
        while let Some((at, device)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, device));
            self.look(device);
        }
    }

    /// Devices to look at now, at most `max`.
    pub(super) fn to_probe(&self, max: usize) -> Vec<DeviceId> {
        self.to_probe.iter().take(max).copied().collect()
    }

    /// Whether a device is to be looked at now.
    pub(super) fn is_looked_at_next(&self, device: DeviceId) -> bool {
        self.to_probe.contains(&device)
    }

    /// Devices to look at when their instant has come.
    pub(super) fn looked_at_later(&self) -> impl Iterator<Item = DeviceId> {
        self.later.iter().map(|(_, device)| *device)
    }

    /// Those behind a device, in their order; all without one.
    pub(super) fn behind(&self, device: Option<DeviceId>) -> impl Iterator<Item = DeviceId> {
        let from = device.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).map(|(device, _)| *device)
    }

    /// A device was looked at: it has open tasks of these jobs and no others.
    pub(super) fn looked_at(&mut self, device: DeviceId, jobs: &BTreeSet<JobNo>) {
        self.to_probe.remove(&device);
        self.keep_told(device, jobs);
    }

    /// Notes that a notice was claimed for a device's session.
    pub(super) fn tell(&mut self, device: DeviceId, session: i64, job: JobNo) {
        if self.session(device) == Some(session) {
            self.told.insert((device, job));
        }
    }

    /// Whether the job's notice was claimed for the device's present session.
    pub(super) fn is_told(&self, device: DeviceId, job: JobNo) -> bool {
        self.told.contains(&(device, job))
    }

    fn keep_told(&mut self, device: DeviceId, jobs: &BTreeSet<JobNo>) {
        let told = self.told.range((device, JobNo(i64::MIN))..=(device, JobNo(i64::MAX)));
        let over: Vec<_> = told.filter(|(_, job)| !jobs.contains(job)).copied().collect();
        for entry in over {
            self.told.remove(&entry);
        }
    }

    /// When somebody is to be looked at next.
    pub(super) fn wake(&self) -> Wake {
        if !self.to_probe.is_empty() {
            return Wake::Now;
        }
        self.later.first().map_or(Wake::OnSignal, |(at, _)| Wake::At(*at))
    }
}
