//! Small worlds for the contract: a product, its devices, firmware, jobs and their tasks.
//!
//! Everything is made through the store under test, at instants that the test chooses.

use std::time::Duration;

use otaria_core::firmware::{FirmwareKind, FirmwareName, FirmwareStatus, NewFile, NewFirmware, SignMethod};
use otaria_core::ids::{
    AccountNo, DEFAULT_ACCOUNT, DeviceId, DeviceName, FirmwareId, FirmwareNo, InformedVersion, JobId,
    ModuleName, ProductKey, Version,
};
use otaria_core::job::{
    DownloadProtocol, JobKind, JobPolicy, JobStatus, NewJob, OverwriteMode, Schedule, Target,
};
use otaria_core::pace::PerMinute;
use otaria_core::shard::Shard;
use otaria_core::task::{TaskEvent, TaskKey, TaskPolicy, TaskState, TaskStatus};
use otaria_core::time::Timestamp;

use crate::store::{
    CreateJob, CreatedJob, Cursor, Firmware, Job, NewDevice, NewProduct, NewTask, OwnedShards, PackageFile,
    Product, Rejections, Slice, SliceOutcome, SourceKind, Store, Task, TaskChange, TaskCounts, TaskFilter,
};

/// An account with a product and a firmware that upgrade jobs may use.
pub struct World<'s> {
    /// The store under test.
    pub store: &'s dyn Store,
    /// Whose everything is.
    pub account: AccountNo,
    /// The product.
    pub product: Product,
    /// A whole package of [`DEST`] for the default module, in no need of verification.
    pub firmware: Firmware,
}

/// The version that the firmware brings.
pub const DEST: &str = "2.0.0";

/// An instant, in seconds after one that is not the epoch.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
}

/// The name of the `n`th device.
#[must_use]
pub fn device_name(n: usize) -> DeviceName {
    DeviceName::parse(&format!("dev-{n:05}")).unwrap()
}

/// A version as a platform names it.
#[must_use]
pub fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// A version as a device informs it.
#[must_use]
pub fn informed(text: &str) -> InformedVersion {
    InformedVersion::parse(text).unwrap()
}

/// A module.
#[must_use]
pub fn module(text: &str) -> ModuleName {
    ModuleName::parse(text).unwrap()
}

/// What a platform may ask of a product.
#[must_use]
pub fn new_product(account: AccountNo, key: &str, name: &str) -> NewProduct {
    NewProduct {
        account,
        key: ProductKey::parse(key).unwrap(),
        name: name.to_owned(),
        description: String::new(),
        node_type: 0,
        sealed_secret: vec![1, 2, 3],
    }
}

/// A device to be registered.
#[must_use]
pub fn new_device(name: &DeviceName) -> NewDevice {
    NewDevice { name: name.clone(), nickname: None, sealed_secret: name.as_str().as_bytes().to_vec() }
}

/// A firmware to be made: `id` is also its name, and its file is `https://files/{id}`.
#[must_use]
pub fn new_firmware(product: &Product, id: &str, module_name: &str, status: FirmwareStatus) -> Firmware {
    let url = format!("https://files/{id}");
    let file = NewFile { name: None, url: url.clone(), size_bytes: Some(10), sign: None, md5: None };
    let new = NewFirmware {
        product: product.new.key.clone(),
        name: FirmwareName::parse(id).unwrap(),
        dest_version: version(DEST),
        kind: FirmwareKind::Whole,
        module: module(module_name),
        description: "for tests".to_owned(),
        files: vec![file],
        sign_method: SignMethod::Md5,
        need_to_verify: status != FirmwareStatus::NoVerificationNeeded,
        udi: String::new(),
    };
    let file = PackageFile {
        name: String::new(),
        url,
        object: format!("package/{id}"),
        size: 10,
        md5: "0".repeat(32),
        sha256: "0".repeat(64),
    };
    Firmware {
        no: FirmwareNo(0),
        id: FirmwareId::parse(id).unwrap(),
        account: product.new.account,
        product: product.no,
        product_key: product.new.key.clone(),
        new,
        files: vec![file],
        status,
        created_at: Timestamp::EPOCH,
        modified_at: Timestamp::EPOCH,
    }
}

/// A running job for all devices of a firmware's product; `id` is also what its digest is made of.
#[must_use]
pub fn new_job(firmware: &Firmware, id: &str) -> CreateJob {
    let policy = JobPolicy {
        maximum_per_minute: PerMinute::DEFAULT,
        retry: None,
        timeout: Some(Duration::from_secs(600)),
        offer_timeout: None,
        overwrite: OverwriteMode::Keep,
        multi_module: false,
        need_push: true,
        need_confirm: false,
        download_protocol: DownloadProtocol::Https,
    };
    let new = NewJob {
        kind: JobKind::Static,
        product: firmware.product_key.clone(),
        firmware: firmware.id.clone(),
        target: Target::All { src_versions: Vec::new() },
        schedule: Schedule::default(),
        policy,
        tags: Vec::new(),
        description: String::new(),
        client_token: None,
    };
    let mut digest = [0; 32];
    for (digit, byte) in digest.iter_mut().zip(id.bytes()) {
        *digit = byte;
    }
    CreateJob {
        id: JobId::parse(id).unwrap(),
        account: firmware.account,
        new,
        source: SourceKind::Product,
        digest,
        status: JobStatus::InProgress,
        firmware: (firmware.status, firmware.status),
    }
}

/// The `step`th slice of a job's expansion, from 0, for these devices; not the last one.
#[must_use]
pub fn slice(job: &Job, step: u64, devices: &[DeviceId]) -> Slice {
    let mut devices = devices.to_vec();
    devices.sort_unstable();
    let tasks: Vec<NewTask> =
        devices.into_iter().map(|device| NewTask { device, src_version: Some(informed("1.0.0")) }).collect();
    Slice {
        job: job.no,
        from: cursor(step),
        to: cursor(step + 1),
        complete: false,
        lines: tasks.len() as u64,
        tasks,
        skipped: Vec::new(),
        rejected: Rejections::default(),
        rejects: Vec::new(),
    }
}

/// The cursor after so many steps of [`slice()`].
#[must_use]
pub fn cursor(step: u64) -> Cursor {
    Cursor { offset: step * 100, ..Cursor::default() }
}

/// The policy behind [`next`]: no retries, and 600 s from the first progress to the end.
#[must_use]
pub fn policy() -> TaskPolicy {
    TaskPolicy {
        dest_version: version(DEST),
        retry: None,
        timeout: Some(Duration::from_secs(600)),
        offer_timeout: None,
    }
}

/// What the rules make of a task by an event that they take.
#[must_use]
pub fn next(task: &Task, event: &TaskEvent, now: Timestamp) -> TaskChange {
    to(task, task.state.on(event, &policy(), now).unwrap())
}

/// A task's change to any state.
#[must_use]
pub fn to(task: &Task, state: TaskState) -> TaskChange {
    TaskChange {
        key: task.key.clone(),
        revision: task.revision,
        to: state,
        report: None,
        notices: 0,
        desc: None,
    }
}

/// The claim of a notice that may be written at once.
#[must_use]
pub fn claim(task: &Task, now: Timestamp) -> TaskChange {
    next(task, &TaskEvent::Claimed { not_before: now }, now)
}

/// A state of the status, such as the rules can bring about.
#[must_use]
pub fn state(status: TaskStatus, now: Timestamp) -> TaskState {
    use otaria_core::task::{Attempt, CancelCause, Delivery, FailureCause, Percent, Retry};

    let attempt = Attempt { number: 1, offered_at: now };
    let delivery = Delivery::Written { at: now };
    match status {
        TaskStatus::Confirm => TaskState::Confirm,
        TaskStatus::Queued => TaskState::Queued,
        TaskStatus::Notified => {
            TaskState::Notified { attempt, delivery, offer_deadline: None, retry: Retry::None }
        }
        TaskStatus::InProgress => TaskState::InProgress {
            attempt,
            delivery,
            percent: Percent::new(30).unwrap(),
            timeout_at: Some(now + Duration::from_secs(600)),
            retry: Retry::None,
        },
        TaskStatus::Succeeded => TaskState::Succeeded { attempts: 1 },
        TaskStatus::Failed => TaskState::Failed { attempts: 1, cause: FailureCause::Timeout },
        TaskStatus::Canceled => TaskState::Canceled { attempts: 1, cause: CancelCause::Operator },
    }
}

impl<'s> World<'s> {
    /// The world in account 1, made at `at(0)`.
    pub async fn new(store: &'s dyn Store) -> World<'s> {
        Self::of_account(store, DEFAULT_ACCOUNT, "a1World").await
    }

    /// Another world beside it.
    pub async fn of_account(store: &'s dyn Store, account: AccountNo, key: &str) -> World<'s> {
        let product = store.create_product(&new_product(account, key, key), at(0)).await.unwrap();
        let firmware = new_firmware(
            &product,
            &format!("fw{key}"),
            ModuleName::DEFAULT,
            FirmwareStatus::NoVerificationNeeded,
        );
        let firmware = store.create_firmware(&firmware, at(0)).await.unwrap();
        Self { store, account, product, firmware }
    }

    /// A firmware of a module, in no need of verification.
    pub async fn firmware_of(&self, module_name: &str) -> Firmware {
        let id = format!("fw{module_name}");
        let new = new_firmware(&self.product, &id, module_name, FirmwareStatus::NoVerificationNeeded);
        self.store.create_firmware(&new, at(0)).await.unwrap()
    }

    /// Registers devices by number; their ids in the order of their names.
    pub async fn devices(&self, numbers: std::ops::Range<usize>) -> Vec<DeviceId> {
        let new: Vec<NewDevice> = numbers.map(|n| new_device(&device_name(n))).collect();
        let ids = self.store.register_devices(&self.product, &new, at(0)).await.unwrap();
        ids.into_iter().map(Option::unwrap).collect()
    }

    /// Makes a job at `at(0)`; not expanded.
    pub async fn make(&self, create: &CreateJob) -> Job {
        match self.store.create_job(create, at(0)).await.unwrap() {
            CreatedJob::New(job) => *job,
            CreatedJob::Before(job) => panic!("job {} was there before", job.id),
            CreatedJob::Nobody { matching } => panic!("nobody of {matching} is in"),
        }
    }

    /// Makes a job and expands it to these devices, all in one slice, at `at(0)`.
    pub async fn run(&self, create: &CreateJob, devices: &[DeviceId]) -> Job {
        let job = self.make(create).await;
        self.expand_all(&job, devices).await;
        self.reread(&job).await
    }

    /// A running job of the world's firmware for these devices.
    pub async fn job(&self, id: &str, devices: &[DeviceId]) -> Job {
        self.run(&new_job(&self.firmware, id), devices).await
    }

    /// Expands a job in one slice.
    pub async fn expand_all(&self, job: &Job, devices: &[DeviceId]) -> SliceOutcome {
        let last = Slice { complete: true, ..slice(job, 0, devices) };
        self.store.expand(&last, at(0)).await.unwrap()
    }

    /// The job as it is now.
    pub async fn reread(&self, job: &Job) -> Job {
        self.store.job(job.account, &job.id).await.unwrap().unwrap()
    }

    /// A job's tasks by place, read in small pages.
    pub async fn tasks(&self, job: &Job) -> Vec<Task> {
        let (mut tasks, mut after) = (Vec::new(), Some(0));
        while let Some(from) = after {
            let page = self.store.list_tasks(job.no, &TaskFilter::default(), from, 100).await.unwrap();
            tasks.extend(page.tasks.into_iter().map(|view| view.task));
            after = page.next;
        }
        tasks
    }

    /// The task of a device in a job.
    pub async fn task(&self, job: &Job, device: DeviceId) -> Task {
        self.tasks(job).await.into_iter().find(|task| task.key.device == device).unwrap()
    }

    /// A task as it is now.
    pub async fn task_again(&self, key: &TaskKey) -> Task {
        self.store.tasks(std::slice::from_ref(key)).await.unwrap().remove(0)
    }

    /// Writes a state as if the rules had made it; the task as it is then.
    pub async fn put(&self, task: &Task, state: TaskState, now: Timestamp) -> Task {
        assert_eq!(self.store.settle(&[to(task, state)], now).await.unwrap(), [true]);
        self.task_again(&task.key).await
    }

    /// Brings the task of a device in a job into a status.
    pub async fn put_status(&self, job: &Job, device: DeviceId, status: TaskStatus, now: Timestamp) -> Task {
        self.put(&self.task(job, device).await, state(status, now), now).await
    }

    /// Joins and takes all shards, for an hour from `now`.
    pub async fn own_everything(&self, now: Timestamp) -> OwnedShards {
        let member = self.store.join(now, Duration::from_secs(3_600)).await.unwrap();
        let shards: Vec<Shard> = Shard::all().collect();
        let leases = self.store.take_shards(member, &shards, now).await.unwrap();
        OwnedShards { member, epochs: leases.iter().map(|lease| (lease.shard, lease.epoch)).collect() }
    }

    /// How many tasks of a job are in a status.
    pub async fn count(&self, job: &Job, status: TaskStatus) -> u64 {
        self.store.task_counts(job.no).await.unwrap().of(status)
    }

    /// What has to hold for a job after every write: kept counts are those of its tasks (I9), and each
    /// line ended in one count (I4).
    pub async fn check(&self, job: &Job) {
        assert_eq!(self.store.audit_counts(job.no).await.unwrap(), [], "job {}", job.id);
        let tasks = self.tasks(job).await;
        let mut counted = TaskCounts::default();
        for task in &tasks {
            counted.by_status[task.state.status() as usize] += 1;
            counted.notices += u64::from(task.notices);
        }
        assert_eq!(self.store.task_counts(job.no).await.unwrap(), counted, "job {}", job.id);

        let expansion = self.reread(job).await.expansion;
        assert_eq!(expansion.lines, expansion.tasks + expansion.skipped + expansion.rejected.total());
        assert_eq!(expansion.tasks, tasks.len() as u64);
        let seqs: Vec<u32> = tasks.iter().map(|task| task.key.seq).collect();
        assert!(seqs.iter().copied().eq(1..=tasks.len().try_into().unwrap()), "{seqs:?}");
    }
}
