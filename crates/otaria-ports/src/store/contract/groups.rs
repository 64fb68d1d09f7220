//! Groups: who is in, how many, and who was in when a job was made.

use otaria_core::ids::{AccountNo, DEFAULT_ACCOUNT, DeviceId, GroupId, GroupNo, ModuleName};
use otaria_core::job::Target;

use super::assert_refused;
use super::world::{World, at, new_job, new_product};
use crate::store::{
    AddedToGroup, CreateJob, GROUPS_OF_DEVICE_MAX, Group, GroupFilter, NewGroup, Slice, SourceKind, Store,
};

fn new_group(account: AccountNo, id: &str) -> NewGroup {
    NewGroup {
        id: GroupId::parse(id).unwrap(),
        account,
        name: format!("name of {id}"),
        description: "what it is".to_owned(),
        parent: None,
        expression: None,
    }
}

async fn make(world: &World<'_>, id: &str) -> Group {
    world.store.create_group(&new_group(world.account, id), at(0)).await.unwrap()
}

fn job_for(world: &World<'_>, group: &Group, id: &str) -> CreateJob {
    let mut job = new_job(&world.firmware, id);
    job.new.target = Target::Group { group_id: group.new.id.to_string() };
    job.source = SourceKind::Group { group: group.no, upto: 0 };
    job
}

fn ids(mut devices: Vec<DeviceId>) -> Vec<DeviceId> {
    devices.sort_unstable();
    devices
}

async fn members(store: &dyn Store, group: GroupNo) -> Vec<DeviceId> {
    let devices = store.devices_of_group(group, None, 0, 1_000).await.unwrap();
    devices.into_iter().map(|device| device.id).collect()
}

/// What was asked for is what is kept.
pub async fn a_group_is_kept_as_it_came(store: &dyn Store) {
    let world = World::new(store).await;
    let outer = make(&world, "outer").await;
    let new = NewGroup { parent: Some(outer.no), ..new_group(world.account, "inner") };
    let inner = store.create_group(&new, at(7)).await.unwrap();
    assert_eq!((&inner.new, inner.device_count, inner.created_at), (&new, 0, at(7)));
    assert_eq!(store.group(world.account, &new.id).await.unwrap(), Some(inner.clone()));
    assert!(inner.no > outer.no);

    store.describe_group(inner.no, "something else").await.unwrap();
    let read = store.group(world.account, &new.id).await.unwrap().unwrap();
    assert_eq!(read.new.description, "something else");
    assert_refused!(store.describe_group(GroupNo(inner.no.0 + 1), "x").await, NotFound);

    store.delete_group(outer.no).await.unwrap();
    assert_eq!(store.group(world.account, &new.id).await.unwrap().unwrap().new.parent, None);
}

/// Another account has groups of its own, under the same names.
pub async fn a_group_belongs_to_its_account(store: &dyn Store) {
    let other = store.create_account("other", at(0)).await.unwrap().no;
    let mine = new_group(DEFAULT_ACCOUNT, "g1");
    let made = store.create_group(&mine, at(0)).await.unwrap();
    let same_name = NewGroup { id: GroupId::parse("g2").unwrap(), ..mine.clone() };
    assert_refused!(store.create_group(&same_name, at(0)).await, Exists);
    assert!(store.create_group(&NewGroup { account: other, ..same_name.clone() }, at(0)).await.is_ok());
    assert_eq!(store.group(other, &mine.id).await.unwrap(), None);
    let below =
        NewGroup { parent: Some(made.no), name: "below".into(), account: other, ..new_group(other, "g3") };
    assert_refused!(store.create_group(&below, at(0)).await, NotFound);

    store.delete_group(made.no).await.unwrap();
    assert_eq!(store.group(DEFAULT_ACCOUNT, &mine.id).await.unwrap(), None);
    assert_refused!(store.delete_group(made.no).await, NotFound);
    let again = NewGroup { id: GroupId::parse("g4").unwrap(), ..same_name };
    assert!(store.create_group(&again, at(0)).await.is_ok(), "the name of a deleted group is free");
}

/// Newest first, by the beginning of the name and by the group around.
pub async fn groups_are_filtered_and_paged(store: &dyn Store) {
    let world = World::new(store).await;
    let outer = make(&world, "outer").await;
    for id in ["a1", "a2", "b1"] {
        let new = NewGroup { parent: Some(outer.no), name: format!("{id}%"), ..new_group(world.account, id) };
        store.create_group(&new, at(0)).await.unwrap();
    }
    let list = |filter: GroupFilter, before, skip, limit| async move {
        let (rows, total) = store.groups(world.account, &filter, before, skip, limit).await.unwrap();
        (rows.iter().map(|group| group.new.id.to_string()).collect::<Vec<_>>(), rows, total)
    };
    let (names, rows, total) = list(GroupFilter::default(), None, 0, 2).await;
    assert_eq!((names, total), (vec!["b1".to_owned(), "a2".to_owned()], 4));
    let (names, _, total) = list(GroupFilter::default(), Some(rows[1].no), 1, 9).await;
    assert_eq!((names, total), (vec!["outer".to_owned()], 4));
    let begins = GroupFilter { name: Some("a".into()), parent: Some(outer.no), dynamic: None };
    assert_eq!(list(begins, None, 0, 9).await.0, ["a2", "a1"]);
    let odd = GroupFilter { name: Some("_1".into()), parent: None, dynamic: None };
    assert_eq!(list(odd, None, 0, 9).await.2, 0, "a name is no pattern");
}

/// Added, already there, and in too many groups: each device in one count, and unknown ones in none.
pub async fn every_added_device_is_counted_once(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    for n in 0..GROUPS_OF_DEVICE_MAX {
        let group = make(&world, &format!("full{n}")).await;
        store.add_to_group(group.no, &devices[..1]).await.unwrap();
    }
    let group = make(&world, "g1").await;
    store.add_to_group(group.no, &devices[1..2]).await.unwrap();
    let asked = [devices[0], devices[1], devices[2], devices[3], devices[3], DeviceId(77)];
    let outcome = store.add_to_group(group.no, &asked).await.unwrap();
    assert_eq!(outcome, AddedToGroup { added: 2, already: 1, exceeding: 1 });
    assert_eq!(members(store, group.no).await, ids(devices[1..].to_vec()));
    assert_eq!(store.group(world.account, &group.new.id).await.unwrap().unwrap().device_count, 3);
    assert_eq!(store.groups_of_device(devices[0]).await.unwrap().len(), GROUPS_OF_DEVICE_MAX);
    assert_refused!(store.add_to_group(GroupNo(99), &devices).await, NotFound);

    // One group fewer makes room.
    let first = store.groups_of_device(devices[0]).await.unwrap().remove(0);
    assert_eq!(store.take_from_group(first.no, &devices).await.unwrap(), 1);
    let outcome = store.add_to_group(group.no, &devices[..1]).await.unwrap();
    assert_eq!(outcome.added, 1);
    store.delete_group(group.no).await.unwrap();
    assert_eq!(store.groups_of_device(devices[0]).await.unwrap().len(), GROUPS_OF_DEVICE_MAX - 1);
    assert_refused!(store.add_to_group(group.no, &devices).await, NotFound);
}

/// Devices leave and come back; what is not in is not taken out.
pub async fn devices_leave_a_group_and_come_back(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let group = make(&world, "g1").await;
    store.add_to_group(group.no, &devices[..3]).await.unwrap();
    assert_eq!(store.take_from_group(group.no, &devices[1..]).await.unwrap(), 2);
    assert_eq!(store.take_from_group(group.no, &devices[1..]).await.unwrap(), 0);
    assert_eq!(members(store, group.no).await, [devices[0]]);
    assert_eq!(store.add_to_group(group.no, &devices).await.unwrap().added, 3);
    let sorted = ids(devices.clone());
    assert_eq!(members(store, group.no).await, sorted);

    let page = store.devices_of_group(group.no, Some(sorted[0]), 1, 1).await.unwrap();
    assert_eq!(page.iter().map(|device| device.id).collect::<Vec<_>>(), [sorted[2]]);
    store.connected(&[(devices[2], at(5))]).await.unwrap();
    assert_eq!(store.active_in_group(group.no).await.unwrap(), 1);
    store.delete_group(group.no).await.unwrap();
    assert!(members(store, group.no).await.is_empty());
}

/// A job keeps the members that its group had when it was made, whatever becomes of the group.
pub async fn a_job_keeps_the_members_of_its_group(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..5).await;
    let product =
        store.create_product(&new_product(world.account, "a1Other", "a1Other"), at(0)).await.unwrap();
    let stranger = super::world::new_device(&super::world::device_name(0));
    let foreign = store.register_devices(&product, &[stranger], at(0)).await.unwrap()[0].unwrap();
    let group = make(&world, "g1").await;
    store.add_to_group(group.no, &devices[..3]).await.unwrap();
    store.add_to_group(group.no, &[foreign]).await.unwrap();
    store.take_from_group(group.no, &devices[..1]).await.unwrap();

    let job = world.make(&job_for(&world, &group, "job1")).await;
    let SourceKind::Group { group: no, upto } = job.source else { panic!("{:?}", job.source) };
    store.take_from_group(no, &devices[1..2]).await.unwrap();
    store.add_to_group(no, &[devices[0], devices[3]]).await.unwrap();
    store.add_to_group(no, &devices[1..2]).await.unwrap();
    let scan = |after, limit| async move {
        let module = ModuleName::default_module();
        let found = store.scan_group(no, upto, world.product.no, &module, after, limit).await.unwrap();
        found.into_iter().map(|(_, candidate)| candidate.device).collect::<Vec<_>>()
    };
    let frozen = ids(devices[1..3].to_vec());
    assert_eq!(scan(None, 9).await, frozen);
    assert_eq!(scan(Some(frozen[0]), 9).await, frozen[1..]);
    assert_eq!(scan(None, 1).await, frozen[..1]);

    store.delete_group(no).await.unwrap();
    while store.purge_gone(at(9), 1).await.unwrap() > 0 {}
    assert_eq!(scan(None, 9).await, frozen, "an expansion still asks for them");
    store.expand(&Slice { complete: true, ..super::world::slice(&job, 0, &frozen) }, at(1)).await.unwrap();
    while store.purge_gone(at(9), 1).await.unwrap() > 0 {}
    assert_eq!(scan(None, 9).await, []);
    assert_refused!(store.create_job(&job_for(&world, &group, "job2"), at(1)).await, NotFound);
}
