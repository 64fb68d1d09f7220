//! The draw of a part: which rank is the last one that is in.
//!
//! One pass over the devices, in any order, in little memory: ranks are spread evenly, so the last one in
//! lies close to where its share of all ranks ends. Ranks well below that place are only counted, ranks well
//! above it are passed over, and those around it are kept.
//!
//! Invariant: what comes out is exact. When the last one in lies elsewhere, the draw says so, and is made
//! again with a wider window.

use super::rank;
use crate::ids::{DeviceId, JobNo};

/// The last device of a part: it, and every device of a smaller rank, is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Last {
    /// Its rank.
    pub rank: u64,
    /// The device: of equal ranks the smaller device goes first.
    pub device: DeviceId,
}

impl Last {
    /// The device's own place in the draw of a job.
    #[must_use]
    pub fn of(job: JobNo, device: DeviceId) -> Self {
        Self { rank: rank(job, device), device }
    }

    /// Whether a device is in.
    #[must_use]
    pub fn takes(self, job: JobNo, device: DeviceId) -> bool {
        Self::of(job, device) <= self
    }
}

/// A draw under way.
#[derive(Clone, Debug)]
pub struct Draw {
    job: JobNo,
    devices: u64,
    part: u64,
    /// Devices that the last one in may be off its place to either side.
    margin: u64,
    /// The ranks that are kept.
    window: (u64, u64),
    below: u64,
    kept: Vec<Last>,
}

impl Draw {
    /// A draw of `part` of so many `devices`, before the first of them.
    #[must_use]
    pub fn new(job: JobNo, devices: u64, part: u64) -> Self {
        // Eight standard deviations of how many of the devices have a rank below that place.
        let variance =
            u128::from(part) * u128::from(devices.saturating_sub(part)) / u128::from(devices.max(1));
        let deviation = u64::try_from(variance.isqrt()).unwrap_or(u64::MAX);
        Self::with_margin(job, devices, part, deviation.saturating_mul(8).saturating_add(64))
    }

    fn with_margin(job: JobNo, devices: u64, part: u64, margin: u64) -> Self {
        let place = |count: u64| {
            let share = (u128::from(count) << 64) / u128::from(devices.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let first = part.saturating_sub(margin);
        let window = (if first == 0 { 0 } else { place(first) }, place(part.saturating_add(margin)));
        Self { job, devices, part, margin, window, below: 0, kept: Vec::new() }
    }

    /// Takes one device, each once.
    pub fn add(&mut self, device: DeviceId) {
        let place = Last::of(self.job, device);
        if place.rank < self.window.0 {
            self.below += 1;
        } else if place.rank <= self.window.1 {
            self.kept.push(place);
        }
    }

    /// The last device in, once every device was taken; `None` when the part holds nobody.
    ///
    /// # Errors
    /// When it lies outside the window: the draw to be made instead, from the beginning.
    pub fn finish(mut self) -> Result<Option<Last>, Self> {
        let is_whole = self.window == (0, u64::MAX);
        let at = self.part.checked_sub(self.below + 1).and_then(|at| usize::try_from(at).ok());
        match at {
            Some(at) if at < self.kept.len() => Ok(Some(*self.kept.select_nth_unstable(at).1)),
            // Nobody is left out: there are fewer than were counted.
            Some(_) if is_whole => Ok(self.kept.into_iter().max()),
            None if is_whole => Ok(None),
            Some(_) | None => {
                let margin = self.margin.max(1).saturating_mul(16);
                Err(Self::with_margin(self.job, self.devices, self.part, margin))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOB: JobNo = JobNo(7);

    fn draw(mut draw: Draw, devices: &[i64]) -> (Option<Last>, u32) {
        let mut rounds = 1;
        loop {
            devices.iter().for_each(|device| draw.add(DeviceId(*device)));
            match draw.finish() {
                Ok(last) => return (last, rounds),
                Err(wider) => draw = wider,
            }
            rounds += 1;
            assert!(rounds < 20, "each is wider than the one before");
        }
    }

    fn sorted_out(devices: &[i64], part: usize) -> Option<Last> {
        let mut places: Vec<Last> = devices.iter().map(|device| Last::of(JOB, DeviceId(*device))).collect();
        places.sort_unstable();
        part.checked_sub(1).map(|at| places[at])
    }

    #[test]
    fn a_large_fleet_is_drawn_in_one_pass_and_little_memory() {
        let devices: Vec<i64> = (1..=200_000).collect();
        for part in [1, 63, 100_000, 199_999, 200_000] {
            let mut one = Draw::new(JOB, 200_000, part);
            devices.iter().for_each(|device| one.add(DeviceId(*device)));
            assert!(one.kept.len() < 8_000, "{} kept for {part}", one.kept.len());
            let last = one.finish().expect("the first window holds it");
            assert_eq!(last, sorted_out(&devices, usize::try_from(part).unwrap()));
        }
    }

    #[test]
    fn exactly_so_many_are_in() {
        let devices: Vec<i64> = (1..=5_000).collect();
        let last = draw(Draw::new(JOB, 5_000, 1_234), &devices).0.unwrap();
        assert_eq!(devices.iter().filter(|device| last.takes(JOB, DeviceId(**device))).count(), 1_234);
    }

    #[test]
    fn devices_that_are_fewer_than_counted_are_all_in() {
        let (last, _) = draw(Draw::new(JOB, 1_000_000, 500_000), &[1, 2, 3]);
        assert_eq!(last, sorted_out(&[1, 2, 3], 3));
        assert_eq!(draw(Draw::new(JOB, 10, 1), &[]).0, None);
    }

    /// As 1 % of 99 devices is.
    #[test]
    fn a_part_of_nobody_is_found_to_be_one() {
        for count in [0, 10, 5_000] {
            let devices: Vec<i64> = (0..count).collect();
            assert_eq!(draw(Draw::new(JOB, devices.len() as u64, 0), &devices).0, None);
        }
    }

    #[test]
    fn a_window_without_any_width_is_widened() {
        let devices: Vec<i64> = (1..=100).collect();
        let (last, rounds) = draw(Draw::with_margin(JOB, 100, 50, 0), &devices);
        assert_eq!(last, sorted_out(&devices, 50));
        assert!((2..=3).contains(&rounds), "{rounds}");
    }

    /// A rank that is counted as below the window, and none of its devices, would be missing from the part.
    #[test]
    fn both_ends_of_the_window_are_kept() {
        let place = Last::of(JOB, DeviceId(5));
        let mut draw = Draw { window: (place.rank, place.rank), ..Draw::with_margin(JOB, 10, 5, 0) };
        draw.add(DeviceId(5));
        assert_eq!((draw.below, draw.kept), (0, vec![place]));
    }

    proptest! {
        #[test]
        fn the_draw_is_that_of_a_sorted_list(
            count in 1_usize..3_000,
            share in 1_usize..=100,
            margin in prop::option::of(0_u64..50),
            first in 0_i64..1_000_000,
        ) {
            let devices: Vec<i64> = (first..).take(count).collect();
            let part = (count * share / 100).max(1);
            let (n, k) = (count as u64, part as u64);
            // Also with a window that is far too narrow.
            let begin = margin.map_or_else(|| Draw::new(JOB, n, k), |m| Draw::with_margin(JOB, n, k, m));
            prop_assert_eq!(draw(begin, &devices).0, sorted_out(&devices, part));
        }
    }
}
