//! Holds for every [`Inbox`].

use otaria_core::ids::{DeviceId, InformedVersion, ModuleName};
use otaria_core::task::{Report, ReportOrder, Said, TaskKey};
use otaria_core::time::Timestamp;

use super::{BLOCK_MAX, BlockAsked, Inbox, NoBlock, STREAM_FILE_ID};
use crate::pusher::{Outcome, Settled};

/// A device that is offered a file over MQTT.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// The device.
    pub device: DeviceId,
    /// The number of its stream.
    pub stream_id: u32,
    /// What the file holds; shorter than [`BLOCK_MAX`].
    pub file: &'a [u8],
    /// When it asks.
    pub now: Timestamp,
}

impl Offered<'_> {
    fn part(&self, offset: u64, size: u32) -> BlockAsked {
        BlockAsked { stream_id: self.stream_id, file_id: STREAM_FILE_ID, offset, size }
    }
}

/// Blocks, asked for one after the other, are the file; the last one is shorter.
pub async fn blocks_are_the_file(inbox: &dyn Inbox, offered: Offered<'_>) {
    for size in [1, 3, BLOCK_MAX] {
        let mut read = Vec::new();
        while read.len() < offered.file.len() {
            let asked = offered.part(read.len() as u64, size);
            let block = inbox.block(offered.device, asked, offered.now).await.unwrap().unwrap();
            assert_eq!(block.file_size, offered.file.len() as u64);
            assert!((1..=size as usize).contains(&block.bytes.len()));
            read.extend_from_slice(&block.bytes);
        }
        assert_eq!(read, offered.file);
    }
}

/// A block that is empty, too long or behind the end is out of range, and another file is not offered.
pub async fn odd_blocks_are_refused(inbox: &dyn Inbox, offered: Offered<'_>) {
    let end = offered.file.len() as u64;
    for (offset, size) in [(end, 1), (u64::MAX, 1), (0, 0), (0, BLOCK_MAX + 1), (0, u32::MAX)] {
        let answer = inbox.block(offered.device, offered.part(offset, size), offered.now).await.unwrap();
        assert_eq!(answer, Err(NoBlock::OutOfRange), "{offset} {size}");
    }
    let other = BlockAsked { file_id: STREAM_FILE_ID + 1, ..offered.part(0, 1) };
    let answer = inbox.block(offered.device, other, offered.now).await.unwrap();
    assert_eq!(answer, Err(NoBlock::NotOffered));
}

/// Gateways say things again when they do not hear that they were taken, and say what nobody waits for.
pub async fn repeats_and_strange_words_are_taken(inbox: &dyn Inbox, key: TaskKey, now: Timestamp) {
    let said = Said::Version(InformedVersion::parse("1.0.0").unwrap());
    let order = ReportOrder { session: 1, n: 1 };
    let (device, module, told) = (key.device, ModuleName::default_module(), None);
    let report = Report { device, module, order, at: now, told, said };
    for _ in 0..2 {
        inbox.report(report.clone()).await.unwrap();
    }
    let strange = TaskKey { seq: u32::MAX, ..key.clone() };
    let all = [Outcome::Written, Outcome::Gone, Outcome::Stale, Outcome::Congested].map(|outcome| {
        let key = if outcome == Outcome::Written { strange.clone() } else { key.clone() };
        let shard = (key.device.shard(), 1);
        Settled { key, attempt: 1, wire_id: 1, shard, fence: 0, outcome, at: now, until: now }
    });
    for _ in 0..2 {
        inbox.settled(all.to_vec()).await.unwrap();
    }
    inbox.settled(Vec::new()).await.unwrap();
}
