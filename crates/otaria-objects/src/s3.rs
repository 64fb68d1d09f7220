//! Objects in a bucket of an S3-compatible store.
//!
//! A small object is one PUT. A larger one is a multipart upload that goes up part by part, so an upload of
//! any length holds one part in memory. Reads ask for one piece at a time, whole, and only when the reader
//! wants it: thousands of slow downloads hold a piece each, and no connection to the store.
//!
//! A dropped upload is aborted in the background. A process that is killed cannot do that, and no process can
//! tell its parts from those of a living one, so the bucket should have a lifecycle rule that ends
//! incomplete multipart uploads after a few days (`AbortIncompleteMultipartUpload`).
//!
//! Never lists, and never overwrites one object while reading it as another: all pieces of a read carry the
//! `ETag` of the first.
//!
//! Invariant: an object appears by a single request, the PUT or the completion, hence whole or not at all.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{
    BackoffConfig, ClientConfigKey, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig,
};
use otaria_ports::objects::{ObjectError, Objects, Upload};
use otaria_ports::{BoxError, Unavailable};
use tokio::sync::Semaphore;

use crate::errors::{BadKey, translated, unavailable};
use crate::key::place;

mod upload;

use upload::S3Upload;

/// Bytes of one piece of a read: what a slow reader holds, and as long as the longest block that a device may
/// ask for over MQTT. A gigabyte costs 8,192 requests.
const PIECE_BYTES: u64 = 128 * 1024;

/// Requests for pieces and sizes that run at once; a connection and a piece in memory each.
const READS_MAX: usize = 64;

/// How often a request is repeated, and from when on it is not any more. A caller waits that long and a
/// request's own time at most.
const RETRIES_MAX: usize = 4;
const RETRY_TIME: Duration = Duration::from_secs(30);
const BACKOFF: BackoffConfig = BackoffConfig {
    init_backoff: Duration::from_millis(100),
    max_backoff: Duration::from_secs(2),
    base: 2.0,
};

/// What may be changed by the environment: `AWS_TIMEOUT` and `AWS_CONNECT_TIMEOUT`. A part of 8 MiB within a
/// minute is 1.1 Mbit/s.
const DEFAULTS: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::Timeout, "60 seconds"), (ClientConfigKey::ConnectTimeout, "5 seconds")];

/// Readiness asks again soon enough by itself.
const CHECK_TIME: &str = "5 seconds";

/// The object that readiness writes. No key of the house begins with a dot.
const PROBE: &str = ".probe";

/// Why a store cannot be spoken to at all: configuration, not weather.
#[derive(Debug, thiserror::Error)]
pub enum BadS3 {
    /// Not `s3://bucket` or `s3://bucket/prefix`; a prefix is made of the letters of keys.
    #[error("not of the form s3://bucket/prefix")]
    Url,
    /// A variable of the environment cannot be read.
    #[error("a setting cannot be used")]
    Setting(#[source] BoxError),
}

/// Objects in a bucket, below a prefix. A clone is the same bucket.
#[derive(Clone)]
pub struct S3Objects {
    store: AmazonS3,
    /// The same store without patience.
    probe: AmazonS3,
    prefix: Option<Path>,
    reads: Arc<Semaphore>,
    gives_links: bool,
}

impl fmt::Debug for S3Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Objects").field("store", &self.store).field("prefix", &self.prefix).finish()
    }
}

impl S3Objects {
    /// Takes a bucket, `s3://bucket/prefix`, without asking whether it is there: that is [`Objects::check`].
    ///
    /// `environment` are variables of any names; those that begin with `AWS_` say where the store is and who
    /// asks: `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, and `AWS_ALLOW_HTTP`, without which an
    /// endpoint has to be `https`. Certificates are checked against the system's authorities, or those of the
    /// file that the process's `SSL_CERT_FILE` names. Without keys, those of the machine's or the pod's role are
    /// used.
    ///
    /// # Errors
    /// When the URL or a variable cannot be used.
    pub fn new<K, V>(url: &str, environment: impl IntoIterator<Item = (K, V)>) -> Result<Self, BadS3>
    where
        K: AsRef<str>,
        V: Into<String>,
    {
        let (bucket, prefix) = parsed(url).ok_or(BadS3::Url)?;
        // The client takes the process's library of cryptography and has none of its own. Where one is
        // installed already, it stays.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let mut builder = AmazonS3Builder::new();
        for (key, value) in DEFAULTS {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
        }
        for (name, value) in environment {
            let name = name.as_ref();
            if let Some(key) =
                name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok()).flatten()
            {
                builder = builder.with_config(key, value);
            }
        }
        // A request that removes one object is spoken by every store, one that removes several is not.
        let builder = builder.with_bucket_name(bucket).with_disable_bulk_delete(true);

        let patient = RetryConfig { backoff: BACKOFF, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME };
        let impatient = RetryConfig { max_retries: 0, ..patient.clone() };
        let built = |builder: AmazonS3Builder| builder.build().map_err(|e| BadS3::Setting(e.into()));
        let probe = builder.clone().with_retry(impatient);
        Ok(Self {
            store: built(builder.with_retry(patient))?,
            probe: built(probe.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), CHECK_TIME))?,
            prefix,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            gives_links: false,
        })
    }

    /// Whether [`Objects::link`] gives out presigned addresses of the store. Off at first: whoever follows one has to
    /// reach the store, and what is read there is counted nowhere here.
    #[must_use]
    pub const fn with_links(mut self, gives_links: bool) -> Self {
        self.gives_links = gives_links;
        self
    }

    fn place(&self, key: &str) -> Option<Path> {
        place(key).map(|key| self.below(&key))
    }

    fn below(&self, key: &Path) -> Path {
        match &self.prefix {
            Some(prefix) => prefix.parts().chain(key.parts()).collect(),
            None => key.clone(),
        }
    }

    async fn size_of(&self, place: &Path) -> Result<u64, ObjectError> {
        let doing = "reading an object's size";
        let _turn = self.reads.acquire().await.map_err(|closed| unavailable(doing, closed))?;
        Ok(self.store.head(place).await.map_err(|e| translated(doing, e))?.size)
    }

    async fn piece(
        &self,
        place: &Path,
        range: Range<u64>,
        tag: Option<String>,
    ) -> Result<Piece, ObjectError> {
        let doing = "reading an object";
        let wanted = range.end - range.start;
        let _turn = self.reads.acquire().await.map_err(|closed| unavailable(doing, closed))?;
        let options =
            GetOptions { range: Some(GetRange::Bounded(range)), if_match: tag, ..GetOptions::default() };
        let answer = self.store.get_opts(place, options).await.map_err(|e| translated(doing, e))?;
        let tag = answer.meta.e_tag.clone();
        let bytes = answer.bytes().await.map_err(|e| translated(doing, e))?;

        // An object that ends before gives less, without an error.
        if bytes.len() as u64 != wanted {
            return Err(unavailable(doing, io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        Ok(Piece { bytes, tag })
    }
}

struct Piece {
    bytes: Bytes,
    /// Which version of the object it is a piece of.
    tag: Option<String>,
}

#[async_trait]
impl Objects for S3Objects {
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let place = self.place(key).ok_or_else(|| unavailable("beginning an object", BadKey(key.into())))?;
        Ok(Box::new(S3Upload::new(self.store.clone(), place)))
    }

    async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        self.size_of(&self.place(key).ok_or(ObjectError::NotFound)?).await
    }

    async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ObjectError>>, ObjectError> {
        let place = self.place(key).ok_or(ObjectError::NotFound)?;
        if range.is_empty() {
            self.size_of(&place).await?;
            return Ok(stream::empty().boxed());
        }
        // The first piece is asked for here, so that a missing object is told before the stream begins.
        let (now, later) = first(range);
        let piece = self.piece(&place, now, None).await?;

        let next = (self.clone(), place, later, piece.tag);
        let rest = stream::try_unfold(next, |(objects, place, left, tag)| async move {
            if left.is_empty() {
                return Ok(None);
            }
            let (now, later) = first(left);
            let piece = objects.piece(&place, now, tag.clone()).await?;
            Ok(Some((piece.bytes, (objects, place, later, tag))))
        });
        Ok(stream::iter([Ok(piece.bytes)]).chain(rest).boxed())
    }

    async fn link(&self, key: &str, lasts: Duration) -> Result<Option<String>, ObjectError> {
        let Some(place) = self.place(key).filter(|_| self.gives_links) else { return Ok(None) };
        let signed = self.store.signed_url(Method::GET, &place, lasts).await;
        signed.map(|url| Some(url.into())).map_err(|e| translated("signing an object's address", e))
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let Some(place) = self.place(key) else { return Ok(()) };
        match self.store.delete(&place).await.map_err(|e| translated("deleting an object", e)) {
            Err(ObjectError::NotFound) => Ok(()),
            other => other,
        }
    }

    async fn check(&self) -> Result<(), Unavailable> {
        let written = self.probe.put(&self.below(&Path::from(PROBE)), Bytes::from_static(b"?").into()).await;
        match written {
            Ok(_) => Ok(()),
            Err(error) => Err(Unavailable { doing: "writing to the bucket", source: Some(error.into()) }),
        }
    }
}

/// The first piece of a range that is not empty, and the rest.
fn first(range: Range<u64>) -> (Range<u64>, Range<u64>) {
    let end = range.end.min(range.start.saturating_add(PIECE_BYTES));
    (range.start..end, end..range.end)
}

/// Bucket and prefix of an URL.
fn parsed(url: &str) -> Option<(&str, Option<Path>)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // The rest of the rules for names is the store's to say.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if bucket.is_empty() || !bucket.bytes().all(plain) {
        return None;
    }
    match prefix.strip_suffix('/').unwrap_or(prefix) {
        "" => Some((bucket, None)),
        prefix => Some((bucket, Some(place(prefix)?))),
    }
}

#[cfg(test)]
mod tests;
