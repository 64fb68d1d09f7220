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
