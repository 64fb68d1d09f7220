//! Lets clocks run out: lost notices, silent devices, long updates, due retries.
//!
//! `due_at` is the only timer wheel. A task whose clock ran out is changed by the rules; what it then
//! wants is left to the dispatcher.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_core::task::{TaskEvent, Want};
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::store::{BATCH_MAX, TaskChange};

use crate::Wake;
use crate::error::CommandError;
use crate::ownership::Ownership;
use crate::shell::Shell;
use crate::witness;

/// Looked at this often even when nothing is known to fall due: deadlines are set by others meanwhile.
const PERIOD: Duration = Duration::from_millis(500);

/// Deals with at most one batch of tasks whose clock ran out.
///
/// # Errors
/// When the store is not available; the next tick tries again.
pub async fn tick(shell: &Arc<Shell>, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
    let store = &*shell.deps.store;
    let shards: Vec<Shard> = owned.shards.epochs.keys().copied().collect();
    let due = store.due(&shards, now, BATCH_MAX).await?;
    if due.is_empty() {
        return Ok(Wake::At(now + PERIOD));
    }
    let full = due.len() == BATCH_MAX;
    let facts = shell.book.get(store, &due.iter().map(|task| task.key.job).collect()).await?;
    let mut changes = Vec::with_capacity(due.len());
    for task in due {
        let Some(facts) = facts.get(&task.key.job) else { continue };
        if let Ok(to) = witness::step(&task.key, &task.state, &TaskEvent::DeadlinePassed, facts, now) {
            let (key, revision) = (task.key, task.revision);
            changes.push(TaskChange { key, revision, to, report: None, notices: 0, desc: None });
        }
    }
    metrics::counter!("otaria_overdue_tasks_total").increment(changes.len() as u64);
    match store.settle(&changes, now).await {
        Ok(written) => {
            let done = changes.into_iter().zip(written).filter(|(_, written)| *written);
            tell(shell, done.map(|(change, _)| change), now);
            Ok(if full { Wake::Now } else { Wake::At(now + PERIOD) })
        }
        Err(error) => {
            // It may have been done all the same, and then these clocks do not run out again.
            tell(shell, changes.into_iter(), now);
            Err(error.into())
        }
    }
}

/// Tells the closer of ended tasks, and the dispatcher of those that want to be pushed.
fn tell(shell: &Shell, changes: impl Iterator<Item = TaskChange>, now: Timestamp) {
    let mut ended = BTreeSet::new();
    let mut ready: BTreeMap<JobNo, Vec<DeviceId>> = BTreeMap::new();
    for change in changes {
        if !change.to.status().is_open() {
            ended.insert(change.key.job);
        } else if matches!(change.to.want(now), Want::Retry | Want::Redelivery) {
            ready.entry(change.key.job).or_default().push(change.key.device);
        }
    }
    shell.close_hints.add(ended);
    for (job, mut devices) in ready {
        devices.sort_unstable();
        shell.deps.bus.tell(Signal::TasksReady { job, devices });
    }
}
