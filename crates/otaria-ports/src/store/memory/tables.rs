//! The tables, and the one place where a task is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otaria_core::ids::{
    AccessKeyId, AccountNo, ApplyNo, ClientToken, DEFAULT_ACCOUNT, DeviceId, DeviceName, FirmwareNo,
    InformedVersion, JobId, JobNo, ModuleName, ProductKey, ProductNo,
};
use otaria_core::task::{TaskKey, TaskState};
use otaria_core::time::Timestamp;

use super::groups::GroupTable;
use super::leases::LeaseTable;
use super::tasks::TaskTable;
use crate::events::{Event, Events, Happened};
use crate::store::{
    AccessKey, Account, Apply, Device, Firmware, Job, Module, Product, RejectedLine, StoredUpload, Task,
    TaskCounts, VersionReport,
};

/// Everything that is kept.
pub(super) struct Tables {
    pub(super) accounts: BTreeMap<AccountNo, Account>,
    pub(super) access_keys: BTreeMap<AccessKeyId, AccessKey>,
    pub(super) products: BTreeMap<ProductNo, Product>,
    pub(super) product_keys: BTreeMap<ProductKey, ProductNo>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) device_names: BTreeMap<ProductNo, BTreeMap<DeviceName, DeviceId>>,
    /// Deleted ones, for the tasks that they had.
    pub(super) gone_devices: BTreeMap<DeviceId, Device>,
    pub(super) gone_products: BTreeSet<ProductNo>,
    pub(super) gone_firmwares: BTreeSet<FirmwareNo>,
    pub(super) groups: GroupTable,
    pub(super) modules: BTreeMap<(ProductNo, String), Module>,
    pub(super) applies: BTreeMap<ApplyNo, Apply>,
    pub(super) last_apply: i64,
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
    /// Until when a key's nonce is kept.
    pub(super) nonces: BTreeMap<(String, String), Timestamp>,
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
    /// For a part: the versions that devices had when the job was made and do not have any more, or that
    /// deleted ones had. Kept until the expansion is complete.
    pub(super) past: BTreeMap<DeviceId, Option<InformedVersion>>,
    pub(super) rejects: Vec<RejectedLine>,
    pub(super) counts: TaskCounts,
    /// The place of the last task that the running cancellation has looked at.
    pub(super) swept: u32,
}

impl JobRow {
    /// Whether somebody still has work with it.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.job.status.is_ended()
            || !self.job.expansion.complete
            || self.job.canceling.is_some()
            || self.has_running_bulk()
    }

    /// Whether an action on many of its tasks has not come to its end.
    pub(super) fn has_running_bulk(&self) -> bool {
        self.job.bulk.as_ref().is_some_and(|bulk| !bulk.done)
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
            gone_devices: BTreeMap::new(),
            gone_products: BTreeSet::new(),
            gone_firmwares: BTreeSet::new(),
            groups: GroupTable::default(),
            modules: BTreeMap::new(),
            applies: BTreeMap::new(),
            last_apply: 0,
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
            nonces: BTreeMap::new(),
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

    /// The name of a device that has a task, also of one that was deleted.
    pub(super) fn device_name(&self, device: DeviceId) -> &DeviceName {
        // A device that goes out of one table goes into the other.
        &self.devices.get(&device).unwrap_or_else(|| &self.gone_devices[&device]).name
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
            device: tables.device_name(task.key.device).clone(),
            device_id: task.key.device,
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
            job_no: job.no,
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
