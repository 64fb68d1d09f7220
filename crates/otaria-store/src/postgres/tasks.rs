//! Tasks: what is open, what is due, what became of them.

use std::collections::HashSet;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, FirmwareNo, JobNo, TaskId};
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, TaskKey};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    EndedOffer, Job, JobTurn, LAST_TASKS, OwnedShards, ReportsTaken, StoreError, Task, TaskChange,
    TaskFilter, TaskPage, Tasks, VersionReport,
};
use sqlx::query;

use super::counters::Counters;
use super::devices::int;
use super::sql::tasks as sql;
use super::{PgTx, PostgresStore, bulk, changes, listing, standing, versions};
use crate::rows::{self, Of};

/// Due tasks that a call looks at in each shard, at least.
const LOOK_MIN: usize = 16;

#[async_trait]
impl Tasks for PostgresStore {
    async fn open_tasks(&self, devices: &[DeviceId]) -> Result<Vec<Task>, StoreError> {
        let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        devices.sort_unstable();
        devices.dedup();
        let open = self.rows("reading open tasks", || query(sql::OPEN).bind(&devices)).await?;
        let mut open = open.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        open.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(open)
    }

    async fn ended_offers(&self, devices: &[DeviceId]) -> Result<Vec<EndedOffer>, StoreError> {
        let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        devices.sort_unstable();
        devices.dedup();
        let ended = || query(sql::ENDED_OFFERS).bind(&devices).bind(int(LAST_TASKS));
        self.rows("reading ended offers", ended).await?.iter().map(rows::ended_offer).collect()
    }

    async fn tasks(&self, keys: &[TaskKey]) -> Result<Vec<Task>, StoreError> {
        let mut ids: Vec<i64> = keys.iter().map(|key| (key.job.0 << 32) | i64::from(key.seq)).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.rows("reading tasks", || query(sql::BY_ID).bind(&ids)).await?;
        let mut found = found.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        // The row is found by its place in the job; the device is part of the key too.
        let asked: HashSet<&TaskKey> = keys.iter().collect();
        found.retain(|task| asked.contains(&task.key));
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn tasks_by_id(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        let mut ids: Vec<i64> = ids.iter().map(|id| (id.job.0 << 32) | i64::from(id.seq)).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.rows("reading tasks by id", || query(sql::BY_ID).bind(&ids)).await?;
        let mut found = found.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|task| (task.key.job, task.key.seq));
        Ok(found)
    }

    async fn due(&self, shards: &[Shard], now: Timestamp, limit: usize) -> Result<Vec<Task>, StoreError> {
        let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
        // Shards are even, so a few times its share of each is enough; where it was not, all are looked at.
        let share = limit.saturating_mul(4) / shards.len().max(1);
        let share = share.clamp(LOOK_MIN.min(limit), limit);
        let due = |look| query(sql::DUE).bind(&shards).bind(now.millis()).bind(int(limit)).bind(int(look));
        let doing = "reading due tasks";
        let mut found = self.rows(doing, || due(share)).await?;
        if (share..limit).contains(&found.len()) {
            found = self.rows(doing, || due(limit)).await?;
        }
        found.iter().map(rows::task).collect()
    }

    async fn next_due(&self, shards: &[Shard]) -> Result<Option<Timestamp>, StoreError> {
        let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.0)).collect();
        let next = self.row("reading the next deadline", || query(sql::NEXT_DUE).bind(&shards)).await?;
        next.map_or(Ok(None), |row| Of { table: "task_due", row: &row }.maybe_at("due_at"))
    }

    async fn claim(
        &self,
        owner: &OwnedShards,
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.tx("claiming tasks", |tx| Box::pin(changes::apply(tx, Some(owner), changes, now))).await
    }

    async fn settle(&self, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.tx("settling tasks", |tx| Box::pin(changes::apply(tx, None, changes, now))).await
    }

    async fn settle_all(
        &self,
        turns: &[JobTurn],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError> {
        let doing = "settling tasks together";
        self.tx(doing, |tx| Box::pin(bulk::settle_all(tx, turns, changes, now))).await
    }

    async fn cancel_of_devices(
        &self,
        firmware: FirmwareNo,
        job: Option<JobNo>,
        devices: &[DeviceId],
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError> {
        let work = self.tx("cancelling tasks of devices", |tx| {
            Box::pin(bulk::cancel_of_devices(tx, firmware, job, devices, cause, now))
        });
        work.await
    }

    async fn take_reports(
        &self,
        versions: &[VersionReport],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<ReportsTaken, StoreError> {
        self.tx("taking reports", |tx| Box::pin(take_reports(tx, versions, changes, now))).await
    }

    async fn list_tasks(
        &self,
        job: JobNo,
        filter: &TaskFilter,
        after: u32,
        limit: usize,
    ) -> Result<TaskPage, StoreError> {
        if filter.devices.is_empty() {
            listing::page(self, job, filter.status, after, limit).await
        } else {
            listing::page_of(self, job, filter, after, limit).await
        }
    }
}

/// Versions, then what may join dynamic jobs is held, then tasks, then those that join: a task that just ended
/// is in nobody's way. Counts last, of tasks and then of versions.
async fn take_reports(
    tx: &mut PgTx<'_>,
    reports: &[VersionReport],
    changes: &[TaskChange],
    now: Timestamp,
) -> Result<ReportsTaken, StoreError> {
    let (arrivals, counts) = versions::keep(tx, reports).await?;
    let joining = standing::arrive(tx, &arrivals).await?;
    let mut counters = Counters::default();
    let written = changes::apply_uncounted(tx, None, changes, &mut counters, now).await?;
    let joined = standing::join(tx, joining, &mut counters, now).await?;
    counters.write(tx).await?;
    versions::count(tx, counts).await?;
    Ok(ReportsTaken { written, joined })
}
