//! Many tasks of a job at once: asked for in a moment, done in the background, and not undone by a crash.

use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::rules::BulkParams;
use otaria_core::task::TaskStatus;
use otaria_engine::CommandError;
use otaria_ports::store::Bulk;
use otaria_ports::store::memory::Fault;

use crate::fleet::Temper;
use crate::process::{Loop, run};
use crate::world::{MINUTE, World};

const SECOND: Duration = Duration::from_secs(1);

fn confirm(world: &World, job: JobNo) -> Result<(), CommandError> {
    let id = world.job(job).id.to_string();
    run(world.process.commands.confirm_job(&world.caller, world.now, &id))
}

fn reupgrade(world: &mut World, job: JobNo, params: &BulkParams) -> Result<(), CommandError> {
    world.reopened.insert(job);
    let id = world.job(job).id.to_string();
    run(world.process.commands.reupgrade_job(&world.caller, world.now, &id, params))
}

fn bulk(world: &World, job: JobNo) -> Bulk {
    world.job(job).bulk.unwrap()
}

#[test]
fn a_job_is_confirmed_as_a_whole_across_crashes() {
    for seed in 0..5 {
        let mut world = World::new(110_000 + seed);
        let devices = world.devices(4_500, Temper::Obedient);
        let file: String = devices.iter().map(|device| world.name(*device) + "\n").collect();
        world.connect(&devices[..100]);
        let mut params = world.listed(file.as_bytes());
        params.job.need_confirm = Some(true);
        let job = world.create(&params);
        // Also while lines are still expanded.
        confirm(&world, job).unwrap();
        for _ in 0..3 {
            let millis = world.chance.below(60);
            world.run_for(Duration::from_millis(millis));
            world.crash_and_reconnect();
        }
        world.run_until("all confirmed", MINUTE, |world| bulk(world, job).done);
        let Bulk { moved, passed, after, .. } = bulk(&world, job);
        assert_eq!((moved, passed, after), (4_500, 0, 4_500), "seed {seed}");
        world.run_until("a hundred are through", MINUTE, |world| {
            world.count(job, TaskStatus::Succeeded) == 100
        });
        assert_eq!(world.count(job, TaskStatus::Confirm), 0);
        world.check();
    }
}

#[test]
fn confirmed_tasks_of_a_whole_job_are_pushed_without_a_sweep() {
    let mut world = World::new(111);
    world.process.pokes = false;
    let devices = world.devices(50, Temper::Obedient);
    world.connect(&devices);
    let mut params = world.all();
    params.job.need_confirm = Some(true);
    let job = world.create(&params);
    world.run_for(2 * SECOND);
    confirm(&world, job).unwrap();
    world.run_until("pushes", 2 * SECOND, |world| world.wrote.len() == 50);
    world.run_until_completed(job, MINUTE);
    world.check();
}

#[test]
fn tasks_are_started_again_by_the_cause_of_their_failure() {
    let mut world = World::new(112);
    world.process.pokes = false;
    let failing = world.devices(30, Temper::Failing);
    let silent = world.devices(20, Temper::Silent);
    world.connect(&failing);
    world.connect(&silent);
    let mut params = world.all();
    params.job.offer_timeout_in_minutes = Some(1);
    let job = world.create(&params);
    world.run_until_completed(job, 3 * MINUTE);
    for device in failing.iter().chain(&silent) {
        world.fleet.get_mut(device).unwrap().temper = Temper::Obedient;
    }
    let cause = |cause: &str| BulkParams { failure_cause: vec![cause.to_owned()], ..BulkParams::default() };
    reupgrade(&mut world, job, &cause("OFFER_TIMEOUT")).unwrap();
    assert_eq!(world.job(job).status, JobStatus::InProgress);
    world.run_until_completed(job, MINUTE);
    assert_eq!((bulk(&world, job).moved, bulk(&world, job).done), (20, true));
    let left = [TaskStatus::Succeeded, TaskStatus::Failed].map(|status| world.count(job, status));
    assert_eq!(left, [20, 30]);

    // Nothing matches: the job is opened, looked through, and ends again.
    reupgrade(&mut world, job, &cause("BURN_FAILED")).unwrap();
    world.run_until_completed(job, 10 * SECOND);
    assert_eq!((bulk(&world, job).moved, world.count(job, TaskStatus::Failed)), (0, 30));
    reupgrade(&mut world, job, &BulkParams::default()).unwrap();
    world.run_until_completed(job, MINUTE);
    assert_eq!(world.count(job, TaskStatus::Succeeded), 50);
    world.check();
}

#[test]
fn a_busy_device_is_passed_over() {
    let mut world = World::new(113);
    let devices = world.devices(10, Temper::Obedient);
    let job = world.create(&world.all());
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, 10 * SECOND);
    world.silences.clear();
    let other = world.create(&world.specific(&devices[..3]));
    world.connect(&devices[3..]);
    reupgrade(&mut world, job, &BulkParams::default()).unwrap();
    world.run_until_completed(job, MINUTE);
    assert_eq!((bulk(&world, job).moved, bulk(&world, job).passed), (7, 3));
    assert_eq!(world.count(job, TaskStatus::Canceled), 3);
    assert_eq!(world.count(other, TaskStatus::Queued), 3);
    world.check();
}

#[test]
fn a_cancellation_is_the_last_word() {
    let mut world = World::new(114);
    let devices = world.devices(3_000, Temper::Obedient);
    let file: String = devices.iter().map(|device| world.name(*device) + "\n").collect();
    let job = world.create(&world.listed(file.as_bytes()));
    world.run_until("all expanded", MINUTE, |world| world.expansion(job).complete);
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, MINUTE);
    world.silences.clear();
    reupgrade(&mut world, job, &BulkParams::default()).unwrap();
    reupgrade(&mut world, job, &BulkParams::default()).unwrap();
    let failed = BulkParams { task_status: vec!["FAILED".into()], ..BulkParams::default() };
    assert!(matches!(reupgrade(&mut world, job, &failed), Err(CommandError::NotAllowed { .. })));
    world.process.tick(Loop::Closer, world.now);
    assert_eq!((bulk(&world, job).moved, bulk(&world, job).done), (1_000, false));
    world.cancel(job, CancelFlags::EVERYTHING);
    assert!(bulk(&world, job).done);
    world.run_until_completed(job, MINUTE);
    assert_eq!(world.count(job, TaskStatus::Canceled), 3_000);
    world.connect(&devices[..50]);
    world.run_for(10 * SECOND);
    assert!(world.wrote.is_empty());
    world.check();
}

#[test]
fn a_bulk_goes_on_whichever_call_fails() {
    for fault in [Fault::Before, Fault::After] {
        for call in 0..6 {
            let mut world = World::new(115);
            world.process.pokes = false;
            let devices = world.devices(20, Temper::Obedient);
            world.connect(&devices);
            let job = world.create(&world.all());
            world.cancel(job, CancelFlags::EVERYTHING);
            world.run_until_completed(job, 10 * SECOND);
            world.silences.clear();
            reupgrade(&mut world, job, &BulkParams::default()).unwrap();
            world.store.fail_after(call, fault);
            world.process.tick(Loop::Closer, world.now);
            world.store.mend();
            world.run_until("pushes", 5 * SECOND, |world| world.wrote.len() >= 20);
            world.run_until_completed(job, MINUTE);
            assert_eq!(bulk(&world, job).moved, 20, "{call} {fault:?}");
            world.check();
        }
    }
}
