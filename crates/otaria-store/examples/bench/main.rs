//! Measures the store on a fresh file or database: registration, a shuffled list against the whole fleet,
//! claims, reports, listing; on PostgreSQL also a bare copy of the tasks that the list made.
//!
//! `cargo run --release -p otaria-store --example bench -- [devices] [folder]`
//!
//! With `POSTGRES`, a server's address, it measures a database that it makes there and drops in the end.
//!
//! Variables: `PAGES`, `WRITER_KIB`, `READER_KIB` (the store's options), `CHUNK` and `SLICE` (names),
//! `ONLY_EXPAND`, and `BASE`: a file that is made with the fleet in it if it is not there, and copied if it
//! is, so that the list can be measured again and again.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

mod copy;
mod expander;
mod measure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use otaria_core::firmware::{FirmwareKind, FirmwareName, FirmwareStatus, NewFile, NewFirmware, SignMethod};
use otaria_core::ids::{
    AccountNo, DeviceName, FirmwareId, FirmwareNo, InformedVersion, JobId, JobNo, ModuleName, ProductKey,
    Version,
};
use otaria_core::job::{JobKind, JobPolicy, JobStatus, NewJob, OverwriteMode, Schedule, Target};
use otaria_core::pace::PerMinute;
use otaria_core::shard::Shard;
use otaria_core::task::{ReportOrder, TaskEvent, TaskPolicy};
use otaria_core::time::Timestamp;
use otaria_ports::events::NoEvents;
use otaria_ports::store::*;
use otaria_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use expander::{Expander, chunk};
use measure::{Dice, memory, say};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn name(n: usize) -> DeviceName {
    DeviceName::parse(&format!("dev_{n:07}")).unwrap()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().map_or(1_000_000, |n| n.parse().unwrap());
    if let Ok(server) = std::env::var("POSTGRES") {
        return postgres(&server, count).await;
    }
    let folder = args.next().map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let mut options = SqliteOptions::default();
    let env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    options.checkpoint_pages = env("PAGES").unwrap_or(options.checkpoint_pages);
    options.writer_cache_kib = env("WRITER_KIB").unwrap_or(options.writer_cache_kib);
    options.reader_cache_kib = env("READER_KIB").unwrap_or(options.reader_cache_kib);
    println!("{options:?}");
    let path = folder.path().join("otaria.db");
    // A file that was prepared before, so that only the list is measured.
    let prepared = std::env::var("BASE").ok();
    if let Some(base) = prepared.as_ref().filter(|base| std::fs::exists(base).unwrap()) {
        std::fs::copy(base, &path).unwrap();
    }
    let store = Arc::new(SqliteStore::open(&path, options, Arc::new(NoEvents)).await.unwrap());
    let bench = Bench::prepare(store.clone(), count).await;
    if bench.store.device(bench.product.no, &name(0)).await.unwrap().is_none() {
        bench.fill().await;
    }
    if let Some(base) = prepared.filter(|base| !std::fs::exists(base).unwrap()) {
        store.close().await;
        std::fs::copy(&path, base).unwrap();
        return;
    }
    say("(prepared)", 1, Duration::from_secs(1));
    let job = bench.expand().await;
    if std::env::var("ONLY_EXPAND").is_ok() {
        store.close().await;
        return;
    }
    bench.use_it(job).await;
    let begun = Instant::now();
    store.close().await;
    say("close", 1, begun.elapsed());
    println!("file {:.1} MiB", std::fs::metadata(&path).unwrap().len() as f64 / 1_048_576.0);
}

async fn postgres(server: &str, count: usize) {
    let mut database = copy::Database::make(server).await;
    let options = PostgresOptions { migrate: true, ..PostgresOptions::default() };
    let store = PostgresStore::open(&database.url, options, Arc::new(NoEvents)).await.unwrap();
    let store = Arc::new(store);
    let bench = Bench::prepare(store.clone(), count).await;
    bench.fill().await;
    database.rest().await;
    say("(prepared)", 1, Duration::from_secs(1));
    let before = database.cpu().await;
    let job = bench.expand().await;
    println!("  the server's processes: {:.2} s", database.cpu().await - before);
    database.copy(job.0).await;
    if std::env::var("ONLY_EXPAND").is_err() {
        let before = database.cpu().await;
        bench.use_it(job).await;
        println!("  the server's processes: {:.2} s", database.cpu().await - before);
    }
    store.close().await;
    database.sizes().await;
    database.forget().await;
}

struct Bench {
    store: Arc<dyn Store>,
    product: Product,
    firmware: Firmware,
    count: usize,
}

impl Bench {
    async fn prepare(store: Arc<dyn Store>, count: usize) -> Self {
        let product = NewProduct {
            account: AccountNo(1),
            key: ProductKey::parse("a1Le6d0abcd").unwrap(),
            name: "bench".into(),
            description: String::new(),
            node_type: 0,
            sealed_secret: vec![7; 48],
        };
        let known = store.product(&product.key).await.unwrap();
        let product = match known {
            Some(product) => product,
            None => store.create_product(&product, at(0)).await.unwrap(),
        };
        let file = NewFile { name: None, url: "u".into(), size_bytes: None, sign: None, md5: None };
        let firmware = Firmware {
            no: FirmwareNo(0),
            id: FirmwareId::parse("fw1").unwrap(),
            account: AccountNo(1),
            product: product.no,
            product_key: product.new.key.clone(),
            new: NewFirmware {
                product: product.new.key.clone(),
                name: FirmwareName::parse("fw").unwrap(),
                dest_version: Version::parse("2.0.0").unwrap(),
                kind: FirmwareKind::Whole,
                module: ModuleName::default_module(),
                description: String::new(),
                files: vec![file],
                sign_method: SignMethod::Md5,
                need_to_verify: false,
                udi: String::new(),
            },
            files: vec![PackageFile {
                name: String::new(),
                url: "u".into(),
                object: "o".into(),
                size: 1,
                md5: String::new(),
                sha256: String::new(),
            }],
            status: FirmwareStatus::NoVerificationNeeded,
            created_at: at(0),
            modified_at: at(0),
        };
        let known = store.firmware(AccountNo(1), &firmware.id).await.unwrap();
        let firmware = match known {
            Some(firmware) => firmware,
            None => store.create_firmware(&firmware, at(0)).await.unwrap(),
        };
        Self { store, product, firmware, count }
    }

    /// The fleet, what it runs, and an earlier job.
    async fn fill(&self) {
        self.register().await;
        self.versions().await;
        self.busy().await;
    }

    /// All that follows on the list.
    async fn use_it(&self, job: JobNo) {
        self.list(job).await;
        self.claims(job, false).await;
        self.claims(job, true).await;
        self.next_due().await;
        self.reports(job).await;
        self.creates().await;
        let begun = Instant::now();
        println!("audit {:?}", self.store.audit_counts(job).await.unwrap());
        say("audit", self.count, begun.elapsed());
    }

    async fn register(&self) {
        let begun = Instant::now();
        for from in (0..self.count).step_by(20_000) {
            let devices: Vec<NewDevice> = (from..(from + 20_000).min(self.count))
                .map(|n| NewDevice {
                    name: name(n),
                    nickname: None,
                    sealed_secret: vec![(n % 251) as u8; 48],
                })
                .collect();
            self.store.register_devices(&self.product, &devices, at(1)).await.unwrap();
        }
        say("register, 20,000 a call", self.count, begun.elapsed());
    }

    /// Every device informs a version, every tenth the destination.
    async fn versions(&self) {
        let begun = Instant::now();
        let mut after = None;
        loop {
            let page = self.store.devices(self.product.no, after.as_ref(), 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            let reports: Vec<VersionReport> = page
                .iter()
                .map(|device| {
                    let text = if device.id.n() % 10 == 0 { "2.0.0" } else { "1.0.0" };
                    let version = ModuleVersion {
                        device: device.id,
                        module: ModuleName::default_module(),
                        version: InformedVersion::parse(text).unwrap(),
                        at: at(2),
                    };
                    VersionReport { version, order: ReportOrder { session: 1, n: 1 } }
                })
                .collect();
            self.store.take_reports(&reports, &[], at(2)).await.unwrap();
        }
        say("list devices and keep versions, 1,000 a call", self.count, begun.elapsed());
    }

    async fn make(&self, id: &str) -> Job {
        let new = NewJob {
            kind: JobKind::Static,
            product: self.product.new.key.clone(),
            firmware: self.firmware.id.clone(),
            target: Target::ListFile { file_url: "list".into() },
            schedule: Schedule::default(),
            policy: JobPolicy {
                maximum_per_minute: PerMinute::DEFAULT,
                retry: None,
                timeout: None,
                offer_timeout: None,
                overwrite: OverwriteMode::Keep,
                multi_module: false,
                need_push: true,
                need_confirm: false,
                download_protocol: Default::default(),
            },
            tags: Vec::new(),
            description: String::new(),
            client_token: None,
        };
        let create = CreateJob {
            id: JobId::parse(id).unwrap(),
            account: AccountNo(1),
            new,
            source: SourceKind::File { object: "o".into(), size: 1 },
            digest: [0; 32],
            status: JobStatus::InProgress,
            firmware: (FirmwareStatus::NoVerificationNeeded, FirmwareStatus::NoVerificationNeeded),
        };
        let CreatedJob::New(job) = self.store.create_job(&create, at(3)).await.unwrap() else {
            panic!("new")
        };
        *job
    }

    /// Another job holds every twentieth device.
    async fn busy(&self) {
        let job = self.make("busy").await;
        let names: Vec<DeviceName> = (0..self.count).step_by(20).map(|n| name(n + 1)).collect();
        let mut expander = Expander::new(self, job.clone());
        for chunk in names.chunks(chunk()) {
            expander.chunk(chunk.to_vec()).await;
        }
    }

    /// The list: 1 % unknown, 1 % twice, shuffled.
    async fn expand(&self) -> JobNo {
        let mut lines: Vec<u32> = (0..self.count as u32).collect();
        let odd = self.count / 100;
        for i in 0..odd {
            lines[i * 100] += self.count as u32;
            lines[i * 100 + 50] = lines[i * 100 + 51];
        }
        Dice(42).shuffle(&mut lines);
        let before = memory("VmRSS");
        let job = self.make("big").await;
        let stop = Arc::new(AtomicBool::new(false));
        let slowest = Arc::new(AtomicU64::new(0));
        let probe = tokio::spawn(probe(Arc::clone(&self.store), Arc::clone(&stop), Arc::clone(&slowest)));
        let begun = Instant::now();
        let mut expander = Expander::new(self, job.clone());
        for chunk in lines.chunks(chunk()) {
            expander.chunk(chunk.iter().map(|n| name(*n as usize)).collect()).await;
        }
        let spent = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        let probes = probe.await.unwrap();
        say("resolve and expand the list", self.count, spent);
        println!(
            "  resolve {:.3} s, expand {:.3} s, slowest slice {:.1} ms, growth {:.1} MiB, others waited at most {:.1} ms ({probes} probes)",
            expander.resolving.as_secs_f64(),
            expander.expanding.as_secs_f64(),
            expander.slowest.as_secs_f64() * 1e3,
            memory("VmRSS") - before,
            slowest.load(Ordering::Relaxed) as f64 / 1e3,
        );
        println!("  {:?}", expander.expansion);
        job.no
    }

    async fn list(&self, job: JobNo) {
        let mut times = Vec::new();
        let mut dice = Dice(7);
        for _ in 0..300 {
            let after = dice.next(self.count * 8 / 10) as u32;
            let begun = Instant::now();
            let page = self.store.list_tasks(job, &TaskFilter::default(), after, 100).await.unwrap();
            times.push(begun.elapsed());
            assert!(!page.tasks.is_empty());
        }
        times.sort();
        println!("page of 100 tasks: p50 {:?}, p99 {:?}", times[150], times[297]);
        let begun = Instant::now();
        let counts = self.store.task_counts(job).await.unwrap();
        println!("task counts {:?} in {:?}", counts, begun.elapsed());
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            dest_version: self.firmware.new.dest_version.clone(),
            retry: None,
            timeout: Some(Duration::from_secs(600)),
            offer_timeout: None,
        }
    }

    /// Claims 100,000 tasks, in the order of the list or at random.
    async fn claims(&self, job: JobNo, random: bool) {
        let member = self.store.join(at(0), Duration::from_secs(1_000)).await.unwrap();
        let shards: Vec<Shard> = Shard::all().collect();
        let taken = self.store.take_shards(member, &shards, at(i64::from(random) * 100_000)).await.unwrap();
        let owner = OwnedShards { member, epochs: taken.iter().map(|l| (l.shard, l.epoch)).collect() };
        let total = (self.count / 10).max(1_000);
        let mut tasks = Vec::new();
        let mut dice = Dice(99);
        let begun = Instant::now();
        let mut after = 0;
        while tasks.len() < total {
            after = if random { dice.next(self.count * 8 / 10) as u32 } else { after };
            let limit = if random { 50 } else { 1_000 };
            let filter = TaskFilter::default();
            let page = self.store.list_tasks(job, &filter, after, limit).await.unwrap();
            after = page.next.unwrap_or(0);
            let queued = |v: &TaskView| v.task.state == otaria_core::task::TaskState::Queued;
            tasks.extend(page.tasks.into_iter().filter(queued).map(|view| view.task));
        }
        tasks.sort_by_key(|task| (task.key.job, task.key.seq));
        tasks.dedup_by_key(|task| task.key.clone());
        if random {
            dice.shuffle(&mut tasks);
        }
        say("  (reading them)", tasks.len(), begun.elapsed());
        let changes: Vec<TaskChange> = tasks
            .iter()
            .map(|task| TaskChange {
                key: task.key.clone(),
                revision: task.revision,
                to: task.state.on(&TaskEvent::Claimed { not_before: at(5) }, &self.policy(), at(5)).unwrap(),
                report: None,
                notices: 0,
                desc: None,
            })
            .collect();
        let begun = Instant::now();
        let mut written = 0;
        for batch in changes.chunks(1_000) {
            written += self.store.claim(&owner, batch, at(5)).await.unwrap().iter().filter(|w| **w).count();
        }
        say(if random { "claims of random tasks" } else { "claims in order" }, written, begun.elapsed());
        if !random {
            self.mark(&changes).await;
        }
        self.store.leave(member).await.unwrap();
    }

    /// The gateways' word that the notices were written.
    async fn mark(&self, claims: &[TaskChange]) {
        let mark = |claim: &TaskChange| {
            let written = TaskEvent::Written { attempt: claim.to.attempts() };
            let to = claim.to.on(&written, &self.policy(), at(5)).unwrap();
            TaskChange { revision: claim.revision + 1, to, notices: 1, ..claim.clone() }
        };
        let marks: Vec<TaskChange> = claims.iter().map(mark).collect();
        let begun = Instant::now();
        let mut written = 0;
        for batch in marks.chunks(1_000) {
            written += self.store.settle(batch, at(6)).await.unwrap().iter().filter(|w| **w).count();
        }
        say("  and their words from the socket", written, begun.elapsed());
    }

    /// Small writes of many callers at once: they share transactions.
    async fn creates(&self) {
        let begun = Instant::now();
        let creators = (0..64).map(|caller| async move {
            for n in 0..50 {
                self.make(&format!("small{caller}x{n}")).await;
            }
        });
        futures_util::future::join_all(creators).await;
        say("jobs made by 64 callers at once", 64 * 50, begun.elapsed());
    }

    async fn next_due(&self) {
        let shards: Vec<Shard> = Shard::all().collect();
        let begun = Instant::now();
        let next = self.store.next_due(&shards).await.unwrap();
        let due = self.store.due(&shards, at(1_000_000), 1_000).await.unwrap();
        println!("next due {next:?}, {} due tasks in {:?}", due.len(), begun.elapsed());
    }

    /// The device's word on all that was claimed: progress.
    async fn reports(&self, job: JobNo) {
        let shards: Vec<Shard> = Shard::all().collect();
        let mut written = 0;
        let mut spent = Duration::ZERO;
        let mut reading = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let due = self.store.due(&shards, at(500_000), 1_000).await.unwrap();
            let devices: Vec<_> = due.iter().map(|task| task.key.device).collect();
            let open = self.store.open_tasks(&devices).await.unwrap();
            reading += begun.elapsed();
            let percent = otaria_core::task::Percent::new(10).unwrap();
            let changes: Vec<TaskChange> = open
                .iter()
                .filter(|task| task.key.job == job)
                .filter_map(|task| {
                    Some(TaskChange {
                        key: task.key.clone(),
                        revision: task.revision,
                        to: task
                            .state
                            .on(&TaskEvent::Progress { percent }, &self.policy(), at(6_000))
                            .ok()?,
                        report: Some(ReportOrder { session: 2, n: 1 }),
                        notices: 1,
                        desc: Some("downloading".into()),
                    })
                })
                .collect();
            if changes.is_empty() {
                break;
            }
            let begun = Instant::now();
            written += self
                .store
                .take_reports(&[], &changes, at(6_000))
                .await
                .unwrap()
                .written
                .iter()
                .filter(|w| **w)
                .count();
            spent += begun.elapsed();
        }
        say("reports of progress, 1,000 a call", written, spent);
        say("  (reading due and open tasks, twice)", written, reading);
    }
}

/// Somebody else's small writes meanwhile.
async fn probe(store: Arc<dyn Store>, stop: Arc<AtomicBool>, slowest: Arc<AtomicU64>) -> usize {
    let mut probes = 0;
    let member = store.join(at(0), Duration::from_secs(1_000)).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        store.renew(member, at(1), Duration::from_secs(1_000)).await.unwrap();
        let micros = begun.elapsed().as_micros() as u64;
        slowest.fetch_max(micros, Ordering::Relaxed);
        if micros > 100_000 {
            println!("  a probe waited {:.1} ms", micros as f64 / 1e3);
        }
        probes += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.leave(member).await.unwrap();
    probes
}
