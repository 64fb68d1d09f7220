//! The clock and the chance of this crate, which measures the product from outside.
//!
//! Invariant: what is drawn comes from a seed that was printed, so that a run can be repeated.

use std::time::{Duration, Instant, SystemTime};

/// A moment to measure from.
#[expect(clippy::disallowed_methods, reason = "a helper beside the product; nobody replays it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, as the devices' records have it.
#[expect(clippy::disallowed_methods, reason = "a helper beside the product; nobody replays it")]
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Waits until `done` says so, asking every `pause`. False when the patience ends first.
pub(crate) fn wait_for(
    patience: Duration,
    pause: Duration,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let since = now();
    while !done()? {
        if since.elapsed() > patience {
            return Ok(false);
        }
        std::thread::sleep(pause);
    }
    Ok(true)
}

/// Numbers drawn from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that is short enough to be typed again.
    pub(crate) fn fresh_seed() -> u64 {
        Self::new(unix_us()).next() >> 44
    }

    /// Another stream of numbers for each name.
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        Self(name.bytes().fold(seed, |mixed, byte| Self(mixed ^ u64::from(byte)).next()))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly among `0..below`, which must not be 0; good enough for numbers far below 2^64.
    pub(crate) const fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    /// A place in a list of `length`, which must not be empty.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(length)).unwrap_or(0)
    }

    /// Brings a list into a drawn order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.place(last + 1);
            list.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_name_draw_the_same_again() {
        let draw = |seed, name| {
            let mut dice = Dice::named(seed, name);
            (0..5).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "a"), draw(7, "a"));
        assert_ne!(draw(7, "a"), draw(7, "b"));
        assert_ne!(draw(7, "a"), draw(8, "a"));
    }

    #[test]
    fn a_shuffled_list_has_the_same_members_in_another_order() {
        let mut list: Vec<u32> = (0..100).collect();
        Dice::new(1).shuffle(&mut list);
        assert_ne!(list, (0..100).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn patience_ends() {
        let (patience, pause) = (Duration::from_millis(5), Duration::from_millis(1));
        assert!(!wait_for(patience, pause, || Ok(false)).unwrap());
        assert!(wait_for(patience, pause, || Ok(true)).unwrap());
    }
}
