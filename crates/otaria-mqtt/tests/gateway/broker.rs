//! Devices behind a broker that is not ours: a real Mosquitto, reached through a line that can be cut.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, ProductKey};
use otaria_core::shard::Shard;
use otaria_core::task::Said;
use otaria_core::time::Timestamp;
use otaria_mqtt::{BrokerConfig, BrokerPorts, BrokerPusher, serve_broker};
use otaria_ports::auth::{DeviceCredential, FixedAuth, SeenDevice};
use otaria_ports::clock::Clock;
use otaria_ports::inbox::{Fetched, KeptInbox};
use otaria_ports::presence::{LocalPresence, Presence};
use otaria_ports::pusher::contract::{self, Stage};
use otaria_ports::pusher::{Notice, Outcome, Pusher, Settled};
use rumqttc::QoS;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::world::{HostClock, QUIET, eventually, name, offer};

fn broker() -> SocketAddr {
    let address =
        std::env::var("OTARIA_TEST_MOSQUITTO").expect("OTARIA_TEST_MOSQUITTO is set by cargo xtask test");
    address.parse().unwrap()
}

/// A line to the broker.
struct Line {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Line {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(broker()).await else { return };
                    tokio::select! {
                        _ = cut.wait_for(|cut| *cut) => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { address, is_cut }
    }
}

/// A bridge with everything around it faked but the broker. All tests share the broker, so each has a product
/// of its own.
struct Bridge {
    product: &'static str,
    line: Line,
    inbox: Arc<KeptInbox>,
    presence: Arc<LocalPresence>,
    pusher: Arc<BrokerPusher>,
    clients: Mutex<HashMap<DeviceId, Client>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

fn device(n: i64) -> DeviceId {
    DeviceId::new(Shard(3), n)
}

impl Bridge {
    async fn start(product: &'static str) -> Self {
        Self::with(product, |_| {}).await
    }

    async fn with(product: &'static str, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        Self::after(product, &[], change).await
    }

    /// A bridge that begins after another one, which heard these devices when their sessions began.
    async fn after(
        product: &'static str,
        before: &[(i64, Duration)],
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Self {
        let key = ProductKey::parse(product).unwrap();
        let devices = (1..=9).map(|n| {
            let credential = DeviceCredential {
                device: device(n),
                account: AccountNo(1),
                enabled: n != 9,
                secret: "s".into(),
            };
            ((key.clone(), DeviceName::parse(&name(n)).unwrap()), credential)
        });
        let seen = before.iter().map(|(n, ago)| SeenDevice {
            device: device(*n),
            product_key: key.clone(),
            name: DeviceName::parse(&name(*n)).unwrap(),
            at: HostClock.now() - *ago,
        });
        let auth = FixedAuth { devices: devices.collect(), seen: seen.collect(), ..FixedAuth::default() };
        let line = Line::start().await;
        let mut config = BrokerConfig::new("127.0.0.1", line.address.port());
        // A name that no earlier run had: the broker remembers.
        config.client_id = format!("{product}-{}", HostClock.now().millis());
        config.retry = Duration::from_millis(50);
        change(&mut config);
        let (inbox, clock) = (Arc::new(KeptInbox::default()), Arc::new(HostClock));
        let presence = Arc::new(LocalPresence::new(1, Arc::default()));
        let pusher = BrokerPusher::new(clock.clone());
        let ports = BrokerPorts {
            auth: Arc::new(auth),
            inbox: inbox.clone(),
            presence: presence.clone(),
            clock,
            pusher: pusher.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve_broker(config, ports, async move {
            let _ = stopped.await;
        }));
        let clients = Mutex::default();
        Self { product, line, inbox, presence, pusher, clients, stop: Some(stop), running }
    }

    /// A device at the broker, subscribed to what is for it, which has not said anything yet.
    async fn silent(&self, n: i64) -> Client {
        let texts = [format!("{}.{}", self.product, name(n)), "u".into(), "p".into()];
        let mut client = Client::connect(broker(), texts, None).await.unwrap();
        for topic in [
            self.up("ota/device/upgrade", n),
            self.sys(n, "ota/firmware/get_reply"),
            self.sys(n, "file/download_reply"),
        ] {
            assert!(client.subscribe(&topic, QoS::AtLeastOnce).await);
        }
        client
    }

    fn up(&self, start: &str, n: i64) -> String {
        format!("/{start}/{}/{}", self.product, name(n))
    }

    fn sys(&self, n: i64, end: &str) -> String {
        format!("/sys/{}/{}/thing/{end}", self.product, name(n))
    }

    async fn inform(&self, client: &Client, n: i64, version: &str) {
        let payload = json!({"id": 1, "params": {"version": version}}).to_string();
        let topic = self.up("ota/device/inform", n);
        client.mqtt.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    /// Says the version until it is heard: the bridge may not have subscribed yet.
    async fn introduce(&self, client: &Client, n: i64) -> i64 {
        for _ in 0..200 {
            self.inform(client, n, "1.0.0").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Some(session) = self.session(n).await {
                return session;
            }
        }
        panic!("nobody hears dev_{n:04}");
    }

    async fn session(&self, n: i64) -> Option<i64> {
        self.presence.sessions(&[device(n)]).await.unwrap()[0]
    }

    fn notice(&self, n: i64, session: i64) -> Notice {
        let now = HostClock.now();
        Notice {
            key: otaria_core::task::TaskKey { device: device(n), job: otaria_core::ids::JobNo(1), seq: 1 },
            attempt: 1,
            wire_id: 77,
            session,
            shard: (Shard(3), 1),
            fence: 1,
            not_before: now,
            not_after: now + Duration::from_secs(10),
            terms: None,
            offer: offer(),
        }
    }

    fn versions(&self) -> Vec<String> {
        let reports = self.inbox.reports.lock().unwrap();
        let version = |said: &Said| match said {
            Said::Version(version) => Some(version.as_str().to_owned()),
            Said::Progress { .. } | Said::Refused { .. } => None,
        };
        reports.iter().filter_map(|report| version(&report.said)).collect()
    }

    async fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        (&mut self.running).await.unwrap();
    }
}

#[async_trait]
impl Stage for Bridge {
    fn pusher(&self) -> &dyn Pusher {
        self.pusher.as_ref()
    }

    fn now(&self) -> Timestamp {
        HostClock.now()
    }

    fn device(&self, n: i64) -> DeviceId {
        device(n)
    }

    async fn connect(&self, device: DeviceId) -> i64 {
        let client = self.silent(device.n()).await;
        let session = self.introduce(&client, device.n()).await;
        self.clients.lock().await.insert(device, client);
        session
    }

    async fn outcomes(&self, count: usize) -> Vec<Settled> {
        eventually(|| (self.inbox.outcomes.lock().unwrap().len() >= count).then_some(())).await;
        tokio::time::sleep(QUIET).await;
        self.inbox.outcomes.lock().unwrap().clone()
    }

    async fn read(&self, device: DeviceId, count: usize) -> Vec<i64> {
        let mut clients = self.clients.lock().await;
        let client = clients.get_mut(&device).unwrap();
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(client.json().await["id"].as_i64().unwrap());
        }
        assert!(client.is_quiet().await, "more than {ids:?}");
        ids
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn a_bridge_keeps_the_contract_of_pushers() {
    contract::a_notice_reaches_its_device_once_and_is_said_to_be_written(&Bridge::start("b1a").await).await;
    contract::a_notice_for_nobody_is_gone_and_one_for_an_earlier_session_is_stale(
        &Bridge::start("b1b").await,
    )
    .await;
    contract::a_late_notice_is_stale(&Bridge::start("b1c").await).await;
    contract::behind_a_fence_nothing_older_is_written(&Bridge::start("b1d").await).await;
    contract::behind_an_epoch_nothing_older_is_written(&Bridge::start("b1e").await).await;
    contract::who_is_closed_is_not_written_to(&Bridge::start("b1f").await).await;
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn what_devices_say_reaches_the_engine_in_order_and_questions_are_answered() {
    let bridge = Bridge::start("b2").await;
    let mut client = bridge.silent(1).await;
    let session = bridge.introduce(&client, 1).await;
    for percent in [10, 20, 30] {
        let payload = json!({"id": 1, "params": {"step": percent, "desc": ""}}).to_string();
        client
            .mqtt
            .publish(bridge.up("ota/device/progress", 1), QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
    }
    let reports = eventually(|| {
        let reports = bridge.inbox.reports.lock().unwrap();
        let progress = reports.iter().filter(|report| matches!(report.said, Said::Progress { .. })).count();
        (progress == 3).then(|| reports.clone())
    })
    .await;
    assert!(reports.iter().all(|report| report.device == device(1) && report.order.session == session));
    assert!(reports.is_sorted_by(|a, b| a.order < b.order), "{reports:?}");

    *bridge.inbox.offer.lock().unwrap() =
        Some(Fetched { wire_id: 1, job: otaria_core::ids::JobNo(3), offer: offer() });
    client.say(&bridge.sys(1, "ota/firmware/get"), r#"{"id":"9","params":{}}"#).await;
    let answer = client.json().await;
    assert_eq!((answer["id"].as_str(), answer["data"]["version"].as_str()), (Some("9"), Some("2.0.0")));

    *bridge.inbox.file.lock().unwrap() = Some(Bytes::from(vec![7; 200_000]));
    let ask = json!({"id": "1", "params": {
        "fileInfo": {"streamId": 1, "fileId": 1}, "fileBlock": {"size": 131_072, "offset": 0},
    }});
    client.say(&bridge.sys(1, "file/download"), &ask.to_string()).await;
    assert!(client.publish().await.payload.len() > 131_072, "a whole block in its frame");
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn strangers_and_devices_that_are_shut_out_are_not_heard() {
    let bridge = Bridge::start("b3").await;
    let (known, shut, stranger) = (bridge.silent(1).await, bridge.silent(9).await, bridge.silent(99).await);
    bridge.introduce(&known, 1).await;
    let before = bridge.versions().len();
    bridge.inform(&shut, 9, "9.0.0").await;
    bridge.inform(&stranger, 99, "99.0.0").await;
    shut.say(&bridge.up("ota/device/inform", 1), "no json").await;
    bridge.inform(&known, 1, "1.0.1").await;
    eventually(|| bridge.versions().contains(&"1.0.1".to_owned()).then_some(())).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(bridge.versions().len(), before + 1, "{:?}", bridge.versions());
    assert_eq!(bridge.session(9).await, None);
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn a_cut_line_loses_no_word_and_no_outcome() {
    let bridge = Bridge::start("b4").await;
    let mut client = bridge.silent(1).await;
    let session = bridge.introduce(&client, 1).await;
    bridge.line.is_cut.send_replace(true);
    // What is said meanwhile is kept by the broker; what is pushed meanwhile is too late at last.
    bridge.inform(&client, 1, "1.0.1").await;
    let mut hurried = bridge.notice(1, session);
    hurried.not_after = HostClock.now() + Duration::from_millis(300);
    bridge.pusher.send(vec![hurried]).await.unwrap();
    let first = bridge.outcomes(1).await;
    assert!(matches!(first[0].outcome, Outcome::Stale | Outcome::Gone), "{first:?}");
    assert!(!bridge.versions().contains(&"1.0.1".to_owned()));

    bridge.line.is_cut.send_replace(false);
    eventually(|| bridge.versions().contains(&"1.0.1".to_owned()).then_some(())).await;
    bridge.pusher.send(vec![bridge.notice(1, session)]).await.unwrap();
    assert_eq!(bridge.outcomes(2).await[1].outcome, Outcome::Written);
    assert_eq!(client.json().await["id"], 77);
    assert!(client.is_quiet().await, "the first one is not delivered later");
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn a_later_job_overtakes_what_waits_and_reports_say_which_the_device_was_told_of() {
    let bridge = Bridge::start("b8").await;
    let mut client = bridge.silent(1).await;
    let session = bridge.introduce(&client, 1).await;
    let mut earlier = bridge.notice(1, session);
    earlier.not_before = HostClock.now() + Duration::from_millis(300);
    let mut later = earlier.clone();
    (later.key.job, later.wire_id) = (otaria_core::ids::JobNo(2), 78);
    later.not_before = HostClock.now() + Duration::from_millis(100);
    bridge.pusher.send(vec![earlier]).await.unwrap();
    bridge.pusher.send(vec![later]).await.unwrap();
    assert_eq!(client.json().await["id"], 78);
    let outcomes = bridge.outcomes(2).await;
    let of = |job| outcomes.iter().find(|settled| settled.key.job.0 == job).unwrap().outcome;
    assert_eq!((of(1), of(2)), (Outcome::Stale, Outcome::Written));
    assert!(client.is_quiet().await);

    bridge.inform(&client, 1, "1.0.7").await;
    eventually(|| bridge.versions().contains(&"1.0.7".to_owned()).then_some(())).await;
    let reports = bridge.inbox.reports.lock().unwrap().clone();
    assert_eq!(reports[0].told, None, "the first one was before any notice");
    assert_eq!(reports.last().unwrap().told, Some(otaria_core::ids::JobNo(2)));

    let job = otaria_core::ids::JobNo(3);
    *bridge.inbox.offer.lock().unwrap() = Some(Fetched { wire_id: 1, job, offer: offer() });
    client.say(&bridge.sys(1, "ota/firmware/get"), r#"{"id":"9","params":{}}"#).await;
    client.json().await;
    bridge.inform(&client, 1, "1.0.8").await;
    eventually(|| bridge.versions().contains(&"1.0.8".to_owned()).then_some(())).await;
    assert_eq!(bridge.inbox.reports.lock().unwrap().last().unwrap().told, Some(job));
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn who_is_silent_for_too_long_is_gone_and_comes_back_with_a_word() {
    let bridge = Bridge::with("b5", |config| config.silence = Duration::from_secs(1)).await;
    let client = bridge.silent(1).await;
    let first = bridge.introduce(&client, 1).await;
    for _ in 0..100 {
        if bridge.session(1).await.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bridge.session(1).await, None);
    assert!(bridge.introduce(&client, 1).await > first);
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn a_stop_settles_what_waits_and_forgets_everybody() {
    let mut bridge = Bridge::start("b6").await;
    let client = bridge.silent(1).await;
    let session = bridge.introduce(&client, 1).await;
    let mut later = bridge.notice(1, session);
    later.not_before = HostClock.now() + Duration::from_secs(5);
    bridge.pusher.send(vec![later]).await.unwrap();
    bridge.stop().await;
    let outcomes = bridge.inbox.outcomes.lock().unwrap().clone();
    assert_eq!(outcomes.iter().map(|settled| settled.outcome).collect::<Vec<_>>(), [Outcome::Gone]);
    assert_eq!(bridge.session(1).await, None);
}

#[tokio::test]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn a_bridge_reaches_who_was_heard_by_the_one_before_and_says_nothing() {
    let ago = Duration::from_secs;
    // The third one was silent for too long.
    let before = [(1, ago(10)), (2, ago(28)), (3, ago(40))];
    let bridge = Bridge::after("b7", &before, |config| config.silence = ago(30)).await;
    let mut idle = bridge.silent(1).await;
    let (_second, _third) = (bridge.silent(2).await, bridge.silent(3).await);
    for _ in 0..100 {
        if bridge.session(1).await.is_some() && bridge.session(2).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let session = bridge.session(1).await.expect("it was there before");
    assert_eq!(bridge.session(3).await, None);
    bridge.pusher.send(vec![bridge.notice(1, session)]).await.unwrap();
    assert_eq!(bridge.outcomes(1).await[0].outcome, Outcome::Written);
    assert_eq!(idle.json().await["id"], 77);

    // It informs a version: perhaps it missed something, so a new session begins.
    bridge.inform(&idle, 1, "1.0.0").await;
    eventually(|| bridge.versions().contains(&"1.0.0".to_owned()).then_some(())).await;
    assert!(bridge.session(1).await.unwrap() > session);
    // Silence counts from when it was heard by the other bridge.
    for _ in 0..80 {
        if bridge.session(2).await.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bridge.session(2).await, None);
    assert!(bridge.session(1).await.is_some());
}
