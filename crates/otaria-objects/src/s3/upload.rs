//! An object on its way into a bucket.
//!
//! Invariant: a multipart upload that was begun is completed or aborted, whatever happens to the upload short
//! of the end of its process.

use std::io;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use otaria_ports::objects::{ObjectError, Upload};
use tokio::runtime::Handle;
use tracing::warn;

use crate::errors::unavailable;

/// Bytes of one part, and of what an upload holds. S3 takes no part below 5 MiB but the last, and no more
/// than 10,000 of them: this is enough for 80 GiB. All are equally long, since some stores want that.
pub(super) const PART_BYTES: usize = 8 << 20;

const WRITING: &str = "writing an object";
const FINISHING: &str = "finishing an object";

pub(super) struct S3Upload {
    store: AmazonS3,
    place: Path,
    /// `None` after a write that failed or was given up: a part may be missing, so nothing of the upload may
    /// ever appear.
    progress: Option<Progress>,
}

#[derive(Default)]
struct Progress {
    /// What is not sent yet; less than a part, unless it is being sent.
    waiting: BytesMut,
    /// Begun with the first whole part.
    parts: Option<Parts>,
}

impl S3Upload {
    pub(super) fn new(store: AmazonS3, place: Path) -> Self {
        Self { store, place, progress: Some(Progress::default()) }
    }

    fn take(&mut self, doing: &'static str) -> Result<Progress, ObjectError> {
        self.progress.take().ok_or_else(|| unavailable(doing, io::Error::other("an earlier write failed")))
    }
}

impl Progress {
    async fn send(&mut self, store: &AmazonS3, place: &Path) -> object_store::Result<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(Parts(Some(store.put_multipart(place).await?))),
        };
        parts.put(self.waiting.split().freeze()).await
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), ObjectError> {
        let mut progress = self.take(WRITING)?;
        while !bytes.is_empty() {
            let room = PART_BYTES - progress.waiting.len();
            progress.waiting.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if progress.waiting.len() == PART_BYTES {
                progress.send(&self.store, &self.place).await.map_err(|e| unavailable(WRITING, e))?;
            }
        }
        self.progress = Some(progress);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        let mut progress = self.take(FINISHING)?;
        let failed = |e| unavailable(FINISHING, e);
        if progress.parts.is_some() && !progress.waiting.is_empty() {
            progress.send(&self.store, &self.place).await.map_err(failed)?;
        }
        match progress.parts {
            Some(parts) => parts.complete().await.map_err(failed),
            None => {
                let whole = progress.waiting.freeze();
                self.store.put(&self.place, whole.into()).await.map(drop).map_err(failed)
            }
        }
    }
}

/// The parts of an object in the store; aborted when dropped.
struct Parts(Option<Box<dyn MultipartUpload>>);

impl Parts {
    async fn put(&mut self, part: Bytes) -> object_store::Result<()> {
        match &mut self.0 {
            Some(upload) => upload.put_part(part.into()).await,
            None => Ok(()),
        }
    }

    async fn complete(mut self) -> object_store::Result<()> {
        if let Some(upload) = &mut self.0 {
            upload.complete().await?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else { return };
        // Without a runtime the process is ending, and what is left is for the bucket's lifecycle rule.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                warn!(%error, "an upload was not aborted; its parts stay until the bucket's lifecycle rule removes them");
            }
        });
    }
}
