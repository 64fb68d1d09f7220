//! The clock, read once per request or tick, at the rim.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use otaria_core::time::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, in unix milliseconds. May jump when the host's clock is set; never goes back by more than
    /// that.
    fn now(&self) -> Timestamp;
}

/// A clock that only its owner moves.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.millis()))
    }

    /// Moves it forward.
    pub fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets it, also backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_one_keeps_the_contract() {
        let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
        contract::it_does_not_run_backwards(&clock);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().millis(), 1_800_000_001_000);
    }
}
