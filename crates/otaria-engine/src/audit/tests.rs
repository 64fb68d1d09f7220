use std::sync::Arc;

use futures_util::FutureExt;
use otaria_core::gray::GrayPercent;
use otaria_core::ids::{FirmwareNo, ModuleName};
use otaria_core::job::{DynamicMode, JobPolicy};
use otaria_core::task::{Attempt, Delivery, Retry, TaskState, TaskStatus};
use otaria_ports::events::NoEvents;
use otaria_ports::store::contract::world::{World, at, new_job, state, to};
use otaria_ports::store::memory::MemoryStore;
use otaria_ports::store::{JobMove, Jobs, Member, OwnedShards, TaskChange, Tasks};

use super::*;

/// Runs what never waits for anything but the store in memory.
fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("the store in memory never waits")
}

fn store() -> MemoryStore {
    MemoryStore::new(Arc::new(NoEvents))
}

/// A process that owns nothing.
static NOBODY: Ownership = Ownership {
    shards: OwnedShards { member: Member(1), epochs: BTreeMap::new() },
    since: Timestamp::EPOCH,
    until: Timestamp::EPOCH,
};

fn watch(now: Timestamp) -> Watch<'static> {
    Watch { owned: &NOBODY, since: Timestamp::EPOCH, now }
}

async fn found(world: &World<'_>, job: &Job) -> Vec<Invariant> {
    let job = world.reread(job).await;
    let found = look_at(world.store, &JobBook::default(), &job, watch(at(0))).await.unwrap();
    found.into_iter().map(|(_, broken)| broken.invariant).collect()
}

async fn complete(store: &MemoryStore, job: &Job) {
    let (from, to) = (JobStatus::InProgress, JobStatus::Completed);
    let change = JobMove { job: job.no, from, to, only_if_done: false, fence: false, firmware: None };
    assert!(store.move_job(&change, at(5)).await.unwrap());
}

#[test]
fn a_job_as_it_must_be_raises_nothing() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..2_500).await;
        let job = world.job("job1", &devices).await;
        for (n, status) in TaskStatus::ALL.into_iter().enumerate() {
            world.put_status(&job, devices[n], status, at(1)).await;
        }
        assert_eq!(found(&world, &job).await, []);
        let tasks = world.tasks(&job).await;
        let ended: Vec<TaskChange> =
            tasks.iter().map(|task| to(task, state(TaskStatus::Succeeded, at(2)))).collect();
        for some in ended.chunks(BATCH_MAX) {
            store.settle(some, at(2)).await.unwrap();
        }
        complete(&store, &job).await;
        assert_eq!(found(&world, &job).await, []);
    });
}

#[test]
fn lines_that_ended_in_no_count_are_found() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..2).await;
        let mut job = world.job("job1", &devices).await;
        let mut counts = store.task_counts(job.no).await.unwrap();
        counts.by_status[TaskStatus::Queued as usize] -= 1;
        let seen: Vec<_> = against_counts(&job, &counts).into_iter().map(|broken| broken.invariant).collect();
        assert_eq!(seen, [Invariant::Lines], "a task is missing");

        job.expansion.skipped += 1;
        let seen: Vec<_> = expansion(&job).into_iter().map(|broken| broken.invariant).collect();
        assert_eq!(seen, [Invariant::Lines], "a line is counted twice");
    });
}

#[test]
fn counters_that_differ_from_their_tasks_are_found() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let job = world.job("job1", &world.devices(0..3).await).await;
        store.miscount(job.no, TaskStatus::Queued, TaskStatus::Failed);
        let job = world.reread(&job).await;
        let found = look_at(&store, &JobBook::default(), &job, watch(at(0))).await.unwrap();
        let seen: Vec<&str> = found.iter().map(|(_, broken)| broken.seen.as_str()).collect();
        assert_eq!(
            seen,
            [
                "2 tasks are counted as QUEUED, and there are 3",
                "1 tasks are counted as FAILED, and there are 0"
            ]
        );
        assert!(found.iter().all(|(key, broken)| key.is_none() && broken.invariant == Invariant::Counters));
    });
}

#[test]
fn a_completed_job_with_open_tasks_is_found_among_those_that_ended() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..2).await;
        let job = world.job("job1", &devices).await;
        complete(&store, &job).await;
        let ended = store.ended_jobs(at(0), 10).await.unwrap();
        assert_eq!(ended.iter().map(|job| job.no).collect::<Vec<_>>(), [job.no]);
        assert_eq!(found(&world, &job).await, [Invariant::Completed]);

        let unexpanded = world.make(&new_job(&world.firmware, "job2")).await;
        complete(&store, &unexpanded).await;
        assert_eq!(found(&world, &unexpanded).await, [Invariant::Completed]);
    });
}

#[test]
fn what_moved_while_it_was_looked_at_raises_nothing() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        // It was read as completed, and opened again before its tasks were counted.
        let stale = Job { status: JobStatus::Completed, ended_at: Some(at(1)), ..job };
        let found = look_at(&store, &JobBook::default(), &stale, watch(at(0))).await.unwrap();
        assert_eq!(found, []);
    });
}

#[test]
fn an_attempt_too_many_and_a_notice_nobody_wanted_are_found() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..3).await;
        let mut create = new_job(&world.firmware, "job1");
        create.new.policy = JobPolicy { need_push: false, ..create.new.policy };
        let job = world.run(&create, &devices).await;
        let tasks = world.tasks(&job).await;
        let second = TaskState::Notified {
            attempt: Attempt { number: 2, offered_at: at(0) },
            delivery: Delivery::Fetched,
            offer_deadline: None,
            retry: Retry::None,
        };
        let pushed = TaskChange { notices: 1, ..to(&tasks[2], state(TaskStatus::Notified, at(0))) };
        let written = store.settle(&[to(&tasks[1], second), pushed], at(1)).await.unwrap();
        assert_eq!(written, [true, true]);

        let job = world.reread(&job).await;
        let found = look_at(&store, &JobBook::default(), &job, watch(at(0))).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(key, broken)| (key.unwrap(), broken.invariant)).collect();
        let expected =
            [(tasks[1].key.clone(), Invariant::Attempts), (tasks[2].key.clone(), Invariant::Consent)];
        assert_eq!(found, expected);
    });
}

#[test]
fn a_part_of_the_wrong_size_is_found() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let mut job = world.make(&new_job(&world.firmware, "job1")).await;
        let percent = GrayPercent::parse("29").unwrap();
        job.new.target = Target::Gray { percent, src_versions: Vec::new() };
        let mut look = |matching, count, lines| {
            job.source = SourceKind::Part { matching, count, last: None };
            (job.expansion.lines, job.expansion.tasks) = (lines, lines);
            expansion(&job).into_iter().map(|broken| broken.invariant).collect::<Vec<_>>()
        };
        assert_eq!(look(100, 29, 29), []);
        assert_eq!(look(103, 29, 0), []);
        assert_eq!(look(100, 28, 0), [Invariant::Part]);
        assert_eq!(look(100, 30, 0), [Invariant::Part]);
        assert_eq!(look(3, 0, 0), [Invariant::Part], "nobody is refused, not made");
        assert_eq!(look(100, 29, 30), [Invariant::Part], "somebody from outside is in");
    });
}

#[test]
fn two_dynamic_jobs_of_one_firmware_are_found() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let mut create = new_job(&world.firmware, "job1");
        create.new.kind = JobKind::Dynamic;
        create.source = SourceKind::Standing { mode: DynamicMode::NowAndLater, group: None };
        let job = world.make(&create).await;
        let other = |no, firmware, status| Job { no: JobNo(no), firmware, status, ..job.clone() };
        let one = job.clone();
        let elsewhere = other(70, FirmwareNo(77), JobStatus::InProgress);
        let ended = other(71, job.firmware, JobStatus::Canceled);
        assert_eq!(strategies(&[one.clone(), elsewhere, ended]), []);
        let second = other(72, job.firmware, JobStatus::Paused);
        let found = strategies(&[one, second]);
        assert_eq!(
            found.iter().map(|(no, broken)| (no.0, broken.invariant)).collect::<Vec<_>>(),
            [(72, Invariant::Dynamic)]
        );
    });
}

#[test]
fn a_second_open_task_of_a_device_is_found() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        let one = world.task(&job, devices[0]).await;
        let key = TaskKey { job: JobNo(99), ..one.key.clone() };
        let same = Task { key: key.clone(), ..one.clone() };
        let other = Task { module: ModuleName::parse("mcu").unwrap(), ..same.clone() };
        let look = |second: &Task, multi| {
            let found = crowded(&[&one, second], |_| multi);
            found.into_iter().map(|(key, broken)| (key.unwrap(), broken.invariant)).collect::<Vec<_>>()
        };
        let seen = [(key, Invariant::OneOpenTask)];
        assert_eq!(look(&same, true), seen, "of the same module never");
        assert_eq!(look(&other, false), seen, "of two modules only with MultiModuleMode");
        assert_eq!(look(&other, true), []);
    });
}

#[test]
fn a_large_job_is_looked_at_piece_by_piece() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..3).await;
        let mut create = new_job(&world.firmware, "job1");
        create.new.policy.need_push = false;
        let job = world.run(&create, &devices).await;
        let task = world.task(&job, devices[0]).await;
        let pushed = TaskChange { notices: 1, ..to(&task, state(TaskStatus::Notified, at(0))) };
        store.settle(&[pushed], at(1)).await.unwrap();
        let book = JobBook::default();
        let facts = book.one(&store, job.no).await.unwrap().unwrap();
        // As if it had four pieces, of which the first one holds all its tasks.
        let mut seen = Vec::new();
        for hour in 0..8 {
            let hour = Timestamp::from_millis(hour * HOUR_MILLIS);
            seen.push(tasks(&store, &book, &facts, TASKS_MAX * 4, watch(hour)).await.unwrap().len());
        }
        assert_eq!(seen, [1, 0, 0, 0, 1, 0, 0, 0]);
    });
}

#[test]
fn clocks_that_ran_out_unseen_are_found_where_somebody_was_there() {
    let store = store();
    now(async {
        let world = World::new(&store).await;
        let mut asked = new_job(&world.firmware, "job1");
        asked.new.schedule.finish = Some(at(10_000));
        let devices = world.devices(0..2).await;
        let job = world.run(&asked, &devices).await;
        let attempt = Attempt { number: 1, offered_at: at(0) };
        let delivery = Delivery::Claimed { deadline: at(5) };
        let claimed = TaskState::Notified { attempt, delivery, offer_deadline: None, retry: Retry::None };
        let task = world.task(&job, devices[0]).await;
        assert_eq!(store.settle(&[to(&task, claimed)], at(0)).await.unwrap(), [true]);

        let job = world.reread(&job).await;
        let shards = world.own_everything(at(0)).await;
        let owned = Ownership { shards, since: at(0), until: at(0) };
        let look = async |since, now| {
            let watch = Watch { owned: &owned, since, now };
            let found = look_at(&store, &JobBook::default(), &job, watch).await.unwrap();
            found.into_iter().map(|(key, broken)| (key, broken.invariant)).collect::<Vec<_>>()
        };
        let unseen = vec![(Some(task.key.clone()), Invariant::Clocks)];
        assert_eq!(look(at(0), at(604)).await, []);
        assert_eq!(look(at(0), at(605)).await, unseen);
        assert_eq!(look(at(100), at(699)).await, [], "nobody had been there for long");
        assert_eq!(look(at(100), at(700)).await, unseen);
        assert_eq!(look(at(0), at(13_599)).await, unseen);
        let both = [vec![(None, Invariant::Clocks)], unseen.clone()].concat();
        assert_eq!(look(at(0), at(13_600)).await, both, "an hour after its finish");
        assert_eq!(look(at(13_000), at(13_600)).await, unseen);
        let foreign = watch(at(13_600));
        assert_eq!(
            look_at(&store, &JobBook::default(), &job, foreign).await.unwrap(),
            [],
            "others look after it"
        );
    });
}

#[test]
fn a_membership_that_ran_out_vouches_for_nothing() {
    let shards = OwnedShards { member: Member(1), epochs: BTreeMap::new() };
    let owned = Ownership { shards, since: at(10), until: at(100) };
    assert_eq!(Watch::of(&owned, at(99)).since, at(10));
    assert_eq!(Watch::of(&owned, at(100)).since, at(100));
}
