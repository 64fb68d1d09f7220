//! Making jobs: which devices get a task, and what a call answers.

use std::time::Duration;

use otaria_core::ids::ModuleName;
use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::rules::{JobParams, StaticUpgradeParams, VerifyParams};
use otaria_core::task::{CancelCause, FailureCause, TaskState, TaskStatus};
use otaria_engine::{CommandError, inbox};

use crate::fleet::{Temper, version};
use crate::process::run;
use crate::world::{DEST, MINUTE, World, text};

#[test]
fn a_small_job_has_all_its_tasks_when_the_call_returns() {
    let mut world = World::new(1);
    let devices = world.devices(200, Temper::Obedient);
    let by_name = world.create(&world.specific(&devices));
    assert!(world.expansion(by_name).complete);
    assert_eq!(world.count(by_name, TaskStatus::Queued), 200);

    world.turn_to_another_account();
    world.devices(900, Temper::Obedient);
    let all = world.create(&world.all());
    assert!(world.expansion(all).complete);
    assert_eq!(world.count(all, TaskStatus::Queued), 900);
    world.check();
}

#[test]
fn a_rollout_reaches_everybody_and_completes_without_being_poked() {
    let mut world = World::new(2);
    world.process.pokes = false;
    let devices = world.devices(300, Temper::Obedient);
    world.connect(&devices);
    let job = world.create(&world.all());
    world.run_until_completed(job, Duration::from_secs(30));
    assert_eq!(world.count(job, TaskStatus::Succeeded), 300);
    assert_eq!(world.wrote.len(), 300);
    assert_eq!(world.counts(job).notices, 300);
    world.check();
}

#[test]
fn devices_registered_after_the_call_are_not_in() {
    let mut world = World::new(3);
    let before = world.devices(1_500, Temper::Obedient);
    let job = world.create(&world.all());
    assert!(!world.expansion(job).complete, "the rest is expanded in the background");
    world.devices(20, Temper::Obedient);
    world.run_until("expansion", MINUTE, |world| world.expansion(job).complete);
    assert_eq!(world.expansion(job).tasks, 1_500);
    assert!(world.task(job, before[1_499]).is_some());
    world.check();
}

#[test]
fn devices_at_the_destination_are_skipped_and_source_versions_narrow_the_rest() {
    let mut world = World::new(4);
    let devices = world.devices(9, Temper::Obedient);
    for (place, device) in devices.iter().enumerate() {
        let informed = [DEST, "1.0.0", "1.1.0"][place % 3];
        world.fleet.get_mut(device).unwrap().version = informed.to_owned();
    }
    world.connect(&devices);
    world.run_for(Duration::from_secs(1));
    let unknown = world.devices(2, Temper::Obedient);

    let some = world.create(&StaticUpgradeParams { src_version: vec!["1.1.0".into()], ..world.all() });
    assert_eq!((world.expansion(some).tasks, world.expansion(some).skipped), (3, 8));
    world.run_until_completed(some, Duration::from_secs(30));

    let rest = world.create(&world.all());
    assert_eq!((world.expansion(rest).tasks, world.expansion(rest).skipped), (5, 6));
    assert!(world.task(rest, unknown[0]).is_some(), "a device that never informed a version is in");
    world.check();
}

#[test]
fn a_busy_device_fails_the_later_task_and_a_replacing_job_takes_it_over() {
    let mut world = World::new(5);
    let devices = world.devices(3, Temper::Obedient);
    let first = world.create(&world.specific(&devices[..2]));
    let second = world.create(&world.specific(&devices[1..]));
    let busy = TaskState::Failed { attempts: 0, cause: FailureCause::Busy };
    assert_eq!(world.state(second, devices[1]), busy);
    assert_eq!((world.expansion(second).tasks, world.expansion(second).busy), (2, 1));

    let mut replacing = world.specific(&devices[..1]);
    replacing.job.overwrite_mode = Some(2);
    let third = world.create(&replacing);
    let overwritten = TaskState::Canceled { attempts: 0, cause: CancelCause::Overwritten };
    assert_eq!(world.state(first, devices[0]), overwritten);

    world.connect(&devices);
    for job in [first, second, third] {
        world.run_until_completed(job, MINUTE);
    }
    assert!(devices.iter().all(|device| world.fleet[device].version == DEST));
    world.check();
}

#[test]
fn a_job_all_of_whose_tasks_were_replaced_completes_at_the_next_poke() {
    let mut world = World::new(6);
    let devices = world.devices(3, Temper::Obedient);
    let first = world.create(&world.all());
    world.run_for(Duration::from_secs(2));
    let mut replacing = world.all();
    replacing.job.overwrite_mode = Some(2);
    let second = world.create(&replacing);
    world.run_until_completed(first, Duration::from_secs(40));
    world.connect(&devices);
    world.run_until_completed(second, MINUTE);
    world.check();
}

#[test]
fn the_same_token_and_body_mean_the_same_job() {
    let mut world = World::new(7);
    let devices = world.devices(2, Temper::Obedient);
    let mut params = world.specific(&devices);
    params.job.client_token = text("token");
    let job = world.create(&params);
    assert_eq!(world.create(&params), job);

    world.connect(&devices);
    world.run_until_completed(job, MINUTE);
    assert_eq!(world.create(&params), job, "also when it is over");

    params.job.job_desc = text("another body");
    assert!(matches!(world.try_create(&params), Err(CommandError::NotAllowed { .. })));
    assert_eq!(world.jobs().len(), 1);
}

#[test]
fn a_verify_job_decides_whether_its_firmware_may_be_rolled_out() {
    for (temper, ends) in [(Temper::Obedient, true), (Temper::Failing, false)] {
        let mut world = World::new(8);
        world.process.pokes = false;
        world.firmware = world.make_firmware("doubtful", true);
        let devices = world.devices(3, temper);
        world.connect(&devices);
        assert!(world.try_create(&world.all()).is_err(), "it is not verified yet");

        let params = VerifyParams {
            job: JobParams { ..world.all().job },
            target_device_name: vec![world.name(devices[0])],
        };
        let verify =
            |world: &World| run(world.process.commands.create_verify_job(&world.caller, world.now, &params));
        verify(&world).unwrap();
        assert!(verify(&world).is_err(), "it is being verified");
        assert!(world.try_create(&world.all()).is_err(), "it is being verified");

        let job = world.jobs()[0].no;
        world.run_until_completed(job, MINUTE);
        assert_eq!(world.try_create(&world.all()).is_ok(), ends, "{temper:?}");
        assert_eq!(verify(&world).is_ok(), !ends, "after a failure it may be tried again");
        world.check();
    }
}

#[test]
fn without_push_devices_are_answered_when_they_ask() {
    let mut world = World::new(9);
    let devices = world.devices(2, Temper::Obedient);
    world.connect(&devices);
    let mut params = world.all();
    params.job.need_push = Some(false);
    let job = world.create(&params);
    world.run_for(Duration::from_secs(70));
    assert!(world.wrote.is_empty());

    let module = ModuleName::default_module();
    let shell = world.process.shell.clone();
    let ask = |world: &World| run(inbox::fetch(&shell, devices[0], &module, world.now)).unwrap();
    let fetched = ask(&world).unwrap();
    assert_eq!(fetched.offer.version.as_str(), DEST);
    assert_eq!(world.state(job, devices[0]).status(), TaskStatus::Notified);
    world.run_for(Duration::from_secs(1));
    assert_eq!(ask(&world).unwrap().wire_id, fetched.wire_id, "a second question is the same offer");

    let now = world.now;
    world.fleet.get_mut(&devices[0]).unwrap().say(version(DEST), now);
    world.run_until("success", MINUTE, |world| world.count(job, TaskStatus::Succeeded) == 1);
    assert!(ask(&world).is_none());
    world.check();
}

#[test]
fn nothing_goes_out_before_it_is_confirmed() {
    let mut world = World::new(10);
    let devices = world.devices(2, Temper::Obedient);
    world.connect(&devices);
    let mut params = world.all();
    params.job.need_confirm = Some(true);
    let job = world.create(&params);
    world.run_for(Duration::from_secs(130));
    assert!(world.wrote.is_empty());
    assert_eq!(world.count(job, TaskStatus::Confirm), 2);
    let module = ModuleName::default_module();
    assert!(run(inbox::fetch(&world.process.shell, devices[0], &module, world.now)).unwrap().is_none());
    world.cancel(job, CancelFlags { unconfirmed: Some(true), ..CancelFlags::default() });
    world.run_until_completed(job, Duration::from_secs(5));
    world.check();
}

#[test]
fn a_job_without_any_task_completes() {
    let mut world = World::new(11);
    world.process.pokes = false;
    let job = world.create(&world.all());
    world.run_until_completed(job, Duration::from_secs(5));
    assert_eq!(world.job(job).status, JobStatus::Completed);
    world.check();
}
