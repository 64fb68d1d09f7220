//! Tasks: what is open, what is due, what became of them.

use std::collections::HashSet;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, FirmwareNo, JobNo, TaskId};
use otaria_core::shard::{SHARDS, Shard};
use otaria_core::task::{CancelCause, TaskKey};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    EndedOffer, Job, JobTurn, LAST_TASKS, OwnedShards, ReportsTaken, StoreError, Task, TaskChange,
    TaskFilter, TaskPage, Tasks, VersionReport,
};
use sqlx::query;

use crate::sql::tasks as sql;
use crate::sqlite::{Lane, SqliteStore};
use crate::{bulk, changes, listing, rows, standing, text, versions};

#[async_trait]
impl Tasks for SqliteStore {
    async fn open_tasks(&self, devices: &[DeviceId]) -> Result<Vec<Task>, StoreError> {
        let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        devices.sort_unstable();
        devices.dedup();
        let open = self.rows("reading open tasks", query(sql::OPEN).bind(text::numbers(devices))).await?;
        let mut open = open.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        open.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(open)
    }

    async fn ended_offers(&self, devices: &[DeviceId]) -> Result<Vec<EndedOffer>, StoreError> {
        let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        devices.sort_unstable();
        devices.dedup();
        let last = i64::try_from(LAST_TASKS).unwrap_or(i64::MAX);
        let ended = query(sql::ENDED_OFFERS).bind(text::numbers(devices)).bind(last);
        self.rows("reading ended offers", ended).await?.iter().map(rows::ended_offer).collect()
    }

    async fn tasks(&self, keys: &[TaskKey]) -> Result<Vec<Task>, StoreError> {
        let mut ids: Vec<i64> = keys.iter().map(|key| (key.job.0 << 32) | i64::from(key.seq)).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.rows("reading tasks", query(sql::BY_ID).bind(text::numbers(ids))).await?;
        let found = found.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        // The row is found by job and place; the device is part of the key too.
        let asked: HashSet<&TaskKey> = keys.iter().collect();
        Ok(found.into_iter().filter(|task| asked.contains(&task.key)).collect())
    }

    async fn tasks_by_id(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        let mut rows: Vec<i64> = ids.iter().map(|id| (id.job.0 << 32) | i64::from(id.seq)).collect();
        rows.sort_unstable();
        rows.dedup();
        let found = self.rows("reading tasks by id", query(sql::BY_ID).bind(text::numbers(rows))).await?;
        let mut found = found.iter().map(rows::task).collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|task| (task.key.job, task.key.seq));
        Ok(found)
    }

    async fn due(&self, shards: &[Shard], now: Timestamp, limit: usize) -> Result<Vec<Task>, StoreError> {
        let due = query(sql::DUE)
            .bind(text::numbers(shards.iter().map(|shard| i64::from(shard.0))))
            .bind(now.millis())
            .bind(shards.len() == SHARDS)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows("reading due tasks", due).await?.iter().map(rows::task).collect()
    }

    async fn next_due(&self, shards: &[Shard]) -> Result<Option<Timestamp>, StoreError> {
        let next = query(sql::NEXT_DUE)
            .bind(text::numbers(shards.iter().map(|shard| i64::from(shard.0))))
            .bind(shards.len() == SHARDS);
        let row = self.row("reading the next deadline", next).await?;
        let at = row.map(|row| rows::Of { table: "task", row: &row }.at("due_at"));
        at.transpose()
    }

    async fn claim(
        &self,
        owner: &OwnedShards,
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let (owner, changes) = (owner.clone(), changes.to_vec());
        let work = self.writer.run(Lane::Api, changes.len(), "claiming tasks", move |tx| {
            Box::pin(async move { changes::apply(tx, Some(&owner), &changes, now).await })
        });
        work.await
    }

    async fn settle(&self, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let changes = changes.to_vec();
        let work = self.writer.run(Lane::Api, changes.len(), "settling tasks", move |tx| {
            Box::pin(async move { changes::apply(tx, None, &changes, now).await })
        });
        work.await
    }

    async fn settle_all(
        &self,
        turns: &[JobTurn],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError> {
        let (turns, changes) = (turns.to_vec(), changes.to_vec());
        let work = self.writer.run(Lane::Api, changes.len(), "settling tasks together", move |tx| {
            Box::pin(async move { bulk::settle_all(tx, &turns, &changes, now).await })
        });
        work.await
    }

    async fn cancel_of_devices(
        &self,
        firmware: FirmwareNo,
        job: Option<JobNo>,
        devices: &[DeviceId],
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError> {
        let devices = devices.to_vec();
        let work = self.writer.run(Lane::Api, devices.len(), "cancelling tasks of devices", move |tx| {
            Box::pin(async move { bulk::cancel_of_devices(tx, firmware, job, &devices, cause, now).await })
        });
        work.await
    }

    async fn take_reports(
        &self,
        versions: &[VersionReport],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<ReportsTaken, StoreError> {
        let (reports, changes) = (versions.to_vec(), changes.to_vec());
        let rows = reports.len() + changes.len();
        let work = self.writer.run(Lane::Reports, rows, "taking reports", move |tx| {
            Box::pin(async move {
                let arrivals = versions::keep(tx, &reports).await?;
                let written = changes::apply(tx, None, &changes, now).await?;
                // After the changes: a task that just ended is in nobody's way.
                let joined = standing::arrive(tx, &arrivals, now).await?;
                Ok(ReportsTaken { written, joined })
            })
        });
        work.await
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
