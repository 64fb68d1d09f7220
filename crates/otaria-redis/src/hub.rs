//! One connection of a process that hears channels, shared by all its listeners.
//!
//! Redis forgets what it says on a channel at once, so whoever was not connected missed it. Listeners are told
//! when that may have happened: after every new connection, and when their own queue was full. Silence
//! is no sign of life: the hub says something on a channel of its own each second, and connects anew when it
//! does not hear itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::link::{RedisLink, WeakLink};

/// Messages that a listener may have waiting; what comes then is a gap to it.
const QUEUE: usize = 1_024;
/// How long the server may take to confirm what is subscribed.
const SUBSCRIBED: Duration = Duration::from_secs(5);
const PULSE: Duration = Duration::from_secs(1);
/// Pulses in a row that may go unheard.
const UNHEARD: u32 = 3;
/// How long `listen` waits until the server has taken the wish.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Message(Vec<u8>),
    /// Something may have been missed before what follows.
    Gap,
}

/// See the module.
pub struct Hub {
    ears: Arc<Ears>,
    wishes: mpsc::UnboundedSender<(String, oneshot::Sender<()>)>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Ears(Mutex<BTreeMap<String, Vec<Ear>>>);

struct Ear {
    queue: mpsc::Sender<Heard>,
    missed: bool,
}

impl Ear {
    /// Tells what was missed first; `false` when nobody listens any more.
    fn tell(&mut self, heard: Heard) -> bool {
        if self.missed && heard != Heard::Gap {
            match self.queue.try_send(Heard::Gap) {
                Ok(()) => self.missed = false,
                Err(mpsc::error::TrySendError::Full(_)) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        match self.queue.try_send(heard) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                metrics::counter!("otaria_redis_heard_too_late_total").increment(1);
                self.missed = true;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

impl Ears {
    fn tell(&self, channel: &str, message: &[u8]) {
        if let Some(ears) = self.0.lock().get_mut(channel) {
            ears.retain_mut(|ear| ear.tell(Heard::Message(message.to_vec())));
        }
    }

    fn tell_of_a_gap(&self, channel: &str) {
        if let Some(ears) = self.0.lock().get_mut(channel) {
            ears.retain_mut(|ear| ear.tell(Heard::Gap));
        }
    }

    fn tell_all_of_a_gap(&self) {
        for ears in self.0.lock().values_mut() {
            ears.retain_mut(|ear| ear.tell(Heard::Gap));
        }
    }

    fn channels(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

impl Hub {
    /// Begins to listen; ends with the link, or when the hub is dropped.
    #[must_use]
    pub fn start(link: &RedisLink) -> Arc<Self> {
        let (wishes, wished) = mpsc::unbounded_channel();
        let ears = Arc::new(Ears::default());
        tokio::spawn(run(link.downgrade(), Arc::clone(&ears), wished));
        Arc::new(Self { ears, wishes })
    }

    /// What is said on a channel from when this returns; while there is no connection, from the [`Heard::Gap`]
    /// that comes first.
    pub(crate) async fn listen(&self, channel: String) -> mpsc::Receiver<Heard> {
        let (queue, heard) = mpsc::channel(QUEUE);
        let ear = Ear { queue, missed: false };
        self.ears.0.lock().entry(channel.clone()).or_default().push(ear);
        let (done, taken) = oneshot::channel();
        if self.wishes.send((channel, done)).is_ok() {
            let _ = timeout(PATIENCE, taken).await;
        }
        heard
    }
}

type Wishes = mpsc::UnboundedReceiver<(String, oneshot::Sender<()>)>;

async fn run(link: WeakLink, ears: Arc<Ears>, mut wished: Wishes) {
    let (mut tries, mut is_first) = (0, true);
    loop {
        let Some(this) = link.upgrade() else { return };
        // Subscribing has no bound of its own, and nothing else runs here meanwhile.
        let connected = timeout(SUBSCRIBED, connect(&this, &ears)).await;
        let pause = this.backoff(tries);
        drop(this);
        if let Ok(Ok((sink, stream))) = connected {
            // At the first try nobody can have missed anything: whoever listens waits for it.
            if !std::mem::take(&mut is_first) {
                ears.tell_all_of_a_gap();
            }
            tries = 0;
            if hear(&link, &ears, &mut wished, sink, stream).await.is_none() {
                return;
            }
            metrics::counter!("otaria_redis_hub_disconnects_total").increment(1);
        }
        tries += 1;
        is_first = false;
        sleep(pause).await;
    }
}

async fn connect(link: &RedisLink, ears: &Ears) -> redis::RedisResult<(PubSubSink, PubSubStream)> {
    let (mut sink, stream) = link.server().ears().await?.split();
    sink.subscribe(link.keys().pulse(link.process())).await?;
    for channel in ears.channels() {
        sink.subscribe(channel).await?;
    }
    Ok((sink, stream))
}

/// Hears until the connection is gone; `None` when nobody needs it any more.
async fn hear(
    link: &WeakLink,
    ears: &Ears,
    wished: &mut Wishes,
    mut sink: PubSubSink,
    mut stream: PubSubStream,
) -> Option<()> {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unheard = 0;
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return Some(()) };
                unheard = 0;
                ears.tell(message.get_channel_name(), message.get_payload_bytes());
            }
            wish = wished.recv() => {
                let (channel, done) = wish?;
                if !matches!(timeout(SUBSCRIBED, sink.subscribe(&channel)).await, Ok(Ok(()))) {
                    return Some(());
                }
                if done.send(()).is_err() {
                    // It did not wait so long, and believes to have heard since then.
                    ears.tell_of_a_gap(&channel);
                }
            }
            _ = pulse.tick() => {
                if unheard == UNHEARD {
                    return Some(());
                }
                unheard += 1;
                let link = link.upgrade()?;
                // Not awaited here: what is heard meanwhile has to be taken.
                tokio::spawn(async move {
                    let channel = link.keys().pulse(link.process());
                    let _ = link.publish(&channel, b".", "listening to itself").await;
                });
            }
        }
    }
}
