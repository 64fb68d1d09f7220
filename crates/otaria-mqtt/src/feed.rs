//! The live feed of events for platform clients.
//!
//! ```text
//! store ── Events::publish ──► queue ──► publisher thread ──► rumqttd router ──► link ──► bridge ──► socket
//! ```
//!
//! A platform client subscribes below `otaria/v1/events/{productKey}/` and gets
//! `…/job/{jobId}` and `…/job/{jobId}/task/{deviceName}`. It cannot publish, and it gets QoS 0.
//!
//! rumqttd does the fan-out. Its tables of topics and filters never shrink and are searched one against the
//! other, so it only ever sees one topic per product; the [`bridge`] between link and socket matches
//! the filters of its client and writes the full topic. Nothing is published while nobody listens.
//!
//! Invariant: a client sees the events of a product in the order of the store's commits and without a hole,
//! or its connection ends. Each message carries a number, so a hole is noticed wherever it came to be.

mod bridge;
pub(crate) mod filter;
mod interest;
mod message;
mod platforms;
mod publisher;
mod router;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use otaria_core::ids::AccountNo;
use otaria_ports::events::{Event, Events};
use parking_lot::RwLock;

pub(crate) use bridge::serve;
pub(crate) use platforms::Platforms;

use crate::meters::{FeedTrouble, Meters};
use interest::Interest;
use router::Router;

/// Calls of `publish` that may wait for the publisher. What is beyond is lost to the feed, and every
/// listening client is disconnected instead of missing it.
const QUEUE: usize = 4_096;

/// The store's side of the feed. Made before the gateway, which lets clients in to it.
pub struct EventFeed {
    shared: Arc<Shared>,
    queue: SyncSender<Vec<Event>>,
}

/// What the publisher thread and the bridges share.
pub(crate) struct Shared {
    interest: Interest,
    /// The router that lives now; another one after it died.
    router: RwLock<Arc<Router>>,
    /// How often something was lost before it got a number.
    losses: AtomicU64,
    meters: Meters,
}

impl Shared {
    fn new() -> Self {
        Self {
            interest: Interest::default(),
            router: RwLock::new(Arc::new(Router::start())),
            losses: AtomicU64::new(0),
            meters: Meters::new(),
        }
    }
}

impl std::fmt::Debug for EventFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventFeed").finish_non_exhaustive()
    }
}

impl EventFeed {
    /// Starts the router and the thread that publishes into it. Both end with the process.
    ///
    /// The metrics recorder must be installed before: the counters' handles are looked up once.
    #[must_use]
    pub fn start() -> Arc<Self> {
        let (queue, events) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::new());
        publisher::start(Arc::clone(&shared), events);
        Arc::new(Self { shared, queue })
    }

    /// The accounts to which somebody listens here.
    #[must_use]
    pub fn listeners(&self) -> Vec<AccountNo> {
        self.shared.interest.accounts()
    }

    /// Ends the connections of all who listen: something that they should have seen was lost on the way here.
    pub fn lose(&self) {
        self.shared.losses.fetch_add(1, Ordering::SeqCst);
        self.shared.meters.feed.count(FeedTrouble::QueueFull);
    }
}

impl Events for EventFeed {
    fn wanted(&self, account: AccountNo) -> bool {
        self.shared.interest.of_account(account)
    }

    fn publish(&self, mut events: Vec<Event>) {
        events.retain(|event| self.shared.interest.in_product(event.account, &event.product));
        if events.is_empty() {
            return;
        }
        match self.queue.try_send(events) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.losses.fetch_add(1, Ordering::SeqCst);
                self.shared.meters.feed.count(FeedTrouble::QueueFull);
            }
        }
    }
}
