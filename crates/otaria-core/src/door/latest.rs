//! Which of the notices that wait for a device is the latest.
//!
//! A task may take the place of another whose notice still waits for its date. The other's notice is not in time by any
//! fence, since its job goes on; but whoever wrote it would send the device to a version that nobody wants there any
//! more, and before or after the right one, as the dates fall.
//!
//! A device's module has one open task at a time, and notices come in the order of their claims; so of two jobs whose
//! notices wait for the same module, the one that came later is the one that counts.
//!
//! Invariant: what is kept is bounded by the notices that wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::ids::{DeviceId, JobNo, ModuleName};

/// The latest job of every device's module for which notices wait.
#[derive(Debug, Default)]
pub struct Latest(HashMap<(DeviceId, ModuleName), (JobNo, u32)>);

impl Latest {
    /// A notice begins to wait.
    pub fn came(&mut self, device: DeviceId, module: &ModuleName, job: JobNo) {
        let (latest, waiting) = self.0.entry((device, module.clone())).or_insert((job, 0));
        *latest = job;
        *waiting += 1;
    }

    /// A notice waits no more; whether one of a later task came meanwhile, so that this one must not be written.
    pub fn left(&mut self, device: DeviceId, module: &ModuleName, job: JobNo) -> bool {
        let Entry::Occupied(mut known) = self.0.entry((device, module.clone())) else { return false };
        let (latest, waiting) = known.get_mut();
        let is_overtaken = *latest != job;
        *waiting -= 1;
        if *waiting == 0 {
            known.remove();
        }
        is_overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId(7);
    const OTHER: DeviceId = DeviceId(8);
    const EARLIER: JobNo = JobNo(1);
    const LATER: JobNo = JobNo(2);

    fn module(name: &str) -> ModuleName {
        ModuleName::parse(name).unwrap()
    }

    #[test]
    fn of_two_jobs_the_one_that_came_later_counts_whichever_is_due_first() {
        for is_earlier_due_first in [true, false] {
            let (mut latest, module) = (Latest::default(), module("default"));
            latest.came(DEVICE, &module, EARLIER);
            latest.came(DEVICE, &module, LATER);
            let due = if is_earlier_due_first { [EARLIER, LATER] } else { [LATER, EARLIER] };
            assert_eq!(due.map(|job| latest.left(DEVICE, &module, job)), due.map(|job| job == EARLIER));
            assert!(latest.0.is_empty(), "nothing waits, nothing is kept");
        }
    }

    /// Delivered again, or looked at again: a notice does not overtake another of its own job.
    #[test]
    fn notices_of_one_job_do_not_overtake_each_other() {
        let (mut latest, module) = (Latest::default(), module("default"));
        latest.came(DEVICE, &module, LATER);
        latest.came(DEVICE, &module, LATER);
        assert!(!latest.left(DEVICE, &module, LATER));
        latest.came(DEVICE, &module, LATER);
        assert!(!latest.left(DEVICE, &module, LATER));
        assert!(!latest.left(DEVICE, &module, LATER));
        assert!(latest.0.is_empty());
    }

    #[test]
    fn other_devices_and_other_modules_are_another_matter() {
        let (mut latest, main, radio) = (Latest::default(), module("default"), module("radio"));
        latest.came(DEVICE, &main, EARLIER);
        latest.came(OTHER, &main, LATER);
        latest.came(DEVICE, &radio, LATER);
        assert!(!latest.left(DEVICE, &main, EARLIER));
        assert!(!latest.left(OTHER, &main, LATER));
        assert!(!latest.left(DEVICE, &radio, LATER));
        assert!(latest.0.is_empty());
    }

    #[test]
    fn what_has_been_written_is_not_in_the_way_of_what_comes_later() {
        let (mut latest, module) = (Latest::default(), module("default"));
        latest.came(DEVICE, &module, EARLIER);
        assert!(!latest.left(DEVICE, &module, EARLIER));
        latest.came(DEVICE, &module, LATER);
        assert!(!latest.left(DEVICE, &module, LATER));
    }
}
