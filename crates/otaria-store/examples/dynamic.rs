//! Measures dynamic jobs in a small fleet and in a large one, side by side: what a creation costs, and what a
//! report of a version costs while a dynamic job stands. Neither may depend on how many devices there are.
//!
//! `cargo run --release -p otaria-store --example dynamic -- [small] [large] [folder]`
//!
//! Prints medians, and how much the large fleet costs of the small one.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use otaria_core::firmware::{FirmwareKind, FirmwareName, FirmwareStatus, NewFile, NewFirmware, SignMethod};
use otaria_core::ids::{
    AccountNo, DeviceId, DeviceName, FirmwareId, FirmwareNo, InformedVersion, JobId, ModuleName, ProductKey,
    Version,
};
use otaria_core::job::{
    DownloadProtocol, DynamicMode, JobEvent, JobKind, JobPolicy, JobStatus, NewJob, OverwriteMode, Schedule,
    Target,
};
use otaria_core::pace::PerMinute;
use otaria_core::scope::Scope;
use otaria_core::task::ReportOrder;
use otaria_core::time::Timestamp;
use otaria_ports::events::NoEvents;
use otaria_ports::store::*;
use otaria_store::{SqliteOptions, SqliteStore};

/// Lines that a create call expands before it answers.
const AT_ONCE: usize = 1_000;
/// Jobs made of each kind.
const JOBS: usize = 25;
/// Reports of a batch, and batches: together no more than the small fleet has devices.
const BATCH: usize = 50;
const BATCHES: usize = 20;

/// The medians of one fleet.
struct Medians(Vec<(&'static str, Duration)>);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mut size = |default| args.next().map_or(default, |n| n.parse::<usize>().unwrap());
    let (small, large) = (size(1_000), size(1_000_000));
    assert!(small >= BATCH * BATCHES, "the small fleet needs {} devices", BATCH * BATCHES);
    let folder = args.next().map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let one = measure(&folder.path().join("small.db"), small).await;
    let other = measure(&folder.path().join("large.db"), large).await;
    println!("\nmedians of{:<44} {small:>12} {large:>12}", "");
    for ((what, of_small), (_, of_large)) in one.0.into_iter().zip(other.0) {
        let ratio = of_large.as_secs_f64() / of_small.as_secs_f64();
        println!("{what:<54} {of_small:>12.1?} {of_large:>12.1?}   x {ratio:.2}");
    }
}

async fn measure(path: &Path, count: usize) -> Medians {
    let begun = Instant::now();
    let store = SqliteStore::open(path, SqliteOptions::default(), Arc::new(NoEvents)).await.unwrap();
    let fleet = Fleet::make(Arc::new(store), count).await;
    println!("{count} devices with versions in {:.1?}", begun.elapsed());
    let chosen = fleet.chosen().await;
    let mut medians = Medians(Vec::new());

    let mut spent = Vec::new();
    for n in 0..JOBS {
        let firmware = fleet.firmware(&format!("later{n}")).await;
        let begun = Instant::now();
        let job = fleet.job(firmware, DynamicMode::LaterOnly, &["1.0.0"]).await;
        spent.push(begun.elapsed());
        fleet.end(&job).await;
    }
    medians.add("create, only devices that report from now on", spent);

    let mut spent = Vec::new();
    for n in 0..JOBS {
        let firmware = fleet.firmware(&format!("now{n}")).await;
        let begun = Instant::now();
        let job = fleet.job(firmware, DynamicMode::NowAndLater, &["1.0.0"]).await;
        fleet.first_lines(&job).await;
        spent.push(begun.elapsed());
        fleet.end(&job).await;
    }
    medians.add("create by SrcVersion, and its first 1,000 devices", spent);

    // Without a dynamic job, beside one that they do not match, and coming to one.
    let mut order = 2..;
    let spent = fleet.reports(&chosen, "1.2.0", order.next().unwrap()).await;
    medians.add("50 reports without a dynamic job", spent);
    let job = fleet.job(fleet.firmware("stands").await, DynamicMode::LaterOnly, &["1.5.0"]).await;
    let spent = fleet.reports(&chosen, "1.3.0", order.next().unwrap()).await;
    medians.add("50 reports that do not match a dynamic job", spent);
    let spent = fleet.reports(&chosen, "1.5.0", order.next().unwrap()).await;
    medians.add("50 reports that come to a dynamic job", spent);
    let joined = fleet.store.task_counts(job.no).await.unwrap().total();
    assert_eq!(joined, (BATCH * BATCHES) as u64, "everybody who reported joined");
    let spent = fleet.reports(&chosen, "1.5.0", order.next().unwrap()).await;
    medians.add("50 reports of devices that came to it before", spent);
    fleet.store.close().await;
    medians
}

impl Medians {
    fn add(&mut self, what: &'static str, mut spent: Vec<Duration>) {
        spent.sort_unstable();
        self.0.push((what, spent[spent.len() / 2]));
    }
}

struct Fleet {
    store: Arc<SqliteStore>,
    product: Product,
    count: usize,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn report(device: DeviceId, version: &str, n: u32) -> VersionReport {
    let version = ModuleVersion {
        device,
        module: ModuleName::default_module(),
        version: InformedVersion::parse(version).unwrap(),
        at: at(2),
    };
    VersionReport { version, order: ReportOrder { session: 1, n } }
}

impl Fleet {
    /// Registers the devices; each informs version 1.0.0 or 1.1.0.
    async fn make(store: Arc<SqliteStore>, count: usize) -> Self {
        let product = NewProduct {
            account: AccountNo(1),
            key: ProductKey::parse("a1Le6d0abcd").unwrap(),
            name: "bench".into(),
            description: String::new(),
            node_type: 0,
            sealed_secret: vec![7; 48],
        };
        let product = store.create_product(&product, at(0)).await.unwrap();
        for from in (0..count).step_by(20_000) {
            let device = |n: usize| NewDevice {
                name: DeviceName::parse(&format!("dev_{n:07}")).unwrap(),
                nickname: None,
                sealed_secret: vec![(n % 251) as u8; 48],
            };
            let devices: Vec<NewDevice> = (from..(from + 20_000).min(count)).map(device).collect();
            let ids = store.register_devices(&product, &devices, at(1)).await.unwrap();
            for ids in ids.chunks(1_000) {
                let version = |id: &DeviceId| if id.n() % 2 == 0 { "1.0.0" } else { "1.1.0" };
                let reports: Vec<_> = ids.iter().flatten().map(|id| report(*id, version(id), 1)).collect();
                store.take_reports(&reports, &[], at(2)).await.unwrap();
            }
        }
        Self { store, product, count }
    }

    /// As many devices as report, from all over the fleet.
    async fn chosen(&self) -> Vec<DeviceId> {
        let every = self.count / (BATCH * BATCHES);
        let name = |n: usize| DeviceName::parse(&format!("dev_{:07}", n * every)).unwrap();
        let names: Vec<DeviceName> = (0..BATCH * BATCHES).map(name).collect();
        let module = ModuleName::default_module();
        let found = self.store.resolve(self.product.no, i64::MAX, &module, &names).await.unwrap();
        found.into_iter().map(|found| found.unwrap().device).collect()
    }

    /// Makes a dynamic job, named as its package.
    async fn job(&self, firmware: Firmware, mode: DynamicMode, sources: &[&str]) -> Job {
        let id = JobId::parse(firmware.id.as_str()).unwrap();
        let policy = JobPolicy {
            maximum_per_minute: PerMinute::DEFAULT,
            retry: None,
            timeout: None,
            offer_timeout: None,
            overwrite: OverwriteMode::Keep,
            multi_module: false,
            need_push: true,
            need_confirm: false,
            download_protocol: DownloadProtocol::default(),
        };
        let new = NewJob {
            kind: JobKind::Dynamic,
            product: self.product.new.key.clone(),
            firmware: firmware.id,
            target: Target::All {
                src_versions: sources.iter().map(|text| Version::parse(text).unwrap()).collect(),
            },
            schedule: Schedule::default(),
            policy,
            tags: Vec::new(),
            description: String::new(),
            client_token: None,
        };
        let create = CreateJob {
            id,
            account: AccountNo(1),
            new,
            source: SourceKind::Standing { mode, group: None },
            digest: [0; 32],
            status: JobStatus::InProgress,
            firmware: (FirmwareStatus::NoVerificationNeeded, FirmwareStatus::NoVerificationNeeded),
        };
        match self.store.create_job(&create, at(3)).await.unwrap() {
            CreatedJob::New(job) => *job,
            other => panic!("{other:?}"),
        }
    }

    async fn firmware(&self, name: &str) -> Firmware {
        let file = NewFile { name: None, url: "u".into(), size_bytes: None, sign: None, md5: None };
        let firmware = Firmware {
            no: FirmwareNo(0),
            id: FirmwareId::parse(name).unwrap(),
            account: AccountNo(1),
            product: self.product.no,
            product_key: self.product.new.key.clone(),
            new: NewFirmware {
                product: self.product.new.key.clone(),
                name: FirmwareName::parse(name).unwrap(),
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
        self.store.create_firmware(&firmware, at(3)).await.unwrap()
    }

    /// What a create call does of the walk over the devices before it answers.
    async fn first_lines(&self, job: &Job) {
        let module = ModuleName::default_module();
        let scan = self.store.scan(self.product.no, job.upto, &module, None, AT_ONCE).await.unwrap();
        let dest = Version::parse("2.0.0").unwrap();
        let scope = Scope::new(&dest, job.new.target.src_versions(), None);
        let last = scan.last().map(|(name, _)| name.to_string());
        let lines = scan.len() as u64;
        let (meant, others): (Vec<_>, Vec<_>) =
            scan.into_iter().map(|(_, found)| found).partition(|found| scope.takes(found.version.as_ref()));
        let task = |found: Candidate| NewTask { device: found.device, src_version: found.version };
        let mut tasks: Vec<NewTask> = meant.into_iter().map(task).collect();
        tasks.sort_unstable_by_key(|task| task.device);
        let mut skipped: Vec<DeviceId> = others.into_iter().map(|found| found.device).collect();
        skipped.sort_unstable();
        let slice = Slice {
            job: job.no,
            from: Cursor::default(),
            to: Cursor { offset: lines, slice: 0, after: last },
            complete: false,
            lines,
            tasks,
            skipped,
            rejected: Rejections::default(),
            rejects: Vec::new(),
        };
        self.store.expand(&slice, at(4)).await.unwrap();
    }

    async fn end(&self, job: &Job) {
        let (no, from) = (job.no, job.status);
        let to = from.on(JobEvent::StrategyCanceled).unwrap();
        let change = JobMove { job: no, from, to, only_if_done: false, fence: false, firmware: None };
        assert!(self.store.move_job(&change, at(5)).await.unwrap());
    }

    /// Everybody who was chosen informs this version, a batch at a time.
    async fn reports(&self, chosen: &[DeviceId], version: &str, order: u32) -> Vec<Duration> {
        let mut spent = Vec::new();
        for batch in chosen.chunks(BATCH) {
            let reports: Vec<_> = batch.iter().map(|device| report(*device, version, order)).collect();
            let begun = Instant::now();
            self.store.take_reports(&reports, &[], at(6)).await.unwrap();
            spent.push(begun.elapsed());
        }
        spent
    }
}
