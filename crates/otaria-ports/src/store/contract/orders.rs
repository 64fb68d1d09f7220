//! What operators order: tasks by name, of devices; changes of a job; lists of jobs.

use std::time::Duration;

use otaria_core::ids::{FirmwareNo, JobNo, TaskId};
use otaria_core::job::{CancelFlags, JobStatus, JobUpdate, Tag};
use otaria_core::pace::PerMinute;
use otaria_core::task::{CancelCause, TaskEvent, TaskState, TaskStatus};

use super::assert_refused;
use super::world::{World, at, new_job, next, state};
use crate::store::{Job, JobMove, JobTurn, Store, Task, TaskChange};

pub(super) fn running(job: &Job) -> JobTurn {
    JobTurn { job: job.no, from: JobStatus::InProgress, to: JobStatus::InProgress }
}

pub(super) fn reopened(job: &Job) -> JobTurn {
    JobTurn { from: JobStatus::Completed, ..running(job) }
}

pub(super) fn again(task: &Task) -> TaskChange {
    next(task, &TaskEvent::Reupgraded { need_confirm: false }, at(9))
}

pub(super) async fn complete(world: &World<'_>, job: &Job) -> Job {
    let done = JobMove {
        job: job.no,
        from: job.status,
        to: JobStatus::Completed,
        only_if_done: true,
        fence: false,
        firmware: None,
    };
    assert!(world.store.move_job(&done, at(5)).await.unwrap());
    world.reread(job).await
}

/// Tasks are found by id, sorted, each once, whatever their devices.
pub async fn tasks_are_found_by_id(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let job = world.job("job1", &devices).await;
    let tasks = world.tasks(&job).await;
    let id = |seq| TaskId { job: job.no, seq };
    let found = store.tasks_by_id(&[id(3), id(1), id(3), id(9)]).await.unwrap();
    assert_eq!(found, [tasks[0].clone(), tasks[2].clone()]);
    let elsewhere = TaskId { job: JobNo(job.no.0 + 1), seq: 1 };
    assert_eq!(store.tasks_by_id(&[elsewhere]).await.unwrap(), []);
}

/// What an operator made of several tasks is written as a whole or not at all, and then the places of those
/// in the way are named; an ended job goes on with it.
pub async fn ordered_tasks_move_together_or_not_at_all(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let job = world.job("job1", &devices).await;
    for device in &devices {
        world.put_status(&job, *device, TaskStatus::Failed, at(1)).await;
    }
    let ended = complete(&world, &job).await;
    let mut other = new_job(&world.firmware, "job2");
    other.new.policy.need_confirm = true;
    let other = world.run(&other, &devices[1..2]).await;

    let tasks = world.tasks(&job).await;
    let mut changes: Vec<TaskChange> = tasks.iter().map(again).collect();
    changes[2].revision += 7;
    let busy = tasks.iter().position(|task| task.key.device == devices[1]).unwrap();
    let mut in_the_way = vec![busy, 2];
    in_the_way.sort_unstable();
    in_the_way.dedup();
    assert_eq!(store.settle_all(&[reopened(&job)], &changes, at(10)).await.unwrap(), in_the_way);
    assert_eq!((world.tasks(&job).await, world.reread(&job).await), (tasks.clone(), ended));
    world.check(&job).await;

    world.put_status(&other, devices[1], TaskStatus::Succeeded, at(11)).await;
    let changes: Vec<TaskChange> = tasks.iter().map(again).collect();
    assert_refused!(store.settle_all(&[running(&job)], &changes, at(12)).await, Conflict);
    assert_eq!(world.tasks(&job).await, tasks);
    assert_eq!(store.settle_all(&[reopened(&job)], &changes, at(12)).await.unwrap(), Vec::<usize>::new());
    let opened = world.reread(&job).await;
    assert_eq!((opened.status, opened.ended_at), (JobStatus::InProgress, None));
    assert_eq!((opened.started_at, opened.modified_at), (job.started_at, at(12)));
    assert_eq!(world.count(&job, TaskStatus::Queued).await, 3);
    assert!(store.unfinished_jobs().await.unwrap().iter().any(|unfinished| unfinished.no == job.no));
    world.check(&job).await;
    // Tasks of several jobs too; but of one device only one is opened.
    let ended = world.put_status(&other, devices[1], TaskStatus::Canceled, at(13)).await;
    let mine = world.put_status(&job, devices[1], TaskStatus::Canceled, at(13)).await;
    let turns = [running(&job), running(&other)];
    let both = [again(&mine), again(&ended)];
    assert_eq!(store.settle_all(&turns, &both, at(14)).await.unwrap(), [1]);
    assert_eq!(store.open_tasks(&devices[1..2]).await.unwrap(), []);
    let third = world.put_status(&job, devices[2], TaskStatus::Canceled, at(13)).await;
    let both = [again(&ended), again(&third)];
    assert_eq!(store.settle_all(&turns, &both, at(14)).await.unwrap(), Vec::<usize>::new());
    world.check(&job).await;
    world.check(&other).await;
    // A repeat finds that they moved.
    assert_eq!(store.settle_all(&[running(&job)], &changes, at(13)).await.unwrap(), [0, 1, 2]);
    let nowhere = JobTurn { job: JobNo(job.no.0 + 9), ..running(&job) };
    assert_refused!(store.settle_all(&[nowhere], &changes, at(13)).await, Conflict);
}

/// A task in a status that is being cancelled stays for the cancellation, and none comes into such a status.
pub async fn a_cancellation_outranks_an_order(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let mut create = new_job(&world.firmware, "job1");
    create.new.policy.need_confirm = true;
    let job = world.run(&create, &devices).await;
    let failed = world.put_status(&job, devices[0], TaskStatus::Failed, at(1)).await;
    let waiting = world.task(&job, devices[1]).await;
    let confirmed = next(&waiting, &TaskEvent::Confirmed, at(2));

    let queued = CancelFlags { queued: true, unconfirmed: Some(false), ..CancelFlags::default() };
    store.request_cancel(job.no, queued.mask(), CancelCause::Operator, at(2)).await.unwrap();
    for change in [&confirmed, &again(&failed)] {
        let refused = store.settle_all(&[running(&job)], std::slice::from_ref(change), at(3)).await.unwrap();
        assert_eq!(refused, [0]);
    }
    let to_confirm = next(&failed, &TaskEvent::Reupgraded { need_confirm: true }, at(3));
    let written = store.settle_all(&[running(&job)], &[to_confirm], at(3)).await.unwrap();
    assert_eq!(written, Vec::<usize>::new());

    let unconfirmed = CancelFlags { unconfirmed: Some(true), ..CancelFlags::default() };
    assert!(store.sweep_cancel(job.no, 100, at(4)).await.unwrap().done);
    store.request_cancel(job.no, unconfirmed.mask(), CancelCause::Operator, at(4)).await.unwrap();
    assert_eq!(store.settle_all(&[running(&job)], &[confirmed], at(5)).await.unwrap(), [0]);
    world.check(&job).await;
}

/// The open tasks of devices are cancelled, of one firmware, in one job if one is named; the fences of their
/// jobs grow, and a repeat names the same jobs.
pub async fn the_tasks_of_devices_are_cancelled(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..7).await;
    let first = world.job("job1", &devices).await;
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        world.put_status(&first, *device, status, at(1)).await;
    }
    let second = world.job("job2", &devices[4..5]).await;
    let other = world.firmware_of("modem").await;
    let third = world.run(&new_job(&other, "job3"), &devices[5..6]).await;

    let cancel = |firmware: FirmwareNo, job: Option<JobNo>| {
        let devices = devices.clone();
        async move {
            let cause = CancelCause::Operator;
            store.cancel_of_devices(firmware, job, &devices[1..], cause, at(3)).await.unwrap()
        }
    };
    let found = cancel(world.firmware.no, Some(second.no)).await;
    assert_eq!(found, [world.reread(&second).await]);
    assert_eq!(found[0].fence, second.fence + 1);
    assert_eq!(world.count(&first, TaskStatus::Queued).await, 1);

    let found = cancel(world.firmware.no, None).await;
    assert_eq!(found, [world.reread(&first).await, world.reread(&second).await]);
    assert_eq!((found[0].fence, found[1].fence), (first.fence + 1, second.fence + 1));
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        let before = state(status, at(1));
        let canceled = TaskState::Canceled { attempts: before.attempts(), cause: CancelCause::Operator };
        let left = status == TaskStatus::Confirm || !status.is_open();
        let now = world.task(&first, *device).await.state;
        assert_eq!(now, if left { before } else { canceled });
    }
    assert_eq!(cancel(world.firmware.no, None).await, found);
    assert_eq!(world.count(&third, TaskStatus::Queued).await, 1);
    assert_eq!(cancel(FirmwareNo(other.no.0 + 1), None).await, []);
    for job in [&first, &second, &third] {
        world.check(job).await;
    }
}

/// A firmware's jobs, and those of one device, come newest first, in pages and with their number.
pub async fn jobs_are_listed_newest_first(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let other = world.firmware_of("modem").await;
    let mut made = Vec::new();
    for n in 0..5 {
        let job = world.job(&format!("job{n}"), &devices[usize::from(n % 2 == 1)..]).await;
        for device in &devices[usize::from(n % 2 == 1)..] {
            world.put_status(&job, *device, TaskStatus::Succeeded, at(1)).await;
        }
        made.push(world.reread(&job).await);
        world.run(&new_job(&other, &format!("other{n}")), &[]).await;
    }
    made.reverse();
    let firmware = world.firmware.no;
    assert_eq!(store.jobs_of_firmware(firmware, None, 0, 100).await.unwrap(), (made.clone(), 5));
    let page = store.jobs_of_firmware(firmware, Some(made[0].no), 1, 2).await.unwrap();
    assert_eq!(page, (made[2..4].to_vec(), 5));
    assert_eq!(store.jobs_of_firmware(FirmwareNo(99), None, 0, 9).await.unwrap(), (Vec::new(), 0));

    let of_first = [made[0].clone(), made[2].clone(), made[4].clone()];
    let listed = store.jobs_of_device(devices[0], firmware, None, 0, 100).await.unwrap();
    assert_eq!(listed, (of_first.to_vec(), 3));
    let page = store.jobs_of_device(devices[0], firmware, Some(made[0].no), 1, 9).await.unwrap();
    assert_eq!(page, (of_first[2..].to_vec(), 3));
    assert_eq!(store.jobs_of_device(devices[1], firmware, None, 0, 100).await.unwrap().1, 5);
    assert_eq!(store.jobs_of_device(devices[1], other.no, None, 0, 100).await.unwrap(), (Vec::new(), 0));
}

/// A job is changed as long as it has not ended; only another rate is a new version of the rate.
pub async fn a_job_is_changed_until_it_ends(store: &dyn Store) {
    let world = World::new(store).await;
    let job = world.job("job1", &[]).await;
    let tags = vec![Tag { key: "k\"ü".into(), value: "v".into() }];
    let update = JobUpdate {
        maximum_per_minute: PerMinute::new(123),
        timeout: Some(Duration::from_secs(60)),
        tags: Some(tags),
        src_versions: None,
    };
    let changed = store.update_job(job.no, &update, at(4)).await.unwrap().unwrap();
    let mut expected = Job { rate_version: job.rate_version + 1, modified_at: at(4), ..job.clone() };
    update.apply(&mut expected.new);
    assert_eq!(changed, expected);
    assert_eq!(world.reread(&job).await, expected);
    let same = store.update_job(job.no, &update, at(5)).await.unwrap().unwrap();
    assert_eq!(same.rate_version, expected.rate_version);

    complete(&world, &job).await;
    assert_eq!(store.update_job(job.no, &update, at(6)).await.unwrap(), None);
    assert_eq!(store.update_job(JobNo(job.no.0 + 1), &update, at(6)).await.unwrap(), None);
}
