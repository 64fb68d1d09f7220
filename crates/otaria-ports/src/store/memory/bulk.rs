//! What operators make of tasks: some by name, all or none; many by a filter, piece by piece.

use std::collections::BTreeSet;

use otaria_core::ids::{DeviceId, FirmwareNo, JobNo};
use otaria_core::job::JobStatus;
use otaria_core::task::{BulkFilter, CancelCause, TaskState};
use otaria_core::time::Timestamp;

use super::cancel::is_canceling;
use super::tables::Tables;
use crate::store::{Bulk, BulkStep, Job, JobTurn, StoreError, Task, TaskChange};

impl Tables {
    pub(super) fn settle_all(
        &mut self,
        turns: &[JobTurn],
        changes: &[TaskChange],
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError> {
        let is_as_expected =
            |turn: &JobTurn| self.jobs.get(&turn.job).is_some_and(|row| row.job.status == turn.from);
        if !turns.iter().all(is_as_expected) {
            return Err(StoreError::Conflict { what: "job" });
        }
        let is_refused = |change: &TaskChange| !self.may_settle(change) || !self.is_alone(change, changes);
        let places = changes.iter().enumerate();
        let refused: Vec<usize> =
            places.filter(|(_, change)| is_refused(change)).map(|(place, _)| place).collect();
        if refused.is_empty() {
            for turn in turns {
                self.turn_job(*turn, now);
            }
            for change in changes {
                self.change_task(change, now);
            }
        }
        Ok(refused)
    }

    /// Whether no change before this one opens an ended task of the same device.
    fn is_alone(&self, change: &TaskChange, changes: &[TaskChange]) -> bool {
        let opens = |change: &TaskChange| {
            let is_ended = self.task(&change.key).is_some_and(|task| !task.state.status().is_open());
            is_ended && change.to.status().is_open()
        };
        let mut before = changes.iter().take_while(|other| !std::ptr::eq(*other, change));
        !opens(change) || !before.any(|other| other.key.device == change.key.device && opens(other))
    }

    /// Whether a change would be written if it came alone.
    fn may_settle(&self, change: &TaskChange) -> bool {
        let job = change.key.job;
        let Some(task) = self.task(&change.key).filter(|task| task.revision == change.revision) else {
            return false;
        };
        let (from, to) = (task.state.status(), change.to.status());
        let canceling = |status| {
            let mask = self.row(job).job.canceling.map_or(0, |(mask, _)| mask);
            is_canceling(mask, status)
        };
        let reopens = !from.is_open() && to.is_open();
        let is_busy = reopens && !self.in_the_way(job, change.key.device).is_empty();
        !is_busy && !canceling(from) && !canceling(to)
    }

    fn turn_job(&mut self, turn: JobTurn, now: Timestamp) {
        let JobTurn { job: no, from, to } = turn;
        if from == to {
            return;
        }
        let job = &mut self.row_mut(no).job;
        job.status = to;
        job.modified_at = now;
        job.ended_at = to.is_ended().then_some(now);
        if to == JobStatus::InProgress {
            job.started_at = job.started_at.or(Some(now));
        }
        self.note_job(no, now);
    }

    pub(super) fn request_bulk(
        &mut self,
        turn: JobTurn,
        filter: &BulkFilter,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let Some(row) = self.jobs.get_mut(&turn.job).filter(|row| row.job.status == turn.from) else {
            return Ok(None);
        };
        match &row.job.bulk {
            Some(running) if !running.done && running.filter != *filter => {
                return Err(StoreError::Conflict { what: "bulk" });
            }
            Some(running) if !running.done => {}
            _ => {
                row.job.bulk =
                    Some(Bulk { filter: filter.clone(), after: 0, moved: 0, passed: 0, done: false });
            }
        }
        self.turn_job(turn, now);
        Ok(Some(self.row(turn.job).job.clone()))
    }

    pub(super) fn write_bulk(
        &mut self,
        no: JobNo,
        step: &BulkStep,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let running = self.jobs.get(&no).and_then(|row| row.job.bulk.as_ref());
        if running.is_none_or(|bulk| bulk.done || bulk.after != step.from) {
            return Err(StoreError::Conflict { what: "bulk" });
        }
        let mut written = Vec::with_capacity(step.changes.len());
        for change in &step.changes {
            written.push(self.may_settle(change) && self.change_task(change, now));
        }
        let moved = written.iter().filter(|written| **written).count() as u64;
        if let Some(bulk) = &mut self.row_mut(no).job.bulk {
            bulk.after = step.to;
            bulk.done = step.done;
            bulk.moved += moved;
            bulk.passed += written.len() as u64 - moved;
        }
        Ok(written)
    }

    pub(super) fn cancel_of_devices(
        &mut self,
        firmware: FirmwareNo,
        job: Option<JobNo>,
        devices: &[DeviceId],
        cause: CancelCause,
        now: Timestamp,
    ) -> Vec<Job> {
        let devices: BTreeSet<DeviceId> = devices.iter().copied().collect();
        let meant: Vec<JobNo> = self
            .jobs
            .values()
            .filter(|row| row.job.firmware == firmware && job.is_none_or(|job| job == row.job.no))
            .map(|row| row.job.no)
            .collect();
        let mut jobs = Vec::new();
        for no in meant {
            let tasks: Vec<Task> =
                devices.iter().filter_map(|device| self.tasks.get(*device, no)).cloned().collect();
            if tasks.is_empty() {
                continue;
            }
            let mut canceled = false;
            for task in tasks.iter().filter(|task| task.state.status().is_open()) {
                self.move_task(task, TaskState::Canceled { attempts: task.state.attempts(), cause }, now);
                canceled = true;
            }
            let job = &mut self.row_mut(no).job;
            job.fence += u64::from(canceled);
            jobs.push(job.clone());
        }
        jobs
    }
}
