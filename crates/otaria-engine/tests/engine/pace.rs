//! MaximumPerMinute, in any minute, at the devices' sockets (I1).

use std::time::Duration;

use otaria_core::task::TaskStatus;

use crate::fleet::Temper;
use crate::world::{MINUTE, World};

#[test]
fn no_minute_sees_more_than_the_limit_and_hardly_less() {
    let mut world = World::new(30);
    let devices = world.devices(1_500, Temper::Obedient);
    world.connect(&devices);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(600);
    let job = world.create(&params);
    world.run_until_completed(job, 4 * MINUTE);
    assert!((594..=600).contains(&world.most_in_a_minute(job)), "{}", world.most_in_a_minute(job));
    let wrote = world.wrote(job);
    let span = wrote[1_499].at.since(wrote[0].at);
    assert!(1_500.0 * 60.0 / span.as_secs_f64() >= 0.98 * 600.0, "{span:?}");
    world.check();
}

#[test]
fn the_smallest_limit_is_used_up_too() {
    let mut world = World::new(31);
    let devices = world.devices(35, Temper::Obedient);
    world.connect(&devices);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(10);
    let job = world.create(&params);
    world.run_until_completed(job, 5 * MINUTE);
    assert_eq!(world.most_in_a_minute(job), 10);
    world.check();
}

#[test]
fn retries_and_redeliveries_count_too() {
    let mut world = World::new(32);
    world.lost_outcomes = 200;
    world.jams = 100;
    let mut devices = world.devices(60, Temper::Failing);
    devices.extend(world.devices(60, Temper::Obedient));
    world.connect(&devices);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(60);
    (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(2));
    let job = world.create(&params);
    world.run_until_completed(job, 15 * MINUTE);
    assert_eq!(world.count(job, TaskStatus::Failed), 60);
    world.check();
    world.check_liveness(job);
}

#[test]
fn a_crash_gives_no_second_burst() {
    for seed in 0..6 {
        let mut world = World::new(33_000 + seed);
        let devices = world.devices(120, Temper::Obedient);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(30);
        let job = world.create(&params);
        for _ in 0..5 {
            let millis = world.chance.below(20_000);
            world.run_for(Duration::from_millis(millis));
            world.crash_and_reconnect();
        }
        world.run_until_completed(job, 10 * MINUTE);
        world.check();
    }
}

#[test]
fn tokens_are_not_spent_on_devices_that_went_away() {
    let mut world = World::new(34);
    let (gone, here) = (world.devices(40, Temper::Obedient), world.devices(10, Temper::Obedient));
    world.connect(&gone);
    world.connect(&here);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(10);
    let job = world.create(&params);
    world.run_for(Duration::from_millis(200));
    world.disconnect(&gone);
    world.run_until("those who stayed", 2 * MINUTE, |world| world.count(job, TaskStatus::Succeeded) >= 10);
    assert!(world.count(job, TaskStatus::Notified) <= 1, "{:?}", world.counts(job));
    world.check();
}

#[test]
fn jobs_and_accounts_do_not_wait_for_each_other() {
    let mut world = World::new(35);
    let crowd = world.devices(3_000, Temper::Silent);
    world.connect(&crowd);
    let large = world.create(&world.all());
    world.run_for(Duration::from_millis(100));

    world.turn_to_another_account();
    let few = world.devices(20, Temper::Obedient);
    world.connect(&few);
    let small = world.create(&world.all());
    world.run_until_completed(small, Duration::from_secs(10));
    assert!(world.wrote(large).len() < 3_000);
    world.check();
}

#[test]
fn many_paced_jobs_all_move_and_nothing_spins() {
    let mut world = World::new(36);
    let devices = world.devices(150, Temper::Obedient);
    world.connect(&devices);
    let jobs: Vec<_> = devices
        .chunks(3)
        .map(|devices| {
            let mut params = world.specific(devices);
            params.job.maximum_per_minute = Some(10);
            world.create(&params)
        })
        .collect();
    for job in jobs {
        world.run_until_completed(job, Duration::from_secs(40));
    }
    world.check();
}
