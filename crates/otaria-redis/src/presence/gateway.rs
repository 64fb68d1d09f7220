//! A gateway's own sessions, and how it looks after what is recorded of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use otaria_core::ids::DeviceId;
use otaria_core::shard::{SHARDS, Shard};
use otaria_ports::Unavailable;
use otaria_ports::pusher::Pusher;
use tokio::time::{MissedTickBehavior, interval};

use super::{Inner, START};
use crate::roll;

/// Shards looked at each second: all in half a minute.
const SHARDS_AT_ONCE: usize = 8;

/// A session that began less than so many microseconds ago may be on its way to where it is held: far longer
/// than an answer takes.
const SETTLED: i64 = 10_000_000;
/// Doubts wait for longer than that.
const RIPE: i64 = 15_000_000;

/// The sessions that this process holds.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_shard: BTreeMap<Shard, HashMap<DeviceId, i64>>,
    /// Devices of which more may be recorded than there is, since an answer was lost; and since when.
    doubtful: BTreeMap<DeviceId, i64>,
    ended: bool,
}

impl Sessions {
    pub(super) fn get(&self, device: DeviceId) -> Option<i64> {
        self.by_shard.get(&device.shard())?.get(&device).copied()
    }

    pub(super) fn enter(&mut self, device: DeviceId, session: i64) {
        let held = self.by_shard.entry(device.shard()).or_default().entry(device).or_insert(session);
        *held = session.max(*held);
    }

    pub(super) fn leave(&mut self, device: DeviceId, session: i64) {
        if self.get(device) == Some(session)
            && let Some(shard) = self.by_shard.get_mut(&device.shard())
        {
            shard.remove(&device);
        }
    }

    pub(super) fn doubt(&mut self, device: DeviceId, now: i64) {
        self.doubtful.insert(device, now);
    }

    /// Takes out those that are doubtful for long enough.
    fn ripe(&mut self, now: i64) -> Vec<DeviceId> {
        let ripe = self.doubtful.iter().filter(|(_, since)| **since < now - RIPE);
        let ripe: Vec<DeviceId> = ripe.map(|(device, _)| *device).collect();
        for device in &ripe {
            self.doubtful.remove(device);
        }
        ripe
    }

    /// Nothing is announced any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    fn of(&self, shard: Shard) -> Vec<(DeviceId, i64)> {
        let held = self.by_shard.get(&shard).into_iter().flatten();
        held.map(|(device, session)| (*device, *session)).collect()
    }
}

/// Gives the signs of life and looks after the record, until nobody uses presence any more.
pub(super) async fn look_after(inner: Weak<Inner>, local: Arc<dyn Pusher>) {
    let mut beat = interval(roll::BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was announced under another incarnation may be lost.
    let (mut announced_in, mut next) = (None, 0);
    // So many shards may say too much since a loss.
    let mut overstated = 0;
    loop {
        beat.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.sessions.lock().ended {
            return;
        }
        let incarnation = inner.link.beats().borrow().incarnation;
        let was_known = match inner.roll.sign(&inner.link).await {
            Ok(was_known) => was_known,
            Err(error) => {
                // After five seconds without one everything is said again.
                tracing::debug!(%error, "no sign of life could be given");
                continue;
            }
        };
        let is_same = *announced_in.get_or_insert(incarnation) == incarnation;
        let shards = if was_known && is_same { SHARDS_AT_ONCE } else { SHARDS };
        match inner.announce(next, shards, &*local).await {
            Ok(()) => {
                if !is_same {
                    overstated = SHARDS;
                }
                announced_in = Some(incarnation);
                next = (next + shards) % SHARDS;
            }
            Err(error) => {
                tracing::debug!(%error, "sessions could not be announced");
                if shards == SHARDS {
                    announced_in = Some(0);
                }
            }
        }
        if overstated > 0 && inner.take_back(overstated, SHARDS_AT_ONCE).await.is_ok() {
            overstated = overstated.saturating_sub(SHARDS_AT_ONCE);
        }
        inner.undo_doubtful().await;
    }
}

impl Inner {
    /// Writes again what is missing of so many shards' sessions, and closes those that are outdated.
    async fn announce(&self, first: usize, count: usize, local: &dyn Pusher) -> Result<(), Unavailable> {
        for n in first..first + count {
            let Ok(shard) = u8::try_from(n % SHARDS).map(Shard) else { continue };
            let held = self.sessions.lock().of(shard);
            let session = |device| held.iter().find(|(held, _)| *held == device).copied();
            let devices = (self.link.process(), &held[..]);
            let doing = "announcing sessions";
            let answers =
                self.call_for::<(Vec<i64>, Vec<i64>)>(&self.scripts.announce, shard, devices, doing);
            for (missing, outdated) in answers.await? {
                metrics::counter!("otaria_redis_presence_repairs_total").increment(missing.len() as u64);
                // They may have ended while they were written.
                let written = missing.into_iter().filter_map(|device| session(DeviceId(device)));
                self.leave_unless_held(shard, written.collect()).await?;
                for (device, session) in outdated.into_iter().filter_map(|device| session(DeviceId(device))) {
                    // It may have come back here meanwhile.
                    if self.sessions.lock().get(device) == Some(session) {
                        metrics::counter!("otaria_redis_presence_outdated_total").increment(1);
                        local.close(device).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes out of the record, in `count` of the first `of` shards from behind, what says that devices are
    /// here which are not.
    async fn take_back(&self, of: usize, count: usize) -> Result<(), Unavailable> {
        for n in (0..of).rev().take(count) {
            let Ok(shard) = u8::try_from(n).map(Shard) else { continue };
            let keys = self.link.keys().shard(shard);
            let (before, mut cursor) = (self.now() - SETTLED, START.to_owned());
            loop {
                let call = self.scripts.claims.call(&keys).arg(self.link.process()).arg(before).arg(&cursor);
                let doing = "reading what is said of a gateway";
                let (next, claims) = self.link.run::<(String, Vec<i64>)>(&call, doing).await?;
                let claims = claims.chunks_exact(2).map(|pair| (DeviceId(pair[0]), pair[1]));
                self.leave_unless_held(shard, claims.collect()).await?;
                if next == START {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    async fn leave_unless_held(
        &self,
        shard: Shard,
        mut said: Vec<(DeviceId, i64)>,
    ) -> Result<(), Unavailable> {
        {
            let sessions = self.sessions.lock();
            said.retain(|(device, session)| sessions.get(*device) != Some(*session));
        }
        metrics::counter!("otaria_redis_presence_taken_back_total").increment(said.len() as u64);
        let of = (self.link.process(), &said[..]);
        self.call_for::<u8>(&self.scripts.leave, shard, of, "taking back sessions").await.map(drop)
    }

    /// Takes out of the record what calls left there whose answer did not come.
    async fn undo_doubtful(&self) {
        let now = self.now();
        let ripe = self.sessions.lock().ripe(now);
        if ripe.is_empty() {
            return;
        }
        let undone = async {
            for (device, at) in ripe.iter().zip(self.recorded(&ripe).await?) {
                if let Some((gateway, session)) = at
                    && gateway == self.link.process()
                    && session < now - SETTLED
                {
                    self.leave_unless_held(device.shard(), vec![(*device, session)]).await?;
                }
            }
            Ok::<_, Unavailable>(())
        };
        if undone.await.is_err() {
            let mut sessions = self.sessions.lock();
            ripe.into_iter().for_each(|device| sessions.doubt(device, now));
        }
    }
}
