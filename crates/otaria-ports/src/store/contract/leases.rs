//! Membership, ownership of shards, and periodic work.

use std::time::Duration;

use otaria_core::shard::Shard;

use super::world::at;
use crate::store::{ShardLease, Store};

const TTL: Duration = Duration::from_secs(3);
const SHARDS: [Shard; 3] = [Shard(0), Shard(7), Shard(255)];

/// Each start is a new member with a greater number, also after others left.
pub async fn each_start_is_a_new_member(store: &dyn Store) {
    let first = store.join(at(0), TTL).await.unwrap();
    let second = store.join(at(0), TTL).await.unwrap();
    store.leave(second).await.unwrap();
    let third = store.join(at(1), TTL).await.unwrap();
    assert!(first < second && second < third);
}

/// A member stays as long as it renews in time; afterwards it has to join again.
pub async fn a_renewal_in_time_keeps_the_membership(store: &dyn Store) {
    let member = store.join(at(0), TTL).await.unwrap();
    for seconds in [2, 4, 6] {
        assert!(store.renew(member, at(seconds), TTL).await.unwrap());
    }
    assert!(!store.renew(member, at(100), TTL).await.unwrap());
    assert!(!store.renew(member, at(101), TTL).await.unwrap());

    let member = store.join(at(102), TTL).await.unwrap();
    store.leave(member).await.unwrap();
    assert!(!store.renew(member, at(103), TTL).await.unwrap());
}

/// Free shards are taken under a first epoch, and listed by shard.
pub async fn free_shards_are_taken(store: &dyn Store) {
    let member = store.join(at(0), TTL).await.unwrap();
    let mut taken = store.take_shards(member, &SHARDS, at(0)).await.unwrap();
    taken.sort_by_key(|lease| lease.shard);
    assert_eq!(taken.iter().map(|lease| lease.shard).collect::<Vec<_>>(), SHARDS);
    assert!(taken.iter().all(|lease| lease.member == member && lease.epoch > 0 && lease.alive));
    assert_eq!(store.shard_leases(at(1)).await.unwrap(), taken);
    assert_eq!(store.take_shards(member, &SHARDS, at(1)).await.unwrap(), [], "it owns them already");
    assert_eq!(store.shard_leases(at(1)).await.unwrap(), taken);
}

/// Nobody takes the shards of a member that is alive.
pub async fn the_shards_of_an_alive_member_are_not_taken(store: &dyn Store) {
    let first = store.join(at(0), TTL).await.unwrap();
    let taken = store.take_shards(first, &SHARDS[..2], at(0)).await.unwrap();
    let second = store.join(at(0), Duration::from_secs(60)).await.unwrap();
    assert!(store.renew(first, at(2), TTL).await.unwrap());

    let rest = store.take_shards(second, &SHARDS, at(4)).await.unwrap();
    assert_eq!(rest.iter().map(|lease| lease.shard).collect::<Vec<_>>(), SHARDS[2..]);
    let leases = store.shard_leases(at(4)).await.unwrap();
    assert_eq!(leases, [&taken[..], &rest[..]].concat());
}

/// A take-over of a dead member's shard raises the epoch.
pub async fn a_take_over_raises_the_epoch(store: &dyn Store) {
    let first = store.join(at(0), TTL).await.unwrap();
    let old = store.take_shards(first, &SHARDS, at(0)).await.unwrap();
    let second = store.join(at(50), TTL).await.unwrap();
    let dead = store.shard_leases(at(50)).await.unwrap();
    assert!(dead.iter().all(|lease| !lease.alive));

    let new = store.take_shards(second, &SHARDS, at(51)).await.unwrap();
    assert_eq!(new.len(), SHARDS.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((new.shard, new.member, new.alive), (old.shard, second, true));
        assert!(new.epoch > old.epoch);
    }
    assert_eq!(store.shard_leases(at(51)).await.unwrap(), new);
    // Beside one that is: nobody takes in its name.
    store.join(at(199), TTL).await.unwrap();
    assert_eq!(store.take_shards(first, &SHARDS, at(200)).await.unwrap(), [], "itself is not alive");
}

/// Who leaves frees its shards at once; the next owner has a greater epoch.
pub async fn a_member_that_leaves_frees_its_shards(store: &dyn Store) {
    let first = store.join(at(0), TTL).await.unwrap();
    let old = store.take_shards(first, &SHARDS, at(0)).await.unwrap();
    store.leave(first).await.unwrap();
    let left: Vec<ShardLease> = store.shard_leases(at(0)).await.unwrap();
    assert!(left.iter().all(|lease| !lease.alive));

    let second = store.join(at(0), TTL).await.unwrap();
    let new = store.take_shards(second, &SHARDS, at(0)).await.unwrap();
    assert_eq!(new.len(), SHARDS.len());
    assert!(old.iter().zip(&new).all(|(old, new)| new.epoch > old.epoch));
    store.leave(first).await.unwrap();
    assert_eq!(store.shard_leases(at(1)).await.unwrap(), new);
}

/// A periodic work begins once a period, whoever asks; works do not hinder each other.
pub async fn a_periodic_work_begins_once_a_period(store: &dyn Store) {
    let period = Duration::from_secs(60);
    let first = store.join(at(0), period).await.unwrap();
    let second = store.join(at(0), period).await.unwrap();
    assert!(store.begin_run("audit", first, at(0), period).await.unwrap());
    for (member, seconds) in [(first, 0), (second, 0), (second, 30), (first, 59)] {
        assert!(!store.begin_run("audit", member, at(seconds), period).await.unwrap());
    }
    assert!(store.begin_run("purge", second, at(30), period).await.unwrap());
    assert!(store.begin_run("audit", second, at(60), period).await.unwrap());
    assert!(!store.begin_run("audit", first, at(61), period).await.unwrap());
}

/// Those who are alive are members, by number; a shard that is released is taken by another, and its old owner
/// writes nothing under it.
pub async fn a_released_shard_is_free(store: &dyn Store) {
    let first = store.join(at(0), TTL).await.unwrap();
    let second = store.join(at(0), Duration::from_secs(60)).await.unwrap();
    assert_eq!(store.members(at(1)).await.unwrap(), [first, second]);
    assert_eq!(store.members(at(10)).await.unwrap(), [second]);

    let taken = store.take_shards(first, &SHARDS, at(1)).await.unwrap();
    store.release_shards(second, &SHARDS).await.unwrap();
    assert_eq!(store.shard_leases(at(1)).await.unwrap(), taken, "they were not its own");
    store.release_shards(first, &SHARDS[..1]).await.unwrap();
    let free = store.shard_leases(at(1)).await.unwrap();
    assert_eq!(free.iter().map(|lease| lease.alive).collect::<Vec<_>>(), [false, true, true]);
    let moved = store.take_shards(second, &SHARDS, at(1)).await.unwrap();
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].shard, moved[0].member), (SHARDS[0], second));
    assert!(moved[0].epoch > taken[0].epoch);
}
