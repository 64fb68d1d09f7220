//! What a firmware is, and where its verification stands.
//!
//! Never touches a file: whether what was uploaded matches its digest is for those who hold the bytes.
//!
//! Invariant: upgrade jobs use only a firmware that [`FirmwareStatus::may_upgrade`].

mod new;

pub use new::{Digest, FirmwareKind, FirmwareName, NewFile, NewFirmware, SignMethod};

/// Where a firmware's verification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FirmwareStatus {
    /// −1: it was made without the wish to verify it.
    NoVerificationNeeded,
    /// 0: waits for a verify job.
    NotVerified,
    /// 1: all devices of its verify job succeeded.
    Verified,
    /// 2: its verify job runs.
    Verifying,
    /// 3: its verify job ended without success. Another one may be made.
    VerificationFailed,
}

/// What can happen to a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareEvent {
    /// A verify job is made.
    VerifyJobMade,
    /// Every task of its verify job is final.
    VerifyJobEnded {
        /// Whether all of them succeeded.
        all_succeeded: bool,
    },
}

/// Why a firmware does not take an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FirmwareRefusal {
    /// It was made to be used without verification.
    #[error("the firmware needs no verification")]
    NotNeeded,
    /// It has passed already.
    #[error("the firmware is verified already")]
    AlreadyVerified,
    /// A verify job of it runs.
    #[error("a verify job of the firmware is running")]
    Verifying,
    /// A verify job ended that the firmware does not know of: a repeat.
    #[error("no verify job of the firmware is running")]
    NoVerifyJob,
}

impl FirmwareStatus {
    /// All of them, by their number on the wire.
    pub const ALL: [Self; 5] = [
        Self::NoVerificationNeeded,
        Self::NotVerified,
        Self::Verified,
        Self::Verifying,
        Self::VerificationFailed,
    ];

    /// Where a new firmware begins.
    #[must_use]
    pub const fn first(need_to_verify: bool) -> Self {
        if need_to_verify { Self::NotVerified } else { Self::NoVerificationNeeded }
    }

    /// Returns the status after `event`.
    ///
    /// # Errors
    /// When the event does not fit; nothing changes then.
    pub const fn on(self, event: FirmwareEvent) -> Result<Self, FirmwareRefusal> {
        use FirmwareEvent as E;
        use FirmwareStatus as S;

        match (self, event) {
            (S::NotVerified | S::VerificationFailed, E::VerifyJobMade) => Ok(S::Verifying),
            (S::Verifying, E::VerifyJobEnded { all_succeeded: true }) => Ok(S::Verified),
            (S::Verifying, E::VerifyJobEnded { all_succeeded: false }) => Ok(S::VerificationFailed),

            (S::NoVerificationNeeded, E::VerifyJobMade) => Err(FirmwareRefusal::NotNeeded),
            (S::Verified, E::VerifyJobMade) => Err(FirmwareRefusal::AlreadyVerified),
            (S::Verifying, E::VerifyJobMade) => Err(FirmwareRefusal::Verifying),
            (
                S::NoVerificationNeeded | S::NotVerified | S::Verified | S::VerificationFailed,
                E::VerifyJobEnded { .. },
            ) => Err(FirmwareRefusal::NoVerifyJob),
        }
    }

    /// Whether upgrade jobs may use it.
    #[must_use]
    pub const fn may_upgrade(self) -> bool {
        matches!(self, Self::NoVerificationNeeded | Self::Verified)
    }

    /// The number on the wire and in the store: −1 to 3.
    #[must_use]
    pub const fn code(self) -> i64 {
        self as i64 - 1
    }

    /// Reads the number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FirmwareEvent::{VerifyJobEnded, VerifyJobMade};
    use FirmwareStatus as S;

    const EVENTS: [FirmwareEvent; 3] =
        [VerifyJobMade, VerifyJobEnded { all_succeeded: true }, VerifyJobEnded { all_succeeded: false }];

    #[test]
    fn the_table_is_the_whole_machine() {
        let moves = [
            (S::NotVerified, VerifyJobMade, S::Verifying),
            (S::VerificationFailed, VerifyJobMade, S::Verifying),
            (S::Verifying, VerifyJobEnded { all_succeeded: true }, S::Verified),
            (S::Verifying, VerifyJobEnded { all_succeeded: false }, S::VerificationFailed),
        ];
        for status in S::ALL {
            for event in EVENTS {
                let expected =
                    moves.iter().find(|(from, on, _)| (*from, *on) == (status, event)).map(|row| row.2);
                assert_eq!(status.on(event).ok(), expected, "{status:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_in_the_way() {
        assert_eq!(S::NoVerificationNeeded.on(VerifyJobMade), Err(FirmwareRefusal::NotNeeded));
        assert_eq!(S::Verified.on(VerifyJobMade), Err(FirmwareRefusal::AlreadyVerified));
        assert_eq!(S::Verifying.on(VerifyJobMade), Err(FirmwareRefusal::Verifying));
        assert_eq!(
            S::NotVerified.on(VerifyJobEnded { all_succeeded: true }),
            Err(FirmwareRefusal::NoVerifyJob)
        );
    }

    #[test]
    fn only_what_is_verified_or_needs_no_verification_may_be_rolled_out() {
        let may: Vec<i64> = S::ALL.into_iter().filter(|s| s.may_upgrade()).map(S::code).collect();
        assert_eq!(may, [-1, 1]);
        assert!(!S::first(true).may_upgrade());
        assert!(S::first(false).may_upgrade());
    }

    #[test]
    fn the_numbers_are_those_of_the_wire() {
        assert_eq!(S::ALL.map(S::code), [-1, 0, 1, 2, 3]);
        assert_eq!(S::from_code(4), None);
        assert!(S::ALL.into_iter().all(|status| S::from_code(status.code()) == Some(status)));
    }
}
