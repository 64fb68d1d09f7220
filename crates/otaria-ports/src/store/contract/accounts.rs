//! Accounts and access keys.

use otaria_core::ids::{AccessKeyId, AccountNo, DEFAULT_ACCOUNT};

use super::assert_refused;
use super::world::at;
use crate::store::{AccessKey, KeyUpdate, Role, Store};

fn id(text: &str) -> AccessKeyId {
    AccessKeyId::parse(text).unwrap()
}

fn key(text: &str, account: AccountNo, role: Role) -> AccessKey {
    let sealed_secret = vec![0, 255, 7];
    AccessKey { id: id(text), account, role, active: true, sealed_secret, created_at: at(3) }
}

/// Account 1 is there from the start; others follow with greater numbers.
pub async fn account_1_is_there_from_the_start(store: &dyn Store) {
    let first = store.accounts().await.unwrap();
    assert_eq!(first.iter().map(|account| account.no).collect::<Vec<_>>(), [DEFAULT_ACCOUNT]);

    let second = store.create_account("second", at(5)).await.unwrap();
    let third = store.create_account("third", at(6)).await.unwrap();
    assert_eq!((second.name.as_str(), second.created_at), ("second", at(5)));
    assert!(DEFAULT_ACCOUNT < second.no && second.no < third.no);
    assert_eq!(store.accounts().await.unwrap()[1..], [second, third]);
}

/// Two accounts never have one name.
pub async fn an_account_name_is_given_once(store: &dyn Store) {
    store.create_account("second", at(5)).await.unwrap();
    assert_refused!(store.create_account("second", at(6)).await, Exists);
    assert_eq!(store.accounts().await.unwrap().len(), 2);
}

/// A key is kept as it came, is found by its id, and is listed by id with its account's others.
pub async fn an_access_key_is_kept_as_it_came(store: &dyn Store) {
    let other = store.create_account("second", at(5)).await.unwrap().no;
    let mut keys = [
        key("key-c", DEFAULT_ACCOUNT, Role::Viewer),
        key("key-a", DEFAULT_ACCOUNT, Role::Admin),
        key("key-b", other, Role::Operator),
    ];
    keys[0].active = false;
    for key in &keys {
        store.put_access_key(key).await.unwrap();
    }
    assert_eq!(store.access_key(&id("key-b")).await.unwrap().as_ref(), Some(&keys[2]));
    assert_eq!(store.access_key(&id("key-x")).await.unwrap(), None);
    let listed = store.access_keys(DEFAULT_ACCOUNT).await.unwrap();
    assert_eq!(listed, [keys[1].clone(), keys[0].clone()]);
}

/// A key's id is unique over all accounts, and its account exists.
pub async fn an_access_key_has_its_own_id_and_an_account(store: &dyn Store) {
    let other = store.create_account("second", at(5)).await.unwrap().no;
    let first = key("key-a", DEFAULT_ACCOUNT, Role::Admin);
    store.put_access_key(&first).await.unwrap();
    assert_refused!(store.put_access_key(&key("key-a", other, Role::Viewer)).await, Exists);
    assert_eq!(store.access_key(&first.id).await.unwrap(), Some(first));
    let nobody = AccountNo(other.0 + 1);
    assert_refused!(store.put_access_key(&key("key-b", nobody, Role::Viewer)).await, NotFound);
}

/// Of the keys that processes make for an account without an active admin, the first one stays the only one.
pub async fn the_first_admin_key_is_one(store: &dyn Store) {
    let other = store.create_account("second", at(5)).await.unwrap().no;
    store.put_access_key(&key("else", other, Role::Admin)).await.unwrap();
    store.put_access_key(&key("viewer", DEFAULT_ACCOUNT, Role::Viewer)).await.unwrap();
    let stopped = AccessKey { active: false, ..key("stopped", DEFAULT_ACCOUNT, Role::Admin) };
    store.put_access_key(&stopped).await.unwrap();

    let (first, second) =
        (key("first", DEFAULT_ACCOUNT, Role::Admin), key("second", DEFAULT_ACCOUNT, Role::Admin));
    assert!(store.put_first_admin_key(&first).await.unwrap(), "who cannot manage keys is no admin");
    assert!(!store.put_first_admin_key(&second).await.unwrap(), "there is one");
    assert_eq!(store.access_key(&second.id).await.unwrap(), None);
    assert!(store.put_first_admin_key(&first).await.unwrap(), "said again by who kept it");
    assert_eq!(store.access_keys(DEFAULT_ACCOUNT).await.unwrap().len(), 3);

    let nobody = AccountNo(other.0 + 1);
    assert_refused!(store.put_first_admin_key(&key("none", nobody, Role::Admin)).await, NotFound);
    let none = store.create_account("third", at(6)).await.unwrap().no;
    assert_refused!(store.put_first_admin_key(&key("else", none, Role::Admin)).await, Exists);
}

/// A key is changed and removed in its own account only, and only as far as asked.
pub async fn a_key_is_changed_in_its_own_account_only(store: &dyn Store) {
    let other = store.create_account("second", at(5)).await.unwrap().no;
    let viewer = key("key-a", DEFAULT_ACCOUNT, Role::Viewer);
    store.put_access_key(&viewer).await.unwrap();

    let promote = KeyUpdate { role: Some(Role::Operator), active: None };
    assert_refused!(store.update_access_key(other, &viewer.id, promote).await, NotFound);
    assert_refused!(store.delete_access_key(other, &viewer.id).await, NotFound);
    assert_eq!(store.access_key(&viewer.id).await.unwrap().as_ref(), Some(&viewer));

    let operator = AccessKey { role: Role::Operator, ..viewer.clone() };
    assert_eq!(store.update_access_key(DEFAULT_ACCOUNT, &viewer.id, promote).await.unwrap(), operator);
    let stop = KeyUpdate { role: None, active: Some(false) };
    let stopped = AccessKey { active: false, ..operator };
    assert_eq!(store.update_access_key(DEFAULT_ACCOUNT, &viewer.id, stop).await.unwrap(), stopped);
    assert_eq!(store.access_key(&viewer.id).await.unwrap(), Some(stopped));

    store.delete_access_key(DEFAULT_ACCOUNT, &viewer.id).await.unwrap();
    assert_eq!(store.access_key(&viewer.id).await.unwrap(), None);
    assert_refused!(store.delete_access_key(DEFAULT_ACCOUNT, &viewer.id).await, NotFound);
}

/// An account never loses its last active admin: not by another role, not by a stop, not by removal.
pub async fn an_account_keeps_its_last_active_admin(store: &dyn Store) {
    let other = store.create_account("second", at(5)).await.unwrap().no;
    store.put_access_key(&key("else", other, Role::Admin)).await.unwrap();
    store.put_access_key(&key("last", DEFAULT_ACCOUNT, Role::Admin)).await.unwrap();
    let stopped = AccessKey { active: false, ..key("stopped", DEFAULT_ACCOUNT, Role::Admin) };
    store.put_access_key(&stopped).await.unwrap();
    let last = id("last");

    let demote = KeyUpdate { role: Some(Role::Viewer), active: None };
    let stop = KeyUpdate { role: None, active: Some(false) };
    assert_refused!(store.update_access_key(DEFAULT_ACCOUNT, &last, demote).await, Conflict);
    assert_refused!(store.update_access_key(DEFAULT_ACCOUNT, &last, stop).await, Conflict);
    assert_refused!(store.delete_access_key(DEFAULT_ACCOUNT, &last).await, Conflict);
    let kept = store.access_key(&last).await.unwrap();
    assert_eq!(kept, Some(key("last", DEFAULT_ACCOUNT, Role::Admin)));
    // What leaves it an active admin is no loss.
    let same = KeyUpdate { role: Some(Role::Admin), active: Some(true) };
    store.update_access_key(DEFAULT_ACCOUNT, &last, same).await.unwrap();

    let start = KeyUpdate { role: None, active: Some(true) };
    store.update_access_key(DEFAULT_ACCOUNT, &stopped.id, start).await.unwrap();
    store.update_access_key(DEFAULT_ACCOUNT, &last, demote).await.unwrap();
    assert_refused!(store.delete_access_key(DEFAULT_ACCOUNT, &stopped.id).await, Conflict);
    store.delete_access_key(DEFAULT_ACCOUNT, &last).await.unwrap();
}
