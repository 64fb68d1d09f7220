//! What operators order and ask by the names of devices.

use std::time::Duration;

use otaria_core::ids::DeviceId;
use otaria_core::job::CancelFlags;
use otaria_core::rules::Code;
use otaria_core::task::TaskStatus;
use otaria_engine::command::{CancelByDeviceParams, DeviceRef, UnfinishedParams};

use crate::fleet::Temper;
use crate::orders::why;
use crate::process::run;
use crate::world::{MINUTE, World, text};

const SECOND: Duration = Duration::from_secs(1);

fn by_device(world: &World, devices: &[DeviceId], job_id: Option<String>) -> CancelByDeviceParams {
    CancelByDeviceParams {
        product_key: text(&world.product),
        firmware_id: text(&world.firmware),
        device_name: devices.iter().map(|device| world.name(*device)).collect(),
        job_id,
    }
}

#[test]
fn after_the_tasks_of_devices_are_cancelled_nothing_is_written_to_them() {
    for seed in 0..20 {
        let mut world = World::new(98_000 + seed);
        let devices = world.devices(300, Temper::Obedient);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(2_000);
        let job = world.create(&params);
        let millis = world.chance.below(4_000);
        world.run_for(Duration::from_millis(millis));

        let mut params = by_device(&world, &devices[50..250], None);
        params.device_name[0] = "nobody-has-it".to_owned();
        let from = world.now;
        run(world.process.commands.cancel_tasks_by_device(&world.caller, from, &params)).unwrap();
        world.run_until_completed(job, 2 * MINUTE);
        for device in &devices[51..250] {
            let late = world.wrote_to(job, *device).into_iter().find(|wrote| wrote.at > from);
            assert!(late.is_none(), "I5: {late:?} after {from:?}; seed {seed}");
        }
        let (canceled, through) = (TaskStatus::Canceled, TaskStatus::Succeeded);
        assert_eq!(world.count(job, canceled) + world.count(job, through), 300);
        assert!(world.count(job, through) >= 101 && world.count(job, canceled) > 0);
        world.check();
    }
}

#[test]
fn the_tasks_of_devices_are_cancelled_in_one_job_if_it_is_named() {
    let mut world = World::new(99);
    let devices = world.devices(4, Temper::Obedient);
    let first = world.create(&world.specific(&devices[..2]));
    let second = world.create(&world.specific(&devices[2..]));
    let id = world.job(second).id.to_string();
    let cancel = |world: &World, params: &CancelByDeviceParams| {
        run(world.process.commands.cancel_tasks_by_device(&world.caller, world.now, params))
    };
    cancel(&world, &by_device(&world, &devices, Some(id))).unwrap();
    world.run_until_completed(second, 10 * SECOND);
    assert_eq!(world.count(first, TaskStatus::Queued), 2);
    let foreign = CancelByDeviceParams { job_id: text("nonsense"), ..by_device(&world, &devices, None) };
    assert_eq!(why(cancel(&world, &foreign)).0, Code::JobNotFound);
    let nobody = by_device(&world, &[], None);
    assert_eq!(why(cancel(&world, &nobody)).0, Code::MissingParameter);
    cancel(&world, &by_device(&world, &devices, None)).unwrap();
    cancel(&world, &by_device(&world, &devices, None)).unwrap();
    world.run_until_completed(first, 10 * SECOND);
    world.check();
}

#[test]
fn the_open_tasks_of_a_device_and_its_jobs_are_listed() {
    let mut world = World::new(100);
    let devices = world.devices(2, Temper::Obedient);
    let jobs: Vec<_> = (0..3)
        .map(|n| {
            let job = world.create(&world.specific(&devices[..2 - usize::from(n == 1)]));
            if n < 2 {
                world.cancel(job, CancelFlags::EVERYTHING);
                world.run_until_completed(job, 10 * SECOND);
            }
            world.job(job)
        })
        .collect();
    let device = DeviceRef {
        product_key: text(&world.product),
        device_name: Some(world.name(devices[1])),
        ..DeviceRef::default()
    };
    let open = |status: Option<&str>, module: Option<&str>| {
        let params = UnfinishedParams {
            device: device.clone(),
            module_name: module.map(Into::into),
            task_status: status.map(Into::into),
            ..UnfinishedParams::default()
        };
        run(world.process.commands.list_unfinished_tasks(&world.caller, &params)).unwrap()
    };
    let found = open(None, None);
    assert_eq!((found.len(), found[0].job.job.no, found[0].online), (1, jobs[2].no, false));
    assert_eq!(open(Some("QUEUED"), Some("default")).len(), 1);
    assert_eq!((open(Some("CONFIRM"), None).len(), open(None, Some("modem")).len()), (0, 0));

    let commands = &world.process.commands;
    let all = run(commands.list_jobs_of_firmware(&world.caller, &world.firmware, None, 0, 2)).unwrap();
    let newest: Vec<_> = all.rows.iter().map(|job| job.no).collect();
    assert_eq!((newest, all.total, all.next), (vec![jobs[2].no, jobs[1].no], 3, Some(jobs[1].no)));
    let of_device =
        run(commands.list_jobs_of_device(&world.caller, &device, &world.firmware, None, 0, 10)).unwrap();
    let newest: Vec<_> = of_device.rows.iter().map(|job| job.no).collect();
    assert_eq!((newest, of_device.total, of_device.next), (vec![jobs[2].no, jobs[0].no], 2, None));
}
