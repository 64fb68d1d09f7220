//! From lines to tasks.

use otaria_core::ids::DeviceId;
use otaria_core::job::OverwriteMode;
use otaria_core::task::{CancelCause, FailureCause, TaskState, TaskStatus};

use super::assert_refused;
use super::world::{World, at, claim, cursor, device_name, new_job, slice, state};
use crate::store::{Job, RejectCause, RejectedLine, Rejections, Replaced, Slice, SliceOutcome, Store};

/// An outcome names exactly these tasks of other jobs as replaced, each in the status in which it stood.
pub(super) async fn assert_replaced(
    world: &World<'_>,
    outcome: &SliceOutcome,
    stood: &[(&Job, DeviceId, TaskStatus)],
) {
    let mut expected = Vec::new();
    for (job, device, status) in stood {
        expected.push(Replaced { key: world.task(job, *device).await.key, status: *status });
    }
    expected.sort_unstable();
    let mut named = outcome.replaced.clone();
    named.sort_unstable();
    assert_eq!(named, expected);
}

/// The cursor is compared and set: of two who write the same slice only the first does.
pub async fn a_slice_is_written_once(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;

    let first = slice(&job, 0, &devices[..3]);
    let outcome = store.expand(&first, at(1)).await.unwrap();
    let mut sorted = devices[..3].to_vec();
    sorted.sort_unstable();
    assert_eq!(outcome.queued, sorted);
    assert_eq!(outcome.expansion.cursor, cursor(1));

    assert_refused!(store.expand(&first, at(2)).await, Conflict);
    assert_refused!(store.expand(&slice(&job, 2, &devices[3..]), at(2)).await, Conflict);
    assert_eq!(world.reread(&job).await.expansion, outcome.expansion);
    assert_eq!(world.tasks(&job).await.len(), 3);
    world.check(&job).await;

    store.expand(&slice(&job, 1, &devices[3..]), at(3)).await.unwrap();
    assert_eq!(world.tasks(&job).await.len(), 4);
    world.check(&job).await;
}

/// A complete expansion takes no slice, even where an empty one left the cursor where it was.
pub async fn nothing_follows_the_last_slice(store: &dyn Store) {
    let world = World::new(store).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    let empty = Slice { complete: true, to: cursor(0), ..slice(&job, 0, &[]) };

    assert!(store.expand(&empty, at(1)).await.unwrap().expansion.complete);
    assert_refused!(store.expand(&empty, at(2)).await, Conflict);
}

/// A slice of a job that is not there finds nothing.
pub async fn a_slice_needs_its_job(store: &dyn Store) {
    let world = World::new(store).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    let foreign = Slice { job: otaria_core::ids::JobNo(job.no.0 + 1), ..slice(&job, 0, &[]) };
    assert_refused!(store.expand(&foreign, at(1)).await, NotFound);
}

/// Lines = tasks + skipped + rejected, after every slice.
pub async fn every_line_ends_in_one_count(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..6).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;

    let first = Slice {
        skipped: vec![devices[2]],
        rejected: Rejections { malformed: 2, unknown: 1, duplicate: 3 },
        rejects: vec![
            RejectedLine { text: "a/b".into(), cause: RejectCause::Malformed },
            RejectedLine { text: "nobody".into(), cause: RejectCause::Unknown },
        ],
        lines: 9,
        ..slice(&job, 0, &devices[..2])
    };
    let expansion = store.expand(&first, at(1)).await.unwrap().expansion;
    assert_eq!((expansion.lines, expansion.tasks, expansion.skipped, expansion.busy), (9, 2, 1, 0));
    assert_eq!(expansion.rejected, Rejections { malformed: 2, unknown: 1, duplicate: 3 });
    assert!(!expansion.complete);
    world.check(&job).await;

    let last = Slice { complete: true, ..slice(&job, 1, &devices[3..]) };
    let expansion = store.expand(&last, at(2)).await.unwrap().expansion;
    assert_eq!((expansion.lines, expansion.tasks, expansion.skipped), (12, 5, 1));
    assert!(expansion.complete);
    assert_eq!(world.reread(&job).await.expansion, expansion);
    world.check(&job).await;
}

/// A device of an earlier slice is a duplicate when it comes again, whether it got a task or needed none.
pub async fn a_device_that_comes_again_is_a_duplicate(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..5).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;

    let first = Slice { skipped: vec![devices[1], devices[2]], lines: 3, ..slice(&job, 0, &devices[..1]) };
    store.expand(&first, at(1)).await.unwrap();
    // A task again, one that was skipped and now wants a task, one that was skipped twice, a new one, and
    // one that had a task and is now to be skipped.
    let mut again = slice(&job, 1, &[devices[0], devices[1], devices[3]]);
    again.skipped = vec![devices[2], devices[4]];
    again.lines = 5;
    let outcome = store.expand(&again, at(2)).await.unwrap();
    assert_eq!(outcome.queued, [devices[3]]);
    assert_eq!(outcome.expansion.rejected, Rejections { duplicate: 3, ..Rejections::default() });
    assert_eq!((outcome.expansion.tasks, outcome.expansion.skipped), (2, 3));
    world.check(&job).await;

    let last = Slice { skipped: vec![devices[3]], complete: true, lines: 1, ..slice(&job, 2, &[]) };
    let expansion = store.expand(&last, at(3)).await.unwrap().expansion;
    assert_eq!((expansion.rejected.duplicate, expansion.skipped, expansion.lines), (4, 3, 9));
    world.check(&job).await;

    let mut lines = store.rejected_lines(job.no, 0, 10).await.unwrap();
    lines.sort_by(|a, b| a.text.cmp(&b.text));
    let named = |n| RejectedLine { text: device_name(n).to_string(), cause: RejectCause::Duplicate };
    assert_eq!(lines, [named(0), named(1), named(2), named(3)]);
}

/// What a job skipped says nothing to another job.
pub async fn duplicates_are_found_in_one_job_only(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let first = world.make(&new_job(&world.firmware, "job1")).await;
    let second = world.make(&new_job(&world.firmware, "job2")).await;

    let skips = Slice { skipped: devices.clone(), lines: 1, ..slice(&first, 0, &[]) };
    store.expand(&skips, at(1)).await.unwrap();
    let outcome = store.expand(&slice(&second, 0, &devices), at(1)).await.unwrap();
    assert_eq!(outcome.queued, devices);
}

/// Rejected lines are kept in the order of slices; pages neither lose nor double one.
pub async fn rejected_lines_are_paged_in_order(store: &dyn Store) {
    let world = World::new(store).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    let line = |text: String| RejectedLine { text, cause: RejectCause::Malformed };
    for step in 0..3_u64 {
        let some = Slice {
            rejects: (0..4).map(|n| line(format!("{step}/{n}"))).collect(),
            rejected: Rejections { malformed: 4, ..Rejections::default() },
            lines: 4,
            ..slice(&job, step, &[])
        };
        store.expand(&some, at(1)).await.unwrap();
    }
    let all: Vec<RejectedLine> =
        (0..3).flat_map(|step| (0..4).map(move |n| line(format!("{step}/{n}")))).collect();
    assert_eq!(store.rejected_lines(job.no, 0, 100).await.unwrap(), all);
    assert_eq!(store.rejected_lines(job.no, 5, 3).await.unwrap(), all[5..8]);
    assert_eq!(store.rejected_lines(job.no, 12, 3).await.unwrap(), []);
}

/// A task's place counts from 1, in the order of slices and in each by device.
pub async fn places_count_from_1_in_the_order_of_slices(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..6).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    let (mut early, mut late) = (devices[..3].to_vec(), devices[3..].to_vec());
    store.expand(&slice(&job, 0, &early), at(1)).await.unwrap();
    store.expand(&slice(&job, 1, &late), at(2)).await.unwrap();

    early.sort_unstable();
    late.sort_unstable();
    let tasks = world.tasks(&job).await;
    let places: Vec<_> = tasks.iter().map(|task| (task.key.seq, task.key.device)).collect();
    let expected: Vec<_> = (1..=6).zip(early.into_iter().chain(late)).collect();
    assert_eq!(places, expected);
    assert!(tasks.iter().all(|task| task.key.job == job.no && task.revision == 1));
}

/// A new task knows what it was made of.
pub async fn a_new_task_is_kept_as_it_came(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let firmware = world.firmware_of("camera").await;
    let job = world.make(&new_job(&firmware, "job1")).await;
    let mut some = slice(&job, 0, &devices);
    some.tasks[1].src_version = None;
    store.expand(&some, at(7)).await.unwrap();

    let tasks = world.tasks(&job).await;
    for (task, new) in tasks.iter().zip(&some.tasks) {
        assert_eq!((task.key.device, &task.src_version), (new.device, &new.src_version));
        assert_eq!((&task.module, &task.state), (&firmware.new.module, &TaskState::Queued));
        assert_eq!((task.created_at, task.modified_at), (at(7), at(7)));
        assert_eq!((task.notices, &task.desc, task.report), (0, &None, Default::default()));
    }
}

/// With NeedConfirm tasks wait for the app, and none may be pushed.
pub async fn tasks_of_a_job_with_confirmation_wait_for_it(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let mut create = new_job(&world.firmware, "job1");
    create.new.policy.need_confirm = true;
    let job = world.make(&create).await;

    let outcome = world.expand_all(&job, &devices).await;
    assert_eq!(outcome.queued, []);
    assert!(world.tasks(&job).await.iter().all(|task| task.state == TaskState::Confirm));
    world.check(&job).await;
}

/// OverwriteMode 1: the earlier task stays, whatever its open status, and the later one fails.
pub async fn a_busy_device_fails_the_later_task(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..5).await;
    let earlier = world.job("job1", &devices[..4]).await;
    let open = [TaskStatus::Confirm, TaskStatus::Queued, TaskStatus::Notified, TaskStatus::InProgress];
    for (device, status) in devices.iter().zip(open) {
        world.put_status(&earlier, *device, status, at(1)).await;
    }

    let later = world.make(&new_job(&world.firmware, "job2")).await;
    let outcome = world.expand_all(&later, &devices).await;
    assert_eq!(outcome.queued, [devices[4]]);
    assert_eq!((outcome.expansion.tasks, outcome.expansion.busy), (5, 4));
    assert_replaced(&world, &outcome, &[]).await;
    for (device, status) in devices.iter().zip(open) {
        let failed = world.task(&later, *device).await;
        assert_eq!(failed.state, TaskState::Failed { attempts: 0, cause: FailureCause::Busy });
        assert_eq!(world.task(&earlier, *device).await.state.status(), status);
    }
    world.check(&earlier).await;
    world.check(&later).await;
}

/// OverwriteMode 2: the earlier task is cancelled unless it is `IN_PROGRESS`; then the later one fails.
pub async fn a_replacing_job_cancels_what_is_not_in_progress(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let earlier = world.job("job1", &devices).await;
    let open = [TaskStatus::Confirm, TaskStatus::Queued, TaskStatus::Notified, TaskStatus::InProgress];
    for (device, status) in devices.iter().zip(open) {
        world.put_status(&earlier, *device, status, at(1)).await;
    }
    let notified = world.task(&earlier, devices[2]).await;

    let mut create = new_job(&world.firmware, "job2");
    create.new.policy.overwrite = OverwriteMode::Replace;
    let later = world.make(&create).await;
    let outcome = world.expand_all(&later, &devices).await;
    let mut replaced = devices[..3].to_vec();
    replaced.sort_unstable();
    assert_eq!(outcome.queued, replaced);
    assert_eq!(outcome.expansion.busy, 1);
    let stood: Vec<_> =
        devices.iter().zip(open).take(3).map(|(device, status)| (&earlier, *device, status)).collect();
    assert_replaced(&world, &outcome, &stood).await;

    for (device, attempts) in devices.iter().zip([0, 0, 1]) {
        let task = world.task(&earlier, *device).await;
        assert_eq!(task.state, TaskState::Canceled { attempts, cause: CancelCause::Overwritten });
    }
    assert_eq!(world.task(&earlier, devices[3]).await.state.status(), TaskStatus::InProgress);
    let busy = world.task(&later, devices[3]).await;
    assert_eq!(busy.state, TaskState::Failed { attempts: 0, cause: FailureCause::Busy });
    assert_eq!(world.count(&earlier, TaskStatus::Canceled).await, 3);
    world.check(&earlier).await;
    world.check(&later).await;

    // Whoever held the replaced task meanwhile is too late.
    let late = claim(&notified, at(1_000));
    assert_eq!(store.settle(&[late], at(1_000)).await.unwrap(), [false]);
}

/// A task that has ended is in nobody's way.
pub async fn an_ended_task_is_in_nobodys_way(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let earlier = world.job("job1", &devices).await;
    let ended = [TaskStatus::Succeeded, TaskStatus::Failed, TaskStatus::Canceled];
    for (device, status) in devices.iter().zip(ended) {
        world.put_status(&earlier, *device, status, at(1)).await;
    }
    let later = world.make(&new_job(&world.firmware, "job2")).await;
    let outcome = world.expand_all(&later, &devices).await;
    assert_eq!(outcome.queued.len(), 3);
    assert_replaced(&world, &outcome, &[]).await;
    for (device, status) in devices.iter().zip(ended) {
        assert_eq!(world.task(&earlier, *device).await.state, state(status, at(1)));
    }
}

/// With MultiModuleMode a device may have one open task per module.
pub async fn modules_are_updated_side_by_side(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    for (id, name) in [("job1", "camera"), ("job2", "lamp")] {
        let mut create = new_job(&world.firmware_of(name).await, id);
        create.new.policy.multi_module = true;
        let job = world.make(&create).await;
        assert_replaced(&world, &world.expand_all(&job, &devices).await, &[]).await;
        assert_eq!(world.count(&job, TaskStatus::Queued).await, 1);
    }
    assert_eq!(store.open_tasks(&devices).await.unwrap().len(), 2);
}

/// With MultiModuleMode the later task of a module takes the earlier one's place, unless that is
/// `IN_PROGRESS`.
pub async fn the_later_task_of_a_module_replaces_the_earlier(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let multi = |id| {
        let mut create = new_job(&world.firmware, id);
        create.new.policy.multi_module = true;
        create
    };
    let earlier = world.run(&multi("job1"), &devices).await;
    world.put_status(&earlier, devices[1], TaskStatus::InProgress, at(1)).await;
    let later = world.make(&multi("job2")).await;
    let outcome = world.expand_all(&later, &devices).await;
    assert_replaced(&world, &outcome, &[(&earlier, devices[0], TaskStatus::Queued)]).await;

    let replaced = world.task(&earlier, devices[0]).await;
    assert_eq!(replaced.state, TaskState::Canceled { attempts: 0, cause: CancelCause::Overwritten });
    assert_eq!(world.task(&later, devices[0]).await.state, TaskState::Queued);
    assert_eq!(world.task(&earlier, devices[1]).await.state.status(), TaskStatus::InProgress);
    assert_eq!(world.task(&later, devices[1]).await.state.status(), TaskStatus::Failed);
    world.check(&earlier).await;
    world.check(&later).await;
}

/// A job without MultiModuleMode wants the device for itself, whichever of the two comes first.
pub async fn one_job_without_multi_module_mode_is_enough_to_be_busy(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let mut multi = new_job(&world.firmware_of("camera").await, "job1");
    multi.new.policy.multi_module = true;
    let single = new_job(&world.firmware, "job2");

    world.run(&multi, &devices[..1]).await;
    let later = world.run(&single, &devices[..1]).await;
    assert_eq!(later.expansion.busy, 1);

    multi.id = otaria_core::ids::JobId::parse("job3").unwrap();
    let mut other = single;
    other.id = otaria_core::ids::JobId::parse("job4").unwrap();
    world.run(&other, &devices[1..]).await;
    let later = world.run(&multi, &devices[1..]).await;
    assert_eq!(later.expansion.busy, 1);
}

/// A job that replaces and meets several open tasks of a device replaces all of them or none.
pub async fn several_tasks_are_replaced_together_or_not_at_all(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let mut earlier = Vec::new();
    for (id, name) in [("job1", "camera"), ("job2", "lamp")] {
        let mut create = new_job(&world.firmware_of(name).await, id);
        create.new.policy.multi_module = true;
        earlier.push(world.run(&create, &devices).await);
    }
    world.put_status(&earlier[1], devices[1], TaskStatus::InProgress, at(1)).await;
    let mut create = new_job(&world.firmware, "job3");
    create.new.policy.overwrite = OverwriteMode::Replace;
    let later = world.make(&create).await;
    let outcome = world.expand_all(&later, &devices).await;

    let stood = [&earlier[0], &earlier[1]].map(|job| (job, devices[0], TaskStatus::Queued));
    assert_replaced(&world, &outcome, &stood).await;
    assert_eq!(world.task(&later, devices[0]).await.state, TaskState::Queued);
    assert_eq!(world.task(&later, devices[1]).await.state.status(), TaskStatus::Failed);
    assert_eq!(world.task(&earlier[0], devices[1]).await.state, TaskState::Queued);
    for job in &earlier {
        assert_eq!(world.count(job, TaskStatus::Canceled).await, 1);
        world.check(job).await;
    }
}
