//! A face on a real socket, and a client that sees every byte.

#![expect(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::{FirmwareNo, JobNo};
use otaria_core::link::{self, Link, LinkKey, Linked};
use otaria_core::time::Timestamp;
use otaria_objects::FolderObjects;
use otaria_openapi::{Check, Drained, FaceParts, HttpFace, Limits, Packages, StoreRejects, Tls, serve};
use otaria_ports::clock::ManualClock;
use otaria_ports::events::NoEvents;
use otaria_ports::objects::Objects;
use otaria_ports::store::memory::MemoryStore;
use otaria_ports::store::{PackageFile, StoreError};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_763_712_000_000);
pub(crate) const FIRMWARE: FirmwareNo = FirmwareNo(7);
/// The index of each file of the firmware.
pub(crate) const LARGE: u8 = 0;
pub(crate) const SMALL: u8 = 1;
pub(crate) const EMPTY: u8 = 2;
pub(crate) const LOST: u8 = 3;
pub(crate) const SHORT: u8 = 4;
pub(crate) const LARGE_BYTES: usize = 1024 * 1024;
pub(crate) const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) face: HttpFace,
    pub(crate) store_down: Arc<AtomicBool>,
    /// Where jobs are; packages are on a shelf of their own.
    pub(crate) store: Arc<MemoryStore>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Drained>,
    _folder: TempDir,
}

pub(crate) fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|n| (n % 251) as u8).collect()
}

struct Shelf(Arc<AtomicBool>);

#[async_trait]
impl Packages for Shelf {
    async fn package_file(&self, firmware: FirmwareNo, file: u8) -> Result<Option<PackageFile>, StoreError> {
        if self.0.load(Ordering::SeqCst) {
            let source = std::io::Error::other("down").into();
            return Err(StoreError::Unavailable { doing: "finding a firmware", source });
        }
        let files = [
            ("large", LARGE_BYTES as u64),
            ("small", 10),
            ("empty", 0),
            ("lost", 10),
            // The store promises more than the object has.
            ("small", 1_000_000),
        ];
        let found = files.get(usize::from(file)).filter(|_| firmware == FIRMWARE);
        Ok(found.map(|(object, size)| PackageFile {
            name: (*object).into(),
            url: String::new(),
            object: (*object).into(),
            size: *size,
            md5: String::new(),
            sha256: SHA256.into(),
        }))
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), None).await
    }

    pub(crate) async fn with(limits: Limits, tls: Option<Tls>) -> Self {
        Self::of(limits, tls, |face| face).await
    }

    /// A face that is changed before it is served.
    pub(crate) async fn with_face(change: impl FnOnce(HttpFace) -> HttpFace) -> Self {
        Self::of(Limits::default(), None, change).await
    }

    async fn of(limits: Limits, tls: Option<Tls>, change: impl FnOnce(HttpFace) -> HttpFace) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = FolderObjects::open(folder.path()).await.unwrap();
        for (key, bytes) in [("large", large()), ("small", b"0123456789".to_vec()), ("empty", Vec::new())] {
            let mut upload = objects.begin(key).await.unwrap();
            upload.write(bytes.into()).await.unwrap();
            upload.finish().await.unwrap();
        }

        let clock = Arc::new(ManualClock::at(NOW));
        let store_down = Arc::new(AtomicBool::new(false));
        let down = store_down.clone();
        let store = Arc::new(MemoryStore::new(Arc::new(NoEvents)));
        let face = HttpFace::new(FaceParts {
            clock: clock.clone(),
            link_key: key(),
            packages: Arc::new(Shelf(store_down.clone())),
            rejects: Arc::new(StoreRejects(store.clone())),
            objects: Arc::new(objects),
            ready: Arc::new(move || {
                let trouble = down.load(Ordering::SeqCst).then(|| "down".to_owned());
                Box::pin(async move { vec![Check { name: "store", trouble }] })
            }),
            metrics: Arc::new(|| "otaria_up 1\n".to_owned()),
            grpc: "127.0.0.1:50051".into(),
            api: None,
        });
        let face = change(face);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(serve(listener, face.clone(), tls, limits, shutdown));
        Self { address, clock, face, store_down, store, stop, server, _folder: folder }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends text on a fresh connection, reads one answer.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let head_only = request.starts_with("HEAD ");
        read_answer(&mut socket, head_only).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: otaria\r\n{headers}\r\n")).await
    }

    pub(crate) async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        self.server.await.unwrap()
    }
}

pub(crate) fn key() -> LinkKey {
    LinkKey::new([7; 32])
}

/// The path of a file's download, good for an hour.
pub(crate) fn path(file: u8) -> String {
    path_under(&key(), file)
}

pub(crate) fn path_under(key: &LinkKey, file: u8) -> String {
    path_to(key, Linked::PackageFile { firmware: FIRMWARE, file })
}

/// The path of a job's rejected lines.
pub(crate) fn rejects_path(job: JobNo) -> String {
    path_to(&key(), Linked::RejectFile { job })
}

fn path_to(key: &LinkKey, to: Linked) -> String {
    format!("/d/{}", link::sign(key, Link { to, expires_at: NOW + Duration::from_secs(3_600) }))
}

#[derive(Debug)]
pub(crate) struct Answer {
    /// As it came, letter by letter.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head["HTTP/1.1 ".len()..][..3].parse().unwrap()
    }

    /// The value of a header that is spelled exactly so.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&start))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads one answer; `None` when the connection ends before its head, or its last chunk, is whole.
pub(crate) async fn read_answer(socket: &mut (impl AsyncRead + Unpin), head_only: bool) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let mut answer = Answer { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    if !head_only && answer.status() != 304 {
        if answer.header("Transfer-Encoding") == Some("chunked") {
            read_chunks(socket, &mut answer.body).await?;
        } else {
            let length: u64 = answer.header("Content-Length").expect("a length").parse().unwrap();
            socket.take(length).read_to_end(&mut answer.body).await.ok()?;
        }
    }
    Some(answer)
}

async fn read_chunks(socket: &mut (impl AsyncRead + Unpin), body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut size = Vec::new();
        while !size.ends_with(b"\r\n") {
            size.push(socket.read_u8().await.ok()?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        socket.read_exact(&mut chunk).await.ok()?;
        if size == 0 {
            return Some(());
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
