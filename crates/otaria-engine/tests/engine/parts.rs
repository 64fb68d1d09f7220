//! Parts of fleets: exactly so many, exactly those, and nobody else is ever pushed (I11).

use std::collections::BTreeSet;
use std::time::Duration;

use otaria_core::gray::{GrayPercent, Last};
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::rules::{Code, StaticUpgradeParams};
use otaria_core::task::TaskStatus;
use otaria_engine::CommandError;
use otaria_engine::command::DeviceRef;
use otaria_ports::store::SourceKind;
use otaria_ports::store::memory::Fault;

use crate::fleet::{Temper, version};
use crate::process::{Loop, run};
use crate::world::{DEST, MINUTE, World, text};

/// More devices than the steps of a create call look at.
const LARGE: usize = 33_000;

fn gray(world: &World, percent: &str, sources: &[&str]) -> StaticUpgradeParams {
    StaticUpgradeParams {
        target_selection: text("GRAY"),
        gray_percent: text(percent),
        src_version: sources.iter().map(|text| (*text).to_owned()).collect(),
        ..world.all()
    }
}

/// The devices of the smallest ranks, as many as the percentage is of them.
fn part(job: JobNo, matching: &[DeviceId], percent: &str) -> BTreeSet<DeviceId> {
    let count = GrayPercent::parse(percent).unwrap().count(matching.len() as u64);
    let mut places: Vec<Last> = matching.iter().map(|device| Last::of(job, *device)).collect();
    places.sort_unstable();
    places.iter().take(usize::try_from(count).unwrap()).map(|place| place.device).collect()
}

fn devices_of(world: &World, job: JobNo) -> BTreeSet<DeviceId> {
    world.tasks(job).into_iter().map(|task| task.key.device).collect()
}

fn refusal(world: &World, params: &StaticUpgradeParams) -> (Code, String) {
    match world.try_create(params) {
        Err(CommandError::Refused(refusal)) => (refusal.code, refusal.parameter),
        other => panic!("{other:?}"),
    }
}

/// Lets devices tell their versions.
fn inform(world: &mut World, devices: &[DeviceId], text: &str) {
    for device in devices {
        world.fleet.get_mut(device).unwrap().version = text.to_owned();
    }
    world.connect(devices);
    world.run_for(Duration::from_secs(1));
}

#[test]
fn a_part_is_exactly_so_many_and_exactly_those() {
    for (count, percent) in
        [(9, "33.333"), (9, "33.334"), (100, "29"), (3, "100"), (1_000, "0.1"), (777, "50"), (1, "100")]
    {
        let mut world = World::new(120);
        let devices = world.devices(count, Temper::Obedient);
        world.connect(&devices);
        let job = world.create(&gray(&world, percent, &[]));
        assert!(world.expansion(job).complete, "a small fleet is drawn in the call");
        let part = part(job, &devices, percent);
        assert_eq!(devices_of(&world, job), part, "{percent} % of {count}");
        assert_eq!(world.expansion(job).lines, part.len() as u64);
        world.run_until_completed(job, MINUTE);
        let pushed: BTreeSet<DeviceId> = world.wrote(job).iter().map(|wrote| wrote.device).collect();
        assert_eq!(pushed, part);
        world.check();
    }
}

#[test]
fn a_part_that_holds_nobody_is_refused() {
    let mut world = World::new(121);
    let gray_percent = (Code::InvalidGrayPercent, "GrayPercent".to_owned());
    assert_eq!(refusal(&world, &gray(&world, "100", &[])), gray_percent, "there are no devices");
    world.devices(9, Temper::Obedient);
    assert_eq!(refusal(&world, &gray(&world, "11.111", &[])), gray_percent);
    assert_eq!(refusal(&world, &gray(&world, "100", &["1.0.0"])), gray_percent, "nobody informed it");
    assert!(world.jobs().is_empty());
    assert!(world.try_create(&gray(&world, "11.112", &[])).is_ok());
}

#[test]
fn only_devices_that_match_are_counted() {
    let mut world = World::new(122);
    let devices = world.devices(60, Temper::Obedient);
    inform(&mut world, &devices[..10], DEST);
    inform(&mut world, &devices[10..40], "1.0.0");
    inform(&mut world, &devices[40..50], "1.1.0");
    let job = world.create(&gray(&world, "50", &["1.0.0"]));
    assert_eq!(devices_of(&world, job), part(job, &devices[10..40], "50"));
    world.run_until_completed(job, MINUTE);
    // Those who never informed a version match when none is asked for.
    let half = devices_of(&world, job);
    let rest: Vec<DeviceId> = devices[10..].iter().copied().filter(|device| !half.contains(device)).collect();
    let second = world.create(&gray(&world, "20", &[]));
    assert_eq!(devices_of(&world, second), part(second, &rest, "20"));
    world.check();
}

#[test]
fn a_part_is_frozen_when_the_job_is_made() {
    let mut world = World::new(123);
    let devices = world.devices(LARGE, Temper::Obedient);
    inform(&mut world, &devices[..100], "1.0.0");
    let job = world.create(&gray(&world, "50", &[]));
    assert!(matches!(world.job(job).source, SourceKind::Part { last: None, .. }), "still drawn");
    let frozen = part(job, &devices, "50");

    // Whoever matched then counts, whatever it is now; and nobody else.
    let later = world.devices(50, Temper::Obedient);
    let now = world.now;
    for device in &devices[..20] {
        world.fleet.get_mut(device).unwrap().say(version(DEST), now);
    }
    let (commands, caller) = (world.process.commands.clone(), world.caller.clone());
    for device in &devices[100..140] {
        let which = DeviceRef { iot_id: text(&otaria_core::ids::iot_id(*device)), ..DeviceRef::default() };
        run(commands.delete_device(&caller, now, &which)).unwrap();
    }
    world.listen_now();
    world.run_until("expansion", MINUTE, |world| world.expansion(job).complete);

    let gone: BTreeSet<DeviceId> = devices[100..140].iter().copied().collect();
    let arrived: BTreeSet<DeviceId> = devices[..20].iter().copied().collect();
    let skipped = frozen.intersection(&arrived).count();
    let expected: BTreeSet<DeviceId> =
        frozen.iter().copied().filter(|device| !gone.contains(device) && !arrived.contains(device)).collect();
    assert!(skipped > 0 && frozen.intersection(&gone).count() > 0);
    assert_eq!(devices_of(&world, job), expected);
    assert_eq!(world.expansion(job).skipped, skipped as u64);
    assert!(later.iter().all(|device| world.task(job, *device).is_none()));
    world.check();
}

#[test]
fn a_crash_at_any_moment_draws_the_same_part() {
    for seed in 0..2 {
        let mut world = World::new(124_000 + seed);
        let devices = world.devices(LARGE, Temper::Obedient);
        let job = world.create(&gray(&world, "33.333", &[]));
        for _ in 0..3 {
            for _ in 0..world.chance.below(3) {
                world.process.tick(Loop::Expander, world.now);
            }
            world.crash();
        }
        world.faults = 200;
        world.run_until("expansion", MINUTE, |world| world.expansion(job).complete);
        world.faults = 0;
        assert_eq!(devices_of(&world, job), part(job, &devices, "33.333"), "seed {seed}");
        world.check();
    }
}

#[test]
fn every_call_of_a_draw_may_fail_before_or_after_it_is_done() {
    for fault in [Fault::Before, Fault::After] {
        for call in 0..5 {
            let mut world = World::new(125);
            let devices = world.devices(200, Temper::Obedient);
            world.connect(&devices);
            // The call's own steps fail; the job is durable all the same.
            let params = gray(&world, "25", &[]);
            world.store.fail_after(4 + call, fault);
            let made = world.try_create(&params);
            world.store.mend();
            let Some(job) = world.jobs().first().map(|job| job.no) else {
                assert!(made.is_err());
                continue;
            };
            world.run_until_completed(job, MINUTE);
            assert_eq!(devices_of(&world, job), part(job, &devices, "25"));
            assert_eq!(world.count(job, TaskStatus::Succeeded), 50);
            world.check();
        }
    }
}
