//! Random walks: jobs, devices, operators and misfortune in any order; whatever happens, what must hold
//! holds, and in the end everybody who answers is through.

use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{CancelFlags, JobStatus};

use crate::alarms::alarms;
use crate::fleet::Temper;
use crate::world::{MINUTE, World};

const TEMPERS: [Temper; 7] = [
    Temper::Obedient,
    Temper::Stuttering,
    Temper::Failing,
    Temper::Clumsy,
    Temper::Silent,
    Temper::Stuck,
    Temper::Downgrading,
];

/// Makes a job of some of the devices, in some of all ways.
fn any_job(world: &mut World, devices: &[DeviceId]) -> JobNo {
    let count = usize::try_from(1 + world.chance.below(40)).unwrap();
    let some: Vec<DeviceId> = (0..count).map(|_| *world.chance.pick(devices)).collect();
    let mut params = if world.chance.permille(500) {
        let file: String = some.iter().map(|device| world.name(*device) + "\r\n").collect();
        world.listed(file.as_bytes())
    } else {
        world.all()
    };
    params.job.maximum_per_minute = Some(*world.chance.pick(&[10, 60, 600, 1_000, 10_000]));
    if world.chance.permille(500) {
        (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(*world.chance.pick(&[1, 2, 5])));
    }
    // Every task has a bound, so that every job ends.
    params.job.timeout_in_minutes = Some(2);
    params.job.offer_timeout_in_minutes = Some(1);
    params.job.overwrite_mode = Some(*world.chance.pick(&[1, 2]));
    if world.chance.permille(200) {
        params.schedule_time = Some((world.now + 5 * MINUTE).millis() + 1);
    }
    world.create(&params)
}

fn some_of(world: &mut World, devices: &[DeviceId]) -> Vec<DeviceId> {
    devices.iter().copied().filter(|_| world.chance.permille(200)).collect()
}

fn anything(world: &mut World, devices: &[DeviceId]) {
    let jobs: Vec<(JobNo, JobStatus)> = world.jobs().iter().map(|job| (job.no, job.status)).collect();
    let job = *world.chance.pick(&jobs);
    match world.chance.below(20) {
        0..=5 => {
            let offline: Vec<DeviceId> =
                devices.iter().copied().filter(|device| world.fleet[device].session.is_none()).collect();
            let some = some_of(world, &offline);
            world.connect(&some);
        }
        6..=8 => {
            let online = world.online();
            let some = some_of(world, &online);
            world.disconnect(&some);
        }
        9 => {
            // A second login of the same device.
            let online = world.online();
            let some = some_of(world, &online);
            world.connect(&some);
        }
        10 => world.crash_and_reconnect(),
        11 => world.crash(),
        12 if !job.1.is_ended() => world.cancel(job.0, CancelFlags::EVERYTHING),
        13 if !job.1.is_ended() => {
            let flags = CancelFlags { queued: true, notified: true, ..CancelFlags::default() };
            world.cancel(job.0, flags);
        }
        14 | 15 if job.1 == JobStatus::InProgress => world.pause(job.0),
        16 if job.1 == JobStatus::Paused => world.resume(job.0),
        17 if jobs.len() < 8 => drop(any_job(world, devices)),
        18 => {
            world.lost_outcomes = *world.chance.pick(&[0, 100, 500]);
            world.jams = *world.chance.pick(&[0, 50, 300]);
        }
        19 => world.faults = *world.chance.pick(&[0, 0, 30, 100]),
        _ => {}
    }
}

fn walk(seed: u64) {
    let mut world = World::new(seed);
    // Some word may get lost, so a device may hear an offer twice.
    let mut devices = Vec::new();
    for temper in TEMPERS {
        devices.extend(world.devices(12, temper));
    }
    let some = some_of(&mut world, &devices);
    world.connect(&some);
    any_job(&mut world, &devices);
    for _ in 0..60 {
        let millis = world.chance.below(6_000);
        world.run_for(Duration::from_millis(millis));
        // A call of a person fails loudly; only loops and gateways must bear a failing store.
        anything(&mut world, &devices);
    }

    // Peace: whoever is asked to go on goes on, and everybody comes.
    (world.faults, world.jams) = (0, 0);
    let lost = std::mem::take(&mut world.lost_outcomes);
    for job in world.jobs() {
        if job.status == JobStatus::Paused {
            world.resume(job.no);
        }
    }
    let offline: Vec<DeviceId> =
        devices.iter().copied().filter(|device| world.fleet[device].session.is_none()).collect();
    world.connect(&offline);
    for job in world.jobs() {
        world.run_until("every job ends", 60 * MINUTE, |world| world.job(job.no).status.is_ended());
        world.run_until("and its tasks", MINUTE, |world| world.counts(job.no).open() == 0);
    }
    world.lost_outcomes = lost.max(1);
    world.check();
    for job in world.jobs() {
        world.check_liveness(job.no);
    }
}

#[test]
fn whatever_happens_the_invariants_hold_and_everybody_gets_through() {
    for seed in 0..25 {
        assert_eq!(alarms(|| walk(seed)), [], "seed {seed}");
    }
}
