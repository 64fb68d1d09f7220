//! Write down, then act: claims are committed, then their notices are sent.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::DeviceId;
use otaria_core::task::{TaskEvent, TaskState};
use otaria_core::time::Timestamp;
use otaria_ports::pusher::Notice;
use otaria_ports::store::TaskChange;

use super::ready::Waiting;
use crate::book::JobFacts;
use crate::error::CommandError;
use crate::ownership::Ownership;
use crate::shell::Shell;

/// How long after its date a notice may still be written. With the last hop and the clocks' error it stays
/// within the delay that the pace allows for.
const GRACE: Duration = Duration::from_millis(300);

/// A claim to be committed, with everything its notice will need.
pub(super) struct Claim {
    change: TaskChange,
    session: i64,
    not_before: Timestamp,
    facts: Arc<JobFacts>,
}

impl Claim {
    /// The claim of a task with a token of this date; `None` when the rules say that it wants none now.
    pub(super) fn of(
        waiting: Waiting,
        facts: &Arc<JobFacts>,
        date: Timestamp,
        now: Timestamp,
    ) -> Option<Self> {
        let Waiting { task, session } = waiting;
        let finish = facts.job.new.schedule.finish;
        if finish.is_some_and(|finish| date >= finish) {
            return None;
        }
        let event = TaskEvent::Claimed { not_before: date };
        let to = task.state.on(&event, &facts.policy, now).ok()?;
        let change =
            TaskChange { key: task.key, revision: task.revision, to, report: None, notices: 0, desc: None };
        Some(Self { change, session, not_before: date, facts: Arc::clone(facts) })
    }

    /// The notice of a committed claim; late is late: the lease's end and the job's finish bound it too.
    fn notice(self, shell: &Shell, owned: &Ownership, now: Timestamp) -> Option<Notice> {
        let (TaskState::Notified { attempt, .. } | TaskState::InProgress { attempt, .. }) = self.change.to else {
            return None;
        };
        let shard = self.change.key.device.shard();
        let epoch = *owned.shards.epochs.get(&shard)?;
        let mut not_after = (self.not_before + GRACE).min(owned.until);
        if let Some(finish) = self.facts.job.new.schedule.finish {
            not_after = not_after.min(finish);
        }
        Some(Notice {
            key: self.change.key,
            attempt: attempt.number,
            wire_id: attempt.offered_at.millis(),
            session: self.session,
            shard: (shard, epoch),
            fence: self.facts.job.fence,
            not_before: self.not_before,
            not_after,
            offer: shell.offers.of(&self.facts, now),
        })
    }
}

/// Commits claims and sends the notices of those that were written; returns the devices of the others.
pub(super) async fn claim_and_send(
    shell: &Shell,
    claims: Vec<Claim>,
    owned: &Ownership,
    now: Timestamp,
) -> Result<Vec<DeviceId>, CommandError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let changes: Vec<TaskChange> = claims.iter().map(|claim| claim.change.clone()).collect();
    let written = shell.deps.store.claim(&owned.shards, &changes, now).await?;
    let (mut notices, mut again) = (Vec::with_capacity(claims.len()), Vec::new());
    for (claim, written) in claims.into_iter().zip(written) {
        if written {
            notices.extend(claim.notice(shell, owned, now));
        } else {
            again.push(claim.change.key.device);
        }
    }
    metrics::counter!("otaria_claims_total", "result" => "written").increment(notices.len() as u64);
    metrics::counter!("otaria_claims_total", "result" => "moved").increment(again.len() as u64);
    shell.deps.pusher.send(notices).await?;
    Ok(again)
}
