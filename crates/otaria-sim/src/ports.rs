//! Pace, presence, bus and pusher of one host, over what all hosts share.
//!
//! Each does what its clustered adapter does, with the same bounds: the pace moves a caller's clock up to the
//! server's, presence is followed shard by shard and late, signals and notices are letters, a fence is told to
//! all gateways and then waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::pace::{CLOCK_ERROR, Emission, HORIZON_CLUSTERED, Micros, Pace as Gcra};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::bell::Bell;
use otaria_ports::bus::{Bus, Signal};
use otaria_ports::pace::{Grant, Pace, PaceWish};
use otaria_ports::presence::{Connected, Presence, PresenceChange};
use otaria_ports::pusher::{Notice, Pusher};
use otaria_ports::store::memory::Fault;

use crate::gate::Gate;
use crate::medium::{Bucket, Inner, Letter, Life, Medium};
use crate::plant::Plant;

/// How long after its date a notice may be written.
const GRACE: Duration = Duration::from_millis(300);
/// Idle states of limiters run out.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Calls that hand something out.
const WRITING: [&str; 3] = ["asking for tokens", "sending notices", "raising a fence"];

/// What every port of a host has.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(crate) medium: Arc<Medium>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) life: Life,
}

impl Ends {
    /// A call that yields before and after it is done, and may fail either way.
    async fn call<T: Send>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Inner) -> T + Send,
    ) -> Result<T, Unavailable> {
        self.gate.pass().await;
        let fault = self.gate.fault(WRITING.contains(&doing));
        if fault == Some(Fault::Before) {
            self.medium.lock().book.count("fault_before");
            return Err(Unavailable::while_doing(doing));
        }
        let done = work(&mut self.medium.lock());
        self.gate.pass().await;
        if fault == Some(Fault::After) {
            self.medium.lock().book.count("fault_after");
            return Err(Unavailable::while_doing(doing));
        }
        Ok(done)
    }
}

/// The pace, as one script on one server has it.
pub(crate) struct SimPace(pub(crate) Ends);

#[async_trait]
impl Pace for SimPace {
    async fn take(&self, wishes: &[PaceWish], now: Timestamp) -> Result<Vec<Grant>, Unavailable> {
        let grants = self.0.call("asking for tokens", |inner| {
            let server = inner.now;
            let guard = CLOCK_ERROR / 2;
            if now > server + guard {
                return Err(Unavailable::while_doing("asking for tokens: the caller's clock is ahead"));
            }
            let now = now.max(server - guard);
            Ok(wishes.iter().map(|wish| take(inner, wish, now)).collect())
        });
        grants.await?
    }

    async fn forget(&self, _: &[JobNo]) -> Result<(), Unavailable> {
        Ok(())
    }
}

fn take(inner: &mut Inner, wish: &PaceWish, now: Timestamp) -> Grant {
    if inner.plant == Some(Plant::PaceCapacityR) {
        return take_naively(inner, wish, now);
    }
    let at = Micros::from(now);
    let is_new = wish.fresh && wish.created_at >= inner.remembers_since + CLOCK_ERROR;
    let kept = inner.paces.remove(&wish.job).filter(|(_, used)| inner.now.since(*used) < REMEMBERED);
    let mut pace = match kept {
        Some((Bucket::Gcra(pace), _)) => pace,
        _ if is_new => Gcra::new(wish.rate, wish.rate_version, at),
        _ => {
            inner.book.count("after_loss");
            Gcra::after_loss(wish.rate, wish.rate_version, at, HORIZON_CLUSTERED)
        }
    };
    pace.set_rate(wish.rate, wish.rate_version);
    let emissions = pace.take(at, wish.want, HORIZON_CLUSTERED);
    let next_at = pace.next_at(HORIZON_CLUSTERED).ceil();
    let grant = Grant { emissions, next_at, rate: pace.rate() };
    inner.paces.insert(wish.job, (Bucket::Gcra(pace), inner.now));
    grant
}

/// A mistake: a bucket that holds R and is filled with R a minute lets 2 R through in a minute.
fn take_naively(inner: &mut Inner, wish: &PaceWish, now: Timestamp) -> Grant {
    let rate = i64::from(wish.rate.get());
    let full = rate * 60_000;
    let (mut left, since) = match inner.paces.get(&wish.job) {
        Some((Bucket::Naive { left, since }, _)) => (*left, *since),
        _ => (full, now),
    };
    let passed = i64::try_from(now.since(since).as_millis()).unwrap_or(0);
    left = (left + passed * rate).min(full);
    let tokens = (left / 60_000).min(i64::from(wish.want));
    left -= tokens * 60_000;
    inner.paces.insert(wish.job, (Bucket::Naive { left, since: now.max(since) }, inner.now));
    let date = Micros::from(now);
    let emissions = match u32::try_from(tokens) {
        Ok(tokens) if tokens > 0 => vec![Emission { date, tokens }],
        _ => Vec::new(),
    };
    Grant {
        emissions,
        next_at: now + Duration::from_millis(u64::try_from(60_000 / rate.max(1)).unwrap_or(1)),
        rate: wish.rate,
    }
}

/// Presence, as one host follows it.
pub(crate) struct SimPresence {
    pub(crate) ends: Ends,
    follower: Mutex<Follower>,
}

#[derive(Default)]
struct Follower {
    /// From where in the log each shard is followed.
    from: BTreeMap<Shard, usize>,
    read: usize,
    /// For the planted mistake: what was seen first.
    first: BTreeMap<Shard, Vec<(DeviceId, i64)>>,
}

impl SimPresence {
    pub(crate) fn new(ends: Ends) -> Self {
        let read = ends.medium.lock().registry.log.len();
        Self { ends, follower: Mutex::new(Follower { read, ..Follower::default() }) }
    }

    /// Whether the log holds something that can be read now.
    pub(crate) fn has_news(&self) -> bool {
        let inner = self.ends.medium.lock();
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = Duration::from_millis(inner.mood.lag);
        inner.registry.log.get(follower.read).is_some_and(|(at, _)| *at + lag <= inner.now)
    }
}

#[async_trait]
impl Presence for SimPresence {
    async fn connect(&self, device: DeviceId) -> Result<Connected, Unavailable> {
        let life = self.ends.life;
        let connect = self.ends.call("beginning a session", |inner| {
            let session = (inner.registry.last + 1).max(inner.now.millis() * 1_000);
            let older = inner.registry.online.get(&device).copied();
            let now = inner.now;
            inner.registry.arrive(device, life, session, now);
            if let Some((to, session)) = older.filter(|(at, _)| *at != life) {
                inner.post(Letter::Outdated { to, device, session });
            }
            Connected { session, older: older.map(|(_, session)| session) }
        });
        connect.await
    }

    async fn disconnect(&self, device: DeviceId, session: i64) -> Result<(), Unavailable> {
        let leave = self.ends.call("ending a session", |inner| {
            let now = inner.now;
            inner.registry.leave(device, session, now);
        });
        leave.await
    }

    async fn sessions(&self, devices: &[DeviceId]) -> Result<Vec<Option<i64>>, Unavailable> {
        let read = self.ends.call("reading sessions", |inner| {
            let registry = &inner.registry;
            let living = |device| registry.online.get(device).filter(|(at, _)| !registry.dead.contains(at));
            devices.iter().map(|device| living(device).map(|(_, session)| *session)).collect()
        });
        read.await
    }

    async fn follow(&self, shards: &BTreeSet<Shard>) -> Result<(), Unavailable> {
        let follow = self.ends.call("following shards", |inner| {
            let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
            let end = inner.registry.log.len();
            follower.from.retain(|shard, _| shards.contains(shard));
            for shard in shards {
                follower.from.entry(*shard).or_insert(end);
            }
        });
        follow.await
    }

    async fn changes(&self, max: usize) -> Result<Vec<PresenceChange>, Unavailable> {
        let read = self.ends.call("reading changes", |inner| {
            let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
            let lag = Duration::from_millis(inner.mood.lag);
            let mut changes = Vec::new();
            while let Some((at, change)) = inner.registry.log.get(follower.read) {
                if *at + lag > inner.now || changes.len() == max {
                    break;
                }
                let (PresenceChange::Arrived(device, _) | PresenceChange::Left(device, _)) = change;
                let is_lost = inner.plant == Some(Plant::PresenceLostWakeup)
                    && matches!(change, PresenceChange::Arrived(..));
                if !is_lost && follower.from.get(&device.shard()).is_some_and(|from| *from <= follower.read) {
                    changes.push(*change);
                }
                follower.read += 1;
            }
            changes
        });
        read.await
    }

    async fn snapshot(&self, shard: Shard) -> Result<Vec<(DeviceId, i64)>, Unavailable> {
        let read = self.ends.call("reading a shard", |inner| {
            let registry = &inner.registry;
            let devices = DeviceId::new(shard, 0)..=DeviceId::new(shard, i64::MAX);
            let living = registry.online.range(devices).filter(|(_, (at, _))| !registry.dead.contains(at));
            let all: Vec<_> = living.map(|(device, (_, session))| (*device, *session)).collect();
            if inner.plant == Some(Plant::PresenceLostWakeup) {
                let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
                return follower.first.entry(shard).or_insert(all).clone();
            }
            all
        });
        read.await
    }
}

/// Signals: at once to this host, by letter to the others.
pub(crate) struct SimBus {
    pub(crate) ends: Ends,
    pub(crate) queue: Mutex<VecDeque<Signal>>,
    pub(crate) bell: Arc<Bell>,
}

impl SimBus {
    pub(crate) fn hear(&self, signal: Signal) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(signal);
        self.bell.ring();
    }
}

impl Bus for SimBus {
    fn tell(&self, signal: Signal) {
        self.hear(signal.clone());
        let mut inner = self.ends.medium.lock();
        let others: Vec<Life> = inner
            .alive
            .iter()
            .map(|(host, (number, _))| Life { host: *host, number: *number })
            .filter(|life| *life != self.ends.life)
            .collect();
        others.into_iter().for_each(|to| inner.post(Letter::Signal { to, signal: signal.clone() }));
    }

    fn drain(&self, max: usize) -> Vec<Signal> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = max.min(queue.len());
        queue.drain(..count).collect()
    }
}

/// The way to devices: by letter to the gateway that presence names.
pub(crate) struct SimPusher(pub(crate) Ends);

#[async_trait]
impl Pusher for SimPusher {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        let send = self.0.call("sending notices", |inner| {
            let mut by_gateway: BTreeMap<Life, Vec<Notice>> = BTreeMap::new();
            for notice in notices {
                let at = inner.registry.online.get(&notice.key.device).copied();
                match at {
                    Some((gateway, session)) if session == notice.session => {
                        by_gateway.entry(gateway).or_default().push(notice);
                    }
                    _ => inner.book.count("nowhere"),
                }
            }
            for (to, notices) in by_gateway {
                let number = inner.posted;
                inner.posted += 1;
                inner.post(Letter::Notices { to, number, notices });
            }
        });
        send.await
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        if self.0.medium.lock().plant == Some(Plant::FenceNoWait) {
            return Ok(());
        }
        let tell = self.0.call("raising a fence", |inner| {
            let gateways = inner.gateways();
            gateways.into_iter().for_each(|to| inner.post(Letter::Fence { to, job, fence }));
            inner.now + HORIZON_CLUSTERED + GRACE + CLOCK_ERROR
        });
        // Whether or not they hear it: after this time nothing older is in time.
        let until = match tell.await {
            Ok(until) => until,
            Err(_) => self.0.medium.lock().now + HORIZON_CLUSTERED + GRACE + CLOCK_ERROR,
        };
        poll_fn(|_| {
            let mut inner = self.0.medium.lock();
            if inner.now >= until {
                return Poll::Ready(());
            }
            inner.alarm = Some(until);
            Poll::Pending
        })
        .await;
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        let close = self.0.call("closing a connection", |inner| {
            let now = inner.now;
            if let Some((at, session)) = inner.registry.online.get(&device).copied() {
                inner.put_at(now, Letter::Hangup { at, device, session });
            }
        });
        close.await
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        let mut inner = self.0.medium.lock();
        let gateways = inner.gateways();
        gateways.into_iter().for_each(|to| inner.post(Letter::Epoch { to, shard, epoch }));
        Ok(())
    }
}
