//! Jobs for groups, and groups that change meanwhile.

use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::JobStatus;
use otaria_core::rules::{Code, GroupParams, StaticUpgradeParams};
use otaria_core::task::TaskStatus;
use otaria_engine::CommandError;
use otaria_engine::command::{AddedDevices, GroupListParams, MemberParams, TakenDevices};
use otaria_ports::store::AddedToGroup;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World, text};

fn make(world: &World, name: &str) -> String {
    let params = GroupParams { group_name: text(name), ..GroupParams::default() };
    let commands = &world.process.commands;
    run(commands.create_group(&world.caller, world.now, &params)).unwrap().new.id.to_string()
}

fn named(world: &World, devices: &[DeviceId]) -> Vec<MemberParams> {
    let member = |device: &DeviceId| MemberParams {
        product_key: text(&world.product),
        device_name: text(&world.name(*device)),
    };
    devices.iter().map(member).collect()
}

fn add(world: &World, group: &str, devices: &[DeviceId]) -> AddedDevices {
    let mut sum = AddedDevices::default();
    for part in named(world, devices).chunks(200) {
        let added = run(world.process.commands.add_to_group(&world.caller, group, part)).unwrap();
        sum.valid += added.valid;
        sum.outcome.added += added.outcome.added;
        sum.outcome.already += added.outcome.already;
        sum.outcome.exceeding += added.outcome.exceeding;
    }
    sum
}

fn for_group(world: &World, group: &str) -> StaticUpgradeParams {
    StaticUpgradeParams {
        target_selection: text("GROUP"),
        group_id: text(group),
        group_type: text("LINK_PLATFORM"),
        ..world.all()
    }
}

fn devices_of(world: &World, job: JobNo) -> Vec<DeviceId> {
    let mut devices: Vec<DeviceId> = world.tasks(job).into_iter().map(|task| task.key.device).collect();
    devices.sort_unstable();
    devices
}

fn code(error: CommandError) -> (Code, String) {
    match error {
        CommandError::Refused(refusal) => (refusal.code, refusal.parameter),
        CommandError::NotAllowed { code, .. } => (code, String::new()),
        other => panic!("{other}"),
    }
}

#[test]
fn a_job_for_a_group_reaches_its_members_and_nobody_else() {
    let mut world = World::new(130);
    let devices = world.devices(40, Temper::Obedient);
    world.connect(&devices);
    let group = make(&world, "room 1");
    add(&world, &group, &devices[5..30]);
    let job = world.create(&for_group(&world, &group));
    let mut expected = devices[5..30].to_vec();
    expected.sort_unstable();
    assert_eq!(devices_of(&world, job), expected);
    world.run_until_completed(job, MINUTE);
    assert_eq!(world.count(job, TaskStatus::Succeeded), 25);
    assert!(world.wrote(job).iter().all(|wrote| expected.contains(&wrote.device)));
    world.check();
}

#[test]
fn the_members_are_frozen_when_the_job_is_made() {
    let mut world = World::new(131);
    let devices = world.devices(2_500, Temper::Obedient);
    let group = make(&world, "large");
    add(&world, &group, &devices[..2_000]);
    let job = world.create(&for_group(&world, &group));
    assert!(!world.expansion(job).complete, "the rest is expanded in the background");
    add(&world, &group, &devices[2_000..]);
    let first = named(&world, &devices[..200]);
    run(world.process.commands.take_from_group(&world.caller, &group, &first)).unwrap();
    run(world.process.commands.delete_group(&world.caller, &group)).unwrap();
    world.crash();
    world.run_until("expansion", MINUTE, |world| world.expansion(job).complete);
    let mut expected = devices[..2_000].to_vec();
    expected.sort_unstable();
    assert_eq!(devices_of(&world, job), expected);
    world.check();
}

#[test]
fn an_empty_group_makes_a_job_that_completes() {
    let mut world = World::new(132);
    let job = world.create(&for_group(&world, &make(&world, "empty")));
    world.run_until_completed(job, Duration::from_secs(5));
    assert_eq!(world.job(job).status, JobStatus::Completed);
}

#[test]
fn a_group_of_somebody_else_is_not_found() {
    let mut world = World::new(133);
    let mine = make(&world, "mine");
    world.turn_to_another_account();
    let foreign = world.try_create(&for_group(&world, &mine)).unwrap_err();
    assert_eq!(code(foreign), (Code::GroupNotFound, "GroupId".into()));
    let commands = &world.process.commands;
    let filled = run(commands.add_to_group(
        &world.caller,
        &mine,
        &[MemberParams { product_key: text(&world.product), device_name: text("dev-000001") }],
    ));
    assert_eq!(code(filled.unwrap_err()).0, Code::GroupNotFound);
    let listed = run(commands.list_groups(&world.caller, &GroupListParams::default(), None, 0, 9)).unwrap();
    assert_eq!(listed.total, 0);
    assert!(!make(&world, "mine").is_empty(), "names are the account's own");
}

#[test]
fn every_device_of_a_call_is_counted_once() {
    let mut world = World::new(134);
    let devices = world.devices(201, Temper::Obedient);
    let group = make(&world, "room");
    let commands = &world.process.commands;
    let mut some = named(&world, &devices[..3]);
    some.push(some[0].clone());
    some.push(MemberParams { product_key: text(&world.product), device_name: text("nobody-1") });
    let added = run(commands.add_to_group(&world.caller, &group, &some)).unwrap();
    let outcome = AddedToGroup { added: 3, already: 0, exceeding: 0 };
    assert_eq!(added, AddedDevices { valid: 3, outcome });
    let again = add(&world, &group, &devices[2..5]).outcome;
    assert_eq!(again, AddedToGroup { added: 2, already: 1, exceeding: 0 });
    let taken = run(commands.take_from_group(&world.caller, &group, &named(&world, &devices[4..8]))).unwrap();
    assert_eq!(taken, TakenDevices { valid: 4, taken: 1 });

    let refuse = |members: &[MemberParams]| {
        code(run(commands.add_to_group(&world.caller, &group, members)).unwrap_err()).1
    };
    assert_eq!(refuse(&named(&world, &devices)), "Device");
    assert_eq!(refuse(&[]), "Device");
    let nameless = MemberParams { product_key: text(&world.product), device_name: None };
    assert_eq!(refuse(&[some[0].clone(), nameless]), "Device.2.DeviceName");
}
