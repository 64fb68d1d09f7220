//! Write down, then act: claims are committed, then their notices are sent.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::pace::PerMinute;
use otaria_core::task::{TaskEvent, TaskKey, TaskState};
use otaria_core::time::Timestamp;
use otaria_core::witness::{Terms, pushed};
use otaria_ports::pusher::Notice;
use otaria_ports::store::{Task, TaskChange};

use crate::book::JobFacts;
use crate::error::CommandError;
use crate::ownership::Ownership;
use crate::shell::Shell;
use crate::witness;

/// How long after its date a notice may still be written. With the last hop and the clocks' error it stays
/// within the delay that the pace allows for.
const GRACE: Duration = Duration::from_millis(300);

/// A claim to be committed, with everything its notice will need.
pub(super) struct Claim {
    before: (TaskState, u32),
    change: TaskChange,
    session: i64,
    not_before: Timestamp,
    terms: Terms,
    facts: Arc<JobFacts>,
}

impl Claim {
    /// The claim of a task with a token of this date; `None` when the rules say that it wants none now.
    pub(super) fn of(
        task: Task,
        session: i64,
        facts: &Arc<JobFacts>,
        (date, rate): (Timestamp, PerMinute),
        now: Timestamp,
    ) -> Option<Self> {
        let finish = facts.job.new.schedule.finish;
        if finish.is_some_and(|finish| date >= finish) {
            return None;
        }
        let event = TaskEvent::Claimed { not_before: date };
        let to = witness::step(&task.key, &task.state, &event, facts, now).ok()?;
        let change =
            TaskChange { key: task.key, revision: task.revision, to, report: None, notices: 0, desc: None };
        let (before, terms) = ((task.state, task.notices), Terms { rate, schedule: facts.job.new.schedule });
        Some(Self { before, change, session, not_before: date, terms, facts: Arc::clone(facts) })
    }

    /// The task.
    pub(super) fn key(&self) -> &TaskKey {
        &self.change.key
    }

    /// Looks once more at a committed claim.
    fn witness(&self) {
        let (state, notices) = &self.before;
        let new = &self.facts.job.new;
        if let Some(broken) = pushed(state, *notices, new.kind, &new.policy, &self.terms, self.not_before) {
            witness::of_task(&self.change.key, &broken);
        }
    }

    /// The notice of a committed claim; late is late: the lease's end and the job's finish bound it too.
    fn notice(self, shell: &Shell, owned: &Ownership, now: Timestamp) -> Option<Notice> {
        let (TaskState::Notified { attempt, .. } | TaskState::InProgress { attempt, .. }) = self.change.to
        else {
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
            terms: Some(self.terms),
            offer: shell.offers.of(&self.facts, now),
        })
    }
}

/// What became of claims.
#[derive(Default)]
pub(super) struct Outcome {
    /// Written: the tasks, and the sessions that their notices are meant for.
    pub(super) written: Vec<(TaskKey, i64)>,
    /// Not written: the tasks moved, or nothing of the job may go out any more.
    pub(super) refused: Vec<TaskKey>,
}

/// Commits claims and sends the notices of those that were written.
pub(super) async fn claim_and_send(
    shell: &Shell,
    claims: Vec<Claim>,
    owned: &Ownership,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::default();
    if claims.is_empty() {
        return Ok(outcome);
    }
    let changes: Vec<TaskChange> = claims.iter().map(|claim| claim.change.clone()).collect();
    let written = shell.deps.store.claim(&owned.shards, &changes, now).await?;
    let mut notices = Vec::with_capacity(claims.len());
    for (claim, written) in claims.into_iter().zip(written) {
        if written {
            claim.witness();
            outcome.written.push((claim.change.key.clone(), claim.session));
            notices.extend(claim.notice(shell, owned, now));
        } else {
            outcome.refused.push(claim.change.key);
        }
    }
    metrics::counter!("otaria_claims_total", "result" => "written").increment(outcome.written.len() as u64);
    metrics::counter!("otaria_claims_total", "result" => "refused").increment(outcome.refused.len() as u64);
    shell.deps.pusher.send(notices).await?;
    Ok(outcome)
}
