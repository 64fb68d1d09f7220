//! Hands notices to the broker: each at its time, while the device counts as connected, or not at all.
//!
//! The fences are asked right before a notice is handed to the broker's client, with a fresh clock. What was
//! handed over is out a moment later, so raising a fence waits for that moment.
//!
//! Invariant: every notice that is taken is settled exactly once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otaria_core::door::{Downlink, Fences, Own, Refusal, SessionSeq, Stamp};
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::clock::Clock;
use otaria_ports::pusher::{Notice, Pusher, Settled};
use parking_lot::{Mutex, RwLock};
use rumqttc::{AsyncClient, QoS};
use tokio::sync::{mpsc, watch};

use super::BrokerConfig;
use super::heard::{Heard, Names};
use super::line::{self, Turn};
use crate::held::{Due, Held};
use crate::meters::{Meters, NoticeFate};
use crate::notice::{self, Written};
use crate::witness::Witness;

/// Batches that may wait to be taken; then `send` waits.
const QUEUE: usize = 64;
/// Turns of the line that may wait to be looked at.
const TURNS: usize = 1_024;
/// How soon a notice is looked at again for which the line has no room.
const AGAIN: Duration = Duration::from_millis(2);
/// How long raising a fence waits for what was handed over before.
const OUT_PATIENCE: Duration = Duration::from_secs(2);

/// The engine's `Pusher` for devices of a broker. Made before [`super::serve_broker`], which runs it.
pub struct BrokerPusher {
    pub(super) heard: Heard,
    pub(super) meters: Meters,
    clock: Arc<dyn Clock>,
    fences: RwLock<Fences>,
    witness: Witness,
    queue: mpsc::Sender<Vec<Notice>>,
    taken: Mutex<Option<mpsc::Receiver<Vec<Notice>>>>,
    line: Mutex<Option<AsyncClient>>,
    closed: Mutex<Vec<(DeviceId, SessionSeq)>>,
    /// Notices handed to the line so far, and those of them that are out or lost.
    handed: AtomicU64,
    out: watch::Sender<u64>,
}

impl std::fmt::Debug for BrokerPusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerPusher").finish_non_exhaustive()
    }
}

impl BrokerPusher {
    /// A pusher without a broker; what is sent waits until it is served.
    ///
    /// The metrics recorder must be installed before: the counters' handles are looked up once.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let (queue, taken) = mpsc::channel(QUEUE);
        Arc::new(Self {
            heard: Heard::default(),
            meters: Meters::new(),
            clock,
            fences: RwLock::default(),
            witness: Witness::default(),
            queue,
            taken: Mutex::new(Some(taken)),
            line: Mutex::default(),
            closed: Mutex::default(),
            handed: AtomicU64::new(0),
            out: watch::Sender::new(0),
        })
    }

    /// Publishes notices until `stop`, then settles what is left as undelivered.
    pub(super) async fn run(
        self: Arc<Self>,
        config: BrokerConfig,
        outcomes: mpsc::UnboundedSender<Settled>,
        stop: watch::Receiver<bool>,
    ) {
        // Only the bridge calls this, once.
        let Some(queue) = self.taken.lock().take() else { return };
        let room = usize::from(config.inflight.max(1));
        let (sender, turns) = mpsc::channel(TURNS);
        let holding = tokio::spawn(line::hold(config, sender));
        let run = Run {
            pusher: self,
            outcomes,
            held: Held::default(),
            written: Written::default(),
            room,
            handed: VecDeque::new(),
            unacknowledged: HashMap::new(),
        };
        run.run(queue, turns, stop).await;
        holding.abort();
    }

    /// Answers a device; when the broker is away, the device asks again.
    pub(super) async fn answer(&self, names: &Names, downlink: Downlink, payload: Bytes) {
        let own = Own { product_key: names.0.as_str(), device_name: names.1.as_str() };
        let line = self.line.lock().clone();
        if let Some(line) = line {
            // Fails only when that connection is gone.
            let _ = line.publish(downlink.topic(own), QoS::AtMostOnce, false, payload).await;
        }
    }

    /// Sessions that were ended from inside and whose presence is to be ended as well.
    pub(super) fn take_closed(&self) -> Vec<(DeviceId, SessionSeq)> {
        std::mem::take(&mut self.closed.lock())
    }

    /// Changes who may be written to, and waits until everything that was handed over before is out or lost.
    async fn refuse(&self, change: impl FnOnce(&mut Fences) + Send) -> Result<(), Unavailable> {
        let handed = {
            // Nothing is handed over meanwhile: that is done under a read lock.
            let mut fences = self.fences.write();
            change(&mut fences);
            self.handed.load(Ordering::SeqCst)
        };
        let mut out = self.out.subscribe();
        let wait = out.wait_for(|out| *out >= handed);
        match tokio::time::timeout(OUT_PATIENCE, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Unavailable::while_doing("waiting for notices on their way to the broker"))
            }
        }
    }
}

#[async_trait]
impl Pusher for BrokerPusher {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        self.queue.send(notices).await.map_err(|_| Unavailable::while_doing("sending notices"))
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        let now = self.clock.now();
        let raise = |fences: &mut Fences| {
            fences.raise_job(job, fence, now);
            self.witness.fence_raised(job, fence, now);
        };
        self.refuse(raise).await
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        let gone = |_: &mut Fences| {
            if let Some(session) = self.heard.leave(device) {
                self.closed.lock().push((device, session));
            }
        };
        self.refuse(gone).await
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        let raise = |fences: &mut Fences| {
            fences.raise_shard(shard, epoch);
            self.witness.epoch_raised(shard, epoch);
        };
        self.refuse(raise).await
    }
}

enum Verdict {
    HandedOver,
    Settle(NoticeFate),
    LookAgain(Timestamp),
}

struct Run {
    pusher: Arc<BrokerPusher>,
    outcomes: mpsc::UnboundedSender<Settled>,
    held: Held,
    written: Written,
    /// Notices that the broker may owe an acknowledgement for.
    room: usize,
    /// In the client, not out yet; in the order in which they go out.
    handed: VecDeque<Notice>,
    /// Out, by the number under which the broker will acknowledge them.
    unacknowledged: HashMap<u16, Notice>,
}

impl Run {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Vec<Notice>>,
        mut turns: mpsc::Receiver<Turn>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let pause = self.hand_over_due();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(turn) = turns.recv() => self.take_turn(turn),
                batch = queue.recv() => match batch {
                    Some(batch) => batch.into_iter().for_each(|notice| self.held.hold(notice.not_before, notice)),
                    None => break,
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
        queue.close();
        let now = self.pusher.clock.now();
        let mut left: Vec<Notice> = self.held.take().collect();
        while let Ok(batch) = queue.try_recv() {
            left.extend(batch);
        }
        for notice in left {
            self.settle(&notice, NoticeFate::Gone, now);
        }
        self.take_turn(Turn::Down);
    }

    fn take_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Up(line) => *self.pusher.line.lock() = Some(line),
            Turn::Out(pkid) => {
                if let Some(notice) = self.handed.pop_front() {
                    self.unacknowledged.insert(pkid, notice);
                    self.pusher.out.send_modify(|out| *out += 1);
                }
            }
            Turn::Acknowledged(pkid) => {
                if let Some(notice) = self.unacknowledged.remove(&pkid) {
                    self.settle(&notice, NoticeFate::Written, self.pusher.clock.now());
                }
            }
            Turn::Down => {
                *self.pusher.line.lock() = None;
                let lost = self.handed.len() as u64;
                let owed: Vec<Notice> = self
                    .handed
                    .drain(..)
                    .chain(self.unacknowledged.drain().map(|(_, notice)| notice))
                    .collect();
                // Some may have arrived; delivered once more, they carry the same wire id.
                for notice in owed {
                    self.settle(&notice, NoticeFate::Gone, self.pusher.clock.now());
                }
                self.pusher.out.send_modify(|out| *out += lost);
            }
        }
    }

    /// Hands over what is due; returns how long nothing else is.
    fn hand_over_due(&mut self) -> Duration {
        for _ in 0..self.room {
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
                Verdict::HandedOver => self.handed.push_back(notice),
                Verdict::Settle(fate) => self.settle(&notice, fate, now),
                Verdict::LookAgain(at) => self.held.hold(at, notice),
            }
        }
        Duration::ZERO
    }

    /// The one check before the notice leaves this process, and the handing over.
    fn look(&mut self, notice: &Notice) -> (Verdict, Timestamp) {
        let device = notice.key.device;
        let payload = notice::notice(notice.wire_id, &self.written.data(&notice.offer));
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
        let verdict = match fences.may_write(&stamp, self.pusher.heard.session(device), now) {
            Ok(()) => self.hand_over(notice, payload, now),
            Err(Refusal::TooEarly) => Verdict::LookAgain(notice.not_before),
            Err(Refusal::Late) => Verdict::Settle(NoticeFate::Late),
            Err(Refusal::Stale) => Verdict::Settle(NoticeFate::Stale),
            Err(Refusal::Fenced) => Verdict::Settle(NoticeFate::Fenced),
            Err(Refusal::Gone) => Verdict::Settle(NoticeFate::Gone),
        };
        if matches!(verdict, Verdict::HandedOver) {
            // What the broker does with it is beyond sight.
            self.pusher.witness.wrote(notice, &stamp, device, now);
        }
        drop(fences);
        (verdict, now)
    }

    fn hand_over(&self, notice: &Notice, payload: Bytes, now: Timestamp) -> Verdict {
        let (device, module) = (notice.key.device, &notice.offer.module);
        let heard = &self.pusher.heard;
        let Some(topic) = heard.topic(device) else { return Verdict::Settle(NoticeFate::Gone) };
        if self.handed.len() + self.unacknowledged.len() >= self.room {
            return Verdict::LookAgain(now + AGAIN);
        }
        let line = self.pusher.line.lock();
        let Some(line) = line.as_ref() else { return Verdict::LookAgain(now + AGAIN) };
        // Noted first: the device may answer before this returns.
        let Some(before) = heard.tell(device, module, notice.key.job) else {
            return Verdict::Settle(NoticeFate::Gone);
        };
        if line.try_publish(topic, QoS::AtLeastOnce, false, payload).is_err() {
            heard.take_back(device, module, before);
            return Verdict::LookAgain(now + AGAIN);
        }
        self.pusher.handed.fetch_add(1, Ordering::SeqCst);
        Verdict::HandedOver
    }

    fn settle(&self, notice: &Notice, fate: NoticeFate, at: Timestamp) {
        self.pusher.meters.notices.count(fate);
        // Fails only when the bridge is ending; an unsettled notice falls due by itself.
        let until = self.pusher.clock.now();
        let _ = self.outcomes.send(Settled::of(notice, fate.outcome(), at, until));
    }
}
