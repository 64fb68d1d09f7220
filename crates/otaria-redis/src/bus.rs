//! Signals between the parts of the engine, in this process and in all others.
//!
//! What is told here is heard here at once and goes to the others in batches; what they tell comes the same
//! way. Nothing is kept for who is away: whenever signals may have been lost, on this side or on the
//! other, the listener finds a [`Signal::Missed`] and looks at everything again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otaria_ports::bell::Bell;
use otaria_ports::bus::{Bus, Signal};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::hub::{Heard, Hub};
use crate::link::{RedisLink, WeakLink};
use crate::wire::{self, Signals};

/// Signals kept for the listener; beyond that all of them are one [`Signal::Missed`].
const KEPT: usize = 4_096;
/// Signals on their way out, and those that go in one message.
const OUTBOX: usize = 4_096;
const BATCH: usize = 256;
/// Between two tries to tell the others.
const AGAIN: Duration = Duration::from_millis(500);

/// See the module.
pub struct RedisBus {
    inbox: Arc<Inbox>,
    outbox: mpsc::Sender<Signal>,
    /// Something did not fit into the outbox.
    owed: Arc<AtomicBool>,
}

impl std::fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBus").finish_non_exhaustive()
    }
}

struct Inbox {
    queue: Mutex<VecDeque<Signal>>,
    bell: Arc<Bell>,
}

impl Inbox {
    fn put(&self, signals: impl IntoIterator<Item = Signal>) {
        let mut queue = self.queue.lock();
        for signal in signals {
            if signal == Signal::Missed || queue.len() >= KEPT {
                // It makes everything be read again, so what was told before says nothing more.
                queue.clear();
                queue.push_back(Signal::Missed);
            }
            if signal != Signal::Missed {
                queue.push_back(signal);
            }
        }
        drop(queue);
        self.bell.ring();
    }
}

impl RedisBus {
    /// Hears from when this returns; `bell` rings at every signal. Where nobody drains, the queue holds no more
    /// than a [`Signal::Missed`] and the last ones.
    pub async fn start(link: &RedisLink, hub: &Hub, bell: Arc<Bell>) -> Arc<Self> {
        let inbox = Arc::new(Inbox { queue: Mutex::default(), bell });
        let (outbox, signals) = mpsc::channel(OUTBOX);
        let owed = Arc::new(AtomicBool::new(false));
        let heard = hub.listen(link.keys().bus()).await;
        tokio::spawn(hear(link.process().to_owned(), heard, Arc::clone(&inbox)));
        tokio::spawn(tell(link.downgrade(), signals, Arc::clone(&owed)));
        Arc::new(Self { inbox, outbox, owed })
    }
}

impl Bus for RedisBus {
    fn tell(&self, signal: Signal) {
        self.inbox.put([signal.clone()]);
        if self.outbox.try_send(signal).is_err() {
            self.owed.store(true, Ordering::SeqCst);
        }
    }

    fn drain(&self, max: usize) -> Vec<Signal> {
        let mut queue = self.inbox.queue.lock();
        let count = max.min(queue.len());
        queue.drain(..count).collect()
    }
}

async fn hear(own: String, mut heard: mpsc::Receiver<Heard>, inbox: Arc<Inbox>) {
    while let Some(heard) = heard.recv().await {
        match heard {
            Heard::Gap => {
                metrics::counter!("otaria_redis_bus_gaps_total").increment(1);
                inbox.put([Signal::Missed]);
            }
            Heard::Message(bytes) => match wire::unpack::<Signals>(&bytes) {
                Some(Signals { from, .. }) if from == own => {}
                Some(Signals { signals, .. }) => inbox.put(signals.into_iter().map(Signal::from)),
                None => inbox.put([Signal::Missed]),
            },
        }
    }
}

async fn tell(link: WeakLink, mut signals: mpsc::Receiver<Signal>, owed: Arc<AtomicBool>) {
    let mut batch = Vec::with_capacity(BATCH);
    while signals.recv_many(&mut batch, BATCH).await > 0 {
        if owed.swap(false, Ordering::SeqCst) {
            batch = vec![Signal::Missed];
        }
        loop {
            let Some(link) = link.upgrade() else { return };
            let signals = batch.drain(..).map(wire::WireSignal::from).collect();
            let bytes = wire::pack(&Signals { from: link.process().to_owned(), signals });
            if link.publish(&link.keys().bus(), &bytes, "telling other processes").await.is_ok() {
                break;
            }
            // The others kept their connections, perhaps, and would not know that they missed something.
            batch.push(Signal::Missed);
            drop(link);
            sleep(AGAIN).await;
        }
    }
}
