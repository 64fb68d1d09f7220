//! What is deleted: gone for whoever asks, and still there for what refers to it.

use otaria_core::ids::{FirmwareId, FirmwareNo, ProductNo};
use otaria_core::job::JobStatus;
use otaria_core::rules::FirmwareChange;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};

use super::assert_refused;
use super::world::{World, at, device_name, new_device, new_firmware, new_job, new_product, slice, state};
use crate::store::{Firmware, FirmwareFilter, JobMove, Module, Product, Store, TaskFilter};

fn ended(job: &crate::store::Job) -> JobMove {
    JobMove {
        job: job.no,
        from: JobStatus::InProgress,
        to: JobStatus::Completed,
        only_if_done: true,
        fence: false,
        firmware: None,
    }
}

/// A device that may not connect says so to the gateway, and can be let in again.
pub async fn a_device_is_shut_out_and_let_in(store: &dyn Store) {
    let world = World::new(store).await;
    let device = world.devices(0..1).await[0];
    let who = [(world.product.new.key.clone(), device_name(0))];
    for enabled in [false, true] {
        store.enable_device(device, enabled).await.unwrap();
        assert_eq!(store.device_by_id(device).await.unwrap().unwrap().enabled, enabled);
        assert_eq!(store.auth(&who).await.unwrap()[0].as_ref().unwrap().enabled, enabled);
    }
    store.delete_device(device, at(1)).await.unwrap();
    assert_refused!(store.enable_device(device, true).await, NotFound);
}

/// Devices by id come in the order asked.
pub async fn devices_are_found_by_id(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let asked = [devices[2], otaria_core::ids::DeviceId(77), devices[0], devices[2]];
    let found = store.devices_by_id(&asked).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|device| device.map(|device| device.id)).collect();
    assert_eq!(found, [Some(devices[2]), None, Some(devices[0]), Some(devices[2])]);
}

/// Its open tasks are cancelled, its ended ones stay, its name is free.
pub async fn a_deleted_device_leaves_its_tasks(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let before = world.job("job1", &devices[..1]).await;
    world.put_status(&before, devices[0], TaskStatus::Succeeded, at(1)).await;
    let job = world.job("job2", &devices).await;
    let open =
        world.put(&world.task(&job, devices[0]).await, state(TaskStatus::Notified, at(1)), at(1)).await;

    store.delete_device(devices[0], at(2)).await.unwrap();
    assert_refused!(store.delete_device(devices[0], at(3)).await, NotFound);
    let task = world.task_again(&open.key).await;
    assert_eq!(task.state, TaskState::Canceled { attempts: 1, cause: CancelCause::DeviceDeleted });
    assert_eq!(task.revision, open.revision + 1);
    assert_eq!(world.task(&before, devices[0]).await.state.status(), TaskStatus::Succeeded);
    assert!(store.open_tasks(&devices[..1]).await.unwrap().is_empty());
    world.check(&job).await;
    world.check(&before).await;

    assert_eq!(store.device_by_id(devices[0]).await.unwrap(), None);
    assert_eq!(store.device(world.product.no, &device_name(0)).await.unwrap(), None);
    let product = store.product_by_no(world.product.no).await.unwrap().unwrap();
    assert_eq!(product.device_count, 2);
    let who = [(world.product.new.key.clone(), device_name(0))];
    assert_eq!(store.auth(&who).await.unwrap(), [None]);
    // Its tasks still show its name, and are found by it.
    let filter = TaskFilter { devices: vec![device_name(0)], ..TaskFilter::default() };
    let page = store.list_tasks(job.no, &filter, 0, 9).await.unwrap();
    assert_eq!(page.tasks.len(), 1);
    assert_eq!(page.tasks[0].device_name, device_name(0));
    assert_eq!(store.list_tasks(job.no, &TaskFilter::default(), 0, 9).await.unwrap().tasks.len(), 3);

    let again = store.register_devices(&world.product, &[new_device(&device_name(0))], at(4)).await.unwrap();
    assert!(again[0].is_some_and(|again| again != devices[0]));
    assert!(store.module_versions(&devices[..1]).await.unwrap().is_empty());
}

/// A slice for a device that was deleted after it was looked up is not written.
pub async fn a_deleted_device_gets_no_task(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    store.delete_device(devices[1], at(1)).await.unwrap();
    assert_refused!(store.expand(&slice(&job, 0, &devices), at(2)).await, NotFound);
    assert!(world.tasks(&job).await.is_empty());
    store.expand(&slice(&job, 0, &devices[..1]), at(2)).await.unwrap();
    world.check(&job).await;
}

/// Deleting a device tells that its tasks were cancelled.
pub async fn a_deleted_device_tells_of_its_tasks(store: &dyn Store, events: &crate::events::KeptEvents) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    world.job("job1", &devices).await;
    let told = || std::mem::take(&mut *events.0.lock().unwrap());
    told();
    store.delete_device(devices[0], at(2)).await.unwrap();
    let told = told();
    let [event] = told.as_slice() else { panic!("{told:?}") };
    let crate::events::Happened::Task { device, status, desc, .. } = &event.what else { panic!("{event:?}") };
    assert_eq!((device, *status), (&device_name(0), TaskStatus::Canceled));
    assert_eq!(desc.as_deref(), Some(CancelCause::DeviceDeleted.describe()));
}

/// What is said of a firmware changes; what is not said stays; its name stays unique.
pub async fn a_firmware_is_described_anew(store: &dyn Store) {
    let world = World::new(store).await;
    let other = world.firmware_of("mcu").await;
    let Firmware { account, id, .. } = &world.firmware;
    let change = FirmwareChange { udi: Some("{}".into()), ..FirmwareChange::default() };
    let changed = store.update_firmware(*account, id, &change, at(9)).await.unwrap();
    assert_eq!((changed.new.udi.as_str(), changed.modified_at), ("{}", at(9)));
    assert_eq!(changed.new.description, world.firmware.new.description);
    assert_eq!(store.firmware(*account, id).await.unwrap(), Some(changed));

    let named = |name: &Firmware| FirmwareChange { name: Some(name.new.name.clone()), ..Default::default() };
    assert_refused!(store.update_firmware(*account, id, &named(&other), at(9)).await, Exists);
    assert!(store.update_firmware(*account, id, &named(&world.firmware), at(9)).await.is_ok());
    let unknown = FirmwareId::parse("nobody").unwrap();
    assert_refused!(store.update_firmware(*account, &unknown, &change, at(9)).await, NotFound);
}

/// A firmware goes when its jobs have ended, and they still find it.
pub async fn a_firmware_in_use_is_not_deleted(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let Firmware { account, id, no, .. } = &world.firmware;
    let job = world.job("job1", &devices).await;
    assert_refused!(store.delete_firmware(*account, id).await, Conflict);
    world.put_status(&job, devices[0], TaskStatus::Succeeded, at(1)).await;
    assert_refused!(store.delete_firmware(*account, id).await, Conflict);
    assert!(store.move_job(&ended(&job), at(2)).await.unwrap());

    store.delete_firmware(*account, id).await.unwrap();
    assert_refused!(store.delete_firmware(*account, id).await, NotFound);
    assert_eq!(store.firmware(*account, id).await.unwrap(), None);
    let listed = store.firmwares(*account, &FirmwareFilter::default(), FirmwareNo(0), 9).await.unwrap();
    assert_eq!(listed, (vec![], 0));
    let kept = store.firmware_by_no(*no).await.unwrap().expect("its job is kept");
    assert_eq!(kept.new.name, world.firmware.new.name);
    assert_refused!(store.create_job(&new_job(&world.firmware, "job2"), at(3)).await, NotFound);
    let mut again = new_firmware(&world.product, "again", "default", world.firmware.status);
    again.new.name = world.firmware.new.name.clone();
    assert!(store.create_firmware(&again, at(3)).await.is_ok(), "its name is free");
}

/// Modules are unique without regard to case, and few.
pub async fn a_product_has_10_modules_at_most(store: &dyn Store) {
    let world = World::new(store).await;
    let module = |name: &str| Module {
        product: world.product.no,
        name: super::world::module(name),
        alias: "alias".into(),
        description: String::new(),
        created_at: at(0),
        modified_at: at(0),
    };
    for n in 0..10 {
        store.create_module(&module(&format!("Mod{n}"))).await.unwrap();
    }
    assert_refused!(store.create_module(&module("mod3")).await, Exists);
    assert_refused!(store.create_module(&module("mod10")).await, Conflict);
    let foreign = Module { product: ProductNo(99), ..module("x") };
    assert_refused!(store.create_module(&foreign).await, NotFound);

    let no = world.product.no;
    store.update_module(no, &super::world::module("MOD3"), None, Some("words"), at(5)).await.unwrap();
    let modules = store.modules(no).await.unwrap();
    assert_eq!(modules.len(), 10);
    let changed = Module { description: "words".into(), modified_at: at(5), ..module("Mod3") };
    assert_eq!(modules[3], changed);
    store.delete_module(no, &super::world::module("mod3")).await.unwrap();
    assert_refused!(store.delete_module(no, &super::world::module("mod3")).await, NotFound);
    let missing = super::world::module("mod3");
    assert_refused!(store.update_module(no, &missing, Some("x"), None, at(5)).await, NotFound);
    store.create_module(&module("mod10")).await.unwrap();
    assert_eq!(store.modules(no).await.unwrap().len(), 10);
}

/// A product goes when nothing is done with it any more; its name is free then, and its jobs still find it.
pub async fn a_product_in_use_is_not_deleted(store: &dyn Store) {
    let world = World::new(store).await;
    let Product { no, new, .. } = &world.product;
    let devices = world.devices(0..1).await;
    let job = world.job("job1", &devices).await;
    assert_refused!(store.delete_product(*no, at(1)).await, Conflict);
    store.delete_device(devices[0], at(1)).await.unwrap();
    assert_refused!(store.delete_product(*no, at(1)).await, Conflict);
    assert!(store.move_job(&ended(&job), at(2)).await.unwrap());

    store.delete_product(*no, at(3)).await.unwrap();
    assert_refused!(store.delete_product(*no, at(3)).await, NotFound);
    assert_eq!(store.product(&new.key).await.unwrap(), None);
    assert_eq!(store.products(world.account, ProductNo(0), 9).await.unwrap(), (vec![], 0));
    assert_eq!(store.firmware(world.account, &world.firmware.id).await.unwrap(), None);
    assert_eq!(store.product_by_no(*no).await.unwrap().expect("its job is kept").new.name, new.name);
    assert_eq!(world.reread(&job).await.new.product, new.key);
    let device = new_device(&device_name(7));
    assert_refused!(store.register_devices(&world.product, &[device], at(3)).await, NotFound);
    let orphan = new_firmware(&world.product, "orphan", "default", world.firmware.status);
    assert_refused!(store.create_firmware(&orphan, at(3)).await, NotFound);
    let again = new_product(world.account, "a1Again", &new.name);
    assert!(store.create_product(&again, at(3)).await.is_ok());
    let same_key = new_product(world.account, new.key.as_str(), "another name");
    assert_refused!(store.create_product(&same_key, at(3)).await, Exists);
}
