//! What a row of instants says about pace: the fullest window, the rate, the longest pause.
//!
//! Invariant: instants are whole microseconds, and a window `[t, t + 60 s)` is half-open at exactly that
//! resolution: two pushes 60 s apart are never in the same one.

/// A notice that is claimed reaches its device within this time, or not by this claim.
const ON_ITS_WAY_US: u64 = 1_000_000;

/// The window of MaximumPerMinute.
pub(crate) const MINUTE_US: u64 = 60_000_000;

/// The most instants in any half-open window of this length, wherever it begins. `times` is in order.
pub(crate) fn max_in_any(times: &[u64], window_us: u64) -> usize {
    // The fullest window can be moved to the right until it begins at an instant.
    let mut end = 0;
    let counts = times.iter().enumerate().map(|(begin, first)| {
        while times.get(end).is_some_and(|time| *time - first < window_us) {
            end += 1;
        }
        end - begin
    });
    counts.max().unwrap_or(0)
}

/// From the first to the last, in seconds.
pub(crate) fn span_seconds(times: &[u64]) -> f64 {
    match (times.first(), times.last()) {
        (Some(first), Some(last)) => seconds(last - first),
        _ => 0.0,
    }
}

/// How many a second from the first to the last. The first one is where the count begins and not part of it.
pub(crate) fn per_second(times: &[u64]) -> f64 {
    let (steps, span) = (times.len().saturating_sub(1), span_seconds(times));
    if span > 0.0 { number(steps) / span } else { 0.0 }
}

/// The mean rate from the first to the last in percent of `limit` a minute.
pub(crate) fn used_percent(times: &[u64], limit: u32) -> f64 {
    100.0 * per_second(times) / (f64::from(limit) / 60.0)
}

/// The longest time without an instant that ends after `from`, counted from `from` at the earliest. `None` if
/// there is no instant after it.
pub(crate) fn longest_pause(times: &[u64], from: u64) -> Option<f64> {
    let mut before = from;
    let after = times.iter().filter(|time| **time > from);
    let pauses = after.map(|time| {
        let pause = time - before;
        before = *time;
        pause
    });
    pauses.max().map(seconds)
}

/// How long after the fault the pushes went on, when one dispatcher's devices are looked at: to the end of the
/// longest pause that began before what it had on its way at the fault had arrived.
pub(crate) fn resumed_after(times: &[u64], fault: u64) -> Option<f64> {
    let mut before = fault;
    let mut longest = None;
    for time in times.iter().copied().filter(|time| *time > fault) {
        if before > fault + ON_ITS_WAY_US {
            break;
        }
        if longest.is_none_or(|(length, _)| time - before > length) {
            longest = Some((time - before, time));
        }
        before = time;
    }
    longest.map(|(_, end)| seconds(end - fault))
}

/// Microseconds in seconds.
#[expect(clippy::as_conversions, reason = "a few minutes in microseconds are far below 2^53")]
pub(crate) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A count to calculate with.
#[expect(clippy::as_conversions, reason = "counts stay far below 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Dice;

    #[test]
    fn a_window_is_half_open_to_the_microsecond() {
        assert_eq!(max_in_any(&[0, MINUTE_US], MINUTE_US), 1);
        assert_eq!(max_in_any(&[0, MINUTE_US - 1], MINUTE_US), 2);
        assert_eq!(max_in_any(&[0, 0, MINUTE_US - 1, MINUTE_US], MINUTE_US), 3);
        assert_eq!(max_in_any(&[], MINUTE_US), 0);
    }

    #[test]
    fn the_fullest_window_is_the_fullest_of_all() {
        let mut dice = Dice::new(5);
        for _ in 0..200 {
            let mut times: Vec<u64> = (0..dice.below(60)).map(|_| dice.below(300)).collect();
            times.sort_unstable();
            let inside = |begin: u64| times.iter().filter(|time| (begin..begin + 60).contains(time)).count();
            assert_eq!(max_in_any(&times, 60), (0..300).map(inside).max().unwrap_or(0), "{times:?}");
        }
    }

    #[test]
    fn a_steady_pace_at_the_limit_uses_all_of_it() {
        let times: Vec<u64> = (0..2_400).map(|n| n * 50_000).collect();
        assert!((used_percent(&times, 1_200) - 100.0).abs() < 1e-9);
        assert_eq!(max_in_any(&times, MINUTE_US), 1_200);
        let slower: Vec<u64> = (0..2_400).map(|n| n * 50_417).collect();
        assert!((used_percent(&slower, 1_200) - 99.17).abs() < 0.01);
        assert_eq!(max_in_any(&slower, MINUTE_US), 1_191);
        assert!(used_percent(&[7], 10).abs() < 1e-9);
    }

    #[test]
    fn a_pause_counts_from_the_fault_and_needs_an_end() {
        let times = [1_000_000, 2_000_000, 7_000_000, 8_000_000, 11_000_000];
        assert_eq!(longest_pause(&times, 2_500_000), Some(4.5));
        assert_eq!(longest_pause(&times, 6_900_000), Some(3.0));
        assert_eq!(longest_pause(&times, 11_000_000), None);
    }

    #[test]
    fn pushes_that_were_on_their_way_do_not_count_as_resumed() {
        // Two arrive after the fault at 10 s, then nothing until 14 s; the pause at 20 s is another matter.
        let times = [9_900_000, 10_100_000, 10_300_000, 14_000_000, 14_100_000, 30_000_000];
        assert_eq!(resumed_after(&times, 10_000_000), Some(4.0));
        assert_eq!(resumed_after(&times, 31_000_000), None);
        let undisturbed: Vec<u64> = (0..100).map(|n| n * 150_000).collect();
        assert!(resumed_after(&undisturbed, 5_000_000).unwrap() < 1.3);
    }
}
