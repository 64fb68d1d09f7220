//! What a demo draws from its seed: which devices are online, which fail or stay silent, in what order they
//! stand in the list, and the bytes of the package.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::{SliceRandom, index};
use rand::{Rng, SeedableRng};

use crate::fleet::Temper;

/// Bytes of the package: a real download for each device, which two cores serve beside everything else.
const PACKAGE_BYTES: usize = 256 << 10;

/// A drawn demo. The same arguments draw the same one.
pub(super) struct World {
    pub(super) seed: u64,
    /// Devices in the list.
    pub(super) devices: u32,
    /// Devices that fail, and that stay silent; the others of those online are good.
    pub(super) failing: usize,
    pub(super) silent: usize,
    /// The devices that are online, by number, and what they are like.
    pub(super) online: HashMap<u32, Temper>,
    pub(super) package: Vec<u8>,
}

impl World {
    /// Draws `online` of the devices uniformly, and among them those that fail and those that are silent, in
    /// percent of all devices, rounded down. `None` if so many are not online.
    pub(super) fn draw(
        seed: u64,
        devices: u32,
        online: u32,
        fail_percent: u32,
        silent_percent: u32,
    ) -> Option<Self> {
        let share = |percent: u32| u64::from(devices) * u64::from(percent) / 100;
        let failing = usize::try_from(share(fail_percent)).ok()?;
        let silent = usize::try_from(share(silent_percent)).ok()?;
        let (all, online) = (usize::try_from(devices).ok()?, usize::try_from(online).ok()?);
        if failing + silent > online {
            return None;
        }

        let mut chance = StdRng::seed_from_u64(seed);
        let mut drawn = index::sample(&mut chance, all, online).into_vec();
        drawn.shuffle(&mut chance);
        let tempers = std::iter::repeat_n(Temper::Failing, failing)
            .chain(std::iter::repeat_n(Temper::Silent, silent))
            .chain(std::iter::repeat(Temper::Good));
        let numbers = drawn.into_iter().filter_map(|number| u32::try_from(number).ok());
        let mut package = vec![0; PACKAGE_BYTES];
        chance.fill_bytes(&mut package);
        Some(Self { seed, devices, failing, silent, online: numbers.zip(tempers).collect(), package })
    }

    /// Devices that are online and update when they are told to.
    pub(super) fn good(&self) -> usize {
        self.online.len() - self.failing - self.silent
    }

    /// Whether retries and timeouts have something to do.
    pub(super) fn has_trouble(&self) -> bool {
        self.failing + self.silent > 0
    }

    /// The name of a device.
    pub(super) fn name(number: u32) -> String {
        format!("demo-{number:07}")
    }

    /// The list file: all names, one a line, in an order that no index has.
    pub(super) fn list(&self) -> Vec<u8> {
        let mut numbers: Vec<u32> = (0..self.devices).collect();
        numbers.shuffle(&mut StdRng::seed_from_u64(self.seed.wrapping_add(1)));
        numbers.into_iter().flat_map(|number| (Self::name(number) + "\n").into_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tempers(world: &World, temper: Temper) -> usize {
        world.online.values().filter(|found| **found == temper).count()
    }

    #[test]
    fn the_sets_are_as_large_as_asked_and_disjoint() {
        let world = World::draw(1, 2_001, 2_001, 20, 5).unwrap();
        assert_eq!(tempers(&world, Temper::Failing), 400);
        assert_eq!(tempers(&world, Temper::Silent), 100);
        assert_eq!(tempers(&world, Temper::Good), world.good());
        assert_eq!(world.online.len(), 2_001);
    }

    #[test]
    fn a_seed_draws_the_same_again() {
        let (first, again) = (World::draw(7, 500, 50, 1, 1).unwrap(), World::draw(7, 500, 50, 1, 1).unwrap());
        assert_eq!(first.online, again.online);
        assert_eq!(first.package, again.package);
        assert_eq!(first.list(), again.list());
        assert_ne!(first.online, World::draw(8, 500, 50, 1, 1).unwrap().online);
    }

    #[test]
    fn more_trouble_than_devices_online_is_refused() {
        assert!(World::draw(1, 100, 20, 20, 1).is_none());
        assert!(World::draw(1, 100, 21, 20, 1).is_some());
    }

    #[test]
    fn the_list_has_each_name_once() {
        let list = String::from_utf8(World::draw(3, 1_000, 1, 0, 0).unwrap().list()).unwrap();
        let mut names: Vec<&str> = list.lines().collect();
        assert_ne!(names[0], "demo-0000000");
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), names[0]), (1_000, "demo-0000000"));
    }
}
