//! What the engine and the faces stand on: one process by itself, or one of several that share a database and
//! a Redis. The rest of the wiring does not know which.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use otaria_core::ids::{DeviceId, ModuleName};
use otaria_core::pace::{HORIZON_CLUSTERED, HORIZON_EMBEDDED};
use otaria_core::task::Report;
use otaria_core::time::Timestamp;
use otaria_mqtt::{BrokerConfig, BrokerPusher, EventFeed, NoticePusher};
use otaria_ports::Unavailable;
use otaria_ports::bell::Bell;
use otaria_ports::bus::{Bus, LocalBus};
use otaria_ports::clock::Clock;
use otaria_ports::ids::Ids;
use otaria_ports::inbox::{Block, BlockAsked, Fetched, Inbox, NoBlock};
use otaria_ports::nonces::Nonces;
use otaria_ports::pace::{LocalPace, Pace};
use otaria_ports::presence::{LocalPresence, Presence};
use otaria_ports::pusher::{Pusher, Settled};
use otaria_ports::quotas::{NoQuotas, Quotas};
use otaria_ports::store::{Leases, Member, Store};
use otaria_redis::{
    Dispatch, EventsRelay, GatewayMail, Hub, RedisBus, RedisConfig, RedisEvents, RedisLease, RedisLink,
    RedisPace, RedisPresence, RedisPusher, RedisQuotas, SharedClock,
};
use otaria_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use super::bridge;
use super::folder::Folder;
use super::history::Recording;
use super::quotas::{GovernedQuotas, per_second};
use crate::clock::SystemClock;
use crate::config::{Config, Hidden};

/// How long a lease lasts without renewal where one process owns everything. Longer than tokens are dated
/// ahead; after a crash nobody waits for it, since the folder's lock tells that the old owner is gone.
const LEASE_ALONE: Duration = Duration::from_secs(15);
/// And where others wait for it: after a crash they take over when it ends.
const LEASE_SHARED: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Base {
    /// The clock of all processes.
    pub(crate) clock: Arc<dyn Clock>,
    /// The database.
    pub(crate) keeper: Keeper,
    /// Who is online.
    pub(crate) presence: Arc<dyn Presence>,
    /// Tokens.
    pub(crate) pace: Arc<dyn Pace>,
    /// Wake-ups.
    pub(crate) bus: Arc<dyn Bus>,
    /// The way to devices, wherever they are.
    pub(crate) pusher: Arc<dyn Pusher>,
    /// Calls of accounts.
    pub(crate) quotas: Arc<dyn Quotas>,
    /// For the gateway of this process, if it has one.
    pub(crate) gateway: Option<GatewayBase>,
    /// Rings when there is news for the dispatcher.
    pub(crate) news: Arc<Bell>,
    /// How long the leases of this process last.
    pub(crate) lease: Duration,
    /// What is shared with other processes.
    pub(crate) shared: Option<Shared>,
    /// Stands before events and the pusher already.
    pub(crate) recording: Recording,
}

/// What the gateway of a process runs.
pub(crate) struct GatewayBase {
    /// Its devices.
    pub(crate) devices: Devices,
    /// For platforms that listen here.
    pub(crate) feed: Arc<EventFeed>,
}

/// Where the devices of a process are, and what writes notices to them.
pub(crate) enum Devices {
    /// Connected to this process.
    Here(Arc<NoticePusher>),
    /// Connected to this broker.
    AtBroker(Arc<BrokerPusher>, BrokerConfig),
}

impl GatewayBase {
    fn new(config: &Config, clock: &Arc<dyn Clock>, feed: Arc<EventFeed>) -> anyhow::Result<Self> {
        let clock = Arc::clone(clock);
        let devices = match bridge::settings(config)? {
            None => Devices::Here(NoticePusher::new(clock)),
            Some(broker) => Devices::AtBroker(BrokerPusher::new(clock), broker),
        };
        Ok(Self { devices, feed })
    }

    fn pusher(&self) -> Arc<dyn Pusher> {
        match &self.devices {
            Devices::Here(pusher) => Arc::clone(pusher) as _,
            Devices::AtBroker(pusher, _) => Arc::clone(pusher) as _,
        }
    }
}

/// The links to other processes.
pub(crate) struct Shared {
    link: RedisLink,
    hub: Arc<Hub>,
    presence: Arc<RedisPresence>,
    inbox: Arc<LateInbox>,
}

impl Base {
    /// The store for the engine.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.recording.store(self.keeper.store())
    }

    /// Opens everything.
    pub(crate) async fn open(config: &Config, folder: &Folder, ids: &Arc<dyn Ids>) -> anyhow::Result<Self> {
        match (&config.store.url, &config.redis.url) {
            (Some(store), Some(redis)) => shared(config, store, redis, ids).await,
            _ => alone(config, folder, ids).await,
        }
    }
}

async fn alone(config: &Config, folder: &Folder, ids: &Arc<dyn Ids>) -> anyhow::Result<Base> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let recording = Recording::begin(config, &clock, &**ids)?;
    let feed = EventFeed::start();
    let events = recording.events(Arc::clone(&feed) as _);
    let store = SqliteStore::open(folder.database(), SqliteOptions::default(), events).await;
    let store = Arc::new(store.context("opening the store")?);
    // Each start is a new member with a greater number: sessions of earlier starts are older.
    let incarnation = store.join(clock.now(), LEASE_ALONE).await.context("joining")?;
    store.leave(incarnation).await.context("joining")?;
    let news = Arc::new(Bell::default());
    let gateway = GatewayBase::new(config, &clock, feed)?;
    let pace: Arc<dyn Pace> = match super::plant::planted()? {
        Some(fault) => Arc::new(fault),
        None => Arc::new(LocalPace::new(HORIZON_EMBEDDED)),
    };
    Ok(Base {
        keeper: Keeper::Sqlite(store),
        presence: Arc::new(LocalPresence::new(incarnation.0, Arc::clone(&news))),
        pace,
        bus: Arc::new(LocalBus::new(Arc::clone(&news))),
        pusher: recording.pusher(gateway.pusher()),
        quotas: local_quotas(config)?,
        gateway: Some(gateway),
        clock,
        news,
        lease: LEASE_ALONE,
        shared: None,
        recording,
    })
}

fn local_quotas(config: &Config) -> anyhow::Result<Arc<dyn Quotas>> {
    if !config.limits.api_quota {
        return Ok(Arc::new(NoQuotas));
    }
    Ok(Arc::new(GovernedQuotas::new(&per_second(&config.limits.quotas)?)))
}

async fn shared(
    config: &Config,
    Hidden(store): &Hidden,
    Hidden(redis): &Hidden,
    ids: &Arc<dyn Ids>,
) -> anyhow::Result<Base> {
    let mut redis = RedisConfig { prefix: config.redis.prefix.clone(), ..RedisConfig::new(redis) };
    if let Some(path) = &config.redis.root_certificates {
        let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        redis.root_certificates = Some(pem);
    }
    let link = RedisLink::open(&redis, Arc::clone(ids)).await.context("opening what processes share")?;
    let hub = Hub::start(&link);
    let clock: Arc<dyn Clock> = SharedClock::start(&link);
    let recording = Recording::begin(config, &clock, &**ids)?;
    let events = recording.events(RedisEvents::start(&link, &hub).await);
    let half = (config.store.max_connections / 2).max(1);
    let options = PostgresOptions {
        writers: half,
        readers: half,
        migrate: config.store.migrate,
        ..PostgresOptions::default()
    };
    let store = PostgresStore::open(store, options, events).await;
    let store = Arc::new(store.context("opening the store (has `otaria migrate` run?)")?);

    let news = Arc::new(Bell::default());
    let presence = Arc::new(RedisPresence::new(link.clone(), Arc::clone(&clock), Arc::clone(&news)));
    let inbox = Arc::new(LateInbox::default());
    let dispatch = config.roles.dispatcher.then(|| Dispatch {
        presence: Arc::clone(&presence),
        inbox: Arc::clone(&inbox) as _,
        clock: Arc::clone(&clock),
    });
    let pusher = RedisPusher::start(link.clone(), &hub, HORIZON_CLUSTERED, dispatch).await;
    let quotas = local_quotas(config)?;
    let quotas: Arc<dyn Quotas> = if config.limits.api_quota {
        let table = per_second(&config.limits.quotas)?;
        let actions: Vec<(u32, [&'static str; 1])> = table.into_iter().map(|(name, n)| (n, [name])).collect();
        let rows: Vec<(u32, &[&'static str])> = actions.iter().map(|(n, name)| (*n, &name[..])).collect();
        Arc::new(RedisQuotas::new(link.clone(), &rows, quotas))
    } else {
        quotas
    };
    let gateway = config.roles.gateway.then(|| GatewayBase::new(config, &clock, EventFeed::start()));
    let gateway = gateway.transpose()?;
    let pace: Arc<dyn Pace> = match super::plant::planted()? {
        Some(fault) => Arc::new(fault),
        None => {
            Arc::new(RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.context("sharing the pace")?)
        }
    };
    Ok(Base {
        keeper: Keeper::Postgres(store),
        presence: Arc::clone(&presence) as _,
        pace,
        bus: RedisBus::start(&link, &hub, Arc::clone(&news)).await,
        pusher: recording.pusher(pusher),
        quotas,
        gateway,
        clock,
        news,
        lease: LEASE_SHARED,
        recording,
        shared: Some(Shared { link, hub, presence, inbox }),
    })
}

impl Shared {
    /// Hands the inbox to what was made before it.
    pub(crate) fn give_inbox(&self, inbox: Arc<dyn Inbox>) {
        // Given once, at the start; a second one would be the same.
        let _ = self.inbox.0.set(inbox);
    }

    /// Lets notices and sessions come to this process's gateway.
    pub(crate) async fn begin_gateway(&self, gateway: &GatewayBase) -> anyhow::Result<()> {
        let Self { link, hub, presence, .. } = self;
        let local = gateway.pusher();
        GatewayMail::start(link, hub, Arc::clone(presence), Arc::clone(&local)).await;
        let feed = Arc::clone(&gateway.feed);
        let (listeners, losing) = (Arc::clone(&feed), Arc::clone(&feed));
        EventsRelay::start(link, hub, feed, move || listeners.listeners(), move || losing.lose()).await;
        presence.begin_gateway(local).await.context("announcing the gateway")
    }

    /// The leave to bridge to a broker, which one process at a time has.
    pub(crate) fn bridge_lease(&self) -> RedisLease {
        RedisLease::new(self.link.clone(), "bridge")
    }

    /// Tells the others that this process holds no device any more.
    pub(crate) async fn end_gateway(&self) {
        if let Err(error) = self.presence.end_gateway().await {
            tracing::warn!(%error, "the others will find out by themselves that this gateway is gone");
        }
    }

    /// What keeps the process from being ready.
    pub(crate) fn trouble(&self) -> Option<String> {
        (!self.link.is_up()).then(|| "Redis is not reachable".to_owned())
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self {
            link: self.link.clone(),
            hub: Arc::clone(&self.hub),
            presence: Arc::clone(&self.presence),
            inbox: Arc::clone(&self.inbox),
        }
    }
}

/// The database that a process works on.
#[derive(Clone)]
pub(crate) enum Keeper {
    /// A file.
    Sqlite(Arc<SqliteStore>),
    /// A server that others use too.
    Postgres(Arc<PostgresStore>),
}

impl Keeper {
    /// For the engine.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    /// For signed requests.
    pub(crate) fn nonces(&self) -> Arc<dyn Nonces> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    /// Joins those who own shards.
    pub(crate) async fn join(&self, now: Timestamp, lease: Duration) -> anyhow::Result<Member> {
        self.store().join(now, lease).await.context("joining")
    }

    /// Returns when nothing can be written any more, for good.
    pub(crate) async fn ended(&self) {
        match self {
            Self::Sqlite(store) => store.ended().await,
            // Its connections come back by themselves.
            Self::Postgres(_) => std::future::pending().await,
        }
    }

    /// Finishes what was handed in.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// An inbox that is made later than those who use it: the engine needs the way to devices, and that tells the
/// inbox about devices that are nowhere.
#[derive(Default)]
struct LateInbox(OnceLock<Arc<dyn Inbox>>);

impl LateInbox {
    fn get(&self) -> Result<&Arc<dyn Inbox>, Unavailable> {
        self.0.get().ok_or_else(|| Unavailable::while_doing("starting"))
    }
}

#[async_trait]
impl Inbox for LateInbox {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        self.get()?.report(report).await
    }

    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable> {
        self.get()?.fetch(device, module, now).await
    }

    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        now: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        self.get()?.block(device, asked, now).await
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        self.get()?.settled(outcomes).await
    }
}
