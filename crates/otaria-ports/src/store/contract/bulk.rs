//! One action on many tasks of a job, in pieces.

use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::task::{BulkAction, BulkFilter, CancelCause, FailureCause, TaskStatus};

use super::assert_refused;
use super::orders::{again, complete, reopened, running};
use super::world::{World, at};
use crate::store::{Bulk, BulkStep, JobMove, Store, Task};

fn reupgrade() -> BulkFilter {
    BulkFilter {
        action: BulkAction::Reupgrade,
        statuses: vec![TaskStatus::Failed, TaskStatus::Canceled],
        causes: vec![FailureCause::Timeout, FailureCause::Busy],
    }
}

/// An action on many tasks is kept as it was asked for, opens an ended job, and keeps it from being done.
pub async fn a_bulk_is_kept_with_its_job(store: &dyn Store) {
    let world = World::new(store).await;
    let job = complete(&world, &world.job("job1", &[]).await).await;
    assert_eq!(store.request_bulk(running(&job), &reupgrade(), at(6)).await.unwrap(), None);
    assert_eq!(world.reread(&job).await.bulk, None);
    let asked = store.request_bulk(reopened(&job), &reupgrade(), at(6)).await.unwrap().unwrap();
    let fresh = Bulk { filter: reupgrade(), after: 0, moved: 0, passed: 0, done: false };
    assert_eq!((asked.status, asked.bulk.clone()), (JobStatus::InProgress, Some(fresh.clone())));
    assert_eq!(asked, world.reread(&job).await);
    let done = JobMove {
        job: job.no,
        from: JobStatus::InProgress,
        to: JobStatus::Completed,
        only_if_done: true,
        fence: false,
        firmware: None,
    };
    assert!(!store.move_job(&done, at(7)).await.unwrap());

    // The same again changes nothing; another one has to wait.
    let same = store.request_bulk(running(&job), &reupgrade(), at(8)).await.unwrap().unwrap();
    assert_eq!(same.bulk, Some(fresh));
    assert_refused!(store.request_bulk(running(&job), &BulkFilter::confirm(), at(8)).await, Conflict);

    let last = BulkStep { from: 0, to: 0, done: true, changes: Vec::new() };
    store.write_bulk(job.no, &last, at(9)).await.unwrap();
    assert!(store.move_job(&done, at(10)).await.unwrap());
    assert_eq!(store.unfinished_jobs().await.unwrap(), []);
    let ended = world.reread(&job).await;
    assert!(ended.bulk.unwrap().done);
    assert_refused!(store.write_bulk(job.no, &last, at(11)).await, Conflict);
    assert!(store.purge_jobs(at(1_000), 100).await.unwrap() > 0);
    assert_eq!(store.job(job.account, &job.id).await.unwrap(), None);
}

/// A piece of an action on many tasks is written once, with its place and its counts; what stands in the way
/// of one task is in nobody else's.
pub async fn a_piece_of_a_bulk_is_written_once(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let job = world.job("job1", &devices).await;
    for device in &devices {
        world.put_status(&job, *device, TaskStatus::Failed, at(1)).await;
    }
    let tasks = world.tasks(&job).await;
    let other = world.job("job2", &[tasks[1].key.device]).await;
    store.request_bulk(running(&job), &reupgrade(), at(2)).await.unwrap();

    let piece = |from, to, tasks: &[Task]| {
        let changes = tasks.iter().map(again).collect();
        BulkStep { from, to, done: false, changes }
    };
    let first = piece(0, 3, &tasks[..3]);
    assert_eq!(store.write_bulk(job.no, &first, at(3)).await.unwrap(), [true, false, true]);
    assert_refused!(store.write_bulk(job.no, &first, at(4)).await, Conflict);
    let bulk = world.reread(&job).await.bulk.unwrap();
    assert_eq!((bulk.after, bulk.moved, bulk.passed, bulk.done), (3, 2, 1, false));
    assert_eq!(world.count(&job, TaskStatus::Queued).await, 2);
    world.check(&job).await;
    world.check(&other).await;

    // A cancellation is the later word: it ends what runs.
    let nothing = CancelFlags { notified: true, ..CancelFlags::default() };
    store.request_cancel(job.no, nothing.mask(), CancelCause::Operator, at(5)).await.unwrap();
    assert!(world.reread(&job).await.bulk.unwrap().done);
    assert_refused!(store.write_bulk(job.no, &piece(3, 4, &tasks[3..]), at(6)).await, Conflict);
    assert_eq!(world.count(&job, TaskStatus::Failed).await, 2);

    // The next one begins at the first task, with counts of its own.
    let next = BulkFilter { causes: Vec::new(), ..reupgrade() };
    let asked = store.request_bulk(running(&job), &next, at(7)).await.unwrap().unwrap();
    let fresh = Bulk { filter: next, after: 0, moved: 0, passed: 0, done: false };
    assert_eq!(asked.bulk, Some(fresh));
}
