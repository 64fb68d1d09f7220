//! ConfirmOTATask, ReupgradeOTATask, CancelOTATaskByDevice: what operators order of tasks by name.
//!
//! Decided on what was read, written by compare-and-set, all or none. What somebody else changed in between
//! is read and decided anew.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use otaria_core::ids::{DeviceId, JobNo, ModuleName, TaskId};
use otaria_core::job::{JobEvent, JobKind, JobStatus};
use otaria_core::rules::{Code, Refusal, device_names, task_ids};
use otaria_core::task::{CancelCause, TaskEvent, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::store::{Job, JobTurn, Role, StoreError, Task, TaskChange};

use super::{Caller, Commands};
use crate::error::CommandError;
use crate::witness;

/// How often an order is decided anew when tasks or jobs move meanwhile.
const TRIES: usize = 5;

/// What is to be written, and the tasks it was decided on, in the order of the caller's list.
struct Order {
    turns: Vec<JobTurn>,
    tasks: Vec<Task>,
    changes: Vec<TaskChange>,
}

impl Commands {
    /// ConfirmOTATask: 1 to 10 tasks in `CONFIRM`, of jobs whose schedule is open, all or none.
    ///
    /// # Errors
    /// `MissingTaskId`, `TooManyTasks`, `TaskNotFound`, or a task or job whose state does not allow it.
    pub async fn confirm_tasks(
        &self,
        caller: &Caller,
        now: Timestamp,
        task_id: &[String],
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let ids = task_ids(task_id)?;
        for _ in 0..TRIES {
            let (tasks, jobs) = self.own_tasks(caller, &ids).await?;
            for (n, task) in (1..).zip(&tasks) {
                let job = &jobs[&task.key.job];
                if task.state.status() != TaskStatus::Confirm || is_canceling(job, TaskStatus::Confirm) {
                    return Err(wrong_status(n, task, "must be CONFIRM to be confirmed"));
                }
                if !job.new.schedule.is_open(now) {
                    let message = "the job is outside its schedule: before ScheduleTime, or over";
                    return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
                }
            }
            let turns = jobs.values().map(|job| turn(job, job.status)).collect();
            let order = self.order(turns, tasks, &TaskEvent::Confirmed, now).await?;
            if self.carry_out(order, now).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict { what: "task" }.into())
    }

    /// ReupgradeOTATask: 1 to 10 tasks of a job, `FAILED` or `CANCELED`, all or none. They go back to
    /// `CONFIRM` if the job needs confirmation and to `QUEUED` otherwise; a static job that has ended goes on.
    ///
    /// # Errors
    /// As [`Commands::confirm_tasks`]; a verify job, one whose time is over, or a device with another open
    /// task in the way.
    pub async fn reupgrade_tasks(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        task_id: &[String],
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let mut refused: Option<Vec<Task>> = None;
        let no = self.own_job(caller, job_id).await?.no;
        let ids = task_ids(task_id)?;
        for _ in 0..TRIES {
            let job = self.own_job(caller, job_id).await?;
            let after = status_to_go_on(&job, now)?;
            if let Some(place) = ids.iter().position(|id| id.job != no) {
                return Err(unknown_task(place + 1));
            }
            let (tasks, _) = self.own_tasks(caller, &ids).await?;
            for (n, task) in (1..).zip(&tasks) {
                if !matches!(task.state.status(), TaskStatus::Failed | TaskStatus::Canceled) {
                    return Err(wrong_status(n, task, "must be FAILED or CANCELED to be started again"));
                }
            }
            if refused.as_ref() == Some(&tasks) {
                // Nothing moved, and it was refused all the same.
                return Err(self.why_refused(&job, &tasks).await?);
            }
            refused = Some(tasks.clone());
            let event = TaskEvent::Reupgraded { need_confirm: job.new.policy.need_confirm };
            let order = self.order(vec![turn(&job, after)], tasks, &event, now).await?;
            if self.carry_out(order, now).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict { what: "task" }.into())
    }

    /// CancelOTATaskByDevice: the open tasks that 1 to 200 devices have for a firmware, in one job if it is
    /// named. Devices without one, and unknown ones, are passed over. Once this is answered no notice of
    /// these tasks is written any more (I5).
    ///
    /// # Errors
    /// What is missing or unknown among product, firmware and job, or a text that is no device's name.
    pub async fn cancel_tasks_by_device(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &CancelByDeviceParams,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let product = self.product_of(caller, params.product_key.as_ref()).await?;
        let names = device_names(&params.device_name)?;
        let firmware = self.firmware_of(caller, &given(&params.firmware_id).unwrap_or_default()).await?;
        if firmware.product != product.no {
            let rule = "names a firmware of another product";
            return Err(Refusal::invalid(Code::FirmwareNotFound, "FirmwareId", rule).into());
        }
        let job = match given(&params.job_id) {
            Some(id) => Some(self.own_job(caller, &id).await?.no),
            None => None,
        };
        let store = &self.deps().store;
        let module = ModuleName::default_module();
        let found = store.resolve(product.no, i64::MAX, &module, &names).await?;
        let devices: Vec<DeviceId> = found.into_iter().flatten().map(|found| found.device).collect();
        let cause = CancelCause::Operator;
        let jobs = store.cancel_of_devices(firmware.no, job, &devices, cause, now).await?;
        // Told before the fences are waited for, since the caller may not wait that long.
        for job in &jobs {
            self.shell.job_changed(job.no);
        }
        self.shell.close_hints.add(jobs.iter().map(|job| job.no));
        // All at once: where they are waited for, it is one wait.
        let fences = jobs.iter().map(|job| self.deps().pusher.fence(job.no, job.fence));
        for raised in join_all(fences).await {
            raised?;
        }
        Ok(())
    }

    /// The tasks that are meant, in this order, and their jobs; all of them the caller's.
    async fn own_tasks(
        &self,
        caller: &Caller,
        ids: &[TaskId],
    ) -> Result<(Vec<Task>, BTreeMap<JobNo, Job>), CommandError> {
        let store = &self.deps().store;
        let numbers: Vec<JobNo> = ids.iter().map(|id| id.job).collect::<BTreeSet<_>>().into_iter().collect();
        let jobs = store.jobs_by_no(&numbers).await?.into_iter();
        let jobs: BTreeMap<JobNo, Job> =
            jobs.filter(|job| job.account == caller.account).map(|job| (job.no, job)).collect();
        let found = store.tasks_by_id(ids).await?;
        let mut tasks = Vec::with_capacity(ids.len());
        for (n, id) in (1..).zip(ids) {
            let is_meant = |task: &&Task| task.key.job == id.job && task.key.seq == id.seq;
            let task = found.iter().find(is_meant).filter(|_| jobs.contains_key(&id.job));
            tasks.push(task.cloned().ok_or_else(|| unknown_task(n))?);
        }
        Ok((tasks, jobs))
    }

    async fn order(
        &self,
        turns: Vec<JobTurn>,
        tasks: Vec<Task>,
        event: &TaskEvent,
        now: Timestamp,
    ) -> Result<Order, CommandError> {
        let jobs = turns.iter().map(|turn| turn.job).collect();
        let facts = self.shell.book.get(&*self.deps().store, &jobs).await?;
        let mut changes = Vec::with_capacity(tasks.len());
        for task in &tasks {
            // The caller looked at the status: the rules take the event, unless the job is gone.
            let step = |facts| witness::step(&task.key, &task.state, event, facts, now).ok();
            let to = facts.get(&task.key.job).and_then(|facts| step(facts));
            let to = to.ok_or(StoreError::Conflict { what: "task" })?;
            let (key, revision) = (task.key.clone(), task.revision);
            changes.push(TaskChange { key, revision, to, report: None, notices: 0, desc: None });
        }
        Ok(Order { turns, tasks, changes })
    }

    /// Writes an order and tells of it; `false` when something stands in its way.
    async fn carry_out(&self, order: Order, now: Timestamp) -> Result<bool, CommandError> {
        let written = match self.deps().store.settle_all(&order.turns, &order.changes, now).await {
            Ok(refused) => refused.is_empty(),
            Err(StoreError::Conflict { .. }) => false,
            Err(error) => {
                // It may have been done all the same, and nobody else would tell.
                self.tell(&order);
                return Err(error.into());
            }
        };
        if written {
            self.tell(&order);
        }
        Ok(written)
    }

    fn tell(&self, order: &Order) {
        for turn in &order.turns {
            if turn.from != turn.to {
                self.shell.job_changed(turn.job);
            }
            let mine = order.changes.iter().filter(|change| change.key.job == turn.job);
            let queued = mine.filter(|change| change.to.status() == TaskStatus::Queued);
            let mut devices: Vec<DeviceId> = queued.map(|change| change.key.device).collect();
            devices.sort_unstable();
            if !devices.is_empty() {
                self.deps().bus.tell(Signal::TasksReady { job: turn.job, devices });
            }
        }
        // An opened job may end again: by its finish time, or when these tasks are through.
        self.shell.close_hints.add(order.turns.iter().map(|turn| turn.job));
        metrics::counter!("otaria_ordered_tasks_total").increment(order.tasks.len() as u64);
    }

    /// What keeps tasks from being started again that may be, as far as they go.
    async fn why_refused(&self, job: &Job, tasks: &[Task]) -> Result<CommandError, CommandError> {
        if job.canceling.is_some() {
            let message = "tasks of the job are being cancelled; repeat the call when that is done";
            return Ok(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
        }
        let devices: Vec<DeviceId> = tasks.iter().map(|task| task.key.device).collect();
        let open = self.deps().store.open_tasks(&devices).await?;
        let is_busy = |task: &Task| open.iter().any(|other| other.key.device == task.key.device);
        Ok(match tasks.iter().position(is_busy) {
            Some(place) => {
                let rule = "names a device that has another unfinished task";
                let parameter = format!("TaskId.{}", place + 1);
                Refusal::invalid(Code::TaskStatusNotAllowed, parameter, rule).into()
            }
            // What stood in the way is gone by now.
            None => StoreError::Conflict { what: "task" }.into(),
        })
    }
}

/// `CancelOTATaskByDevice` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct CancelByDeviceParams {
    pub product_key: Option<String>,
    pub firmware_id: Option<String>,
    pub device_name: Vec<String>,
    pub job_id: Option<String>,
}

fn turn(job: &Job, to: JobStatus) -> JobTurn {
    JobTurn { job: job.no, from: job.status, to }
}

fn is_canceling(job: &Job, status: TaskStatus) -> bool {
    job.canceling.is_some_and(|(mask, _)| mask & (1 << status.code()) != 0)
}

/// The status of a job when tasks of it are started again. A static job goes on; a dynamic one whose strategy
/// was cancelled stays cancelled, and makes no new tasks.
pub(super) fn status_to_go_on(job: &Job, now: Timestamp) -> Result<JobStatus, CommandError> {
    if job.new.kind == JobKind::Verify {
        let message = "tasks of a verify job are not started again; make a new verify job";
        return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
    }
    if job.new.schedule.finish.is_some_and(|finish| finish <= now) {
        let message = "the job's ScheduleFinishTime is over; make a new job";
        return Err(CommandError::not_allowed(Code::JobStatusNotAllowed, message));
    }
    let is_opened = job.new.kind == JobKind::Static && job.status.is_ended();
    Ok(if is_opened { job.status.on(JobEvent::Reopened).unwrap_or(job.status) } else { job.status })
}

fn unknown_task(n: usize) -> CommandError {
    Refusal::invalid(Code::TaskNotFound, format!("TaskId.{n}"), "names no such task").into()
}

fn wrong_status(n: usize, task: &Task, rule: &str) -> CommandError {
    let rule = format!("{rule}; it is {}", task.state.status().as_str());
    Refusal::invalid(Code::TaskStatusNotAllowed, format!("TaskId.{n}"), rule).into()
}
