//! Everything at once: several processes expand, claim, report, register, delete, group and cancel over the same
//! devices, and in the end everything that is counted is what there is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use otaria_core::gray::GrayPercent;
use otaria_core::ids::{DEFAULT_ACCOUNT, DeviceId, GroupId};
use otaria_core::job::{OverwriteMode, Target};
use otaria_core::task::{CancelCause, ReportOrder, TaskStatus};
use otaria_ports::store::contract::world::{
    World, at, claim, device_name, informed, module, new_device, new_job, slice, state, to, version,
};
use otaria_ports::store::{
    CreatedJob, Devices, Groups, Job, Jobs, ModuleVersion, NewGroup, OwnedShards, SourceKind, StoreError,
    Task, Tasks, VersionReport,
};
use otaria_store::PostgresStore;

use crate::server::{block_on, number, with_database};

const DEVICES: usize = 600;
const SLICE: usize = 60;

/// Chance that can be replayed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn some(&mut self, devices: &[DeviceId], count: usize) -> Vec<DeviceId> {
        (0..count).map(|_| devices[self.roll(devices.len())]).collect()
    }
}

/// What everybody sees.
struct Crowd<'w> {
    world: &'w World<'w>,
    devices: &'w [DeviceId],
    jobs: &'w [Job],
    owner: &'w OwnedShards,
    over: &'w AtomicBool,
}

/// Whatever somebody else did before is no failure; that the store gave up is.
fn fine<T>(doing: &str, result: Result<T, StoreError>) -> Option<T> {
    match result {
        Ok(made) => Some(made),
        Err(StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Exists { .. }) => None,
        Err(error) => panic!("{doing}: {error:?}"),
    }
}

impl Crowd<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    async fn expand(&self, store: &PostgresStore, job: &Job) {
        for (step, devices) in self.devices.chunks(SLICE).enumerate() {
            let mut left = devices.to_vec();
            let is_last = (step + 1) * SLICE == DEVICES;
            loop {
                let mut slice = slice(job, step as u64, &left);
                slice.complete = is_last;
                match store.expand(&slice, at(1)).await {
                    Err(StoreError::NotFound { .. }) => {
                        let found = store.devices_by_id(&left).await.unwrap();
                        left = found.into_iter().flatten().map(|device| device.id).collect();
                    }
                    written => {
                        written.unwrap();
                        break;
                    }
                }
            }
        }
    }

    async fn open(&self, store: &PostgresStore, dice: &mut Dice, count: usize) -> Vec<Task> {
        store.open_tasks(&dice.some(self.devices, count)).await.unwrap()
    }

    async fn claim(&self, store: &PostgresStore, mut dice: Dice) {
        while self.goes_on() {
            let tasks = self.open(store, &mut dice, 40).await;
            let queued = tasks.iter().filter(|task| task.state.status() == TaskStatus::Queued);
            let claims: Vec<_> = queued.map(|task| claim(task, at(2))).collect();
            fine("claiming", store.claim(self.owner, &claims, at(2)).await);
        }
    }

    async fn report(&self, store: &PostgresStore, mut dice: Dice, session: i64) {
        for n in 1.. {
            if !self.goes_on() {
                return;
            }
            let meant = dice.some(self.devices, 30);
            let reports = meant.into_iter().map(|device| {
                let (module, version) = (module("default"), informed(&format!("1.{}", dice.roll(4))));
                let version = ModuleVersion { device, module, version, at: at(3) };
                VersionReport { version, order: ReportOrder { session, n } }
            });
            let reports: Vec<_> = reports.collect();
            let tasks = self.open(store, &mut dice, 30).await;
            let statuses = [TaskStatus::InProgress, TaskStatus::Succeeded, TaskStatus::Failed];
            let changes: Vec<_> =
                tasks.iter().map(|task| to(task, state(statuses[dice.roll(3)], at(3)))).collect();
            fine("reporting", store.take_reports(&reports, &changes, at(3)).await);
        }
    }

    async fn register(&self, store: &PostgresStore) {
        for call in 0.. {
            if !self.goes_on() {
                return;
            }
            // Every name is asked for twice.
            let names = (0..20).map(|n| device_name(DEVICES + call * 10 + n));
            let new: Vec<_> = names.map(|name| new_device(&name)).collect();
            fine("registering", store.register_devices(&self.world.product, &new, at(4)).await);
        }
    }

    async fn delete(&self, store: &PostgresStore, mut dice: Dice) {
        while self.goes_on() {
            let device = dice.some(&self.devices[DEVICES / 2..], 1)[0];
            fine("deleting", store.delete_device(device, at(5)).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn group(&self, store: &PostgresStore, mut dice: Dice, name: &str) {
        let id = GroupId::parse(&format!("{name}1234")).unwrap();
        let (account, name, description) = (DEFAULT_ACCOUNT, format!("group {name}"), String::new());
        let new = NewGroup { id, account, name, description, parent: None, expression: None };
        let group = store.create_group(&new, at(0)).await.unwrap();
        while self.goes_on() {
            fine("adding", store.add_to_group(group.no, &dice.some(self.devices, 20)).await);
            fine("taking", store.take_from_group(group.no, &dice.some(self.devices, 10)).await);
        }
    }

    async fn cancel(&self, store: &PostgresStore, job: &Job) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let mask = 1 << TaskStatus::Queued.code() | 1 << TaskStatus::Notified.code();
        store.request_cancel(job.no, mask, CancelCause::Operator, at(6)).await.unwrap();
        while self.goes_on() {
            fine("sweeping", store.sweep_cancel(job.no, 50, at(6)).await);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Makes jobs that hold the product alone for a moment.
    async fn make(&self, store: &PostgresStore) {
        let mut parts = 0;
        for n in 0.. {
            if !self.goes_on() {
                assert!(parts > 1, "{parts} of {n} parts held somebody");
                return;
            }
            let mut new = new_job(&self.world.firmware, &format!("made{n}"));
            new.source = SourceKind::Part { matching: 0, count: 0, last: None };
            let percent = GrayPercent::parse("50").unwrap();
            new.new.target = Target::Gray { percent, src_versions: vec![version("1.1")] };
            let made = store.create_job(&new, at(7)).await.unwrap();
            // At first nobody has that version.
            if let CreatedJob::New(job) = made {
                let SourceKind::Part { matching, count, .. } = job.source else { panic!("{job:?}") };
                assert!(count > 0 && count == matching / 2, "{count} of {matching}");
                // A later look at everybody finds those who matched when the job was made.
                tokio::time::sleep(Duration::from_millis(30)).await;
                let drawn = store.scan_drawn(job.no, None, 10_000).await.unwrap();
                let matched = drawn.iter().filter(|drawn| drawn.version_then == Some(informed("1.1")));
                assert_eq!(matched.count() as u64, matching, "{}", job.id);
                parts += 1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn look(&self, store: &PostgresStore) {
        while self.goes_on() {
            for job in self.jobs {
                // Within one statement kept counts and tasks are of one moment.
                assert_eq!(store.audit_counts(job.no).await.unwrap(), [], "job {}", job.id);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_crowd_of_writers_leaves_everything_counted() {
    with_database(|database| {
        block_on(async {
            let stores = join_all((0..3).map(|_| database.open_silent())).await;
            let [a, b, c] = stores.as_slice() else { panic!("three") };
            let world = World::new(a).await;
            let devices = world.devices(0..DEVICES).await;
            let owner = world.own_everything(at(0)).await;
            let mut jobs = Vec::new();
            for (n, overwrite) in
                [OverwriteMode::Keep, OverwriteMode::Replace, OverwriteMode::Replace].into_iter().enumerate()
            {
                let mut new = new_job(&world.firmware, &format!("job{n}"));
                new.new.policy.overwrite = overwrite;
                jobs.push(world.make(&new).await);
            }
            let over = AtomicBool::new(false);
            let crowd = Crowd { world: &world, devices: &devices, jobs: &jobs, owner: &owner, over: &over };
            let expanded = async {
                join_all([crowd.expand(a, &jobs[0]), crowd.expand(b, &jobs[1]), crowd.expand(c, &jobs[2])])
                    .await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                over.store(true, Ordering::Relaxed);
            };
            let seed = std::env::var("OTARIA_TEST_SEED").map_or(20_261_122, |seed| seed.parse().unwrap());
            println!("seed {seed}");
            let dice = |n: u64| Dice(seed + n);
            let all: Vec<BoxFuture<'_, ()>> = vec![
                Box::pin(expanded),
                Box::pin(crowd.claim(a, dice(1))),
                Box::pin(crowd.claim(b, dice(2))),
                Box::pin(crowd.report(a, dice(3), 1)),
                Box::pin(crowd.report(b, dice(4), 2)),
                Box::pin(crowd.report(c, dice(5), 3)),
                Box::pin(crowd.register(a)),
                Box::pin(crowd.register(c)),
                Box::pin(crowd.delete(b, dice(6))),
                Box::pin(crowd.group(a, dice(7), "first")),
                Box::pin(crowd.group(b, dice(8), "second")),
                Box::pin(crowd.cancel(c, &jobs[1])),
                Box::pin(crowd.make(a)),
                Box::pin(crowd.look(c)),
            ];
            join_all(all).await;

            for job in &jobs {
                world.check(job).await;
            }
            let nothing = [
                (
                    "versions are counted",
                    "select count(*) from version_count c full join
                        (select module, version, count(*) as n from device_module group by 1, 2) m
                         on m.module = c.module and m.version = c.version where m.n is distinct from c.n",
                ),
                (
                    "devices are counted",
                    "select abs((select device_count from product) - (select count(*) from device))",
                ),
                (
                    "members are counted",
                    "select count(*) from device_group g where device_count <>
                        (select count(*) from group_member m where m.group_no = g.no and m.removed is null)",
                ),
                (
                    "who is gone has nothing",
                    "select (select count(*) from task t join device_gone g on g.id = t.device_id where t.open)
                          + (select count(*) from device_module m join device_gone g on g.id = m.device_id)
                          + (select count(*) from group_member m join device_gone g on g.id = m.device_id
                              where m.removed is null)",
                ),
                (
                    "one open task of a device",
                    "select count(*) from (select device_id from task where open group by 1
                                           having count(*) > 1) t",
                ),
                (
                    "nobody was in anybody's way for good",
                    "select deadlocks from pg_stat_database where datname = current_database()",
                ),
            ];
            for (what, statement) in nothing {
                assert_eq!(number(database, statement).await, 0, "{what}");
            }
            let done = number(database, "select count(*) from task where not open").await;
            let gone = number(database, "select count(*) from device_gone").await;
            println!("{done} tasks ended, {gone} devices deleted");
            assert!(done > 100 && gone > 10, "the crowd did something");
        });
    });
}
