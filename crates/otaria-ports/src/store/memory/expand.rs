//! Expansion: the tasks of a slice, and what becomes of the unfinished ones that are in their way.

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{JobKind, OverwriteMode};
use otaria_core::task::{CancelCause, FailureCause, ReportOrder, TaskKey, TaskState, TaskStatus};
use otaria_core::time::Timestamp;

use super::tables::Tables;
use crate::store::{NewTask, RejectCause, RejectedLine, Replaced, Slice, SliceOutcome, StoreError, Task};

impl Tables {
    pub(super) fn expand(&mut self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError> {
        self.refuse_slice(slice)?;
        let (mut queued, mut replaced) = (Vec::new(), Vec::new());
        let mut duplicates = Vec::new();
        let dynamic = self.row(slice.job).job.new.kind == JobKind::Dynamic;
        for new in &slice.tasks {
            if self.is_accounted_for(slice.job, new.device) {
                duplicates.push(new.device);
            } else if dynamic && self.is_beaten(slice.job, new.device) {
                self.row_mut(slice.job).job.expansion.skipped += 1;
            } else if self.make_task(slice.job, new, &mut replaced, now) == TaskStatus::Queued {
                queued.push(new.device);
            }
        }
        for device in &slice.skipped {
            if self.is_accounted_for(slice.job, *device) {
                duplicates.push(*device);
            } else {
                let row = self.row_mut(slice.job);
                if !dynamic {
                    row.skipped.insert(*device);
                }
                row.job.expansion.skipped += 1;
            }
        }
        // Who came to a dynamic job by itself is no line of it.
        let doubled = if dynamic { std::mem::take(&mut duplicates).len() as u64 } else { 0 };
        self.reject(slice, &duplicates);

        let row = self.row_mut(slice.job);
        let expansion = &mut row.job.expansion;
        expansion.lines += slice.lines - doubled;
        expansion.cursor = slice.to.clone();
        expansion.complete = slice.complete;
        if slice.complete {
            row.skipped.clear();
            row.past.clear();
        }
        Ok(SliceOutcome { queued, replaced, expansion: row.job.expansion.clone() })
    }

    fn refuse_slice(&self, slice: &Slice) -> Result<(), StoreError> {
        let row = self.jobs.get(&slice.job).ok_or(StoreError::NotFound { what: "job" })?;
        if row.job.expansion.complete || row.job.expansion.cursor != slice.from {
            return Err(StoreError::Conflict { what: "expansion" });
        }
        let mut devices = slice.tasks.iter().map(|new| new.device).chain(slice.skipped.iter().copied());
        if devices.any(|device| !self.devices.contains_key(&device)) {
            return Err(StoreError::NotFound { what: "device" });
        }
        let wanted = (slice.tasks.len() + slice.skipped.len()) as u64;
        debug_assert_eq!(slice.lines, wanted + slice.rejected.total(), "a slice accounts for its lines");
        debug_assert!(slice.tasks.is_sorted_by_key(|new| new.device), "a slice is sorted by device");
        Ok(())
    }

    fn is_accounted_for(&self, job: JobNo, device: DeviceId) -> bool {
        self.tasks.get(device, job).is_some() || self.row(job).skipped.contains(&device)
    }

    /// Makes one task, and cancels those that it replaces.
    pub(super) fn make_task(
        &mut self,
        job: JobNo,
        new: &NewTask,
        replaced: &mut Vec<Replaced>,
        now: Timestamp,
    ) -> TaskStatus {
        let row = self.row(job);
        let (module, seq) = (row.module.clone(), row.job.expansion.tasks + 1);
        let first = if row.job.new.policy.need_confirm { TaskState::Confirm } else { TaskState::Queued };
        let in_the_way = self.in_the_way(job, new.device);
        let busy = !in_the_way.iter().all(|task| self.may_replace(job, task));
        let state = if busy { TaskState::Failed { attempts: 0, cause: FailureCause::Busy } } else { first };
        if !busy {
            for task in &in_the_way {
                let (attempts, cause) = (task.state.attempts(), CancelCause::Overwritten);
                replaced.push(Replaced { key: task.key.clone(), status: task.state.status() });
                self.move_task(task, TaskState::Canceled { attempts, cause }, now);
            }
        }

        let expansion = &mut self.row_mut(job).job.expansion;
        expansion.tasks += 1;
        expansion.busy += u64::from(busy);
        let status = state.status();
        // A list has at most 1,000,000 lines and a product fewer than 2^32 devices.
        let seq = u32::try_from(seq).expect("a job has fewer than 2^32 tasks");
        let task = Task {
            key: TaskKey { device: new.device, job, seq },
            module,
            state,
            revision: 1,
            report: ReportOrder::default(),
            notices: 0,
            src_version: new.src_version.clone(),
            desc: None,
            created_at: now,
            modified_at: now,
        };
        self.put_task(task, now);
        status
    }

    /// The open tasks of other jobs that a device may not have beside one of this job (I2): all, or with
    /// MultiModuleMode those of the same module and those of jobs without it.
    pub(super) fn in_the_way(&self, job: JobNo, device: DeviceId) -> Vec<Task> {
        let row = self.row(job);
        let is_in_the_way = |task: &&Task| {
            task.key.job != job
                && (!row.job.new.policy.multi_module
                    || task.module == row.module
                    || !self.row(task.key.job).job.new.policy.multi_module)
        };
        self.tasks.open_of(device).filter(is_in_the_way).cloned().collect()
    }

    /// Whether a task of this job takes the place of an open one: never while that is `IN_PROGRESS`;
    /// otherwise if OverwriteMode says so, in MultiModuleMode if the module is the same, or if both jobs are
    /// dynamic.
    pub(super) fn may_replace(&self, job: JobNo, earlier: &Task) -> bool {
        let row = self.row(job);
        let is_dynamic = |no: JobNo| self.row(no).job.new.kind == JobKind::Dynamic;
        let policy = &row.job.new.policy;
        let of_same_module = policy.multi_module && earlier.module == row.module;
        earlier.state.status() != TaskStatus::InProgress
            && (policy.overwrite == OverwriteMode::Replace
                || of_same_module
                || (is_dynamic(job) && is_dynamic(earlier.key.job)))
    }

    /// Keeps what the caller rejected, and then the devices that came before.
    fn reject(&mut self, slice: &Slice, duplicates: &[DeviceId]) {
        let name = |device: &DeviceId| self.devices[device].name.to_string();
        let found: Vec<RejectedLine> = duplicates
            .iter()
            .map(|device| RejectedLine { text: name(device), cause: RejectCause::Duplicate })
            .collect();
        let row = self.row_mut(slice.job);
        row.rejects.extend(slice.rejects.iter().cloned().chain(found));
        let rejected = &mut row.job.expansion.rejected;
        rejected.malformed += slice.rejected.malformed;
        rejected.unknown += slice.rejected.unknown;
        rejected.duplicate += slice.rejected.duplicate + duplicates.len() as u64;
    }
}
