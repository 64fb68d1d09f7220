use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, FirmwareNo, JobNo, TaskId};
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, TaskKey, TaskState, TaskStatus};
use otaria_core::time::Timestamp;

use super::MemoryStore;
use super::cancel::is_canceling;
use super::tables::Tables;
use crate::store::{
    EndedOffer, Job, JobTurn, LAST_TASKS, OwnedShards, ReportsTaken, StoreError, Task, TaskChange,
    TaskFilter, TaskPage, TaskView, Tasks, VersionReport,
};

/// Tasks that one call of `list_tasks` looks at, for each that it may return.
const LOOKED_AT_PER_ROW: usize = 10;

#[async_trait]
impl Tasks for MemoryStore {
    async fn open_tasks(&self, devices: &[DeviceId]) -> Result<Vec<Task>, StoreError> {
        self.transact("reading open tasks", |tables| {
            let devices: BTreeSet<&DeviceId> = devices.iter().collect();
            Ok(devices.into_iter().flat_map(|device| tables.tasks.open_of(*device)).cloned().collect())
        })
    }

    async fn ended_offers(&self, devices: &[DeviceId]) -> Result<Vec<EndedOffer>, StoreError> {
        self.transact("reading ended offers", |tables| {
            let devices: BTreeSet<&DeviceId> = devices.iter().collect();
            let last = devices.into_iter().flat_map(|device| tables.tasks.last_of(*device));
            let ended = last.filter(|task| match task.state {
                TaskState::Succeeded { .. } => true,
                TaskState::Failed { attempts, .. } | TaskState::Canceled { attempts, .. } => attempts > 0,
                TaskState::Confirm
                | TaskState::Queued
                | TaskState::Notified { .. }
                | TaskState::InProgress { .. } => false,
            });
            let offer = |task: &Task| {
                let firmware = tables.firmwares.get(&tables.jobs.get(&task.key.job)?.job.firmware)?;
                let succeeded = task.state.status() == TaskStatus::Succeeded;
                Some(EndedOffer {
                    device: task.key.device,
                    module: task.module.clone(),
                    version: firmware.new.dest_version.clone(),
                    succeeded_at: succeeded.then_some(task.modified_at),
                })
            };
            Ok(ended.filter_map(offer).collect())
        })
    }

    async fn tasks(&self, keys: &[TaskKey]) -> Result<Vec<Task>, StoreError> {
        self.transact("reading tasks", |tables| {
            let keys: BTreeSet<&TaskKey> = keys.iter().collect();
            Ok(keys.into_iter().filter_map(|key| tables.task(key)).cloned().collect())
        })
    }

    async fn tasks_by_id(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        self.transact("reading tasks by id", |tables| {
            let ids: BTreeSet<&TaskId> = ids.iter().collect();
            Ok(ids.into_iter().filter_map(|id| tables.tasks.at(id.job, id.seq)).cloned().collect())
        })
    }

    async fn due(&self, shards: &[Shard], now: Timestamp, limit: usize) -> Result<Vec<Task>, StoreError> {
        self.transact("reading due tasks", |tables| {
            let due = tables.tasks.clocks(shards).filter(|(at, _)| *at <= now);
            let mut oldest: Vec<(Timestamp, &Task)> = due.collect();
            oldest.sort_by(|(a, left), (b, right)| (a, &left.key).cmp(&(b, &right.key)));
            Ok(oldest.into_iter().take(limit).map(|(_, task)| task.clone()).collect())
        })
    }

    async fn next_due(&self, shards: &[Shard]) -> Result<Option<Timestamp>, StoreError> {
        self.transact("reading the next deadline", |tables| {
            Ok(tables.tasks.clocks(shards).map(|(at, _)| at).min())
        })
    }

    async fn claim(
        &self,
        owner: &OwnedShards,
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        self.transact("claiming notices", |tables| {
            let mut claim = |change: &TaskChange| {
                tables.leases.owns(owner, change.key.device.shard())
                    && tables.delivers(&change.key)
                    && tables.change_task(change, now)
            };
            Ok(changes.iter().map(&mut claim).collect())
        })
    }

    async fn settle(&self, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.transact("settling tasks", |tables| {
            Ok(changes.iter().map(|change| tables.change_task(change, now)).collect())
        })
    }

    async fn settle_all(
        &self,
        turns: &[JobTurn],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError> {
        self.transact("settling tasks together", |tables| tables.settle_all(turns, changes, now))
    }

    async fn cancel_of_devices(
        &self,
        firmware: FirmwareNo,
        job: Option<JobNo>,
        devices: &[DeviceId],
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError> {
        self.transact("cancelling tasks of devices", |tables| {
            Ok(tables.cancel_of_devices(firmware, job, devices, cause, now))
        })
    }

    async fn take_reports(
        &self,
        versions: &[VersionReport],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<ReportsTaken, StoreError> {
        self.transact("taking reports", |tables| {
            for report in versions {
                tables.keep_version(report);
            }
            let written = changes.iter().map(|change| tables.change_task(change, now)).collect();
            // After the changes: a task that just ended is in nobody's way.
            let joined = tables.arrive(versions, now);
            Ok(ReportsTaken { written, joined })
        })
    }

    async fn list_tasks(
        &self,
        job: JobNo,
        filter: &TaskFilter,
        after: u32,
        limit: usize,
    ) -> Result<TaskPage, StoreError> {
        self.transact("listing tasks", |tables| Ok(tables.list_tasks(job, filter, after, limit.max(1))))
    }
}

impl Tables {
    /// Whether the task's job lets notices of it go out (I5).
    fn delivers(&self, key: &TaskKey) -> bool {
        let Some(task) = self.task(key) else { return false };
        let job = &self.row(key.job).job;
        let is_canceled = job.canceling.is_some_and(|(mask, _)| is_canceling(mask, task.state.status()));
        job.status.delivers(job.new.kind) && !is_canceled
    }

    /// Writes a change if the task is as the caller saw it, and if it does not open a second task of the
    /// device (I2).
    pub(super) fn change_task(&mut self, change: &TaskChange, now: Timestamp) -> bool {
        let Some(task) = self.task(&change.key).filter(|task| task.revision == change.revision) else {
            return false;
        };
        let reopens = !task.state.status().is_open() && change.to.status().is_open();
        if reopens && !self.in_the_way(change.key.job, change.key.device).is_empty() {
            return false;
        }
        let changed = Task {
            state: change.to.clone(),
            revision: task.revision + 1,
            report: change.report.unwrap_or(task.report),
            notices: task.notices + change.notices,
            desc: change.desc.clone().or_else(|| task.desc.clone()),
            modified_at: now,
            ..task.clone()
        };
        self.put_task(changed, now);
        true
    }

    fn list_tasks(&self, job: JobNo, filter: &TaskFilter, after: u32, limit: usize) -> TaskPage {
        let mut page = TaskPage::default();
        for (looked_at, task) in self.tasks.of_job(job, after).enumerate() {
            if page.tasks.len() == limit || looked_at == limit.saturating_mul(LOOKED_AT_PER_ROW) {
                // There is this one at least.
                page.next = Some(task.key.seq - 1);
                break;
            }
            let device_name = self.device_name(task.key.device);
            let is_meant = filter.status.is_none_or(|status| status == task.state.status())
                && (filter.devices.is_empty() || filter.devices.contains(device_name));
            if is_meant {
                page.tasks.push(TaskView { task: task.clone(), device_name: device_name.clone() });
            }
        }
        page
    }
}

/// The tasks, with the ways to find them.
#[derive(Default)]
pub(super) struct TaskTable {
    /// A job has one module, so a device has at most one task in it.
    rows: BTreeMap<(DeviceId, JobNo), Task>,
    by_seq: BTreeMap<(JobNo, u32), DeviceId>,
    open: BTreeSet<(DeviceId, JobNo)>,
    due: BTreeSet<(Shard, Timestamp, DeviceId, JobNo)>,
}

impl TaskTable {
    pub(super) fn get(&self, device: DeviceId, job: JobNo) -> Option<&Task> {
        self.rows.get(&(device, job))
    }

    /// Keeps a task and returns the one that stood in its place.
    pub(super) fn put(&mut self, task: Task) -> Option<Task> {
        let before = self.remove(&task.key);
        let TaskKey { device, job, seq } = task.key;
        self.by_seq.insert((job, seq), device);
        if task.state.status().is_open() {
            self.open.insert((device, job));
        }
        if let Some(due) = task.state.due_at() {
            self.due.insert((device.shard(), due, device, job));
        }
        self.rows.insert((device, job), task);
        before
    }

    pub(super) fn remove(&mut self, key: &TaskKey) -> Option<Task> {
        let TaskKey { device, job, seq } = *key;
        let task = self.rows.remove(&(device, job))?;
        self.by_seq.remove(&(job, seq));
        self.open.remove(&(device, job));
        if let Some(due) = task.state.due_at() {
            self.due.remove(&(device.shard(), due, device, job));
        }
        Some(task)
    }

    /// The task at a place of a job.
    fn at(&self, job: JobNo, seq: u32) -> Option<&Task> {
        self.by_seq.get(&(job, seq)).map(|device| &self.rows[&(*device, job)])
    }

    /// A job's tasks after the `after`th.
    pub(super) fn of_job(&self, job: JobNo, after: u32) -> impl DoubleEndedIterator<Item = &Task> {
        let places = self.by_seq.range((Bound::Excluded((job, after)), Bound::Included((job, u32::MAX))));
        places.map(move |(_, device)| &self.rows[&(*device, job)])
    }

    /// A device's open tasks, by job.
    pub(super) fn open_of(&self, device: DeviceId) -> impl Iterator<Item = &Task> {
        let open = self.open.range((device, JobNo(i64::MIN))..=(device, JobNo(i64::MAX)));
        open.map(|key| &self.rows[key])
    }

    /// A device's last tasks, the latest job first.
    fn last_of(&self, device: DeviceId) -> impl Iterator<Item = &Task> {
        let all = self.rows.range((device, JobNo(i64::MIN))..=(device, JobNo(i64::MAX)));
        all.rev().take(LAST_TASKS).map(|(_, task)| task)
    }

    /// The tasks of shards that have a clock, and when it runs out; in each shard the earliest first.
    fn clocks(&self, shards: &[Shard]) -> impl Iterator<Item = (Timestamp, &Task)> {
        let shards: BTreeSet<Shard> = shards.iter().copied().collect();
        let due = self.due.iter().filter(move |(shard, ..)| shards.contains(shard));
        due.map(|(_, at, device, job)| (*at, &self.rows[&(*device, *job)]))
    }
}
