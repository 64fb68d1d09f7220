//! Confirms or starts again many tasks of a job, a piece at a time, in the background.
//!
//! Never decides what a task becomes: that is `otaria_core::task`. A crash repeats a piece that was not
//! written, and the store refuses one that was.

use std::sync::Arc;

use otaria_core::ids::DeviceId;
use otaria_core::task::{BulkAction, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::store::{BATCH_MAX, Bulk, BulkStep, Job, StoreError, TaskChange, TaskFilter, TaskPage};

use crate::error::CommandError;
use crate::shell::Shell;
use crate::witness;

/// One piece of a job's running action; `true` when the job wants another look at once.
pub(crate) async fn step(shell: &Arc<Shell>, job: &Job, now: Timestamp) -> Result<bool, CommandError> {
    let Some(bulk) = &job.bulk else { return Ok(false) };
    let Some(facts) = shell.book.one(&*shell.deps.store, job.no).await? else { return Ok(false) };
    let filter = TaskFilter {
        // Another status among those that are meant takes looking at all of them.
        status: match bulk.filter.statuses[..] {
            [only] => Some(only),
            _ => None,
        },
        devices: Vec::new(),
    };
    let page = shell.deps.store.list_tasks(job.no, &filter, bulk.after, BATCH_MAX).await?;
    let event = bulk.filter.event(facts.job.new.policy.need_confirm);
    let mut changes = Vec::new();
    for view in page.tasks.iter().filter(|view| bulk.filter.covers(&view.task.state)) {
        if let Ok(to) = witness::step(&view.task.key, &view.task.state, &event, &facts, now) {
            let (key, revision) = (view.task.key.clone(), view.task.revision);
            changes.push(TaskChange { key, revision, to, report: None, notices: 0, desc: None });
        }
    }
    // The job was read before its tasks: if it was complete then, there are no others.
    let done = page.next.is_none() && job.expansion.complete;
    let step = BulkStep { from: bulk.after, to: looked_up_to(bulk, &page), done, changes };
    if !done && step.to == step.from {
        // While lines are still expanded there is nothing to hurry for: the expander hints at its end.
        return Ok(false);
    }
    write(shell, job, &step, bulk.filter.action, now).await?;
    Ok(done || page.next.is_some())
}

fn looked_up_to(bulk: &Bulk, page: &TaskPage) -> u32 {
    page.next.or(page.tasks.last().map(|view| view.task.key.seq)).unwrap_or(bulk.after)
}

async fn write(
    shell: &Shell,
    job: &Job,
    step: &BulkStep,
    action: BulkAction,
    now: Timestamp,
) -> Result<(), CommandError> {
    let written = match shell.deps.store.write_bulk(job.no, step, now).await {
        Ok(written) => written,
        // A cancellation ended it, or another process wrote this piece: the next look tells.
        Err(StoreError::Conflict { .. }) => return Ok(()),
        Err(error) => {
            // It may have been done all the same, and nobody else would tell the dispatcher.
            tell(shell, job, step.changes.iter());
            return Err(error.into());
        }
    };
    let moved = step.changes.iter().zip(&written).filter(|(_, written)| **written);
    tell(shell, job, moved.map(|(change, _)| change));
    let label = match action {
        BulkAction::Confirm => "confirm",
        BulkAction::Reupgrade => "reupgrade",
    };
    let count = written.iter().filter(|written| **written).count() as u64;
    metrics::counter!("otaria_bulk_tasks_total", "action" => label).increment(count);
    if step.done {
        tracing::info!(job.id = %job.id, action = label, "bulk action ended");
    }
    Ok(())
}

/// Tells the dispatcher of tasks that may be pushed.
fn tell<'a>(shell: &Shell, job: &Job, changes: impl Iterator<Item = &'a TaskChange>) {
    let queued = changes.filter(|change| change.to.status() == TaskStatus::Queued);
    let mut devices: Vec<DeviceId> = queued.map(|change| change.key.device).collect();
    if devices.is_empty() {
        return;
    }
    devices.sort_unstable();
    shell.deps.bus.tell(Signal::TasksReady { job: job.no, devices });
}
