//! Notices on their way to devices.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, JobNo, ModuleName, Version};
use otaria_core::job::Tag;
use otaria_core::shard::Shard;
use otaria_core::task::TaskKey;
use otaria_core::time::Timestamp;
use otaria_core::witness::Terms;

use crate::Unavailable;

pub mod contract;

/// One file of a package as a device sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedFile {
    /// Its name, when the package has several.
    pub name: String,
    /// Where to get it; answers for 24 hours. Empty where [`Offer::stream_id`] is given.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// Hex MD5.
    pub md5: String,
    /// Hex SHA-256.
    pub sha256: String,
}

/// By which digest a device checks the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignMethod {
    /// `Md5` on the device's wire.
    Md5,
    /// `SHA256` on the device's wire.
    Sha256,
}

/// What a job offers to its devices: shared by all its notices of an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The version to reach.
    pub version: Version,
    /// The module it is for.
    pub module: ModuleName,
    /// One, or up to twenty.
    pub files: Vec<OfferedFile>,
    /// Under which number the one file is asked for, in blocks over MQTT (see `Inbox::block`); `None` where
    /// files have URLs.
    pub stream_id: Option<u32>,
    /// How to check them.
    pub sign_method: SignMethod,
    /// Whether this is a difference package.
    pub is_diff: bool,
    /// Free text of the package for the device, at most 4096 characters.
    pub udi: Option<String>,
    /// The job's tags.
    pub tags: Vec<Tag>,
}

/// One notice of one attempt, with everything that is checked right before it is written.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The task.
    pub key: TaskKey,
    /// The attempt it belongs to.
    pub attempt: u8,
    /// The `id` on the wire; repeats of an attempt keep it.
    pub wire_id: i64,
    /// The session that it is meant for.
    pub session: i64,
    /// The shard and the epoch of the lease under which it was claimed.
    pub shard: (Shard, i64),
    /// The job's fence when it was claimed.
    pub fence: u64,
    /// Its token's date.
    pub not_before: Timestamp,
    /// From then on it is too late.
    pub not_after: Timestamp,
    /// What its job promises, for those who watch whether it holds. `None` from a sender of an older release.
    pub terms: Option<Terms>,
    /// What it says.
    pub offer: Arc<Offer>,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Written to the device's socket.
    Written,
    /// The device is not connected here.
    Gone,
    /// Another session, an older epoch or fence, or too late.
    Stale,
    /// The device does not read fast enough.
    Congested,
}

/// The word about one notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The task.
    pub key: TaskKey,
    /// The attempt.
    pub attempt: u8,
    /// [`Notice::wire_id`].
    pub wire_id: i64,
    /// [`Notice::shard`].
    pub shard: (Shard, i64),
    /// [`Notice::fence`].
    pub fence: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// When: by the look at the clock right before it was written, or was not. Of a notice that a broker took
    /// over, when the broker acknowledged it.
    pub at: Timestamp,
    /// By a look at the clock after it was written.
    pub until: Timestamp,
}

impl Settled {
    /// The word about this notice.
    #[must_use]
    pub fn of(notice: &Notice, outcome: Outcome, at: Timestamp, until: Timestamp) -> Self {
        let Notice { key, attempt, wire_id, shard, fence, .. } = notice;
        let (attempt, wire_id, shard, fence) = (*attempt, *wire_id, *shard, *fence);
        Self { key: key.clone(), attempt, wire_id, shard, fence, outcome, at, until }
    }
}

/// Hands notices to the gateway that holds the device.
///
/// A notice is written at most once, between `not_before` and `not_after`, to an empty send queue of the
/// named session, and only while neither its epoch nor its fence is outdated. The outcome comes back
/// through `Inbox::settled`.
#[async_trait]
pub trait Pusher: Send + Sync {
    /// Takes notices; returns before they are written. At most `otaria_ports::store::BATCH_MAX` a call.
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable>;

    /// Raises a job's fence. After this returns, no notice of the job with a smaller fence is written.
    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable>;

    /// Ends a device's connection, also one that is just coming in on credentials that were looked up before.
    /// After this returns, nothing is written to it. Whether the device may come back is for its credentials
    /// to say.
    async fn close(&self, device: DeviceId) -> Result<(), Unavailable>;

    /// Raises a shard's epoch. After this returns, no notice with a smaller epoch is written.
    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable>;
}

/// Keeps what it was given, for tests of the engine.
#[derive(Debug, Default)]
pub struct KeptPusher {
    /// All notices in the order sent.
    pub notices: Mutex<Vec<Notice>>,
    /// All fences raised.
    pub fences: Mutex<Vec<(JobNo, u64)>>,
    /// All devices whose connections were ended.
    pub closed: Mutex<Vec<DeviceId>>,
    /// All epochs raised.
    pub epochs: Mutex<Vec<(Shard, i64)>>,
}

#[async_trait]
impl Pusher for KeptPusher {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        self.notices.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(notices);
        Ok(())
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        self.fences.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((job, fence));
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(device);
        Ok(())
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        self.epochs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((shard, epoch));
        Ok(())
    }
}
