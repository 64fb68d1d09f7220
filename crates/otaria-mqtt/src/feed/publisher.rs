//! The thread that publishes events into the router, and puts a new router in the place of a dead one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use otaria_core::ids::ProductKey;
use otaria_ports::events::Event;
use tracing::error;

use super::Shared;
use super::message;
use super::router::{FeedRx, FeedTx, Router, RouterGone};
use crate::meters::FeedTrouble;

/// How often the router is looked after when nothing happens.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn start(shared: Arc<Shared>, events: Receiver<Vec<Event>>) {
    let run = move || Publisher { shared, link: None, numbers: HashMap::new() }.run(&events);
    // Without this thread there is no feed, and a process that cannot start a thread is not well anyway.
    std::thread::Builder::new().name("otaria-feed".into()).spawn(run).expect("a thread for the event feed");
}

struct Publisher {
    shared: Arc<Shared>,
    /// The second half is kept because the router gives up a link that nobody could read.
    link: Option<(FeedTx, FeedRx)>,
    numbers: HashMap<ProductKey, u64>,
}

impl Publisher {
    fn run(mut self, events: &Receiver<Vec<Event>>) {
        loop {
            match events.recv_timeout(LOOK) {
                Ok(batch) => batch.iter().for_each(|event| self.publish(event)),
                Err(RecvTimeoutError::Timeout) => {
                    if self.shared.router.read().is_dead() {
                        self.replace_router();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn publish(&mut self, event: &Event) {
        let number = self.numbers.entry(event.product.clone()).or_insert(0);
        *number += 1;
        let message = message::encode(*number, event);
        if self.try_publish(&message::router_topic(&event.product), message).is_err() {
            // Its clients are disconnected by its end, so they know that they missed something.
            self.replace_router();
        }
    }

    fn try_publish(&mut self, topic: &str, message: Vec<u8>) -> Result<(), RouterGone> {
        let (tx, _) = match &mut self.link {
            Some(link) => link,
            none => none.insert(self.shared.router.read().link("publisher")?),
        };
        tx.publish(topic, message)
    }

    fn replace_router(&mut self) {
        error!("the event router died; a new one takes its place and its clients have to come again");
        self.shared.meters.feed.count(FeedTrouble::RouterDied);
        self.link = None;
        *self.shared.router.write() = Arc::new(Router::start());
    }
}
