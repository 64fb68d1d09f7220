use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use otaria_core::shard::Shard;
use otaria_core::task::TaskStatus;

use super::*;
use crate::events::{KeptEvents, NoEvents};
use crate::store::contract::world::{World, at, new_job, next, slice, state, to};
use crate::store::contract::{Case, SENTENCES};
use crate::store::{Jobs as _, Leases as _, Slice, Tasks as _};

/// No call of this store ever waits.
fn run(case: Case) {
    let events = Arc::new(KeptEvents::default());
    let store = MemoryStore::new(events.clone());
    now(case(&store, &events));
}

fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("the store in memory never waits")
}

mod contract {
    crate::store_contract!(super::run);
}

#[test]
fn every_sentence_of_the_contract_is_run() {
    let files = [
        include_str!("../contract/accounts.rs"),
        include_str!("../contract/bulk.rs"),
        include_str!("../contract/applies.rs"),
        include_str!("../contract/cancel.rs"),
        include_str!("../contract/claims.rs"),
        include_str!("../contract/deletion.rs"),
        include_str!("../contract/devices.rs"),
        include_str!("../contract/events.rs"),
        include_str!("../contract/expansion.rs"),
        include_str!("../contract/firmwares.rs"),
        include_str!("../contract/groups.rs"),
        include_str!("../contract/jobs.rs"),
        include_str!("../contract/leases.rs"),
        include_str!("../contract/nonces.rs"),
        include_str!("../contract/orders.rs"),
        include_str!("../contract/parts.rs"),
        include_str!("../contract/standing.rs"),
        include_str!("../contract/tasks.rs"),
    ];
    let lines = files.into_iter().flat_map(str::lines);
    let mut written: Vec<&str> =
        lines.filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()).collect();
    let mut run: Vec<&str> = SENTENCES.iter().map(|(name, _)| *name).collect();
    written.sort_unstable();
    run.sort_unstable();
    assert_eq!(run, written);
}

#[test]
fn a_call_that_fails_before_its_effect_changes_nothing() {
    let events = Arc::new(KeptEvents::default());
    let store = MemoryStore::new(events.clone());
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..2).await;
        let job = world.make(&new_job(&world.firmware, "job1")).await;
        let heard = events.0.lock().unwrap().len();

        let last = Slice { complete: true, ..slice(&job, 0, &devices) };
        store.fail_next(2, Fault::Before);
        for _ in 0..2 {
            let failed = store.expand(&last, at(1)).await;
            assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
        }
        assert_eq!(world.reread(&job).await, job);
        assert_eq!(events.0.lock().unwrap().len(), heard);
        assert_eq!(store.expand(&last, at(1)).await.unwrap().queued.len(), 2);
    });
}

#[test]
fn a_call_whose_answer_is_lost_has_its_effect_once() {
    let store = MemoryStore::new(Arc::new(NoEvents));
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        let task = world.task(&job, devices[0]).await;
        let change = [to(&task, state(TaskStatus::Failed, at(1)))];

        store.fail_next(1, Fault::After);
        assert!(matches!(store.settle(&change, at(1)).await, Err(StoreError::Unavailable { .. })));
        assert_eq!(store.settle(&change, at(1)).await.unwrap(), [false]);
        assert_eq!(world.task(&job, devices[0]).await.revision, task.revision + 1);
        world.check(&job).await;
    });
}

#[test]
fn calls_fail_in_the_order_in_which_they_were_asked_to() {
    let store = MemoryStore::new(Arc::new(NoEvents));
    now(async {
        let world = World::new(&store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        let task = world.task(&job, devices[0]).await;
        let change = [next(&task, &otaria_core::task::TaskEvent::Fetched, at(1))];

        store.fail_next(1, Fault::Before);
        store.fail_next(1, Fault::After);
        assert!(store.settle(&change, at(1)).await.is_err());
        assert!(store.settle(&change, at(1)).await.is_err());
        assert_eq!(world.task(&job, devices[0]).await.revision, task.revision + 1);
    });
}

/// To the millisecond, which a store with a clock of its own cannot be asked for: at one and the same instant
/// nobody is both a member and to be taken over.
#[test]
fn a_membership_ends_at_the_instant_it_lasts_until() {
    let store = MemoryStore::new(Arc::new(NoEvents));
    now(async {
        let (ttl, shard) = (Duration::from_secs(3), [Shard(0)]);
        let first = store.join(at(0), ttl).await.unwrap();
        assert_eq!(store.take_shards(first, &shard, at(0)).await.unwrap().len(), 1);
        let second = store.join(at(0), Duration::from_secs(60)).await.unwrap();

        let just_before = at(3) - Duration::from_millis(1);
        assert_eq!(store.members(just_before).await.unwrap(), [first, second]);
        assert!(store.shard_leases(just_before).await.unwrap()[0].alive);
        assert_eq!(store.take_shards(second, &shard, just_before).await.unwrap(), []);

        assert_eq!(store.members(at(3)).await.unwrap(), [second]);
        assert!(!store.shard_leases(at(3)).await.unwrap()[0].alive);
        assert!(!store.renew(first, at(3), ttl).await.unwrap());
        assert_eq!(store.take_shards(second, &shard, at(3)).await.unwrap().len(), 1);
    });
}
