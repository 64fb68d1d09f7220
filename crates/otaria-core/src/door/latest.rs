//! Which of the notices that wait for a device is the latest.
//!
//! A task may take the place of another whose notice still waits for its date. No fence stops that notice, since its job
//! goes on; but whoever wrote it would send the device to a version that nobody wants there any more, before the right
//! one or after it, as the dates fall.
//!
//! A device's module has one open task at a time; so of two jobs whose notices wait for the same module, the one that
//! was offered later is the one that counts. Notices of two owners of a shard may come in any order, hence offers are
//! compared by when they were made, which is also their number on the wire.
//!
//! Invariant: what is kept is bounded by the notices that wait.

use std::collections::HashMap;

use crate::ids::{DeviceId, JobNo, ModuleName};

/// The latest offer of each module for which notices wait.
#[derive(Debug, Default)]
pub struct Latest(HashMap<DeviceId, Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    module: ModuleName,
    job: JobNo,
    wire_id: i64,
    notices: u32,
}

impl Latest {
    /// A notice begins to wait.
    pub fn came(&mut self, device: DeviceId, module: &ModuleName, job: JobNo, wire_id: i64) {
        let waiting = self.0.entry(device).or_default();
        match waiting.iter_mut().find(|waiting| waiting.module == *module) {
            Some(known) => {
                known.notices += 1;
                if wire_id >= known.wire_id {
                    (known.job, known.wire_id) = (job, wire_id);
                }
            }
            None => waiting.push(Waiting { module: module.clone(), job, wire_id, notices: 1 }),
        }
    }

    /// A notice waits no more; whether another job's is later, so that this one must not be written.
    pub fn left(&mut self, device: DeviceId, module: &ModuleName, job: JobNo) -> bool {
        let Some(waiting) = self.0.get_mut(&device) else { return false };
        let Some(place) = waiting.iter().position(|waiting| waiting.module == *module) else { return false };
        let known = &mut waiting[place];
        let is_overtaken = known.job != job;
        known.notices -= 1;
        if known.notices == 0 {
            waiting.swap_remove(place);
        }
        if waiting.is_empty() {
            self.0.remove(&device);
        }
        is_overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId(7);
    const OTHER: DeviceId = DeviceId(8);
    const EARLIER: JobNo = JobNo(9);
    const LATER: JobNo = JobNo(2);

    fn module(name: &str) -> ModuleName {
        ModuleName::parse(name).unwrap()
    }

    #[test]
    fn of_two_jobs_the_one_that_was_offered_later_counts_in_whatever_order_they_come_and_go() {
        let module = module("default");
        for came in [[(EARLIER, 100), (LATER, 101)], [(LATER, 101), (EARLIER, 100)]] {
            for due in [[EARLIER, LATER], [LATER, EARLIER]] {
                let mut latest = Latest::default();
                for (job, wire_id) in came {
                    latest.came(DEVICE, &module, job, wire_id);
                }
                assert_eq!(due.map(|job| latest.left(DEVICE, &module, job)), due.map(|job| job == EARLIER));
                assert!(latest.0.is_empty(), "nothing waits, nothing is kept");
            }
        }
    }

    /// Delivered again, or looked at again: a notice does not overtake another of its own job.
    #[test]
    fn notices_of_one_job_do_not_overtake_each_other() {
        let (mut latest, module) = (Latest::default(), module("default"));
        for wire_id in [100, 100, 50] {
            latest.came(DEVICE, &module, LATER, wire_id);
        }
        for _ in 0..3 {
            assert!(!latest.left(DEVICE, &module, LATER));
        }
        assert!(latest.0.is_empty());
    }

    #[test]
    fn other_devices_and_other_modules_are_another_matter() {
        let (mut latest, main, radio) = (Latest::default(), module("default"), module("radio"));
        latest.came(DEVICE, &main, EARLIER, 100);
        latest.came(OTHER, &main, LATER, 101);
        latest.came(DEVICE, &radio, LATER, 101);
        assert!(!latest.left(DEVICE, &main, EARLIER));
        assert!(!latest.left(DEVICE, &radio, LATER));
        assert!(!latest.0.contains_key(&DEVICE) && latest.0.contains_key(&OTHER));
        assert!(!latest.left(OTHER, &main, LATER));
        assert!(latest.0.is_empty());
    }

    #[test]
    fn what_has_been_written_is_not_in_the_way_of_what_comes_later() {
        let (mut latest, module) = (Latest::default(), module("default"));
        latest.came(DEVICE, &module, EARLIER, 100);
        assert!(!latest.left(DEVICE, &module, EARLIER));
        latest.came(DEVICE, &module, LATER, 101);
        assert!(!latest.left(DEVICE, &module, LATER));
        assert!(!latest.left(DEVICE, &module, LATER), "what never came overtakes nothing");
    }
}
