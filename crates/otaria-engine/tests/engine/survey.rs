//! A job whose hint was lost is found: when other shards are owned, when something may have been missed, and
//! every minute. And not more often than that: a survey reads every unfinished job.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::time::Timestamp;
use otaria_engine::Wake;
use otaria_engine::expander::Expander;
use otaria_engine::ownership::Ownership;
use otaria_ports::bus::Signal;

use crate::process::run;
use crate::world::{MINUTE, World};

/// A job that waits for its expansion, and no loop knows.
fn forgotten(world: &World) -> JobNo {
    let names: String = (0..2_000).map(|n| format!("nobody-{n}\n")).collect();
    let job = world.create(&world.listed(names.as_bytes()));
    assert_eq!(world.process.shell.expand_hints.take(), [job]);
    assert!(!world.expansion(job).complete);
    job
}

/// An expander that looked at all jobs just now, and found none.
fn looked(world: &World) -> Expander {
    let mut expander = Expander::new(Arc::clone(&world.process.shell));
    assert_eq!(run(expander.tick(world.now, world.process.owner.owned())).unwrap(), Wake::OnSignal);
    expander
}

/// Whether a tick finds the job.
fn finds(world: &World, expander: &mut Expander, job: JobNo, now: Timestamp, owned: &Ownership) -> bool {
    run(expander.tick(now, owned)).unwrap();
    world.expansion(job).complete
}

#[test]
fn every_minute_and_not_before() {
    let world = World::new(81);
    let (mut expander, mut last) = (looked(&world), world.now);
    let owned = world.process.owner.owned();
    for _ in 0..2 {
        let job = forgotten(&world);
        let next = last + MINUTE;
        assert!(!finds(&world, &mut expander, job, next - Duration::from_millis(1), owned));
        assert!(finds(&world, &mut expander, job, next, owned));
        last = next;
    }
}

#[test]
fn when_a_shard_changed_its_owner_and_came_back() {
    let world = World::new(82);
    let mut expander = looked(&world);
    let job = forgotten(&world);
    let mut owned = world.process.owner.owned().clone();
    *owned.shards.epochs.values_mut().next().unwrap() += 1;
    assert!(finds(&world, &mut expander, job, world.now, &owned));

    let other = forgotten(&world);
    assert!(!finds(&world, &mut expander, other, world.now, &owned), "these are the same shards as before");
}

#[test]
fn when_something_was_missed_and_once_for_that() {
    let world = World::new(83);
    let mut expander = looked(&world);
    let owned = world.process.owner.owned();
    let job = forgotten(&world);
    world.process.shell.deps.bus.tell(Signal::Missed);
    world.process.shell.hear();
    assert!(finds(&world, &mut expander, job, world.now, owned));

    let other = forgotten(&world);
    assert!(!finds(&world, &mut expander, other, world.now, owned));
}
