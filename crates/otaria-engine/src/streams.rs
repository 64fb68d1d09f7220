//! Files that devices read in blocks over MQTT, and who may read them.
//!
//! A 16 MiB file in 5 KiB blocks is 3,277 questions of one device. Whether it may read is looked up in the
//! store for the first one and then every [`TRUST`], so a task that ends some way that nobody told of here is
//! read for at most that long; a job that changes is looked up again at once.
//!
//! Invariant: a device reads only the file of a package that an open task offers to it, and only from its
//! first offer on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::DownloadProtocol;
use otaria_core::link::stream_id;
use otaria_core::time::Timestamp;
use otaria_ports::inbox::{BLOCK_MAX, Block, BlockAsked, NoBlock, STREAM_FILE_ID};
use otaria_ports::store::PackageFile;

use crate::book::JobFacts;
use crate::error::CommandError;
use crate::shell::Shell;

/// How long what was looked up is believed.
const TRUST: Duration = Duration::from_secs(10);
/// Devices that read at a time at most; with more, all are looked up more often.
const KEPT: usize = 16_384;

/// Who reads what.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<Readers>);

#[derive(Debug, Default)]
struct Readers {
    known: BTreeMap<(DeviceId, u32), Reader>,
    /// How often something was forgotten.
    forgotten: u64,
}

#[derive(Clone, Debug)]
struct Reader {
    facts: Arc<JobFacts>,
    until: Timestamp,
}

impl Streams {
    /// Makes the readers of a job that changed be looked up again.
    pub(crate) fn forget(&self, job: JobNo) {
        let mut readers = self.lock();
        readers.forgotten += 1;
        readers.known.retain(|_, reader| reader.facts.job.no != job);
    }

    /// Makes all readers be looked up again.
    pub(crate) fn forget_all(&self) {
        let mut readers = self.lock();
        readers.forgotten += 1;
        readers.known.clear();
    }

    /// Who reads this, and how often something had been forgotten when that was looked up.
    fn find(&self, of: (DeviceId, u32), now: Timestamp) -> (Option<Arc<JobFacts>>, u64) {
        let readers = self.lock();
        let reader = readers.known.get(&of).filter(|reader| now < reader.until);
        (reader.map(|reader| Arc::clone(&reader.facts)), readers.forgotten)
    }

    /// Keeps what was looked up, unless something was forgotten since then.
    fn keep(&self, of: (DeviceId, u32), facts: &Arc<JobFacts>, forgotten: u64, now: Timestamp) {
        let mut readers = self.lock();
        if readers.forgotten != forgotten {
            return;
        }
        if readers.known.len() >= KEPT {
            readers.known.retain(|_, reader| now < reader.until);
        }
        if readers.known.len() >= KEPT {
            readers.known.clear();
        }
        readers.known.insert(of, Reader { facts: Arc::clone(facts), until: now + TRUST });
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        // A panic elsewhere cannot leave the readers half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a block for a device.
///
/// # Errors
/// When the store or the objects are not available.
pub async fn block(
    shell: &Shell,
    device: DeviceId,
    asked: BlockAsked,
    now: Timestamp,
) -> Result<Result<Block, NoBlock>, CommandError> {
    let Some(facts) = offered(shell, device, asked.stream_id, now).await? else {
        return Ok(Err(NoBlock::NotOffered));
    };
    let [file] = facts.firmware.files.as_slice() else { return Ok(Err(NoBlock::NotOffered)) };
    if asked.file_id != STREAM_FILE_ID {
        return Ok(Err(NoBlock::NotOffered));
    }
    if !(1..=BLOCK_MAX).contains(&asked.size) || asked.offset >= file.size {
        return Ok(Err(NoBlock::OutOfRange));
    }
    let bytes = read(shell, file, asked).await?;
    Ok(Ok(Block { bytes, file_size: file.size }))
}

/// The job whose open task offers this stream to the device.
async fn offered(
    shell: &Shell,
    device: DeviceId,
    stream: u32,
    now: Timestamp,
) -> Result<Option<Arc<JobFacts>>, CommandError> {
    let (known, forgotten) = shell.streams.find((device, stream), now);
    if known.is_some() {
        return Ok(known);
    }
    for task in shell.deps.store.open_tasks(&[device]).await? {
        if stream_id(&shell.deps.link_key, task.key.job) != stream || task.state.attempt().is_none() {
            continue;
        }
        let Some(facts) = shell.book.one(&*shell.deps.store, task.key.job).await? else { continue };
        let by_mqtt = facts.job.new.policy.download_protocol == DownloadProtocol::Mqtt;
        if by_mqtt && !facts.is_canceling(task.state.status()) {
            shell.streams.keep((device, stream), &facts, forgotten, now);
            return Ok(Some(facts));
        }
    }
    Ok(None)
}

/// Reads what was asked for, as far as the file goes. It begins within the file.
async fn read(shell: &Shell, file: &PackageFile, asked: BlockAsked) -> Result<Bytes, CommandError> {
    let end = file.size.min(asked.offset + u64::from(asked.size));
    let mut pieces = shell.deps.objects.read(&file.object, asked.offset..end).await?;
    // Nearly always one, which is then not copied.
    let first = pieces.try_next().await?.unwrap_or_default();
    let Some(second) = pieces.try_next().await? else { return whole(first, file, asked.offset..end) };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece);
    }
    whole(all.freeze(), file, asked.offset..end)
}

/// An object that is shorter than its package says is our fault, not the device's.
fn whole(bytes: Bytes, file: &PackageFile, range: std::ops::Range<u64>) -> Result<Bytes, CommandError> {
    if u64::try_from(bytes.len()) == Ok(range.end - range.start) {
        return Ok(bytes);
    }
    let trouble = format!("object {} has {} bytes in {range:?}", file.object, bytes.len());
    Err(CommandError::Internal(trouble.into()))
}
