//! What the witnesses of invariants find while something runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use otaria_core::ids::JobNo;
use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::rules::StaticUpgradeParams;
use otaria_core::task::TaskStatus;
use otaria_core::witness::COUNTER;
use otaria_engine::inbox;
use otaria_engine::janitor::{self, Retention, Work};
use otaria_engine::ownership::Ownership;
use otaria_ports::pusher::{Outcome, Settled};
use otaria_ports::store::memory::Fault;
use otaria_ports::store::{JobMove, Jobs, Leases, OwnedShards};

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World};

/// Counts what the witnesses count, and nothing else.
#[derive(Default)]
struct Alarms(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Alarms {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != COUNTER {
            return Counter::noop();
        }
        let invariant = key.labels().next().unwrap().value().to_owned();
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(invariant).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Runs something; the invariants that the witnesses found broken meanwhile, and how often.
pub(crate) fn alarms(work: impl FnOnce()) -> Vec<(String, u64)> {
    let alarms = Alarms::default();
    with_local_recorder(&alarms, work);
    let found = alarms.0.into_inner().unwrap().into_iter();
    found.map(|(invariant, count)| (invariant, count.load(Ordering::Relaxed))).collect()
}

fn one(invariant: &str) -> Vec<(String, u64)> {
    vec![(invariant.to_owned(), 1)]
}

#[test]
fn a_notice_that_was_written_long_after_its_task_was_cancelled_is_counted() {
    let mut world = World::new(9_100);
    let devices = world.devices(3, Temper::Silent);
    world.connect(&devices);
    let job = world.create(&world.all());
    world.run_until("all are told", MINUTE, |world| world.wrote.len() == 3);
    world.cancel(job, CancelFlags::EVERYTHING);
    world.run_until_completed(job, MINUTE);
    let task = world.task(job, devices[0]).unwrap();
    let shard = (task.key.device.shard(), 1);
    let word = |at| {
        let (key, outcome) = (task.key.clone(), Outcome::Written);
        Settled { key, attempt: 1, wire_id: 1, shard, fence: 0, outcome, at, until: at }
    };
    let shell = world.another_shell();

    let soon = [word(task.modified_at + MINUTE / 2)];
    assert_eq!(alarms(|| run(inbox::settle(&shell, &soon, world.now)).unwrap()), []);
    let task = world.task(job, devices[0]).unwrap();
    let late = [word(task.modified_at + MINUTE)];
    assert_eq!(alarms(|| run(inbox::settle(&shell, &late, world.now)).unwrap()), one("I5"));
}

#[test]
fn a_task_that_was_replaced_while_its_update_was_under_way_is_counted() {
    let mut world = World::new(9_102);
    let devices = world.devices(3, Temper::Silent);
    let keeping = world.all();
    let replacing = |mut params: StaticUpgradeParams| {
        params.job.overwrite_mode = Some(2);
        params
    };
    let first = world.create(&keeping);
    let honest = alarms(|| {
        let second = world.create(&replacing(world.all()));
        let third = world.create(&keeping);
        assert_eq!(world.count(first, TaskStatus::Canceled), 3);
        assert_eq!((world.count(second, TaskStatus::Queued), world.count(third, TaskStatus::Failed)), (3, 3));
    });
    assert_eq!(honest, []);

    world.store.replace_wrongly(TaskStatus::InProgress);
    let create = |params| {
        alarms(|| {
            world.create(&params);
        })
    };
    assert_eq!(create(keeping), [], "nothing is replaced");
    assert_eq!(create(replacing(world.specific(&devices[..1]))), one("I10"));
    assert_eq!(create(replacing(world.all())), [("I10".to_owned(), 3)], "each of them");
}

#[test]
fn the_audit_counts_what_it_finds() {
    let mut world = World::new(9_101);
    world.devices(3, Temper::Silent);
    let job = world.create(&world.all());
    let keep = Retention { uploads: 60 * MINUTE, jobs: 600 * MINUTE };
    let shell = world.another_shell();
    let member = run(world.store.join(world.now, MINUTE)).unwrap();
    let audit = |world: &World| {
        let shards = OwnedShards { member, epochs: BTreeMap::new() };
        let owned = Ownership { shards, since: world.now, until: world.now + MINUTE };
        assert!(run(janitor::run(&shell, Work::AuditCounters, &owned, keep, world.now)).unwrap());
    };
    world.now = world.now + 60 * MINUTE;
    assert_eq!(alarms(|| audit(&world)), []);

    let (from, to) = (JobStatus::InProgress, JobStatus::Completed);
    let end = JobMove { job, from, to, only_if_done: false, fence: false, firmware: None };
    assert!(run(world.store.move_job(&end, world.now)).unwrap());
    world.now = world.now + 60 * MINUTE;
    assert_eq!(alarms(|| audit(&world)), one("I22"));
}

/// A dispatcher that forgets what is ready, again after each sweep: its book keeps saying that the job is paused.
struct Forgetful {
    world: World,
    job: JobNo,
    /// Where the book has that from.
    elsewhere: World,
}

impl Forgetful {
    fn new(seed: u64) -> Self {
        let mut elsewhere = World::new(seed);
        elsewhere.devices(1, Temper::Silent);
        let paused = elsewhere.create(&elsewhere.all());
        elsewhere.pause(paused);

        let mut world = World::new(seed + 1);
        let devices = world.devices(60, Temper::Silent);
        world.connect(&devices);
        let mut params = world.all();
        params.job.maximum_per_minute = Some(10);
        let job = world.create(&params);
        assert_eq!(job, paused);
        Self { world, job, elsewhere }
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.world.now + span;
        while self.world.now < until {
            let book = &self.world.process.shell.book;
            book.forget(self.job);
            let believed = run(book.one(&*self.elsewhere.store, self.job)).unwrap().unwrap();
            assert_eq!(believed.job.status, JobStatus::Paused);
            self.world.step();
        }
    }
}

#[test]
fn a_dispatcher_that_forgets_tasks_again_after_each_sweep_is_counted() {
    let mut forgetful = Forgetful::new(9_102);
    let of_two_looks = || forgetful.run_for(MINUTE * 5 / 2);
    assert_eq!(alarms(of_two_looks), []);
    let left = forgetful.world.count(forgetful.job, TaskStatus::Queued);
    assert!((30..60).contains(&left), "{left}");
    assert_eq!(alarms(|| forgetful.run_for(MINUTE)), [("I19".to_owned(), left)]);
    assert_eq!(alarms(|| forgetful.run_for(MINUTE * 2)), [], "each is told of once");

    let Forgetful { mut world, .. } = forgetful;
    world.process.shell.book.forget_all();
    let rest = || world.run_until("all are told", 9 * MINUTE, |world| world.wrote.len() >= 60);
    assert_eq!(alarms(rest), []);
}

#[test]
fn nothing_is_held_against_a_dispatcher_whose_ticks_fail_now_and_then() {
    let mut forgetful = Forgetful::new(9_104);
    let again_and_again = || {
        for _ in 0..4 {
            forgetful.run_for(MINUTE * 2);
            let Forgetful { world, .. } = &mut forgetful;
            let device = world.online()[0];
            world.connect(&[device]);
            world.store.fail_after(0, Fault::Before);
            let owned = world.process.owner.owned().clone();
            assert!(run(world.process.dispatcher.tick(world.now, &owned)).is_err());
            world.store.mend();
        }
    };
    assert_eq!(alarms(again_and_again), []);
}

#[test]
fn nothing_is_counted_while_everything_goes_its_way() {
    let ordinary = |seed| {
        let mut world = World::new(seed);
        (world.jams, world.lost_outcomes) = (50, 50);
        let mut devices = world.devices(100, Temper::Obedient);
        devices.extend(world.devices(40, Temper::Failing));
        devices.extend(world.devices(40, Temper::Silent));
        let mut params = world.all();
        params.job.maximum_per_minute = Some(30);
        (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(2));
        let job = world.create(&params);
        for minute in 0..12 {
            match minute % 4 {
                1 => world.pause(job),
                2 => world.resume(job),
                _ => {}
            }
            let some: Vec<_> = devices.iter().copied().filter(|_| world.chance.permille(300)).collect();
            world.disconnect(&some);
            world.run_for(MINUTE / 4);
            let away: Vec<_> = devices.iter().copied().filter(|_| world.chance.permille(600)).collect();
            world.connect(&away);
            world.run_for(MINUTE);
        }
        world.check();
    };
    for seed in 9_200..9_206 {
        assert_eq!(alarms(|| ordinary(seed)), [], "seed {seed}");
    }
}
