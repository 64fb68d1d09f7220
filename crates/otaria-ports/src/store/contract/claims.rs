//! Claims: who may let a notice go out.

use std::time::Duration;

use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};

use super::world::{World, at, claim, new_job};
use crate::store::{JobMove, OwnedShards, Store};

/// A claim is written once; a repeat changes nothing.
pub async fn a_claim_is_written_once(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let job = world.job("job1", &devices).await;
    let owner = world.own_everything(at(0)).await;
    let claims: Vec<_> = world.tasks(&job).await.iter().map(|task| claim(task, at(1))).collect();

    assert_eq!(store.claim(&owner, &claims, at(1)).await.unwrap(), [true; 3]);
    assert_eq!(store.claim(&owner, &claims, at(2)).await.unwrap(), [false; 3]);
    for (task, claim) in world.tasks(&job).await.iter().zip(&claims) {
        assert_eq!((&task.state, task.revision), (&claim.to, claim.revision + 1));
        assert_eq!(task.modified_at, at(1));
    }
    assert_eq!(world.count(&job, TaskStatus::Notified).await, 3);
    world.check(&job).await;
}

/// A batch is answered row by row, in its order: what cannot be written does not hold up the rest.
pub async fn a_batch_is_answered_row_by_row(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let job = world.job("job1", &devices).await;
    let owner = world.own_everything(at(0)).await;
    let tasks = world.tasks(&job).await;
    let mut claims: Vec<_> = tasks.iter().rev().map(|task| claim(task, at(1))).collect();
    claims[1].revision += 7;

    assert_eq!(store.claim(&owner, &claims, at(1)).await.unwrap(), [true, false, true]);
    assert_eq!(world.task_again(&tasks[1].key).await, tasks[1]);
    world.check(&job).await;
}

/// The lease moved on: the one who lost it writes nothing, its new holder does (I13).
pub async fn a_lost_lease_writes_nothing(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    let task = world.task(&job, devices[0]).await;
    let old = world.own_everything(at(0)).await;
    let new = world.own_everything(at(10_000)).await;
    assert_eq!(new.epochs.len(), 256);

    let late = [claim(&task, at(10_001))];
    assert_eq!(store.claim(&old, &late, at(10_001)).await.unwrap(), [false]);
    assert_eq!(world.task_again(&task.key).await, task);
    assert_eq!(store.claim(&new, &late, at(10_001)).await.unwrap(), [true]);
    world.check(&job).await;
}

/// Neither the right member with an old epoch nor the right epoch under another member is an owner.
pub async fn a_claim_needs_member_and_epoch(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    let task = world.task(&job, devices[0]).await;
    let owner = world.own_everything(at(0)).await;
    let stranger = store.join(at(0), Duration::from_secs(60)).await.unwrap();

    let claims = [claim(&task, at(1))];
    let older = owner.epochs.iter().map(|(shard, epoch)| (*shard, epoch - 1)).collect();
    let elsewhere: Vec<Shard> = Shard::all().filter(|shard| *shard != devices[0].shard()).collect();
    for nobody in [
        OwnedShards { member: owner.member, epochs: older },
        OwnedShards { member: stranger, epochs: owner.epochs.clone() },
        OwnedShards {
            member: owner.member,
            epochs: elsewhere.into_iter().map(|shard| (shard, owner.epochs[&shard])).collect(),
        },
    ] {
        assert_eq!(store.claim(&nobody, &claims, at(1)).await.unwrap(), [false]);
    }
    assert_eq!(world.task_again(&task.key).await, task);
}

/// Who left claims nothing more, even while nobody has taken its shards.
pub async fn a_member_that_left_claims_nothing(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    let owner = world.own_everything(at(0)).await;
    store.leave(owner.member).await.unwrap();

    let task = world.task(&job, devices[0]).await;
    assert_eq!(store.claim(&owner, &[claim(&task, at(1))], at(1)).await.unwrap(), [false]);
}

/// Only a running job delivers (I5, I6).
pub async fn only_a_running_job_is_claimed(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let mut create = new_job(&world.firmware, "job1");
    create.status = JobStatus::Planned;
    let job = world.run(&create, &devices).await;
    let owner = world.own_everything(at(0)).await;
    let claims = [claim(&world.task(&job, devices[0]).await, at(1))];

    let mut status = JobStatus::Planned;
    for to in [JobStatus::InProgress, JobStatus::Paused, JobStatus::Canceled, JobStatus::Completed] {
        if status != JobStatus::InProgress {
            assert_eq!(store.claim(&owner, &claims, at(1)).await.unwrap(), [false], "{status:?}");
        }
        let change =
            JobMove { job: job.no, from: status, to, only_if_done: false, fence: false, firmware: None };
        assert!(store.move_job(&change, at(1)).await.unwrap());
        status = to;
    }
    assert_eq!(store.claim(&owner, &claims, at(1)).await.unwrap(), [false]);
    assert_eq!(world.count(&job, TaskStatus::Queued).await, 1);

    let again = JobMove {
        job: job.no,
        from: JobStatus::Completed,
        to: JobStatus::InProgress,
        only_if_done: false,
        fence: false,
        firmware: None,
    };
    assert!(store.move_job(&again, at(2)).await.unwrap());
    assert_eq!(store.claim(&owner, &claims, at(2)).await.unwrap(), [true]);
}

/// A status that is being cancelled is not claimed; the others of the same job are.
pub async fn what_is_being_cancelled_is_not_claimed(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.job("job1", &devices).await;
    let owner = world.own_everything(at(0)).await;
    let queued = world.task(&job, devices[0]).await;
    let notified = world.put_status(&job, devices[1], TaskStatus::Notified, at(1)).await;

    let flags = CancelFlags { queued: true, ..CancelFlags::default() };
    store.request_cancel(job.no, flags.mask(), CancelCause::Operator, at(2)).await.unwrap();
    // An hour later the notified device has reconnected and may hear its notice again.
    let claims = [claim(&queued, at(3_000)), claim(&notified, at(3_000))];
    assert_eq!(store.claim(&owner, &claims, at(3_000)).await.unwrap(), [false, true]);
    assert_eq!(world.task_again(&queued.key).await.state, TaskState::Queued);
    world.check(&job).await;
}
