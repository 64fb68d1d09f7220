//! One platform client: its socket on one side, its link to the router on the other.
//!
//! While something waits for the client, nothing is taken from the router, which keeps what comes for a
//! while. A client that falls behind further than that is disconnected by the hole in the numbers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mqtt_proto::TopicName;
use otaria_core::door::subscription::Delivery;
use otaria_core::ids::ProductKey;

use super::filter::EventFilter;
use super::interest::Listening;
use super::message::{Message, router_topic};
use super::router::{FeedRx, FeedTx, FromRouter};
use crate::gate::Gate;
use crate::intake::{Intake, ReadSome};
use crate::login::PlatformIdentity;
use crate::meters::{CloseReason, DropReason, FeedTrouble};
use crate::session::Peer;
use crate::wire::{Farewell, Inbound, PublishAnswer, SubscribeAnswer, Wire};

/// Filters of a client at most.
const FILTERS_MAX: usize = 64;
/// How long the router may take to subscribe.
const PATIENCE: Duration = Duration::from_secs(10);

static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// Serves a platform client until it leaves or is closed; returns what ended it, seen from here.
pub(crate) async fn serve(
    gate: &Gate,
    peer: &Arc<Peer>,
    identity: PlatformIdentity,
    intake: Intake,
) -> CloseReason {
    let name = (identity.account, identity.client_id.clone());
    if !gate.platforms.enter(name.clone(), peer) {
        return CloseReason::Feed;
    }
    let losses = gate.platforms.shared.losses.load(Ordering::SeqCst);
    let (filters, products) = (Vec::new(), HashMap::new());
    let mut bridge = Bridge { gate, peer, identity, losses, filters, products, link: None };
    let Err(reason) = bridge.run(intake).await;
    if let Some((tx, _)) = bridge.link.take() {
        // Fails only when the runtime is ending.
        let _ = tokio::task::spawn_blocking(move || tx.leave()).await;
    }
    gate.platforms.leave(&name, peer);
    reason
}

struct Bridge<'a> {
    gate: &'a Gate,
    peer: &'a Arc<Peer>,
    identity: PlatformIdentity,
    /// How often the feed had lost something when the client came.
    losses: u64,
    filters: Vec<EventFilter>,
    products: HashMap<ProductKey, Product>,
    link: Option<(FeedTx, FeedRx)>,
}

struct Product {
    /// The number of the last message, once there was one.
    last: Option<u64>,
    _listening: Listening,
}

enum Never {}

impl Bridge<'_> {
    async fn run(&mut self, mut intake: Intake) -> Result<Never, CloseReason> {
        loop {
            while let Some(packet) = intake.next(self.gate.config.max_packet_bytes)? {
                self.peer.heard(self.gate.registry.tick());
                let inbound = self.peer.wire.decode(packet)?;
                self.take(inbound).await?;
            }
            match intake.read(&self.peer.link) {
                Ok(ReadSome::Some) => {
                    tokio::task::coop::consume_budget().await;
                    continue;
                }
                Ok(ReadSome::Nothing) => {}
                Ok(ReadSome::End) => return Err(CloseReason::Peer),
                Err(_) => return Err(CloseReason::Io),
            }
            self.wait().await?;
        }
    }

    /// Brings out events until the client has something to say.
    async fn wait(&mut self) -> Result<(), CloseReason> {
        loop {
            let is_behind = !self.peer.link.is_drained();
            let event = tokio::select! {
                readable = self.peer.link.readable() => {
                    return readable.map_err(|_| CloseReason::Io);
                }
                event = next(&mut self.link), if !is_behind => event?,
                () = self.peer.link.drained(), if is_behind => continue,
            };
            self.bring(event).await?;
        }
    }

    async fn bring(&mut self, event: FromRouter) -> Result<(), CloseReason> {
        match event {
            FromRouter::Message(bytes) => self.forward(Message::decode(bytes).ok_or(CloseReason::Feed)?),
            FromRouter::Pause => match &self.link {
                Some((_, rx)) => rx.resume().await.map_err(|_| CloseReason::Feed),
                None => Ok(()),
            },
            FromRouter::Subscribed | FromRouter::Other => Ok(()),
        }
    }

    fn forward(&mut self, message: Message) -> Result<(), CloseReason> {
        let product = EventFilter::parse(&message.topic).map(|topic| topic.product);
        let product = product.and_then(|key| self.products.get_mut(&key)).ok_or(CloseReason::Feed)?;
        let is_complete = product.last.is_none_or(|last| message.number == last + 1)
            && self.losses == self.gate.platforms.shared.losses.load(Ordering::SeqCst);
        if !is_complete {
            self.gate.meters.feed.count(FeedTrouble::SlowClient);
            self.peer.close(CloseReason::TooSlow, Farewell::TooSlow);
            return Err(CloseReason::TooSlow);
        }
        product.last = Some(message.number);
        if !self.filters.iter().any(|filter| filter.matches(&message.topic)) {
            return Ok(());
        }
        let topic = TopicName::try_from(message.topic.as_str()).map_err(|_| CloseReason::Feed)?;
        let packet = self.peer.wire.publish(&topic, message.payload, None);
        self.gate.meters.events.increment(1);
        self.peer.link.send(&packet).map_err(|_| CloseReason::TooSlow)
    }

    async fn take(&mut self, inbound: Inbound) -> Result<(), CloseReason> {
        let wire = self.peer.wire;
        let answer = match inbound {
            Inbound::Publish(publication) => self.refuse(publication.pkid),
            Inbound::OddPublish { pkid } => self.refuse(pkid),
            Inbound::Acknowledged => None,
            Inbound::Subscribe { pkid, filters } => {
                let mut answers = Vec::with_capacity(filters.len());
                for (filter, _) in filters {
                    answers.push(self.subscribe(&filter).await?);
                }
                Some(wire.suback(pkid, &answers))
            }
            Inbound::OddSubscribe { pkid, filters } => {
                Some(wire.suback(pkid, &vec![SubscribeAnswer::Refused; filters]))
            }
            Inbound::Unsubscribe { pkid, filters } => {
                // The router's subscription stays until the client leaves: that is one topic per product.
                self.filters.retain(|kept| !filters.iter().any(|filter| filter == kept.text()));
                Some(wire.unsuback(pkid, filters.len()))
            }
            Inbound::Ping => Some(Wire::pong().to_vec()),
            Inbound::Disconnect => return Err(CloseReason::Disconnect),
        };
        match answer {
            Some(answer) => self.peer.link.send(&answer).map_err(|_| CloseReason::TooSlow),
            None => Ok(()),
        }
    }

    /// A platform client does not publish.
    fn refuse(&self, pkid: Option<u16>) -> Option<Vec<u8>> {
        self.gate.meters.dropped.count(DropReason::Platform);
        pkid.map(|pkid| self.peer.wire.puback(pkid, PublishAnswer::NotAuthorized))
    }

    async fn subscribe(&mut self, filter: &str) -> Result<SubscribeAnswer, CloseReason> {
        let refused = || {
            self.gate.meters.feed.count(FeedTrouble::RefusedFilter);
            Ok(SubscribeAnswer::Refused)
        };
        let Some(filter) = EventFilter::parse(filter) else { return refused() };
        let owner = self.gate.auth.owner(&filter.product).await.map_err(|_| CloseReason::Unavailable)?;
        if owner != Some(self.identity.account) {
            return refused();
        }
        if self.filters.contains(&filter) {
            return Ok(SubscribeAnswer::Granted(Delivery::AtMostOnce));
        }
        if self.filters.len() >= FILTERS_MAX {
            return refused();
        }
        let product = filter.product.clone();
        self.filters.push(filter);
        if !self.products.contains_key(&product) {
            self.listen_to(product).await?;
        }
        Ok(SubscribeAnswer::Granted(Delivery::AtMostOnce))
    }

    /// Subscribes to a product's topic in the router and waits until that holds, so that a client that has
    /// its SUBACK misses nothing.
    async fn listen_to(&mut self, product: ProductKey) -> Result<(), CloseReason> {
        let shared = &self.gate.platforms.shared;
        let (link, topic) = (self.link.take(), router_topic(&product));
        let router = Arc::clone(&shared.router.read());
        let linked = tokio::task::spawn_blocking(move || {
            let (mut tx, rx) = match link {
                Some(link) => link,
                None => router.link(&format!("platform-{}", CLIENTS.fetch_add(1, Ordering::Relaxed)))?,
            };
            tx.subscribe(&topic)?;
            Ok::<_, super::router::RouterGone>((tx, rx))
        });
        let listening = Listening::begin(shared, self.identity.account, product.clone());
        self.products.insert(product, Product { last: None, _listening: listening });
        self.link = Some(linked.await.map_err(|_| CloseReason::Feed)?.map_err(|_| CloseReason::Feed)?);
        tokio::time::timeout(PATIENCE, self.until_subscribed()).await.map_err(|_| CloseReason::Feed)?
    }

    async fn until_subscribed(&mut self) -> Result<(), CloseReason> {
        loop {
            match next(&mut self.link).await? {
                FromRouter::Subscribed => return Ok(()),
                event => self.bring(event).await?,
            }
        }
    }
}

/// The next from the router; never, as long as there is no link.
async fn next(link: &mut Option<(FeedTx, FeedRx)>) -> Result<FromRouter, CloseReason> {
    match link {
        Some((_, rx)) => rx.next().await.map_err(|_| CloseReason::Feed),
        None => std::future::pending().await,
    }
}
