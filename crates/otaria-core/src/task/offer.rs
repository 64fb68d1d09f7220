//! An offer to a device: which attempt it is, where its notice is, and whether another follows a failure.

use std::time::Duration;

use crate::time::Timestamp;

/// How long after its date a claimed notice may stay unwritten before it is delivered again.
pub const DELIVERY_DEADLINE: Duration = Duration::from_secs(5);

/// Between two deliveries of one attempt after reconnects.
pub const REPEAT_SPACING: Duration = Duration::from_secs(60);

/// One offer of a task: the first, or a retry after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u8,
    /// When it was claimed first; also the `id` of its notices, which repeats keep.
    pub offered_at: Timestamp,
}

/// What is known of an attempt's notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Committed, perhaps sent; delivered again when nobody says `Written` before the deadline.
    Claimed {
        /// When silence counts as loss.
        deadline: Timestamp,
    },
    /// Not written in time. Goes out, with a new pace token, as soon as the device is online.
    Wanted,
    /// Written to the device's socket.
    Written {
        /// When we heard of it.
        at: Timestamp,
    },
    /// The device asked by itself; nothing is pushed for this attempt.
    Fetched,
}

/// Whether a failed attempt is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No failure is open.
    None,
    /// The next attempt is due then.
    At(Timestamp),
    /// Its time has come; it waits for the device or the pace.
    Wanted,
}

impl Delivery {
    /// When silence counts as loss.
    pub(super) const fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::Claimed { deadline } => Some(deadline),
            Self::Wanted | Self::Written { .. } | Self::Fetched => None,
        }
    }

    /// Whether nobody has said that the notice was written.
    pub(super) const fn is_unheard(self) -> bool {
        matches!(self, Self::Claimed { .. } | Self::Wanted)
    }

    /// Whether the device may have had the notice at an instant of its gateway.
    pub(super) fn is_out_by(self, read: Timestamp) -> bool {
        match self {
            Self::Claimed { .. } | Self::Wanted => false,
            Self::Written { at } => at <= read,
            Self::Fetched => true,
        }
    }

    /// A device that reports has seen the notice, whether or not the gateway's word came through.
    pub(super) const fn reached(self, now: Timestamp) -> Self {
        match self {
            Self::Claimed { .. } | Self::Wanted => Self::Written { at: now },
            Self::Written { .. } | Self::Fetched => self,
        }
    }
}

impl Retry {
    /// When the next offer is due.
    pub(super) const fn due(self) -> Option<Timestamp> {
        match self {
            Self::At(due) => Some(due),
            Self::None | Self::Wanted => None,
        }
    }
}
