//! Lets clocks run out: lost notices, silent devices, long updates, due retries.
//!
//! `due_at` is the only timer wheel. A task whose clock ran out is changed by the rules; what it then
//! wants is left to the dispatcher.

use std::collections::BTreeMap;
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
        if let Ok(to) = task.state.on(&TaskEvent::DeadlinePassed, &facts.policy, now) {
            let (key, revision) = (task.key, task.revision);
            changes.push(TaskChange { key, revision, to, report: None, notices: 0, desc: None });
        }
    }
    let written = store.settle(&changes, now).await?;
    let mut ready: BTreeMap<JobNo, Vec<DeviceId>> = BTreeMap::new();
    for change in changes.iter().zip(written).filter(|(_, written)| *written).map(|(change, _)| change) {
        if !change.to.status().is_open() {
            shell.close_hints.add([change.key.job]);
        } else if matches!(change.to.want(now), Want::Retry | Want::Redelivery) {
            ready.entry(change.key.job).or_default().push(change.key.device);
        }
    }
    metrics::counter!("otaria_overdue_tasks_total").increment(changes.len() as u64);
    for (job, devices) in ready {
        shell.deps.bus.tell(Signal::TasksReady { job, devices });
    }
    Ok(if full { Wake::Now } else { Wake::At(now + PERIOD) })
}
