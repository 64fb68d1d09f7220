//! The clock of what is measured here, and the chance that a run begins with.
//!
//! Only the commands that watch a server from outside use it (`demo`, `fleet`, progress of commands); the
//! server has the Clock and Ids ports.

use std::time::{Duration, Instant, SystemTime};

/// A moment, and what passed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    begun: Instant,
    begun_unix: Duration,
}

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "measures a server from outside; decides nothing")]
    pub(crate) fn start() -> Self {
        let begun_unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { begun: Instant::now(), begun_unix }
    }

    /// What passed since the start, on a clock that never jumps.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The same in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// The wall clock at a moment so long after the start, in Unix milliseconds.
    pub(crate) fn unix_ms(&self, after_start: Duration) -> u64 {
        u64::try_from((self.begun_unix + after_start).as_millis()).unwrap_or(u64::MAX)
    }

    /// The same in Unix microseconds.
    pub(crate) fn unix_us(&self, after_start: Duration) -> u64 {
        u64::try_from((self.begun_unix + after_start).as_micros()).unwrap_or(u64::MAX)
    }
}

/// A number that nobody foresees, small enough to be typed again.
pub(crate) fn fresh_seed() -> u64 {
    // Without the system's randomness a run is still good, only foreseeable.
    u64::from(getrandom::u32().unwrap_or(1))
}
