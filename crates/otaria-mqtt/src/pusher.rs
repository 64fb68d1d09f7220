//! Brings notices to devices: each at its time, to the session it is meant for, or not at all.
//!
//! Notices wait here for the date of their pace token. Right before the write the fences are asked with a
//! fresh clock, and they stay locked for reading until the bytes are out, while raising one locks them for
//! writing. So when [`Pusher::fence`] has returned, nothing older is written any more.
//!
//! Invariant: every notice that is taken is settled exactly once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::door::{Downlink, Fences, Refusal, SessionSeq, Stamp};
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::clock::Clock;
use otaria_ports::pusher::{Notice, Pusher, Settled};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};

use crate::held::{Due, Held};
use crate::meters::{Meters, NoticeFate};
use crate::notice::{self, Written};
use crate::registry::Registry;
use crate::session::Delivered;
use crate::witness::{self, Witness};

/// Batches that may wait to be taken; then `send` waits.
const QUEUE: usize = 64;
/// Notices written before other tasks get their turn.
const TURN: usize = 64;
/// How soon a notice is looked at again whose device is just coming in.
const AGAIN: Duration = Duration::from_millis(10);

/// The gateway's side of the engine's `Pusher`. Made before the gateway, which runs it.
pub struct NoticePusher {
    pub(crate) registry: Arc<Registry>,
    pub(crate) meters: Arc<Meters>,
    clock: Arc<dyn Clock>,
    fences: RwLock<Fences>,
    witness: Witness,
    queue: mpsc::Sender<Vec<Notice>>,
    taken: Mutex<Option<mpsc::Receiver<Vec<Notice>>>>,
}

impl std::fmt::Debug for NoticePusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoticePusher").finish_non_exhaustive()
    }
}

impl NoticePusher {
    /// A pusher without a gateway; what is sent waits until one runs.
    ///
    /// The metrics recorder must be installed before: the counters' handles are looked up once.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let (queue, taken) = mpsc::channel(QUEUE);
        Arc::new(Self {
            registry: Arc::default(),
            meters: Arc::new(Meters::new()),
            clock,
            fences: RwLock::default(),
            witness: Witness::default(),
            queue,
            taken: Mutex::new(Some(taken)),
        })
    }

    /// Writes notices until `stop`, then settles what is left as undelivered.
    pub(crate) async fn run(
        self: Arc<Self>,
        outcomes: mpsc::UnboundedSender<Settled>,
        stop: watch::Receiver<bool>,
    ) {
        // Only the gateway calls this, once.
        let Some(queue) = self.taken.lock().take() else { return };
        Run { pusher: self, outcomes, held: Held::default(), written: Written::default() }
            .run(queue, stop)
            .await;
    }
}

#[async_trait]
impl Pusher for NoticePusher {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        self.queue.send(notices).await.map_err(|_| Unavailable::while_doing("sending notices"))
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        let mut fences = self.fences.write();
        let now = self.clock.now();
        fences.raise_job(job, fence, now);
        self.witness.fence_raised(job, fence, now);
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        self.registry.expel(device);
        Ok(())
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        let mut fences = self.fences.write();
        fences.raise_shard(shard, epoch);
        self.witness.epoch_raised(shard, epoch);
        Ok(())
    }
}

enum Verdict {
    Settle(NoticeFate),
    LookAgain(Timestamp),
}

struct Run {
    pusher: Arc<NoticePusher>,
    outcomes: mpsc::UnboundedSender<Settled>,
    held: Held,
    written: Written,
}

impl Run {
    async fn run(mut self, mut queue: mpsc::Receiver<Vec<Notice>>, mut stop: watch::Receiver<bool>) {
        loop {
            let pause = self.write_due().await;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                batch = queue.recv() => match batch {
                    Some(batch) => batch.into_iter().for_each(|notice| self.held.hold(notice.not_before, notice)),
                    None => break,
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
        queue.close();
        while let Ok(batch) = queue.try_recv() {
            batch.into_iter().for_each(|notice| self.held.hold(notice.not_before, notice));
        }
        let now = self.pusher.clock.now();
        let left: Vec<Notice> = self.held.take().collect();
        for notice in left {
            self.settle(&notice, NoticeFate::Gone, now);
        }
    }

    /// Writes what is due; returns how long nothing else is.
    async fn write_due(&mut self) -> Duration {
        for turn in 1_usize.. {
            let now = self.pusher.clock.now();
            match self.held.next_at() {
                None => return Duration::from_secs(1),
                // A host clock that jumps is found out within a second.
                Some(at) if at > now => return at.since(now).min(Duration::from_secs(1)),
                Some(_) => {}
            }
            let notice = match self.held.pop() {
                Some(Due::Now(notice)) => notice,
                Some(Due::Overtaken(notice)) => {
                    self.settle(&notice, NoticeFate::Overtaken, now);
                    continue;
                }
                None => break,
            };
            let (verdict, now) = self.look(&notice);
            match verdict {
                Verdict::Settle(fate) => self.settle(&notice, fate, now),
                Verdict::LookAgain(at) => self.held.hold(at, notice),
            }
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Duration::ZERO
    }

    /// The one check before the write, and the write.
    fn look(&mut self, notice: &Notice) -> (Verdict, Timestamp) {
        let payload = notice::notice(notice.wire_id, &self.written.data(&notice.offer));
        let registry = &self.pusher.registry;
        let device = notice.key.device;
        let session = registry.get(device);
        let current = session.as_ref().map(|session| session.seq);
        let stamp = Stamp {
            shard: notice.shard.0,
            epoch: notice.shard.1,
            job: notice.key.job,
            fence: notice.fence,
            session: SessionSeq(notice.session),
            not_before: notice.not_before,
            not_after: notice.not_after,
        };

        let fences = self.pusher.fences.read();
        let Some(now) = self.pusher.clock.judge() else {
            // Nobody can tell whether it is late; it is delivered again when its deadline passes.
            return (Verdict::Settle(NoticeFate::NoClock), self.pusher.clock.now());
        };
        let is_subscribed =
            || session.as_ref().is_some_and(|session| session.is_subscribed(Downlink::Upgrade));
        let verdict = match (fences.may_write(&stamp, current, now), &session) {
            (Ok(()), Some(session)) => match session.notify(payload, &notice.offer.module, notice.key.job) {
                Delivered::Sent => {
                    self.pusher.witness.wrote(notice, &stamp, session.device, now);
                    if witness::is_stalled(notice, self.pusher.clock.now()) {
                        self.pusher.meters.stalled_writes.increment(1);
                    }
                    Verdict::Settle(NoticeFate::Written)
                }
                Delivered::Congested => Verdict::Settle(NoticeFate::Congested),
                Delivered::Broken => Verdict::Settle(NoticeFate::Gone),
                // It has just connected and its SUBSCRIBE is on the way.
                Delivered::Unsubscribed => Verdict::LookAgain(now + AGAIN),
            },
            (Err(Refusal::TooEarly), _) => Verdict::LookAgain(notice.not_before),
            // Its presence was told before its session came here.
            (Err(Refusal::Gone | Refusal::Stale), _)
                if registry.is_arriving(device) && now < notice.not_after =>
            {
                Verdict::LookAgain(now + AGAIN)
            }
            (Err(Refusal::Late), Some(_)) if !is_subscribed() => Verdict::Settle(NoticeFate::Unsubscribed),
            (Err(Refusal::Late), _) => Verdict::Settle(NoticeFate::Late),
            (Err(Refusal::Stale), _) => Verdict::Settle(NoticeFate::Stale),
            (Err(Refusal::Fenced), _) => Verdict::Settle(NoticeFate::Fenced),
            (Err(Refusal::Gone) | Ok(()), _) => Verdict::Settle(NoticeFate::Gone),
        };
        drop(fences);
        (verdict, now)
    }

    fn settle(&self, notice: &Notice, fate: NoticeFate, at: Timestamp) {
        self.pusher.meters.notices.count(fate);
        // Fails only when the gateway is ending; an unsettled notice falls due by itself.
        let until = self.pusher.clock.now();
        let _ = self.outcomes.send(Settled::of(notice, fate.outcome(), at, until));
    }
}
