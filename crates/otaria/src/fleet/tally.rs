//! What a number of notices adds up to: how many, how fast, how many in any minute.

use std::collections::HashMap;
use std::time::Duration;

/// One notice that reached one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When, counted from the start of the fleet.
    pub(crate) at: Duration,
    /// The device, by its place in the fleet.
    pub(crate) device: u32,
    /// The version that was offered, by its number in the recorder.
    pub(crate) version: u16,
    /// The notice's own number: a repeat of the same attempt has the same.
    pub(crate) wire_id: u64,
}

/// Notices in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Vec<Seen>);

/// The window of the pace.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

impl Tally {
    pub(crate) fn new(mut seen: Vec<Seen>) -> Self {
        seen.sort_by_key(|notice| notice.at);
        Self(seen)
    }

    /// Only those that offered this version.
    pub(crate) fn of_version(&self, version: u16) -> Self {
        Self(self.0.iter().filter(|notice| notice.version == version).copied().collect())
    }

    /// All of them.
    pub(crate) fn notices(&self) -> &[Seen] {
        &self.0
    }

    pub(crate) fn total(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn first(&self) -> Option<Duration> {
        self.0.first().map(|notice| notice.at)
    }

    pub(crate) fn last(&self) -> Option<Duration> {
        self.0.last().map(|notice| notice.at)
    }

    /// From the first notice to the last, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.first(), self.last()) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// Notices a second from the first to the last. Without a span there is no rate: 0.
    pub(crate) fn per_second(&self) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { count(self.total()) / seconds } else { 0.0 }
    }

    /// The most notices in any half-open window `[t, t + window)`, wherever it begins.
    pub(crate) fn max_in_any(&self, window: Duration) -> usize {
        // A window with the most in it can be moved to the right until it begins at a notice.
        let mut end = 0;
        let most = self.0.iter().enumerate().map(|(begin, first)| {
            while self.0.get(end).is_some_and(|notice| notice.at < first.at + window) {
                end += 1;
            }
            end - begin
        });
        most.max().unwrap_or(0)
    }

    /// How many attempts each device saw: notices with different numbers.
    pub(crate) fn attempts(&self) -> HashMap<u32, usize> {
        let mut ids: Vec<(u32, u64)> = self.0.iter().map(|notice| (notice.device, notice.wire_id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().fold(HashMap::new(), |mut attempts, (device, _)| {
            *attempts.entry(*device).or_default() += 1;
            attempts
        })
    }

    /// Notices beyond one an attempt: repeats of what a device was told before.
    pub(crate) fn repeats(&self) -> usize {
        self.total() - self.attempts().values().sum::<usize>()
    }
}

/// A count as a number to calculate with. Exact below 2^53.
#[expect(clippy::as_conversions, reason = "counts of devices and notices stay far below 2^53")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}

/// The middle of some numbers, the lower one of two. `None` of none.
pub(crate) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(seconds: &[u64]) -> Tally {
        Tally::new(seconds.iter().map(|second| seen(*second, 0, 0)).collect())
    }

    fn seen(second: u64, device: u32, wire_id: u64) -> Seen {
        Seen { at: Duration::from_secs(second), device, version: 0, wire_id }
    }

    #[test]
    fn a_window_is_half_open() {
        assert_eq!(tally(&[0, 60]).max_in_any(MINUTE), 1);
        assert_eq!(tally(&[0, 59, 60]).max_in_any(MINUTE), 2);
        assert_eq!(tally(&[]).max_in_any(MINUTE), 0);
    }

    #[test]
    fn attempts_count_numbers_and_repeats_count_the_rest() {
        let tally = Tally::new(vec![seen(0, 1, 10), seen(1, 1, 10), seen(2, 1, 11), seen(3, 2, 12)]);
        assert_eq!(tally.attempts(), HashMap::from([(1, 2), (2, 1)]));
        assert_eq!(tally.repeats(), 1);
        assert_eq!((tally.total(), tally.seconds()), (4, 3.0));
    }

    #[test]
    fn the_median_is_a_number_that_was_there() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }

    proptest! {
        #[test]
        fn the_busiest_window_is_the_busiest_of_all(times in prop::collection::vec(0_u64..400, 0..80)) {
            // Windows that begin at any instant of the grid, also between and before notices.
            let inside = |begin: u64| times.iter().filter(|time| (begin..begin + 60).contains(time)).count();
            let naive = (0..400).map(inside).max().unwrap_or(0);
            prop_assert_eq!(tally(&times).max_in_any(MINUTE), naive);
        }
    }
}
