//! Where one device stands in one job: the state machine, complete and pure.
//!
//! Nothing here waits, logs, or reads a clock. The store keeps what this module decides, by
//! compare-and-set on the task's revision.
//!
//! Invariant: a task has at most one open offer, and success is the version that the device informs,
//! never progress 100.

mod bulk;
mod cause;
mod offer;
mod state;
#[cfg(test)]
mod tests;
mod wait;

pub use bulk::{BulkAction, BulkFilter};
pub use cause::{CancelCause, FailureCause};
pub use offer::{Attempt, DELIVERY_DEADLINE, Delivery, REPEAT_SPACING, Retry};
pub use state::{TaskState, Want};
pub use wait::{WaitReason, wait_reason};

use std::time::Duration;

use crate::ids::{DeviceId, InformedVersion, JobNo, ModuleName, Version};
use crate::time::Timestamp;

/// The seven statuses of the seed API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStatus {
    /// Waits for the app's confirmation.
    Confirm,
    /// Waits for schedule, device or pace.
    Queued,
    /// Offered.
    Notified,
    /// The device reported progress.
    InProgress,
    /// The device informed the destination version.
    Succeeded,
    /// Ended without it.
    Failed,
    /// Ended by an operator, a finish time or a later job.
    Canceled,
}

impl TaskStatus {
    /// All statuses in the order of a task's life.
    pub const ALL: [Self; 7] = [
        Self::Confirm,
        Self::Queued,
        Self::Notified,
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
    ];

    /// The name on every wire, in the store, in metrics and docs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "CONFIRM",
            Self::Queued => "QUEUED",
            Self::Notified => "NOTIFIED",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The number in the store: its place in [`TaskStatus::ALL`].
    #[must_use]
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// Reads the store's number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether the task still waits for something.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Confirm | Self::Queued | Self::Notified | Self::InProgress)
    }
}

/// What tells a task apart in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The device; first, so that sorting by key sorts by shard.
    pub device: DeviceId,
    /// The job.
    pub job: JobNo,
    /// The task's place in its job.
    pub seq: u32,
}

/// What a job says about each of its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPolicy {
    /// The version to reach.
    pub dest_version: Version,
    /// How often and how soon a failure is tried again.
    pub retry: Option<RetryPolicy>,
    /// From the first progress report to failure.
    pub timeout: Option<Duration>,
    /// From the written notice to failure when the device never reports.
    pub offer_timeout: Option<Duration>,
}

/// Further offers after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// From the failure to the next offer.
    pub interval: Duration,
    /// Further offers at most.
    pub count: u8,
}

/// A whole percentage, 0–100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// Takes 0–100.
    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        u8::try_from(value).ok().filter(|v| *v <= 100).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Why a device says that an update failed; the seed's negative progress steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailedStep {
    /// −1: the update failed.
    Update,
    /// −2: the download failed.
    Download,
    /// −3: the digest did not match.
    Verify,
    /// −4: writing the image failed.
    Burn,
}

impl FailedStep {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Update => -1,
            Self::Download => -2,
            Self::Verify => -3,
            Self::Burn => -4,
        }
    }

    /// Reads the number on the wire.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            -1 => Some(Self::Update),
            -2 => Some(Self::Download),
            -3 => Some(Self::Verify),
            -4 => Some(Self::Burn),
            _ => None,
        }
    }
}

/// What a device says about one of its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who speaks; authenticated by the gateway.
    pub device: DeviceId,
    /// Of what.
    pub module: ModuleName,
    /// Where the report stands in the order of the device's reports.
    pub order: ReportOrder,
    /// When the gateway read it.
    pub at: Timestamp,
    /// The job that this module was told of last in the same session, before this was read: by a notice, or by the
    /// answer to its question.
    pub told: Option<JobNo>,
    /// What it says.
    pub said: Said,
}

/// The order of a device's reports: by session, then by place in the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportOrder {
    /// The session; later sessions of a device have greater numbers.
    pub session: i64,
    /// From 1 in each session.
    pub n: u32,
}

/// The content of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The version that runs now.
    Version(InformedVersion),
    /// Progress of the update, 0–100.
    Progress {
        /// How far.
        percent: Percent,
        /// The device's own words, at most 128 characters.
        desc: String,
    },
    /// The update failed.
    Refused {
        /// Where.
        step: FailedStep,
        /// The device's own words, at most 128 characters.
        desc: String,
    },
}

/// Everything that can happen to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// The app said yes.
    Confirmed,
    /// A notice is claimed for push; it may be written from `not_before` on.
    Claimed {
        /// The date of its pace token.
        not_before: Timestamp,
    },
    /// The gateway wrote the notice of this attempt to the device's socket.
    Written {
        /// The attempt it belongs to.
        attempt: u8,
    },
    /// The device asked by itself and is answered.
    Fetched,
    /// The device informed a version.
    Informed {
        /// The version.
        version: InformedVersion,
        /// The version that the device had when the task was made, if known.
        source: Option<InformedVersion>,
        /// Whether an earlier task offered this version and ended before it was there: the device may have been at that
        /// all the time.
        offered_before: bool,
    },
    /// The device reported progress.
    Progress {
        /// How far.
        percent: Percent,
    },
    /// The device reported a failure.
    Refused {
        /// Where.
        step: FailedStep,
    },
    /// `due_at` has come.
    DeadlinePassed,
    /// Somebody or something ended it.
    Canceled {
        /// What.
        cause: CancelCause,
    },
    /// An operator wants a failed or cancelled task once more.
    Reupgraded {
        /// Whether the job wants confirmation.
        need_confirm: bool,
    },
}

/// Why an event did not move a task. Counted by the caller; none is an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The task has ended.
    Terminal,
    /// The event does not fit the state.
    OutOfOrder,
    /// A later report of the device was taken before.
    OlderReport,
    /// Not yet: a retry or repeat before its time.
    TooEarly,
    /// It says what is known already.
    Duplicate,
    /// The device was told of another job last, and of this one not yet.
    AnotherOffer,
}

impl Ignored {
    /// The label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::OutOfOrder => "out_of_order",
            Self::OlderReport => "older_report",
            Self::TooEarly => "too_early",
            Self::Duplicate => "duplicate",
            Self::AnotherOffer => "another_offer",
        }
    }
}
