//! What only several writers, and a server that goes away, can bring about.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use otaria_core::ids::DEFAULT_ACCOUNT;
use otaria_core::shard::Shard;
use otaria_core::task::ReportOrder;
use otaria_ports::nonces::Nonces;
use otaria_ports::store::contract::world::{World, at, device_name, informed, module, new_device, new_job};
use otaria_ports::store::{
    Accounts, Devices, Groups, Jobs, Leases, ModuleVersion, NewDevice, NewGroup, StoreError, Tasks,
    VersionReport,
};
use otaria_store::{PostgresClock, PostgresOptions, PostgresStore, migrate};

use crate::server::{block_on, by_hand, number, options, with_database, with_empty_database};

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_name_that_many_register_at_once_is_one_device() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let new: Vec<NewDevice> = (0..60).map(|n| new_device(&device_name(n))).collect();
            let calls = (0..12).map(|call| {
                // Overlapping, and not in the same order.
                let mut part = new[call * 4..call * 4 + 16].to_vec();
                part.rotate_left(call);
                let store = &stores[call % 2];
                let product = world.product.clone();
                async move { store.register_devices(&product, &part, at(1)).await.unwrap() }
            });
            let ids: Vec<_> = join_all(calls).await.into_iter().flatten().flatten().collect();
            assert_eq!(ids.len(), 60);
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 60);
            let product = stores[0].product_by_no(world.product.no).await.unwrap().unwrap();
            assert_eq!(product.device_count, 60);
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn who_has_a_number_up_to_the_jobs_is_there_when_it_is_made() {
    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let world = World::new(&store).await;
            let register = join_all((0..40).map(|call| {
                let new: Vec<NewDevice> =
                    (call * 50..call * 50 + 50).map(|n| new_device(&device_name(n))).collect();
                let (store, product) = (&store, &world.product);
                async move { store.register_devices(product, &new, at(1)).await.unwrap() }
            }));
            let make = async {
                let mut seen = Vec::new();
                for n in 0..10 {
                    let job = world.make(&new_job(&world.firmware, &format!("job{n}"))).await;
                    let there = store
                        .scan(world.product.no, job.upto, &module("default"), None, 10_000)
                        .await
                        .unwrap();
                    seen.push((job.upto, there.len()));
                }
                seen
            };
            let (ids, seen) = futures_util::future::join(register, make).await;
            let numbers: BTreeSet<i64> = ids.into_iter().flatten().flatten().map(|id| id.n()).collect();
            assert_eq!(numbers.len(), 2_000);
            for (upto, there) in seen {
                assert_eq!(numbers.range(..=upto).count(), there, "up to {upto}");
            }
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn of_many_who_take_a_shard_one_has_it() {
    with_database(|database| {
        block_on(async {
            let stores = join_all((0..4).map(|_| database.open_silent())).await;
            let shards: Vec<Shard> = Shard::all().collect();
            let ttl = Duration::from_secs(10);
            for round in 0..4 {
                // Everybody of the round before has run out by now.
                let now = at(round * 100);
                let members = join_all(stores.iter().map(|store| async {
                    let member = store.join(now, ttl).await.unwrap();
                    (member, store.take_shards(member, &shards, now).await.unwrap())
                }));
                let taken: Vec<_> = members.await;
                let mut all: Vec<Shard> =
                    taken.iter().flat_map(|(_, leases)| leases.iter().map(|lease| lease.shard)).collect();
                all.sort_unstable();
                assert_eq!(all, shards, "each shard once");
                for (member, leases) in &taken {
                    assert!(leases.iter().all(|lease| lease.member == *member && lease.epoch == round + 1));
                }
                let renewed = join_all(taken.iter().map(|(member, _)| stores[0].renew(*member, now, ttl)));
                assert!(renewed.await.into_iter().all(|renewed| renewed.unwrap()));
            }
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn of_many_at_once_one_begins_a_run_and_one_uses_a_nonce() {
    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let member = store.join(at(0), Duration::from_secs(10)).await.unwrap();
            let period = Duration::from_secs(60);
            let began = join_all((0..16).map(|_| store.begin_run("audit", member, at(1), period))).await;
            assert_eq!(began.into_iter().filter(|began| *began.as_ref().unwrap()).count(), 1);
            let used = join_all((0..16).map(|_| store.use_once("key", "nonce", at(0), at(1)))).await;
            assert_eq!(used.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn versions_that_come_from_everywhere_are_counted_once() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let devices = world.devices(0..40).await;
            let report = |call: usize| -> Vec<VersionReport> {
                let report = |(n, device)| VersionReport {
                    version: ModuleVersion {
                        device,
                        module: module("default"),
                        version: informed(&format!("1.0.{}", (n + call) % 3)),
                        at: at(1),
                    },
                    order: ReportOrder { session: 1, n: u32::try_from(call).unwrap() + 1 },
                };
                let mut reports: Vec<_> = devices.iter().copied().enumerate().map(report).collect();
                reports.rotate_left(call);
                reports
            };
            let calls = (0..24).map(|call| {
                let (store, reports) = (&stores[call % 2], report(call));
                async move { store.take_reports(&reports, &[], at(2)).await.unwrap() }
            });
            join_all(calls).await;
            let wrong = number(
                database,
                "select count(*) from version_count c
                   full join (select module, version, count(*) as n from device_module group by 1, 2) m
                     on m.module = c.module and m.version = c.version
                  where m.n is distinct from c.n",
            );
            assert_eq!(wrong.await, 0);
            assert_eq!(number(database, "select min(report_n) from device_module").await, 24, "the latest");
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_device_is_never_in_more_groups_than_it_may() {
    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let world = World::new(&store).await;
            let devices = world.devices(0..20).await;
            let mut groups = Vec::new();
            for n in 0..14 {
                let id = otaria_core::ids::GroupId::parse(&format!("group{n}")).unwrap();
                let name = format!("group {n}");
                let (account, description) = (DEFAULT_ACCOUNT, String::new());
                let new = NewGroup { id, account, name, description, parent: None, expression: None };
                groups.push(store.create_group(&new, at(0)).await.unwrap().no);
            }
            let filled = join_all(groups.iter().map(|group| store.add_to_group(*group, &devices))).await;
            let added: u64 = filled.into_iter().map(|added| added.unwrap().added).sum();
            assert_eq!(added, 200);
            // While they leave and are deleted, the counts hold.
            let leave = join_all(groups.iter().map(|group| store.take_from_group(*group, &devices[..10])));
            let delete = join_all(devices[5..].iter().map(|device| store.delete_device(*device, at(1))));
            let (left, deleted) = futures_util::future::join(leave, delete).await;
            assert!(
                left.iter().all(Result::is_ok) && deleted.iter().all(Result::is_ok),
                "{left:?} {deleted:?}"
            );
            let wrong = number(
                database,
                "select count(*) from device_group g where device_count <>
                        (select count(*) from group_member m where m.group_no = g.no and m.removed is null)",
            );
            assert_eq!(wrong.await, 0);
            assert_eq!(number(database, "select sum(device_count)::bigint from device_group").await, 0);
            assert_eq!(number(database, "select device_count from product").await, 5);
        });
    });
}

/// Processes that begin at the same moment on an empty database tell one key, and it is the one that is kept.
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn of_many_first_admin_keys_one_is_kept() {
    use otaria_core::ids::AccessKeyId;
    use otaria_ports::store::{AccessKey, Role};

    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            for round in 0..8 {
                let no = stores[0].create_account(&format!("account{round}"), at(0)).await.unwrap().no;
                let keys: Vec<_> = (0..8)
                    .map(|n| AccessKey {
                        id: AccessKeyId::parse(&format!("OTAKEY{round:02}{n:016}")).unwrap(),
                        account: no,
                        role: Role::Admin,
                        active: true,
                        sealed_secret: vec![n],
                        created_at: at(0),
                    })
                    .collect();
                let puts = keys.iter().enumerate().map(|(n, key)| stores[n % 2].put_first_admin_key(key));
                let kept: Vec<bool> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
                let told: Vec<_> =
                    keys.iter().zip(kept).filter(|(_, kept)| *kept).map(|(key, _)| key).collect();
                let there = stores[1].access_keys(no).await.unwrap();
                assert_eq!(told, there.iter().collect::<Vec<_>>(), "round {round}");
                assert_eq!(told.len(), 1, "round {round}");
            }
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn an_account_keeps_an_admin_whoever_removes_them_at_once() {
    use otaria_core::ids::AccessKeyId;
    use otaria_ports::store::{AccessKey, Role};

    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let ids: Vec<_> =
                (0..6).map(|n| AccessKeyId::parse(&format!("OTAKEY{n:018}")).unwrap()).collect();
            for id in &ids {
                let (account, role) = (DEFAULT_ACCOUNT, Role::Admin);
                let (active, sealed_secret) = (true, vec![1]);
                let key =
                    AccessKey { id: id.clone(), account, role, active, sealed_secret, created_at: at(0) };
                store.put_access_key(&key).await.unwrap();
            }
            let gone = join_all(ids.iter().map(|id| store.delete_access_key(DEFAULT_ACCOUNT, id))).await;
            assert_eq!(gone.iter().filter(|gone| gone.is_ok()).count(), 5, "{gone:?}");
            assert_eq!(store.access_keys(DEFAULT_ACCOUNT).await.unwrap().len(), 1);
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_lost_connection_is_nobodys_business() {
    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let world = World::new(&store).await;
            let devices = world.devices(0..10).await;
            let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                              where datname = current_database() and pid <> pg_backend_pid()";
            // On a busy machine a round may find nobody: the last one's loss is still being made good.
            let kill = async {
                let mut killed = 0;
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                    killed += number(database, terminate).await;
                }
                killed
            };
            let work = async {
                let (mut calls, mut unknown) = (0, 0);
                for n in 0..600 {
                    let found = store.devices_by_id(&devices).await.unwrap();
                    assert!(found.iter().all(Option::is_some), "a read is tried again");
                    // Whether the commit happened may be unknown; it may be repeated.
                    while let Err(error) = store.connected(&[(devices[0], at(n))]).await {
                        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
                        unknown += 1;
                    }
                    calls += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (calls, unknown)
            };
            let ((calls, unknown), killed) = futures_util::future::join(work, kill).await;
            assert!(killed >= 5, "only {killed} connections were lost");
            assert!(unknown < 20, "of {calls} calls {unknown} were left in the dark");
            let device = store.device_by_id(devices[0]).await.unwrap().unwrap();
            assert_eq!((device.active_at, device.online_at), (Some(at(0)), Some(at(599))));
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn leases_go_by_the_databases_clock() {
    with_database(|database| {
        block_on(async {
            let options = PostgresOptions { clock: PostgresClock::Database, ..options() };
            let events = std::sync::Arc::new(otaria_ports::events::NoEvents);
            let store = PostgresStore::open(&database.url, options, events).await.unwrap();
            // Whatever a process believes the time to be.
            let (early, late) = (at(-1_000_000_000), at(1_000_000_000));
            let ttl = Duration::from_secs(60);
            let first = store.join(early, ttl).await.unwrap();
            let shard = Shard(7);
            assert_eq!(store.take_shards(first, &[shard], early).await.unwrap().len(), 1);
            let second = store.join(late, ttl).await.unwrap();
            assert_eq!(store.take_shards(second, &[shard], late).await.unwrap(), []);
            assert!(store.renew(first, late, ttl).await.unwrap());
            assert!(store.shard_leases(late).await.unwrap()[0].alive);
            assert_eq!(store.members(late).await.unwrap(), [first, second]);

            let third = store.join(early, Duration::from_millis(1)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(!store.renew(third, early, ttl).await.unwrap());
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_schema_is_brought_up_to_date_once_and_looked_at_by_everybody() {
    with_empty_database(|database| {
        block_on(async {
            let open = |migrate| {
                let events = std::sync::Arc::new(otaria_ports::events::NoEvents);
                let options = PostgresOptions { migrate, ..options() };
                async move { PostgresStore::open(&database.url, options, events).await }
            };
            let early = open(false).await;
            assert!(matches!(early, Err(StoreError::Corrupt { .. })), "nobody migrated");
            let done = join_all((0..4).map(|_| migrate(&database.url))).await;
            assert!(done.iter().all(Result::is_ok), "{done:?}");
            open(false).await.unwrap().close().await;
            let store = open(true).await.unwrap();
            assert_eq!(store.accounts().await.unwrap().len(), 1);
            store.close().await;
            let closed = store.accounts().await;
            assert!(matches!(closed, Err(StoreError::Unavailable { .. })), "{closed:?}");

            by_hand(&database.url, "update otaria_schema set version = 999".to_owned()).await;
            assert!(matches!(open(false).await, Err(StoreError::Corrupt { .. })), "a later schema");
            assert!(matches!(migrate(&database.url).await, Err(StoreError::Corrupt { .. })));
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_row_that_cannot_be_is_corrupt() {
    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let world = World::new(&store).await;
            let devices = world.devices(0..1).await;
            let job = world.job("job1", &devices).await;
            by_hand(&database.url, "update task set status = 9".to_owned()).await;
            let read = store.open_tasks(&devices).await;
            assert!(matches!(read, Err(StoreError::Corrupt { table: "task", .. })), "{read:?}");
            let counted = store.audit_counts(job.no).await;
            assert!(matches!(counted, Err(StoreError::Corrupt { .. })), "{counted:?}");
        });
    });
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_server_that_is_not_there_is_unavailable() {
    block_on(async {
        let events = std::sync::Arc::new(otaria_ports::events::NoEvents);
        let options = PostgresOptions { acquire_timeout: Duration::from_millis(300), ..options() };
        let nowhere = PostgresStore::open("postgres://nobody@127.0.0.1:1/none", options, events).await;
        assert!(matches!(nowhere, Err(StoreError::Unavailable { .. })));
    });
}
