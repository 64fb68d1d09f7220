//! Packages and list files: written once, read in ranges.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::{BoxError, Unavailable};

/// Why an object cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is none under this key.
    #[error("no such object")]
    NotFound,
    /// The place where objects lie is full, unreachable or broken. Safe to repeat.
    #[error("object store unavailable while {doing}")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}

/// An object being written. Dropping it leaves nothing behind.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError>;

    /// Makes the object appear, whole and durable.
    async fn finish(self: Box<Self>) -> Result<(), ObjectError>;
}

/// Keeps objects. Keys are paths of letters, digits, `-`, `_`, `.` and `/`, made by us alone.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Begins an object; it exists only once the upload is finished.
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, ObjectError>;

    /// Bytes of an object.
    async fn size(&self, key: &str) -> Result<u64, ObjectError>;

    /// Streams a range in pieces of at most 1 MiB. The range lies within the object.
    async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ObjectError>>, ObjectError>;

    /// An address at which anybody who knows it reads the object from the store itself for so long; `None` where
    /// the store has none, or where none are to be given out. Whether the object is there is not looked at.
    async fn link(&self, _key: &str, _lasts: Duration) -> Result<Option<String>, ObjectError> {
        Ok(None)
    }

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<(), ObjectError>;

    /// Whether objects can be written now; for readiness.
    async fn check(&self) -> Result<(), Unavailable>;
}

/// Objects in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryObjects(Arc<Mutex<HashMap<String, Bytes>>>);

struct MemoryUpload {
    objects: MemoryObjects,
    key: String,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), ObjectError> {
        let mut objects = self.objects.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(self.key, self.bytes.freeze());
        Ok(())
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, ObjectError> {
        Ok(Box::new(MemoryUpload { objects: self.clone(), key: key.into(), bytes: BytesMut::new() }))
    }

    async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(key).map(|bytes| bytes.len() as u64).ok_or(ObjectError::NotFound)
    }

    async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ObjectError>>, ObjectError> {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = objects.get(key).ok_or(ObjectError::NotFound)?;
        let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
        let part = bytes.slice(place(range.start)..place(range.end));
        Ok(stream::once(async move { Ok(part) }).boxed())
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(())
    }

    async fn check(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

/// Holds for every [`Objects`].
pub mod contract {
    use super::{Bytes, ObjectError, Objects};
    use futures_util::TryStreamExt;

    async fn read(objects: &dyn Objects, key: &str, range: std::ops::Range<u64>) -> Vec<u8> {
        let parts: Vec<Bytes> = objects.read(key, range).await.unwrap().try_collect().await.unwrap();
        parts.concat()
    }

    /// What is finished can be read whole and in ranges.
    pub async fn a_finished_upload_reads_back(objects: &dyn Objects) {
        let mut upload = objects.begin("contract/a.bin").await.unwrap();
        upload.write(Bytes::from_static(b"hello ")).await.unwrap();
        upload.write(Bytes::from_static(b"world")).await.unwrap();
        upload.finish().await.unwrap();
        assert_eq!(objects.size("contract/a.bin").await.unwrap(), 11);
        assert_eq!(read(objects, "contract/a.bin", 0..11).await, b"hello world");
        assert_eq!(read(objects, "contract/a.bin", 4..7).await, b"o w");
        objects.delete("contract/a.bin").await.unwrap();
        assert!(matches!(objects.size("contract/a.bin").await, Err(ObjectError::NotFound)));
        objects.delete("contract/a.bin").await.unwrap();
    }

    /// An upload that is dropped leaves nothing.
    pub async fn a_dropped_upload_leaves_nothing(objects: &dyn Objects) {
        let mut upload = objects.begin("contract/b.bin").await.unwrap();
        upload.write(Bytes::from_static(b"half")).await.unwrap();
        drop(upload);
        assert!(matches!(objects.size("contract/b.bin").await, Err(ObjectError::NotFound)));
    }

    /// An empty object is an object.
    pub async fn an_empty_object_exists(objects: &dyn Objects) {
        objects.begin("contract/c.bin").await.unwrap().finish().await.unwrap();
        assert_eq!(objects.size("contract/c.bin").await.unwrap(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_memory_one_keeps_the_contract() {
        let objects = MemoryObjects::default();
        contract::a_finished_upload_reads_back(&objects).now_or_never().unwrap();
        contract::a_dropped_upload_leaves_nothing(&objects).now_or_never().unwrap();
        contract::an_empty_object_exists(&objects).now_or_never().unwrap();
    }
}
