//! A gateway's own sessions, and how it looks after what is recorded of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use otaria_core::ids::DeviceId;
use otaria_core::shard::{SHARDS, Shard};
use otaria_ports::Unavailable;
use otaria_ports::pusher::Pusher;
use tokio::time::{MissedTickBehavior, interval};

use super::Inner;
use crate::roll;

/// Shards looked at each second: all in half a minute.
const SHARDS_AT_ONCE: usize = 8;

/// The sessions that this process holds.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_shard: BTreeMap<Shard, HashMap<DeviceId, i64>>,
    /// Devices of which more may be recorded than there is: an answer was lost.
    doubtful: BTreeSet<DeviceId>,
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

    pub(super) fn doubt(&mut self, device: DeviceId) {
        self.doubtful.insert(device);
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
                tracing::debug!(%error, "no sign of life could be given");
                // Longer without one, and everything is to be said again.
                continue;
            }
        };
        let all = !was_known || *announced_in.get_or_insert(incarnation) != incarnation;
        let shards = if all { SHARDS } else { SHARDS_AT_ONCE };
        match inner.announce(next, shards, &*local).await {
            Ok(()) => {
                announced_in = Some(incarnation);
                next = (next + shards) % SHARDS;
            }
            Err(error) => {
                tracing::debug!(%error, "sessions could not be announced");
                if all {
                    announced_in = Some(0);
                }
            }
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
            let devices = (self.link.process(), &held[..]);
            let doing = "announcing sessions";
            let answers = self.call_for::<(u64, Vec<i64>)>(&self.scripts.announce, shard, devices, doing);
            for (missing, outdated) in answers.await? {
                metrics::counter!("otaria_redis_presence_repairs_total").increment(missing);
                for device in outdated.into_iter().map(DeviceId) {
                    let session = held.iter().find(|(held, _)| *held == device).map(|(_, session)| *session);
                    // It may have come back here meanwhile.
                    if session.is_some() && self.sessions.lock().get(device) == session {
                        metrics::counter!("otaria_redis_presence_outdated_total").increment(1);
                        local.close(device).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes out of the record what is not there: calls whose answer did not come.
    async fn undo_doubtful(&self) {
        let doubtful = std::mem::take(&mut self.sessions.lock().doubtful);
        for device in doubtful {
            let held = self.sessions.lock().get(device).unwrap_or(0);
            let devices = (self.link.process(), &[(device, held)][..]);
            let doing = "taking back a session";
            let undone = self.call_for::<u8>(&self.scripts.disown, device.shard(), devices, doing).await;
            if undone.is_err() {
                self.sessions.lock().doubt(device);
            }
        }
    }
}
