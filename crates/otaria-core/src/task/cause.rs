//! Why a task ended without success: for people, and as the store's numbers.

use super::FailedStep;

/// Why a task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// The device had an unfinished task when this one was made.
    Busy,
    /// The device reported a failure at its last attempt.
    Refused(FailedStep),
    /// While updating, the device informed a version that is neither source nor destination.
    ForeignVersion,
    /// The job's timeout ran out; never retried.
    Timeout,
    /// The device had the notice and never reported.
    OfferTimeout,
}

/// Why a task was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelCause {
    /// An operator's call.
    Operator,
    /// A later job replaced it.
    Overwritten,
    /// The job's finish time came.
    FinishTime,
    /// The device was deleted.
    DeviceDeleted,
}

impl FailureCause {
    /// All causes.
    pub const ALL: [Self; 8] = [
        Self::Busy,
        Self::Refused(FailedStep::Update),
        Self::Refused(FailedStep::Download),
        Self::Refused(FailedStep::Verify),
        Self::Refused(FailedStep::Burn),
        Self::ForeignVersion,
        Self::Timeout,
        Self::OfferTimeout,
    ];

    /// The name on every wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "BUSY",
            Self::Refused(FailedStep::Update) => "UPDATE_FAILED",
            Self::Refused(FailedStep::Download) => "DOWNLOAD_FAILED",
            Self::Refused(FailedStep::Verify) => "DIGEST_MISMATCH",
            Self::Refused(FailedStep::Burn) => "BURN_FAILED",
            Self::ForeignVersion => "FOREIGN_VERSION",
            Self::Timeout => "TIMEOUT",
            Self::OfferTimeout => "OFFER_TIMEOUT",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    /// A sentence for `TaskDesc`.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Busy => "the device has another unfinished task",
            Self::Refused(FailedStep::Update) => "the device reported -1: update failed",
            Self::Refused(FailedStep::Download) => "the device reported -2: download failed",
            Self::Refused(FailedStep::Verify) => "the device reported -3: digest check failed",
            Self::Refused(FailedStep::Burn) => "the device reported -4: burning failed",
            Self::ForeignVersion => "the device informed a version that is neither source nor destination",
            Self::Timeout => "the update took longer than TimeoutInMinutes",
            Self::OfferTimeout => "the device had the notice and did not report in time",
        }
    }

    /// The number in the store; never reused.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Busy => 1,
            Self::ForeignVersion => 2,
            Self::Timeout => 3,
            Self::OfferTimeout => 4,
            Self::Refused(step) => 10 - step.code(),
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Busy),
            2 => Some(Self::ForeignVersion),
            3 => Some(Self::Timeout),
            4 => Some(Self::OfferTimeout),
            _ => match FailedStep::from_code(10 - code) {
                Some(step) => Some(Self::Refused(step)),
                None => None,
            },
        }
    }
}

impl CancelCause {
    /// A sentence for `TaskDesc`.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Operator => "canceled by an operator",
            Self::Overwritten => "replaced by a later job",
            Self::FinishTime => "the job's ScheduleFinishTime came",
            Self::DeviceDeleted => "the device was deleted",
        }
    }

    /// The number in the store; never reused.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Operator => 1,
            Self::Overwritten => 2,
            Self::FinishTime => 3,
            Self::DeviceDeleted => 4,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Operator),
            2 => Some(Self::Overwritten),
            3 => Some(Self::FinishTime),
            4 => Some(Self::DeviceDeleted),
            _ => None,
        }
    }
}
