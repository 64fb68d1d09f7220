//! Hosts, devices, what lies between them, and the time that all of them share without knowing it exactly.
//!
//! Moves one thing at a time: whatever is due is done in an order that chance decides. Nothing here decides what
//! the engine does; that is the real one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{AccessKeyId, AccountNo, DEFAULT_ACCOUNT, DeviceId, JobNo};
use otaria_core::link::LinkKey;
use otaria_core::rules::{DeviceParams, FirmwareParams, Limits, ProductParams, UploadParams};
use otaria_core::time::Timestamp;
use otaria_core::vault::Vault;
use otaria_engine::listener::Listener;
use otaria_engine::ownership::{Owner, Ownership};
use otaria_engine::{Caller, Commands, Deps, Shell};
use otaria_history::record::Sight;
use otaria_ports::bell::Bell;
use otaria_ports::events::KeptEvents;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::presence::Presence;
use otaria_ports::pusher::Pusher;
use otaria_ports::store::memory::MemoryStore;
use otaria_ports::store::{Member, OwnedShards, Role, Store, UploadKind};

use crate::calls::Pending;
use crate::chance::Chance;
use crate::create::Asked;
use crate::door::Door;
use crate::fleet::{Device, Fleet, Moment, TEMPERS};
use crate::gate::Gate;
use crate::host::{Host, How, Kind, LOOPS, Live, slots};
use crate::medium::{HostNo, Letter, Life, Medium};
use crate::op::Setup;
use crate::plant::Plant;
use crate::ports::{Ends, SimBus, SimPace, SimPresence, SimPusher};
use crate::records::{Records, recorded_pusher, recorded_store, sight_of, told};
use crate::store::{Shared, SimStore, at_once};

/// When every world begins, in unix milliseconds.
pub(crate) const BEGIN: i64 = 1_800_000_000_000;
/// How long a membership lasts where several processes share the shards.
const LEASE: Duration = Duration::from_secs(3);
/// A gateway that gave no sign of life for so long counts as offline.
const BURIED: Duration = Duration::from_secs(5);
/// The versions that firmwares bring; the last one is kept for the end.
pub(crate) const VERSIONS: [&str; 5] = ["2.0.0", "3.0.0", "4.0.0", "8.0.0", "9.0.0"];

/// See the module.
pub(crate) struct World {
    pub(crate) medium: Arc<Medium>,
    pub(crate) shared: Shared,
    objects: MemoryObjects,
    ids: Arc<CountingIds>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) fleet: Fleet,
    pub(crate) places: BTreeMap<DeviceId, usize>,
    pub(crate) caller: Caller,
    pub(crate) stranger: Caller,
    pub(crate) product: String,
    pub(crate) firmwares: Vec<String>,
    pub(crate) called: u64,
    pub(crate) pending: BTreeMap<u64, Pending>,
    /// What was asked for, by token.
    pub(crate) asked: BTreeMap<String, Asked>,
    /// What hosts and devices write down, if they do.
    pub(crate) records: Option<Records>,
}

/// Something that may be done now.
#[derive(Clone, Copy, Debug)]
enum Act {
    Turn(HostNo, usize),
    Call(HostNo, usize),
    Write(HostNo),
    Words(HostNo),
    Listen(HostNo),
    Device,
    Mail,
}

pub(crate) fn caller_of(account: AccountNo) -> Caller {
    // Plain text.
    let key = AccessKeyId::parse("test-key").expect("a key id");
    Caller { account, key, role: Role::Admin }
}

pub(crate) fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

impl World {
    /// A world with everybody up and nobody connected.
    pub(crate) fn new(setup: &Setup, plant: Option<Plant>, traced: bool, records: Option<Records>) -> Self {
        let begin = Timestamp::from_millis(BEGIN);
        let medium = Arc::new(Medium::new(begin, plant, traced));
        let events = Arc::new(KeptEvents::default());
        let facts = Arc::new(MemoryStore::new(Arc::clone(&events) as _));
        let mut hosts = Vec::new();
        for (kind, count) in
            [(Kind::Dispatcher, setup.dispatchers), (Kind::Gateway, setup.gateways), (Kind::Api, setup.apis)]
        {
            // One at least, three at most.
            hosts.extend((0..count.clamp(u64::from(kind != Kind::Api), 3)).map(|_| Host::new(kind)));
        }
        let mut world = Self {
            medium,
            shared: Shared { facts, events },
            objects: MemoryObjects::default(),
            ids: Arc::default(),
            hosts,
            fleet: Fleet::default(),
            places: BTreeMap::new(),
            caller: caller_of(DEFAULT_ACCOUNT),
            stranger: caller_of(AccountNo(2)),
            product: String::new(),
            firmwares: Vec::new(),
            called: 0,
            pending: BTreeMap::new(),
            asked: BTreeMap::new(),
            records,
        };
        (0..world.hosts.len()).for_each(|host| world.start(host));
        world.furnish(setup.devices.clamp(1, 5_000));
        world
    }

    /// Product, firmwares and devices.
    fn furnish(&mut self, devices: u64) {
        let now = self.now();
        let commands = self.commands(0).expect("everybody is up");
        let product =
            ProductParams { product_name: text("Lamp"), node_type: Some(0), ..ProductParams::default() };
        let product = at_once(commands.create_product(&self.caller, now, &product)).expect("a product");
        self.product = product.product.new.key.to_string();
        for version in VERSIONS {
            let params = FirmwareParams {
                product_key: text(&self.product),
                firmware_name: text(&format!("firmware {version}").replace(['.', ' '], "_")),
                dest_version: text(version),
                firmware_url: Some(self.upload(UploadKind::Package, b"package")),
                need_to_verify: Some(false),
                ..FirmwareParams::default()
            };
            let firmware = at_once(commands.create_firmware(&self.caller, now, &params)).expect("a firmware");
            self.firmwares.push(firmware.id.to_string());
        }
        let params: Vec<DeviceParams> = (0..devices)
            .map(|n| DeviceParams { device_name: Some(format!("dev-{n:04}")), nickname: None })
            .collect();
        for params in params.chunks(1_000) {
            let made = commands.register_devices(&self.caller, now, Some(&self.product), params);
            for made in at_once(made).expect("registered") {
                let made = made.expect("a new name");
                let (place, name) = (self.fleet.devices.len(), made.name.to_string());
                self.places.insert(made.id, place);
                self.medium.lock().book.names.insert(name.clone(), made.id);
                self.fleet.devices.push(Device::new(made.id, name, TEMPERS[place % TEMPERS.len()]));
            }
        }
        self.medium.lock().book.begin();
    }

    pub(crate) fn upload(&self, kind: UploadKind, bytes: &[u8]) -> String {
        let params = UploadParams::default();
        let Some(commands) = self.commands(0) else { return String::new() };
        let upload = async {
            let mut sink = commands.begin_upload(&self.caller, kind, &params).await?;
            sink.write(bytes::Bytes::copy_from_slice(bytes)).await?;
            sink.finish(self.now()).await
        };
        at_once(upload).map(|upload| upload.url).unwrap_or_default()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.medium.lock().now
    }

    pub(crate) fn chance<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.medium.lock().chance)
    }

    /// Seeds the chance of what follows.
    pub(crate) fn salt(&self, salt: u64) {
        self.medium.lock().chance = Chance::new(salt);
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        self.medium.lock().tell(line);
    }

    /// Commands of a host that is up, from a place on.
    pub(crate) fn commands(&self, from: usize) -> Option<Commands> {
        self.caller_host(from)
            .and_then(|host| self.hosts[host].live.as_ref())
            .map(|live| live.commands.clone())
    }

    /// A host that is up and takes calls.
    pub(crate) fn caller_host(&self, from: usize) -> Option<HostNo> {
        let count = self.hosts.len();
        (0..count).map(|n| (from + n) % count).find(|host| {
            let host = &self.hosts[*host];
            host.kind != Kind::Gateway && host.live.is_some()
        })
    }

    // Life and death.

    /// Starts a host, if it is not up.
    pub(crate) fn start(&mut self, no: HostNo) {
        if self.hosts[no].live.is_some() {
            return;
        }
        let host = &mut self.hosts[no];
        host.lives += 1;
        host.next = How::default();
        let (kind, life, truly) = (host.kind, Life { host: no, number: host.lives }, self.medium.lock().now);
        let now = host.clock(truly);
        host.frozen_until = truly;
        let gate = Arc::new(Gate::default());
        let ends = Ends { medium: Arc::clone(&self.medium), gate: Arc::clone(&gate), life };
        let news: Arc<Bell> = Arc::default();
        let presence = Arc::new(SimPresence::new(ends.clone()));
        let bus = Arc::new(SimBus {
            ends: ends.clone(),
            queue: std::sync::Mutex::default(),
            bell: Arc::clone(&news),
        });
        let mut store = SimStore {
            shared: self.shared.clone(),
            gate: Arc::clone(&gate),
            medium: Arc::clone(&self.medium),
            told: None,
        };
        let history = self.records.as_mut().map(|records| records.begin(&self.medium, life));
        store.told = history.as_ref().map(told);
        let store: Arc<dyn Store> = Arc::new(store);
        let pusher: Arc<dyn Pusher> = Arc::new(SimPusher(ends.clone()));
        let shell = Shell::new(Deps {
            store: recorded_store(history.as_ref(), store, &self.shared),
            objects: Arc::new(self.objects.clone()),
            presence: Arc::clone(&presence) as _,
            pusher: recorded_pusher(history.as_ref(), pusher),
            pace: Arc::new(SimPace(ends)),
            bus: Arc::clone(&bus) as _,
            ids: Arc::clone(&self.ids) as _,
            vault: Vault::new(&[7; 32]),
            link_key: LinkKey::new([7; 32]),
            download_base: "http://127.0.0.1:8080".into(),
            limits: Limits::default(),
        });
        self.medium.lock().alive.insert(no, (life.number, kind == Kind::Gateway));
        let shards = OwnedShards { member: Member(0), epochs: BTreeMap::new() };
        let nothing = Ownership { shards, since: now, until: now };
        let (mut loops, mut owned) = (Vec::new(), nothing);
        if kind == Kind::Dispatcher {
            let member = at_once(shell.deps.store.join(now, LEASE)).expect("joined");
            let owner =
                at_once(Owner::begin(Arc::clone(&shell), member, LEASE, false, now)).expect("an owner");
            owned = owner.owned().clone();
            loops = slots(owner, &shell, now);
        }
        let listener = Listener::new(Arc::clone(&shell), now);
        self.hosts[no].live = Some(Box::new(Live {
            life,
            commands: Commands::new(Arc::clone(&shell)),
            shell,
            gate,
            bus,
            presence,
            news,
            slots: loops,
            owned: Arc::new(owned),
            calls: Vec::new(),
            door: (kind == Kind::Gateway).then(|| Door::new(history.clone())),
            history,
            listener,
            listens_at: truly,
        }));
    }

    /// A host dies: its memory is gone, and so are its connections.
    pub(crate) fn crash(&mut self, no: HostNo) {
        let Some(live) = self.hosts[no].live.take() else { return };
        let now = self.now();
        for call in &live.calls {
            self.forget(call.number);
        }
        let mut inner = self.medium.lock();
        inner.book.count("crash");
        inner.tell(|| format!("host {no} dies"));
        inner.alive.remove(&no);
        if live.door.is_some() {
            inner.put_at(now + BURIED, Letter::Buried { life: live.life });
        }
        drop(inner);
        for place in 0..self.fleet.devices.len() {
            if self.fleet.devices[place].at.is_some_and(|(at, _)| at == live.life) {
                self.saw(place, now, || Sight::Offline {});
                self.fleet.disconnect(place);
            }
        }
    }

    // Time.

    /// Lets everything happen that is due until an instant.
    pub(crate) fn run_until(&mut self, until: Timestamp) {
        loop {
            let now = self.now();
            let mut acts = Vec::new();
            self.gather(&mut acts);
            let next = acts.iter().map(|(at, _)| *at).min();
            let Some(next) = next.filter(|next| *next <= until || *next <= now) else {
                self.medium.lock().now = until.max(now);
                return;
            };
            let now = now.max(next);
            self.medium.lock().now = now;
            acts.retain(|(at, _)| *at <= now);
            let place = self.chance(|chance| chance.place(acts.len()));
            self.act(acts[place].1);
            if !self.medium.lock().book.violations.is_empty() {
                return;
            }
        }
    }

    fn gather(&mut self, acts: &mut Vec<(Timestamp, Act)>) {
        for no in 0..self.hosts.len() {
            let host = &self.hosts[no];
            let Some(live) = &host.live else { continue };
            let from = host.frozen_until;
            for which in 0..live.slots.len().min(LOOPS) {
                acts.push((host.truly(live.due(which)).max(from), Act::Turn(no, which)));
            }
            acts.extend(
                live.calls.iter().enumerate().map(|(n, call)| (call.due.max(from), Act::Call(no, n))),
            );
            if let Some(door) = &live.door {
                acts.extend(door.next().map(|at| (host.truly(at).max(from), Act::Write(no))));
                acts.extend(door.words_at.map(|at| (at.max(from), Act::Words(no))));
            }
            if host.kind != Kind::Dispatcher {
                acts.push((live.listens_at.max(from), Act::Listen(no)));
            }
        }
        acts.extend(self.fleet.next().map(|at| (at, Act::Device)));
        acts.extend(self.medium.lock().mail.keys().next().map(|(at, _)| (*at, Act::Mail)));
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Turn(host, which) => {
                let goes_on = self.hosts[host].live.as_ref().is_some_and(|live| live.is_running(which));
                let how = if goes_on { How::default() } else { How::any(&mut self.medium.lock()) };
                self.turn(host, which, how);
            }
            Act::Call(host, n) => self.go_on(host, n),
            Act::Write(host) => self.write(host),
            Act::Words(host) => self.send_words(host),
            Act::Listen(host) => self.listen(host),
            Act::Device => self.move_device(),
            Act::Mail => {
                let letter = self.medium.lock().mail.pop_first();
                if let Some((_, letter)) = letter {
                    self.deliver(letter);
                }
            }
        }
    }

    /// A loop of a host moves.
    pub(crate) fn turn(&mut self, no: HostNo, which: usize, how: How) {
        let truly = self.now();
        let host = &mut self.hosts[no];
        let now = host.clock(truly);
        let Some(live) = host.live.as_mut().filter(|live| which < live.slots.len()) else { return };
        if let Err(why) = live.tick(which, now, &self.medium, how) {
            self.medium.lock().book.check("I21", false, || format!("host {no}: {why}"));
        }
    }

    /// A gateway writes what is due.
    fn write(&mut self, no: HostNo) {
        let truly = self.now();
        let host = &mut self.hosts[no];
        let shown = host.clock(truly);
        let Some(live) = &mut host.live else { return };
        let (life, Some(door)) = (live.life, &mut live.door) else { return };
        let medium = Arc::clone(&self.medium);
        let mut inner = medium.lock();
        let written = door.deliver(shown, &mut inner);
        for notice in written {
            let hop = Duration::from_millis(inner.chance.below(100));
            let place = self.places[&notice.device];
            // A session that is gone is written to all the same, until its gateway finds out.
            if self.fleet.devices[place].at == Some((life, notice.session)) {
                let heard = truly + hop;
                let noted = inner.book.jobs.get_mut(&notice.job);
                if let Some(write) =
                    noted.and_then(|noted| noted.writes.get_mut(notice.place.saturating_sub(1)))
                {
                    write.heard = Some(heard);
                }
                self.fleet.hear(place, notice.wire, &notice.version, heard);
                self.saw(place, heard, || sight_of(notice.wire, &notice.version));
            }
        }
    }

    /// The words about notices go on their way.
    fn send_words(&mut self, no: HostNo) {
        let Some(live) = &mut self.hosts[no].live else { return };
        let (life, Some(door)) = (live.life, &mut live.door) else { return };
        door.words_at = None;
        let words = std::mem::take(&mut door.words);
        self.medium.lock().post(Letter::Words { at: life, words });
    }

    /// What a host without loops does now and then; a gateway also looks after what is said of its sessions.
    fn listen(&mut self, no: HostNo) {
        let now = self.now();
        let shown = self.hosts[no].clock(now);
        let Some(live) = &mut self.hosts[no].live else { return };
        live.listens_at = now + Duration::from_secs(1);
        live.listener.tick(shown);
        let (life, Some(door)) = (live.life, &mut live.door) else { return };
        let mut inner = self.medium.lock();
        let held: Vec<(DeviceId, i64)> =
            door.sessions.iter().map(|(device, session)| (*device, *session)).collect();
        for (device, session) in held {
            match inner.registry.online.get(&device).copied() {
                Some((_, known)) if known > session => door.leave(device, session),
                Some((at, known)) if known == session && at == life => {}
                _ => inner.registry.arrive(device, life, session, now),
            }
        }
    }

    fn move_device(&mut self) {
        let now = self.now();
        let Some(place) = self.fleet.due(now) else { return };
        match self.fleet.act(place, now) {
            Moment::Reports(at, reports) if !reports.is_empty() => {
                self.saw_saying(place, now, &reports);
                self.medium.lock().post(Letter::Reports { at, reports });
            }
            Moment::Reports(..) | Moment::Nothing => {}
            Moment::Drops => self.disconnect(place, true),
            Moment::Comes => self.connect(place),
        }
    }

    /// A device logs in at one of the gateways, if one answers.
    pub(crate) fn connect(&mut self, place: usize) {
        let gateways: Vec<Life> = self.medium.lock().gateways();
        if gateways.is_empty() {
            return;
        }
        let at = self.chance(|chance| chance.pick(&gateways));
        let (now, device) = (self.now(), self.fleet.devices[place].id);
        let host = &mut self.hosts[at.host];
        let Some(live) = host.live.as_mut().filter(|_| host.frozen_until <= now) else { return };
        live.gate.open();
        let Ok(connected) = at_once(live.presence.connect(device)) else { return };
        if let Some(door) = &mut live.door {
            door.enter(device, connected.session);
        }
        self.medium.lock().book.count("connect");
        self.saw(place, now, || Sight::Online {});
        self.fleet.connect(place, at, connected.session, now);
    }

    /// A device loses its connection; its gateway finds out at once, or a while later.
    pub(crate) fn disconnect(&mut self, place: usize, at_once_seen: bool) {
        let device = &self.fleet.devices[place];
        let Some((at, session)) = device.at else { return };
        let device = device.id;
        self.saw(place, self.now(), || Sight::Offline {});
        self.fleet.disconnect(place);
        let mut inner = self.medium.lock();
        inner.book.count("disconnect");
        let wait = if at_once_seen { 20 } else { inner.chance.between(500, 30_000) };
        let found = inner.now + Duration::from_millis(wait);
        inner.put_at(found, Letter::Hangup { at, device, session });
    }

    /// The job at a place, in the order of numbers.
    pub(crate) fn job(&self, nth: u64) -> Option<JobNo> {
        let inner = self.medium.lock();
        let jobs: Vec<JobNo> = inner.book.jobs.keys().copied().collect();
        let place = usize::try_from(nth).ok()?.checked_rem(jobs.len())?;
        jobs.get(place).copied()
    }
}
