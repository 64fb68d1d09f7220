//! Which devices are connected, at which gateway and in which session, across processes.
//!
//! A shard's devices, the log of their changes and their numbers lie together, and every change is one
//! script: who is online and what the log says never differ.
//!
//! # Session numbers
//!
//! A session's number is the server's time in microseconds, or one more than any earlier number of the shard,
//! of the device, or of this process, and never below this process's shared clock. So it grows when the
//! server's clock stands still; it grows over a flush, by the time; and it grows when another server with
//! another clock takes the lead, since the shared clock never goes back. Only who starts everything anew, on
//! an empty server whose clock is behind, would see numbers come again.
//!
//! # Who may be wrong, and for how long
//!
//! A gateway that gave no sign of life for five seconds counts as offline with all its devices. Gateways look
//! after what is said of them: they write what is missing, everything at once after a loss and a few shards
//! each second otherwise, so that writes that a failover lost are there again within half a minute, with their
//! numbers. And within half a minute after a loss they take out what an older state says too much.
//!
//! # However many there are
//!
//! No script looks at more than a thousand devices: the server does one thing at a time, and a longer look would
//! keep everybody else's questions waiting until they are given up. So a shard is read page by page, and what
//! changes meanwhile is in the log, which is read from before the first page on.
//!
//! Invariant: the record is changed first and its log is read afterwards, so whoever follows a shard from
//! before it reads its devices misses nobody.

mod follower;
mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use otaria_core::ids::DeviceId;
use otaria_core::shard::Shard;
use otaria_ports::Unavailable;
use otaria_ports::bell::Bell;
use otaria_ports::clock::Clock;
use otaria_ports::presence::{Connected, Presence, PresenceChange};
use otaria_ports::pusher::Pusher;
use parking_lot::Mutex;
use redis::cmd;

use self::follower::Follower;
use self::gateway::Sessions;
use crate::link::RedisLink;
use crate::roll::Roll;
use crate::script::Lua;
use crate::wire::{self, Mail};

pub(crate) use self::follower::Place;

/// Devices in one call.
const CHUNK: usize = 500;
/// The cursor with which a walk over a shard's devices begins and ends.
const START: &str = "0";

/// See the module.
pub struct RedisPresence(Arc<Inner>);

struct Inner {
    link: RedisLink,
    roll: Roll,
    scripts: Scripts,
    clock: Arc<dyn Clock>,
    /// The greatest session number that this process gave.
    greatest: AtomicI64,
    /// The sessions of this process's own gateway.
    sessions: Mutex<Sessions>,
    follower: Follower,
}

struct Scripts {
    connect: Lua,
    leave: Lua,
    announce: Lua,
    claims: Lua,
    view: Lua,
}

impl Scripts {
    fn new() -> Self {
        let lua = |code: &str| Lua::new(&format!("{}\n{code}", include_str!("presence/shard.lua")));
        Self {
            connect: lua(include_str!("presence/connect.lua")),
            leave: lua(include_str!("presence/leave.lua")),
            announce: lua(include_str!("presence/announce.lua")),
            claims: lua(include_str!("presence/claims.lua")),
            view: lua(include_str!("presence/view.lua")),
        }
    }
}

impl std::fmt::Debug for RedisPresence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPresence").field("process", &self.0.link.process()).finish_non_exhaustive()
    }
}

impl RedisPresence {
    /// For a process of any role. `clock` is the shared one; `bell` rings when a followed shard changes.
    #[must_use]
    pub fn new(link: RedisLink, clock: Arc<dyn Clock>, bell: Arc<Bell>) -> Self {
        Self(Arc::new(Inner {
            link,
            roll: Roll::new(),
            scripts: Scripts::new(),
            clock,
            greatest: AtomicI64::new(0),
            sessions: Mutex::default(),
            follower: Follower::new(bell),
        }))
    }

    /// Makes this process a gateway: it is put on the roll, gives a sign of life each second, and looks after
    /// what is said of its sessions. `local` closes those that are outdated. To be called when the gateway's
    /// mail is heard and before its first device may connect. Ends when `self` is dropped.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begin_gateway(&self, local: Arc<dyn Pusher>) -> Result<(), Unavailable> {
        self.0.roll.sign(&self.0.link).await?;
        tokio::spawn(gateway::look_after(Arc::downgrade(&self.0), local));
        Ok(())
    }

    /// Takes this process off the roll of gateways: its devices count as offline at once.
    ///
    /// # Errors
    /// When Redis does not answer; then that takes five seconds.
    pub async fn end_gateway(&self) -> Result<(), Unavailable> {
        self.0.sessions.lock().end();
        self.0.roll.leave(&self.0.link).await
    }

    /// Whether a session of a device is this gateway's own, and the device's present one as far as is known.
    pub(crate) fn is_ours(&self, device: DeviceId, session: i64) -> bool {
        self.0.sessions.lock().get(device) == Some(session)
    }

    /// Where a followed device is.
    pub(crate) fn place(&self, device: DeviceId, session: i64) -> Place {
        self.0.follower.place(device, session)
    }
}

/// A device's place: gateway and session.
type At = (String, i64);

/// Reads "gateway session".
fn read_at(entry: &str) -> Option<At> {
    let (gateway, session) = entry.split_once(' ')?;
    Some((gateway.to_owned(), session.parse().ok()?))
}

impl Inner {
    /// The shared clock's time, as session numbers count it.
    fn now(&self) -> i64 {
        self.clock.now().millis().saturating_mul(1_000)
    }

    /// What is recorded of devices, in the order asked, whether or not their gateways live.
    async fn recorded(&self, devices: &[DeviceId]) -> Result<Vec<Option<At>>, Unavailable> {
        let mut by_shard: BTreeMap<Shard, Vec<usize>> = BTreeMap::new();
        for (n, device) in devices.iter().enumerate() {
            by_shard.entry(device.shard()).or_default().push(n);
        }
        let answers = join_all(by_shard.into_iter().map(|(shard, places)| async move {
            let [online, ..] = self.link.keys().shard(shard);
            let mut cmd = cmd("HMGET");
            cmd.arg(online);
            for place in &places {
                cmd.arg(devices[*place].0);
            }
            let entries: Vec<Option<String>> = self.link.query(&cmd, "reading sessions").await?;
            Ok((places, entries))
        }));
        let mut recorded = vec![None; devices.len()];
        for answer in answers.await {
            let (places, entries) = answer?;
            for (place, entry) in places.into_iter().zip(entries) {
                recorded[place] = entry.as_deref().and_then(read_at);
            }
        }
        Ok(recorded)
    }

    /// Calls a script that takes devices with a number each, in pieces.
    async fn call_for<T: redis::FromRedisValue>(
        &self,
        script: &Lua,
        shard: Shard,
        (gateway, devices): (&str, &[(DeviceId, i64)]),
        doing: &'static str,
    ) -> Result<Vec<T>, Unavailable> {
        let keys = self.link.keys().shard(shard);
        let mut answers = Vec::new();
        for piece in devices.chunks(CHUNK) {
            let mut call = script.call(&keys).arg(gateway);
            for (device, number) in piece {
                call.add(device.0);
                call.add(number);
            }
            answers.push(self.link.run(&call, doing).await?);
        }
        Ok(answers)
    }

    async fn leave(&self, device: DeviceId, session: i64) -> Result<(), Unavailable> {
        let devices = (self.link.process(), &[(device, session)][..]);
        let left = self.call_for::<u8>(&self.scripts.leave, device.shard(), devices, "ending a session");
        left.await.map(drop)
    }

    /// Tells another gateway that a session of its is over. Lost words are made good by its own looks.
    async fn tell_outdated(&self, gateway: &str, device: DeviceId, session: i64) {
        let mail = wire::pack(&Mail::Outdated { device: device.0, session });
        let channel = self.link.keys().to_gateway(gateway);
        let _ = self.link.publish(&channel, &mail, "closing an older session").await;
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn connect(&self, device: DeviceId) -> Result<Connected, Unavailable> {
        let Self(inner) = self;
        let keys = inner.link.keys().shard(device.shard());
        let passed = inner.greatest.load(Ordering::SeqCst).max(inner.now());
        let call = inner.scripts.connect.call(&keys).arg(device.0).arg(inner.link.process()).arg(passed);
        let answer: Result<(i64, String, i64), _> = inner.link.run(&call, "beginning a session").await;
        let (session, older_at, older) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // It may have been recorded.
                inner.sessions.lock().doubt(device, inner.now());
                return Err(error);
            }
        };
        inner.greatest.fetch_max(session, Ordering::SeqCst);
        inner.sessions.lock().enter(device, session);
        if !older_at.is_empty() && older_at != inner.link.process() {
            inner.tell_outdated(&older_at, device, older).await;
        }
        Ok(Connected { session, older: (older != 0).then_some(older) })
    }

    async fn disconnect(&self, device: DeviceId, session: i64) -> Result<(), Unavailable> {
        self.0.sessions.lock().leave(device, session);
        let left = self.0.leave(device, session).await;
        if left.is_err() {
            self.0.sessions.lock().doubt(device, self.0.now());
        }
        left
    }

    async fn sessions(&self, devices: &[DeviceId]) -> Result<Vec<Option<i64>>, Unavailable> {
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let (recorded, living) = tokio::join!(self.0.recorded(devices), self.0.roll.living(&self.0.link));
        let living = self.0.living_and_own(living?);
        let session = |(gateway, session): At| living.contains(&gateway).then_some(session);
        Ok(recorded?.into_iter().map(|at| at.and_then(session)).collect())
    }

    async fn follow(&self, shards: &BTreeSet<Shard>) -> Result<(), Unavailable> {
        follower::follow(&self.0, shards).await
    }

    async fn changes(&self, max: usize) -> Result<Vec<PresenceChange>, Unavailable> {
        Ok(self.0.follower.changes(max))
    }

    async fn snapshot(&self, shard: Shard) -> Result<Vec<(DeviceId, i64)>, Unavailable> {
        follower::snapshot(&self.0, shard).await
    }
}

impl Inner {
    /// The roll, and this process: it need not be told that it lives.
    fn living_and_own(&self, mut living: BTreeSet<String>) -> BTreeSet<String> {
        living.insert(self.link.process().to_owned());
        living
    }

    pub(crate) async fn living(&self) -> Result<BTreeSet<String>, Unavailable> {
        Ok(self.living_and_own(self.roll.living(&self.link).await?))
    }
}
