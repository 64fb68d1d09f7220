//! Asks the witnesses of `otaria_core::witness` about what was decided, and counts and logs what they find.
//!
//! Never changes what it looks at: a broken invariant is told, and everything goes on as decided.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use otaria_core::ids::JobNo;
use otaria_core::shard::Shard;
use otaria_core::task::{Ignored, TaskEvent, TaskKey, TaskState};
use otaria_core::time::Timestamp;
use otaria_core::witness::{self, Broken, COUNTER, Invariant, Rival, Told, moved};
use otaria_ports::store::{CreateJob, Job, Replaced, Store};

use crate::book::{JobBook, JobFacts};

/// What was logged so far in this process.
static TOLD: Mutex<Told> = Mutex::new(Told::new());

/// Other jobs whose tasks one slice replaced: so many at most are looked at. More hardly ever meet at a product's
/// devices, and each that is not known yet costs a look at its package.
const REPLACED_JOBS_MAX: usize = 64;

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

/// Tasks made room for those of a job, each of which must have been one that may (I10).
pub(crate) async fn replaced(store: &dyn Store, book: &JobBook, later: &JobFacts, replaced: &[Replaced]) {
    for (key, broken) in wrongly(store, book, later, replaced).await {
        of_task(key, &broken);
    }
}

/// Those that may not. What cannot be read of the other jobs is not judged: one is gone, or the store does not answer.
async fn wrongly<'a>(
    store: &dyn Store,
    book: &JobBook,
    later: &JobFacts,
    replaced: &'a [Replaced],
) -> Vec<(&'a TaskKey, Broken)> {
    let mut jobs: BTreeSet<JobNo> = replaced.iter().map(|task| task.key.job).collect();
    while jobs.len() > REPLACED_JOBS_MAX {
        jobs.pop_first();
    }
    if jobs.is_empty() {
        return Vec::new();
    }
    let Ok(facts) = book.get(store, &jobs).await else { return Vec::new() };
    let one = |task: &'a Replaced| {
        let earlier = facts.get(&task.key.job)?;
        Some((&task.key, witness::replaced(task.status, &rival(earlier), &rival(later))?))
    };
    replaced.iter().filter_map(one).collect()
}

fn rival(facts: &JobFacts) -> Rival<'_> {
    let (job, module) = (&facts.job, &facts.firmware.new.module);
    Rival { job: job.no, kind: job.new.kind, policy: &job.new.policy, module }
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
    use otaria_core::task::TaskStatus;
    use otaria_ports::events::NoEvents;
    use otaria_ports::store::contract::world::{World, new_job};
    use otaria_ports::store::memory::{Fault, MemoryStore};

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

    #[test]
    fn a_task_that_was_replaced_wrongly_is_seen_and_what_cannot_be_read_is_not_judged() {
        let store = MemoryStore::new(std::sync::Arc::new(NoEvents));
        let work = async {
            let world = World::new(&store).await;
            let devices = world.devices(0..2).await;
            let earlier = world.job("job1", &devices).await;
            let later = world.job("job2", &[]).await;
            let book = JobBook::default();
            let later = book.one(&store, later.no).await.unwrap().unwrap();
            let replaced: Vec<Replaced> = world
                .tasks(&earlier)
                .await
                .into_iter()
                .map(|task| Replaced { key: task.key, status: TaskStatus::Queued })
                .collect();
            store.fail_next(1, Fault::Before);
            assert_eq!(wrongly(&store, &book, &later, &replaced).await, []);
            let mut foreign = replaced.clone();
            foreign[0].key.job = JobNo(77);
            // The job keeps what is there.
            let found = wrongly(&store, &book, &later, &foreign).await;
            assert_eq!(found.len(), 1, "of a job that is not there nothing is known");
            assert_eq!((found[0].0, found[0].1.invariant), (&replaced[1].key, Invariant::Replaced));
            // What is known is read once, and nothing is read where nothing was replaced.
            store.fail_next(1, Fault::Before);
            assert_eq!(wrongly(&store, &book, &later, &replaced).await.len(), 2);
            assert_eq!(wrongly(&store, &JobBook::default(), &later, &[]).await, []);
        };
        work.now_or_never().unwrap();
    }
}
