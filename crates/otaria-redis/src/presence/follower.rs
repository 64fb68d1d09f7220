//! The owner's side: reads the logs of followed shards and keeps what they say.
//!
//! A shard is followed from the end of its log, and its devices are read from that moment on, page by page. One
//! task reads on from there: what it reads again changes nothing, and in the end everybody is where the log says.
//! Where entries are missing (the log was cut, or lost), the shard is read anew, and
//! the difference is told as changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use futures_util::future::join_all;
use otaria_core::ids::DeviceId;
use otaria_core::shard::Shard;
use otaria_ports::Unavailable;
use otaria_ports::bell::Bell;
use otaria_ports::presence::PresenceChange;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Inner, START, read_at};

mod reader;

/// Changes that may wait for the owner; then the logs are not read on until it comes.
const WAITING: usize = 262_144;
/// At fewer looks the roll itself may just have been lost, and nobody knows yet.
const LOOKS: u32 = 3;
/// Shards that are read at once: a page of each may be asked for before anybody else's question.
const AT_ONCE: usize = 8;
/// How often a shard is read from its beginning because its server went away meanwhile.
const TRIES: u32 = 3;

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct LogId(u64, u64);

impl LogId {
    fn parse(text: &str) -> Option<Self> {
        let (millis, n) = text.split_once('-')?;
        Some(Self(millis.parse().ok()?, n.parse().ok()?))
    }
}

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A shard as it was at one moment. Of its devices some may be shown as they were later: the log after `end` tells
/// of them.
struct Moment {
    end: LogId,
    entries: u64,
    online: HashMap<DeviceId, (Arc<str>, i64)>,
}

/// A shard that is followed.
struct View {
    read_to: LogId,
    entries: u64,
    online: HashMap<DeviceId, (Arc<str>, i64)>,
}

/// Where a notice's device is, as far as the logs were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this or an older session at a gateway.
    At(Arc<str>),
    /// In a later session; the notice is outdated.
    Elsewhere,
    /// Nowhere.
    Gone,
    /// Nobody here knows: the shard is not followed any more.
    Unknown,
}

/// What the logs said.
pub(super) struct Follower {
    state: Mutex<State>,
    bell: Arc<Bell>,
    /// Told when there is something to follow, or room for more changes.
    more: Notify,
    reading: AtomicBool,
}

#[derive(Default)]
struct State {
    views: BTreeMap<Shard, View>,
    changes: VecDeque<PresenceChange>,
    names: BTreeSet<Arc<str>>,
    /// Those that did not live at the last looks, and at how many of them in a row.
    missing: BTreeMap<Arc<str>, u32>,
}

impl State {
    /// One text for all devices of a gateway.
    fn name(&mut self, gateway: &str) -> Arc<str> {
        if let Some(known) = self.names.get(gateway) {
            return Arc::clone(known);
        }
        let name: Arc<str> = gateway.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

impl Follower {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self { state: Mutex::default(), bell, more: Notify::new(), reading: AtomicBool::new(false) }
    }

    pub(super) fn changes(&self, max: usize) -> Vec<PresenceChange> {
        let mut state = self.state.lock();
        let was_full = state.changes.len() >= WAITING;
        let count = max.min(state.changes.len());
        let mut changes: Vec<_> = state.changes.drain(..count).collect();
        // Told while the shard was followed.
        changes.retain(|change| {
            let (PresenceChange::Arrived(device, _) | PresenceChange::Left(device, _)) = change;
            state.views.contains_key(&device.shard())
        });
        drop(state);
        if was_full {
            self.more.notify_one();
        }
        changes
    }

    pub(super) fn place(&self, device: DeviceId, session: i64) -> Place {
        let state = self.state.lock();
        let Some(view) = state.views.get(&device.shard()) else { return Place::Unknown };
        match view.online.get(&device) {
            Some((gateway, present)) if *present <= session => Place::At(Arc::clone(gateway)),
            Some(_) => Place::Elsewhere,
            None => Place::Gone,
        }
    }
}

pub(super) async fn follow(inner: &Arc<Inner>, shards: &BTreeSet<Shard>) -> Result<(), Unavailable> {
    let new: Vec<Shard> = {
        let mut state = inner.follower.state.lock();
        state.views.retain(|shard, _| shards.contains(shard));
        shards.iter().filter(|shard| !state.views.contains_key(shard)).copied().collect()
    };
    for some in new.chunks(AT_ONCE) {
        let moments = join_all(some.iter().map(|shard| moment(inner, *shard))).await;
        let mut state = inner.follower.state.lock();
        for (shard, moment) in some.iter().zip(moments) {
            let Moment { end, entries, online } = moment?;
            state.views.insert(*shard, View { read_to: end, entries, online });
        }
    }
    if !shards.is_empty() && !inner.follower.reading.swap(true, Ordering::SeqCst) {
        tokio::spawn(reader::run(Arc::downgrade(inner)));
    }
    inner.follower.more.notify_one();
    Ok(())
}

/// Everybody in a shard whose gateway lives. What is known of a followed shard is brought up to it.
pub(super) async fn snapshot(inner: &Arc<Inner>, shard: Shard) -> Result<Vec<(DeviceId, i64)>, Unavailable> {
    let (moment, living) = tokio::join!(moment(inner, shard), inner.living());
    let (mut moment, living) = (moment?, living?);
    moment.online.retain(|_, (gateway, _)| living.contains(&**gateway));
    let mut all: Vec<_> = moment.online.iter().map(|(device, (_, session))| (*device, *session)).collect();
    all.sort_unstable();
    let mut state = inner.follower.state.lock();
    if let Some(view) = state.views.get_mut(&shard)
        && moment.entries >= view.entries
    {
        // The log is still read from where it was: what it repeats changes nothing in the end.
        view.online = moment.online;
    }
    Ok(all)
}

async fn moment(inner: &Arc<Inner>, shard: Shard) -> Result<Moment, Unavailable> {
    for _ in 0..TRIES {
        if let Some(moment) = walk(inner, shard).await? {
            return Ok(moment);
        }
    }
    Err(Unavailable::while_doing(READING))
}

const READING: &str = "reading a shard's devices";

/// A page: run id, end of the log, number of its last entry, next cursor, devices and where they are.
type Page = (String, String, u64, String, Vec<String>);

/// Reads a shard's devices; `None` when the server or what it keeps was another one in the end.
async fn walk(inner: &Arc<Inner>, shard: Shard) -> Result<Option<Moment>, Unavailable> {
    let keys = inner.link.keys().shard(shard);
    let page = async |cursor: &str| {
        inner.link.run::<Page>(&inner.scripts.view.call(&keys).arg(cursor), READING).await
    };
    let (run, end, entries, mut cursor, mut pairs) = page(START).await?;
    let mut online = HashMap::with_capacity(pairs.len() / 2);
    loop {
        {
            let mut state = inner.follower.state.lock();
            online.extend(pairs.chunks_exact(2).filter_map(|pair| {
                let device = DeviceId(pair[0].parse().ok()?);
                let (gateway, session) = read_at(&pair[1])?;
                Some((device, (state.name(&gateway), session)))
            }));
        }
        if cursor == START {
            let end = LogId::parse(&end).unwrap_or_default();
            return Ok(Some(Moment { end, entries, online }));
        }
        let (now_run, _, now_entries, next, more) = page(&cursor).await?;
        if now_run != run || now_entries < entries {
            return Ok(None);
        }
        (cursor, pairs) = (next, more);
    }
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    n: u64,
    arrived: bool,
    device: DeviceId,
    session: i64,
    gateway: String,
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let n = words.next()?.parse().ok()?;
        let arrived = match words.next()? {
            "a" => true,
            "l" => false,
            _ => return None,
        };
        let device = DeviceId(words.next()?.parse().ok()?);
        let session = words.next()?.parse().ok()?;
        Some(Self { n, arrived, device, session, gateway: words.next()?.to_owned() })
    }
}

impl Follower {
    /// Takes entries of a shard's log, oldest first; `false` when some are missing before or among them.
    fn take(&self, shard: Shard, entries: impl IntoIterator<Item = (LogId, Option<Entry>)>) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut whole = true;
        let mut rang = false;
        for (id, entry) in entries {
            let name = entry.as_ref().map(|entry| state.name(&entry.gateway));
            let Some(view) = state.views.get_mut(&shard) else { return true };
            if id <= view.read_to {
                continue;
            }
            view.read_to = id;
            let (Some(entry), Some(name)) = (entry, name) else {
                whole = false;
                continue;
            };
            whole &= entry.n == view.entries + 1;
            view.entries = entry.n;
            let present = view.online.get(&entry.device).map(|(_, session)| *session);
            if entry.arrived {
                if present.is_none_or(|present| present <= entry.session) {
                    view.online.insert(entry.device, (name, entry.session));
                }
                state.changes.push_back(PresenceChange::Arrived(entry.device, entry.session));
            } else {
                if present == Some(entry.session) {
                    view.online.remove(&entry.device);
                }
                state.changes.push_back(PresenceChange::Left(entry.device, entry.session));
            }
            rang = true;
        }
        if rang {
            self.bell.ring();
        }
        whole
    }

    /// Puts a moment in the place of what is known; tells the difference. With `keep` nobody leaves by it.
    fn renew(&self, shard: Shard, moment: Moment, keep: bool) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(view) = state.views.get_mut(&shard) else { return };
        let Moment { end, entries, online } = moment;
        let before = std::mem::replace(view, View { read_to: end, entries, online });
        let known = |device: &DeviceId| before.online.get(device).map(|(_, session)| *session);
        let arrivals = view.online.iter().map(|(device, (_, session))| (*device, *session));
        let arrivals = arrivals.filter(|(device, session)| known(device) != Some(*session));
        state.changes.extend(arrivals.map(|(device, session)| PresenceChange::Arrived(device, session)));
        for (device, at) in before.online {
            match view.online.get(&device) {
                Some(_) => {}
                None if keep => drop(view.online.insert(device, at)),
                None => state.changes.push_back(PresenceChange::Left(device, at.1)),
            }
        }
        self.bell.ring();
    }

    /// Forgets the devices of gateways that did not live at [`LOOKS`] looks in a row, and returns them for the
    /// record.
    fn bury(&self, living: &BTreeSet<String>) -> Vec<Buried> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut missing = BTreeMap::new();
        for name in state.names.iter().filter(|name| !living.contains(&***name)) {
            missing.insert(Arc::clone(name), state.missing.get(name).unwrap_or(&0) + 1);
        }
        let dead: BTreeSet<Arc<str>> =
            missing.iter().filter(|(_, looks)| **looks >= LOOKS).map(|(name, _)| Arc::clone(name)).collect();
        state.missing = missing;
        if dead.is_empty() {
            return Vec::new();
        }
        let mut buried = Vec::new();
        for (shard, view) in &mut state.views {
            let mut gone: BTreeMap<Arc<str>, Vec<(DeviceId, i64)>> = BTreeMap::new();
            view.online.retain(|device, (gateway, session)| {
                let is_dead = dead.contains(gateway);
                if is_dead {
                    state.changes.push_back(PresenceChange::Left(*device, *session));
                    gone.entry(Arc::clone(gateway)).or_default().push((*device, *session));
                }
                !is_dead
            });
            buried.extend(gone.into_iter().map(|(gateway, devices)| (*shard, gateway, devices)));
        }
        state.names.retain(|name| !dead.contains(name));
        if !buried.is_empty() {
            self.bell.ring();
        }
        buried
    }
}

/// Devices of a shard that were at a gateway that is gone, and their sessions.
type Buried = (Shard, Arc<str>, Vec<(DeviceId, i64)>);

type WeakInner = Weak<Inner>;
