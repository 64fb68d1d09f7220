//! Jobs, their expansion and their end.

use async_trait::async_trait;
use otaria_core::firmware::FirmwareStatus;
use otaria_core::gray::Last;
use otaria_core::ids::{AccountNo, ClientToken, DeviceId, FirmwareId, FirmwareNo, JobId, JobNo, ProductNo};
use otaria_core::job::{JobStatus, JobUpdate, NewJob};
use otaria_core::task::{BulkFilter, CancelCause, TaskStatus};
use otaria_core::time::Timestamp;

use super::{
    Expansion, JobTurn, RejectedLine, Slice, SliceOutcome, Slicing, SourceKind, StoreError, TaskChange,
};

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub no: JobNo,
    /// Its public id.
    pub id: JobId,
    /// Whose it is.
    pub account: AccountNo,
    /// Of which product.
    pub product: ProductNo,
    /// Which package.
    pub firmware: FirmwareNo,
    /// What was asked for.
    pub new: NewJob,
    /// Where it stands.
    pub status: JobStatus,
    /// Where its devices come from.
    pub source: SourceKind,
    /// Devices whose `n` is greater are not in: drawn when the job was made.
    pub upto: i64,
    /// How far the source is expanded.
    pub expansion: Expansion,
    /// Statuses whose tasks are being cancelled in the background (bits `1 << status code`), and why.
    pub canceling: Option<(i64, CancelCause)>,
    /// The last action on many of its tasks, and how far it has come.
    pub bulk: Option<Bulk>,
    /// Grows when notices claimed before are to be dropped; see `Pusher::fence`.
    pub fence: u64,
    /// Grows with every change of the rate.
    pub rate_version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub modified_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// An action on many tasks of a job, carried out in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// What is done, and to which tasks.
    pub filter: BulkFilter,
    /// Tasks up to this place were looked at.
    pub after: u32,
    /// Tasks moved.
    pub moved: u64,
    /// Tasks that were meant and could not be moved: the device has another open one, or somebody else
    /// was faster.
    pub passed: u64,
    /// Whether it came to its end, or was ended by a cancellation.
    pub done: bool,
}

/// A piece of an action on many tasks: written with its place, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkStep {
    /// The place after which it began.
    pub from: u32,
    /// Tasks up to this place were looked at.
    pub to: u32,
    /// Whether there are no more.
    pub done: bool,
    /// What becomes of those that are meant. At most [`super::BATCH_MAX`].
    pub changes: Vec<TaskChange>,
}

/// A job to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateJob {
    /// Its public id.
    pub id: JobId,
    /// Whose it is.
    pub account: AccountNo,
    /// What is asked for.
    pub new: NewJob,
    /// Where its devices come from.
    pub source: SourceKind,
    /// SHA-256 of what was asked for: the same token with another digest is refused.
    pub digest: [u8; 32],
    /// The status it begins in.
    pub status: JobStatus,
    /// What the firmware must be, and what it becomes.
    pub firmware: (FirmwareStatus, FirmwareStatus),
}

/// What [`Jobs::create_job`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreatedJob {
    /// A new job.
    New(Box<Job>),
    /// The same token and body made this job before.
    Before(Box<Job>),
    /// None: of so many devices that match, the part would hold nobody.
    Nobody {
        /// Devices that match.
        matching: u64,
    },
}

/// A change of a job's status, with what goes along in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMove {
    /// The job.
    pub job: JobNo,
    /// The status it must be in.
    pub from: JobStatus,
    /// The status it gets.
    pub to: JobStatus,
    /// Only if its expansion is complete, nothing is being cancelled, no [`Bulk`] runs and no task is open
    /// (I22).
    pub only_if_done: bool,
    /// Whether notices claimed before are to be dropped: grows the fence.
    pub fence: bool,
    /// What the firmware must be, and what it becomes.
    pub firmware: Option<(FirmwareStatus, FirmwareStatus)>,
}

/// Tasks of a job by status, and notices written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// By the place of the status in `TaskStatus::ALL`.
    pub by_status: [u64; 7],
    /// Notices written to sockets, repeats and retries included.
    pub notices: u64,
}

impl TaskCounts {
    /// Tasks of one status.
    #[must_use]
    pub const fn of(&self, status: TaskStatus) -> u64 {
        self.by_status[status as usize]
    }

    /// Tasks that still wait for something.
    #[must_use]
    pub fn open(&self) -> u64 {
        TaskStatus::ALL.into_iter().filter(|status| status.is_open()).map(|status| self.of(status)).sum()
    }

    /// All tasks.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_status.iter().sum()
    }
}

/// How far a background cancellation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Tasks cancelled by this call.
    pub canceled: u64,
    /// Whether every task of the job was looked at.
    pub done: bool,
}

/// Keeps jobs.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// How it likes lists cut.
    fn slicing(&self) -> Slicing {
        Slicing::default()
    }

    /// Makes a job and draws the membership sequence, in one transaction that also checks and moves the
    /// firmware. `Conflict{what: "firmware"}` when it is in another status, `NotFound` when firmware or
    /// product are not the account's or do not belong together, `Exists{what: "client token"}` for a token
    /// with another body, whatever became of its job; a token is looked at before anything else. Making a
    /// job is published as its first status.
    ///
    /// For [`SourceKind::Part`] it counts, by kept counts, the devices that match target and package in this
    /// moment (see `otaria_core::scope`); from then on [`super::Devices::scan_drawn`] tells who they are. For
    /// [`SourceKind::Group`] it draws the membership number; `NotFound{what: "group"}` when the account has
    /// no such group, or not one of that kind.
    ///
    /// A dynamic job takes devices from this commit on (I16): `Exists{what: "dynamic job"}` while another one of
    /// the firmware does. `Conflict{what: "overwrite mode"}` or `Conflict{what: "multi-module mode"}` while
    /// another one of the same group does that says otherwise there. One that is not to be expanded has its
    /// expansion complete at once.
    async fn create_job(&self, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError>;

    /// The job that a client token of an account made, and the digest of what was asked for then.
    async fn job_by_token(
        &self,
        account: AccountNo,
        token: &ClientToken,
    ) -> Result<Option<(Job, [u8; 32])>, StoreError>;

    /// Keeps the outcome of a draw; who comes second changes nothing. Returns what is kept: `None` when the
    /// job has no draw to make.
    async fn put_draw(&self, job: JobNo, last: Last) -> Result<Option<Last>, StoreError>;

    /// An account's job.
    async fn job(&self, account: AccountNo, id: &JobId) -> Result<Option<Job>, StoreError>;

    /// Jobs by number, those that exist, by number.
    async fn jobs_by_no(&self, jobs: &[JobNo]) -> Result<Vec<Job>, StoreError>;

    /// An account's jobs after `after` by number, at most `limit`.
    async fn jobs(&self, account: AccountNo, after: JobNo, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// A firmware's jobs, newest first: `skip` of those before `before`, then at most `limit`; and how many
    /// there are in all.
    async fn jobs_of_firmware(
        &self,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Job>, u64), StoreError>;

    /// A firmware's jobs that have a task for this device, newest first: `skip` of those before `before`,
    /// then at most `limit`; and how many there are in all. Rides on the device's tasks.
    async fn jobs_of_device(
        &self,
        device: DeviceId,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Job>, u64), StoreError>;

    /// Changes a job and returns it as it is then; `None`, and nothing changes, when it has ended or is not
    /// there. Another rate grows its `rate_version`.
    async fn update_job(
        &self,
        job: JobNo,
        update: &JobUpdate,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// Every job of any account that has not ended or is not fully expanded or cancelled, or in which a
    /// [`Bulk`] runs, by number.
    async fn unfinished_jobs(&self) -> Result<Vec<Job>, StoreError>;

    /// Jobs of any account that ended at `since` or later and are not open again, the latest first, at most
    /// `limit`.
    async fn ended_jobs(&self, since: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// A firmware's jobs that have not ended: how many.
    async fn unfinished_jobs_of(&self, firmware: &FirmwareId) -> Result<u64, StoreError>;

    /// Names kept with the job, from the `offset`th on, at most `limit`.
    async fn job_names(&self, job: JobNo, offset: u64, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Writes a slice: tasks, counters, rejects and cursor together. `Conflict` when the cursor is
    /// elsewhere or the expansion complete: somebody else wrote it. `NotFound{what: "device"}` when a device
    /// of it is not there, because it was deleted after it was looked up.
    ///
    /// In the way of a new task are the device's open tasks of other jobs; with MultiModuleMode only those
    /// of the same module and those of jobs without it. They are replaced, all of them, when none is
    /// `IN_PROGRESS` and each may be: by OverwriteMode 2, or with MultiModuleMode by the same module.
    /// Otherwise the new task is made as `FAILED`, busy, and they stay. The outcome names those that were replaced.
    ///
    /// Of a dynamic job: a task of an earlier dynamic job that is not `IN_PROGRESS` is replaced whatever the
    /// OverwriteMode; a device with an open task of a later one counts as skipped (the latest wins); a device
    /// that came by itself meanwhile is no line; those that need none are counted and not kept. `Conflict`
    /// when its strategy was cancelled: its expansion is complete then.
    async fn expand(&self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError>;

    /// Rejected lines of a job after the `after`th, at most `limit`.
    async fn rejected_lines(
        &self,
        job: JobNo,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, StoreError>;

    /// Moves a job's status; `false` when it is in another one or not done. `Conflict{what: "firmware"}`,
    /// and nothing moves, when the firmware is not in the status that the change names.
    ///
    /// The first move to `IN_PROGRESS` sets `started_at`; `ended_at` is set by a move to an ended status
    /// and taken back by one from there. When a dynamic job ends it takes no more devices, and its expansion
    /// is complete.
    async fn move_job(&self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError>;

    /// Tasks of a job by status: kept counts, summed.
    async fn task_counts(&self, job: JobNo) -> Result<TaskCounts, StoreError>;

    /// Notes that the tasks in the statuses of `mask` are to be cancelled, grows the fence and returns
    /// the job as it is then. From the commit on, none of them is claimed. Adds to a running
    /// cancellation, which begins anew with all its statuses and the later cause. A running [`Bulk`] ends:
    /// the later word counts. `NotFound` when there is no such job.
    async fn request_cancel(
        &self,
        job: JobNo,
        mask: i64,
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Job, StoreError>;

    /// Cancels up to `limit` more tasks of a running cancellation. It is done, and ends, when the
    /// expansion is complete and every task was looked at; where none runs it is done as well.
    async fn sweep_cancel(&self, job: JobNo, limit: usize, now: Timestamp) -> Result<Sweep, StoreError>;

    /// Asks for an action on many tasks of a job and turns its status along; the job as it is then, or
    /// `None` when it is in another status or not there. While one runs, the same filter changes nothing
    /// and another one is refused: `Conflict{what: "bulk"}`.
    async fn request_bulk(
        &self,
        turn: JobTurn,
        filter: &BulkFilter,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// Writes a piece of a running action: its changes, each as by [`super::Tasks::settle_all`] but one by
    /// one, its counts and its place together; says for each change whether it was written.
    /// `Conflict{what: "bulk"}` when none runs or its place is not `from`.
    async fn write_bulk(&self, job: JobNo, step: &BulkStep, now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// Compares a job's kept counts with a count of its tasks (I9); the counts that differ as
    /// (status, kept, counted).
    async fn audit_counts(&self, job: JobNo) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError>;

    /// Removes up to `limit` rows of jobs that ended before `before`, are not in
    /// [`Jobs::unfinished_jobs`] and have no open task; how many were removed, 0 when nothing is left to
    /// remove. A job goes after all that belongs to it; its token is free then, its number is not used again.
    async fn purge_jobs(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError>;
}
