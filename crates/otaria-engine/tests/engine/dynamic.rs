//! Dynamic jobs: who joins, when, and what a cancelled strategy leaves.

use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo, ModuleName};
use otaria_core::job::{CancelFlags, DYNAMIC_PUSHES_MAX, DynamicMode, JobStatus};
use otaria_core::rules::{Code, DynamicUpgradeParams, UpdateJobParams};
use otaria_core::task::{CancelCause, FailureCause, TaskState, TaskStatus};
use otaria_engine::command::dynamic_mode;
use otaria_engine::{CommandError, inbox};
use otaria_ports::store::Jobs;
use otaria_ports::store::memory::Fault;

use crate::fleet::{Temper, version};
use crate::process::run;
use crate::world::{MINUTE, World, text};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const NOW_AND_LATER: Option<i64> = Some(1);
pub(crate) const LATER_ONLY: Option<i64> = Some(2);

/// A dynamic job of the world's firmware.
pub(crate) fn standing(world: &World, mode: Option<i64>) -> DynamicUpgradeParams {
    DynamicUpgradeParams { job: world.all().job, dynamic_mode: mode, ..DynamicUpgradeParams::default() }
}

pub(crate) fn try_make(world: &World, params: &DynamicUpgradeParams) -> Result<JobNo, CommandError> {
    let made = run(world.process.commands.create_dynamic_job(&world.caller, world.now, params))?;
    Ok(run(world.store.job(world.caller.account, &made.job_id)).unwrap().unwrap().no)
}

pub(crate) fn make(world: &World, params: &DynamicUpgradeParams) -> JobNo {
    try_make(world, params).unwrap()
}

pub(crate) fn end(world: &World, job: JobNo) -> Result<(), CommandError> {
    let id = world.job(job).id.to_string();
    run(world.process.commands.cancel_strategy(&world.caller, world.now, &id))
}

/// The device says a version, and the server has taken it.
pub(crate) fn say(world: &mut World, device: DeviceId, text: &str) {
    let now = world.now;
    world.fleet.get_mut(&device).unwrap().say(version(text), now);
    world.listen_now();
}

pub(crate) fn refusal(error: CommandError) -> (Code, String) {
    match error {
        CommandError::Refused(refusal) => (refusal.code, refusal.parameter),
        CommandError::NotAllowed { code, .. } => (code, String::new()),
        other => panic!("{other}"),
    }
}

fn until_succeeded(world: &mut World, job: JobNo, count: u64) {
    world.run_until("success", MINUTE, |world| world.count(job, TaskStatus::Succeeded) == count);
}

#[test]
fn those_who_are_there_are_taken_and_those_who_come() {
    let mut world = World::new(300);
    let devices = world.devices(1_500, Temper::Obedient);
    world.connect(&devices);
    world.run_for(2 * SECOND);
    let job = make(&world, &standing(&world, NOW_AND_LATER));
    assert_eq!(dynamic_mode(&world.job(job)), Some(DynamicMode::NowAndLater));
    assert!(world.expansion(job).tasks >= 1_000, "the first are there when the call answers");
    until_succeeded(&mut world, job, 1_500);

    let later = world.devices(3, Temper::Obedient);
    assert_eq!(world.count(job, TaskStatus::Queued), 3, "registering is joining");
    world.connect(&later);
    until_succeeded(&mut world, job, 1_503);
    world.run_for(MINUTE);
    assert_eq!(world.job(job).status, JobStatus::InProgress, "there is no end of devices");
    world.check();
}

#[test]
fn the_default_is_to_take_those_who_are_there() {
    let mut world = World::new(301);
    world.devices(2, Temper::Obedient);
    let job = make(&world, &standing(&world, None));
    assert_eq!(world.expansion(job).tasks, 2);
    assert!(world.expansion(job).complete);
}

#[test]
fn the_other_mode_takes_nobody_before_he_reports() {
    let mut world = World::new(302);
    let devices = world.devices(1_200, Temper::Obedient);
    world.connect(&devices[..600]);
    world.run_for(2 * SECOND);
    let job = make(&world, &standing(&world, LATER_ONLY));
    assert!(world.expansion(job).complete, "there is nothing to walk over");
    let registered = world.devices(1, Temper::Obedient)[0];
    world.run_for(10 * SECOND);
    assert_eq!(world.counts(job).total(), 0);

    // One who was there, one who had never spoken, one who is new.
    say(&mut world, devices[0], "1.0.0");
    world.connect(&[devices[700], registered]);
    until_succeeded(&mut world, job, 3);
    assert_eq!(world.counts(job).total(), 3);
    let at_destination = devices[0];
    say(&mut world, at_destination, "2.0.0");
    assert_eq!(world.counts(job).total(), 3);
    world.check();
}

#[test]
fn only_the_source_versions_are_taken_and_others_when_they_change() {
    let mut world = World::new(303);
    let devices = world.devices(4, Temper::Obedient);
    let [old, other, mute, late] = devices[..] else { panic!() };
    world.fleet.get_mut(&other).unwrap().version = "1.5.0".into();
    world.connect(&[old, other]);
    world.run_for(SECOND);
    let params = DynamicUpgradeParams { src_version: vec!["1.0.0".into()], ..standing(&world, None) };
    let job = make(&world, &params);
    until_succeeded(&mut world, job, 1);
    assert!(world.task(job, old).is_some() && world.task(job, other).is_none());
    assert!(world.task(job, mute).is_none(), "nobody knows its version");

    let change = UpdateJobParams { src_version_list: vec!["1.5.0".into()], ..UpdateJobParams::default() };
    let id = world.job(job).id.to_string();
    run(world.process.commands.update_job(&world.caller, world.now, &id, &change)).unwrap();
    world.run_for(5 * SECOND);
    assert!(world.task(job, other).is_none(), "it is asked at the next report");
    say(&mut world, other, "1.5.0");
    world.connect(&[late]);
    until_succeeded(&mut world, job, 2);
    assert!(world.task(job, other).is_some() && world.task(job, late).is_none());
    world.check();
}

#[test]
fn the_latest_wins() {
    let mut world = World::new(304);
    let devices = world.devices(3, Temper::Stuck);
    let [busy, waiting, newcomer] = devices[..] else { panic!() };
    world.connect(&[busy]);
    let first = make(&world, &standing(&world, NOW_AND_LATER));
    world.run_until("progress", MINUTE, |world| world.count(first, TaskStatus::InProgress) == 1);

    world.firmware = world.make_firmware("newer", false);
    let second = make(&world, &standing(&world, NOW_AND_LATER));
    assert_eq!(world.state(first, busy).status(), TaskStatus::InProgress, "what runs is not touched");
    let replaced = world.state(first, waiting);
    assert!(
        matches!(replaced, TaskState::Canceled { cause: CancelCause::Overwritten, .. }),
        "although OverwriteMode is 1: {replaced:?}"
    );
    assert_eq!(world.state(second, waiting).status(), TaskStatus::Queued);

    let registered = world.devices(1, Temper::Stuck)[0];
    assert!(world.task(second, registered).is_some() && world.task(first, registered).is_none());

    // Once the later one is over, whoever reports joins the earlier one.
    end(&world, second).unwrap();
    world.cancel(second, CancelFlags::EVERYTHING);
    world.run_for(5 * SECOND);
    assert_eq!(world.counts(second).open(), 0);
    world.connect(&[registered]);
    world.run_until("a push", MINUTE, |world| !world.wrote_to(first, registered).is_empty());
    assert!(world.wrote(second).is_empty());
    assert_eq!(world.state(first, newcomer).status(), TaskStatus::Canceled, "it had its task");
    world.check();
}

#[test]
fn a_package_has_one_dynamic_job_at_a_time() {
    let mut world = World::new(305);
    world.devices(1, Temper::Obedient);
    let params = standing(&world, NOW_AND_LATER);
    let first = make(&world, &params);
    let beside = refusal(try_make(&world, &standing(&world, LATER_ONLY)).unwrap_err());
    assert_eq!(beside, (Code::DynamicJobExisted, "FirmwareId".into()));
    world.create(&world.all());
    end(&world, first).unwrap();
    let second = make(&world, &params);
    assert_eq!(world.job(second).status, JobStatus::InProgress);
}

#[test]
fn a_token_stands_for_the_mode_too() {
    let world = World::new(306);
    let with_token = |mode| {
        let mut params = standing(&world, mode);
        params.job.client_token = text("token");
        params
    };
    let job = make(&world, &with_token(NOW_AND_LATER));
    assert_eq!(make(&world, &with_token(NOW_AND_LATER)), job);
    assert_eq!(make(&world, &with_token(None)), job, "which is the default");
    let other = refusal(try_make(&world, &with_token(LATER_ONLY)).unwrap_err());
    assert_eq!(other.0, Code::IdempotentParameterMismatch);
    assert_eq!(world.jobs().len(), 1);
}

#[test]
fn a_cancelled_strategy_takes_nobody_and_its_tasks_go_on() {
    let mut world = World::new(307);
    let devices = world.devices(4, Temper::Obedient);
    let job = make(&world, &standing(&world, NOW_AND_LATER));
    world.connect(&devices[..2]);
    until_succeeded(&mut world, job, 2);

    end(&world, job).unwrap();
    let ended = world.job(job);
    assert_eq!((ended.status, ended.ended_at), (JobStatus::Canceled, Some(world.now)));
    let late = world.devices(1, Temper::Obedient)[0];
    world.connect(&[late]);
    world.run_for(5 * SECOND);
    assert!(world.task(job, late).is_none());

    assert_eq!(run(world.store.purge_jobs(world.now + MINUTE, 1_000)).unwrap(), 0, "two tasks are open");
    let delete = |world: &World| {
        run(world.process.commands.delete_firmware(&world.caller, &world.firmware)).map_err(refusal)
    };
    assert_eq!(delete(&world), Err((Code::FirmwareInUse, String::new())));
    world.crash();
    world.connect(&devices[2..]);
    until_succeeded(&mut world, job, 4);
    assert_eq!(world.job(job).status, JobStatus::Canceled);
    end(&world, job).unwrap();
    world.check();
    assert_eq!(delete(&world), Ok(()));

    world.firmware = world.make_firmware("other", false);
    let other = world.create(&world.specific(&[late]));
    let (code, parameter) = refusal(end(&world, other).unwrap_err());
    assert_eq!((code, parameter.as_str()), (Code::JobStatusNotAllowed, "JobId"));
}

#[test]
fn a_walk_over_the_devices_ends_with_its_strategy() {
    let mut world = World::new(308);
    world.devices(8_000, Temper::Obedient);
    let job = make(&world, &standing(&world, NOW_AND_LATER));
    let made = world.expansion(job).tasks;
    assert!(!world.expansion(job).complete);
    end(&world, job).unwrap();
    world.run_for(5 * SECOND);
    let expansion = world.expansion(job);
    assert!(expansion.complete && expansion.tasks == made, "{expansion:?}");
    world.check();
}

#[test]
fn clocks_orders_and_cancellations_work_on_without_the_strategy() {
    let mut world = World::new(309);
    let devices = world.devices(3, Temper::Stuck);
    let mut params = standing(&world, NOW_AND_LATER);
    params.job.need_confirm = Some(true);
    params.job.timeout_in_minutes = Some(1);
    let job = make(&world, &params);
    world.connect(&devices);
    world.run_for(3 * SECOND);
    assert!(world.wrote(job).is_empty(), "I15");
    end(&world, job).unwrap();

    let tasks = world.task_ids(job);
    world.confirm(&tasks[..1]).unwrap();
    world.run_until("progress", MINUTE, |world| world.count(job, TaskStatus::InProgress) == 1);
    let id = world.job(job).id.to_string();
    run(world.process.commands.confirm_job(&world.caller, world.now, &id)).unwrap();
    world.run_until("progress", MINUTE, |world| world.count(job, TaskStatus::InProgress) == 3);
    world.run_until("timeouts", 2 * MINUTE, |world| world.count(job, TaskStatus::Failed) == 3);
    let timeout = TaskState::Failed { attempts: 1, cause: FailureCause::Timeout };
    assert!(devices.iter().all(|device| world.state(job, *device) == timeout));

    world.reupgrade(job, &tasks[..1]).unwrap();
    assert_eq!(world.count(job, TaskStatus::Confirm), 1);
    assert_eq!(world.job(job).status, JobStatus::Canceled, "it takes nobody all the same");
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_for(5 * SECOND);
    assert_eq!(world.counts(job).open(), 0);
    let paused = run(world.process.commands.pause_job(&world.caller, world.now, &id)).unwrap_err();
    assert_eq!(refusal(paused).0, Code::JobStatusNotAllowed);
    world.check();
}

#[test]
fn a_pause_takes_devices_and_pushes_nothing_and_ends_with_the_strategy() {
    let mut world = World::new(310);
    let devices = world.devices(2, Temper::Obedient);
    let job = make(&world, &standing(&world, LATER_ONLY));
    world.pause(job);
    world.connect(&devices);
    world.run_for(10 * SECOND);
    assert_eq!(world.count(job, TaskStatus::Queued), 2);
    end(&world, job).unwrap();
    for silence in &mut world.silences {
        silence.until.get_or_insert(world.now);
    }
    until_succeeded(&mut world, job, 2);
    world.check();
}

/// Whether a device that asks for its update gets one.
fn is_answered(world: &World, device: DeviceId) -> bool {
    let module = ModuleName::default_module();
    run(inbox::fetch(&world.process.shell, device, &module, world.now)).unwrap().is_some()
}

/// How often a device that never answers is pushed to when it comes back again and again.
fn pushes_after_reconnects(world: &mut World, job: JobNo, device: DeviceId) -> usize {
    for _ in 0..14 {
        world.connect(&[device]);
        world.run_for(MINUTE + SECOND);
        world.disconnect(&[device]);
        world.run_for(SECOND);
    }
    world.wrote_to(job, device).len()
}

#[test]
fn nobody_is_pushed_to_more_than_ten_times() {
    let mut world = World::new(311);
    let devices = world.devices(2, Temper::Silent);
    let fixed = world.create(&world.specific(&devices[..1]));
    assert!(pushes_after_reconnects(&mut world, fixed, devices[0]) > 10, "a static job has no such limit");

    let job = make(&world, &standing(&world, LATER_ONLY));
    let pushes = pushes_after_reconnects(&mut world, job, devices[1]);
    assert_eq!(pushes, DYNAMIC_PUSHES_MAX as usize);
    // It may ask by itself.
    world.connect(&devices[1..]);
    assert!(is_answered(&world, devices[1]));
    world.check();
}

#[test]
fn a_device_that_joined_right_before_a_crash_is_pushed_to() {
    let mut world = World::new(312);
    world.process.pokes = false;
    let device = world.devices(1, Temper::Obedient)[0];
    world.connect(&[device]);
    world.run_for(SECOND);
    let job = make(&world, &standing(&world, LATER_ONLY));
    say(&mut world, device, "1.0.0");
    assert_eq!(world.state(job, device).status(), TaskStatus::Queued);
    world.crash_and_reconnect();
    until_succeeded(&mut world, job, 1);
    world.check();
}

#[test]
fn a_device_that_joined_without_an_answer_is_pushed_to_when_it_says_it_again() {
    let mut world = World::new(314);
    world.process.pokes = false;
    let device = world.devices(1, Temper::Obedient)[0];
    world.connect(&[device]);
    world.run_for(5 * SECOND);
    let job = make(&world, &standing(&world, LATER_ONLY));
    // The store does it, and its answer is lost.
    let now = world.now;
    world.fleet.get_mut(&device).unwrap().say(version("1.0.0"), now);
    let reports = world.fleet.get_mut(&device).unwrap().speak(now);
    world.store.fail_after(1, Fault::After);
    assert!(run(inbox::take(&world.process.shell, reports, now)).is_err());
    world.store.mend();
    assert_eq!(world.state(job, device).status(), TaskStatus::Queued);
    world.run_until("a push", 5 * SECOND, |world| !world.wrote_to(job, device).is_empty());
    until_succeeded(&mut world, job, 1);
    world.check();
}

#[test]
fn a_job_that_does_not_push_waits_for_the_question() {
    let mut world = World::new(313);
    let device = world.devices(1, Temper::Obedient)[0];
    let mut params = standing(&world, LATER_ONLY);
    params.job.need_push = Some(false);
    let job = make(&world, &params);
    world.connect(&[device]);
    world.run_for(10 * SECOND);
    assert_eq!(world.state(job, device).status(), TaskStatus::Queued);
    assert!(world.wrote(job).is_empty());
    end(&world, job).unwrap();
    assert!(is_answered(&world, device), "also when nobody else joins any more");
    assert_eq!(world.state(job, device).status(), TaskStatus::Notified);
    world.check();
}

#[test]
fn whatever_happens_everybody_who_matches_gets_through() {
    for seed in 320..328 {
        let mut world = World::new(seed);
        let mode = if seed % 2 == 0 { NOW_AND_LATER } else { LATER_ONLY };
        let devices = world.devices(1_300, Temper::Obedient);
        world.connect(&devices[..900]);
        (world.faults, world.lost_outcomes, world.jams) = (60, 100, 50);
        let job = make(&world, &standing(&world, mode));
        for _ in 0..6 {
            world.run_for(SECOND);
            match world.chance.below(3) {
                0 => world.crash_and_reconnect(),
                1 => world.disconnect(&devices[..300]),
                _ => world.connect(&devices[200..]),
            }
        }
        (world.faults, world.lost_outcomes, world.jams) = (0, 0, 0);
        world.devices(5, Temper::Obedient);
        let everybody: Vec<DeviceId> = world.fleet.keys().copied().collect();
        world.disconnect(&everybody);
        world.connect(&everybody);
        world.run_until("success", 3 * MINUTE, |world| world.count(job, TaskStatus::Succeeded) == 1_305);
        assert_eq!(world.expansion(job).tasks, 1_305, "seed {seed}");
        world.faults = 1;
        world.check();
    }
}
