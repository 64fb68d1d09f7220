//! One clock for all processes: the time of the Redis server, carried on by this process's monotonic clock.
//!
//! Notices are dated by one process and checked by another; what counts is not the true time but that all
//! mean the same. Twice a second the server is asked. Half the way there and back is how wrong an answer can
//! be at most, so of the last answers the quickest is believed. Differences are made up slowly, and time never
//! goes back; but who is more than a second behind, since it slept or the server's clock was set, leaps to where the
//! others are: until then all it dates and judges would be wrong.
//!
//! While Redis does not answer, the clock goes on as it went, for whatever only wants a time. But how far it is
//! from the others' then, nobody knows: what a virtual machine sleeps through, it finds out with the next answer.
//! So after [`LOOK_AGE_MAX`] without one, no notice is judged by it.
//!
//! This is the one place of the crate where the host's clocks are read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use otaria_core::time::Timestamp;
use otaria_ports::clock::{Clock, LOOK_AGE_MAX};
use parking_lot::Mutex;

use crate::link::{Beat, RedisLink, WeakLink};

/// Answers among which the quickest is believed: four seconds' worth.
const SAMPLES: usize = 8;
/// A host whose clock is off by more than this is told about at the start: its logs and certificates suffer.
const HOST_OFF: Duration = Duration::from_secs(5);
/// How fast differences are made up, in microseconds per millisecond: small ones, and those of more than a second
/// that this clock is ahead.
const SLEW: (i64, i64) = (50, 500);
const LARGE_MICROS: i64 = 1_000_000;

/// The process's monotonic clock, in microseconds since it was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    #[expect(clippy::disallowed_methods, reason = "the shared clock goes on by the monotonic one")]
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn micros(self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// See the module.
pub struct SharedClock {
    monotonic: Monotonic,
    hand: Mutex<Hand>,
    /// When the server was asked that answered last, by the monotonic clock.
    looked: AtomicI64,
}

impl std::fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedClock").finish_non_exhaustive()
    }
}

impl SharedClock {
    /// A clock that shows the server's time, and follows it while the link lives.
    #[must_use]
    pub fn start(link: &RedisLink) -> Arc<Self> {
        let mut beats = link.beats();
        let monotonic = link.monotonic();
        let first = *beats.borrow_and_update();
        let hand = Mutex::new(Hand::at(Sample::of(first), monotonic.micros()));
        let clock = Arc::new(Self { monotonic, hand, looked: AtomicI64::new(first.asked_micros) });
        compare_with_host(clock.now());
        let (weak, link) = (Arc::downgrade(&clock), link.downgrade());
        tokio::spawn(async move {
            while beats.changed().await.is_ok() {
                let beat = *beats.borrow_and_update();
                let Some(clock) = weak.upgrade() else { return };
                clock.take(beat, &link);
            }
        });
        clock
    }

    fn take(&self, beat: Beat, link: &WeakLink) {
        // Whoever waits for a lost link has no news.
        if link.upgrade().is_none() {
            return;
        }
        let now = self.monotonic.micros();
        let mut hand = self.hand.lock();
        hand.take(Sample::of(beat), now);
        self.looked.store(beat.asked_micros, Ordering::SeqCst);
        let (off, error) = (hand.target - hand.offset_at(now), hand.error());
        drop(hand);
        metrics::gauge!("otaria_redis_clock_error_seconds").set(error as f64 / 1_000_000.0);
        metrics::gauge!("otaria_redis_clock_to_make_up_seconds").set(off as f64 / 1_000_000.0);
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        let now = self.monotonic.micros();
        Timestamp::from_millis(self.hand.lock().read(now).div_euclid(1_000))
    }

    fn judge(&self) -> Option<Timestamp> {
        let shown = self.now();
        // Looked at last: whatever kept this thread in between makes the look older.
        let age = self.monotonic.micros() - self.looked.load(Ordering::SeqCst);
        (u128::try_from(age).unwrap_or_default() <= LOOK_AGE_MAX.as_micros()).then_some(shown)
    }
}

/// One look at the server's time: what to add to the monotonic one, and how wrong that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    offset: i64,
    error: i64,
}

impl Sample {
    fn of(beat: Beat) -> Self {
        let error = (beat.heard_micros - beat.asked_micros + 1) / 2;
        Self { offset: beat.server_micros - (beat.asked_micros + error), error }
    }
}

/// The offset as it moves towards the believed one.
#[derive(Debug)]
struct Hand {
    samples: VecDeque<Sample>,
    /// The offset that was in force at a monotonic instant.
    offset: i64,
    since: i64,
    target: i64,
    /// The latest instant shown.
    shown: i64,
}

impl Hand {
    fn at(sample: Sample, now: i64) -> Self {
        let samples = VecDeque::from([sample]);
        Self { samples, offset: sample.offset, since: now, target: sample.offset, shown: i64::MIN }
    }

    fn take(&mut self, sample: Sample, now: i64) {
        self.offset = self.offset_at(now);
        self.since = now;
        let believed = self.best().map_or(sample.offset, |best| best.offset);
        // Beyond what both errors explain, the server's clock itself was moved: older answers mean nothing.
        let explained = sample.error + self.best().map_or(0, |best| best.error) + 10_000;
        if (sample.offset - believed).abs() > explained {
            self.samples.clear();
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.target = self.best().map_or(sample.offset, |best| best.offset);
    }

    fn best(&self) -> Option<Sample> {
        self.samples.iter().copied().min_by_key(|sample| sample.error)
    }

    fn error(&self) -> i64 {
        self.best().map_or(0, |best| best.error)
    }

    fn offset_at(&self, now: i64) -> i64 {
        let off = self.target - self.offset;
        if off > LARGE_MICROS {
            return self.target;
        }
        let rate = if off.abs() > LARGE_MICROS { SLEW.1 } else { SLEW.0 };
        let most = (now - self.since).max(0) / 1_000 * rate;
        self.offset + off.clamp(-most, most)
    }

    fn read(&mut self, now: i64) -> i64 {
        // Slewing back is slower than time; this holds the hand where two threads read out of order.
        self.shown = self.shown.max(now + self.offset_at(now));
        self.shown
    }
}

/// Says so when the host's clock is far from the shared one. The shared one rules; nothing else depends on it.
#[expect(clippy::disallowed_methods, reason = "the host's clock is compared with the shared one, once")]
fn compare_with_host(shared: Timestamp) {
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let host = Timestamp::from_millis(i64::try_from(host.as_millis()).unwrap_or(i64::MAX));
    let off = host.since(shared).max(shared.since(host));
    metrics::gauge!("otaria_redis_clock_host_off_seconds").set(off.as_secs_f64());
    if off > HOST_OFF {
        tracing::warn!(
            off_seconds = off.as_secs(),
            "this host's clock is far from Redis's, which rules; set it by NTP"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand() -> Hand {
        Hand::at(Sample { offset: 1_000_000, error: 500 }, 0)
    }

    #[test]
    fn the_quickest_of_the_last_answers_is_believed() {
        let mut hand = hand();
        hand.take(Sample { offset: 1_003_000, error: 4_000 }, 500_000);
        assert_eq!(hand.target, 1_000_000);
        hand.take(Sample { offset: 1_000_200, error: 100 }, 1_000_000);
        assert_eq!(hand.target, 1_000_200);
        for n in 0..SAMPLES as i64 {
            hand.take(Sample { offset: 1_000_900, error: 300 }, 1_500_000 + n);
        }
        assert_eq!(hand.target, 1_000_900, "the quick one is too old");
    }

    #[test]
    fn a_difference_is_made_up_slowly_and_time_never_goes_back() {
        let mut hand = hand();
        hand.take(Sample { offset: 0, error: 100 }, 1_000_000);
        let shown: Vec<i64> = (1_000..32_000).map(|millis| hand.read(millis * 1_000)).collect();
        assert!(shown.is_sorted());
        assert_eq!(shown[0], 2_000_000);
        assert_eq!(*shown.last().unwrap(), 31_999_000, "20 s make up a second");
    }

    #[test]
    fn who_is_far_behind_leaps() {
        // As after an hour's sleep, through which the monotonic clock stood still.
        let hour = 3_600_000_000;
        let mut hand = hand();
        assert_eq!(hand.read(1_000_000), 2_000_000);
        hand.take(Sample { offset: 1_000_000 + hour, error: 100 }, 1_500_000);
        assert_eq!(hand.read(1_500_000), 2_500_000 + hour);
        hand.take(Sample { offset: 1_000_000 + hour, error: 100 }, 2_000_000);
        assert_eq!(hand.read(2_000_000), 3_000_000 + hour, "once");
        hand.take(Sample { offset: 2_000_000 + hour, error: 100 }, 2_000_000);
        assert_eq!(hand.read(2_000_000), 3_000_000 + hour, "a second is made up slowly");
    }

    #[test]
    fn a_server_whose_clock_was_set_back_is_waited_for_at_half_speed() {
        let mut back = Hand::at(Sample { offset: 10_000_000, error: 100 }, 0);
        back.take(Sample { offset: 0, error: 100 }, 0);
        assert_eq!(back.read(2_000_000), 2_000_000 + 10_000_000 - 1_000_000);
    }

    #[test]
    fn half_the_way_there_and_back_is_the_error() {
        let beat = Beat { incarnation: 1, server_micros: 50_000, asked_micros: 1_000, heard_micros: 3_000 };
        assert_eq!(Sample::of(beat), Sample { offset: 48_000, error: 1_000 });
    }
}
