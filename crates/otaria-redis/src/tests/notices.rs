//! From a dispatcher to a gateway.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo, ModuleName, Version};
use otaria_core::job::{Schedule, Tag};
use otaria_core::pace::{HORIZON_CLUSTERED, PerMinute};
use otaria_core::shard::Shard;
use otaria_core::task::TaskKey;
use otaria_core::time::Timestamp;
use otaria_core::witness::Terms;
use otaria_ports::clock::ManualClock;
use otaria_ports::inbox::KeptInbox;
use otaria_ports::presence::Presence;
use otaria_ports::pusher::{KeptPusher, Notice, Offer, OfferedFile, Outcome, Pusher, SignMethod};
use tokio::time::Instant;

use super::{config, process, until};
use crate::{Dispatch, GatewayMail, Hub, RedisConfig, RedisLink, RedisPresence, RedisPusher, SharedClock};

struct Gateway {
    link: RedisLink,
    presence: Arc<RedisPresence>,
    local: Arc<KeptPusher>,
    _hub: Arc<Hub>,
}

impl Gateway {
    async fn start(config: &RedisConfig) -> Self {
        let link = process(config).await;
        let hub = Hub::start(&link);
        let presence = Arc::new(RedisPresence::new(link.clone(), SharedClock::start(&link), Arc::default()));
        let local = Arc::new(KeptPusher::default());
        GatewayMail::start(&link, &hub, Arc::clone(&presence), Arc::clone(&local) as _).await;
        presence.begin_gateway(Arc::clone(&local) as _).await.unwrap();
        Self { link, presence, local, _hub: hub }
    }

    fn heard(&self) -> Vec<Notice> {
        self.local.notices.lock().unwrap().clone()
    }
}

struct Dispatcher {
    presence: Arc<RedisPresence>,
    inbox: Arc<KeptInbox>,
    pusher: Arc<RedisPusher>,
    _hub: Arc<Hub>,
}

impl Dispatcher {
    async fn start(config: &RedisConfig) -> Self {
        let link = process(config).await;
        let hub = Hub::start(&link);
        let presence = Arc::new(RedisPresence::new(link.clone(), SharedClock::start(&link), Arc::default()));
        presence.follow(&Shard::all().collect()).await.unwrap();
        let inbox = Arc::new(KeptInbox::default());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(5)));
        let dispatch = Dispatch { presence: Arc::clone(&presence), inbox: Arc::clone(&inbox) as _, clock };
        let pusher = RedisPusher::start(link, &hub, HORIZON_CLUSTERED, Some(dispatch)).await;
        Self { presence, inbox, pusher, _hub: hub }
    }

    async fn sees(&self, device: DeviceId, session: i64) {
        let seen = || async {
            let changes = self.presence.changes(100).await.unwrap();
            changes.contains(&otaria_ports::presence::PresenceChange::Arrived(device, session))
        };
        until(Duration::from_secs(10), seen).await;
    }
}

fn offer(version: &str) -> Arc<Offer> {
    Arc::new(Offer {
        version: Version::parse(version).unwrap(),
        module: ModuleName::parse("mcu").unwrap(),
        files: vec![OfferedFile {
            name: "a.bin".into(),
            url: "http://host/d/token".into(),
            size: 123_456_789,
            md5: "00ff".into(),
            sha256: "11ee".into(),
        }],
        stream_id: Some(7),
        sign_method: SignMethod::Sha256,
        is_diff: true,
        udi: Some("free text ü".into()),
        tags: vec![Tag { key: "k".into(), value: "v".into() }],
    })
}

fn notice(device: DeviceId, session: i64, offer: &Arc<Offer>) -> Notice {
    Notice {
        key: TaskKey { device, job: JobNo(9), seq: 3 },
        attempt: 2,
        wire_id: 1_790_000_000_123,
        session,
        shard: (device.shard(), 4),
        fence: 6,
        not_before: Timestamp::from_millis(1_790_000_000_400),
        not_after: Timestamp::from_millis(1_790_000_000_700),
        terms: Some(Terms { rate: PerMinute::DEFAULT, schedule: Schedule::default() }),
        offer: Arc::clone(offer),
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn notices_reach_the_gateway_of_their_device_as_they_were() {
    let config = config();
    let (a, b) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let dispatcher = Dispatcher::start(&config).await;
    let devices: Vec<DeviceId> = (0..4).map(|n| DeviceId::new(Shard(n), 1)).collect();
    let mut notices = Vec::new();
    let (first, second) = (offer("1.0"), offer("2.0"));
    for (n, device) in devices.iter().enumerate() {
        let gateway = if n < 3 { &a } else { &b };
        let session = gateway.presence.connect(*device).await.unwrap().session;
        dispatcher.sees(*device, session).await;
        notices.push(notice(*device, session, if n == 1 { &second } else { &first }));
    }
    let gone = notice(DeviceId::new(Shard(9), 9), 1, &first);
    let outdated = Notice { session: notices[3].session - 1, ..notices[3].clone() };
    let sent = [&notices[..], &[gone.clone(), outdated.clone()]].concat();
    dispatcher.pusher.send(sent).await.unwrap();

    until(Duration::from_secs(10), || async { a.heard().len() == 3 && b.heard().len() == 1 }).await;
    let heard = [a.heard(), b.heard()].concat();
    for (sent, heard) in notices.iter().zip(&heard) {
        // A notice has no equality of its own; its offer is compared by what it says.
        assert_eq!(format!("{sent:?}"), format!("{heard:?}"));
    }
    assert!(Arc::ptr_eq(&heard[0].offer, &heard[2].offer), "an offer is written once");
    let settled = dispatcher.inbox.outcomes.lock().unwrap().clone();
    let outcomes: Vec<_> = settled.iter().map(|settled| (settled.key.clone(), settled.outcome)).collect();
    assert_eq!(outcomes, [(gone.key, Outcome::Gone), (outdated.key, Outcome::Stale)]);

    dispatcher.pusher.send(vec![notices[0].clone()]).await.unwrap();
    until(Duration::from_secs(10), || async { a.heard().len() == 4 }).await;
    assert!(Arc::ptr_eq(&a.heard()[3].offer, &a.heard()[0].offer), "nor is it made again by later batches");
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_fence_is_told_and_waited_for() {
    let config = config();
    let gateway = Gateway::start(&config).await;
    let link = process(&config).await;
    let hub = Hub::start(&link);
    let face = RedisPusher::start(link, &hub, HORIZON_CLUSTERED, None).await;
    let began = Instant::now();
    let (fenced, told) = tokio::join!(face.fence(JobNo(3), 8), async {
        until(Duration::from_secs(1), || async { !gateway.local.fences.lock().unwrap().is_empty() }).await;
        began.elapsed()
    });
    fenced.unwrap();
    let took = began.elapsed();
    assert_eq!(*gateway.local.fences.lock().unwrap(), [(JobNo(3), 8)]);
    assert!(told < Duration::from_millis(700), "{told:?}");
    assert!((800..=2_000).contains(&took.as_millis()), "{took:?}");
    face.epoch(Shard(3), 9).await.unwrap();
    assert!(face.send(Vec::new()).await.is_err(), "a face sends no notices");
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_close_returns_when_every_living_gateway_has_answered_and_fails_otherwise() {
    let config = config();
    let link = process(&config).await;
    let hub = Hub::start(&link);
    let face = RedisPusher::start(link.clone(), &hub, HORIZON_CLUSTERED, None).await;
    let device = DeviceId::new(Shard(1), 1);
    face.close(device).await.unwrap();

    let (a, b) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let began = Instant::now();
    face.close(device).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    for gateway in [&a, &b] {
        assert_eq!(*gateway.local.closed.lock().unwrap(), [device]);
    }

    // A gateway on the roll that does not answer.
    let name = b.link.process().to_owned();
    drop(b);
    let _: i64 = link
        .query(redis::cmd("ZADD").arg(link.keys().roll()).arg("99999999999999").arg(name), "testing")
        .await
        .unwrap();
    let began = Instant::now();
    assert!(face.close(device).await.is_err());
    assert!((900..=2_500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}
