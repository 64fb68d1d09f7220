//! Several processes share the shards: fairly, with little movement, and never two at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::shard::{SHARDS, Shard};
use otaria_core::time::Timestamp;
use otaria_engine::Wake;
use otaria_engine::ownership::{Owner, Ownership};
use otaria_ports::events::NoEvents;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::pusher::KeptPusher;
use otaria_ports::store::Leases;
use otaria_ports::store::memory::{Fault, MemoryStore};

use crate::alarms::alarms;
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
    assert!(leaving.owner.owned().shards.epochs.is_empty(), "it claims nothing any more");
    cluster.pass(1);
    assert_eq!(cluster.shares(), [SHARDS]);
}

/// It joins, renews itself, and takes nothing: what nobody else would notice.
#[test]
fn shards_that_a_member_leaves_lying_are_counted() {
    let mut cluster = Cluster::new();
    cluster.join();
    let idler = run(cluster.store.join(cluster.now, LEASE)).unwrap();
    let mut pass = |seconds: u64| {
        for _ in 0..seconds {
            assert!(run(cluster.store.renew(idler, cluster.now, LEASE)).unwrap());
            cluster.pass(1);
        }
    };
    assert_eq!(alarms(|| pass(30)), []);
    let expected = vec![("I20".to_owned(), (SHARDS / 2) as u64)];
    assert_eq!(alarms(|| pass(60)), expected, "each once");
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

/// What the owner keeps back from a lease's end.
const MARGIN: Duration = Duration::from_millis(100);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A process that believed longer than the store would write beside its follower.
#[test]
fn a_lease_is_believed_in_for_less_long_than_the_store_keeps_it() {
    let mut cluster = Cluster::new();
    cluster.join();
    let owner = &mut cluster.processes[0].owner;
    let Ownership { shards: first, since, until } = owner.owned().clone();
    assert_eq!((since, until), (cluster.now, cluster.now + LEASE - MARGIN), "after the start");

    let renewed = cluster.now + Duration::from_secs(5);
    run(owner.tick(renewed)).unwrap();
    let until = renewed + LEASE - MARGIN;
    assert_eq!(*owner.owned(), Ownership { shards: first.clone(), since, until });

    let rejoined = renewed + LEASE;
    run(owner.tick(rejoined)).unwrap();
    let Ownership { shards: second, since, until } = owner.owned().clone();
    assert_eq!((since, until), (rejoined, rejoined + LEASE - MARGIN), "after it ran out");
    assert!(second.member > first.member);
    assert_eq!(second.epochs.len(), SHARDS);
    assert!(second.epochs.iter().all(|(shard, epoch)| *epoch > first.epochs[shard]));

    let in_time = until - Duration::from_millis(1);
    run(owner.tick(in_time)).unwrap();
    assert_eq!(owner.owned().since, rejoined);
    // The store still took it for a member; by its own clock it was none for a moment.
    let barely = owner.owned().until;
    run(owner.tick(barely)).unwrap();
    assert_eq!((owner.owned().shards.member, owner.owned().since), (second.member, barely));
}

/// One renewal may fail, and four more, before a lease ends.
#[test]
fn a_lease_is_renewed_every_second_or_six_times_while_it_lasts() {
    let mut cluster = Cluster::new();
    cluster.join();
    let process = &mut cluster.processes[0];
    let next = run(process.owner.tick(cluster.now)).unwrap();
    assert_eq!(next, Wake::At(cluster.now + ms(1_000)), "of fifteen seconds");

    let ttl = Duration::from_secs(3);
    let member = run(cluster.store.join(cluster.now, ttl)).unwrap();
    let short = Owner::begin(Arc::clone(&process.shell), member, ttl, false, cluster.now);
    let mut short = run(short).unwrap();
    assert_eq!(run(short.tick(cluster.now)).unwrap(), Wake::At(cluster.now + ms(500)));
}

/// Notices claimed under a shard are written, or too late, before another may claim for its devices.
#[test]
fn a_shard_is_handed_over_when_nothing_of_its_old_owner_is_under_way() {
    let mut cluster = Cluster::new();
    cluster.join();
    cluster.join();
    let at = |millis| cluster.now + ms(millis);
    let [old, new] = &mut cluster.processes[..] else { panic!() };
    let owned = |process: &Process| process.owner.owned().shards.epochs.len();

    run(old.owner.tick(at(0))).unwrap();
    assert_eq!(owned(old), SHARDS - 32, "a few at a time");
    run(old.owner.tick(at(799))).unwrap();
    run(new.owner.tick(at(799))).unwrap();
    assert_eq!((owned(old), owned(new)), (SHARDS - 64, 0));
    run(old.owner.tick(at(800))).unwrap();
    run(new.owner.tick(at(800))).unwrap();
    assert_eq!((owned(old), owned(new)), (SHARDS - 96, 32));
    run(old.owner.tick(at(1_000))).unwrap();
    run(new.owner.tick(at(1_000))).unwrap();
    assert_eq!((owned(old), owned(new)), (SHARDS / 2, 32), "the second ones are not through yet");
}

/// What is being handed over still counts: taking others meanwhile would be too much.
#[test]
fn nobody_takes_more_than_its_share_while_it_hands_over() {
    let mut cluster = Cluster::new();
    cluster.join();
    cluster.join();
    cluster.pass(12);
    cluster.join();
    let now = cluster.now;
    let [first, second, _] = &mut cluster.processes[..] else { panic!() };
    let owned = |process: &Process| process.owner.owned().shards.epochs.len();

    run(first.owner.tick(now)).unwrap();
    assert_eq!(owned(first), 96);
    run(second.owner.leave()).unwrap();
    run(first.owner.tick(now + ms(100))).unwrap();
    assert_eq!(owned(first), 96, "with 32 on their way it has its half");
    run(first.owner.tick(now + ms(800))).unwrap();
    assert_eq!(owned(first), 128);
}

/// The embedded server holds its folder's lock: after a crash it need not wait for its own old lease.
#[test]
fn who_is_alone_takes_everything_at_once() {
    let mut cluster = Cluster::new();
    cluster.join();
    let before = cluster.processes.remove(0).owner.owned().shards.clone();
    let (ids, pusher) = (Arc::new(CountingIds::default()), Arc::new(KeptPusher::default()));
    let process = Process::start(&cluster.store, &MemoryObjects::default(), &ids, pusher, true, cluster.now);
    let owned = process.owner.owned().shards.clone();
    assert_eq!(owned.epochs.len(), SHARDS);
    assert!(owned.epochs.iter().all(|(shard, epoch)| *epoch > before.epochs[shard]));
    assert!(!run(cluster.store.renew(before.member, cluster.now, LEASE)).unwrap(), "it is gone for good");

    // Also beside a member that nobody told it of.
    cluster.processes.push(process);
    cluster.join();
    cluster.pass(2);
    assert_eq!(cluster.shares(), [SHARDS, 0]);
}

/// From then on nothing of an earlier owner is written, so the new one may claim.
#[test]
fn gateways_are_told_of_an_epoch_before_the_shard_counts_as_owned() {
    let mut cluster = Cluster::new();
    cluster.join();
    let (ids, pusher) = (Arc::new(CountingIds::default()), Arc::new(KeptPusher::default()));
    cluster.now = cluster.now + LEASE;
    let objects = MemoryObjects::default();
    let process = Process::start(&cluster.store, &objects, &ids, pusher.clone(), false, cluster.now);
    let told: BTreeMap<Shard, i64> = pusher.epochs.lock().unwrap().iter().copied().collect();
    assert_eq!(told, process.owner.owned().shards.epochs);
    assert!(told.len() == SHARDS && told.values().all(|epoch| *epoch == 2), "a first owner was before");
}

/// What it was about to hand over was lost with it, and is nobody's.
#[test]
fn who_joins_anew_hands_nothing_over_from_before() {
    let mut cluster = Cluster::new();
    cluster.join();
    cluster.join();
    let first = &mut cluster.processes[0];
    run(first.owner.tick(cluster.now)).unwrap();
    let member = first.owner.owned().shards.member;
    run(cluster.store.leave(member)).unwrap();
    run(first.owner.tick(cluster.now + ms(100))).unwrap();
    assert_eq!(first.owner.owned().shards.epochs.len(), SHARDS / 2);
}
