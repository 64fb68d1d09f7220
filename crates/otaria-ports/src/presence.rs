//! Which devices are connected, where and in which session.
//!
//! Correct by order: a connect is recorded first and told to the owner of the device's shard afterwards,
//! so that whoever reads the record after committing a task cannot miss the device.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use otaria_core::ids::DeviceId;
use otaria_core::shard::{SHARDS, Shard};

use crate::Unavailable;
use crate::bell::Bell;

/// A session that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Greater than that of any earlier session of the device.
    pub session: i64,
    /// The session that this one replaces, to be closed by its gateway.
    pub older: Option<i64>,
}

/// A change that owners of shards follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceChange {
    /// The device has a new session.
    Arrived(DeviceId, i64),
    /// This session ended.
    Left(DeviceId, i64),
}

/// Knows who is online.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Records a new session of a device and numbers it.
    async fn connect(&self, device: DeviceId) -> Result<Connected, Unavailable>;

    /// Forgets the device if this session is still its own; an older session changes nothing.
    async fn disconnect(&self, device: DeviceId, session: i64) -> Result<(), Unavailable>;

    /// The sessions of devices, in the order asked.
    async fn sessions(&self, devices: &[DeviceId]) -> Result<Vec<Option<i64>>, Unavailable>;

    /// Says whose devices the caller owns: from now on [`Presence::changes`] yields what happens to them, and
    /// to no others. To be called before the snapshots of newly owned shards are read, so that nothing falls
    /// in between. Where all is in one process every change is yielded anyway.
    async fn follow(&self, _shards: &BTreeSet<Shard>) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Changes since the last call in the shards that are followed, at most `max`; those of one device in
    /// their order. A change may come again, and late: a snapshot that was read meanwhile may know more.
    async fn changes(&self, max: usize) -> Result<Vec<PresenceChange>, Unavailable>;

    /// Everybody online in a shard, for a new owner and for the sweep that repairs what was missed.
    async fn snapshot(&self, shard: Shard) -> Result<Vec<(DeviceId, i64)>, Unavailable>;
}

/// Presence in one process.
///
/// Session numbers grow from `incarnation << 32`, so that they also grow over restarts when every start
/// has a greater incarnation.
#[derive(Debug)]
pub struct LocalPresence {
    inner: Mutex<Inner>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Inner {
    next: i64,
    online: Vec<HashMap<DeviceId, i64>>,
    changes: VecDeque<PresenceChange>,
}

impl LocalPresence {
    /// Nobody is online; `bell` rings at every change.
    #[must_use]
    pub fn new(incarnation: i64, bell: Arc<Bell>) -> Self {
        let online = std::iter::repeat_with(HashMap::new).take(SHARDS).collect();
        let inner = Inner { next: (incarnation << 32) + 1, online, changes: VecDeque::new() };
        Self { inner: Mutex::new(inner), bell }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot leave these maps half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(device: DeviceId) -> usize {
    usize::from(device.shard().0)
}

#[async_trait]
impl Presence for LocalPresence {
    async fn connect(&self, device: DeviceId) -> Result<Connected, Unavailable> {
        let mut inner = self.lock();
        let session = inner.next;
        inner.next += 1;
        let older = inner.online[place(device)].insert(device, session);
        inner.changes.push_back(PresenceChange::Arrived(device, session));
        drop(inner);
        self.bell.ring();
        Ok(Connected { session, older })
    }

    async fn disconnect(&self, device: DeviceId, session: i64) -> Result<(), Unavailable> {
        let mut inner = self.lock();
        let shard = &mut inner.online[place(device)];
        if shard.get(&device) == Some(&session) {
            shard.remove(&device);
            inner.changes.push_back(PresenceChange::Left(device, session));
        }
        Ok(())
    }

    async fn sessions(&self, devices: &[DeviceId]) -> Result<Vec<Option<i64>>, Unavailable> {
        let inner = self.lock();
        Ok(devices.iter().map(|device| inner.online[place(*device)].get(device).copied()).collect())
    }

    async fn changes(&self, max: usize) -> Result<Vec<PresenceChange>, Unavailable> {
        let mut inner = self.lock();
        let count = max.min(inner.changes.len());
        Ok(inner.changes.drain(..count).collect())
    }

    async fn snapshot(&self, shard: Shard) -> Result<Vec<(DeviceId, i64)>, Unavailable> {
        let inner = self.lock();
        let mut all: Vec<_> =
            inner.online[usize::from(shard.0)].iter().map(|(device, session)| (*device, *session)).collect();
        all.sort_unstable();
        Ok(all)
    }
}

/// Holds for every [`Presence`]; each function wants an empty one.
pub mod contract {
    use super::{BTreeSet, DeviceId, Presence, PresenceChange, Shard};

    /// A second session replaces the first, and the first one's end changes nothing.
    pub async fn a_second_login_replaces_the_first(presence: &dyn Presence) {
        let device = DeviceId::new(Shard(7), 1);
        let first = presence.connect(device).await.unwrap();
        let second = presence.connect(device).await.unwrap();
        assert_eq!(first.older, None);
        assert_eq!(second.older, Some(first.session));
        assert!(second.session > first.session);

        presence.disconnect(device, first.session).await.unwrap();
        assert_eq!(presence.sessions(&[device]).await.unwrap(), [Some(second.session)]);
        presence.disconnect(device, second.session).await.unwrap();
        assert_eq!(presence.sessions(&[device]).await.unwrap(), [None]);
    }

    /// An owner that follows the changes knows what the snapshot says. Changes may take a moment; `pause` is
    /// called while they are waited for.
    pub async fn changes_and_snapshot_agree<F>(presence: &dyn Presence, mut pause: impl FnMut() -> F)
    where
        F: Future<Output = ()>,
    {
        presence.follow(&BTreeSet::from([Shard(8), Shard(9)])).await.unwrap();
        let [a, b] = [1, 2].map(|n| DeviceId::new(Shard(9), n));
        let at_a = presence.connect(a).await.unwrap().session;
        let at_b = presence.connect(b).await.unwrap().session;
        presence.disconnect(a, at_a).await.unwrap();
        let mut changes = presence.changes(10).await.unwrap();
        for _ in 0..100 {
            if changes.len() >= 3 {
                break;
            }
            pause().await;
            changes.extend(presence.changes(10).await.unwrap());
        }
        assert_eq!(
            changes,
            [
                PresenceChange::Arrived(a, at_a),
                PresenceChange::Arrived(b, at_b),
                PresenceChange::Left(a, at_a)
            ]
        );
        assert_eq!(presence.snapshot(Shard(9)).await.unwrap(), [(b, at_b)]);
        assert_eq!(presence.snapshot(Shard(8)).await.unwrap(), []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_local_one_keeps_the_contract() {
        let fresh = || LocalPresence::new(1, Arc::default());
        contract::a_second_login_replaces_the_first(&fresh()).now_or_never().unwrap();
        contract::changes_and_snapshot_agree(&fresh(), || std::future::ready(())).now_or_never().unwrap();
    }
}
