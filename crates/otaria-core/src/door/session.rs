//! Which of two logins of the same device stays.

use std::fmt;

/// The number of a login. A later login of the same device always has a higher one, across all gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionSeq(pub i64);

impl fmt::Display for SessionSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a login means for the session that the device already has at this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// There is none.
    First,
    /// The older one is closed.
    Replaces(SessionSeq),
    /// A later login got here before; this one is closed.
    Outdated,
}

impl Arrival {
    /// Decides by the numbers, not by who got here first.
    #[must_use]
    pub fn of(new: SessionSeq, current: Option<SessionSeq>) -> Self {
        match current {
            None => Self::First,
            Some(old) if old < new => Self::Replaces(old),
            Some(_) => Self::Outdated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_login_stays_in_whatever_order_they_arrive() {
        let (first, second) = (SessionSeq(7), SessionSeq(8));
        assert_eq!(Arrival::of(first, None), Arrival::First);
        assert_eq!(Arrival::of(second, Some(first)), Arrival::Replaces(first));
        assert_eq!(Arrival::of(first, Some(second)), Arrival::Outdated);
        assert_eq!(Arrival::of(first, Some(first)), Arrival::Outdated, "a login does not replace itself");
    }
    /// Log lines of two gateways are joined by it.
    #[test]
    fn a_login_is_shown_by_its_number() {
        assert_eq!(SessionSeq(7).to_string(), "7");
    }
}
