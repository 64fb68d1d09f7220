//! A server that goes away and comes back, and a line that breaks at the worst moment.

use std::sync::Arc;
use std::time::Duration;

use otaria_ports::events::KeptEvents;
use otaria_ports::store::contract::world::{World, at, claim};
use otaria_ports::store::{Accounts, Devices, StoreError, Tasks};
use otaria_store::{PostgresOptions, PostgresStore};

use crate::proxy::Proxy;
use crate::server::{block_on, options, with_database};

async fn open(proxy: &Proxy) -> PostgresStore {
    let options = PostgresOptions { patience: Duration::from_secs(10), ..options() };
    PostgresStore::open(&proxy.url, options, Arc::new(KeptEvents::default())).await.unwrap()
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_server_that_comes_back_is_waited_for() {
    with_database(|database| {
        block_on(async {
            let proxy = Proxy::before(&database.url).await;
            let store = open(&proxy).await;
            let world = World::new(&store).await;
            let devices = world.devices(0..3).await;
            let calls = async {
                // Some begin before the line is cut, some while it is.
                for n in 0..40 {
                    let account = store.create_account(&format!("account {n}"), at(0)).await;
                    match account {
                        Ok(_) => {}
                        // A commit that nobody heard of, or the second try of one that was heard.
                        Err(StoreError::Unavailable { .. } | StoreError::Exists { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                    assert!(store.devices_by_id(&devices).await.unwrap().iter().all(Option::is_some));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let outage = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                proxy.away(Duration::from_millis(1_500)).await;
            };
            futures_util::future::join(calls, outage).await;
            assert!(store.accounts().await.unwrap().len() >= 40);
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn work_that_breaks_off_is_done_once() {
    with_database(|database| {
        block_on(async {
            let proxy = Proxy::before(&database.url).await;
            for (n, at_statement) in ["begin", "insert into account"].into_iter().enumerate() {
                for heard in [false, true] {
                    // Fresh connections: a statement that is prepared is not said again.
                    let store = open(&proxy).await;
                    proxy.cut(at_statement, heard);
                    let name = format!("account {n} {heard}");
                    let made = store.create_account(&name, at(0)).await;
                    assert!(made.is_ok(), "{at_statement}, {heard}: {made:?}");
                    assert!(proxy.was_cut());
                    let accounts = store.accounts().await.unwrap();
                    assert_eq!(accounts.iter().filter(|account| account.name == name).count(), 1);
                }
            }
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_commit_that_nobody_heard_of_is_not_done_again() {
    with_database(|database| {
        block_on(async {
            let proxy = Proxy::before(&database.url).await;
            let store = open(&proxy).await;
            let world = World::new(&store).await;
            let devices = world.devices(0..2).await;
            let job = world.job("job1", &devices).await;
            let owner = world.own_everything(at(1)).await;
            for (device, heard) in devices.iter().zip([true, false]) {
                let claims = [claim(&world.task(&job, *device).await, at(1))];
                proxy.cut("commit", heard);
                let claimed = store.claim(&owner, &claims, at(1)).await;
                assert!(matches!(claimed, Err(StoreError::Unavailable { .. })), "{claimed:?}");
                assert!(proxy.was_cut());
                // The caller may ask again: what was written is not written twice.
                let again = store.claim(&owner, &claims, at(1)).await.unwrap();
                assert_eq!(again, [!heard]);
            }
            world.check(&job).await;
        });
    });
}
