//! Carries events from whoever commits to the gateways whose feed has listeners.
//!
//! Gateways say each second for which accounts they have listeners; of all others nothing is made or sent.
//! So a feed begins up to a second after its first listener came. Events of one process arrive in its order.
//! Whenever some may have been lost, the gateway's feed is told, which sends its listeners away: they know
//! then that they missed something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otaria_core::ids::AccountNo;
use otaria_ports::events::{Event, Events};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Monotonic;
use crate::hub::{Heard, Hub};
use crate::link::{RedisLink, WeakLink};
use crate::wire::{self, Feed, Listeners, WireEvent};

/// Between two words of a gateway about its listeners.
const WORD: Duration = Duration::from_secs(1);
/// An account that nobody spoke of for so long has no listeners, in microseconds.
const FORGOTTEN: i64 = 3_000_000;
/// Calls of `publish` that may wait to be sent; what is beyond is lost, and told so.
const QUEUE: usize = 4_096;
/// Events in one message.
const BATCH: usize = 256;

/// The side of whoever commits.
pub struct RedisEvents {
    wanted: Arc<RwLock<BTreeMap<AccountNo, i64>>>,
    monotonic: Monotonic,
    queue: mpsc::Sender<Vec<Event>>,
    lost: Arc<AtomicBool>,
}

impl std::fmt::Debug for RedisEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisEvents").finish_non_exhaustive()
    }
}

impl RedisEvents {
    /// Begins to hear who listens.
    pub async fn start(link: &RedisLink, hub: &Hub) -> Arc<Self> {
        let wanted = Arc::<RwLock<BTreeMap<AccountNo, i64>>>::default();
        let monotonic = link.monotonic();
        let mut heard = hub.listen(link.keys().listeners()).await;
        let table = Arc::clone(&wanted);
        tokio::spawn(async move {
            while let Some(heard) = heard.recv().await {
                let Heard::Message(bytes) = heard else { continue };
                let Some(Listeners { accounts }) = wire::unpack(&bytes) else { continue };
                let now = monotonic.micros();
                let mut wanted = table.write();
                wanted.retain(|_, last| now - *last < FORGOTTEN);
                wanted.extend(accounts.into_iter().map(|account| (AccountNo(account), now)));
            }
        });
        let (queue, events) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        tokio::spawn(send(link.downgrade(), events, Arc::clone(&lost)));
        Arc::new(Self { wanted, monotonic, queue, lost })
    }
}

impl Events for RedisEvents {
    fn wanted(&self, account: AccountNo) -> bool {
        let last = self.wanted.read().get(&account).copied();
        last.is_some_and(|last| self.monotonic.micros() - last < FORGOTTEN)
    }

    fn publish(&self, mut events: Vec<Event>) {
        events.retain(|event| self.wanted(event.account));
        if !events.is_empty() && self.queue.try_send(events).is_err() {
            metrics::counter!("otaria_redis_events_lost_total").increment(1);
            self.lost.store(true, Ordering::SeqCst);
        }
    }
}

async fn send(link: WeakLink, mut queue: mpsc::Receiver<Vec<Event>>, lost: Arc<AtomicBool>) {
    const DOING: &str = "sending events";
    let mut batches = Vec::new();
    while queue.recv_many(&mut batches, BATCH).await > 0 {
        let Some(link) = link.upgrade() else { return };
        let channel = link.keys().events();
        if lost.load(Ordering::SeqCst) {
            let told = link.publish(&channel, &wire::pack(&Feed::Lost), DOING).await;
            lost.store(told.is_err(), Ordering::SeqCst);
        }
        let mut events = batches.drain(..).flatten().map(WireEvent::from).peekable();
        while events.peek().is_some() {
            let batch = wire::pack(&Feed::Events(events.by_ref().take(BATCH).collect()));
            if link.publish(&channel, &batch, DOING).await.is_err() {
                metrics::counter!("otaria_redis_events_lost_total").increment(1);
                lost.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// The side of a gateway with a feed.
#[derive(Debug)]
pub struct EventsRelay;

impl EventsRelay {
    /// Tells every second for which `accounts` there are listeners, and hands what comes to `feed`. Calls
    /// `lost` when something may be missing. Ends with the link.
    pub async fn start(
        link: &RedisLink,
        hub: &Hub,
        feed: Arc<dyn Events>,
        accounts: impl Fn() -> Vec<AccountNo> + Send + 'static,
        lost: impl Fn() + Send + 'static,
    ) {
        let mut heard = hub.listen(link.keys().events()).await;
        let link = link.downgrade();
        tokio::spawn(async move {
            let mut word = interval(WORD);
            word.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    heard = heard.recv() => match heard {
                        Some(Heard::Message(bytes)) => match wire::unpack(&bytes) {
                            Some(Feed::Events(events)) => {
                                feed.publish(events.into_iter().filter_map(WireEvent::read).collect());
                            }
                            Some(Feed::Lost) | None => lost(),
                        },
                        Some(Heard::Gap) => lost(),
                        None => return,
                    },
                    _ = word.tick() => {
                        let accounts: Vec<i64> = accounts().into_iter().map(|account| account.0).collect();
                        if accounts.is_empty() {
                            continue;
                        }
                        let Some(link) = link.upgrade() else { return };
                        let bytes = wire::pack(&Listeners { accounts });
                        tokio::spawn(async move {
                            let channel = link.keys().listeners();
                            let _ = link.publish(&channel, &bytes, "telling who listens").await;
                        });
                    }
                }
            }
        });
    }
}
