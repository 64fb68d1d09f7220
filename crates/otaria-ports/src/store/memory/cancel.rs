//! Cancellation in the background: asked for at once, carried out in sweeps.

use otaria_core::ids::JobNo;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};
use otaria_core::time::Timestamp;

use super::tables::Tables;
use crate::store::{Job, StoreError, Sweep, Task};

impl Tables {
    pub(super) fn request_cancel(
        &mut self,
        job: JobNo,
        mask: i64,
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Job, StoreError> {
        let row = self.jobs.get_mut(&job).ok_or(StoreError::NotFound { what: "job" })?;
        let running = row.job.canceling.map_or(0, |(mask, _)| mask);
        row.job.canceling = Some((running | mask, cause));
        row.job.fence += 1;
        row.job.modified_at = now;
        if let Some(bulk) = &mut row.job.bulk {
            bulk.done = true;
        }
        // Tasks that were passed over before may be meant now.
        row.swept = 0;
        Ok(row.job.clone())
    }

    pub(super) fn sweep_cancel(&mut self, job: JobNo, limit: usize, now: Timestamp) -> Sweep {
        let Some((row, (mask, cause))) = self.jobs.get(&job).and_then(|row| Some((row, row.job.canceling?)))
        else {
            return Sweep { canceled: 0, done: true };
        };
        let is_meant = |task: &&Task| {
            let status = task.state.status();
            status.is_open() && is_canceling(mask, status)
        };
        // One more than may be cancelled tells whether this sweep reaches the end.
        let mut meant: Vec<Task> = self
            .tasks
            .of_job(job, row.swept)
            .filter(is_meant)
            .take(limit.saturating_add(1))
            .cloned()
            .collect();
        let at_end = meant.len() <= limit;
        meant.truncate(limit);
        let last = if at_end { self.tasks.of_job(job, 0).next_back() } else { meant.last() };
        let swept = last.map_or(row.swept, |task| task.key.seq);
        let done = at_end && row.job.expansion.complete;

        for task in &meant {
            let attempts = task.state.attempts();
            self.move_task(task, TaskState::Canceled { attempts, cause }, now);
        }
        let row = self.row_mut(job);
        row.swept = swept;
        if done {
            row.job.canceling = None;
        }
        Sweep { canceled: meant.len() as u64, done }
    }
}

/// Whether a mask of statuses holds this one.
pub(super) const fn is_canceling(mask: i64, status: TaskStatus) -> bool {
    mask & (1 << status.code()) != 0
}
