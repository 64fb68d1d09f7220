//! When fences and epochs hold.

use std::sync::Arc;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_ports::Unavailable;
use otaria_ports::pusher::{Notice, Pusher};

use crate::record::Fact;
use crate::writer::History;

/// Tells of fences and epochs that were raised; notices are told where they are written.
pub struct RecordedPusher {
    history: Arc<History>,
    inner: Arc<dyn Pusher>,
}

impl std::fmt::Debug for RecordedPusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedPusher").finish_non_exhaustive()
    }
}

impl RecordedPusher {
    /// Around the way to all gateways.
    #[must_use]
    pub fn new(history: Arc<History>, inner: Arc<dyn Pusher>) -> Arc<Self> {
        Arc::new(Self { history, inner })
    }
}

#[async_trait]
impl Pusher for RecordedPusher {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        self.inner.send(notices).await
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        let from = self.history.now();
        self.inner.fence(job, fence).await?;
        self.history.tell_one(from, Fact::Fenced { job: job.0, fence });
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        self.inner.close(device).await
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        let from = self.history.now();
        self.inner.epoch(shard, epoch).await?;
        self.history.tell_one(from, Fact::EpochRaised { shard: shard.0, epoch });
        Ok(())
    }
}
