//! Several processes share the shards: fairly, with little movement, and never two at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::shard::{SHARDS, Shard};
use otaria_core::time::Timestamp;
use otaria_ports::events::NoEvents;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::pusher::KeptPusher;
use otaria_ports::store::Leases;
use otaria_ports::store::memory::{Fault, MemoryStore};

use crate::process::{LEASE, Process, run};

const BEGIN: i64 = 1_800_000_000_000;

struct Cluster {
    store: Arc<MemoryStore>,
    processes: Vec<Process>,
    now: Timestamp,
}

impl Cluster {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new(Arc::new(NoEvents)));
        Self { store, processes: Vec::new(), now: Timestamp::from_millis(BEGIN) }
    }

    fn join(&mut self) {
        let (ids, pusher) = (Arc::new(CountingIds::default()), Arc::new(KeptPusher::default()));
        let objects = MemoryObjects::default();
        self.processes.push(Process::start(&self.store, &objects, &ids, pusher, false, self.now));
    }

    /// Lets time pass in steps of a tick.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now = self.now + Duration::from_millis(500);
            for process in &mut self.processes {
                run(process.owner.tick(self.now)).unwrap();
            }
            self.check();
        }
    }

    /// No shard is believed to be owned by two.
    fn check(&self) {
        let mut seen = BTreeSet::new();
        for process in &self.processes {
            let owned = process.owner.owned();
            for (shard, epoch) in &owned.shards.epochs {
                let lease = run(self.store.shard_leases(self.now)).unwrap();
                let kept = lease.iter().find(|lease| lease.shard == *shard).unwrap();
                assert_eq!((kept.member, kept.epoch), (owned.shards.member, *epoch));
                assert!(seen.insert(*shard), "{shard:?} has two owners");
            }
        }
    }

    fn shares(&self) -> Vec<usize> {
        self.processes.iter().map(|process| process.owner.owned().shards.epochs.len()).collect()
    }
}

#[test]
fn shards_are_shared_fairly_by_those_who_come() {
    let mut cluster = Cluster::new();
    cluster.join();
    cluster.pass(1);
    assert_eq!(cluster.shares(), [SHARDS]);
    let first: BTreeSet<Shard> = cluster.processes[0].owner.owned().shards.epochs.keys().copied().collect();
    for _ in 0..2 {
        cluster.join();
    }
    cluster.pass(12);
    let shares = cluster.shares();
    assert_eq!(shares.iter().sum::<usize>(), SHARDS, "all are owned: {shares:?}");
    assert!(shares.iter().all(|share| (84..=86).contains(share)), "{shares:?}");
    // The first one keeps what it has, up to its share.
    let kept = cluster.processes[0].owner.owned().shards.epochs.keys().filter(|shard| first.contains(shard));
    assert_eq!(kept.count(), shares[0]);
}

#[test]
fn the_shards_of_a_dead_process_are_taken_when_its_lease_ends() {
    let mut cluster = Cluster::new();
    for _ in 0..3 {
        cluster.join();
    }
    cluster.pass(12);
    drop(cluster.processes.remove(1));
    cluster.pass(LEASE.as_secs() - 1);
    assert!(cluster.shares().iter().sum::<usize>() < SHARDS, "nobody takes them before");
    cluster.pass(3);
    assert_eq!(cluster.shares(), [128, 128]);
}

#[test]
fn the_shards_of_a_process_that_leaves_are_taken_at_the_next_tick() {
    let mut cluster = Cluster::new();
    for _ in 0..2 {
        cluster.join();
    }
    cluster.pass(12);
    let mut leaving = cluster.processes.remove(0);
    run(leaving.owner.leave()).unwrap();
    cluster.pass(1);
    assert_eq!(cluster.shares(), [SHARDS]);
}

#[test]
fn shards_that_were_taken_unnoticed_are_found_when_the_share_is_smaller_by_then() {
    let mut cluster = Cluster::new();
    for _ in 0..2 {
        cluster.join();
    }
    cluster.pass(12);
    // The first one sleeps for longer than its lease; the second takes its shards, and the answer is lost.
    let [sleeper, taker] = &mut cluster.processes[..] else { panic!() };
    for _ in 0..LEASE.as_secs() {
        cluster.now = cluster.now + Duration::from_secs(1);
        let took = cluster.now.since(Timestamp::from_millis(BEGIN)).as_secs() == 12 + LEASE.as_secs();
        if took {
            cluster.store.fail_after(3, Fault::After);
        }
        assert_eq!(run(taker.owner.tick(cluster.now)).is_err(), took);
    }
    assert_eq!(taker.owner.owned().shards.epochs.len(), SHARDS / 2);
    // It comes back before the second one looks again: each is due a half.
    run(sleeper.owner.tick(cluster.now)).unwrap();
    cluster.pass(12);
    assert_eq!(cluster.shares(), [SHARDS / 2, SHARDS / 2]);
}

#[test]
fn every_job_is_carried_by_one_process() {
    let mut cluster = Cluster::new();
    for _ in 0..3 {
        cluster.join();
    }
    cluster.pass(12);
    for job in (1..1_000).map(JobNo) {
        let carriers = cluster.processes.iter().filter(|process| process.owner.owned().carries(job));
        assert_eq!(carriers.count(), 1, "{job}");
    }
}
