//! Who was heard on the broker lately, and under which session.

use std::collections::HashMap;
use std::time::Duration;

use otaria_core::door::{Downlink, Own, SessionSeq};
use otaria_core::ids::{DeviceId, DeviceName, JobNo, ModuleName, ProductKey};
use otaria_core::time::Timestamp;
use parking_lot::Mutex;

use crate::session::Told;

pub(super) type Names = (ProductKey, DeviceName);

/// A device that informs its version this soon after its session began has not connected again: it informs
/// several modules, or the version that it was just updated to.
const SESSION_MIN: Duration = Duration::from_secs(60);

/// Devices that count as connected.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    devices: HashMap<DeviceId, Contact>,
    by_name: HashMap<Names, DeviceId>,
}

struct Contact {
    session: SessionSeq,
    names: Names,
    /// Reports in this session.
    reports: u32,
    began: Timestamp,
    last: Timestamp,
    told: Told,
}

/// What a device's word belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) device: DeviceId,
    pub(super) session: SessionSeq,
    /// Counts the reports of the session from 1 on.
    pub(super) n: u32,
}

impl Heard {
    /// Notes a word of a device; `None` when a session has to be begun first.
    pub(super) fn word(&self, names: &Names, is_version: bool, now: Timestamp) -> Option<Known> {
        let mut inner = self.0.lock();
        let device = *inner.by_name.get(names)?;
        let contact = inner.devices.get_mut(&device)?;
        if is_version && now.since(contact.began) >= SESSION_MIN {
            return None;
        }
        contact.last = now;
        contact.reports = contact.reports.saturating_add(1);
        Some(Known { device, session: contact.session, n: contact.reports })
    }

    /// Begins a session, unless a later one began meanwhile.
    pub(super) fn enter(&self, device: DeviceId, names: Names, session: SessionSeq, now: Timestamp) {
        self.put(
            device,
            Contact { session, names, reports: 0, began: now, last: now, told: Told::default() },
        );
    }

    /// Begins a session for a device that another bridge heard, at `last`. It may have come back since: the next
    /// version that it informs begins a session of its own.
    pub(super) fn inherit(&self, device: DeviceId, names: Names, session: SessionSeq, last: Timestamp) {
        let (began, told) = (Timestamp::EPOCH, Told::default());
        self.put(device, Contact { session, names, reports: 0, began, last, told });
    }

    fn put(&self, device: DeviceId, mut contact: Contact) {
        let mut inner = self.0.lock();
        if let Some(present) = inner.devices.get(&device) {
            if present.session > contact.session {
                return;
            }
            // What it said meanwhile was said.
            contact.last = contact.last.max(present.last);
        }
        inner.by_name.insert(contact.names.clone(), device);
        inner.devices.insert(device, contact);
    }

    pub(super) fn session(&self, device: DeviceId) -> Option<SessionSeq> {
        self.0.lock().devices.get(&device).map(|contact| contact.session)
    }

    /// The job that a module of a device was told of last in its session.
    pub(super) fn told(&self, names: &Names, module: &ModuleName) -> Option<JobNo> {
        let inner = self.0.lock();
        inner.devices.get(inner.by_name.get(names)?)?.told.last(module)
    }

    /// A device is about to be told of a job. `None` when it does not count as connected, else the job that it was
    /// told of before.
    pub(super) fn tell(&self, device: DeviceId, module: &ModuleName, job: JobNo) -> Option<Option<JobNo>> {
        Some(self.0.lock().devices.get_mut(&device)?.told.tell(module, job))
    }

    /// It was not told.
    pub(super) fn take_back(&self, device: DeviceId, module: &ModuleName, before: Option<JobNo>) {
        if let Some(contact) = self.0.lock().devices.get_mut(&device) {
            contact.told.take_back(module, before);
        }
    }

    /// The topic of a device's notices, while it counts as connected.
    pub(super) fn topic(&self, device: DeviceId) -> Option<String> {
        let inner = self.0.lock();
        let (product_key, device_name) = &inner.devices.get(&device)?.names;
        let own = Own { product_key: product_key.as_str(), device_name: device_name.as_str() };
        Some(Downlink::Upgrade.topic(own))
    }

    /// Forgets a device; returns its session.
    pub(super) fn leave(&self, device: DeviceId) -> Option<SessionSeq> {
        let mut inner = self.0.lock();
        let contact = inner.devices.remove(&device)?;
        inner.by_name.remove(&contact.names);
        Some(contact.session)
    }

    /// Forgets whoever said nothing since then.
    pub(super) fn leave_since(&self, last: Timestamp) -> Vec<(DeviceId, SessionSeq)> {
        let mut inner = self.0.lock();
        let gone: Vec<(DeviceId, Contact)> =
            inner.devices.extract_if(|_, contact| contact.last <= last).collect();
        for (_, contact) in &gone {
            inner.by_name.remove(&contact.names);
        }
        gone.into_iter().map(|(device, contact)| (device, contact.session)).collect()
    }
}

#[cfg(test)]
mod tests {
    use otaria_core::shard::Shard;

    use super::*;

    #[test]
    fn a_version_begins_a_session_but_not_twice_in_a_minute() {
        let (heard, device) = (Heard::default(), DeviceId::new(Shard(1), 1));
        let names = (ProductKey::parse("a1product").unwrap(), DeviceName::parse("dev_1").unwrap());
        let at = |seconds: u64| Timestamp::EPOCH + Duration::from_secs(seconds);
        assert_eq!(heard.word(&names, true, at(0)), None, "nobody knows it");
        heard.enter(device, names.clone(), SessionSeq(7), at(0));
        let known = |n| Some(Known { device, session: SessionSeq(7), n });
        assert_eq!(heard.word(&names, true, at(0)), known(1));
        assert_eq!(heard.word(&names, true, at(59)), known(2));
        assert_eq!(heard.word(&names, false, at(100)), known(3));
        assert_eq!(heard.word(&names, true, at(100)), None, "it came back");
        assert_eq!(heard.leave_since(at(99)), []);
        assert_eq!(heard.leave_since(at(100)), [(device, SessionSeq(7))]);
        assert_eq!(heard.word(&names, false, at(101)), None);
    }

    #[test]
    fn who_is_inherited_is_silent_since_its_last_word_and_comes_back_with_its_next_version() {
        let (heard, device) = (Heard::default(), DeviceId::new(Shard(1), 1));
        let names = (ProductKey::parse("a1product").unwrap(), DeviceName::parse("dev_1").unwrap());
        let at = |seconds: u64| Timestamp::EPOCH + Duration::from_secs(seconds);
        heard.inherit(device, names.clone(), SessionSeq(7), at(1_000));
        assert_eq!(heard.session(device), Some(SessionSeq(7)));
        assert_eq!(heard.word(&names, true, at(1_030)), None, "it came back");
        heard.enter(device, names.clone(), SessionSeq(9), at(1_030));
        heard.inherit(device, names.clone(), SessionSeq(8), at(1_000));
        assert_eq!(heard.session(device), Some(SessionSeq(9)), "a later one stays");
        assert_eq!(heard.leave_since(at(1_029)), []);

        heard.inherit(device, names, SessionSeq(10), at(1_000));
        assert_eq!(heard.leave_since(at(1_029)), [], "what it said meanwhile was said");
        assert_eq!(heard.leave_since(at(1_030)), [(device, SessionSeq(10))]);
    }
}
