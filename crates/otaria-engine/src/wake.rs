//! When a loop next has work.

use otaria_core::time::Timestamp;

/// What a tick says to whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is more at once.
    Now,
    /// At an instant, or earlier when the bell rings.
    At(Timestamp),
    /// When the bell rings. Runners also tick once a second by themselves.
    OnSignal,
}

impl Wake {
    /// The earlier of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::At(a), Self::At(b)) => Self::At(a.min(b)),
            (at @ Self::At(_), Self::OnSignal) | (Self::OnSignal, at) => at,
        }
    }
}
