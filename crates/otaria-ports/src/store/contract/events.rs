//! What the store tells the world, and in which order.

use std::sync::PoisonError;

use otaria_core::job::{CancelFlags, JobStatus, OverwriteMode};
use otaria_core::task::{CancelCause, Percent, TaskEvent, TaskStatus};

use super::world::{World, at, claim, device_name, new_job, next, slice};
use crate::events::{Event, Happened, KeptEvents};
use crate::store::{Job, JobMove, Slice, Store, TaskChange};

/// What was published since the last look.
fn heard(events: &KeptEvents) -> Vec<Event> {
    std::mem::take(&mut events.0.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The tasks' moves among events: device, from, to, revision.
fn moves(events: &[Event]) -> Vec<(String, Option<TaskStatus>, TaskStatus, i64)> {
    let moved = |event: &Event| match &event.what {
        Happened::Task { device, previous, status, revision, .. } => {
            Some((device.to_string(), *previous, *status, *revision))
        }
        Happened::Job { .. } => None,
    };
    events.iter().filter_map(moved).collect()
}

fn names_what(event: &Event, world: &World<'_>, job: &Job, seconds: i64) {
    assert_eq!((event.account, &event.product), (world.account, &world.product.new.key));
    assert_eq!((&event.job, event.job_no, event.at), (&job.id, job.no, at(seconds)));
}

/// A job's making and its moves are told, with its status.
pub async fn a_job_tells_where_it_stands(store: &dyn Store, events: &KeptEvents) {
    let world = World::new(store).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    let change = JobMove {
        job: job.no,
        from: JobStatus::InProgress,
        to: JobStatus::Paused,
        only_if_done: false,
        fence: true,
        firmware: None,
    };
    assert!(store.move_job(&change, at(2)).await.unwrap());
    assert!(!store.move_job(&change, at(3)).await.unwrap());

    let heard = heard(events);
    assert_eq!(heard.len(), 2, "{heard:?}");
    for (event, (seconds, status)) in heard.iter().zip([(0, JobStatus::InProgress), (2, JobStatus::Paused)]) {
        names_what(event, &world, &job, seconds);
        assert_eq!(event.what, Happened::Job { status });
    }
}

/// New tasks come from nowhere, in the order of their places.
pub async fn a_new_task_comes_from_nowhere(store: &dyn Store, events: &KeptEvents) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    heard(events);
    store.expand(&slice(&job, 0, &devices[..2]), at(3)).await.unwrap();
    let last = Slice { complete: true, ..slice(&job, 1, &devices[2..]) };
    store.expand(&last, at(4)).await.unwrap();
    assert!(store.expand(&last, at(5)).await.is_err());

    let heard = heard(events);
    for (event, seconds) in heard.iter().zip([3, 3, 4]) {
        names_what(event, &world, &job, seconds);
    }
    let mut expected = Vec::new();
    for task in world.tasks(&job).await {
        let n = devices.iter().position(|device| *device == task.key.device).unwrap();
        expected.push((device_name(n).to_string(), None, TaskStatus::Queued, 1));
    }
    assert_eq!(moves(&heard), expected);
    for event in &heard {
        let Happened::Task { device, device_id, .. } = &event.what else { panic!("{event:?}") };
        let n = devices.iter().position(|known| known == device_id).unwrap();
        assert_eq!(*device, device_name(n));
    }
}

/// Every move is told once, in order, with what it moved from; what was refused is not told, nor that a
/// notice was written.
pub async fn a_task_tells_its_moves_in_order(store: &dyn Store, events: &KeptEvents) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    let owner = world.own_everything(at(0)).await;
    heard(events);

    let task = world.task(&job, devices[0]).await;
    let claims = [claim(&task, at(1))];
    store.claim(&owner, &claims, at(1)).await.unwrap();
    store.claim(&owner, &claims, at(2)).await.unwrap();
    let task = world.task(&job, devices[0]).await;
    let written = TaskChange { notices: 1, ..next(&task, &TaskEvent::Written { attempt: 1 }, at(3)) };
    assert_eq!(store.settle(&[written], at(3)).await.unwrap(), [true]);
    let task = world.task(&job, devices[0]).await;
    let progress = TaskEvent::Progress { percent: Percent::new(40).unwrap() };
    let progress = TaskChange { desc: Some("loading".into()), ..next(&task, &progress, at(4)) };
    assert_eq!(store.take_reports(&[], &[progress], at(4)).await.unwrap().written, [true]);
    let task = world.task(&job, devices[0]).await;
    let late = at(10_000);
    let timeout = next(&task, &TaskEvent::DeadlinePassed, late);
    assert_eq!(store.settle(&[timeout], at(5)).await.unwrap(), [true]);

    let heard = heard(events);
    let name = device_name(0).to_string();
    use TaskStatus::{Failed, InProgress, Notified, Queued};
    let expected = [
        (name.clone(), Some(Queued), Notified, 2),
        (name.clone(), Some(Notified), InProgress, 4),
        (name, Some(InProgress), Failed, 5),
    ];
    assert_eq!(moves(&heard), expected);
    let details: Vec<_> = heard
        .iter()
        .filter_map(|event| match &event.what {
            Happened::Task { attempt, percent, desc, .. } => Some((*attempt, *percent, desc.as_deref())),
            Happened::Job { .. } => None,
        })
        .collect();
    let cause = otaria_core::task::FailureCause::Timeout.describe();
    assert_eq!(details, [(1, None, None), (1, Some(40), Some("loading")), (1, None, Some(cause))]);
    for (event, seconds) in heard.iter().zip([1, 4, 5]) {
        names_what(event, &world, &job, seconds);
    }
}

/// A replaced task is told under its own job.
pub async fn a_replaced_task_tells_it_under_its_own_job(store: &dyn Store, events: &KeptEvents) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let earlier = world.job("job1", &devices).await;
    let mut create = new_job(&world.firmware, "job2");
    create.new.policy.overwrite = OverwriteMode::Replace;
    let later = world.make(&create).await;
    heard(events);
    world.expand_all(&later, &devices).await;

    let told: Vec<_> = heard(events)
        .iter()
        .flat_map(|event| {
            moves(std::slice::from_ref(event)).into_iter().map(|told| (event.job.clone(), told))
        })
        .map(|(job, (_, from, to, _))| (job, from, to))
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&(earlier.id, Some(TaskStatus::Queued), TaskStatus::Canceled)));
    assert!(told.contains(&(later.id, None, TaskStatus::Queued)));
}

/// A sweep tells of each task that it cancels.
pub async fn a_sweep_tells_what_it_cancels(store: &dyn Store, events: &KeptEvents) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let job = world.job("job1", &devices).await;
    let mask = CancelFlags::EVERYTHING.mask();
    store.request_cancel(job.no, mask, CancelCause::FinishTime, at(1)).await.unwrap();
    heard(events);
    while !store.sweep_cancel(job.no, 2, at(2)).await.unwrap().done {}

    let heard = heard(events);
    assert_eq!(moves(&heard).len(), 3);
    for event in &heard {
        names_what(event, &world, &job, 2);
        let Happened::Task { previous, status, desc, .. } = &event.what else { panic!("{event:?}") };
        assert_eq!((*previous, *status), (Some(TaskStatus::Queued), TaskStatus::Canceled));
        assert_eq!(desc.as_deref(), Some(CancelCause::FinishTime.describe()));
    }
}
