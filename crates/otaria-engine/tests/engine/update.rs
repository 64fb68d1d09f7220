//! Jobs that are changed while they run.

use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::job::CancelFlags;
use otaria_core::rules::{TagParams, UpdateJobParams};
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_engine::CommandError;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World, text};

const SECOND: Duration = Duration::from_secs(1);

fn update(world: &World, job: JobNo, params: &UpdateJobParams) -> Result<(), CommandError> {
    let id = world.job(job).id.to_string();
    run(world.process.commands.update_job(&world.caller, world.now, &id, params))
}

fn pace(rate: i64) -> UpdateJobParams {
    UpdateJobParams { maximum_per_minute: Some(rate), ..UpdateJobParams::default() }
}

/// The notices in the minute that begins at `from`.
fn written_from(world: &World, job: JobNo, from: Timestamp) -> usize {
    let wrote = world.wrote(job).into_iter().map(|wrote| wrote.at);
    wrote.filter(|at| *at >= from && at.since(from) < MINUTE).count()
}

#[test]
fn the_pace_follows_a_new_rate() {
    for (seed, (before, after)) in (120..).zip([(10, 900), (900, 10), (300, 1_200), (1_100, 1_000)]) {
        let mut world = World::new(seed);
        let devices = world.devices(1_700, Temper::Silent);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(before);
        let job = world.create(&params);
        world.run_for(30 * SECOND);
        update(&world, job, &pace(after)).unwrap();
        let (changed, written) = (world.now, world.wrote(job).len());
        assert_eq!(world.job(job).rate_version, 1);
        world.run_for(62 * SECOND);
        let later = world.wrote(job).len() - written;
        let (rate, higher) = (usize::try_from(after).unwrap(), usize::try_from(before.max(after)).unwrap());
        // What was dated before the change still goes out: two seconds' worth at most.
        let slack = usize::try_from(before).unwrap() / 30 + 1;
        assert!(later <= rate + slack, "{later} after {before} -> {after}");
        assert!(later * 10 >= rate.min(1_700 - written) * 9, "{later} after {before} -> {after}");
        assert!(world.most_in_a_minute(job) <= higher, "I1 across {before} -> {after}");
        let settled = changed + 2 * SECOND;
        assert!(written_from(&world, job, settled) <= rate, "I1 after {before} -> {after}");
    }
}

#[test]
fn a_new_timeout_is_for_those_that_have_not_begun() {
    let mut world = World::new(130);
    let devices = world.devices(2, Temper::Stuck);
    world.connect(&devices[..1]);
    let mut params = world.all();
    params.job.timeout_in_minutes = Some(30);
    let job = world.create(&params);
    world.run_until("progress", 10 * SECOND, |world| world.count(job, TaskStatus::InProgress) == 1);
    let timeout = UpdateJobParams { timeout_in_minutes: Some(1), ..UpdateJobParams::default() };
    update(&world, job, &timeout).unwrap();
    world.connect(&devices[1..]);
    world.run_until("a failure", 2 * MINUTE, |world| world.count(job, TaskStatus::Failed) == 1);
    assert_eq!(world.state(job, devices[0]).status(), TaskStatus::InProgress);
    world.run_until_completed(job, 30 * MINUTE);
    world.check();
}

#[test]
fn new_tags_are_in_the_next_notice_and_an_ended_job_is_left_alone() {
    let mut world = World::new(131);
    world.devices(1, Temper::Obedient);
    let job = world.create(&world.all());
    let shell = world.process.shell.clone();
    let offered = |world: &World| {
        let facts = run(shell.book.one(&*shell.deps.store, job)).unwrap().unwrap();
        shell.offers.of(&facts, world.now).tags.clone()
    };
    assert_eq!(offered(&world), []);
    let tags = vec![TagParams { key: text("wave"), value: text("2") }];
    let params = UpdateJobParams { tags, ..UpdateJobParams::default() };
    update(&world, job, &params).unwrap();
    assert_eq!(offered(&world)[0].value, "2");

    let wrong = UpdateJobParams { src_version_list: vec!["1.0".into()], ..UpdateJobParams::default() };
    assert!(matches!(update(&world, job, &wrong), Err(CommandError::Refused(_))));
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, 10 * SECOND);
    assert!(matches!(update(&world, job, &pace(100)), Err(CommandError::NotAllowed { .. })));
    assert_eq!(world.job(job).rate_version, 0);
    world.check();
}
