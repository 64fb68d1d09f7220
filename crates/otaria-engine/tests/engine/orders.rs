//! What operators order of tasks by name: confirmed, started again; all or none.

use std::time::Duration;

use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::rules::{Code, StaticUpgradeParams, VerifyParams};
use otaria_core::task::TaskStatus;
use otaria_engine::CommandError;
use otaria_ports::store::Jobs;
use otaria_ports::store::memory::Fault;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World, text};

const SECOND: Duration = Duration::from_secs(1);

/// The code of a refusal, and the parameter that it names.
pub(crate) fn why(refused: Result<(), CommandError>) -> (Code, String) {
    match refused.unwrap_err() {
        CommandError::Refused(refusal) => (refusal.code, refusal.parameter),
        CommandError::NotAllowed { code, .. } => (code, String::new()),
        other => panic!("{other:?}"),
    }
}

fn of(code: Code, parameter: &str) -> (Code, String) {
    (code, parameter.to_owned())
}

fn needs_confirmation(mut params: StaticUpgradeParams) -> StaticUpgradeParams {
    params.job.need_confirm = Some(true);
    params
}

#[test]
fn confirmed_tasks_are_pushed_at_once_and_no_others() {
    let mut world = World::new(90);
    world.process.pokes = false;
    let devices = world.devices(12, Temper::Obedient);
    world.connect(&devices);
    let job = world.create(&needs_confirmation(world.all()));
    world.run_for(5 * SECOND);
    assert!(world.wrote.is_empty(), "I15");

    let tasks = world.task_ids(job);
    world.confirm(&tasks[..10]).unwrap();
    world.run_until("ten pushes", 2 * SECOND, |world| world.wrote.len() == 10);
    world.run_until("ten are through", MINUTE, |world| world.count(job, TaskStatus::Succeeded) == 10);
    assert_eq!((world.wrote.len(), world.count(job, TaskStatus::Confirm)), (10, 2));

    // All or none.
    assert_eq!(
        why(world.confirm(&[tasks[10].clone(), tasks[0].clone()])),
        of(Code::TaskStatusNotAllowed, "TaskId.2")
    );
    assert_eq!(world.count(job, TaskStatus::Confirm), 2);
    world.confirm(&tasks[10..]).unwrap();
    world.run_until_completed(job, MINUTE);
    world.check();
}

#[test]
fn only_own_tasks_are_confirmed_and_only_in_their_schedule() {
    let mut world = World::new(91);
    let devices = world.devices(2, Temper::Obedient);
    world.connect(&devices);
    let start = world.now + 6 * MINUTE;
    let params = StaticUpgradeParams { schedule_time: Some(start.millis()), ..world.all() };
    let job = world.create(&needs_confirmation(params));
    let tasks = world.task_ids(job);
    assert_eq!(why(world.confirm(&tasks)), of(Code::JobStatusNotAllowed, ""));
    let unknown = [tasks[0].clone(), format!("{}00000009", &tasks[0][..16])];
    assert_eq!(why(world.confirm(&unknown)), of(Code::TaskNotFound, "TaskId.2"));
    assert_eq!(why(world.confirm(&[])).0, Code::MissingParameter);

    let mine = world.caller.clone();
    world.turn_to_another_account();
    assert_eq!(why(world.confirm(&tasks)), of(Code::TaskNotFound, "TaskId.1"));
    world.caller = mine;
    world.run_for(7 * MINUTE);
    world.confirm(&tasks).unwrap();
    world.run_until_completed(job, MINUTE);
    world.check();
}

#[test]
fn a_cancelled_confirmation_is_not_given_any_more() {
    let mut world = World::new(92);
    let devices = world.devices(3, Temper::Obedient);
    world.connect(&devices);
    let job = world.create(&needs_confirmation(world.all()));
    let tasks = world.task_ids(job);
    world.cancel(job, CancelFlags { unconfirmed: Some(true), ..CancelFlags::default() });
    assert_eq!(why(world.confirm(&tasks)), of(Code::TaskStatusNotAllowed, "TaskId.1"));
    world.run_until_completed(job, 10 * SECOND);
    assert_eq!(world.count(job, TaskStatus::Canceled), 3);
    assert!(world.wrote.is_empty());
    world.check();
}

#[test]
fn failed_and_cancelled_tasks_are_started_again_and_their_job_goes_on() {
    let mut world = World::new(93);
    world.process.pokes = false;
    let failing = world.devices(3, Temper::Failing);
    let away = world.devices(2, Temper::Obedient);
    world.connect(&failing);
    let job = world.create(&world.all());
    world.run_until("failures", MINUTE, |world| world.count(job, TaskStatus::Failed) == 3);
    world.cancel(job, CancelFlags { queued: true, ..CancelFlags::default() });
    world.run_until_completed(job, 10 * SECOND);
    world.connect(&away);
    world.run_for(5 * SECOND);
    let pushed = world.wrote.len();

    for device in &failing {
        world.fleet.get_mut(device).unwrap().temper = Temper::Obedient;
    }
    let tasks = world.task_ids(job);
    world.reupgrade(job, &tasks).unwrap();
    let open = world.job(job);
    assert_eq!((open.status, open.ended_at), (JobStatus::InProgress, None));
    assert_eq!(world.count(job, TaskStatus::Queued), 5);
    world.run_until("pushes", 2 * SECOND, |world| world.wrote.len() == pushed + 5);
    world.run_until_completed(job, MINUTE);
    assert_eq!(world.count(job, TaskStatus::Succeeded), 5);
    assert_eq!(why(world.reupgrade(job, &tasks)), of(Code::TaskStatusNotAllowed, "TaskId.1"));
    world.check();
}

#[test]
fn a_task_that_needs_confirmation_waits_for_it_once_more() {
    let mut world = World::new(94);
    let devices = world.devices(2, Temper::Obedient);
    world.connect(&devices);
    let job = world.create(&needs_confirmation(world.all()));
    world.cancel(job, CancelFlags { unconfirmed: Some(true), ..CancelFlags::default() });
    world.run_until_completed(job, 10 * SECOND);
    let tasks = world.task_ids(job);
    world.reupgrade(job, &tasks).unwrap();
    world.run_for(10 * SECOND);
    assert!(world.wrote.is_empty());
    assert_eq!(world.count(job, TaskStatus::Confirm), 2);
    world.confirm(&tasks).unwrap();
    world.run_until_completed(job, MINUTE);
    world.check();
}

#[test]
fn a_device_with_another_open_task_keeps_all_from_starting_again() {
    let mut world = World::new(95);
    let devices = world.devices(3, Temper::Obedient);
    let job = world.create(&world.all());
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, 10 * SECOND);
    world.silences.clear();
    let other = world.create(&world.specific(&devices[1..2]));
    let place = world.tasks(job).iter().position(|task| task.key.device == devices[1]).unwrap();
    let tasks = world.task_ids(job);
    let busy = of(Code::TaskStatusNotAllowed, &format!("TaskId.{}", place + 1));
    assert_eq!(why(world.reupgrade(job, &tasks)), busy);
    assert_eq!((world.job(job).status, world.count(job, TaskStatus::Canceled)), (JobStatus::Completed, 3));

    let foreign = world.task_ids(other);
    assert_eq!(why(world.reupgrade(job, &foreign)), of(Code::TaskNotFound, "TaskId.1"));
    world.connect(&devices);
    world.run_until_completed(other, MINUTE);
    world.reupgrade(job, &tasks).unwrap();
    world.run_until_completed(job, MINUTE);
    world.check();
}

#[test]
fn verify_jobs_and_jobs_whose_time_is_over_stay_ended() {
    let mut world = World::new(96);
    let devices = world.devices(2, Temper::Failing);
    world.connect(&devices);
    let finish = world.now + 61 * MINUTE;
    let params =
        StaticUpgradeParams { schedule_finish_time: Some(finish.millis()), ..world.specific(&devices[..1]) };
    let job = world.create(&params);
    world.run_until_completed(job, MINUTE);

    let firmware = world.make_firmware("unproved", true);
    let params = VerifyParams {
        target_device_name: vec![world.name(devices[1])],
        job: otaria_core::rules::JobParams { firmware_id: text(&firmware), ..world.all().job },
    };
    let made = run(world.process.commands.create_verify_job(&world.caller, world.now, &params)).unwrap();
    let verify = run(world.store.job(world.caller.account, &made.job_id)).unwrap().unwrap().no;
    world.run_until_completed(verify, MINUTE);
    let tasks = world.task_ids(verify);
    assert_eq!(why(world.reupgrade(verify, &tasks)), of(Code::JobStatusNotAllowed, ""));

    world.run_for(62 * MINUTE);
    let tasks = world.task_ids(job);
    assert_eq!(why(world.reupgrade(job, &tasks)), of(Code::JobStatusNotAllowed, ""));
    world.check();
}

#[test]
fn an_order_that_is_repeated_after_a_lost_answer_does_no_harm() {
    for call in 0..8 {
        let mut world = World::new(97);
        world.process.pokes = false;
        let devices = world.devices(4, Temper::Obedient);
        world.connect(&devices);
        let job = world.create(&world.all());
        world.cancel(job, CancelFlags::EVERYTHING);
        world.run_until_completed(job, 10 * SECOND);
        world.silences.clear();
        let (tasks, id) = (world.task_ids(job), world.job(job).id.to_string());
        world.reopened.insert(job);
        world.store.fail_after(call, Fault::After);
        // Whatever it answers: what it did is found by the loops alone.
        let answered = run(world.process.commands.reupgrade_tasks(&world.caller, world.now, &id, &tasks));
        world.store.mend();
        if answered.is_err() && world.job(job).status == JobStatus::Completed {
            world.reupgrade(job, &tasks).unwrap();
        }
        world.run_until("pushes", 3 * SECOND, |world| world.wrote.len() == 4);
        world.run_until_completed(job, MINUTE);
        world.check();
    }
}
