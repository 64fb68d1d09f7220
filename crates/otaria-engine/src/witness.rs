//! Asks the witnesses of `otaria_core::witness` about what was decided, and counts and logs what they find.
//!
//! Never changes what it looks at: a broken invariant is told, and everything goes on as decided.

use std::sync::{Mutex, PoisonError};

use otaria_core::ids::JobNo;
use otaria_core::shard::Shard;
use otaria_core::task::{Ignored, TaskEvent, TaskKey, TaskState};
use otaria_core::time::Timestamp;
use otaria_core::witness::{Broken, COUNTER, Invariant, Told, moved};
use otaria_ports::store::{CreateJob, Job};

use crate::book::JobFacts;

/// What was logged so far in this process.
static TOLD: Mutex<Told> = Mutex::new(Told::new());

/// What an event makes of a task. All of the engine's steps of tasks go through here, and each is looked at twice.
pub(crate) fn step(
    key: &TaskKey,
    before: &TaskState,
    event: &TaskEvent,
    facts: &JobFacts,
    now: Timestamp,
) -> Result<TaskState, Ignored> {
    let after = before.on(event, &facts.policy, now)?;
    if let Some(broken) = moved(before, event, &after, &facts.policy, now) {
        of_task(key, &broken);
    }
    Ok(after)
}

/// A token's job is answered for a call: it must be what the call asks for (I12), as far as that never changes.
pub(crate) fn token(known: &Job, asked: &CreateJob) {
    if let Some(broken) = other_body(known, asked) {
        of_job(known.no, &broken);
    }
}

fn other_body(known: &Job, asked: &CreateJob) -> Option<Broken> {
    let (was, is) = (&known.new, &asked.new);
    let same = known.account == asked.account
        && (was.kind, &was.product, &was.firmware) == (is.kind, &is.product, &is.firmware)
        && was.target.selection() == is.target.selection()
        && was.schedule == is.schedule
        && was.client_token == is.client_token;
    (!same)
        .then(|| Broken::new(Invariant::Token, format!("answered for a call that asks for {}", is.firmware)))
}

/// A task breaks an invariant.
pub(crate) fn of_task(key: &TaskKey, broken: &Broken) {
    if counted(broken) {
        tracing::error!(
            invariant = broken.invariant.as_str(),
            seen = broken.seen,
            job = key.job.0,
            device = format_args!("{:x}", key.device.0),
            seq = key.seq,
            "an invariant is broken"
        );
    }
}

/// A job breaks an invariant.
pub(crate) fn of_job(job: JobNo, broken: &Broken) {
    if counted(broken) {
        tracing::error!(
            invariant = broken.invariant.as_str(),
            seen = broken.seen,
            job = job.0,
            "an invariant is broken"
        );
    }
}

/// A shard breaks an invariant.
pub(crate) fn of_shard(shard: Shard, broken: &Broken) {
    if counted(broken) {
        tracing::error!(
            invariant = broken.invariant.as_str(),
            seen = broken.seen,
            shard = shard.0,
            "an invariant is broken"
        );
    }
}

/// Counts it; whether it is to be logged.
fn counted(broken: &Broken) -> bool {
    metrics::counter!(COUNTER, "invariant" => broken.invariant.as_str()).increment(1);
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).next(broken.invariant)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use otaria_core::ids::ClientToken;
    use otaria_ports::events::NoEvents;
    use otaria_ports::store::contract::world::{World, new_job};
    use otaria_ports::store::memory::MemoryStore;

    use super::*;

    #[test]
    fn a_token_that_is_answered_with_another_job_is_seen() {
        let store = MemoryStore::new(std::sync::Arc::new(NoEvents));
        let work = async {
            let world = World::new(&store).await;
            let mut asked = new_job(&world.firmware, "job1");
            asked.new.client_token = Some(ClientToken::parse("token").unwrap());
            let mut known = world.make(&asked).await;
            // An update may have come between.
            known.new.policy.timeout = None;
            assert_eq!(other_body(&known, &asked), None);
            known.new.schedule.finish = Some(Timestamp::EPOCH);
            assert_eq!(other_body(&known, &asked).unwrap().invariant, Invariant::Token);
        };
        work.now_or_never().unwrap();
    }
}
