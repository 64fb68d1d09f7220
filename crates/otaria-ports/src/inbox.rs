//! What devices and gateways say to the engine.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use otaria_core::ids::{DeviceId, JobNo, ModuleName};
use otaria_core::task::Report;
use otaria_core::time::Timestamp;

use crate::Unavailable;
use crate::pusher::{Offer, Settled};

pub mod contract;

/// The answer to a device's `thing/ota/firmware/get`.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The `id` that a pushed notice of this attempt would have carried.
    pub wire_id: i64,
    /// The job that offers it.
    pub job: JobNo,
    /// What is offered.
    pub offer: Arc<Offer>,
}

/// The longest block of a file in bytes, as the devices' own documents have it.
pub const BLOCK_MAX: u32 = 128 << 10;

/// The only file of a stream.
pub const STREAM_FILE_ID: u32 = 1;

/// A part of a file that a device was offered over MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAsked {
    /// Which offer: [`Offer::stream_id`].
    pub stream_id: u32,
    /// Which of its files: [`STREAM_FILE_ID`].
    pub file_id: u32,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, 1 to [`BLOCK_MAX`]; less comes where the file ends before.
    pub size: u32,
}

/// The answer to [`BlockAsked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The bytes, at least one.
    pub bytes: Bytes,
    /// Bytes of the whole file.
    pub file_size: u64,
}

/// Why a device does not get a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBlock {
    /// No open task of the device offers this stream and file.
    NotOffered,
    /// The block is empty, too long, or begins behind the file's end.
    OutOfRange,
}

/// Takes what gateways read from devices.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Takes one report and returns once it is durable; the device's PUBACK may follow. A gateway awaits
    /// this before it reads more from the same device: that is the back-pressure.
    async fn report(&self, report: Report) -> Result<(), Unavailable>;

    /// Answers a device that asks for its update of `module`; `None` when there is none.
    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable>;

    /// Reads a block of a file that an open task offers to this device. A gateway asks for one at a time
    /// for each device.
    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        now: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable>;

    /// Takes the outcomes of notices, in batches of at most a second's worth. Repeats do no harm.
    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable>;
}

/// Keeps what it hears, for tests of gateways.
#[derive(Debug, Default)]
pub struct KeptInbox {
    /// All reports in order.
    pub reports: Mutex<Vec<Report>>,
    /// All outcomes in order.
    pub outcomes: Mutex<Vec<Settled>>,
    /// What every fetch is answered with.
    pub offer: Mutex<Option<Fetched>>,
    /// All blocks asked for, in order.
    pub blocks: Mutex<Vec<(DeviceId, BlockAsked)>>,
    /// The file that every stream has; without one nothing is offered.
    pub file: Mutex<Option<Bytes>>,
}

#[async_trait]
impl Inbox for KeptInbox {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        self.reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(report);
        Ok(())
    }

    async fn fetch(&self, _: DeviceId, _: ModuleName, _: Timestamp) -> Result<Option<Fetched>, Unavailable> {
        Ok(self.offer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }

    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        _: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((device, asked));
        let file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let Some(file) = file else { return Ok(Err(NoBlock::NotOffered)) };
        let from = usize::try_from(asked.offset).unwrap_or(usize::MAX);
        let size = usize::try_from(asked.size).unwrap_or(usize::MAX);
        if asked.file_id != STREAM_FILE_ID {
            return Ok(Err(NoBlock::NotOffered));
        }
        if !(1..=BLOCK_MAX).contains(&asked.size) || from >= file.len() {
            return Ok(Err(NoBlock::OutOfRange));
        }
        let to = from.saturating_add(size).min(file.len());
        let file_size = u64::try_from(file.len()).unwrap_or(u64::MAX);
        Ok(Ok(Block { bytes: file.slice(from..to), file_size }))
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        self.outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(outcomes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use otaria_core::ids::JobNo;
    use otaria_core::shard::Shard;
    use otaria_core::task::TaskKey;

    use super::*;

    #[test]
    fn the_fake_keeps_the_contract() {
        let (inbox, device, now) = (KeptInbox::default(), DeviceId::new(Shard(3), 1), Timestamp::EPOCH);
        *inbox.file.lock().unwrap() = Some(Bytes::from_static(b"package"));
        let offered = contract::Offered { device, stream_id: 1, file: b"package", now };
        contract::blocks_are_the_file(&inbox, offered).now_or_never().unwrap();
        contract::odd_blocks_are_refused(&inbox, offered).now_or_never().unwrap();
        let key = TaskKey { device, job: JobNo(1), seq: 1 };
        contract::repeats_and_strange_words_are_taken(&inbox, key, now).now_or_never().unwrap();
    }
}
