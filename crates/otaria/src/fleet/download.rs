//! How the devices of a fleet download packages: HTTP/1.1 over few connections that are kept and shared.
//!
//! A device checks what it gets as a careful kit does: a Content-Length that is the announced size, as many
//! bytes, and the announced digest.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, HOST, RANGE};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use md5::Md5;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::link::Dialer;
use super::login::hex;
use super::notice::{Digest, Notice};

/// How much of a package the devices download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// All of it, and check its digest.
    Full,
    /// Only ask for it, and check its announced size.
    Head,
    /// Nothing: the pushes alone are measured.
    None,
}

/// Downloads at a time. The sockets stay few, and on a small machine more would not be faster.
const AT_A_TIME: usize = 64;

/// How long one download may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a device has no package, as the step that it reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Step −2.
    Download(String),
    /// Step −3.
    Check(String),
}

type Sender = SendRequest<Empty<Bytes>>;

/// The connections to download servers.
pub(crate) struct Downloads {
    mode: Mode,
    dialer: Arc<Dialer>,
    slots: Semaphore,
    idle: Mutex<HashMap<String, Vec<Sender>>>,
}

impl Downloads {
    pub(crate) fn new(mode: Mode, dialer: Arc<Dialer>) -> Self {
        Self { mode, dialer, slots: Semaphore::new(AT_A_TIME), idle: Mutex::default() }
    }

    /// How much of a package is downloaded.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Downloads and checks the package of `notice` from `url`, as far as the mode says; tells whether that
    /// was all of it.
    pub(crate) async fn fetch(&self, notice: &Notice, url: &str) -> Result<bool, Failure> {
        if self.mode == Mode::None {
            return Ok(false);
        }
        let work = async {
            // The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            self.fetch_now(notice, url).await
        };
        let late = |_| Failure::Download(format!("not done within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, work).await.map_err(late)??;
        Ok(self.mode == Mode::Full)
    }

    async fn fetch_now(&self, notice: &Notice, url: &str) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Download(format!("{url}: {error}"));
        let uri: Uri = url.parse().map_err(|error| failed(&error))?;
        let (sender, response) = self.ask(&uri).await.map_err(|error| failed(&error))?;

        if !response.status().is_success() {
            return Err(failed(&response.status()));
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if length.and_then(|length| length.parse().ok()) != Some(notice.size_bytes) {
            let length = length.unwrap_or("missing");
            return Err(failed(&format!("Content-Length is {length}, announced {}", notice.size_bytes)));
        }
        let checked = match self.mode {
            Mode::Full => check(response.into_body(), notice, url).await?,
            Mode::Head | Mode::None => Ok(()),
        };
        self.keep(&uri, sender);
        checked.map_err(Failure::Check)
    }

    /// Asks for the package, on a connection that is there or on a new one.
    async fn ask(&self, uri: &Uri) -> anyhow::Result<(Sender, Response<Incoming>)> {
        let method = if self.mode == Mode::Head { Method::HEAD } else { Method::GET };
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = || {
            Request::builder()
                .method(method.clone())
                .uri(path)
                .header(HOST, authority)
                .header(RANGE, "bytes=0-")
                .body(Empty::new())
        };

        if let Some(mut sender) = self.take(authority) {
            // The server may have closed it meanwhile; a new connection tells more.
            if sender.ready().await.is_ok()
                && let Ok(response) = sender.send_request(request()?).await
            {
                return Ok((sender, response));
            }
        }
        let io = self.dialer.dial(uri.scheme_str() == Some("https"), authority).await?;
        let (mut sender, connection) = handshake(TokioIo::new(io)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request()?).await?;
        Ok((sender, response))
    }

    fn take(&self, authority: &str) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let senders = idle.get_mut(authority)?;
        std::iter::from_fn(|| senders.pop()).find(|sender| !sender.is_closed())
    }

    fn keep(&self, uri: &Uri, sender: Sender) {
        if let Some(authority) = uri.authority() {
            self.idle.lock().entry(authority.to_string()).or_default().push(sender);
        }
    }
}

/// Reads the package to its end. The outer failure is the transport's, the inner one the content's.
async fn check(mut body: Incoming, notice: &Notice, url: &str) -> Result<Result<(), String>, Failure> {
    let mut hash = Hash::of(&notice.digest);
    let mut size_bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Download(format!("{url}: {error}")))?;
        if let Some(bytes) = frame.data_ref() {
            size_bytes += u64::try_from(bytes.len()).unwrap_or(0);
            hash.update(bytes);
        }
    }
    if size_bytes != notice.size_bytes {
        return Ok(Err(format!("{size_bytes} bytes came, {} were announced", notice.size_bytes)));
    }
    Ok(hash.compare(&notice.digest))
}

pub(crate) enum Hash {
    Md5(Md5),
    Sha256(Sha256),
}

impl Hash {
    /// Of nothing yet, in the manner of `digest`.
    pub(crate) fn of(digest: &Digest) -> Self {
        match digest {
            Digest::Md5(_) => Self::Md5(Md5::new()),
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    /// Whether what was read so far has the announced digest. `Err` tells both.
    pub(crate) fn compare(&self, announced: &Digest) -> Result<(), String> {
        let (Digest::Md5(announced) | Digest::Sha256(announced)) = announced;
        let found = match self {
            Self::Md5(hash) => hex(&hash.clone().finalize()),
            Self::Sha256(hash) => hex(&hash.clone().finalize()),
        };
        if found == *announced { Ok(()) } else { Err(format!("digest {found}, announced {announced}")) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::fleet::notice::Source;

    /// A server that answers each request with these bytes, and the address of a package there.
    async fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while peer.read(&mut request).await.is_ok_and(|read| read > 0) {
                        peer.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        format!("http://{address}/d/token")
    }

    async fn fetch(answer: &'static [u8], size_bytes: u64) -> Result<bool, Failure> {
        let url = serve(answer).await;
        let digest = Digest::Md5("5d41402abc4b2a76b9719d911017c592".to_owned()); // of "hello"
        let source = Source::Url(url.clone());
        let notice = Notice { wire_id: 1, version: "2".to_owned(), source, size_bytes, digest };
        let downloads = Downloads::new(Mode::Full, Arc::new(Dialer::plain()));
        downloads.fetch(&notice, &url).await?;
        // Once more, over the connection that was kept.
        downloads.fetch(&notice, &url).await
    }

    #[tokio::test]
    async fn a_right_package_passes_again_and_again() {
        assert_eq!(fetch(b"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n\r\nhello", 5).await, Ok(true));
    }

    #[tokio::test]
    async fn another_content_size_or_status_is_noticed() {
        let other = fetch(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo", 5).await;
        assert!(matches!(other, Err(Failure::Check(_))), "{other:?}");
        let size = fetch(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 6).await;
        assert!(matches!(size, Err(Failure::Download(_))), "{size:?}");
        let gone = fetch(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 5).await;
        assert!(matches!(gone, Err(Failure::Download(_))), "{gone:?}");
        let chunked =
            fetch(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 5).await;
        assert!(matches!(chunked, Err(Failure::Download(_))), "{chunked:?}");
    }
}
