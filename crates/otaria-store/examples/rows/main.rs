//! Measures what a push costs the database by the number of open tasks in it: the store's calls of dispatcher,
//! gateway and inbox for tasks of one job, among those of jobs that wait.
//!
//! `cargo run --release -p otaria-store --example rows -- TASKS=URL …`
//!
//! Each URL is that of an empty database, best on a server of its own, so that none has its pages driven out by
//! another. All are filled; then batches take turns between them, so that other work on the machine meets all
//! alike. The last line is one JSON object: microseconds a task, medians over the batches.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

mod fill;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use otaria_core::ids::{DeviceId, InformedVersion, Version};
use otaria_core::shard::Shard;
use otaria_core::task::{Percent, ReportOrder, TaskEvent, TaskKey, TaskPolicy, TaskState};
use otaria_core::time::Timestamp;
use otaria_ports::events::NoEvents;
use otaria_ports::store::{BATCH_MAX, Leases, OwnedShards, Task, TaskChange, Tasks};
use otaria_store::{PostgresOptions, PostgresStore};
use serde_json::{Value, json};

/// Tasks of the job that is pushed, about.
const PUSHED: u64 = 340_000;
/// Batches that are measured.
const BATCHES: usize = 160;
/// Batches before them: after so many the server's processes, which live long, know nearly every page of the indexes.
const WARM_UP: usize = 150;

/// The calls, in the order in which a task meets them.
const CALLS: [&str; 5] = ["probe", "claim", "mark", "report", "end"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut tables = Vec::new();
    for arg in std::env::args().skip(1) {
        let (tasks, url) = arg.split_once('=').expect("TASKS=URL");
        tables.push(Table::make(tasks.parse().unwrap(), url).await);
    }
    eprintln!("reading the tasks of the job");
    // Each in turn, a batch at a time.
    while tables.iter().any(|table| !table.devices.is_empty()) {
        for table in tables.iter_mut().filter(|table| !table.devices.is_empty()) {
            table.probe().await;
        }
    }
    for table in &mut tables {
        table.spread();
    }
    for batch in 0..WARM_UP + BATCHES {
        if batch % 10 == 0 {
            eprintln!("{batch} of {} batches", WARM_UP + BATCHES);
        }
        // Who is first is last the next time.
        tables.reverse();
        for table in &mut tables {
            table.push().await;
        }
    }
    tables.sort_by_key(|table| table.tasks);
    let mut all = BTreeMap::new();
    for table in tables {
        all.insert(table.tasks.to_string(), table.result().await);
    }
    println!("{}", json!(all));
}

/// A database with so many open tasks.
struct Table {
    tasks: u64,
    url: String,
    store: PostgresStore,
    owner: OwnedShards,
    /// Devices of the job, in their order, that were not looked at yet.
    devices: Vec<DeviceId>,
    /// Tasks that wait for their push.
    ready: Vec<Task>,
    /// Microseconds a task, by batch.
    spent: BTreeMap<&'static str, Vec<f64>>,
    cpu_before: f64,
    pushed: u64,
    fill_seconds: f64,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

fn policy() -> TaskPolicy {
    TaskPolicy {
        dest_version: Version::parse("2.0.0").unwrap(),
        retry: None,
        timeout: Some(Duration::from_secs(600)),
        offer_timeout: None,
    }
}

fn change(task: &Task, to: TaskState) -> TaskChange {
    TaskChange { key: task.key.clone(), revision: task.revision, to, report: None, notices: 0, desc: None }
}

impl Table {
    async fn make(tasks: u64, url: &str) -> Self {
        eprintln!("filling a database with {tasks} open tasks");
        let begun = Instant::now();
        let mut devices = fill::fill(url, tasks, PUSHED.min(tasks / 2)).await;
        eprintln!("{tasks}: {} of them to be pushed, {:.1?}", devices.len(), begun.elapsed());
        let fill_seconds = begun.elapsed().as_secs_f64();
        assert!(devices.len() > (WARM_UP + BATCHES) * BATCH_MAX, "too few for {BATCHES} batches");
        // A connection each for reads and for writes: the order of the calls is ours.
        let options = PostgresOptions { writers: 1, readers: 1, ..PostgresOptions::default() };
        let store = PostgresStore::open(url, options, Arc::new(NoEvents)).await.unwrap();
        let member = store.join(now(), Duration::from_secs(7_200)).await.unwrap();
        let shards: Vec<Shard> = Shard::all().collect();
        let leases = store.take_shards(member, &shards, now()).await.unwrap();
        let epochs = leases.iter().map(|lease| (lease.shard, lease.epoch)).collect();
        devices.reverse();
        Self {
            tasks,
            url: url.to_owned(),
            store,
            owner: OwnedShards { member, epochs },
            devices,
            ready: Vec::new(),
            spent: BTreeMap::new(),
            cpu_before: 0.0,
            pushed: 0,
            fill_seconds,
        }
    }

    fn note(&mut self, call: &'static str, begun: Instant, tasks: usize) {
        let micros = begun.elapsed().as_secs_f64() * 1e6 / tasks as f64;
        self.spent.entry(call).or_default().push(micros);
    }

    /// Looks at devices in their order, as the dispatcher does.
    async fn probe(&mut self) {
        let devices = self.devices.split_off(self.devices.len().saturating_sub(BATCH_MAX));
        let begun = Instant::now();
        let found = self.store.open_tasks(&devices).await.unwrap();
        self.note("probe", begun, devices.len());
        assert_eq!(found.len(), devices.len());
        self.ready.extend(found);
    }

    /// Brings the tasks into the order in which dispatchers push that share a list.
    fn spread(&mut self) {
        self.ready.sort_by_key(|task| std::cmp::Reverse(task.key.seq.wrapping_mul(0x9e37_79b1)));
    }

    /// A batch is claimed; its notices are written; its devices report, and end.
    async fn push(&mut self) {
        if self.pushed == (WARM_UP * BATCH_MAX) as u64 {
            self.cpu_before = fill::cpu(&self.url).await;
        }
        let batch = self.ready.split_off(self.ready.len() - BATCH_MAX);
        let (policy, at) = (policy(), now());

        let begun = Instant::now();
        let claimed = TaskEvent::Claimed { not_before: at };
        let claims: Vec<TaskChange> =
            batch.iter().map(|task| change(task, task.state.on(&claimed, &policy, at).unwrap())).collect();
        let written = self.store.claim(&self.owner, &claims, at).await.unwrap();
        assert!(written.iter().all(|written| *written), "a claim was refused");
        self.note("claim", begun, batch.len());

        let begun = Instant::now();
        let keys: Vec<TaskKey> = batch.iter().map(|task| task.key.clone()).collect();
        let tasks = self.store.tasks(&keys).await.unwrap();
        let mark = |task: &Task| {
            let to = task.state.on(&TaskEvent::Written { attempt: 1 }, &policy, at).unwrap();
            TaskChange { notices: 1, ..change(task, to) }
        };
        let marks: Vec<TaskChange> = tasks.iter().map(mark).collect();
        let written = self.store.settle(&marks, at).await.unwrap();
        assert!(written.len() == batch.len() && written.iter().all(|written| *written), "a mark was refused");
        self.note("mark", begun, batch.len());

        let percent = Percent::new(10).unwrap();
        self.report("report", 1, &batch, &TaskEvent::Progress { percent }).await;
        let version = InformedVersion::parse("2.0.0").unwrap();
        self.report("end", 2, &batch, &TaskEvent::Informed { version, source: None, offered_before: false })
            .await;
        self.pushed += batch.len() as u64;
    }

    /// All devices of a batch say the same.
    async fn report(&mut self, call: &'static str, n: u32, batch: &[Task], said: &TaskEvent) {
        let (policy, at) = (policy(), now());
        let devices: Vec<DeviceId> = batch.iter().map(|task| task.key.device).collect();
        let begun = Instant::now();
        let open = self.store.open_tasks(&devices).await.unwrap();
        let report = Some(ReportOrder { session: 1, n });
        let change = |task: &Task| {
            let to = task.state.on(said, &policy, at).unwrap();
            TaskChange { report, ..change(task, to) }
        };
        let changes: Vec<TaskChange> = open.iter().map(change).collect();
        let taken = self.store.take_reports(&[], &changes, at).await.unwrap();
        let written = taken.written.iter().filter(|written| **written).count();
        assert_eq!(written, batch.len(), "a report was refused");
        self.note(call, begun, batch.len());
    }

    async fn result(mut self) -> Value {
        let cpu = fill::cpu(&self.url).await - self.cpu_before;
        let measured = self.pushed - (WARM_UP * BATCH_MAX) as u64;
        let mut result: BTreeMap<&str, Value> = BTreeMap::new();
        let mut sum = 0.0;
        for call in CALLS {
            let mut batches = self.spent.remove(call).unwrap_or_default();
            let mut batches = batches.split_off(batches.len() - BATCHES);
            batches.sort_by(f64::total_cmp);
            let median = batches[batches.len() / 2];
            if matches!(call, "probe" | "claim" | "mark") {
                sum += median;
            }
            result.insert(call, rounded(median));
        }
        result.insert("micros_per_task", rounded(sum));
        result.insert("server_cpu_micros", rounded(cpu * 1e6 / measured as f64));
        result.insert("fill_seconds", rounded(self.fill_seconds));
        result.insert("mib", json!(fill::mib(&self.url).await));
        self.store.close().await;
        json!(result)
    }
}

fn rounded(number: f64) -> Value {
    json!((number * 100.0).round() / 100.0)
}
