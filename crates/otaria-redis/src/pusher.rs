//! The dispatchers' and faces' end of the way of notices: the `Pusher` of a process that may hold no device.
//!
//! Notices go to the gateway that presence names, in one message a batch, and nobody waits for them: a lost
//! message looks like an unwritten notice, and those are delivered again by their deadline.
//!
//! # What holds without an answer
//!
//! - **`fence`** tells all gateways, and then waits until nothing older can be in time. A notice of the job
//!   with a smaller fence was claimed before the job's cancellation was committed, so its token is dated at
//!   most H after that moment, it is valid for G after its date, and two clocks differ by at most the error
//!   of the clock. After H + G + error every gateway drops it by itself, also one that did not hear the fence
//!   or was stopped meanwhile, since it looks at its clock right before the write. Telling it makes the
//!   notices disappear sooner; it is not what the promise rests on.
//! - **`epoch`** tells all gateways and does not wait. A notice under the old lease ends with it
//!   (`not_after` is at most the lease's end less the clocks' error), and a shard is taken only when its lease
//!   has ended, or was handed back by an owner that does not claim any more.
//! - **`close`** has no such bound, so it asks: every gateway that lives has to answer. One that stopped for
//!   longer than a gateway counts as living finds the message when it goes on, before its devices are served
//!   again or a moment later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::pace::CLOCK_ERROR;
use otaria_core::shard::Shard;
use otaria_ports::Unavailable;
use otaria_ports::clock::Clock;
use otaria_ports::inbox::Inbox;
use otaria_ports::pusher::{Notice, Outcome, Pusher, Settled};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::hub::{Heard, Hub};
use crate::link::RedisLink;
use crate::presence::{Place, RedisPresence};
use crate::roll::Roll;
use crate::wire::{self, Closed, Mail};

/// How long after its date a notice may be written: the dispatcher's own number.
const GRACE: Duration = Duration::from_millis(300);
/// How long gateways may take to answer.
const ANSWERS: Duration = Duration::from_secs(1);

/// What a process that sends notices has beside the link.
pub struct Dispatch {
    /// Follows this process's shards.
    pub presence: Arc<RedisPresence>,
    /// Hears that a notice's device is nowhere.
    pub inbox: Arc<dyn Inbox>,
    /// The shared clock.
    pub clock: Arc<dyn Clock>,
}

/// See the module.
pub struct RedisPusher {
    link: RedisLink,
    roll: Roll,
    horizon: Duration,
    dispatch: Option<Dispatch>,
    asks: Arc<Asks>,
}

impl std::fmt::Debug for RedisPusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPusher").field("horizon", &self.horizon).finish_non_exhaustive()
    }
}

/// Closes that wait for answers.
#[derive(Default)]
struct Asks {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Ask>>,
}

struct Ask {
    missing: BTreeSet<String>,
    done: Option<oneshot::Sender<()>>,
}

impl Asks {
    fn open(&self, missing: BTreeSet<String>) -> (u64, oneshot::Receiver<()>) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let (done, answered) = oneshot::channel();
        self.open.lock().insert(number, Ask { missing, done: Some(done) });
        (number, answered)
    }

    fn answer(&self, Closed { ask, gateway }: &Closed) {
        let mut open = self.open.lock();
        let Some(waiting) = open.get_mut(ask) else { return };
        waiting.missing.remove(gateway);
        if waiting.missing.is_empty()
            && let Some(done) = waiting.done.take()
        {
            let _ = done.send(());
        }
    }

    fn close(&self, number: u64) {
        self.open.lock().remove(&number);
    }
}

impl RedisPusher {
    /// For processes that raise fences and close connections, and with `dispatch` for those that send
    /// notices. `horizon` is the pace's.
    pub async fn start(
        link: RedisLink,
        hub: &Hub,
        horizon: Duration,
        dispatch: Option<Dispatch>,
    ) -> Arc<Self> {
        let asks = Arc::<Asks>::default();
        let answers = hub.listen(link.keys().answers(link.process())).await;
        tokio::spawn(hear(answers, Arc::clone(&asks)));
        Arc::new(Self { link, roll: Roll::new(), horizon, dispatch, asks })
    }

    async fn tell_all(&self, mail: &Mail, doing: &'static str) -> Result<u64, Unavailable> {
        self.link.publish(&self.link.keys().to_gateways(), &wire::pack(mail), doing).await
    }
}

async fn hear(mut answers: mpsc::Receiver<Heard>, asks: Arc<Asks>) {
    while let Some(heard) = answers.recv().await {
        if let Heard::Message(bytes) = heard
            && let Some(closed) = wire::unpack(&bytes)
        {
            asks.answer(&closed);
        }
    }
}

const SENDING: &str = "sending notices";

#[async_trait]
impl Pusher for RedisPusher {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        let Some(dispatch) = &self.dispatch else { return Err(Unavailable::while_doing(SENDING)) };
        let mut by_gateway: BTreeMap<Arc<str>, Vec<Notice>> = BTreeMap::new();
        let mut undelivered = Vec::new();
        for notice in notices {
            let outcome = match dispatch.presence.place(notice.key.device, notice.session) {
                Place::At(gateway) => {
                    by_gateway.entry(gateway).or_default().push(notice);
                    continue;
                }
                Place::Elsewhere => Outcome::Stale,
                Place::Gone => Outcome::Gone,
                // Its new owner delivers it again when its deadline has passed.
                Place::Unknown => continue,
            };
            let at = dispatch.clock.now();
            undelivered.push(Settled::of(&notice, outcome, at, at));
        }
        let sent = join_all(by_gateway.iter().map(|(gateway, notices)| async move {
            let mail = wire::pack(&Mail::of_notices(notices));
            let heard = self.link.publish(&self.link.keys().to_gateway(gateway), &mail, SENDING).await?;
            let fate = if heard > 0 { "heard" } else { "unheard" };
            metrics::counter!("otaria_redis_notices_sent_total", "fate" => fate)
                .increment(notices.len() as u64);
            Ok::<_, Unavailable>(())
        }));
        let sent = sent.await;
        if !undelivered.is_empty() {
            metrics::counter!("otaria_redis_notices_sent_total", "fate" => "nowhere")
                .increment(undelivered.len() as u64);
            dispatch.inbox.settled(undelivered).await?;
        }
        sent.into_iter().collect()
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        if let Err(error) = self.tell_all(&Mail::Fence { job: job.0, fence }, "raising a fence").await {
            tracing::warn!(%error, job.id = job.0, "gateways did not hear of a fence; it is waited for");
        }
        sleep(self.horizon + GRACE + CLOCK_ERROR).await;
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        const DOING: &str = "closing a connection";
        let living = self.roll.living(&self.link).await?;
        if living.is_empty() {
            return Ok(());
        }
        let (ask, answered) = self.asks.open(living);
        let from = self.link.process().to_owned();
        let told = self.tell_all(&Mail::Close { device: device.0, ask, from }, DOING).await;
        let answered = match told {
            Ok(_) => timeout(ANSWERS, answered).await,
            Err(error) => {
                self.asks.close(ask);
                return Err(error);
            }
        };
        self.asks.close(ask);
        match answered {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unavailable::while_doing(DOING)),
        }
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        if let Err(error) = self.tell_all(&Mail::Epoch { shard: shard.0, epoch }, "raising an epoch").await {
            tracing::warn!(%error, shard = shard.0, "gateways did not hear of an epoch; old leases end by themselves");
        }
        Ok(())
    }
}
