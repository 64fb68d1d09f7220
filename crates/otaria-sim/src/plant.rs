//! Known mistakes, planted into the fakes: a simulation that does not find them is none.

use std::fmt;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A bucket of capacity R that is filled with R a minute, in place of GCRA.
    PaceCapacityR,
    /// Claims pass without a look at the lease.
    LeaseNoEpoch,
    /// The cursor of an expansion moves though the slice is lost.
    CursorBeforeCommit,
    /// Notices are sent though the claim failed.
    PushBeforeCommit,
    /// A reconnect moves the timeouts of the device's tasks.
    TimeoutResetOnReconnect,
    /// Arrivals are not told, and no sweep finds them.
    PresenceLostWakeup,
    /// A cancel or a pause is answered before notices on their way are too late.
    FenceNoWait,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PaceCapacityR,
        Self::LeaseNoEpoch,
        Self::CursorBeforeCommit,
        Self::PushBeforeCommit,
        Self::TimeoutResetOnReconnect,
        Self::PresenceLostWakeup,
        Self::FenceNoWait,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaceCapacityR => "pace-capacity-r",
            Self::LeaseNoEpoch => "lease-no-epoch",
            Self::CursorBeforeCommit => "cursor-before-commit",
            Self::PushBeforeCommit => "push-before-commit",
            Self::TimeoutResetOnReconnect => "timeout-reset-on-reconnect",
            Self::PresenceLostWakeup => "presence-lost-wakeup",
            Self::FenceNoWait => "fence-no-wait",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| plant.as_str() == text)
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
