//! A gateway without sockets: holds notices for their date, looks at the fences, and remembers what it wrote.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use otaria_core::door::{Fences, Refusal, SessionSeq, Stamp};
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::pusher::{Notice, Outcome, Pusher, Settled};

/// A notice that reached a device's socket.
#[derive(Clone, Debug)]
pub(crate) struct Wrote {
    pub(crate) at: Timestamp,
    pub(crate) job: JobNo,
    pub(crate) device: DeviceId,
    pub(crate) attempt: u8,
    pub(crate) wire_id: i64,
    pub(crate) session: i64,
    pub(crate) version: String,
}

#[derive(Default)]
struct Inner {
    fences: Fences,
    waiting: Vec<Notice>,
    sessions: BTreeMap<DeviceId, i64>,
    /// The job of the last notice of each session that had one.
    told: BTreeMap<(DeviceId, i64), JobNo>,
    now: Timestamp,
    refuse_sends: usize,
    closed: Vec<DeviceId>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Gateway(Mutex<Inner>);

impl Gateway {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn enter(&self, device: DeviceId, session: i64) {
        self.lock().sessions.insert(device, session);
    }

    pub(crate) fn leave(&self, device: DeviceId) {
        self.lock().sessions.remove(&device);
    }

    /// Makes the next calls of `send` fail.
    pub(crate) fn refuse_sends(&self, calls: usize) {
        self.lock().refuse_sends = calls;
    }

    /// Whose connections were ended from inside since the last look.
    pub(crate) fn closed(&self) -> Vec<DeviceId> {
        std::mem::take(&mut self.lock().closed)
    }

    /// The job that a session was told of last.
    pub(crate) fn told(&self, device: DeviceId, session: i64) -> Option<JobNo> {
        self.lock().told.get(&(device, session)).copied()
    }

    /// When the next notice is to be looked at.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.lock().waiting.iter().map(|notice| notice.not_before).min()
    }

    /// Writes what is due; `jammed` says whose socket takes nothing.
    pub(crate) fn deliver(
        &self,
        now: Timestamp,
        mut jammed: impl FnMut(DeviceId) -> bool,
    ) -> (Vec<Wrote>, Vec<Settled>) {
        let mut inner = self.lock();
        let Inner { fences, waiting, sessions, told, .. } = &mut *inner;
        let (mut wrote, mut settled) = (Vec::new(), Vec::new());
        waiting.retain(|notice| {
            let device = notice.key.device;
            let current = sessions.get(&device).copied().map(SessionSeq);
            let outcome = match fences.may_write(&stamp(notice), current, now) {
                Err(Refusal::TooEarly) => return true,
                Err(Refusal::Gone) => Outcome::Gone,
                Err(Refusal::Stale | Refusal::Fenced | Refusal::Late) => Outcome::Stale,
                Ok(()) if jammed(device) => Outcome::Congested,
                Ok(()) => Outcome::Written,
            };
            if outcome == Outcome::Written {
                told.insert((device, notice.session), notice.key.job);
                wrote.push(Wrote {
                    at: now,
                    job: notice.key.job,
                    device,
                    attempt: notice.attempt,
                    wire_id: notice.wire_id,
                    session: notice.session,
                    version: notice.offer.version.to_string(),
                });
            }
            settled.push(Settled::of(notice, outcome, now, now));
            false
        });
        inner.now = now;
        (wrote, settled)
    }
}

fn stamp(notice: &Notice) -> Stamp {
    Stamp {
        shard: notice.shard.0,
        epoch: notice.shard.1,
        job: notice.key.job,
        fence: notice.fence,
        session: SessionSeq(notice.session),
        not_before: notice.not_before,
        not_after: notice.not_after,
    }
}

#[async_trait]
impl Pusher for Gateway {
    async fn send(&self, notices: Vec<Notice>) -> Result<(), Unavailable> {
        let mut inner = self.lock();
        if inner.refuse_sends > 0 {
            inner.refuse_sends -= 1;
            return Err(Unavailable::while_doing("sending notices"));
        }
        inner.waiting.extend(notices);
        Ok(())
    }

    async fn fence(&self, job: JobNo, fence: u64) -> Result<(), Unavailable> {
        let mut inner = self.lock();
        let now = inner.now;
        inner.fences.raise_job(job, fence, now);
        Ok(())
    }

    async fn close(&self, device: DeviceId) -> Result<(), Unavailable> {
        let mut inner = self.lock();
        inner.sessions.remove(&device);
        inner.closed.push(device);
        Ok(())
    }

    async fn epoch(&self, shard: Shard, epoch: i64) -> Result<(), Unavailable> {
        self.lock().fences.raise_shard(shard, epoch);
        Ok(())
    }
}
