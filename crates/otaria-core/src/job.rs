//! What a job is and what it may become.
//!
//! A [`NewJob`] is made only by `crate::rules`, so whoever holds one holds valid parameters. The status
//! machine is [`JobStatus::on`]; it is complete and pure.

mod status;

use std::time::Duration;

use crate::firmware::FirmwareStatus;
use crate::gray::GrayPercent;
use crate::ids::{ClientToken, DeviceName, FirmwareId, ModuleName, ProductKey, Version};
use crate::pace::PerMinute;
use crate::task::{RetryPolicy, TaskPolicy, TaskStatus};
use crate::time::Timestamp;
pub use status::{JobEvent, JobRefusal, JobStatus};

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Tries a firmware on a few devices before upgrade jobs may use it.
    Verify,
    /// A fixed set of devices.
    Static,
    /// Every device that matches, now or later.
    Dynamic,
}

impl JobKind {
    /// The number in the store.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Verify => 0,
            Self::Static => 1,
            Self::Dynamic => 2,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Verify),
            1 => Some(Self::Static),
            2 => Some(Self::Dynamic),
            _ => None,
        }
    }
}

/// Which devices a dynamic job takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DynamicMode {
    /// 1: those that match now, and those that will.
    #[default]
    NowAndLater,
    /// 2: only those that inform a matching version from now on.
    LaterOnly,
}

impl DynamicMode {
    /// The number on the wire and in the store.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::NowAndLater => 1,
            Self::LaterOnly => 2,
        }
    }

    /// Reads the number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::NowAndLater),
            2 => Some(Self::LaterOnly),
            _ => None,
        }
    }
}

/// Notices that a dynamic job writes to one device at most (I16).
pub const DYNAMIC_PUSHES_MAX: u32 = 10;

/// What happens to a device that has an unfinished task already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverwriteMode {
    /// 1: the earlier task stays, the new one fails.
    #[default]
    Keep,
    /// 2: the new task replaces the earlier one unless that is `IN_PROGRESS`.
    Replace,
}

impl OverwriteMode {
    /// The number on the wire and in the store.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Keep => 1,
            Self::Replace => 2,
        }
    }

    /// Reads the number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Keep),
            2 => Some(Self::Replace),
            _ => None,
        }
    }
}

/// How a device gets the package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DownloadProtocol {
    /// By a URL in the notice.
    #[default]
    Https,
    /// In blocks over its own MQTT connection.
    Mqtt,
}

impl DownloadProtocol {
    /// The name on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "HTTPS",
            Self::Mqtt => "MQTT",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Https, Self::Mqtt].into_iter().find(|protocol| protocol.as_str() == text)
    }
}

/// A job's mark, handed to the device in the notice. At most ten, 4096 characters in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// 1–30 letters, digits or `.`.
    pub key: String,
    /// 1–1024 characters.
    pub value: String,
}

/// Which devices a job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every device of the product; of these versions, when any is named.
    All {
        /// At most ten.
        src_versions: Vec<Version>,
    },
    /// Devices by name, 1–200.
    Names(Vec<DeviceName>),
    /// The names in an uploaded file.
    ListFile {
        /// The `FileUrl` that the upload was answered with.
        file_url: String,
    },
    /// A percentage.
    Gray {
        /// Of the matching devices.
        percent: GrayPercent,
        /// At most ten.
        src_versions: Vec<Version>,
    },
    /// A static group.
    Group {
        /// The group.
        group_id: String,
    },
}

impl Target {
    /// `TargetSelection` as the API spells it.
    #[must_use]
    pub const fn selection(&self) -> &'static str {
        match self {
            Self::All { .. } => "ALL",
            Self::Names(_) | Self::ListFile { .. } => "SPECIFIC",
            Self::Gray { .. } => "GRAY",
            Self::Group { .. } => "GROUP",
        }
    }

    /// How many devices this is of so many that match: a percentage of them, or all.
    #[must_use]
    pub fn part_of(&self, matching: u64) -> u64 {
        match self {
            Self::Gray { percent, .. } => percent.count(matching),
            Self::All { .. } | Self::Names(_) | Self::ListFile { .. } | Self::Group { .. } => matching,
        }
    }

    /// The source versions that narrow the target, if any do.
    #[must_use]
    pub fn src_versions(&self) -> &[Version] {
        match self {
            Self::All { src_versions } | Self::Gray { src_versions, .. } => src_versions,
            Self::Names(_) | Self::ListFile { .. } | Self::Group { .. } => &[],
        }
    }
}

/// When a job may deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Not before; at once when absent.
    pub start: Option<Timestamp>,
    /// Not at or after; no end when absent.
    pub finish: Option<Timestamp>,
}

impl Schedule {
    /// Whether notices may be written at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= now) && self.finish.is_none_or(|finish| now < finish)
    }
}

/// How a job treats its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPolicy {
    /// Notices in any 60 s at most.
    pub maximum_per_minute: PerMinute,
    /// Offers after a failure.
    pub retry: Option<RetryPolicy>,
    /// From the first progress report to failure.
    pub timeout: Option<Duration>,
    /// From the written notice to failure when the device never reports (ours).
    pub offer_timeout: Option<Duration>,
    /// What happens to devices with an unfinished task.
    pub overwrite: OverwriteMode,
    /// One unfinished task per device and module instead of per device.
    pub multi_module: bool,
    /// Whether notices are pushed; otherwise devices ask by themselves.
    pub need_push: bool,
    /// Whether each task waits for a confirmation.
    pub need_confirm: bool,
    /// How devices get the package.
    pub download_protocol: DownloadProtocol,
}

impl JobPolicy {
    /// What this says about one task towards `dest_version`.
    #[must_use]
    pub fn for_tasks(&self, dest_version: Version) -> TaskPolicy {
        TaskPolicy {
            dest_version,
            retry: self.retry,
            timeout: self.timeout,
            offer_timeout: self.offer_timeout,
        }
    }
}

/// A job as a caller wants it, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What for.
    pub kind: JobKind,
    /// Of which product.
    pub product: ProductKey,
    /// Which package.
    pub firmware: FirmwareId,
    /// Which devices.
    pub target: Target,
    /// When.
    pub schedule: Schedule,
    /// How.
    pub policy: JobPolicy,
    /// At most ten.
    pub tags: Vec<Tag>,
    /// Free text, at most 100 characters.
    pub description: String,
    /// The caller's own name for this call.
    pub client_token: Option<ClientToken>,
}

impl NewJob {
    /// `TargetSelection` as the API answers it: every dynamic job says `ALL`, also one for a group.
    #[must_use]
    pub const fn target_selection(&self) -> &'static str {
        match self.kind {
            JobKind::Dynamic => "ALL",
            JobKind::Verify | JobKind::Static => self.target.selection(),
        }
    }
}

/// What is to change of a job that has not ended; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobUpdate {
    /// Notices in any 60 s at most.
    pub maximum_per_minute: Option<PerMinute>,
    /// From the first progress report to failure; tasks that are `IN_PROGRESS` keep theirs.
    pub timeout: Option<Duration>,
    /// In the place of all earlier ones.
    pub tags: Option<Vec<Tag>>,
    /// Of a dynamic job without a group; in the place of all earlier ones.
    pub src_versions: Option<Vec<Version>>,
}

impl JobUpdate {
    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes a job that this was made for.
    pub fn apply(&self, job: &mut NewJob) {
        if let Some(rate) = self.maximum_per_minute {
            job.policy.maximum_per_minute = rate;
        }
        job.policy.timeout = self.timeout.or(job.policy.timeout);
        if let Some(tags) = &self.tags {
            job.tags.clone_from(tags);
        }
        if let (Some(versions), Target::All { src_versions }) = (&self.src_versions, &mut job.target) {
            src_versions.clone_from(versions);
        }
    }
}

/// What a job needs of its firmware, checked in the transaction that makes the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFacts {
    /// Where its verification stands.
    pub status: FirmwareStatus,
    /// The version it brings.
    pub dest_version: Version,
    /// The module it is for.
    pub module: ModuleName,
    /// For a difference package, the only version it applies to.
    pub src_version: Option<Version>,
}

/// Which of a job's tasks an operator cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelFlags {
    /// A planned job as a whole.
    pub scheduled: bool,
    /// Tasks in `QUEUED`; `CONFIRM` too unless `unconfirmed` is given.
    pub queued: bool,
    /// Tasks in `NOTIFIED`.
    pub notified: bool,
    /// Tasks in `IN_PROGRESS`.
    pub in_progress: bool,
    /// Tasks in `CONFIRM`.
    pub unconfirmed: Option<bool>,
}

impl CancelFlags {
    /// Every open task.
    pub const EVERYTHING: Self =
        Self { scheduled: true, queued: true, notified: true, in_progress: true, unconfirmed: Some(true) };

    /// Whether at least one flag is set; a call without any is refused.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.scheduled || self.queued || self.notified || self.in_progress || self.unconfirmed == Some(true)
    }

    /// Whether a task in this status is meant.
    #[must_use]
    pub fn covers(self, status: TaskStatus) -> bool {
        match status {
            TaskStatus::Confirm => self.unconfirmed.unwrap_or(self.queued),
            TaskStatus::Queued => self.queued,
            TaskStatus::Notified => self.notified,
            TaskStatus::InProgress => self.in_progress,
            TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled => false,
        }
    }

    /// The open statuses that are meant, as a set of store codes (bit `1 << code`).
    #[must_use]
    pub fn mask(self) -> i64 {
        TaskStatus::ALL
            .into_iter()
            .filter(|status| self.covers(*status))
            .map(|status| 1 << status.code())
            .sum()
    }
}

#[cfg(test)]
mod tests;
