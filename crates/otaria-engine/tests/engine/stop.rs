//! Schedules, cancellations and pauses: what stops, and from when on.

use std::time::Duration;

use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::rules::StaticUpgradeParams;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};
use otaria_ports::store::memory::Fault;

use crate::fleet::Temper;
use crate::process::{Loop, run};
use crate::world::{MINUTE, World};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_planned_job_begins_at_its_time_and_not_before() {
    let mut world = World::new(60);
    world.process.pokes = false;
    let devices = world.devices(20, Temper::Obedient);
    world.connect(&devices);
    let start = world.now + 6 * MINUTE;
    let params = StaticUpgradeParams { schedule_time: Some(start.millis()), ..world.all() };
    let job = world.create(&params);
    assert_eq!(world.job(job).status, JobStatus::Planned);
    world.run_until("a push", 7 * MINUTE, |world| !world.wrote.is_empty());
    assert!(world.wrote[0].at >= start && world.wrote[0].at.since(start) < 2 * SECOND);
    assert_eq!(world.job(job).status, JobStatus::InProgress);
    world.run_until_completed(job, 10 * SECOND);
    world.check();
}

#[test]
fn a_job_begins_although_the_store_lost_the_answer() {
    for fault in [Fault::Before, Fault::After] {
        for call in 0..3 {
            let mut world = World::new(61);
            world.process.pokes = false;
            let devices = world.devices(5, Temper::Obedient);
            world.connect(&devices);
            let start = world.now + 6 * MINUTE;
            let params = StaticUpgradeParams { schedule_time: Some(start.millis()), ..world.all() };
            let job = world.create(&params);
            while world.now < start - SECOND {
                world.step();
            }
            world.now = start;
            world.store.fail_after(call, fault);
            world.process.tick(Loop::Closer, world.now);
            world.store.mend();
            world.run_until_completed(job, 20 * SECOND);
            world.check();
        }
    }
}

#[test]
fn the_finish_time_ends_everything() {
    let mut world = World::new(62);
    let devices = world.devices(300, Temper::Obedient);
    let silent = world.devices(20, Temper::Silent);
    world.connect(&silent);
    let finish = world.now + HOUR;
    let mut params = StaticUpgradeParams { schedule_finish_time: Some(finish.millis()), ..world.all() };
    params.job.maximum_per_minute = Some(10);
    let job = world.create(&params);
    world.run_for(40 * MINUTE);
    world.connect(&devices);
    world.run_until_completed(job, HOUR);
    assert!(world.now >= finish && world.now.since(finish) < 5 * SECOND);
    let canceled = world
        .tasks(job)
        .into_iter()
        .filter(|task| matches!(task.state, TaskState::Canceled { cause: CancelCause::FinishTime, .. }));
    assert_eq!(canceled.count() as u64, world.count(job, TaskStatus::Canceled));
    assert!(world.count(job, TaskStatus::Canceled) > 100 && world.count(job, TaskStatus::Succeeded) > 100);
    world.run_for(MINUTE);
    world.check();
}

#[test]
fn after_a_cancellation_is_answered_nothing_is_written() {
    for seed in 0..20 {
        let mut world = World::new(63_000 + seed);
        let devices = world.devices(500, Temper::Obedient);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(1_000);
        let job = world.create(&params);
        let millis = world.chance.below(4_000);
        world.run_for(Duration::from_millis(millis));
        world.cancel(job, CancelFlags::EVERYTHING);
        world.run_until_completed(job, 10 * SECOND);
        world.run_for(10 * SECOND);
        world.check();
    }
}

#[test]
fn a_cancellation_of_waiting_tasks_leaves_the_others_alone() {
    let mut world = World::new(64);
    let devices = world.devices(200, Temper::Clumsy);
    world.connect(&devices);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(60);
    (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(2));
    let job = world.create(&params);
    world.run_for(30 * SECOND);
    world.cancel(job, CancelFlags { queued: true, ..CancelFlags::default() });
    world.run_until("they are cancelled", 5 * SECOND, |world| world.count(job, TaskStatus::Canceled) > 100);
    // What is left wants few tokens and gets them: none is spent on what is cancelled.
    world.run_until_completed(job, MINUTE);
    assert_eq!(world.count(job, TaskStatus::Canceled) + world.count(job, TaskStatus::Succeeded), 200);
    world.check();
}

#[test]
fn a_cancellation_outruns_an_expansion_and_takes_all_of_it() {
    let mut world = World::new(65);
    let devices = world.devices(12_000, Temper::Obedient);
    let file: String = devices.iter().map(|device| world.name(*device) + "\n").collect();
    world.connect(&devices[..2_000]);
    world.process.pokes = false;
    let job = world.create(&world.listed(file.as_bytes()));
    world.run_for(Duration::from_millis(5));
    assert!(!world.expansion(job).complete);
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, 30 * SECOND);
    assert_eq!(world.expansion(job).tasks, 12_000);
    world.check();
}

#[test]
fn a_planned_job_is_cancelled_as_a_whole() {
    let mut world = World::new(66);
    let devices = world.devices(10, Temper::Obedient);
    world.connect(&devices);
    let start = world.now + 6 * MINUTE;
    let params = StaticUpgradeParams { schedule_time: Some(start.millis()), ..world.all() };
    let job = world.create(&params);
    let scheduled = CancelFlags { scheduled: true, ..CancelFlags::default() };
    world.cancel(job, scheduled);
    assert_eq!(world.job(job).status, JobStatus::Canceled);
    world.run_until("all cancelled", 5 * SECOND, |world| world.count(job, TaskStatus::Canceled) == 10);
    world.run_for(10 * MINUTE);
    assert!(world.wrote.is_empty());
    world.check();
}

#[test]
fn a_cancellation_of_a_planned_job_that_broke_off_leaves_no_task_open_for_ever() {
    for call in 0..4 {
        for fault in [Fault::Before, Fault::After] {
            let mut world = World::new(67);
            let devices = world.devices(10, Temper::Obedient);
            world.connect(&devices);
            let start = world.now + 6 * MINUTE;
            let params = StaticUpgradeParams { schedule_time: Some(start.millis()), ..world.all() };
            let job = world.create(&params);
            let id = world.job(job).id.to_string();
            let scheduled = CancelFlags { scheduled: true, ..CancelFlags::default() };
            world.store.fail_after(call, fault);
            // Whatever it answers, nobody asks again, and the server dies.
            drop(run(world.process.commands.cancel_tasks_by_job(&world.caller, world.now, &id, scheduled)));
            world.crash_and_reconnect();
            world.run_for(7 * MINUTE);
            assert!(world.job(job).status.is_ended(), "{call} {fault:?}");
            assert_eq!(world.counts(job).open(), 0, "{call} {fault:?}");
            world.check();
        }
    }
}

#[test]
fn a_paused_job_is_silent_until_it_is_resumed() {
    for seed in 0..10 {
        let mut world = World::new(68_000 + seed);
        let devices = world.devices(400, Temper::Obedient);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(600);
        let job = world.create(&params);
        let millis = world.chance.below(10_000);
        world.run_for(Duration::from_millis(millis));
        world.pause(job);
        world.pause(job);
        world.run_for(90 * SECOND);
        world.resume(job);
        world.run_until_completed(job, 2 * MINUTE);
        assert_eq!(world.count(job, TaskStatus::Succeeded), 400);
        world.check();
    }
}

#[test]
fn a_pause_that_is_repeated_after_a_lost_answer_is_as_good_as_the_first() {
    for call in 0..3 {
        let mut world = World::new(69);
        let devices = world.devices(400, Temper::Obedient);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(600);
        let job = world.create(&params);
        world.run_for(3 * SECOND);
        let id = world.job(job).id.to_string();
        world.store.fail_after(call, Fault::After);
        assert!(run(world.process.commands.pause_job(&world.caller, world.now, &id)).is_err());
        world.store.mend();
        world.pause(job);
        world.run_for(20 * SECOND);
        world.check();
    }
}

#[test]
fn clocks_go_on_in_a_pause() {
    let mut world = World::new(70);
    let devices = world.devices(1, Temper::Stuck);
    world.connect(&devices);
    let mut params = world.all();
    params.job.timeout_in_minutes = Some(1);
    let job = world.create(&params);
    world.run_until("progress", 10 * SECOND, |world| world.count(job, TaskStatus::InProgress) == 1);
    world.pause(job);
    world.run_until_completed(job, 2 * MINUTE);
    assert_eq!(world.count(job, TaskStatus::Failed), 1);
    world.check();
}
