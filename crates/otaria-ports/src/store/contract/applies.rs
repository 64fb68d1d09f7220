//! Batches of registrations.

use otaria_core::ids::{AccountNo, ApplyNo};

use super::assert_refused;
use super::world::{World, at, device_name, new_device, new_product};
use crate::store::{ApplyName, NewApply, RefusedName, Store};

fn batch(world: &World<'_>, numbers: std::ops::Range<usize>) -> NewApply {
    let name = |n| ApplyName { name: device_name(n), nickname: (n == 0).then(|| "Nü\"mmer 0".to_owned()) };
    NewApply {
        account: world.account,
        product: world.product.no,
        names: numbers.map(name).collect(),
        refused: vec![RefusedName {
            name: "a\"/\\\u{1}b".to_owned(),
            nickname: None,
            reason: "is no name".to_owned(),
        }],
    }
}

/// What was checked is what is kept, for its own account.
pub async fn a_batch_of_names_is_kept_as_it_came(store: &dyn Store) {
    let world = World::new(store).await;
    let new = batch(&world, 0..3);
    let made = store.create_apply(&new, at(5)).await.unwrap();
    assert_eq!((&made.new, &made.devices, made.created_at), (&new, &None, at(5)));
    assert_eq!(store.apply(world.account, made.no).await.unwrap(), Some(made.clone()));
    assert_eq!(store.apply(AccountNo(2), made.no).await.unwrap(), None);
    assert!(store.create_apply(&new, at(6)).await.unwrap().no > made.no);
    let foreign = NewApply { account: AccountNo(2), ..new };
    assert_refused!(store.create_apply(&foreign, at(5)).await, NotFound);

    assert_eq!(store.purge_applies(at(6), 9).await.unwrap(), 1);
    assert_eq!(store.apply(world.account, made.no).await.unwrap(), None);
}

/// A batch is registered once: names that were taken meanwhile are told, and a repeat answers the same.
pub async fn a_batch_of_names_is_registered_once(store: &dyn Store) {
    let world = World::new(store).await;
    let made = store.create_apply(&batch(&world, 0..3), at(0)).await.unwrap();
    let taken = world.devices(1..2).await[0];
    let devices: Vec<_> = (0..3).map(|n| new_device(&device_name(n))).collect();
    let first = store.register_apply(made.no, &world.product, &devices, at(1)).await.unwrap();
    let ids = first.devices.clone().unwrap();
    assert!(ids[0].is_some() && ids[2].is_some());
    assert_eq!(ids[1], None);
    assert_eq!(store.apply(world.account, made.no).await.unwrap(), Some(first.clone()));
    assert_eq!(store.register_apply(made.no, &world.product, &devices, at(2)).await.unwrap(), first);
    let product = store.product_by_no(world.product.no).await.unwrap().unwrap();
    assert_eq!(product.device_count, 3);
    assert_eq!(store.device(product.no, &device_name(1)).await.unwrap().unwrap().id, taken);

    let unknown = store.register_apply(ApplyNo(99), &world.product, &devices, at(1)).await;
    assert_refused!(unknown, NotFound);
    let other = store.create_product(&new_product(world.account, "a1Other", "a1Other"), at(0)).await.unwrap();
    assert_refused!(store.register_apply(made.no, &other, &devices, at(1)).await, NotFound);
}
