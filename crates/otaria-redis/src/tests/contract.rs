//! The contract of every `Pusher`, over Redis: a dispatcher on one side, a gateway on the other. The gateway's
//! own pusher asks the same fences as the real one and keeps what a device would read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::door::{Fences, Refusal, SessionSeq, Stamp};
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::pace::HORIZON_CLUSTERED;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::clock::Clock;
use otaria_ports::inbox::{Inbox, KeptInbox};
use otaria_ports::presence::{Presence, PresenceChange};
use otaria_ports::pusher::contract::{self, Stage};
use otaria_ports::pusher::{Notice, Outcome, Pusher, Settled};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{config, process, until};
use crate::{Dispatch, GatewayMail, Hub, RedisPresence, RedisPusher, SharedClock};

/// What writes: at once, and into memory.
struct Desk {
    clock: Arc<SharedClock>,
    inbox: Arc<KeptInbox>,
    fences: Mutex<Fences>,
    sessions: Mutex<BTreeMap<DeviceId, i64>>,
    read: Mutex<BTreeMap<DeviceId, Vec<i64>>>,
}

#[async_trait]
impl Pusher for Desk {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        let mut outcomes = Vec::new();
        for notice in notices {
            let device = notice.key.device;
            let stamp = Stamp {
                shard: notice.shard.0,
                epoch: notice.shard.1,
                job: notice.key.job,
                fence: notice.fence,
                session: SessionSeq(notice.session),
                not_before: notice.not_before,
                not_after: notice.not_after,
            };
            let current = self.sessions.lock().get(&device).copied().map(SessionSeq);
            let at = self.clock.now();
            let outcome = match self.fences.lock().may_write(&stamp, current, at) {
                Ok(()) => {
                    self.read.lock().entry(device).or_default().push(notice.wire_id);
                    Outcome::Written
                }
                Err(Refusal::Gone) => Outcome::Gone,
                Err(Refusal::Stale | Refusal::Fenced | Refusal::Late | Refusal::TooEarly) => Outcome::Stale,
            };
            outcomes.push(Settled::of(&notice, outcome, at, at));
        }
        self.inbox.settled(outcomes).await
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        self.fences.lock().raise_job(job, fence, self.clock.now());
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        self.sessions.lock().remove(&device);
        Ok(())
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        self.fences.lock().raise_shard(shard, epoch);
        Ok(())
    }
}

struct OverRedis {
    desk: Arc<Desk>,
    gateway: Arc<RedisPresence>,
    dispatcher: Arc<RedisPresence>,
    pusher: Arc<RedisPusher>,
    _hubs: [Arc<Hub>; 2],
}

impl OverRedis {
    async fn new() -> Self {
        let config = config();
        let (near, far) = (process(&config).await, process(&config).await);
        let hubs = [Hub::start(&near), Hub::start(&far)];
        let clocks = [SharedClock::start(&near), SharedClock::start(&far)];
        let inbox = Arc::new(KeptInbox::default());
        let desk = Arc::new(Desk {
            clock: Arc::clone(&clocks[1]),
            inbox: Arc::clone(&inbox),
            fences: Mutex::default(),
            sessions: Mutex::default(),
            read: Mutex::default(),
        });
        let gateway = Arc::new(RedisPresence::new(far.clone(), Arc::clone(&clocks[1]) as _, Arc::default()));
        GatewayMail::start(&far, &hubs[1], Arc::clone(&gateway), Arc::clone(&desk) as _).await;
        gateway.begin_gateway(Arc::clone(&desk) as _).await.unwrap();

        let clock = Arc::clone(&clocks[0]) as Arc<dyn Clock>;
        let dispatcher = Arc::new(RedisPresence::new(near.clone(), Arc::clone(&clock), Arc::default()));
        dispatcher.follow(&Shard::all().collect()).await.unwrap();
        let dispatch = Dispatch { presence: Arc::clone(&dispatcher), inbox, clock };
        let pusher = RedisPusher::start(near, &hubs[0], HORIZON_CLUSTERED, Some(dispatch)).await;
        Self { desk, gateway, dispatcher, pusher, _hubs: hubs }
    }
}

#[async_trait]
impl Stage for OverRedis {
    fn pusher(&self) -> &dyn Pusher {
        &*self.pusher
    }

    fn now(&self) -> Timestamp {
        self.desk.clock.now()
    }

    fn device(&self, n: i64) -> DeviceId {
        DeviceId::new(Shard(u8::try_from(n).unwrap()), n)
    }

    async fn connect(&self, device: DeviceId) -> i64 {
        let session = self.gateway.connect(device).await.unwrap().session;
        self.desk.sessions.lock().insert(device, session);
        let arrived = PresenceChange::Arrived(device, session);
        let is_known = || async { self.dispatcher.changes(100).await.unwrap().contains(&arrived) };
        until(Duration::from_secs(10), is_known).await;
        session
    }

    async fn outcomes(&self, count: usize) -> Vec<Settled> {
        let outcomes = || self.desk.inbox.outcomes.lock().unwrap().clone();
        until(Duration::from_secs(10), || async { outcomes().len() >= count }).await;
        sleep(Duration::from_millis(100)).await;
        outcomes()
    }

    async fn read(&self, device: DeviceId, count: usize) -> Vec<i64> {
        let count_now = || self.desk.read.lock().get(&device).map_or(0, Vec::len);
        until(Duration::from_secs(10), || async { count_now() >= count }).await;
        self.desk.read.lock().remove(&device).unwrap_or_default()
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn notices_over_redis_keep_the_contract() {
    contract::a_notice_reaches_its_device_once_and_is_said_to_be_written(&OverRedis::new().await).await;
    contract::a_notice_for_nobody_is_gone_and_one_for_an_earlier_session_is_stale(&OverRedis::new().await)
        .await;
    contract::a_late_notice_is_stale(&OverRedis::new().await).await;
    contract::behind_a_fence_nothing_older_is_written(&OverRedis::new().await).await;
    contract::behind_an_epoch_nothing_older_is_written(&OverRedis::new().await).await;
    contract::who_is_closed_is_not_written_to(&OverRedis::new().await).await;
}
