//! The clock, read once per request or tick, at the rim.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use otaria_core::time::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, in unix milliseconds. May jump when the host's clock is set; never goes back by more than
    /// that.
    fn now(&self) -> Timestamp;

    /// Now, if that may decide whether a date is past that another process set. `None` from a clock that
    /// follows another one and could not look at it for [`LOOK_AGE_MAX`]: how far it went astray since then,
    /// nobody knows.
    fn judge(&self) -> Option<Timestamp> {
        Some(self.now())
    }
}

/// A look at the clock that rules which is older than this is no clock: it may be from before this machine slept.
pub const LOOK_AGE_MAX: Duration = Duration::from_secs(2);

/// A clock that only its owner moves.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicI64,
    is_lost: AtomicBool,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.millis()), is_lost: AtomicBool::new(false) }
    }

    /// Whether it may be judged by from now on.
    pub fn lose(&self, is_lost: bool) {
        self.is_lost.store(is_lost, Ordering::SeqCst);
    }

    /// Moves it forward.
    pub fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets it, also backwards.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn judge(&self) -> Option<Timestamp> {
        (!self.is_lost.load(Ordering::SeqCst)).then(|| self.now())
    }
}

/// Holds for every [`Clock`].
pub mod contract {
    use super::Clock;

    /// Nothing but a hand on the clock takes it back, and it counts in milliseconds of this age.
    pub fn it_does_not_run_backwards(clock: &dyn Clock) {
        let looks: Vec<_> = (0..1_000).map(|_| clock.now()).collect();
        assert!(looks.is_sorted());
        // 2020 in unix milliseconds; seconds or microseconds would be far off.
        assert!((1_577_836_800_000..10_000_000_000_000).contains(&looks[0].millis()));
    }

    /// While it may be judged by, it judges by the time that it shows.
    pub fn it_judges_by_what_it_shows(clock: &dyn Clock) {
        let before = clock.now();
        let judged = clock.judge().expect("it looked at what it follows a moment ago");
        assert!((before..=clock.now()).contains(&judged));
    }

    /// Once it has lost what it follows, it still shows a time, and nothing is judged by it.
    pub fn once_lost_it_goes_on_and_judges_nothing(clock: &dyn Clock) {
        assert_eq!(clock.judge(), None);
        it_does_not_run_backwards(clock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_one_keeps_the_contract() {
        let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
        contract::it_does_not_run_backwards(&clock);
        contract::it_judges_by_what_it_shows(&clock);
        clock.lose(true);
        contract::once_lost_it_goes_on_and_judges_nothing(&clock);
        clock.lose(false);
        contract::it_judges_by_what_it_shows(&clock);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().millis(), 1_800_000_001_000);
    }
}
