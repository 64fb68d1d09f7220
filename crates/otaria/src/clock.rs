//! The system's clock behind the `Clock` port. Nothing else in the server reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use otaria_core::time::Timestamp;
use otaria_ports::clock::Clock;

/// The host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the server reads the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hosts_clock_keeps_the_contract() {
        otaria_ports::clock::contract::it_does_not_run_backwards(&super::SystemClock);
    }
}
