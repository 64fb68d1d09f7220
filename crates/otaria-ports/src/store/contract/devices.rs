//! Products, devices, and what devices informed.

use otaria_core::ids::{DEFAULT_ACCOUNT, DeviceId, DeviceName, ProductKey, ProductNo};
use otaria_core::shard::Shard;
use otaria_core::task::ReportOrder;

use super::assert_refused;
use super::world::{World, at, device_name, informed, module, new_device, new_job, new_product};
use crate::auth::SeenDevice;
use crate::store::{
    AuthRow, Candidate, ModuleVersion, NewDevice, Product, ReportsTaken, Store, VersionReport,
};

fn report(device: DeviceId, module_name: &str, version: &str, session: i64, n: u32) -> VersionReport {
    let at = at(session * 100 + i64::from(n));
    let version = ModuleVersion { device, module: module(module_name), version: informed(version), at };
    VersionReport { version, order: ReportOrder { session, n } }
}

/// A product is kept as it came, and found by key and by number.
pub async fn a_product_is_kept_as_it_came(store: &dyn Store) {
    let mut new = new_product(DEFAULT_ACCOUNT, "a1abc", "Product_1");
    (new.description, new.node_type, new.sealed_secret) = ("words".into(), 1, vec![0, 200]);
    let product = store.create_product(&new, at(4)).await.unwrap();
    assert_eq!(product, Product { no: product.no, new: new.clone(), device_count: 0, created_at: at(4) });
    assert_eq!(store.product(&new.key).await.unwrap().as_ref(), Some(&product));
    assert_eq!(store.product_by_no(product.no).await.unwrap().as_ref(), Some(&product));

    assert_eq!(store.product(&ProductKey::parse("a1other").unwrap()).await.unwrap(), None);
    assert_eq!(store.product_by_no(ProductNo(product.no.0 + 1)).await.unwrap(), None);
}

/// A product's name is unique in its account, its key everywhere.
pub async fn a_product_name_is_unique_in_its_account(store: &dyn Store) {
    let other = store.create_account("second", at(0)).await.unwrap().no;
    store.create_product(&new_product(DEFAULT_ACCOUNT, "a1abc", "same"), at(1)).await.unwrap();
    assert_refused!(
        store.create_product(&new_product(DEFAULT_ACCOUNT, "a1xyz", "same"), at(2)).await,
        Exists
    );
    assert_refused!(store.create_product(&new_product(other, "a1abc", "other"), at(2)).await, Exists);
    store.create_product(&new_product(other, "a1xyz", "same"), at(3)).await.unwrap();
}

/// Products are paged by number, in one account, with the count of all.
pub async fn products_are_paged_by_number(store: &dyn Store) {
    let other = store.create_account("second", at(0)).await.unwrap().no;
    let mut mine = Vec::new();
    for n in 0..5 {
        let new = new_product(DEFAULT_ACCOUNT, &format!("a1mine{n}"), &format!("mine{n}"));
        mine.push(store.create_product(&new, at(n)).await.unwrap());
        let new = new_product(other, &format!("a1other{n}"), &format!("other{n}"));
        store.create_product(&new, at(n)).await.unwrap();
    }
    let (first, total) = store.products(DEFAULT_ACCOUNT, ProductNo(0), 2).await.unwrap();
    assert_eq!((&first[..], total), (&mine[..2], 5));
    let (rest, total) = store.products(DEFAULT_ACCOUNT, first[1].no, 100).await.unwrap();
    assert_eq!((&rest[..], total), (&mine[2..], 5));
}

/// A device's id holds the shard of its name and its place in the order of registration.
pub async fn a_device_id_holds_shard_and_place(store: &dyn Store) {
    let world = World::new(store).await;
    let mut ids = world.devices(0..20).await;
    ids.extend(world.devices(20..40).await);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(id.shard(), Shard::of(&world.product.new.key, &device_name(n)));
    }
    assert!(ids.is_sorted_by(|a, b| a.n() < b.n()), "{ids:?}");
}

/// A registered device is kept as it came, may connect, and is found by name and by id.
pub async fn a_device_is_kept_as_it_came(store: &dyn Store) {
    let world = World::new(store).await;
    let name = DeviceName::parse("Some_dev@x.y:1").unwrap();
    let new = NewDevice { name: name.clone(), nickname: Some("nick".into()), sealed_secret: vec![9, 0, 9] };
    let ids = store.register_devices(&world.product, std::slice::from_ref(&new), at(8)).await.unwrap();
    let id = ids[0].unwrap();

    let device = store.device(world.product.no, &name).await.unwrap().unwrap();
    assert_eq!((device.id, device.product, &device.name), (id, world.product.no, &name));
    assert_eq!((&device.nickname, &device.sealed_secret), (&new.nickname, &new.sealed_secret));
    assert_eq!((device.enabled, device.created_at), (true, at(8)));
    assert_eq!((device.active_at, device.online_at), (None, None));
    assert_eq!(store.device_by_id(id).await.unwrap(), Some(device));

    // Names differ by case.
    let other = DeviceName::parse("some_dev@x.y:1").unwrap();
    assert_eq!(store.device(world.product.no, &other).await.unwrap(), None);
    assert_eq!(store.device_by_id(DeviceId(id.0 + 1)).await.unwrap(), None);
}

/// A name that is taken, also by the same call, is answered with nothing; the others are registered.
pub async fn a_name_that_is_taken_registers_nothing(store: &dyn Store) {
    let world = World::new(store).await;
    let first = world.devices(0..2).await;
    let new = [1, 2, 2, 3].map(|n| new_device(&device_name(n)));
    let ids = store.register_devices(&world.product, &new, at(2)).await.unwrap();
    assert_eq!(ids.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);

    let kept = store.device(world.product.no, &device_name(1)).await.unwrap().unwrap();
    assert_eq!((kept.id, kept.created_at), (first[1], at(0)));
    let product = store.product_by_no(world.product.no).await.unwrap().unwrap();
    assert_eq!(product.device_count, 4);
    assert_eq!(store.register_devices(&world.product, &[], at(3)).await.unwrap(), []);
}

/// Devices of two products may share a name.
pub async fn a_device_name_is_unique_in_its_product(store: &dyn Store) {
    let world = World::new(store).await;
    let other = World::of_account(store, DEFAULT_ACCOUNT, "a1Other").await;
    let (ours, theirs) = (world.devices(0..1).await[0], other.devices(0..1).await[0]);
    assert_ne!(ours, theirs);
    let found = store.device(other.product.no, &device_name(0)).await.unwrap().unwrap();
    assert_eq!(found.id, theirs);
    let nobody = Product { no: ProductNo(other.product.no.0 + 1), ..other.product };
    assert_refused!(store.register_devices(&nobody, &[new_device(&device_name(0))], at(1)).await, NotFound);
}

/// Devices are paged in the order of their names, whatever the order of registration.
pub async fn devices_are_paged_by_name(store: &dyn Store) {
    let world = World::new(store).await;
    World::of_account(store, DEFAULT_ACCOUNT, "a1Other").await.devices(0..9).await;
    for numbers in [5..8, 0..2, 2..5] {
        world.devices(numbers).await;
    }
    let mut names = Vec::new();
    loop {
        let page = store.devices(world.product.no, names.last(), 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        names.extend(page.into_iter().map(|device| device.name));
    }
    assert_eq!(names, (0..8).map(device_name).collect::<Vec<_>>());
}

/// What the gateway asks for comes in its order, with nothing for those that are not there.
pub async fn secrets_come_in_the_order_asked(store: &dyn Store) {
    let world = World::new(store).await;
    let ids = world.devices(0..3).await;
    let ours = &world.product.new.key;
    let nobody = ProductKey::parse("a1nobody").unwrap();
    let who = [
        (ours.clone(), device_name(2)),
        (ours.clone(), device_name(7)),
        (nobody, device_name(0)),
        (ours.clone(), device_name(0)),
        (ours.clone(), device_name(2)),
    ];
    let row = |n: usize| {
        let sealed_secret = device_name(n).as_str().as_bytes().to_vec();
        Some(AuthRow { device: ids[n], account: world.account, enabled: true, sealed_secret })
    };
    assert_eq!(store.auth(&who).await.unwrap(), [row(2), None, None, row(0), row(2)]);
}

/// A device is active since its first connect and was online at its last, in whatever order they are told.
pub async fn connects_are_noted(store: &dyn Store) {
    let world = World::new(store).await;
    let ids = world.devices(0..2).await;
    store.connected(&[(ids[0], at(20))]).await.unwrap();
    store.connected(&[(ids[0], at(30)), (ids[1], at(31)), (DeviceId(ids[1].0 + 9), at(31))]).await.unwrap();
    store.connected(&[(ids[0], at(10)), (ids[0], at(25))]).await.unwrap();

    let times = |n: usize| async move {
        let device = store.device(world.product.no, &device_name(n)).await.unwrap().unwrap();
        (device.active_at, device.online_at)
    };
    assert_eq!(times(0).await, (Some(at(10)), Some(at(30))));
    assert_eq!(times(1).await, (Some(at(31)), Some(at(31))));
}

/// Who connected lately is found by shard, and nobody who is shut out, or has never been there.
pub async fn who_connected_lately_is_found(store: &dyn Store) {
    let world = World::new(store).await;
    let ids = world.devices(0..40).await;
    let connected: Vec<_> = (10..).zip(&ids[..30]).map(|(n, id)| (*id, at(n))).collect();
    store.connected(&connected).await.unwrap();
    store.enable_device(ids[25], false).await.unwrap();
    let mut seen = Vec::new();
    for shard in Shard::all() {
        let some = store.seen_since(shard, at(30)).await.unwrap();
        assert!(some.is_sorted_by_key(|seen| seen.device), "{some:?}");
        assert!(some.iter().all(|seen| seen.device.shard() == shard), "{some:?}");
        seen.extend(some);
    }
    seen.sort_by_key(|seen| seen.at);
    let expected: Vec<_> = (20..30)
        .filter(|n| *n != 25)
        .map(|n| SeenDevice {
            device: ids[n],
            product_key: world.product.new.key.clone(),
            name: device_name(n),
            at: at(i64::try_from(n).unwrap() + 10),
        })
        .collect();
    assert_eq!(seen, expected);
}

/// A version is replaced by a later report only: by session, then by place in it.
pub async fn an_older_version_does_not_replace_a_newer_one(store: &dyn Store) {
    let world = World::new(store).await;
    let device = world.devices(0..1).await[0];
    for (session, n, version, kept) in [
        (2, 5, "1.0", "1.0"),
        (2, 4, "0.9", "1.0"),
        (1, 9, "0.8", "1.0"),
        (2, 5, "0.7", "1.0"),
        (2, 6, "1.1", "1.1"),
        (3, 1, "0.1", "0.1"),
    ] {
        let news = [report(device, "default", version, session, n)];
        assert_eq!(store.take_reports(&news, &[], at(1)).await.unwrap(), ReportsTaken::default());
        let versions = store.module_versions(&[device]).await.unwrap();
        assert_eq!(versions.len(), 1);
        assert_eq!(versions[0].version, informed(kept), "after {session}.{n}");
        assert_eq!(versions[0] == news[0].version, kept == version);
    }
}

/// Of several reports in one call the latest is kept, whatever their order.
pub async fn of_several_versions_the_latest_is_kept(store: &dyn Store) {
    let world = World::new(store).await;
    let device = world.devices(0..1).await[0];
    let latest = report(device, "default", "3", 1, 3);
    let news = [report(device, "default", "2", 1, 2), latest.clone(), report(device, "default", "1", 1, 1)];
    store.take_reports(&news, &[], at(1)).await.unwrap();
    assert_eq!(store.module_versions(&[device]).await.unwrap(), [latest.version]);
}

/// Versions come sorted by device and module, those of unknown devices not at all.
pub async fn versions_come_sorted(store: &dyn Store) {
    let world = World::new(store).await;
    let mut ids = world.devices(0..3).await;
    ids.sort_unstable();
    let stranger = DeviceId(ids[2].0 + 1);
    let news: Vec<_> = [ids[2], ids[0], stranger, ids[1]]
        .into_iter()
        .flat_map(|device| ["zoom", "default", "camera"].map(|name| report(device, name, "1.0", 1, 1)))
        .collect();
    store.take_reports(&news, &[], at(1)).await.unwrap();

    let versions = store.module_versions(&[ids[2], stranger, ids[0], ids[2]]).await.unwrap();
    let found: Vec<_> = versions.iter().map(|version| (version.device, version.module.as_str())).collect();
    let sorted: Vec<_> = [ids[0], ids[2]]
        .into_iter()
        .flat_map(|device| ["camera", "default", "zoom"].map(|name| (device, name)))
        .collect();
    assert_eq!(found, sorted);
}

/// Names are resolved in the order asked, with the version of the module in question; unknown names are
/// left to the caller.
pub async fn names_are_resolved_in_the_order_asked(store: &dyn Store) {
    let world = World::new(store).await;
    let ids = world.devices(0..3).await;
    let news = [report(ids[0], "default", "1.0", 1, 1), report(ids[2], "camera", "7", 1, 1)];
    store.take_reports(&news, &[], at(1)).await.unwrap();
    let upto = world.make(&new_job(&world.firmware, "job1")).await.upto;

    let names = [2, 9, 0, 2].map(device_name);
    let candidate =
        |n: usize, version: Option<&str>| Some(Candidate { device: ids[n], version: version.map(informed) });
    let found = store.resolve(world.product.no, upto, &module("default"), &names).await.unwrap();
    assert_eq!(found, [candidate(2, None), None, candidate(0, Some("1.0")), candidate(2, None)]);
    let found = store.resolve(world.product.no, upto, &module("camera"), &names).await.unwrap();
    assert_eq!(found, [candidate(2, Some("7")), None, candidate(0, None), candidate(2, Some("7"))]);
}

/// A device that is registered after a job was made is not among its devices (I11).
pub async fn a_later_device_is_not_in_the_job(store: &dyn Store) {
    let world = World::new(store).await;
    let other = World::of_account(store, DEFAULT_ACCOUNT, "a1Other").await;
    let first = world.devices(10..13).await;
    other.devices(0..2).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    world.devices(0..2).await;
    let later = world.make(&new_job(&world.firmware, "job2")).await;
    world.devices(13..20).await;

    let (product, default) = (world.product.no, module("default"));
    let names: Vec<DeviceName> = (0..20).map(device_name).collect();
    let found = store.resolve(product, job.upto, &default, &names).await.unwrap();
    let found: Vec<DeviceId> = found.into_iter().flatten().map(|candidate| candidate.device).collect();
    assert_eq!(found, first);

    let scanned = store.scan(product, job.upto, &default, None, 100).await.unwrap();
    assert_eq!(scanned.iter().map(|(_, candidate)| candidate.device).collect::<Vec<_>>(), first);
    assert_eq!(store.scan(product, later.upto, &default, None, 100).await.unwrap().len(), 5);
}

/// A scan meets each member once, in the order of names, with its version.
pub async fn a_scan_meets_each_member_once(store: &dyn Store) {
    let world = World::new(store).await;
    let mut ids = world.devices(4..7).await;
    ids.splice(0..0, world.devices(0..4).await);
    let news = [report(ids[5], "default", "1.5", 1, 1), report(ids[4], "camera", "1.4", 1, 1)];
    store.take_reports(&news, &[], at(1)).await.unwrap();
    let upto = world.make(&new_job(&world.firmware, "job1")).await.upto;

    let mut rows = Vec::new();
    let mut after: Option<DeviceName> = None;
    loop {
        let page = store.scan(world.product.no, upto, &module("default"), after.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        rows.extend(page);
    }
    let expected: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            (device_name(n), Candidate { device: *id, version: (n == 5).then(|| informed("1.5")) })
        })
        .collect();
    assert_eq!(rows, expected);
}
