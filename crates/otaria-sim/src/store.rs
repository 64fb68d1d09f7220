//! The store as one host reaches it: every call is a yield point before and after, may fail before or after it is
//! done, and is seen by the observer once it is committed.
//!
//! Never decides anything: facts lie in one memory store that all hosts share. Leases go by the database's own
//! clock, as they do in production.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use otaria_core::gray::Last;
use otaria_core::ids::{
    AccessKeyId, AccountNo, ApplyNo, ClientToken, DeviceId, DeviceName, FirmwareId, FirmwareNo, GroupId,
    GroupNo, JobId, JobNo, ModuleName, ProductKey, ProductNo, TaskId,
};
use otaria_core::job::JobUpdate;
use otaria_core::rules::FirmwareChange;
use otaria_core::shard::Shard;
use otaria_core::task::{BulkFilter, CancelCause, TaskKey, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::auth::SeenDevice;
use otaria_ports::events::{Event, Events, KeptEvents};
use otaria_ports::nonces::Nonces;
use otaria_ports::store::memory::{Fault, MemoryStore};
use otaria_ports::store::*;

use crate::gate::Gate;
use crate::medium::Medium;
use crate::plant::Plant;
/// Between two runs of what is periodic, at most.
const PERIOD_MAX: Duration = Duration::from_secs(120);

/// The store that all hosts share, and the news of its commits.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) facts: Arc<MemoryStore>,
    pub(crate) events: Arc<KeptEvents>,
}

/// See the module.
pub(crate) struct SimStore {
    pub(crate) shared: Shared,
    pub(crate) gate: Arc<Gate>,
    pub(crate) medium: Arc<Medium>,
    /// Hears what this host committed, where it is recorded.
    pub(crate) told: Option<Arc<dyn Events>>,
}

/// Calls that write what jobs and tasks are.
const WRITING: [&str; 11] = [
    "create_job",
    "expand",
    "move_job",
    "update_job",
    "request_cancel",
    "sweep_cancel",
    "claim",
    "settle",
    "settle_all",
    "take_reports",
    "take_shards",
];

fn failed(doing: &'static str) -> StoreError {
    StoreError::Unavailable { doing, source: "made to fail".into() }
}

/// Nothing in memory ever waits.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing in memory waits")
}

impl SimStore {
    /// A call: it yields, it may fail, it is done, it is seen, it yields.
    async fn call<T: Send>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
        seen: impl FnOnce(&T, &[Event]) + Send,
    ) -> Result<T, StoreError> {
        self.gate.pass().await;
        let fault = self.gate.fault(WRITING.contains(&doing));
        if fault == Some(Fault::Before) {
            self.medium.lock().book.count("fault_before");
            return Err(failed(doing));
        }
        let done = work.await;
        let news = self.news();
        if let Some(told) = &self.told {
            told.publish(news.clone());
        }
        if let Ok(done) = &done {
            seen(done, &news);
        }
        self.gate.pass().await;
        if fault == Some(Fault::After) {
            self.medium.lock().book.count("fault_after");
            return Err(failed(doing));
        }
        done
    }

    fn news(&self) -> Vec<Event> {
        std::mem::take(&mut *self.shared.events.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Compares tasks with their rows.
    fn compare<'k>(&self, keys: impl Iterator<Item = &'k TaskKey>) {
        let keys: Vec<TaskKey> = keys.cloned().collect();
        let tasks = at_once(self.shared.facts.tasks(&keys)).unwrap_or_default();
        let mut medium = self.medium.lock();
        tasks.iter().for_each(|task| medium.book.compare(task));
    }

    fn plant(&self) -> Option<Plant> {
        self.medium.lock().plant
    }

    /// Whether the next call fails before it is done, with this mistake planted.
    fn is_planted(&self, plant: Plant) -> bool {
        self.plant() == Some(plant) && self.gate.fails_next() == Some(Fault::Before)
    }
}

macro_rules! forward {
    ($trait:ident { $($own:tt)* } $(fn $name:ident(&self $(, $arg:ident: $ty:ty)*) -> $out:ty;)*) => {
        #[async_trait]
        impl $trait for SimStore {
            $($own)*

            $(async fn $name(&self $(, $arg: $ty)*) -> Result<$out, StoreError> {
                self.call(stringify!($name), self.shared.facts.$name($($arg),*), |_, _| ()).await
            })*
        }
    };
}

forward! { Accounts {}
    fn create_account(&self, name: &str, now: Timestamp) -> Account;
    fn accounts(&self) -> Vec<Account>;
    fn put_access_key(&self, key: &AccessKey) -> ();
    fn put_first_admin_key(&self, key: &AccessKey) -> bool;
    fn access_key(&self, id: &AccessKeyId) -> Option<AccessKey>;
    fn access_keys(&self, account: AccountNo) -> Vec<AccessKey>;
    fn update_access_key(&self, account: AccountNo, id: &AccessKeyId, update: KeyUpdate) -> AccessKey;
    fn delete_access_key(&self, account: AccountNo, id: &AccessKeyId) -> ();
}

forward! { Applies {}
    fn create_apply(&self, apply: &NewApply, now: Timestamp) -> Apply;
    fn apply(&self, account: AccountNo, no: ApplyNo) -> Option<Apply>;
    fn register_apply(&self, apply: ApplyNo, product: &Product, devices: &[NewDevice], now: Timestamp) -> Apply;
    fn purge_applies(&self, before: Timestamp, limit: usize) -> u64;
}

forward! { Groups {}
    fn create_group(&self, group: &NewGroup, now: Timestamp) -> Group;
    fn group(&self, account: AccountNo, id: &GroupId) -> Option<Group>;
    fn describe_group(&self, group: GroupNo, description: &str) -> ();
    fn delete_group(&self, group: GroupNo) -> ();
    fn groups(&self, account: AccountNo, filter: &GroupFilter, before: Option<GroupNo>, skip: usize, limit: usize) -> (Vec<Group>, u64);
    fn add_to_group(&self, group: GroupNo, devices: &[DeviceId]) -> AddedToGroup;
    fn take_from_group(&self, group: GroupNo, devices: &[DeviceId]) -> u64;
    fn devices_of_group(&self, group: GroupNo, after: Option<DeviceId>, skip: usize, limit: usize) -> Vec<Device>;
    fn active_in_group(&self, group: GroupNo) -> u64;
    fn groups_of_device(&self, device: DeviceId) -> Vec<Group>;
    fn scan_group(&self, group: GroupNo, upto: i64, product: ProductNo, module: &ModuleName, after: Option<DeviceId>, limit: usize) -> Vec<(DeviceName, Candidate)>;
    fn purge_gone(&self, before: Timestamp, limit: usize) -> u64;
}

forward! { Firmwares {}
    fn put_upload(&self, upload: &StoredUpload) -> ();
    fn upload(&self, account: AccountNo, url: &str) -> Option<StoredUpload>;
    fn expire_uploads(&self, before: Timestamp, limit: usize) -> Vec<StoredUpload>;
    fn create_firmware(&self, firmware: &Firmware, now: Timestamp) -> Firmware;
    fn firmware(&self, account: AccountNo, id: &FirmwareId) -> Option<Firmware>;
    fn firmware_by_no(&self, no: FirmwareNo) -> Option<Firmware>;
    fn update_firmware(&self, account: AccountNo, id: &FirmwareId, change: &FirmwareChange, now: Timestamp) -> Firmware;
    fn delete_firmware(&self, account: AccountNo, id: &FirmwareId) -> ();
    fn firmwares(&self, account: AccountNo, filter: &FirmwareFilter, after: FirmwareNo, limit: usize) -> (Vec<Firmware>, u64);
}

forward! { Modules {}
    fn create_module(&self, module: &Module) -> ();
    fn update_module(&self, product: ProductNo, name: &ModuleName, alias: Option<&str>, description: Option<&str>, now: Timestamp) -> ();
    fn delete_module(&self, product: ProductNo, name: &ModuleName) -> ();
    fn modules(&self, product: ProductNo) -> Vec<Module>;
}

forward! { Devices {
    async fn connected(&self, devices: &[(DeviceId, Timestamp)]) -> Result<(), StoreError> {
        if self.plant() == Some(Plant::TimeoutResetOnReconnect) {
            self.move_timeouts(devices);
        }
        self.call("connected", self.shared.facts.connected(devices), |_, _| ()).await
    }
}
    fn create_product(&self, product: &NewProduct, now: Timestamp) -> Product;
    fn product(&self, key: &ProductKey) -> Option<Product>;
    fn product_by_no(&self, no: ProductNo) -> Option<Product>;
    fn products(&self, account: AccountNo, after: ProductNo, limit: usize) -> (Vec<Product>, u64);
    fn delete_product(&self, no: ProductNo, now: Timestamp) -> ();
    fn register_devices(&self, product: &Product, devices: &[NewDevice], now: Timestamp) -> Vec<Option<DeviceId>>;
    fn device(&self, product: ProductNo, name: &DeviceName) -> Option<Device>;
    fn device_by_id(&self, id: DeviceId) -> Option<Device>;
    fn devices_by_id(&self, ids: &[DeviceId]) -> Vec<Option<Device>>;
    fn enable_device(&self, id: DeviceId, enabled: bool) -> ();
    fn delete_device(&self, id: DeviceId, now: Timestamp) -> ();
    fn devices(&self, product: ProductNo, after: Option<&DeviceName>, limit: usize) -> Vec<Device>;
    fn module_versions(&self, devices: &[DeviceId]) -> Vec<ModuleVersion>;
    fn seen_since(&self, shard: Shard, since: Timestamp) -> Vec<SeenDevice>;
    fn auth(&self, who: &[(ProductKey, DeviceName)]) -> Vec<Option<AuthRow>>;
    fn resolve(&self, product: ProductNo, upto: i64, module: &ModuleName, names: &[DeviceName]) -> Vec<Option<Candidate>>;
    fn scan_drawn(&self, job: JobNo, after: Option<&DeviceName>, limit: usize) -> Vec<Drawn>;
    fn scan(&self, product: ProductNo, upto: i64, module: &ModuleName, after: Option<&DeviceName>, limit: usize) -> Vec<(DeviceName, Candidate)>;
}

forward! { Jobs {
    async fn create_job(&self, job: &CreateJob, now: Timestamp) -> Result<CreatedJob, StoreError> {
        let seen = |created: &CreatedJob, _: &[Event]| {
            let mut medium = self.medium.lock();
            let truly = medium.now;
            medium.book.saw_created(created, truly);
        };
        self.call("create_job", self.shared.facts.create_job(job, now), seen).await
    }

    async fn expand(&self, slice: &Slice, now: Timestamp) -> Result<SliceOutcome, StoreError> {
        if self.is_planted(Plant::CursorBeforeCommit) {
            let lost = Slice { lines: 0, tasks: Vec::new(), skipped: Vec::new(), rejects: Vec::new(),
                rejected: Rejections::default(), ..slice.clone() };
            drop(self.shared.facts.expand(&lost, now).await);
        }
        let seen = |_: &SliceOutcome, news: &[Event]| self.medium.lock().book.saw_expanded(slice, news);
        self.call("expand", self.shared.facts.expand(slice, now), seen).await
    }

    async fn move_job(&self, change: &JobMove, now: Timestamp) -> Result<bool, StoreError> {
        let seen = |moved: &bool, _: &[Event]| {
            if *moved {
                self.medium.lock().book.saw_move(change);
            }
        };
        self.call("move_job", self.shared.facts.move_job(change, now), seen).await
    }

    async fn update_job(&self, job: JobNo, update: &JobUpdate, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let seen = |updated: &Option<Job>, _: &[Event]| {
            if let Some(job) = updated {
                let mut medium = self.medium.lock();
                let now = medium.now;
                medium.book.saw_rate(job, now);
            }
        };
        self.call("update_job", self.shared.facts.update_job(job, update, now), seen).await
    }

    async fn request_cancel(&self, job: JobNo, mask: i64, cause: CancelCause, now: Timestamp) -> Result<Job, StoreError> {
        let seen = |job: &Job, _: &[Event]| self.medium.lock().book.saw_cancel(job, mask, cause);
        self.call("request_cancel", self.shared.facts.request_cancel(job, mask, cause, now), seen).await
    }

    async fn sweep_cancel(&self, job: JobNo, limit: usize, now: Timestamp) -> Result<Sweep, StoreError> {
        let seen = |sweep: &Sweep, news: &[Event]| self.medium.lock().book.saw_sweep(job, *sweep, news);
        self.call("sweep_cancel", self.shared.facts.sweep_cancel(job, limit, now), seen).await
    }
}
    fn job_by_token(&self, account: AccountNo, token: &ClientToken) -> Option<(Job, [u8; 32])>;
    fn put_draw(&self, job: JobNo, last: Last) -> Option<Last>;
    fn job(&self, account: AccountNo, id: &JobId) -> Option<Job>;
    fn jobs_by_no(&self, jobs: &[JobNo]) -> Vec<Job>;
    fn jobs(&self, account: AccountNo, after: JobNo, limit: usize) -> Vec<Job>;
    fn jobs_of_firmware(&self, firmware: FirmwareNo, before: Option<JobNo>, skip: usize, limit: usize) -> (Vec<Job>, u64);
    fn jobs_of_device(&self, device: DeviceId, firmware: FirmwareNo, before: Option<JobNo>, skip: usize, limit: usize) -> (Vec<Job>, u64);
    fn unfinished_jobs(&self) -> Vec<Job>;
    fn ended_jobs(&self, since: Timestamp, limit: usize) -> Vec<Job>;
    fn unfinished_jobs_of(&self, firmware: &FirmwareId) -> u64;
    fn job_names(&self, job: JobNo, offset: u64, limit: usize) -> Vec<String>;
    fn rejected_lines(&self, job: JobNo, after: u64, limit: usize) -> Vec<RejectedLine>;
    fn task_counts(&self, job: JobNo) -> TaskCounts;
    fn request_bulk(&self, turn: JobTurn, filter: &BulkFilter, now: Timestamp) -> Option<Job>;
    fn write_bulk(&self, job: JobNo, step: &BulkStep, now: Timestamp) -> Vec<bool>;
    fn audit_counts(&self, job: JobNo) -> Vec<(TaskStatus, u64, u64)>;
    fn purge_jobs(&self, before: Timestamp, limit: usize) -> u64;
}

forward! { Tasks {
    async fn claim(&self, owner: &OwnedShards, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        if self.is_planted(Plant::PushBeforeCommit) {
            self.gate.fault(true);
            return Ok(vec![true; changes.len()]);
        }
        let seen = |written: &Vec<bool>, _: &[Event]| {
            self.medium.lock().book.saw_claims(owner, changes, written, now);
            self.compare(changes.iter().map(|change| &change.key));
        };
        if self.plant() == Some(Plant::LeaseNoEpoch) {
            let claimed = async { Ok(self.claim_as_whoever_owns(changes, now)) };
            return self.call("claim", claimed, seen).await;
        }
        self.call("claim", self.shared.facts.claim(owner, changes, now), seen).await
    }

    async fn settle(&self, changes: &[TaskChange], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let seen = |written: &Vec<bool>, _: &[Event]| {
            self.medium.lock().book.saw_settled(changes, written, now);
            self.compare(changes.iter().map(|change| &change.key));
        };
        self.call("settle", self.shared.facts.settle(changes, now), seen).await
    }

    async fn settle_all(&self, turns: &[JobTurn], changes: &[TaskChange], now: Timestamp) -> Result<Vec<usize>, StoreError> {
        let seen = |in_the_way: &Vec<usize>, _: &[Event]| {
            if in_the_way.is_empty() {
                self.medium.lock().book.saw_ordered(turns, changes);
                self.compare(changes.iter().map(|change| &change.key));
            }
        };
        self.call("settle_all", self.shared.facts.settle_all(turns, changes, now), seen).await
    }

    async fn take_reports(&self, versions: &[VersionReport], changes: &[TaskChange], now: Timestamp) -> Result<ReportsTaken, StoreError> {
        let seen = |taken: &ReportsTaken, news: &[Event]| {
            {
                let mut medium = self.medium.lock();
                let truly = medium.now;
                medium.book.saw_reports(versions, changes, &taken.written, news, (now, truly));
            }
            self.compare(changes.iter().map(|change| &change.key));
        };
        self.call("take_reports", self.shared.facts.take_reports(versions, changes, now), seen).await
    }
}
    fn open_tasks(&self, devices: &[DeviceId]) -> Vec<Task>;
    fn ended_offers(&self, devices: &[DeviceId]) -> Vec<EndedOffer>;
    fn tasks(&self, keys: &[TaskKey]) -> Vec<Task>;
    fn tasks_by_id(&self, ids: &[TaskId]) -> Vec<Task>;
    fn due(&self, shards: &[Shard], now: Timestamp, limit: usize) -> Vec<Task>;
    fn next_due(&self, shards: &[Shard]) -> Option<Timestamp>;
    fn cancel_of_devices(&self, firmware: FirmwareNo, job: Option<JobNo>, devices: &[DeviceId], cause: CancelCause, now: Timestamp) -> Vec<Job>;
    fn list_tasks(&self, job: JobNo, filter: &TaskFilter, after: u32, limit: usize) -> TaskPage;
}

impl SimStore {
    /// The database's clock.
    fn db_now(&self) -> Timestamp {
        self.medium.lock().now
    }

    /// A mistake: whoever claims counts as the owner.
    fn claim_as_whoever_owns(&self, changes: &[TaskChange], now: Timestamp) -> Vec<bool> {
        let facts = &self.shared.facts;
        let leases = at_once(facts.shard_leases(now)).unwrap_or_default();
        let claim = |change: &TaskChange| {
            let shard = change.key.device.shard();
            let lease = leases.iter().find(|lease| lease.shard == shard)?;
            let owner = OwnedShards { member: lease.member, epochs: [(shard, lease.epoch)].into() };
            at_once(facts.claim(&owner, std::slice::from_ref(change), now)).ok()?.pop()
        };
        changes.iter().map(|change| claim(change).unwrap_or(false)).collect()
    }

    /// A mistake: who connects gets all the time again.
    fn move_timeouts(&self, devices: &[(DeviceId, Timestamp)]) {
        for (device, at) in devices {
            for task in at_once(self.shared.facts.open_tasks(&[*device])).unwrap_or_default() {
                let mut to = task.state.clone();
                if let TaskState::InProgress { timeout_at: Some(timeout_at), .. } = &mut to {
                    *timeout_at = *at + Duration::from_secs(120);
                    let change = TaskChange {
                        key: task.key,
                        revision: task.revision,
                        to,
                        report: None,
                        notices: 0,
                        desc: None,
                    };
                    drop(at_once(self.shared.facts.settle(std::slice::from_ref(&change), *at)));
                    self.compare(std::iter::once(&change.key));
                }
            }
        }
    }
}

#[async_trait]
impl Leases for SimStore {
    async fn join(&self, _: Timestamp, ttl: Duration) -> Result<Member, StoreError> {
        self.call("join", async { self.shared.facts.join(self.db_now(), ttl).await }, |_, _| ()).await
    }

    async fn renew(&self, member: Member, _: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        if !self.gate.may_renew(self.db_now()) {
            return Err(failed("renew"));
        }
        self.call("renew", async { self.shared.facts.renew(member, self.db_now(), ttl).await }, |_, _| ())
            .await
    }

    async fn members(&self, _: Timestamp) -> Result<Vec<Member>, StoreError> {
        self.call("members", async { self.shared.facts.members(self.db_now()).await }, |_, _| ()).await
    }

    async fn leave(&self, member: Member) -> Result<(), StoreError> {
        self.call("leave", self.shared.facts.leave(member), |_, _| ()).await
    }

    async fn take_shards(
        &self,
        member: Member,
        shards: &[Shard],
        _: Timestamp,
    ) -> Result<Vec<ShardLease>, StoreError> {
        let seen = |taken: &Vec<ShardLease>, _: &[Event]| self.medium.lock().book.saw_leases(taken);
        let taken = async { self.shared.facts.take_shards(member, shards, self.db_now()).await };
        self.call("take_shards", taken, seen).await
    }

    async fn release_shards(&self, member: Member, shards: &[Shard]) -> Result<(), StoreError> {
        let seen = |(): &(), _: &[Event]| self.medium.lock().book.saw_released(member, shards);
        self.call("release_shards", self.shared.facts.release_shards(member, shards), seen).await
    }

    async fn shard_leases(&self, _: Timestamp) -> Result<Vec<ShardLease>, StoreError> {
        self.call("shard_leases", async { self.shared.facts.shard_leases(self.db_now()).await }, |_, _| ())
            .await
    }

    async fn begin_run(
        &self,
        work: &'static str,
        member: Member,
        _: Timestamp,
        period: Duration,
    ) -> Result<bool, StoreError> {
        // A world lasts a quarter of an hour: work of every hour would be done once, when nothing has happened.
        let period = period.min(PERIOD_MAX);
        let begun = async { self.shared.facts.begin_run(work, member, self.db_now(), period).await };
        self.call("begin_run", begun, |_, _| ()).await
    }
}

#[async_trait]
impl Nonces for SimStore {
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, Unavailable> {
        self.shared.facts.use_once(key, nonce, now, until).await
    }

    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        self.shared.facts.forget_nonces(now, limit).await
    }
}
