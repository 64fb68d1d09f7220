//! Claims and orders.

use otaria_core::ids::{DeviceId, FirmwareNo, JobNo, TaskId};
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, TaskKey, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    EndedOffer, Job, JobTurn, OwnedShards, ReportsTaken, StoreError, Task, TaskChange, TaskFilter, TaskPage,
    Tasks, VersionReport,
};

use super::{RecordedStore, forward};
use crate::record::Fact;
use crate::writer::{Draft, not_after, not_before};

impl RecordedStore {
    /// Tells of tasks that an operator opened: confirmed or started again.
    pub(super) fn tell_ordered<'c>(&self, from: Timestamp, written: impl Iterator<Item = &'c TaskChange>) {
        let (from, at) = (not_before(from), not_after(self.history.now()));
        let opened = written
            .filter(|change| matches!(change.to.status(), TaskStatus::Confirm | TaskStatus::Queued))
            .map(|change| {
                let (job, device) = (change.key.job.0, change.key.device.0);
                Draft { from, at, fact: Fact::Reupgraded { job, device, revision: change.revision + 1 } }
            });
        let opened: Vec<Draft> = opened.collect();
        self.history.tell(opened.into_iter());
    }

    fn tell_claims(&self, from: Timestamp, owner: &OwnedShards, changes: &[TaskChange], written: &[bool]) {
        let (from, at) = (not_before(from), not_after(self.history.now()));
        let member = owner.member.0;
        let claims = changes.iter().zip(written).filter(|(_, written)| **written).map(|(change, _)| {
            let shard = change.key.device.shard();
            let fact = Fact::Claimed {
                job: change.key.job.0,
                device: change.key.device.0,
                attempt: change.to.attempts(),
                revision: change.revision + 1,
                shard: shard.0,
                // What is written has a lease, and the caller named it.
                epoch: owner.epochs.get(&shard).copied().unwrap_or_default(),
                member,
            };
            Draft { from, at, fact }
        });
        let claims: Vec<Draft> = claims.collect();
        self.history.tell(claims.into_iter());
    }
}

fn jobs_of(changes: &[TaskChange]) -> impl Iterator<Item = JobNo> {
    changes.iter().map(|change| change.key.job)
}

forward! { Tasks {
    async fn claim(
        &self,
        owner: &OwnedShards,
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let from = self.history.now();
        let done = self.inner.claim(owner, changes, now).await;
        if let Ok(written) = &done {
            self.tell_claims(from, owner, changes, written);
        }
        self.known(done, from, "claim", jobs_of(changes))
    }

    async fn settle(&self, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let from = self.history.now();
        let done = self.inner.settle(changes, now).await;
        self.known(done, from, "settle", jobs_of(changes))
    }

    async fn settle_all(
        &self,
        turns: &[JobTurn],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError> {
        let from = self.history.now();
        let done = self.inner.settle_all(turns, changes, now).await;
        if matches!(&done, Ok(in_the_way) if in_the_way.is_empty()) {
            self.tell_ordered(from, changes.iter());
        }
        self.known(done, from, "settle_all", jobs_of(changes))
    }

    async fn cancel_of_devices(
        &self,
        firmware: FirmwareNo,
        job: Option<JobNo>,
        devices: &[DeviceId],
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError> {
        let from = self.history.now();
        let done = self.inner.cancel_of_devices(firmware, job, devices, cause, now).await;
        self.known(done, from, "cancel_of_devices", job)
    }

    async fn take_reports(
        &self,
        versions: &[VersionReport],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<ReportsTaken, StoreError> {
        let from = self.history.now();
        let done = self.inner.take_reports(versions, changes, now).await;
        // A version may have let its device join any dynamic job.
        let jobs = if versions.is_empty() { changes } else { &[] };
        self.known(done, from, "take_reports", jobs_of(jobs))
    }
}
    fn open_tasks(&self, devices: &[DeviceId]) -> Vec<Task>;
    fn ended_offers(&self, devices: &[DeviceId]) -> Vec<EndedOffer>;
    fn tasks(&self, keys: &[TaskKey]) -> Vec<Task>;
    fn tasks_by_id(&self, ids: &[TaskId]) -> Vec<Task>;
    fn due(&self, shards: &[Shard], now: Timestamp, limit: usize) -> Vec<Task>;
    fn next_due(&self, shards: &[Shard]) -> Option<Timestamp>;
    fn list_tasks(&self, job: JobNo, filter: &TaskFilter, after: u32, limit: usize) -> TaskPage;
}
