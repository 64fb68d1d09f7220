//! A gateway with everything around it faked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{
    AccessKeyId, AccountNo, DeviceId, DeviceName, JobNo, ModuleName, ProductKey, Version,
};
use otaria_core::shard::Shard;
use otaria_core::task::TaskKey;
use otaria_core::time::Timestamp;
use otaria_mqtt::{EventFeed, Gateway, GatewayConfig, NoticePusher, Ports, TlsConfig};
use otaria_ports::auth::{DeviceCredential, FixedAuth};
use otaria_ports::clock::Clock;
use otaria_ports::inbox::KeptInbox;
use otaria_ports::presence::{LocalPresence, Presence};
use otaria_ports::pusher::{Notice, Offer, OfferedFile, Outcome, Pusher, SignMethod};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const PRODUCT: &str = "a1Le6d0abcd";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const KEY: &str = "AK-one";
pub(crate) const OTHER_KEY: &str = "AK-two";
pub(crate) const KEY_SECRET: &str = "key secret";
pub(crate) const ACCOUNT: AccountNo = AccountNo(1);
/// Everything awaited in a test happens long before.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Long enough to believe that something does not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

pub(crate) struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "a test of real sockets needs the real time")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }
}

pub(crate) struct World {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) inbox: Arc<KeptInbox>,
    pub(crate) presence: Arc<LocalPresence>,
    pub(crate) pusher: Arc<NoticePusher>,
    pub(crate) feed: Arc<EventFeed>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// Devices `dev_0001` to `dev_0020`; `dev_0009` may not connect.
pub(crate) fn device(n: i64) -> DeviceId {
    DeviceId::new(Shard(3), n)
}

pub(crate) fn name(n: i64) -> String {
    format!("dev_{n:04}")
}

fn auth() -> FixedAuth {
    let product = ProductKey::parse(PRODUCT).unwrap();
    let devices = (1..=20).map(|n| {
        let credential =
            DeviceCredential { device: device(n), account: ACCOUNT, enabled: n != 9, secret: SECRET.into() };
        ((product.clone(), DeviceName::parse(&name(n)).unwrap()), credential)
    });
    let key = |key: &str, account| (AccessKeyId::parse(key).unwrap(), (KEY_SECRET.into(), account));
    let foreign = ProductKey::parse("b2Foreign").unwrap();
    FixedAuth {
        devices: devices.collect(),
        platforms: HashMap::from([key(KEY, ACCOUNT), key(OTHER_KEY, AccountNo(2))]),
        products: HashMap::from([(product, ACCOUNT), (foreign, AccountNo(2))]),
        seen: Vec::new(),
    }
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::by(Arc::new(HostClock), change)
    }

    pub(crate) fn by(clock: Arc<dyn Clock>, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let inbox = Arc::new(KeptInbox::default());
        let presence = Arc::new(LocalPresence::new(1, Arc::default()));
        let pusher = NoticePusher::new(clock.clone());
        let feed = EventFeed::start();
        let ports = Ports {
            auth: Arc::new(auth()),
            inbox: inbox.clone(),
            presence: presence.clone(),
            clock,
            pusher: pusher.clone(),
            feed: feed.clone(),
        };
        let mut config =
            GatewayConfig { plain: Some(([127, 0, 0, 1], 0).into()), ..GatewayConfig::default() };
        change(&mut config);
        let gateway = Gateway::bind(config, ports).unwrap();
        let (plain, tls) = (gateway.plain_address().unwrap(), gateway.tls_address());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(gateway.run(async move {
            let _ = stopped.await;
        }));
        Self { plain, tls, inbox, presence, pusher, feed, stop: Some(stop), running }
    }

    pub(crate) fn with_tls(tls: TlsConfig) -> Self {
        Self::with(|config| config.tls = Some(tls))
    }

    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.stopped().await;
    }

    /// Tells the gateway to stop and does not wait for it.
    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(&mut self) {
        (&mut self.running).await.unwrap();
    }

    pub(crate) async fn session(&self, n: i64) -> Option<i64> {
        self.presence.sessions(&[device(n)]).await.unwrap()[0]
    }

    /// A notice for the device's present session, good from now on for ten seconds.
    pub(crate) async fn notice(&self, n: i64) -> Notice {
        let now = HostClock.now();
        Notice {
            key: TaskKey { device: device(n), job: JobNo(1), seq: 1 },
            attempt: 1,
            wire_id: 1_711_111_111_111,
            session: self.session(n).await.unwrap_or(0),
            shard: (Shard(3), 1),
            fence: 1,
            not_before: now,
            not_after: now + Duration::from_secs(10),
            terms: None,
            offer: offer(),
        }
    }

    pub(crate) async fn push(&self, n: i64) {
        let notice = self.notice(n).await;
        self.pusher.send(vec![notice]).await.unwrap();
    }

    /// Waits for that many outcomes.
    pub(crate) async fn outcomes(&self, count: usize) -> Vec<Outcome> {
        eventually(|| {
            let outcomes = self.inbox.outcomes.lock().unwrap();
            (outcomes.len() >= count).then(|| outcomes.iter().map(|settled| settled.outcome).collect())
        })
        .await
    }
}

/// Waits until something is there.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("soon")
}

pub(crate) fn offer() -> Arc<Offer> {
    let file = OfferedFile {
        name: "a.bin".into(),
        url: "http://127.0.0.1:8080/d/token".into(),
        size: 7,
        md5: "0cc175b9c0f1b6a831c399e269772661".into(),
        sha256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb".into(),
    };
    Arc::new(Offer {
        version: Version::parse("2.0.0").unwrap(),
        module: ModuleName::default_module(),
        files: vec![file],
        stream_id: None,
        sign_method: SignMethod::Md5,
        is_diff: false,
        udi: None,
        tags: vec![],
    })
}
