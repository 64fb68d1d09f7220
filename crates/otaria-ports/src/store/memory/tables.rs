//! The tables, and the one place where a task is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otaria_core::ids::{
    AccessKeyId, AccountNo, ClientToken, DEFAULT_ACCOUNT, DeviceId, DeviceName, FirmwareNo, JobId, JobNo,
    ModuleName, ProductKey, ProductNo,
};
use otaria_core::task::{TaskKey, TaskState};
use otaria_core::time::Timestamp;

use super::leases::LeaseTable;
use super::tasks::TaskTable;
use crate::events::{Event, Events, Happened};
use crate::store::{
    AccessKey, Account, Device, Firmware, Job, Product, RejectedLine, StoredUpload, Task, TaskCounts,
    VersionReport,
};

/// Everything that is kept.
pub(super) struct Tables {
    pub(super) accounts: BTreeMap<AccountNo, Account>,
    pub(super) access_keys: BTreeMap<AccessKeyId, AccessKey>,
    pub(super) products: BTreeMap<ProductNo, Product>,
    pub(super) product_keys: BTreeMap<ProductKey, ProductNo>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) device_names: BTreeMap<ProductNo, BTreeMap<DeviceName, DeviceId>>,
    /// The last `n` that was drawn: the membership sequence.
    pub(super) last_n: i64,
    pub(super) versions: BTreeMap<DeviceId, BTreeMap<ModuleName, VersionReport>>,
    pub(super) uploads: BTreeMap<String, StoredUpload>,
    pub(super) firmwares: BTreeMap<FirmwareNo, Firmware>,
    pub(super) jobs: BTreeMap<JobNo, JobRow>,
    pub(super) job_ids: BTreeMap<JobId, JobNo>,
    pub(super) tokens: BTreeMap<(AccountNo, ClientToken), JobNo>,
    /// Numbers are not used again after a job was purged.
    pub(super) last_job: JobNo,
    pub(super) tasks: TaskTable,
    pub(super) leases: LeaseTable,
    /// What happened in the running transaction.
    pub(super) news: Vec<Event>,
    events: Arc<dyn Events>,
}

/// A job, with what is kept beside it.
pub(super) struct JobRow {
    pub(super) job: Job,
    /// The module of its firmware.
    pub(super) module: ModuleName,
    pub(super) digest: [u8; 32],
    /// Kept until the expansion is complete.
    pub(super) skipped: BTreeSet<DeviceId>,
    pub(super) rejects: Vec<RejectedLine>,
    pub(super) counts: TaskCounts,
    /// The place of the last task that the running cancellation has looked at.
    pub(super) swept: u32,
}

impl JobRow {
    /// Whether somebody still has work with it.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.job.status.is_ended() || !self.job.expansion.complete || self.job.canceling.is_some()
    }
}

impl Tables {
    pub(super) fn new(events: Arc<dyn Events>) -> Self {
        let default = Account { no: DEFAULT_ACCOUNT, name: "default".into(), created_at: Timestamp::EPOCH };
        Self {
            accounts: BTreeMap::from([(default.no, default)]),
            access_keys: BTreeMap::new(),
            products: BTreeMap::new(),
            product_keys: BTreeMap::new(),
            devices: BTreeMap::new(),
            device_names: BTreeMap::new(),
            last_n: 0,
            versions: BTreeMap::new(),
            uploads: BTreeMap::new(),
            firmwares: BTreeMap::new(),
            jobs: BTreeMap::new(),
            job_ids: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_job: JobNo(0),
            tasks: TaskTable::default(),
            leases: LeaseTable::default(),
            news: Vec::new(),
            events,
        }
    }

    /// Writes a task, new or moved: row, indexes, the job's counters and the event. Nobody else does.
    pub(super) fn put_task(&mut self, task: Task, now: Timestamp) {
        let before = self.tasks.put(task.clone());
        let counts = &mut self.row_mut(task.key.job).counts;
        if let Some(before) = &before {
            counts.by_status[before.state.status() as usize] -= 1;
            counts.notices -= u64::from(before.notices);
        }
        counts.by_status[task.state.status() as usize] += 1;
        counts.notices += u64::from(task.notices);

        if before.as_ref().is_none_or(|before| shown(before) != shown(&task)) {
            self.note_task(before.as_ref(), &task, now);
        }
    }

    /// Moves a task on from what it is.
    pub(super) fn move_task(&mut self, task: &Task, to: TaskState, now: Timestamp) {
        let moved = Task { state: to, revision: task.revision + 1, modified_at: now, ..task.clone() };
        self.put_task(moved, now);
    }

    /// A task, if the key is right in all its parts.
    pub(super) fn task(&self, key: &TaskKey) -> Option<&Task> {
        self.tasks.get(key.device, key.job).filter(|task| task.key == *key)
    }

    /// The row of a job that is known to be there: the caller looked, or holds one of its tasks.
    pub(super) fn row(&self, job: JobNo) -> &JobRow {
        &self.jobs[&job]
    }

    /// See [`Tables::row`].
    pub(super) fn row_mut(&mut self, job: JobNo) -> &mut JobRow {
        // The caller looked, or holds one of its tasks, which go before their job does.
        self.jobs.get_mut(&job).expect("the job is there")
    }

    /// Notes that a job moved.
    pub(super) fn note_job(&mut self, job: JobNo, now: Timestamp) {
        let status = self.row(job).job.status;
        self.note(job, now, |_| Happened::Job { status });
    }

    fn note_task(&mut self, before: Option<&Task>, task: &Task, now: Timestamp) {
        let (status, attempt, percent, desc) = shown(task);
        self.note(task.key.job, now, |tables| Happened::Task {
            device: tables.devices[&task.key.device].name.clone(),
            previous: before.map(|before| before.state.status()),
            status,
            attempt,
            percent,
            revision: task.revision,
            desc,
        });
    }

    fn note(&mut self, job: JobNo, at: Timestamp, what: impl FnOnce(&Self) -> Happened) {
        let job = &self.row(job).job;
        if !self.events.wanted(job.account) {
            return;
        }
        let event = Event {
            account: job.account,
            product: job.new.product.clone(),
            job: job.id.clone(),
            at,
            what: what(self),
        };
        self.news.push(event);
    }
}

/// What an event shows of a task; a write that changes nothing of it is no event.
fn shown(task: &Task) -> (otaria_core::task::TaskStatus, u8, Option<u8>, Option<String>) {
    let (percent, desc) = match &task.state {
        TaskState::InProgress { percent, .. } => (Some(percent.get()), task.desc.clone()),
        TaskState::Failed { cause, .. } => (None, Some(cause.describe().to_owned())),
        TaskState::Canceled { cause, .. } => (None, Some(cause.describe().to_owned())),
        TaskState::Confirm | TaskState::Queued | TaskState::Notified { .. } | TaskState::Succeeded { .. } => {
            (None, task.desc.clone())
        }
    };
    (task.state.status(), task.state.attempts(), percent, desc)
}
