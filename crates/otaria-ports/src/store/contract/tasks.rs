//! Tasks: how they are written, found and listed.

use std::time::Duration;

use otaria_core::ids::{DeviceId, JobId};
use otaria_core::job::OverwriteMode;
use otaria_core::shard::Shard;
use otaria_core::task::{
    CancelCause, FailedStep, FailureCause, Percent, ReportOrder, TaskEvent, TaskKey, TaskState, TaskStatus,
};

use super::world::{World, at, claim, device_name, informed, module, new_job, next, state, to};
use crate::store::{
    EndedOffer, LAST_TASKS, ModuleVersion, NewTask, Slice, Store, Task, TaskChange, TaskFilter, VersionReport,
};

/// A change is written over the revision it was made from only.
pub async fn a_stale_revision_writes_nothing(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.job("job1", &devices).await;
    let before = world.tasks(&job).await;
    let first = next(&before[0], &TaskEvent::Fetched, at(1));
    let second = next(&before[0], &TaskEvent::Canceled { cause: CancelCause::Operator }, at(2));
    assert_eq!(store.settle(&[first.clone(), second.clone()], at(3)).await.unwrap(), [true, false]);
    assert_eq!(store.settle(std::slice::from_ref(&second), at(3)).await.unwrap(), [false]);
    assert_eq!(store.take_reports(&[], &[second], at(3)).await.unwrap().written, [false]);

    let after = world.task_again(&before[0].key).await;
    assert_eq!((&after.state, after.revision), (&first.to, before[0].revision + 1));
    assert_eq!((after.created_at, after.modified_at), (before[0].created_at, at(3)));
    assert_eq!(world.task_again(&before[1].key).await, before[1]);
    world.check(&job).await;
}

/// A change of a task that is not there is not written: neither another job's nor another place's.
pub async fn a_change_needs_its_task(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    let task = world.task(&job, devices[0]).await;
    let change = claim(&task, at(1));
    for key in [
        TaskKey { job: otaria_core::ids::JobNo(job.no.0 + 1), ..task.key.clone() },
        TaskKey { device: DeviceId(devices[0].0 + 1), ..task.key.clone() },
        TaskKey { seq: 2, ..task.key.clone() },
    ] {
        assert_eq!(store.tasks(std::slice::from_ref(&key)).await.unwrap(), []);
        let stray = TaskChange { key, ..change.clone() };
        assert_eq!(store.settle(&[stray], at(1)).await.unwrap(), [false]);
    }
    assert_eq!(store.settle(&[], at(1)).await.unwrap(), [false; 0]);
    assert_eq!(world.tasks(&job).await, [task]);
}

/// Whatever state the rules bring about comes back as it was written.
pub async fn every_state_survives(store: &dyn Store) {
    use otaria_core::task::{Attempt, Delivery, Retry};

    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    let mut states: Vec<TaskState> = TaskStatus::ALL.map(|status| state(status, at(1))).into();
    let deliveries = [
        Delivery::Claimed { deadline: at(6) },
        Delivery::Wanted,
        Delivery::Written { at: at(2) },
        Delivery::Fetched,
    ];
    for delivery in deliveries {
        for retry in [Retry::None, Retry::At(at(9)), Retry::Wanted] {
            for deadline in [None, Some(at(11))] {
                let attempt = Attempt { number: 3, offered_at: at(1) };
                states.push(TaskState::Notified { attempt, delivery, offer_deadline: deadline, retry });
                let percent = Percent::new(100).unwrap();
                states.push(TaskState::InProgress {
                    attempt,
                    delivery,
                    percent,
                    timeout_at: deadline,
                    retry,
                });
            }
        }
    }
    let steps = [FailedStep::Update, FailedStep::Download, FailedStep::Verify, FailedStep::Burn];
    let causes = steps.map(FailureCause::Refused).into_iter().chain([
        FailureCause::Busy,
        FailureCause::ForeignVersion,
        FailureCause::Timeout,
        FailureCause::OfferTimeout,
    ]);
    states.extend(causes.map(|cause| TaskState::Failed { attempts: 6, cause }));
    let causes = [CancelCause::Operator, CancelCause::Overwritten, CancelCause::FinishTime];
    states.extend(causes.map(|cause| TaskState::Canceled { attempts: 0, cause }));

    for state in states {
        let task = world.task(&job, devices[0]).await;
        assert_eq!(world.put(&task, state.clone(), at(20)).await.state, state);
        let due = store.next_due(&[devices[0].shard()]).await.unwrap();
        assert_eq!(due, state.due_at(), "{state:?}");
    }
    world.check(&job).await;
}

/// Notices are added up, in the task and in the job; the device's words stay until others come.
pub async fn notices_add_up_and_words_stay(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.job("job1", &devices).await;
    for (round, words) in [Some("first, \"ünusual\""), None, Some("last")].into_iter().enumerate() {
        for task in world.tasks(&job).await {
            let order = ReportOrder { session: 4, n: u32::try_from(round).unwrap() };
            let change = TaskChange {
                notices: 2,
                desc: words.map(Into::into),
                report: (round > 0).then_some(order),
                ..to(&task, state(TaskStatus::Notified, at(1)))
            };
            assert_eq!(store.settle(&[change], at(2)).await.unwrap(), [true]);
            let after = world.task_again(&task.key).await;
            assert_eq!(after.notices, task.notices + 2);
            assert_eq!(after.desc, words.map(Into::into).or(task.desc));
            assert_eq!(after.report, if round > 0 { order } else { ReportOrder::default() });
        }
    }
    assert_eq!(store.task_counts(job.no).await.unwrap().notices, 12);
    world.check(&job).await;
}

/// Counters move with the tasks, whatever moves them (I9).
pub async fn counters_move_with_the_tasks(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..30).await;
    let job = world.job("job1", &devices).await;
    for (n, from) in TaskStatus::ALL.into_iter().enumerate() {
        for (m, to) in TaskStatus::ALL.into_iter().enumerate() {
            let device = devices[(n * 7 + m) % devices.len()];
            world.put_status(&job, device, from, at(1)).await;
            world.put_status(&job, device, to, at(2)).await;
        }
        world.check(&job).await;
    }
    assert_eq!(store.task_counts(job.no).await.unwrap().total(), 30);
}

/// Open tasks are found by device, sorted, and ended ones are not among them.
pub async fn open_tasks_forget_ended_ones(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..7).await;
    let job = world.job("job1", &devices).await;
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        world.put_status(&job, *device, status, at(1)).await;
    }
    let mut other = new_job(&world.firmware, "job2");
    other.new.policy.overwrite = OverwriteMode::Replace;
    let other = world.run(&other, &devices[4..5]).await;

    let open = store.open_tasks(&devices).await.unwrap();
    let mut expected: Vec<_> = devices[..4].iter().map(|device| (*device, job.no)).collect();
    expected.push((devices[4], other.no));
    expected.sort_unstable();
    let found: Vec<_> = open.iter().map(|task| (task.key.device, task.key.job)).collect();
    assert_eq!(found, expected);
    let one = world.task(&job, devices[3]).await;
    assert_eq!(store.open_tasks(&[devices[6], devices[3]]).await.unwrap(), [one]);
    assert_eq!(store.open_tasks(&[]).await.unwrap(), []);
}

/// What succeeded, and what was offered and has ended, is found by device: not what is open, what ended and was never
/// offered, nor what lies behind the device's last tasks.
pub async fn ended_offers_are_found_by_device(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..9).await;
    let job = world.job("job1", &devices).await;
    for (device, status) in devices.iter().zip(TaskStatus::ALL) {
        world.put_status(&job, *device, status, at(1)).await;
    }
    let busy = TaskState::Failed { attempts: 0, cause: FailureCause::Busy };
    for (device, state) in [(devices[7], busy), (devices[8], TaskState::Succeeded { attempts: 0 })] {
        world.put(&world.task(&job, device).await, state, at(2)).await;
    }

    let offer = |device: DeviceId, succeeded_at| {
        let (module, version) = (world.firmware.new.module.clone(), world.firmware.new.dest_version.clone());
        EndedOffer { device, module, version, succeeded_at }
    };
    // In the order of `ALL`: the last three are ends.
    let mut expected = vec![
        offer(devices[4], Some(at(1))),
        offer(devices[5], None),
        offer(devices[6], None),
        offer(devices[8], Some(at(2))),
    ];
    expected.sort_unstable();
    let found = |devices: Vec<DeviceId>| async move {
        let mut found = store.ended_offers(&devices).await.unwrap();
        found.sort_unstable();
        found
    };
    assert_eq!(found(devices.clone()).await, expected);
    let (one, twice) = (&[offer(devices[5], None)], vec![devices[5]; 2]);
    assert_eq!(found(twice.clone()).await, one);
    assert_eq!(found(Vec::new()).await, []);

    // So many jobs more: the first one is out of sight only when it is not among the last any more.
    for n in 1..=LAST_TASKS {
        assert_eq!(found(twice.clone()).await, one, "before the {n}th");
        let mut later = new_job(&world.firmware, &format!("later{n}"));
        later.new.policy.overwrite = OverwriteMode::Replace;
        world.run(&later, &twice[..1]).await;
    }
    assert_eq!(found(twice).await, []);
}

/// Tasks are found by key, sorted, each once.
pub async fn tasks_are_found_by_key(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let job = world.job("job1", &devices).await;
    let mut tasks = world.tasks(&job).await;
    tasks.sort_by(|a, b| a.key.cmp(&b.key));
    let keys: Vec<TaskKey> = tasks.iter().rev().map(|task| task.key.clone()).collect();
    assert_eq!(store.tasks(&keys).await.unwrap(), tasks);
    assert_eq!(store.tasks(&[keys[0].clone(), keys[0].clone()]).await.unwrap(), tasks[3..]);
}

/// What is due comes oldest first, of the shards asked only, and the next instant is known.
pub async fn due_tasks_come_oldest_first(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..40).await;
    let job = world.job("job1", &devices).await;
    let all: Vec<Shard> = Shard::all().collect();
    assert_eq!(store.next_due(&all).await.unwrap(), None);

    // A claim of a notice dated at s falls due 5 s later; of the last ten nothing is claimed.
    let mut expected = Vec::new();
    for (n, device) in devices[..30].iter().enumerate() {
        let date = at(i64::try_from((n * 17) % 30).unwrap());
        let task = world.task(&job, *device).await;
        let claimed = world.put(&task, claim(&task, date).to, date).await;
        expected.push((date + Duration::from_secs(5), claimed));
    }
    expected.sort_by_key(|(due, _)| *due);

    let due = store.due(&all, at(14), 100).await.unwrap();
    let until: Vec<&Task> = expected.iter().filter(|(at_, _)| *at_ <= at(14)).map(|(_, task)| task).collect();
    assert_eq!(due.iter().collect::<Vec<_>>(), until);
    assert_eq!(due.len(), 10);
    assert_eq!(store.due(&all, at(14), 3).await.unwrap(), due[..3]);
    assert_eq!(store.due(&all, at(4), 100).await.unwrap(), []);
    assert_eq!(store.next_due(&all).await.unwrap(), Some(at(5)));

    let shard = expected[20].1.key.device.shard();
    let ours: Vec<Task> = expected
        .iter()
        .map(|(_, task)| task)
        .filter(|task| task.key.device.shard() == shard)
        .cloned()
        .collect();
    assert_eq!(store.due(&[shard], at(100), 100).await.unwrap(), ours);
    assert_eq!(store.next_due(&[shard]).await.unwrap(), ours[0].state.due_at());
    assert_eq!(store.due(&[], at(100), 100).await.unwrap(), []);
}

/// A task whose clock is stopped, or that has ended, is not due.
pub async fn a_stopped_clock_is_not_due(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.job("job1", &devices).await;
    let all: Vec<Shard> = Shard::all().collect();
    for task in world.tasks(&job).await {
        world.put(&task, claim(&task, at(1)).to, at(1)).await;
    }
    assert_eq!(store.due(&all, at(6), 10).await.unwrap().len(), 2);

    let [first, second] = [0, 1].map(|n| devices[n]);
    let task = world.task(&job, first).await;
    let written = next(&task, &TaskEvent::Written { attempt: 1 }, at(2));
    world.put(&task, written.to, at(2)).await;
    world.put_status(&job, second, TaskStatus::Canceled, at(2)).await;
    assert_eq!(store.due(&all, at(1_000_000), 10).await.unwrap(), []);
    assert_eq!(store.next_due(&all).await.unwrap(), None);
}

/// A task that is opened once more is open and counted again.
pub async fn a_reopened_task_is_open_again(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.job("job1", &devices).await;
    for status in [TaskStatus::Failed, TaskStatus::Canceled] {
        world.put_status(&job, devices[0], status, at(1)).await;
        assert_eq!(store.open_tasks(&devices[..1]).await.unwrap(), []);
        let task = world.task(&job, devices[0]).await;
        let again = next(&task, &TaskEvent::Reupgraded { need_confirm: false }, at(2));
        let task = world.put(&task, again.to, at(2)).await;
        assert_eq!(store.open_tasks(&devices[..1]).await.unwrap(), [task]);
        world.check(&job).await;
    }
}

/// An ended task is not opened beside one that the device has by now (I2).
pub async fn an_ended_task_is_not_opened_beside_another(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let first = world.job("job1", &devices).await;
    let failed = world.put_status(&first, devices[0], TaskStatus::Failed, at(1)).await;
    let second = world.job("job2", &devices).await;

    let again = next(&failed, &TaskEvent::Reupgraded { need_confirm: false }, at(2));
    assert_eq!(store.settle(std::slice::from_ref(&again), at(2)).await.unwrap(), [false]);
    assert_eq!(world.task_again(&failed.key).await, failed);
    world.check(&first).await;

    world.put_status(&second, devices[0], TaskStatus::Succeeded, at(3)).await;
    assert_eq!(store.settle(&[again], at(4)).await.unwrap(), [true]);

    // Nor another one of the same device in the same call.
    let third = world.put_status(&second, devices[0], TaskStatus::Canceled, at(5)).await;
    let first = world.put_status(&first, devices[0], TaskStatus::Canceled, at(5)).await;
    let again = [&first, &third].map(|task| next(task, &TaskEvent::Reupgraded { need_confirm: true }, at(6)));
    let written = store.settle(&again, at(6)).await.unwrap();
    assert_eq!(written.iter().filter(|written| **written).count(), 1);
    assert_eq!(store.open_tasks(&devices).await.unwrap().len(), 1);
}

/// A version is kept even when no task moves, and tasks move though a version is old.
pub async fn versions_and_tasks_are_taken_together(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.job("job1", &devices).await;
    let tasks = world.tasks(&job).await;
    let report = |n: usize, version: &str, order: u32| VersionReport {
        version: ModuleVersion {
            device: tasks[n].key.device,
            module: module("default"),
            version: informed(version),
            at: at(1),
        },
        order: ReportOrder { session: 1, n: order },
    };
    let succeeds = |task: &Task| {
        let event = TaskEvent::Informed { version: informed("2.0.0"), source: None, offered_before: false };
        TaskChange { report: Some(ReportOrder { session: 1, n: 5 }), ..next(task, &event, at(1)) }
    };
    let stale = TaskChange { revision: 99, ..succeeds(&tasks[1]) };
    let written = store
        .take_reports(&[report(0, "2.0.0", 5), report(1, "2.0.0", 5)], &[stale, succeeds(&tasks[0])], at(2))
        .await
        .unwrap();
    assert_eq!(written.written, [false, true]);
    let ids = tasks.iter().map(|task| task.key.device).collect::<Vec<_>>();
    let kept = store.module_versions(&ids).await.unwrap();
    assert!(kept.iter().all(|kept| kept.version == informed("2.0.0")));
    let done = world.task_again(&tasks[0].key).await;
    assert_eq!((done.state.status(), done.report.n), (TaskStatus::Succeeded, 5));

    let written = store.take_reports(&[report(1, "1.0.0", 4)], &[succeeds(&tasks[1])], at(3)).await.unwrap();
    assert_eq!(written.written, [true]);
    assert_eq!(store.module_versions(&ids).await.unwrap(), kept);
    world.check(&job).await;
}

/// Pages visit each task once, in order of place, whatever the filter and the size of a page.
pub async fn a_listing_visits_each_task_once(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..60).await;
    let job = world.job("job1", &devices).await;
    let others = world.devices(60..70).await;
    world.job("job2", &others).await;
    for (n, device) in devices.iter().enumerate().filter(|(n, _)| n % 9 == 0) {
        let status = if n % 2 == 0 { TaskStatus::Succeeded } else { TaskStatus::Failed };
        world.put_status(&job, *device, status, at(1)).await;
    }
    let tasks = world.tasks(&job).await;
    assert_eq!(tasks.len(), 60);

    let chosen = [3, 59, 18, 65].map(device_name).to_vec();
    let statuses = [None, Some(TaskStatus::Queued), Some(TaskStatus::Succeeded), Some(TaskStatus::Confirm)];
    for status in statuses {
        for names in [Vec::new(), chosen.clone()] {
            let ids: Vec<DeviceId> = [3, 59, 18].map(|n| devices[n]).into();
            let expected: Vec<Task> = tasks
                .iter()
                .filter(|task| status.is_none_or(|status| task.state.status() == status))
                .filter(|task| names.is_empty() || ids.contains(&task.key.device))
                .cloned()
                .collect();
            let filter = TaskFilter { status, devices: names };
            for limit in [1, 7, 1_000] {
                assert_eq!(list(store, &world, &job, &filter, limit).await, expected);
            }
        }
    }
}

async fn list(
    store: &dyn Store,
    world: &World<'_>,
    job: &crate::store::Job,
    filter: &TaskFilter,
    limit: usize,
) -> Vec<Task> {
    let (mut tasks, mut after, mut calls) = (Vec::new(), Some(0), 0);
    while let Some(from) = after {
        let page = store.list_tasks(job.no, filter, from, limit).await.unwrap();
        assert!(page.tasks.len() <= limit);
        for view in page.tasks {
            let device = store.device(world.product.no, &view.device_name).await.unwrap().unwrap();
            assert_eq!(device.id, view.task.key.device);
            tasks.push(view.task);
        }
        assert!(page.next.is_none_or(|next| next > from), "a listing goes forward");
        after = page.next;
        calls += 1;
        assert!(calls < 1_000, "a listing ends");
    }
    tasks
}

/// The same device may have tasks in any number of jobs, one after the other.
pub async fn a_device_may_have_many_ended_tasks(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let mut keys = Vec::new();
    for n in 0..5 {
        let mut create = new_job(&world.firmware, "job");
        create.id = JobId::parse(&format!("job{n}")).unwrap();
        let job = world.make(&create).await;
        let tasks = vec![NewTask { device: devices[0], src_version: None }];
        let slice = Slice { tasks, complete: true, ..super::world::slice(&job, 0, &devices) };
        store.expand(&slice, at(n)).await.unwrap();
        keys.push(world.put_status(&job, devices[0], TaskStatus::Succeeded, at(n)).await.key);
    }
    assert_eq!(store.tasks(&keys).await.unwrap().len(), 5);
    assert_eq!(store.open_tasks(&devices).await.unwrap(), []);
}
