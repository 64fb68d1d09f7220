//! Processes that die, fail and lose their shards: nothing is lost, and nobody writes twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otaria_core::firmware::FirmwareStatus;
use otaria_core::ids::Version;
use otaria_core::job::JobStatus;
use otaria_core::rules::VerifyParams;
use otaria_core::shard::SHARDS;
use otaria_core::task::{TaskEvent, TaskStatus};
use otaria_engine::inbox;
use otaria_engine::ownership::Owner;
use otaria_ports::pusher::{Outcome, Settled};
use otaria_ports::store::memory::Fault;
use otaria_ports::store::{JobMove, Jobs, Leases, OwnedShards, TaskChange, Tasks};

use crate::fleet::Temper;
use crate::process::{LEASE, Loop, run};
use crate::world::{DEST, MINUTE, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_crash_at_any_moment_loses_no_device() {
    for seed in 0..40 {
        let mut world = World::new(80_000 + seed);
        let mut devices = world.devices(120, Temper::Obedient);
        devices.extend(world.devices(20, Temper::Failing));
        devices.extend(world.devices(20, Temper::Clumsy));
        world.connect(&devices);
        let mut params = world.all();
        (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(1));
        let job = world.create(&params);
        for _ in 0..3 {
            let millis = world.chance.below(2_500);
            world.run_for(Duration::from_millis(millis));
            world.crash_and_reconnect();
        }
        world.run_until_completed(job, 3 * MINUTE);
        world.check();
        world.check_liveness(job);
    }
}

#[test]
fn every_call_may_fail_before_or_after_it_is_done() {
    for fault in [Fault::Before, Fault::After] {
        for which in [Loop::Dispatcher, Loop::Overdue, Loop::Closer, Loop::Expander, Loop::Owner] {
            for call in 0..5 {
                let mut world = World::new(81);
                world.process.pokes = false;
                let mut devices = world.devices(30, Temper::Obedient);
                devices.extend(world.devices(10, Temper::Failing));
                world.connect(&devices);
                let mut params = world.all();
                (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(1));
                let job = world.create(&params);
                for _ in 0..30 {
                    world.step();
                    world.store.fail_after(call, fault);
                    world.process.tick(which, world.now);
                    world.store.mend();
                }
                world.run_until_completed(job, 30 * SECOND);
                world.check();
                world.check_liveness(job);
            }
        }
    }
}

#[test]
fn a_store_that_fails_all_the_time_ends_no_liveness() {
    for seed in 0..10 {
        let mut world = World::new(82_000 + seed);
        world.faults = 150;
        let mut devices = world.devices(100, Temper::Obedient);
        devices.extend(world.devices(20, Temper::Failing));
        world.connect(&devices);
        let mut params = world.all();
        (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(1));
        let job = world.create(&params);
        world.run_until_completed(job, 5 * MINUTE);
        world.check();
        world.check_liveness(job);
    }
}

#[test]
fn who_lost_a_shard_claims_nothing_any_more() {
    let mut world = World::new(83);
    let devices = world.devices(5, Temper::Obedient);
    let job = world.create(&world.all());
    let old = world.process.owner.owned().shards.clone();
    assert_eq!(old.epochs.len(), SHARDS);

    // The first owner stops, its membership runs out, and another one takes over.
    world.now = world.now + 2 * LEASE;
    let member = run(world.store.join(world.now, LEASE)).unwrap();
    let shell = Arc::clone(&world.process.shell);
    let second = run(Owner::begin(shell, member, LEASE, false, world.now)).unwrap();
    assert_eq!(second.owned().shards.epochs.len(), SHARDS);

    let policy = world.job(job).new.policy.for_tasks(Version::parse(DEST).unwrap());
    let claims: Vec<TaskChange> = world
        .tasks(job)
        .into_iter()
        .map(|task| {
            let to =
                task.state.on(&TaskEvent::Claimed { not_before: world.now }, &policy, world.now).unwrap();
            TaskChange { key: task.key, revision: task.revision, to, report: None, notices: 0, desc: None }
        })
        .collect();
    assert_eq!(claims.len(), devices.len());
    assert!(run(world.store.claim(&old, &claims, world.now)).unwrap().iter().all(|written| !written));
    let foreign = OwnedShards { member: old.member, epochs: second.owned().shards.epochs.clone() };
    assert!(run(world.store.claim(&foreign, &claims, world.now)).unwrap().iter().all(|written| !written));
    assert!(run(world.store.claim(&second.owned().shards, &claims, world.now)).unwrap().iter().all(|w| *w));
}

#[test]
fn an_owner_that_slept_too_long_comes_back_under_new_epochs() {
    let mut world = World::new(84);
    let devices = world.devices(10, Temper::Obedient);
    world.connect(&devices);
    world.run_for(SECOND);
    let before = world.process.owner.owned().shards.clone();
    world.now = world.now + 10 * LEASE;
    let job = world.create(&world.all());
    world.run_until_completed(job, 20 * SECOND);
    let after = world.process.owner.owned().shards.clone();
    assert_ne!(before.member, after.member);
    assert!(after.epochs.iter().all(|(shard, epoch)| *epoch > before.epochs[shard]));
    world.check();
}

#[test]
fn devices_of_a_shard_that_was_lost_for_a_while_are_served_when_it_is_back() {
    let mut world = World::new(85);
    let devices = world.devices(10, Temper::Obedient);
    world.connect(&devices);
    world.run_for(SECOND);
    // Nothing is owned while the job is made: nobody is looked at.
    let mut none = world.process.owner.owned().clone();
    none.shards.epochs = BTreeMap::new();
    let job = world.create(&world.all());
    for _ in 0..5 {
        run(world.process.dispatcher.tick(world.now, &none)).unwrap();
    }
    world.run_until_completed(job, 10 * SECOND);
    world.check();
}

#[test]
fn who_was_alone_at_first_begins_with_what_it_takes_over_at_once() {
    let mut world = World::new(87);
    let devices = world.devices(600, Temper::Silent);
    world.connect(&devices);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(60);
    let job = world.create(&params);
    // Alone it goes by the list, which is sorted by shard.
    world.run_until("some are told", MINUTE, |world| world.wrote(job).len() >= 5);
    let told = |world: &World, from: u8| {
        let tasks = world.tasks(job).into_iter().filter(|task| task.key.device.shard().0 >= from);
        tasks.filter(|task| task.state.status() != TaskStatus::Queued).count()
    };
    assert_eq!(told(&world, 128), 0);
    // Others come and take the second half; then one of them is gone.
    let mut pass = |below: u8, seconds: u32| {
        for _ in 0..seconds {
            world.now = world.now + SECOND;
            world.process.tick(Loop::Owner, world.now);
            let mut owned = world.process.owner.owned().clone();
            owned.shards.epochs.retain(|shard, _| shard.0 < below);
            run(world.process.dispatcher.tick(world.now, &owned)).unwrap();
        }
        (told(&world, 0), told(&world, 128))
    };
    let (_, of_others) = pass(128, 2);
    assert_eq!(of_others, 0);
    let (before, _) = pass(128, 1);
    let (all, taken_over) = pass(192, 30);
    assert!(all > before + 20, "it goes on: {before} and {all}");
    assert!(taken_over > 5, "{taken_over} of {}", all - before);
}

#[test]
fn shards_whose_answer_was_lost_are_owned_all_the_same() {
    for call in 0..4 {
        let mut world = World::new(86);
        let devices = world.devices(10, Temper::Obedient);
        world.now = world.now + 10 * LEASE;
        world.store.fail_after(call, Fault::After);
        world.process.tick(Loop::Owner, world.now);
        world.store.mend();
        world.run_until("all shards", 5 * SECOND, |world| {
            world.process.owner.owned().shards.epochs.len() == SHARDS
        });
        world.connect(&devices);
        let job = world.create(&world.all());
        world.run_until_completed(job, 20 * SECOND);
        world.check();
    }
}

#[test]
fn a_job_that_cannot_be_closed_does_not_hold_up_the_others() {
    let mut world = World::new(88);
    let devices = world.devices(4, Temper::Obedient);
    world.connect(&devices);
    let doubtful = world.make_firmware("doubtful", true);
    let whole = std::mem::replace(&mut world.firmware, doubtful);
    let params = VerifyParams { job: world.all().job, target_device_name: vec![world.name(devices[0])] };
    run(world.process.commands.create_verify_job(&world.caller, world.now, &params)).unwrap();
    let verify = world.jobs()[0].no;
    // Somebody meddled: the firmware is not what the job needs it to be.
    let meddled = JobMove {
        job: verify,
        from: JobStatus::InProgress,
        to: JobStatus::InProgress,
        only_if_done: false,
        fence: false,
        firmware: Some((FirmwareStatus::Verifying, FirmwareStatus::NotVerified)),
    };
    assert!(run(world.store.move_job(&meddled, world.now)).unwrap());

    world.firmware = whole;
    let other = world.create(&world.specific(&devices[1..]));
    assert!(verify < other);
    world.run_for(5 * SECOND);
    assert_eq!(world.job(verify).status, JobStatus::InProgress);
    world.run_until_completed(other, 5 * SECOND);
}

#[test]
fn two_notices_of_a_task_within_one_batch_of_outcomes_count_as_two() {
    let mut world = World::new(87);
    let devices = world.devices(1, Temper::Failing);
    world.connect(&devices);
    let mut params = world.all();
    (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(1));
    let job = world.create(&params);
    world.lost_outcomes = 1_000;
    world.run_until("a second attempt", 10 * SECOND, |world| world.wrote(job).len() == 2);
    let key = world.task(job, devices[0]).unwrap().key;
    let settled: Vec<Settled> = world
        .wrote(job)
        .iter()
        .map(|wrote| Settled {
            key: key.clone(),
            attempt: wrote.attempt,
            wire_id: wrote.wire_id,
            shard: (key.device.shard(), 1),
            fence: 0,
            outcome: Outcome::Written,
            at: wrote.at,
            until: wrote.at,
        })
        .collect();
    run(inbox::settle(&world.process.shell, &settled, world.now)).unwrap();
    assert_eq!(world.counts(job).notices, 2);
    assert!(world.count(job, TaskStatus::Notified) <= 1);
}
