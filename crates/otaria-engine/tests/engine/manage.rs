//! Devices that are shut out or deleted, and things that are in use.

use std::time::Duration;

use otaria_core::ids::{DeviceId, iot_id};
use otaria_core::job::CancelFlags;
use otaria_core::rules::Code;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};
use otaria_engine::CommandError;
use otaria_engine::command::{DeviceRef, DeviceStatus};
use otaria_ports::store::Devices;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World, text};

fn which(device: DeviceId) -> DeviceRef {
    DeviceRef { iot_id: text(&iot_id(device)), ..DeviceRef::default() }
}

fn code(result: Result<(), CommandError>) -> Code {
    match result {
        Err(CommandError::NotAllowed { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deleted_device_leaves_its_jobs_at_once() {
    let mut world = World::new(140);
    world.process.pokes = false;
    let devices = world.devices(3, Temper::Silent);
    world.connect(&devices[..2]);
    let job = world.create(&world.specific(&devices));
    world.run_until("pushes", MINUTE, |world| world.count(job, TaskStatus::Notified) == 2);
    let before = world.wrote.len();
    for device in &devices {
        run(world.process.commands.delete_device(&world.caller, world.now, &which(*device))).unwrap();
    }
    assert_eq!(world.gateway.closed(), devices);
    world.disconnect(&devices);
    for device in &devices {
        let TaskState::Canceled { cause, .. } = world.state(job, *device) else { panic!() };
        assert_eq!(cause, CancelCause::DeviceDeleted);
    }
    world.run_until_completed(job, Duration::from_secs(5));
    assert_eq!(world.wrote.len(), before);
    let again = run(world.process.commands.delete_device(&world.caller, world.now, &which(devices[0])));
    assert_eq!(code(again), Code::DeviceNotFound);
    world.check();
}

#[test]
fn a_device_that_is_shut_out_is_disconnected_and_its_tasks_wait() {
    let mut world = World::new(141);
    let devices = world.devices(2, Temper::Obedient);
    world.connect(&devices);
    let commands = world.process.commands.clone();
    let caller = world.caller.clone();
    run(commands.disable_device(&caller, &which(devices[0]))).unwrap();
    assert_eq!(world.gateway.closed(), devices[..1]);
    // The gateway tells presence.
    world.disconnect(&devices[..1]);
    let status = |world: &World| run(commands.device_status(&world.caller, &which(devices[0]))).unwrap().0;
    assert_eq!(status(&world), DeviceStatus::Disable);
    assert!(!run(world.store.device_by_id(devices[0])).unwrap().unwrap().enabled);

    let job = world.create(&world.all());
    world.run_until("the other one", MINUTE, |world| world.count(job, TaskStatus::Succeeded) == 1);
    world.run_for(MINUTE);
    assert_eq!(world.state(job, devices[0]), TaskState::Queued);
    run(commands.enable_device(&caller, &which(devices[0]))).unwrap();
    assert_ne!(status(&world), DeviceStatus::Disable);
    world.connect(&devices[..1]);
    world.run_until_completed(job, MINUTE);
    world.check();
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let mut world = World::new(142);
    let devices = world.devices(1, Temper::Obedient);
    let job = world.create(&world.all());
    let commands = world.process.commands.clone();
    let caller = world.caller.clone();
    let (product, firmware) = (world.product.clone(), world.firmware.clone());
    let delete_product = |world: &World| run(commands.delete_product(&caller, world.now, Some(&product)));
    assert_eq!(code(run(commands.delete_firmware(&caller, &firmware))), Code::FirmwareInUse);
    assert_eq!(code(delete_product(&world)), Code::ProductInUse);
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, MINUTE);
    run(commands.delete_firmware(&caller, &firmware)).unwrap();
    assert_eq!(code(run(commands.delete_firmware(&caller, &firmware))), Code::FirmwareNotFound);
    let view = run(commands.query_job(&caller, world.now, world.job(job).id.as_str())).unwrap();
    assert_eq!(view.firmware.id.as_str(), firmware, "its job still shows it");
    assert!(world.try_create(&world.all()).is_err());

    assert_eq!(code(delete_product(&world)), Code::ProductInUse, "it has a device");
    run(commands.delete_device(&caller, world.now, &which(devices[0]))).unwrap();
    delete_product(&world).unwrap();
    assert_eq!(code(delete_product(&world)), Code::ProductNotFound);
    world.check();
}
