//! What a connected device costs the gateway, and how many notices a second it writes.
//!
//! `cargo run --release -p otaria-mqtt --example gateway_load -- 10000 [tls]`
//!
//! The devices live in a child process, so that the memory printed is the gateway's alone. Every device
//! logs in by HMAC with `_ss=1`; the child counts the notices that really arrive.
//!
//! 2026-11-21, reference machine (2 cores, both ends on them), 10,000 devices: 1.4 KiB a device idle and 1.6
//! after pushes, 105,000 to 131,000 notices a second, logins within 0.4 s. Over TLS: 8.9 and 9.1 KiB, 73,000
//! to 115,000 notices a second, logins within 4.5 s.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::door::ConnectClaim;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobNo, ModuleName, ProductKey, Version};
use otaria_core::shard::Shard;
use otaria_core::task::{Report, TaskKey};
use otaria_core::time::Timestamp;
use otaria_mqtt::{EventFeed, Gateway, GatewayConfig, NoticePusher, Ports, TlsConfig};
use otaria_ports::Unavailable;
use otaria_ports::auth::{DeviceCredential, FixedAuth};
use otaria_ports::clock::Clock;
use otaria_ports::inbox::{Block, BlockAsked, Fetched, Inbox, NoBlock};
use otaria_ports::presence::{LocalPresence, Presence};
use otaria_ports::pusher::{Notice, Offer, OfferedFile, Outcome, Pusher, Settled, SignMethod};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PRODUCT: &str = "a1Load";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ROUNDS: usize = 5;
/// Tells the child which certificate to trust; empty for no TLS.
const TRUSTED: &str = "GATEWAY_LOAD_TRUSTED";

struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "an example is its own rim")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[derive(Default)]
struct CountingInbox {
    written: AtomicUsize,
    other: AtomicUsize,
}

#[async_trait]
impl Inbox for CountingInbox {
    async fn report(&self, _: Report) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn fetch(&self, _: DeviceId, _: ModuleName, _: Timestamp) -> Result<Option<Fetched>, Unavailable> {
        Ok(None)
    }

    async fn block(
        &self,
        _: DeviceId,
        _: BlockAsked,
        _: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        Ok(Err(NoBlock::NotOffered))
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        let written = outcomes.iter().filter(|settled| settled.outcome == Outcome::Written).count();
        self.written.fetch_add(written, Ordering::SeqCst);
        self.other.fetch_add(outcomes.len() - written, Ordering::SeqCst);
        Ok(())
    }
}

fn name(n: usize) -> DeviceName {
    DeviceName::parse(&format!("dev_{n:06}")).expect("a device name")
}

fn id(n: usize) -> DeviceId {
    let n = i64::try_from(n).expect("a small number");
    DeviceId::new(Shard(u8::try_from(n % 256).expect("below 256")), n)
}

fn rss_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn offer() -> Arc<Offer> {
    let file = OfferedFile {
        name: "a.bin".into(),
        url: "http://127.0.0.1:8080/d/0123456789abcdefghijABCDEFGHIJ".into(),
        size: 1_048_576,
        md5: "0cc175b9c0f1b6a831c399e269772661".into(),
        sha256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb".into(),
    };
    Arc::new(Offer {
        version: Version::parse("2.0.0").expect("a version"),
        module: ModuleName::default_module(),
        files: vec![file],
        stream_id: None,
        sign_method: SignMethod::Md5,
        is_diff: false,
        udi: None,
        tags: vec![],
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("devices") => runtime.block_on(devices(&arguments[2], arguments[3].parse()?)),
        count => {
            let is_tls = arguments.get(2).is_some_and(|argument| argument == "tls");
            runtime.block_on(gateway(count.unwrap_or("10000").parse()?, is_tls))
        }
    }
}

async fn gateway(count: usize, is_tls: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut devices = HashMap::new();
    let product = ProductKey::parse(PRODUCT)?;
    for n in 0..count {
        let credential =
            DeviceCredential { device: id(n), account: AccountNo(1), enabled: true, secret: SECRET.into() };
        devices.insert((product.clone(), name(n)), credential);
    }
    let clock = Arc::new(HostClock);
    let inbox = Arc::new(CountingInbox::default());
    let presence = Arc::new(LocalPresence::new(1, Arc::default()));
    let pusher = NoticePusher::new(clock.clone());
    let ports = Ports {
        auth: Arc::new(FixedAuth { devices, ..FixedAuth::default() }),
        inbox: inbox.clone(),
        presence: presence.clone(),
        clock: clock.clone(),
        pusher: pusher.clone(),
        feed: EventFeed::start(),
    };
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let tls = TlsConfig::from_pem(([127, 0, 0, 1], 0).into(), chain.as_bytes(), key.as_bytes())?;
    let config = GatewayConfig {
        tls: Some(tls),
        plain: Some(([127, 0, 0, 1], 0).into()),
        connects_per_second: 100_000,
        ..GatewayConfig::default()
    };
    let gateway = Gateway::bind(config, ports)?;
    let address = if is_tls { gateway.tls_address() } else { gateway.plain_address() };
    let address = address.ok_or("no address")?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(async move {
        let _ = stopped.await;
    }));

    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = rss_kib();
    let started = clock.now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["devices", &address.to_string(), &count.to_string()])
        .env(TRUSTED, if is_tls { chain } else { String::new() })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let ids: Vec<_> = (0..count).map(id).collect();
    let sessions = loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        while !presence.changes(10_000).await?.is_empty() {}
        let sessions: Vec<i64> = presence.sessions(&ids).await?.into_iter().flatten().collect();
        if sessions.len() == count {
            break sessions;
        }
    };
    let took = clock.now().since(started);
    println!("{count} devices logged in within {:.2} s", took.as_secs_f64());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = rss_kib();
    println!("{:.2} KiB of memory per idle device", (after - before) as f64 / count as f64);

    for round in 1..=ROUNDS {
        let started = clock.now();
        push_all(&pusher, clock.as_ref(), &sessions).await?;
        let wanted = round * count;
        loop {
            let settled = inbox.written.load(Ordering::SeqCst) + inbox.other.load(Ordering::SeqCst);
            if settled >= wanted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = clock.now().since(started);
        println!("round {round}: {:.0} notices/s", count as f64 / took.as_secs_f64());
    }
    println!(
        "written {}, not written {}",
        inbox.written.load(Ordering::SeqCst),
        inbox.other.load(Ordering::SeqCst)
    );
    println!("{:.2} KiB of memory per device after the pushes", (rss_kib() - before) as f64 / count as f64);

    child.stdin.take().ok_or("no stdin")?.write_all(b"\n")?;
    let output = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    for line in output {
        println!("devices: {}", line?);
    }
    child.wait()?;
    let _ = stop.send(());
    running.await?;
    Ok(())
}

/// Sends one notice to every device at once.
async fn push_all(
    pusher: &NoticePusher,
    clock: &HostClock,
    sessions: &[i64],
) -> Result<(), Box<dyn std::error::Error>> {
    let offer = offer();
    let now = clock.now();
    let notices: Vec<Notice> = sessions
        .iter()
        .enumerate()
        .map(|(n, session)| Notice {
            key: TaskKey { device: id(n), job: JobNo(1), seq: u32::try_from(n).unwrap_or(0) },
            attempt: 1,
            wire_id: 1_711_111_111_111,
            session: *session,
            shard: (id(n).shard(), 1),
            fence: 0,
            not_before: now,
            not_after: now + Duration::from_secs(60),
            terms: None,
            offer: offer.clone(),
        })
        .collect();
    for batch in notices.chunks(1_000) {
        pusher.send(batch.to_vec()).await?;
    }
    Ok(())
}

/// The child: many devices on plain sockets.
async fn devices(address: &str, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    static NOTICES: AtomicUsize = AtomicUsize::new(0);
    let tls = connector()?;
    for first in (0..count).step_by(200) {
        let logins = (first..count.min(first + 200)).map(|n| log_in(address.to_owned(), n, tls.clone()));
        for login in logins.map(tokio::spawn).collect::<Vec<_>>() {
            let mut socket = login.await??;
            tokio::spawn(async move {
                let mut bytes = [0; 4_096];
                let mut rest = 0;
                while let Ok(count) = socket.read(&mut bytes).await {
                    if count == 0 {
                        break;
                    }
                    rest += count;
                    // Every notice has the same length here.
                    while rest >= NOTICE_BYTES.load(Ordering::Relaxed).max(1) {
                        let _ = NOTICE_BYTES.compare_exchange(0, rest, Ordering::Relaxed, Ordering::Relaxed);
                        rest -= NOTICE_BYTES.load(Ordering::Relaxed);
                        NOTICES.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    println!("{} notices arrived", NOTICES.load(Ordering::Relaxed));
    Ok(())
}

static NOTICE_BYTES: AtomicUsize = AtomicUsize::new(0);

type Socket = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn connector() -> Result<Option<TlsConnector>, Box<dyn std::error::Error>> {
    let trusted = std::env::var(TRUSTED)?;
    if trusted.is_empty() {
        return Ok(None);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes())?)?;
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(Some(Arc::new(config).into()))
}

async fn log_in(address: String, n: usize, tls: Option<TlsConnector>) -> std::io::Result<Socket> {
    let device = name(n);
    let client_id = format!("{PRODUCT}.{device}|securemode=3,signmethod=hmacsha256,timestamp=1,_ss=1|");
    let user = format!("{device}&{PRODUCT}");
    let claim = ConnectClaim::parse(&client_id, &user).map_err(std::io::Error::other)?;
    let password = claim.password(SECRET.as_bytes());
    let mut body = [&[0, 4][..], b"MQTT", &[4, 0xc2, 4, 0xb0]].concat();
    for text in [&client_id, &user, &password] {
        body.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        body.extend(text.as_bytes());
    }
    let length = u16::try_from(body.len()).unwrap_or(0);
    let head =
        [0x10, u8::try_from(length & 0x7f).unwrap_or(0) | 0x80, u8::try_from(length >> 7).unwrap_or(0)];
    let tcp = TcpStream::connect(&address).await?;
    let mut socket: Socket = match tls {
        Some(tls) => {
            let name = "localhost".try_into().map_err(std::io::Error::other)?;
            Box::new(tls.connect(name, tcp).await?)
        }
        None => Box::new(tcp),
    };
    socket.write_all(&[&head[..], &body].concat()).await?;
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).await?;
    if connack[3] == 0 { Ok(socket) } else { Err(std::io::Error::other(format!("refused: {}", connack[3]))) }
}
