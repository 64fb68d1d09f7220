//! Claims tasks of online devices and hands their notices to the gateways.
//!
//! Never decides what a task becomes: that is `otaria_core::task`. Never waits: that is the binary's loop.
//! What is ready lives in memory alone: (online devices) ∩ (open tasks). Parked devices cost nothing.
//!
//! Invariant: a claim is committed, with its delivery deadline, before its notice is sent. A crash in
//! between looks like an unwritten notice, and those are delivered again when the deadline passes.

mod claims;
mod ready;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::plan::{Want, share};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::pace::PaceWish;
use otaria_ports::presence::PresenceChange;
use otaria_ports::store::BATCH_MAX;

use self::claims::Claim;
use self::ready::Ready;
use crate::Wake;
use crate::book::JobFacts;
use crate::error::CommandError;
use crate::ownership::Ownership;
use crate::shell::Shell;

/// Presence changes taken in one tick.
const CHANGES_MAX: usize = 10_000;
/// Bus signals taken in one tick.
const SIGNALS_MAX: usize = 256;
/// When tokens run out, the next claim waits until this much of the pace's horizon has come free: so a
/// job's claims are batched instead of following the beat of its tokens.
const GATHER: Duration = Duration::from_millis(300);
/// Devices are probed anew this often, to repair whatever signal was lost.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Ended jobs keep their pace this long: none of their tokens is dated later.
const PACE_KEPT: Duration = Duration::from_secs(120);

/// See the module.
pub struct Dispatcher {
    shell: Arc<Shell>,
    started_at: Timestamp,
    online: BTreeMap<DeviceId, i64>,
    /// Devices whose open tasks are to be read.
    to_probe: BTreeSet<DeviceId>,
    /// Connects to be noted with the devices.
    arrivals: Vec<(DeviceId, Timestamp)>,
    ready: BTreeMap<JobNo, Ready>,
    ended: BTreeMap<JobNo, Timestamp>,
    turn: u64,
    sweep_at: Timestamp,
}

impl Dispatcher {
    /// A dispatcher that knows nobody yet. Jobs made before `now` may have been paced by another process.
    #[must_use]
    pub fn new(shell: Arc<Shell>, now: Timestamp) -> Self {
        Self {
            shell,
            started_at: now,
            online: BTreeMap::new(),
            to_probe: BTreeSet::new(),
            arrivals: Vec::new(),
            ready: BTreeMap::new(),
            ended: BTreeMap::new(),
            turn: 0,
            sweep_at: now + SWEEP_PERIOD,
        }
    }

    /// Takes the news, and claims and sends at most one batch over all owned shards.
    ///
    /// # Errors
    /// When store, pace or gateways are not available. Nothing is lost: what was claimed and not sent is
    /// delivered again by its deadline.
    pub async fn tick(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        self.follow_presence(now).await?;
        self.follow_bus();
        self.sweep(now, owned).await?;
        self.probe(now, owned).await?;
        let mut wake = self.dispatch(now, owned).await?;
        if !self.to_probe.is_empty() || !self.arrivals.is_empty() {
            wake = Wake::Now;
        }
        metrics::gauge!("otaria_devices_online").set(self.online.len() as f64);
        Ok(wake.or(Wake::At(self.sweep_at)))
    }

    async fn follow_presence(&mut self, now: Timestamp) -> Result<(), CommandError> {
        for change in self.shell.deps.presence.changes(CHANGES_MAX).await? {
            match change {
                PresenceChange::Arrived(device, session) => {
                    self.online.insert(device, session);
                    self.to_probe.insert(device);
                    self.arrivals.push((device, now));
                }
                PresenceChange::Left(device, session) => {
                    if self.online.get(&device) == Some(&session) {
                        self.online.remove(&device);
                    }
                }
            }
        }
        let batch = self.arrivals.len().min(BATCH_MAX);
        if batch > 0 {
            let noted: Vec<_> = self.arrivals.drain(..batch).collect();
            self.shell.deps.store.connected(&noted).await?;
        }
        Ok(())
    }

    fn follow_bus(&mut self) {
        for signal in self.shell.deps.bus.drain(SIGNALS_MAX) {
            match signal {
                Signal::TasksReady { job: _, devices } => {
                    let online = devices.into_iter().filter(|device| self.online.contains_key(device));
                    self.to_probe.extend(online);
                }
                Signal::JobChanged(job) => self.shell.book.forget(job),
                // Its tasks were there before, and nobody looked at them: everybody online is probed.
                Signal::JobOpened(job) => {
                    self.shell.book.forget(job);
                    self.to_probe.extend(self.online.keys().copied());
                }
            }
        }
    }

    /// Once a minute: compares with who is really online, and looks at all of them again.
    async fn sweep(&mut self, now: Timestamp, owned: &Ownership) -> Result<(), CommandError> {
        if now < self.sweep_at {
            return Ok(());
        }
        self.sweep_at = now + SWEEP_PERIOD;
        let mut online = BTreeMap::new();
        for shard in owned.shards.epochs.keys() {
            online.extend(self.shell.deps.presence.snapshot(*shard).await?);
        }
        self.online = online;
        self.to_probe.extend(self.online.keys().copied());

        let forgotten: Vec<JobNo> =
            self.ended.iter().filter(|(_, at)| now.since(**at) > PACE_KEPT).map(|(job, _)| *job).collect();
        self.shell.deps.pace.forget(&forgotten).await?;
        for job in forgotten {
            self.ended.remove(&job);
        }
        Ok(())
    }

    /// Reads the open tasks of some devices and keeps those that something can be done for.
    async fn probe(&mut self, now: Timestamp, owned: &Ownership) -> Result<(), CommandError> {
        let devices: Vec<DeviceId> = self.to_probe.iter().take(BATCH_MAX).copied().collect();
        if devices.is_empty() {
            return Ok(());
        }
        let tasks = self.shell.deps.store.open_tasks(&devices).await?;
        let jobs = tasks.iter().map(|task| task.key.job).collect();
        let facts = self.shell.book.get(&*self.shell.deps.store, &jobs).await?;
        for device in &devices {
            self.to_probe.remove(device);
        }
        for task in tasks {
            let Some(facts) = facts.get(&task.key.job).filter(|facts| may_deliver(facts)) else { continue };
            let Some(session) = self.online.get(&task.key.device) else { continue };
            if owned.shards.epochs.contains_key(&task.key.device.shard()) {
                self.ready.entry(facts.job.no).or_default().add(task, *session, now);
            }
        }
        Ok(())
    }

    /// Shares a batch between the jobs that have something ready, and claims and sends it.
    async fn dispatch(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        self.ready.retain(|_, ready| !ready.is_empty());
        let jobs = self.ready.keys().copied().collect();
        let facts = self.shell.book.get(&*self.shell.deps.store, &jobs).await?;
        let mut wake = Wake::OnSignal;
        let mut wants = Vec::new();
        for (job, ready) in &mut self.ready {
            let Some(facts) = facts.get(job).filter(|facts| may_deliver(facts)) else {
                self.ended.insert(*job, now);
                ready.clear();
                continue;
            };
            self.ended.remove(job);
            wake = wake.or(ready.ripen(now));
            if facts.job.new.schedule.is_open(now) {
                wants.push(Want { account: facts.job.account, job: *job, ready: ready.ripe() });
            } else if let Some(start) = facts.job.new.schedule.start.filter(|start| now < *start) {
                wake = wake.or(Wake::At(start));
            }
        }
        self.turn = self.turn.wrapping_add(1);
        let shares = share(BATCH_MAX, &wants, self.turn);
        let wishes: Vec<PaceWish> = wants
            .iter()
            .zip(&shares)
            .filter(|(_, share)| **share > 0)
            .map(|(want, share)| self.wish(&facts[&want.job], *share))
            .collect();
        if wishes.is_empty() {
            return Ok(wake);
        }
        let grants = self.shell.deps.pace.take(&wishes, now).await?;
        let mut claims = Vec::new();
        for (wish, grant) in wishes.iter().zip(grants) {
            let Some(ready) = self.ready.get_mut(&wish.job) else { continue };
            let facts = &facts[&wish.job];
            for emission in &grant.emissions {
                for waiting in ready.take(emission.tokens as usize) {
                    claims.extend(Claim::of(waiting, facts, emission.date.ceil(), now));
                }
            }
            if ready.ripe() > 0 {
                let short = grant.emissions.iter().map(|e| e.tokens).sum::<u32>() < wish.want;
                wake = wake.or(if short { Wake::At(grant.next_at + GATHER) } else { Wake::Now });
            }
        }
        let again = claims::claim_and_send(&self.shell, claims, owned, now).await?;
        // Their tasks moved meanwhile: whatever they want now is read afresh.
        self.to_probe.extend(again);
        Ok(wake)
    }

    fn wish(&self, facts: &Arc<JobFacts>, share: usize) -> PaceWish {
        PaceWish {
            job: facts.job.no,
            rate: facts.job.new.policy.maximum_per_minute,
            rate_version: facts.job.rate_version,
            want: u32::try_from(share).unwrap_or(u32::MAX),
            fresh: facts.job.created_at >= self.started_at,
        }
    }

    /// Devices that are online, for tests and metrics.
    #[must_use]
    pub fn online(&self) -> usize {
        self.online.len()
    }

    /// Forgets a shard that is not ours any more.
    pub fn lose(&mut self, shard: Shard) {
        self.online.retain(|device, _| device.shard() != shard);
        self.to_probe.retain(|device| device.shard() != shard);
    }
}

/// Whether anything of the job may be pushed at all; its schedule is looked at where tokens are wanted.
fn may_deliver(facts: &JobFacts) -> bool {
    facts.job.status.delivers() && facts.job.new.policy.need_push
}
