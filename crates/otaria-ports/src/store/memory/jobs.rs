use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use otaria_core::gray::Last;
use otaria_core::ids::{AccountNo, ClientToken, DeviceId, FirmwareId, FirmwareNo, JobId, JobNo};
use otaria_core::job::{DynamicMode, JobKind, JobStatus, JobUpdate, Target};
use otaria_core::scope::Scope;
use otaria_core::task::{BulkFilter, CancelCause, TaskStatus};
use otaria_core::time::Timestamp;

use super::MemoryStore;
use super::tables::{JobRow, Tables};
use crate::store::{
    BulkStep, CreateJob, CreatedJob, Expansion, Job, JobMove, JobTurn, Jobs, RejectedLine, Slice,
    SliceOutcome, SourceKind, StoreError, Sweep, TaskCounts,
};

#[async_trait]
impl Jobs for MemoryStore {
    async fn create_job(&self, create: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
        self.transact("making a job", |tables| tables.create_job(create, now))
    }

    async fn put_draw(&self, job: JobNo, drawn: Last) -> Result<Option<Last>, StoreError> {
        self.transact("keeping a draw", |tables| {
            let source = tables.jobs.get_mut(&job).map(|row| &mut row.job.source);
            let Some(SourceKind::Part { last, .. }) = source else { return Ok(None) };
            Ok(Some(*last.get_or_insert(drawn)))
        })
    }

    async fn job(&self, account: AccountNo, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.transact("reading a job", |tables| {
            let row = tables.job_ids.get(id).map(|no| tables.row(*no));
            Ok(row.map(|row| &row.job).filter(|job| job.account == account).cloned())
        })
    }

    async fn job_by_token(
        &self,
        account: AccountNo,
        token: &ClientToken,
    ) -> Result<Option<(Job, [u8; 32])>, StoreError> {
        self.transact("reading a job by token", |tables| {
            let row = tables.tokens.get(&(account, token.clone())).map(|no| tables.row(*no));
            Ok(row.map(|row| (row.job.clone(), row.digest)))
        })
    }

    async fn jobs_by_no(&self, jobs: &[JobNo]) -> Result<Vec<Job>, StoreError> {
        self.transact("reading jobs", |tables| {
            let jobs: BTreeSet<&JobNo> = jobs.iter().collect();
            Ok(jobs.into_iter().filter_map(|no| tables.jobs.get(no)).map(|row| row.job.clone()).collect())
        })
    }

    async fn jobs(&self, account: AccountNo, after: JobNo, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.transact("reading jobs", |tables| {
            let later =
                tables.jobs.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, row)| &row.job);
            Ok(later.filter(|job| job.account == account).take(limit).cloned().collect())
        })
    }

    async fn jobs_of_firmware(
        &self,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Job>, u64), StoreError> {
        self.transact("reading a firmware's jobs", |tables| {
            Ok(tables.newest(before, skip, limit, |job| job.firmware == firmware))
        })
    }

    async fn jobs_of_device(
        &self,
        device: DeviceId,
        firmware: FirmwareNo,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Job>, u64), StoreError> {
        self.transact("reading a device's jobs", |tables| {
            let is_meant = |job: &Job| job.firmware == firmware && tables.tasks.get(device, job.no).is_some();
            Ok(tables.newest(before, skip, limit, is_meant))
        })
    }

    async fn update_job(
        &self,
        job: JobNo,
        update: &JobUpdate,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.transact("changing a job", |tables| Ok(tables.update_job(job, update, now)))
    }

    async fn unfinished_jobs(&self) -> Result<Vec<Job>, StoreError> {
        self.transact("reading unfinished jobs", |tables| {
            let unfinished = tables.jobs.values().filter(|row| row.is_unfinished());
            Ok(unfinished.map(|row| row.job.clone()).collect())
        })
    }

    async fn ended_jobs(&self, since: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.transact("reading ended jobs", |tables| {
            let jobs = tables.jobs.values().map(|row| &row.job);
            let mut ended: Vec<Job> =
                jobs.filter(|job| job.ended_at.is_some_and(|at| at >= since)).cloned().collect();
            ended.sort_by_key(|job| std::cmp::Reverse((job.ended_at, job.no)));
            ended.truncate(limit);
            Ok(ended)
        })
    }

    async fn unfinished_jobs_of(&self, firmware: &FirmwareId) -> Result<u64, StoreError> {
        self.transact("counting a firmware's jobs", |tables| {
            let jobs = tables.jobs.values().map(|row| &row.job);
            Ok(jobs.filter(|job| job.new.firmware == *firmware && !job.status.is_ended()).count() as u64)
        })
    }

    async fn job_names(&self, job: JobNo, offset: u64, limit: usize) -> Result<Vec<String>, StoreError> {
        self.transact("reading a job's names", |tables| {
            let Some(Target::Names(names)) = tables.jobs.get(&job).map(|row| &row.job.new.target) else {
                return Ok(Vec::new());
            };
            Ok(names.iter().skip(place(offset)).take(limit).map(ToString::to_string).collect())
        })
    }

    async fn expand(&self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError> {
        let wrongly = self.lock().replaced_in;
        let mut outcome = self.transact("expanding a job", |tables| tables.expand(slice, now))?;
        outcome.replaced.iter_mut().for_each(|task| task.status = wrongly.unwrap_or(task.status));
        Ok(outcome)
    }

    async fn rejected_lines(
        &self,
        job: JobNo,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, StoreError> {
        self.transact("reading rejected lines", |tables| {
            let rejects = tables.jobs.get(&job).into_iter().flat_map(|row| &row.rejects);
            Ok(rejects.skip(place(after)).take(limit).cloned().collect())
        })
    }

    async fn move_job(&self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
        self.transact("moving a job", |tables| tables.move_job(change, now))
    }

    async fn task_counts(&self, job: JobNo) -> Result<TaskCounts, StoreError> {
        self.transact("reading a job's counts", |tables| {
            Ok(tables.jobs.get(&job).map(|row| row.counts).unwrap_or_default())
        })
    }

    async fn request_cancel(
        &self,
        job: JobNo,
        mask: i64,
        cause: CancelCause,
        now: Timestamp,
    ) -> Result<Job, StoreError> {
        self.transact("asking for a cancellation", |tables| tables.request_cancel(job, mask, cause, now))
    }

    async fn sweep_cancel(&self, job: JobNo, limit: usize, now: Timestamp) -> Result<Sweep, StoreError> {
        self.transact("cancelling tasks", |tables| Ok(tables.sweep_cancel(job, limit, now)))
    }

    async fn request_bulk(
        &self,
        turn: JobTurn,
        filter: &BulkFilter,
        now: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        self.transact("asking for many tasks", |tables| tables.request_bulk(turn, filter, now))
    }

    async fn write_bulk(&self, job: JobNo, step: &BulkStep, now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.transact("moving many tasks", |tables| tables.write_bulk(job, step, now))
    }

    async fn audit_counts(&self, job: JobNo) -> Result<Vec<(TaskStatus, u64, u64)>, StoreError> {
        self.transact("auditing a job's counts", |tables| {
            let kept = tables.jobs.get(&job).map(|row| row.counts).unwrap_or_default();
            let mut counted = TaskCounts::default();
            for task in tables.tasks.of_job(job, 0) {
                counted.by_status[task.state.status() as usize] += 1;
            }
            let rows = TaskStatus::ALL.map(|status| (status, kept.of(status), counted.of(status)));
            Ok(rows.into_iter().filter(|(_, kept, counted)| kept != counted).collect())
        })
    }

    async fn purge_jobs(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.transact("removing old jobs", |tables| Ok(tables.purge_jobs(before, limit)))
    }
}

impl Tables {
    fn create_job(&mut self, create: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
        let token = create.new.client_token.clone().map(|token| (create.account, token));
        if let Some(before) = token.as_ref().and_then(|token| self.tokens.get(token)) {
            let row = self.row(*before);
            if row.digest != create.digest {
                return Err(StoreError::Exists { what: "client token" });
            }
            return Ok(CreatedJob::Before(Box::new(row.job.clone())));
        }
        let mut row = self.new_row(create, now)?;
        row.job.source = match row.job.source {
            SourceKind::Part { last, .. } => match self.part_of(create)? {
                (matching, 0) => return Ok(CreatedJob::Nobody { matching }),
                (matching, count) => SourceKind::Part { matching, count, last },
            },
            SourceKind::Group { group, .. } => {
                let found = self.groups.alive(group).filter(|found| found.new.account == create.account);
                let found = found.filter(|found| found.new.expression.is_none());
                found.ok_or(StoreError::NotFound { what: "group" })?;
                SourceKind::Group { group, upto: self.groups.change() }
            }
            SourceKind::Standing { mode, group } => {
                self.expect_room(create, group.as_ref(), row.job.firmware)?;
                row.job.expansion.complete = mode == DynamicMode::LaterOnly;
                SourceKind::Standing { mode, group }
            }
            other @ (SourceKind::Names | SourceKind::File { .. } | SourceKind::Product) => other,
        };
        Ok(CreatedJob::New(Box::new(self.put_job(row, create, token, now))))
    }

    /// How many devices match a job now, and how many of them its part is.
    fn part_of(&self, create: &CreateJob) -> Result<(u64, u64), StoreError> {
        let product =
            self.product_of_key(&create.new.product).ok_or(StoreError::NotFound { what: "product" })?;
        let firmware = self.firmware_of(create.account, &create.new.firmware);
        let new = &firmware.ok_or(StoreError::NotFound { what: "firmware" })?.new;
        let scope = Scope::new(&new.dest_version, create.new.target.src_versions(), new.kind.src_version());
        let devices = self.devices.values().filter(|device| device.product == product.no);
        let matching = devices
            .filter(|device| scope.takes(self.candidate(device, &new.module).version.as_ref()))
            .count() as u64;
        Ok((matching, create.new.target.part_of(matching)))
    }

    /// Looks at everything that could refuse the job.
    fn new_row(&self, create: &CreateJob, now: Timestamp) -> Result<JobRow, StoreError> {
        let product = self.product_of_key(&create.new.product);
        let product = product.filter(|product| product.new.account == create.account);
        let product = product.ok_or(StoreError::NotFound { what: "product" })?.no;
        let firmware = self.firmware_of(create.account, &create.new.firmware);
        let firmware = firmware.filter(|firmware| firmware.product == product);
        let firmware = firmware.ok_or(StoreError::NotFound { what: "firmware" })?;
        self.expect_firmware(firmware.no, create.firmware.0)?;
        if self.job_ids.contains_key(&create.id) {
            return Err(StoreError::Exists { what: "job" });
        }
        let job = Job {
            no: JobNo(self.last_job.0 + 1),
            id: create.id.clone(),
            account: create.account,
            product,
            firmware: firmware.no,
            new: create.new.clone(),
            status: create.status,
            source: create.source.clone(),
            upto: self.last_n,
            expansion: Expansion::default(),
            canceling: None,
            fence: 0,
            bulk: None,
            rate_version: 0,
            created_at: now,
            modified_at: now,
            started_at: (create.status == JobStatus::InProgress).then_some(now),
            ended_at: create.status.is_ended().then_some(now),
        };
        Ok(JobRow {
            job,
            module: firmware.new.module.clone(),
            digest: create.digest,
            skipped: BTreeSet::new(),
            past: BTreeMap::new(),
            rejects: Vec::new(),
            counts: TaskCounts::default(),
            swept: 0,
        })
    }

    fn put_job(
        &mut self,
        row: JobRow,
        create: &CreateJob,
        token: Option<(AccountNo, ClientToken)>,
        now: Timestamp,
    ) -> Job {
        let job = row.job.clone();
        self.set_firmware(job.firmware, create.firmware.1, now);
        self.last_job = job.no;
        self.job_ids.insert(job.id.clone(), job.no);
        if let Some(token) = token {
            self.tokens.insert(token, job.no);
        }
        self.jobs.insert(job.no, row);
        self.note_job(job.no, now);
        job
    }

    fn move_job(&mut self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
        let Some(row) = self.jobs.get(&change.job) else { return Ok(false) };
        let is_done = row.job.expansion.complete
            && row.job.canceling.is_none()
            && !row.has_running_bulk()
            && row.counts.open() == 0;
        if row.job.status != change.from || (change.only_if_done && !is_done) {
            return Ok(false);
        }
        let firmware = row.job.firmware;
        if let Some((from, to)) = change.firmware {
            self.expect_firmware(firmware, from)?;
            self.set_firmware(firmware, to, now);
        }
        let job = &mut self.row_mut(change.job).job;
        job.status = change.to;
        job.modified_at = now;
        if change.to == JobStatus::InProgress {
            job.started_at = job.started_at.or(Some(now));
        }
        job.ended_at = change.to.is_ended().then_some(now);
        job.expansion.complete |= change.to.is_ended() && job.new.kind == JobKind::Dynamic;
        job.fence += u64::from(change.fence);
        self.note_job(change.job, now);
        Ok(true)
    }

    /// The jobs that are meant, newest first: a part of them, and how many there are.
    fn newest(
        &self,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
        is_meant: impl Fn(&Job) -> bool,
    ) -> (Vec<Job>, u64) {
        let newest = || self.jobs.values().rev().map(|row| &row.job).filter(|job| is_meant(job));
        let rest = newest().filter(|job| before.is_none_or(|before| job.no < before));
        (rest.skip(skip).take(limit).cloned().collect(), newest().count() as u64)
    }

    fn update_job(&mut self, no: JobNo, update: &JobUpdate, now: Timestamp) -> Option<Job> {
        let job = &mut self.jobs.get_mut(&no).filter(|row| !row.job.status.is_ended())?.job;
        let rate = job.new.policy.maximum_per_minute;
        update.apply(&mut job.new);
        job.rate_version += u64::from(job.new.policy.maximum_per_minute != rate);
        job.modified_at = now;
        Some(job.clone())
    }

    /// Removes the tasks of a job before the job, so that what was left by a small `limit` is found again.
    fn purge_jobs(&mut self, before: Timestamp, limit: usize) -> u64 {
        let is_old = |row: &JobRow| {
            row.job.ended_at.is_some_and(|ended| ended < before)
                && !row.is_unfinished()
                && row.counts.open() == 0
        };
        let old: Vec<JobNo> = self.jobs.iter().filter(|(_, row)| is_old(row)).map(|(no, _)| *no).collect();
        let mut left = limit;
        for no in old {
            let tasks: Vec<_> = self.tasks.of_job(no, 0).take(left).cloned().collect();
            left -= tasks.len();
            for task in &tasks {
                self.tasks.remove(&task.key);
                let counts = &mut self.row_mut(no).counts;
                counts.by_status[task.state.status() as usize] -= 1;
                counts.notices -= u64::from(task.notices);
            }
            let rejects = &mut self.row_mut(no).rejects;
            let kept = rejects.len().saturating_sub(left);
            left -= rejects.len() - kept;
            rejects.truncate(kept);
            if left == 0 {
                break;
            }
            left -= 1;
            self.forget_job(no);
        }
        (limit - left) as u64
    }

    fn forget_job(&mut self, no: JobNo) {
        self.jobs.remove(&no);
        self.job_ids.retain(|_, kept| *kept != no);
        self.tokens.retain(|_, kept| *kept != no);
    }
}

/// A count of rows as a place in memory.
fn place(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
