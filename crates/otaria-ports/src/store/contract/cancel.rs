//! Cancellation in the background.

use otaria_core::job::CancelFlags;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};

use super::assert_refused;
use super::world::{World, at, new_job, slice, state};
use crate::store::{Job, Slice, Store, Sweep};

const QUEUED: CancelFlags =
    CancelFlags { scheduled: false, queued: true, notified: false, in_progress: false, unconfirmed: None };

/// Sweeps until it is done; how many tasks were cancelled.
async fn sweep(world: &World<'_>, job: &Job, limit: usize) -> u64 {
    let mut canceled = 0;
    for _ in 0..1_000 {
        let Sweep { canceled: more, done } = world.store.sweep_cancel(job.no, limit, at(50)).await.unwrap();
        assert!(more <= limit as u64);
        canceled += more;
        world.check(job).await;
        if done {
            return canceled;
        }
    }
    panic!("the cancellation never ends");
}

/// A request grows the fence at once; sweeps cancel what is meant, and the cancellation ends.
pub async fn a_cancellation_is_swept_to_its_end(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..10).await;
    let job = world.job("job1", &devices).await;

    let asked = store.request_cancel(job.no, QUEUED.mask(), CancelCause::Operator, at(9)).await.unwrap();
    assert_eq!(asked.canceling, Some((QUEUED.mask(), CancelCause::Operator)));
    assert_eq!((asked.fence, asked.status), (job.fence + 1, job.status));
    assert_eq!(asked, world.reread(&job).await);

    assert_eq!(sweep(&world, &job, 3).await, 10);
    let canceled = TaskState::Canceled { attempts: 0, cause: CancelCause::Operator };
    assert!(world.tasks(&job).await.iter().all(|task| task.state == canceled && task.modified_at == at(50)));
    let ended = world.reread(&job).await;
    assert_eq!((ended.canceling, ended.fence), (None, job.fence + 1));
    assert_eq!(store.sweep_cancel(job.no, 3, at(51)).await.unwrap(), Sweep { canceled: 0, done: true });
}

/// Only open tasks in the named statuses are cancelled, and they keep count of their offers.
pub async fn only_the_named_statuses_are_cancelled(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..7).await;
    let job = world.job("job1", &devices).await;
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        world.put_status(&job, *device, status, at(1)).await;
    }
    let flags = CancelFlags { queued: true, notified: true, ..CancelFlags::default() };
    store.request_cancel(job.no, flags.mask(), CancelCause::FinishTime, at(2)).await.unwrap();

    assert_eq!(sweep(&world, &job, 100).await, 3);
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        let now = world.task(&job, *device).await.state;
        let attempts = state(status, at(1)).attempts();
        if flags.covers(status) {
            assert_eq!(now, TaskState::Canceled { attempts, cause: CancelCause::FinishTime });
        } else {
            assert_eq!(now, state(status, at(1)));
        }
    }
}

/// Ended tasks are left alone, whatever the request says (I3).
pub async fn ended_tasks_are_left_alone(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..7).await;
    let job = world.job("job1", &devices).await;
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        world.put_status(&job, *device, status, at(1)).await;
    }
    let everything = TaskStatus::ALL.into_iter().map(|status| 1 << status.code()).sum();
    store.request_cancel(job.no, everything, CancelCause::Operator, at(2)).await.unwrap();

    assert_eq!(sweep(&world, &job, 100).await, 4);
    for (device, status) in devices.iter().zip(TaskStatus::ALL).skip(4) {
        assert_eq!(world.task(&job, *device).await.state, state(status, at(1)));
    }
}

/// While the expansion goes on the cancellation does too, and takes the tasks that are made meanwhile.
pub async fn a_cancellation_waits_for_the_expansion(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..6).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    store.expand(&slice(&job, 0, &devices[..3]), at(1)).await.unwrap();
    store.request_cancel(job.no, QUEUED.mask(), CancelCause::Operator, at(2)).await.unwrap();

    let mut canceled = 0;
    for _ in 0..10 {
        let sweep = store.sweep_cancel(job.no, 10, at(3)).await.unwrap();
        assert!(!sweep.done);
        canceled += sweep.canceled;
    }
    assert_eq!(canceled, 3);
    assert!(world.reread(&job).await.canceling.is_some());

    let last = Slice { complete: true, ..slice(&job, 1, &devices[3..]) };
    store.expand(&last, at(4)).await.unwrap();
    assert_eq!(sweep(&world, &job, 2).await, 3);
    assert_eq!(world.count(&job, TaskStatus::Canceled).await, 6);
}

/// A second request adds its statuses to the first, looks at every task again, and its cause holds from
/// then on.
pub async fn a_second_request_adds_to_the_first(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..6).await;
    let job = world.job("job1", &devices).await;
    let first = world.tasks(&job).await.remove(0);
    world.put(&first, state(TaskStatus::Notified, at(1)), at(1)).await;
    store.request_cancel(job.no, QUEUED.mask(), CancelCause::Operator, at(2)).await.unwrap();
    assert!(!store.sweep_cancel(job.no, 2, at(3)).await.unwrap().done);

    let flags = CancelFlags { notified: true, ..CancelFlags::default() };
    let asked = store.request_cancel(job.no, flags.mask(), CancelCause::FinishTime, at(4)).await.unwrap();
    assert_eq!(asked.canceling, Some((QUEUED.mask() | flags.mask(), CancelCause::FinishTime)));
    assert_eq!(asked.fence, job.fence + 2);
    sweep(&world, &job, 2).await;
    assert_eq!(world.count(&job, TaskStatus::Canceled).await, 6);
    let cause = world.task_again(&first.key).await.state;
    assert_eq!(cause, TaskState::Canceled { attempts: 1, cause: CancelCause::FinishTime });
}

/// A cancellation without tasks ends at the first sweep; one of a job that is not there is refused.
pub async fn a_cancellation_needs_its_job(store: &dyn Store) {
    let world = World::new(store).await;
    let job = world.job("job1", &[]).await;
    store.request_cancel(job.no, QUEUED.mask(), CancelCause::Operator, at(1)).await.unwrap();
    assert_eq!(sweep(&world, &job, 5).await, 0);
    assert_eq!(world.reread(&job).await.canceling, None);

    let nobody = otaria_core::ids::JobNo(job.no.0 + 1);
    assert_refused!(store.request_cancel(nobody, 2, CancelCause::Operator, at(1)).await, NotFound);
}
