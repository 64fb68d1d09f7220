//! A server, its store, its devices and a clock, moved step by step in an order that a seed decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otaria_core::ids::{AccessKeyId, AccountNo, DEFAULT_ACCOUNT, DeviceId, JobNo, TaskId};
use otaria_core::job::{CancelFlags, JobStatus};
use otaria_core::rules::{
    DeviceParams, FirmwareParams, JobParams, ProductParams, StaticUpgradeParams, UploadParams,
};
use otaria_core::task::{Report, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_engine::{Caller, CommandError, Shell, inbox};
use otaria_ports::events::KeptEvents;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::presence::Presence;
use otaria_ports::store::memory::{Fault, MemoryStore};
use otaria_ports::store::{
    Accounts, Expansion, Job, Jobs, Role, Task, TaskCounts, TaskFilter, Tasks, UploadKind,
};

use crate::chance::Chance;
use crate::fleet::{Device, Temper};
use crate::gateway::{Gateway, Wrote};
use crate::process::{LOOPS, Process, run};

/// The version that every firmware brings.
pub(crate) const DEST: &str = "2.0.0";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A time in which no notice of a job may be written.
pub(crate) struct Silence {
    pub(crate) job: JobNo,
    pub(crate) from: Timestamp,
    pub(crate) until: Option<Timestamp>,
    /// Whether a resumption ends it.
    ends: bool,
}

/// See the module.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) chance: Chance,
    pub(crate) now: Timestamp,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) events: Arc<KeptEvents>,
    objects: MemoryObjects,
    ids: Arc<CountingIds>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) process: Process,
    pub(crate) caller: Caller,
    pub(crate) product: String,
    pub(crate) firmware: String,
    pub(crate) fleet: BTreeMap<DeviceId, Device>,
    /// Those of them that are connected.
    online: BTreeSet<DeviceId>,
    /// Everything that was ever written to a device's socket.
    pub(crate) wrote: Vec<Wrote>,
    pub(crate) silences: Vec<Silence>,
    /// Jobs of which tasks were started again: their final tasks may move, and offers count anew.
    pub(crate) reopened: BTreeSet<JobNo>,
    /// Of 1,000 batches of outcomes so many get lost.
    pub(crate) lost_outcomes: u64,
    /// Of 1,000 notices so many find a full socket.
    pub(crate) jams: u64,
    /// Before so many of 1,000 ticks the store is made to fail at some later call.
    pub(crate) faults: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let events = Arc::new(KeptEvents::default());
        let store = Arc::new(MemoryStore::new(events.clone()));
        let (objects, ids) = (MemoryObjects::default(), Arc::new(CountingIds::default()));
        let gateway = Arc::new(Gateway::default());
        let process = Process::start(&store, &objects, &ids, gateway.clone(), true, now);
        let mut world = Self {
            seed,
            chance: Chance::new(seed),
            now,
            store,
            events,
            objects,
            ids,
            gateway,
            process,
            caller: caller_of(DEFAULT_ACCOUNT),
            product: String::new(),
            firmware: String::new(),
            fleet: BTreeMap::new(),
            online: BTreeSet::new(),
            wrote: Vec::new(),
            silences: Vec::new(),
            reopened: BTreeSet::new(),
            lost_outcomes: 0,
            jams: 0,
            faults: 0,
        };
        world.product = world.make_product("Lamp");
        world.firmware = world.make_firmware("whole", false);
        world
    }

    // What callers do.

    /// Works for another account from now on, with a product and firmware of its own.
    pub(crate) fn turn_to_another_account(&mut self) {
        let account = run(self.store.create_account("other", self.now)).unwrap();
        self.caller = caller_of(account.no);
        self.product = self.make_product("Pump");
        self.firmware = self.make_firmware("whole", false);
    }

    fn make_product(&self, name: &str) -> String {
        let params =
            ProductParams { product_name: text(name), node_type: Some(0), ..ProductParams::default() };
        let product = run(self.process.commands.create_product(&self.caller, self.now, &params)).unwrap();
        product.product.new.key.to_string()
    }

    pub(crate) fn make_firmware(&self, name: &str, need_to_verify: bool) -> String {
        self.make_firmware_to(name, DEST, need_to_verify)
    }

    pub(crate) fn make_firmware_to(&self, name: &str, dest: &str, need_to_verify: bool) -> String {
        let params = FirmwareParams {
            product_key: text(&self.product),
            firmware_name: text(name),
            dest_version: text(dest),
            firmware_url: Some(self.upload(UploadKind::Package, b"package")),
            need_to_verify: Some(need_to_verify),
            ..FirmwareParams::default()
        };
        let firmware = run(self.process.commands.create_firmware(&self.caller, self.now, &params)).unwrap();
        firmware.id.to_string()
    }

    pub(crate) fn upload(&self, kind: UploadKind, bytes: &[u8]) -> String {
        let params = UploadParams::default();
        let mut sink = run(self.process.commands.begin_upload(&self.caller, kind, &params)).unwrap();
        // In pieces, so that lines are cut.
        for piece in bytes.chunks(1_000_003) {
            run(sink.write(Bytes::copy_from_slice(piece))).unwrap();
        }
        run(sink.finish(self.now)).unwrap().url
    }

    /// Registers devices; they are offline.
    pub(crate) fn devices(&mut self, count: usize, temper: Temper) -> Vec<DeviceId> {
        let from = self.fleet.len();
        let params: Vec<DeviceParams> = (from..from + count)
            .map(|n| DeviceParams { device_name: Some(format!("dev-{n:06}")), nickname: None })
            .collect();
        let mut ids = Vec::with_capacity(count);
        for params in params.chunks(20_000) {
            let commands = &self.process.commands;
            let made = commands.register_devices(&self.caller, self.now, Some(&self.product), params);
            for made in run(made).unwrap() {
                let made = made.unwrap();
                self.fleet.insert(made.id, Device::new(made.id, made.name, temper));
                ids.push(made.id);
            }
        }
        ids
    }

    pub(crate) fn name(&self, device: DeviceId) -> String {
        self.fleet[&device].name.to_string()
    }

    /// A job for all devices.
    pub(crate) fn all(&self) -> StaticUpgradeParams {
        StaticUpgradeParams {
            job: JobParams {
                product_key: text(&self.product),
                firmware_id: text(&self.firmware),
                ..JobParams::default()
            },
            target_selection: text("ALL"),
            ..StaticUpgradeParams::default()
        }
    }

    /// A job for some devices by name.
    pub(crate) fn specific(&self, devices: &[DeviceId]) -> StaticUpgradeParams {
        StaticUpgradeParams {
            target_selection: text("SPECIFIC"),
            target_device_name: devices.iter().map(|device| self.name(*device)).collect(),
            ..self.all()
        }
    }

    /// A job for the devices of a file.
    pub(crate) fn listed(&self, file: &[u8]) -> StaticUpgradeParams {
        StaticUpgradeParams {
            target_selection: text("SPECIFIC"),
            dn_list_file_url: Some(self.upload(UploadKind::NameList, file)),
            ..self.all()
        }
    }

    pub(crate) fn try_create(&self, params: &StaticUpgradeParams) -> Result<JobNo, CommandError> {
        let made = run(self.process.commands.create_static_job(&self.caller, self.now, params))?;
        Ok(run(self.store.job(self.caller.account, &made.job_id)).unwrap().unwrap().no)
    }

    pub(crate) fn create(&self, params: &StaticUpgradeParams) -> JobNo {
        self.try_create(params).unwrap()
    }

    /// Cancels; from the answer on, silence is owed when everything is cancelled.
    pub(crate) fn cancel(&mut self, job: JobNo, flags: CancelFlags) {
        let id = self.job(job).id.to_string();
        run(self.process.commands.cancel_tasks_by_job(&self.caller, self.now, &id, flags)).unwrap();
        if flags == CancelFlags::EVERYTHING {
            self.silences.push(Silence { job, from: self.now, until: None, ends: false });
        }
    }

    /// The ids of a job's tasks, in order.
    pub(crate) fn task_ids(&self, job: JobNo) -> Vec<String> {
        let id = |task: Task| TaskId { job, seq: task.key.seq }.to_string();
        self.tasks(job).into_iter().map(id).collect()
    }

    pub(crate) fn confirm(&self, tasks: &[String]) -> Result<(), CommandError> {
        run(self.process.commands.confirm_tasks(&self.caller, self.now, tasks))
    }

    pub(crate) fn reupgrade(&mut self, job: JobNo, tasks: &[String]) -> Result<(), CommandError> {
        self.reopened.insert(job);
        let id = self.job(job).id.to_string();
        run(self.process.commands.reupgrade_tasks(&self.caller, self.now, &id, tasks))
    }

    pub(crate) fn pause(&mut self, job: JobNo) {
        let id = self.job(job).id.to_string();
        run(self.process.commands.pause_job(&self.caller, self.now, &id)).unwrap();
        self.silences.push(Silence { job, from: self.now, until: None, ends: true });
    }

    pub(crate) fn resume(&mut self, job: JobNo) {
        let id = self.job(job).id.to_string();
        run(self.process.commands.resume_job(&self.caller, self.now, &id)).unwrap();
        for silence in self.silences.iter_mut().filter(|silence| silence.job == job && silence.ends) {
            silence.until.get_or_insert(self.now);
        }
    }

    // What devices do.

    pub(crate) fn connect(&mut self, devices: &[DeviceId]) {
        for device in devices {
            let session = run(self.process.presence.connect(*device)).unwrap().session;
            self.gateway.enter(*device, session);
            if let Some(device) = self.fleet.get_mut(device) {
                device.connect(session, self.now);
                self.online.insert(device.id);
            }
        }
    }

    pub(crate) fn disconnect(&mut self, devices: &[DeviceId]) {
        for device in devices {
            let Some(device) = self.fleet.get_mut(device) else { continue };
            if let Some(session) = device.session {
                device.disconnect();
                self.online.remove(&device.id);
                self.gateway.leave(device.id);
                run(self.process.presence.disconnect(device.id, session)).unwrap();
            }
        }
    }

    pub(crate) fn online(&self) -> Vec<DeviceId> {
        self.online.iter().copied().collect()
    }

    /// The process dies and another starts over what it left in the store; every connection is gone.
    pub(crate) fn crash(&mut self) {
        for device in std::mem::take(&mut self.online) {
            self.fleet.get_mut(&device).unwrap().disconnect();
        }
        self.store.mend();
        self.gateway = Arc::default();
        let pokes = self.process.pokes;
        self.process =
            Process::start(&self.store, &self.objects, &self.ids, self.gateway.clone(), true, self.now);
        self.process.pokes = pokes;
    }

    /// The process dies, and all devices that were online come back to the next one at once.
    pub(crate) fn crash_and_reconnect(&mut self) {
        let online = self.online();
        self.crash();
        self.connect(&online);
    }

    /// What another process on the same store has in memory.
    pub(crate) fn another_shell(&self) -> Arc<Shell> {
        let gateway = Arc::clone(&self.gateway);
        Process::start(&self.store, &self.objects, &self.ids, gateway, false, self.now).shell
    }

    // What time does.

    /// Goes to the next instant at which something is to be done, and does it in any order.
    pub(crate) fn step(&mut self) {
        let quiet = self.now + Duration::from_secs(1);
        let loops = LOOPS.iter().map(|which| self.process.next(*which));
        let devices = self.online.iter().filter_map(|device| self.fleet[device].next());
        let next = loops.chain(devices).chain(self.gateway.next()).min().unwrap_or(quiet).min(quiet);
        self.now = next.max(self.now) + Duration::from_millis(1 + self.chance.below(20));

        let mut turns: Vec<usize> = (0..LOOPS.len() + 2).collect();
        self.chance.shuffle(&mut turns);
        for turn in turns {
            match LOOPS.get(turn) {
                Some(which) => {
                    self.break_something();
                    self.process.tick(*which, self.now);
                }
                None if turn == LOOPS.len() => self.deliver(),
                None => self.listen(),
            }
        }
        self.store.mend();
        self.process.poke(self.now);
    }

    fn break_something(&mut self) {
        self.store.mend();
        if self.chance.permille(self.faults) {
            let fault = *self.chance.pick(&[Fault::Before, Fault::After]);
            let calls = usize::try_from(self.chance.below(4)).unwrap();
            self.store.fail_after(calls, fault);
        }
    }

    fn deliver(&mut self) {
        let (chance, jams) = (&mut self.chance, self.jams);
        let (wrote, settled) = self.gateway.deliver(self.now, |_| chance.permille(jams));
        for wrote in &wrote {
            // Always known: only registered devices connect.
            self.fleet.get_mut(&wrote.device).unwrap().hear(wrote.wire_id, &wrote.version, wrote.at);
        }
        self.wrote.extend(wrote);
        if !settled.is_empty() && !self.chance.permille(self.lost_outcomes) {
            self.break_something();
            // Lost when the store fails: its notices go out once more.
            drop(run(inbox::settle(&self.process.shell, &settled, self.now)));
        }
    }

    /// Takes what devices have said, whatever the loops do.
    pub(crate) fn listen_now(&mut self) {
        self.listen();
    }

    /// What a device says, read by its gateway and not handed on; acknowledged, so that it does not say it again.
    pub(crate) fn hear(&mut self, device: DeviceId) -> Vec<Report> {
        let speaker = self.fleet.get_mut(&device).unwrap();
        let mut reports = speaker.speak(self.now);
        speaker.acknowledged();
        for report in &mut reports {
            report.told = self.gateway.told(report.device, report.order.session);
        }
        reports
    }

    /// Hands on what was read before.
    pub(crate) fn take_late(&mut self, reports: Vec<Report>) {
        run(inbox::take(&self.process.shell, reports, self.now)).unwrap();
    }

    fn listen(&mut self) {
        let mut reports = Vec::new();
        for device in &self.online {
            reports.extend(self.fleet.get_mut(device).unwrap().speak(self.now));
        }
        if reports.is_empty() {
            return;
        }
        for report in &mut reports {
            report.told = self.gateway.told(report.device, report.order.session);
        }
        self.chance.shuffle(&mut reports);
        self.break_something();
        if run(inbox::take(&self.process.shell, reports, self.now)).is_ok() {
            for device in &self.online {
                self.fleet.get_mut(device).unwrap().acknowledged();
            }
        }
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            self.step();
        }
    }

    /// Runs until something is so; fails when it does not become so in time.
    pub(crate) fn run_until(&mut self, what: &str, within: Duration, so: impl Fn(&Self) -> bool) {
        let until = self.now + within;
        while !so(self) {
            assert!(self.now < until, "not within {within:?}: {what}; seed {}", self.seed);
            self.step();
        }
    }

    pub(crate) fn run_until_completed(&mut self, job: JobNo, within: Duration) {
        self.run_until("the job is completed", within, |world| world.job(job).status == JobStatus::Completed);
    }

    // What can be seen.

    pub(crate) fn job(&self, job: JobNo) -> Job {
        run(self.store.jobs_by_no(&[job])).unwrap().pop().unwrap()
    }

    pub(crate) fn jobs(&self) -> Vec<Job> {
        let accounts = run(self.store.accounts()).unwrap();
        let jobs = accounts.iter().map(|account| run(self.store.jobs(account.no, JobNo(0), 10_000)).unwrap());
        jobs.flatten().collect()
    }

    pub(crate) fn expansion(&self, job: JobNo) -> Expansion {
        self.job(job).expansion
    }

    pub(crate) fn counts(&self, job: JobNo) -> TaskCounts {
        run(self.store.task_counts(job)).unwrap()
    }

    pub(crate) fn count(&self, job: JobNo, status: TaskStatus) -> u64 {
        self.counts(job).of(status)
    }

    pub(crate) fn tasks(&self, job: JobNo) -> Vec<Task> {
        let (mut tasks, mut after) = (Vec::new(), Some(0));
        while let Some(from) = after {
            let page = run(self.store.list_tasks(job, &TaskFilter::default(), from, 1_000)).unwrap();
            tasks.extend(page.tasks.into_iter().map(|view| view.task));
            after = page.next;
        }
        tasks
    }

    pub(crate) fn task(&self, job: JobNo, device: DeviceId) -> Option<Task> {
        self.tasks(job).into_iter().find(|task| task.key.device == device)
    }

    pub(crate) fn state(&self, job: JobNo, device: DeviceId) -> TaskState {
        self.task(job, device).unwrap().state
    }

    pub(crate) fn wrote(&self, job: JobNo) -> Vec<Wrote> {
        self.wrote.iter().filter(|wrote| wrote.job == job).cloned().collect()
    }

    pub(crate) fn wrote_to(&self, job: JobNo, device: DeviceId) -> Vec<Wrote> {
        self.wrote.iter().filter(|wrote| wrote.job == job && wrote.device == device).cloned().collect()
    }
}

fn caller_of(account: AccountNo) -> Caller {
    Caller { account, key: AccessKeyId::parse("test-key").unwrap(), role: Role::Admin }
}

pub(crate) fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}
