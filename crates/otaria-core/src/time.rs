//! Instants as the house counts them: unix milliseconds, signed, without a zone.
//!
//! Nothing here reads a clock; an instant is always handed in.

use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant in unix milliseconds.
///
/// Milliseconds are what the wire of the seed API carries and what the store keeps (`bigint`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant: 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Makes an instant of unix milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this instant lies; zero when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// The earlier of two instants where either may be missing.
#[must_use]
pub fn earliest(instants: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    instants.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_instant_is_no_time_after_a_later_one() {
        let (early, late) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(late.since(early), Duration::from_millis(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn the_earliest_of_nothing_is_nothing() {
        assert_eq!(earliest([None, None]), None);
        assert_eq!(
            earliest([None, Some(Timestamp::from_millis(3)), Some(Timestamp::EPOCH)]),
            Some(Timestamp::EPOCH)
        );
    }
}
