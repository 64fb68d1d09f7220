//! Tasks: one device in one job.

use async_trait::async_trait;
use otaria_core::ids::{
    DeviceId, DeviceName, FirmwareNo, InformedVersion, JobNo, ModuleName, TaskId, Version,
};
use otaria_core::job::JobStatus;
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, ReportOrder, TaskKey, TaskState, TaskStatus};
use otaria_core::time::Timestamp;

use super::{Job, OwnedShards, StoreError, VersionReport};

/// A task to be made by an expansion. Its status follows from the job: `CONFIRM`, `QUEUED`, or `FAILED`
/// when the device is busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// The device.
    pub device: DeviceId,
    /// The version of the job's module that the device had informed.
    pub src_version: Option<InformedVersion>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Device, job and place in the job.
    pub key: TaskKey,
    /// The module, from the job's firmware.
    pub module: ModuleName,
    /// Where it stands.
    pub state: TaskState,
    /// Grows with every write: the handle of compare-and-set.
    pub revision: i64,
    /// The last report that was taken.
    pub report: ReportOrder,
    /// Notices written to the device's socket.
    pub notices: u32,
    /// The version that the device had informed when the task was made.
    pub src_version: Option<InformedVersion>,
    /// The device's last words, at most 128 characters.
    pub desc: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub modified_at: Timestamp,
}

impl Task {
    /// Why it ended without success, with the device's own words if it had any; empty for all others.
    #[must_use]
    pub fn ended_because(&self) -> String {
        let why = match &self.state {
            TaskState::Failed { cause, .. } => cause.describe(),
            TaskState::Canceled { cause, .. } => cause.describe(),
            TaskState::Confirm
            | TaskState::Queued
            | TaskState::Notified { .. }
            | TaskState::InProgress { .. }
            | TaskState::Succeeded { .. } => return String::new(),
        };
        match self.desc.as_deref().filter(|words| !words.is_empty()) {
            Some(words) => format!("{why} ({words})"),
            None => why.to_owned(),
        }
    }

    /// Percent, once it is under way. A device that runs the version is through, whatever it reported last.
    #[must_use]
    pub fn progress(&self) -> Option<u8> {
        match &self.state {
            TaskState::InProgress { percent, .. } => Some(percent.get()),
            TaskState::Succeeded { .. } => Some(100),
            TaskState::Confirm
            | TaskState::Queued
            | TaskState::Notified { .. }
            | TaskState::Failed { .. }
            | TaskState::Canceled { .. } => None,
        }
    }
}

/// A task as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// Its device's name.
    pub device_name: DeviceName,
}

/// A task's next state, written if nobody was faster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskChange {
    /// The task.
    pub key: TaskKey,
    /// The revision it must have.
    pub revision: i64,
    /// The state it gets.
    pub to: TaskState,
    /// The report that caused it, if one did.
    pub report: Option<ReportOrder>,
    /// Notices to add to the count.
    pub notices: u32,
    /// The device's words; `None` leaves them.
    pub desc: Option<String>,
}

/// A job's status as it must be, and as it becomes; mostly the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTurn {
    /// The job.
    pub job: JobNo,
    /// The status it must be in.
    pub from: JobStatus,
    /// The status it gets.
    pub to: JobStatus,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// In this status.
    pub status: Option<TaskStatus>,
    /// Of these devices; all when empty. At most 200.
    pub devices: Vec<DeviceName>,
}

/// What became of a batch of reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportsTaken {
    /// For each change whether it was written.
    pub written: Vec<bool>,
    /// Devices whose new tasks in dynamic jobs may be pushed (`QUEUED`), sorted.
    pub joined: Vec<(JobNo, DeviceId)>,
}

/// A page of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    /// In the order of their place in the job. May be fewer than asked for, even none, though more
    /// follow: a call looks at a bounded number of tasks.
    pub tasks: Vec<TaskView>,
    /// The place after which to go on; `None` at the end.
    pub next: Option<u32>,
}

/// Tasks of a device that [`Tasks::ended_offers`] looks at.
pub const LAST_TASKS: usize = 16;

/// The version of a task that has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedOffer {
    /// The device.
    pub device: DeviceId,
    /// Its module.
    pub module: ModuleName,
    /// The version that the task's job brings.
    pub version: Version,
    /// When the task succeeded, if it did.
    pub succeeded_at: Option<Timestamp>,
}

/// Keeps tasks.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// The open tasks of devices, sorted by key. At most [`super::BATCH_MAX`] devices. Rides on the
    /// index of open tasks, so its cost does not grow with ended ones.
    async fn open_tasks(&self, devices: &[DeviceId]) -> Result<Vec<Task>, StoreError>;

    /// What devices may still be at, or have arrived at: of the last [`LAST_TASKS`] tasks of each, by the number of
    /// the job, the versions of those that succeeded, or that were offered and ended otherwise; in no order. At most
    /// [`super::BATCH_MAX`] devices.
    async fn ended_offers(&self, devices: &[DeviceId]) -> Result<Vec<EndedOffer>, StoreError>;

    /// Tasks by key; those that exist, sorted by key.
    async fn tasks(&self, keys: &[TaskKey]) -> Result<Vec<Task>, StoreError>;

    /// Tasks by id; those that exist, sorted by id.
    async fn tasks_by_id(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError>;

    /// Open tasks of these shards whose clock ran out, oldest first, at most `limit`.
    async fn due(&self, shards: &[Shard], now: Timestamp, limit: usize) -> Result<Vec<Task>, StoreError>;

    /// The next instant at which a task of these shards falls due.
    async fn next_due(&self, shards: &[Shard]) -> Result<Option<Timestamp>, StoreError>;

    /// Writes claims of notices; says for each whether it was written. Not written are those whose task
    /// moved meanwhile, whose shard's lease is no longer the caller's (I13), and whose job does not
    /// deliver: not `IN_PROGRESS`, or cancelling the status that the task was in (I5). Safe to repeat: what
    /// was written before is answered `false`.
    ///
    /// A lease is the caller's from taking it until somebody takes it over or the caller leaves; that a
    /// membership ran out and nobody noticed does not count here.
    async fn claim(
        &self,
        owner: &OwnedShards,
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError>;

    /// Writes what deadlines, outcomes and operators made of tasks; says for each whether it was written.
    /// Not written is what would open an ended task beside one that is in its way (see
    /// [`super::Jobs::expand`]; I2).
    ///
    /// A write is published when status, attempt, percentage or words changed: not when only its delivery
    /// or its clocks did. So it is with claims and reports.
    async fn settle(&self, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// Writes what an operator made of tasks, and turns the jobs that they belong to: all of it or nothing.
    /// Returns the places in `changes` of those that stand in the way; none when it is written.
    /// `Conflict{what: "job"}` when a job is in another status than its turn begins with.
    ///
    /// In the way is what [`Tasks::settle`] does not write, and what is in a status that its job is
    /// cancelling, or would come into one. Every job of a change has its turn.
    async fn settle_all(
        &self,
        turns: &[JobTurn],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError>;

    /// Cancels the open tasks that these devices have for a firmware, in this job only if one is named, and
    /// grows the fences of their jobs. Returns every job of the firmware (or that one) in which one of the
    /// devices has a task, open or not, as it is then, by number: a repeat after a lost answer names the
    /// same. At most [`super::BATCH_MAX`] devices.
    async fn cancel_of_devices(
        &self,
        firmware: FirmwareNo,
        job: Option<JobNo>,
        devices: &[DeviceId],
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError>;

    /// Keeps versions (newer than what is kept) and writes what reports made of tasks, together; says for
    /// each task whether it was written. A version is kept whatever becomes of tasks; those of unknown
    /// devices are passed over.
    ///
    /// Then a device joins the latest of the dynamic jobs that take devices and match product, module, version
    /// (see `otaria_core::scope`) and, if the job is for a group, its rule: it gets a task there unless it has
    /// one, open or not. Tasks in its way (see [`super::Jobs::expand`]) are replaced where they may be;
    /// otherwise nothing is made, and the device's next report asks again.
    async fn take_reports(
        &self,
        versions: &[VersionReport],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<ReportsTaken, StoreError>;

    /// A page of a job's tasks after the `after`th, at most `limit`, which is at least 1.
    async fn list_tasks(
        &self,
        job: JobNo,
        filter: &TaskFilter,
        after: u32,
        limit: usize,
    ) -> Result<TaskPage, StoreError>;
}
