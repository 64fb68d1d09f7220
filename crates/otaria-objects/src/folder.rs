//! Objects in a folder.
//!
//! An upload grows in a file beside its place, `{key}#{n}`; finishing flushes it to the disk, renames it and
//! flushes the folder, so an object is whole and durable or not there. `#` is in no key, so what a crash
//! leaves is told from objects by its name. Reads open the file for one piece at a time: two thousand slow
//! downloads hold two thousand positions, not descriptors.
//!
//! Invariant: a file without `#` in its name is a finished object.

use std::io;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use otaria_ports::objects::{ObjectError, Objects, Upload};
use otaria_ports::{BoxError, Unavailable};
use tokio::sync::Semaphore;

use crate::errors::{BadKey, translated, unavailable};
use crate::key::place;

/// Bytes of one piece of a read. Small enough that every one of thousands of slow readers may hold one, and
/// a 1 MiB package still takes 32 reads only.
const PIECE_BYTES: u64 = 32 * 1024;

/// Reads, and looks at sizes, that run at once. Each takes a thread of the runtime's blocking pool, which would
/// otherwise grow to hundreds of them when a whole fleet begins to download.
const READS_MAX: usize = 16;

/// The key that readiness tries to write under.
const PROBE: &str = "probe";

/// The file that is written to ask a folder for its time.
const CLOCK: &str = "clock";

/// Objects in a folder of this machine. A clone is the same folder.
#[derive(Clone, Debug)]
pub struct FolderObjects {
    folder: PathBuf,
    store: LocalFileSystem,
    reads: Arc<Semaphore>,
}

impl FolderObjects {
    /// Opens a folder; makes it when it is not there. To be called on a tokio runtime.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub async fn open(folder: impl Into<PathBuf>) -> Result<Self, ObjectError> {
        let (folder, doing) = (folder.into(), "opening the folder of objects");
        let (folder, store) = blocking(doing, move || {
            let is_new = !folder.try_exists()?;
            std::fs::create_dir_all(&folder)?;
            let folder = folder.canonicalize()?;
            // A new folder has to survive a power cut too, not only what will lie in it.
            if let Some(parent) = folder.parent().filter(|_| is_new) {
                std::fs::File::open(parent)?.sync_all()?;
            }
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(io::Error::other)?.with_fsync(true);
            Ok((folder, store))
        })
        .await?;
        Ok(Self { folder, store, reads: Arc::new(Semaphore::new(READS_MAX)) })
    }

    /// Removes what crashed processes left behind and returns how many files that were.
    ///
    /// To be called at start, before the first upload: it cannot tell a dead upload from a living one. Only
    /// one process may use the folder; otherwise see [`FolderObjects::sweep_abandoned`].
    ///
    /// # Errors
    /// When the folder cannot be read, or a file in it cannot be removed.
    pub async fn sweep_unfinished(&self) -> Result<u64, ObjectError> {
        let folder = self.folder.clone();
        blocking("removing unfinished uploads", move || sweep(&folder, |_| true)).await
    }

    /// Removes unfinished uploads to which nothing was added for `age`, and returns how many those were. Other
    /// processes may use the folder meanwhile, and sweep it too.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or a file in it cannot be removed.
    pub async fn sweep_abandoned(&self, age: Duration) -> Result<u64, ObjectError> {
        let folder = self.folder.clone();
        blocking("removing abandoned uploads", move || {
            // The folder's own clock: where it lies on another machine, files carry the dates of that one.
            let now = time_there(&folder)?;
            sweep(&folder, |changed| now.duration_since(changed).is_ok_and(|rested| rested >= age))
        })
        .await
    }

    async fn size_of(&self, place: &Path) -> Result<u64, ObjectError> {
        let doing = "reading an object's size";
        let _turn = self.reads.acquire().await.map_err(|closed| unavailable(doing, closed))?;
        let meta = self.store.head(place).await.map_err(|e| translated(doing, e))?;
        Ok(meta.size)
    }

    async fn piece(&self, place: &Path, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let doing = "reading an object";
        let wanted = range.end - range.start;
        let turn = self.reads.acquire().await.map_err(|closed| unavailable(doing, closed))?;
        let pieces = self.store.get_ranges(place, &[range]).await.map_err(|e| translated(doing, e))?;
        drop(turn);

        // A file that is shorter than promised gives less, without an error.
        let piece = pieces.into_iter().next().unwrap_or_default();
        if piece.len() as u64 != wanted {
            return Err(unavailable(doing, io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        Ok(piece)
    }
}

#[async_trait]
impl Objects for FolderObjects {
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let doing = "beginning an object";
        let place = place(key).ok_or_else(|| unavailable(doing, BadKey(key.into())))?;
        let upload = self.store.put_multipart(&place).await.map_err(|e| translated(doing, e))?;
        Ok(Box::new(FolderUpload { upload: Some(upload) }))
    }

    async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        self.size_of(&place(key).ok_or(ObjectError::NotFound)?).await
    }

    async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ObjectError>>, ObjectError> {
        let place = place(key).ok_or(ObjectError::NotFound)?;
        // So that a missing object is told before the first piece is asked for.
        self.size_of(&place).await?;

        let next = (self.clone(), place, range);
        let pieces = stream::try_unfold(next, |(objects, place, left)| async move {
            if left.is_empty() {
                return Ok(None);
            }
            let end = left.end.min(left.start.saturating_add(PIECE_BYTES));
            let piece = objects.piece(&place, left.start..end).await?;
            Ok(Some((piece, (objects, place, end..left.end))))
        });
        Ok(pieces.boxed())
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let Some(place) = place(key) else { return Ok(()) };
        match self.store.delete(&place).await.map_err(|e| translated("deleting an object", e)) {
            Err(ObjectError::NotFound) => Ok(()),
            other => other,
        }
    }

    async fn check(&self) -> Result<(), Unavailable> {
        let doing = "writing to the folder of objects";
        let failed = |source| Unavailable { doing, source: Some(Box::new(source) as BoxError) };
        let mut upload = self.store.put_multipart(&Path::from(PROBE)).await.map_err(failed)?;
        upload.put_part(Bytes::from_static(b"?").into()).await.map_err(failed)?;
        upload.abort().await.map_err(failed)
    }
}

struct FolderUpload {
    /// `None` once finished, and after a write that failed or was given up: it may have left a hole, so
    /// nothing of the upload may ever appear. Dropping an unfinished one removes its file.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl FolderUpload {
    fn take(&mut self, doing: &'static str) -> Result<Box<dyn MultipartUpload>, ObjectError> {
        self.upload.take().ok_or_else(|| unavailable(doing, io::Error::other("an earlier write failed")))
    }
}

#[async_trait]
impl Upload for FolderUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        let doing = "writing an object";
        let mut upload = self.take(doing)?;
        upload.put_part(bytes.into()).await.map_err(|e| translated(doing, e))?;
        self.upload = Some(upload);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        let doing = "finishing an object";
        let mut upload = self.take(doing)?;
        upload.complete().await.map_err(|e| translated(doing, e))?;
        Ok(())
    }
}

/// Removes the unfinished uploads below a folder whose last change was so long ago. Links are not followed:
/// they are none of ours. What is gone before it can be removed was finished or swept by somebody else.
fn sweep(folder: &FsPath, is_over: impl Fn(SystemTime) -> bool + Copy) -> io::Result<u64> {
    let mut swept = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            swept += sweep(&entry.path(), is_over)?;
        } else if kind.is_file() && is_unfinished(&entry.file_name()) {
            let gone = entry.metadata().and_then(|data| data.modified()).and_then(|changed| {
                if is_over(changed) { std::fs::remove_file(entry.path()).map(|()| 1) } else { Ok(0) }
            });
            swept += match gone {
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                other => other?,
            };
        }
    }
    Ok(swept)
}

/// When a file that is made now is said to have been made.
fn time_there(folder: &FsPath) -> io::Result<SystemTime> {
    // Named like an unfinished upload: a crash right here leaves nothing that stays. Several processes may
    // ask at a time, each with a file of its own.
    for n in 0_u32.. {
        let path = folder.join(format!("{CLOCK}#{n}"));
        match std::fs::File::create_new(&path) {
            Ok(file) => {
                let made = file.metadata().and_then(|data| data.modified());
                std::fs::remove_file(&path)?;
                return made;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.rsplit_once('#'));
    number.is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ObjectError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| unavailable(doing, e))?;
    done.map_err(|e| unavailable(doing, e))
}

#[cfg(test)]
mod tests;
