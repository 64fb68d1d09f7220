//! Claims tasks of online devices and hands their notices to the gateways.
//!
//! Never decides what a task becomes: that is `otaria_core::task`. Never waits: that is the binary's loop.
//! What is ready lives in memory alone: (online devices) ∩ (open tasks). Parked devices cost nothing.
//! Whatever was taken out of that memory and did not become a claim is looked at again.
//!
//! Invariant: a claim is committed, with its delivery deadline, before its notice is sent. A crash in
//! between looks like an unwritten notice, and those are delivered again when the deadline passes.

mod claims;
mod forgotten;
mod online;
mod ready;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::{DYNAMIC_PUSHES_MAX, JobKind};
use otaria_core::plan::{Want, share};
use otaria_core::shard::{SHARDS, Shard};
use otaria_core::task::{Delivery, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::pace::{Grant, PaceWish};
use otaria_ports::presence::PresenceChange;
use otaria_ports::store::{BATCH_MAX, Task};

use self::claims::Claim;
use self::forgotten::{Forgotten, Hands};
use self::online::Online;
use self::ready::{Order, Ready};
use self::turns::Turns;
use crate::book::JobFacts;
use crate::error::CommandError;
use crate::ownership::Ownership;
use crate::shell::Shell;
use crate::{Wake, witness};

/// Presence changes taken in one tick.
const CHANGES_MAX: usize = 10_000;
/// Bus signals taken in one tick.
const SIGNALS_MAX: usize = 256;
/// When tokens run out, the next claim waits until this much of the pace's horizon has come free: so a
/// job's claims are batched instead of following the beat of its tokens.
const GATHER: Duration = Duration::from_millis(300);
/// Devices are probed anew this often, to repair whatever signal was lost.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Jobs that took no token for so long are forgotten by the pace: no token of theirs is dated in the last
/// minute.
const PACE_KEPT: Duration = Duration::from_secs(120);
/// A refused claim's task is looked at again after this time, not at once: who refused it may do so again.
const AGAIN: Duration = Duration::from_millis(100);

/// See the module.
pub struct Dispatcher {
    shell: Arc<Shell>,
    started_at: Timestamp,
    /// The shards whose devices are followed, and the epochs under which they are owned.
    epochs: BTreeMap<Shard, i64>,
    online: Online,
    /// Connects to be noted with the devices.
    arrivals: BTreeMap<DeviceId, Timestamp>,
    ready: BTreeMap<JobNo, Ready>,
    /// When jobs took tokens last.
    paced: BTreeMap<JobNo, Timestamp>,
    turn: u64,
    turns: Turns,
    sweep_at: Timestamp,
    forgotten: Forgotten,
}

impl Dispatcher {
    /// A dispatcher that knows nobody yet. Jobs made before `now` may have been paced by another process.
    #[must_use]
    pub fn new(shell: Arc<Shell>, now: Timestamp) -> Self {
        Self {
            shell,
            started_at: now,
            epochs: BTreeMap::new(),
            online: Online::default(),
            arrivals: BTreeMap::new(),
            ready: BTreeMap::new(),
            paced: BTreeMap::new(),
            turn: 0,
            turns: Turns::default(),
            sweep_at: now + SWEEP_PERIOD,
            forgotten: Forgotten::default(),
        }
    }

    /// Takes the news, and claims and sends at most one batch over all owned shards.
    ///
    /// # Errors
    /// When store, pace or gateways are not available. Nothing is lost: what was claimed and not sent is
    /// delivered again by its deadline, and what was not claimed is looked at again.
    pub async fn tick(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        let worked = self.work(now, owned).await;
        self.forgotten.ticked(worked.is_ok(), now);
        worked
    }

    async fn work(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        let mut wake = self.follow_presence(now).await?;
        self.follow_ownership(owned).await?;
        wake = wake.or(self.follow_bus(owned));
        self.sweep(now, owned).await?;
        self.online.ripen(now);
        self.probe(now, owned).await?;
        wake = wake.or(self.dispatch(now, owned).await?);
        metrics::gauge!("otaria_devices_online").set(self.online.len() as f64);
        Ok(wake.or(self.online.wake()).or(Wake::At(self.sweep_at)))
    }

    async fn follow_presence(&mut self, now: Timestamp) -> Result<Wake, CommandError> {
        let changes = self.shell.deps.presence.changes(CHANGES_MAX).await?;
        let mut more = changes.len() == CHANGES_MAX;
        for change in changes {
            match change {
                PresenceChange::Arrived(device, session) => {
                    self.online.arrive(device, session);
                    self.arrivals.insert(device, now);
                }
                PresenceChange::Left(device, session) => self.online.leave(device, session),
            }
        }
        let noted: Vec<_> = self.arrivals.iter().take(BATCH_MAX).map(|(device, at)| (*device, *at)).collect();
        if !noted.is_empty() {
            self.shell.deps.store.connected(&noted).await?;
            for (device, _) in &noted {
                self.arrivals.remove(device);
            }
            more |= !self.arrivals.is_empty();
        }
        Ok(if more { Wake::Now } else { Wake::OnSignal })
    }

    /// Looks at everybody in shards that were taken, and forgets those of shards that were lost.
    async fn follow_ownership(&mut self, owned: &Ownership) -> Result<(), CommandError> {
        if self.epochs == owned.shards.epochs {
            return Ok(());
        }
        // Before the snapshots below: what happens after they are read comes as changes.
        let shards: BTreeSet<Shard> = owned.shards.epochs.keys().copied().collect();
        self.shell.deps.presence.follow(&shards).await?;
        let order = order(owned);
        self.ready.values_mut().for_each(|ready| ready.reorder(order));
        let lost: Vec<Shard> =
            self.epochs.keys().filter(|shard| !owned.shards.epochs.contains_key(shard)).copied().collect();
        for shard in lost {
            self.epochs.remove(&shard);
            self.online.replace(shard, Vec::new());
        }
        for (shard, epoch) in &owned.shards.epochs {
            if self.epochs.get(shard) != Some(epoch) {
                self.online.replace(*shard, self.shell.deps.presence.snapshot(*shard).await?);
                self.epochs.insert(*shard, *epoch);
            }
        }
        Ok(())
    }

    fn follow_bus(&mut self, owned: &Ownership) -> Wake {
        let signals = self.shell.deps.bus.drain(SIGNALS_MAX);
        let more = signals.len() == SIGNALS_MAX;
        let mut opened = false;
        for signal in signals {
            match signal {
                Signal::TasksReady { job: _, devices } => {
                    devices.into_iter().for_each(|device| self.online.look(device));
                }
                Signal::JobChanged(job) => {
                    self.shell.forget(job);
                    // Some of its tasks may not go out any more; they would only use up tokens.
                    let ready = self.ready.remove(&job).into_iter().flat_map(Ready::into_devices);
                    ready.for_each(|device| self.online.look(device));
                }
                Signal::JobOpened(job) => {
                    self.shell.forget(job);
                    opened = true;
                }
                Signal::JobWanted(job) => {
                    if owned.carries(job) {
                        self.shell.expand_hints.add([job]);
                        self.shell.close_hints.add([job]);
                    }
                }
                Signal::Missed => {
                    self.shell.forget_all();
                    // Everybody in there is online, so everybody is looked at.
                    self.ready.clear();
                    opened = true;
                }
            }
        }
        if opened {
            // Tasks were there before, and nobody looked at them.
            self.online.look_at_all();
        }
        if more { Wake::Now } else { Wake::OnSignal }
    }

    /// Once a minute: compares with who is really online, and looks at all of them and at their jobs again.
    async fn sweep(&mut self, now: Timestamp, owned: &Ownership) -> Result<(), CommandError> {
        if now < self.sweep_at {
            return Ok(());
        }
        let hands = Hands { epochs: &self.epochs, online: &self.online, ready: &self.ready };
        self.forgotten.look(&*self.shell.deps.store, &hands, now).await;
        for shard in owned.shards.epochs.keys() {
            self.online.replace(*shard, self.shell.deps.presence.snapshot(*shard).await?);
        }
        self.shell.book.forget_all();

        let idle = |at: &Timestamp| now.since(*at) > PACE_KEPT;
        let forgotten: Vec<JobNo> =
            self.paced.iter().filter(|(_, at)| idle(at)).map(|(job, _)| *job).collect();
        self.shell.deps.pace.forget(&forgotten).await?;
        self.paced.retain(|_, at| !idle(at));
        self.sweep_at = now + SWEEP_PERIOD;
        Ok(())
    }

    /// Reads the open tasks of some devices and keeps those that something can be done for.
    async fn probe(&mut self, now: Timestamp, owned: &Ownership) -> Result<(), CommandError> {
        let devices = self.online.to_probe(BATCH_MAX);
        if devices.is_empty() {
            return Ok(());
        }
        let tasks = self.shell.deps.store.open_tasks(&devices).await?;
        let jobs = tasks.iter().map(|task| task.key.job).collect();
        let facts = self.shell.book.get(&*self.shell.deps.store, &jobs).await?;

        let mut open: BTreeMap<DeviceId, BTreeSet<JobNo>> =
            devices.into_iter().map(|device| (device, BTreeSet::new())).collect();
        for task in &tasks {
            open.entry(task.key.device).or_default().insert(task.key.job);
        }
        for (device, jobs) in open {
            self.online.looked_at(device, &jobs);
        }
        let order = order(owned);
        for task in tasks {
            let (device, job, status) = (task.key.device, task.key.job, task.state.status());
            let pushable =
                facts.get(&job).is_some_and(|facts| may_push(facts, status) && pushes_left(facts, &task));
            if pushable && owned.shards.epochs.contains_key(&device.shard()) {
                let is_told = self.online.is_told(device, job);
                let ready = self.ready.entry(job).or_insert_with(|| Ready::new(order));
                if let Some(at) = ready.add(task, is_told, now) {
                    self.online.look_at(at, device);
                }
            }
        }
        Ok(())
    }

    /// Shares a batch between the jobs that have something ready, and claims and sends it.
    async fn dispatch(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        let (wants, facts, mut wake) = self.wants(now).await?;
        self.turn = self.turn.wrapping_add(1);
        let shares = share(BATCH_MAX, &wants, self.turn);
        for (job, broken) in self.turns.look(&wants, &shares, now) {
            witness::of_job(job, &broken);
        }
        let mut wishes: Vec<PaceWish> = Vec::new();
        for (want, share) in wants.iter().zip(&shares) {
            match share {
                0 => wake = Wake::Now,
                _ => wishes.push(self.wish(&facts[&want.job], *share)),
            }
        }
        if wishes.is_empty() {
            return Ok(wake);
        }
        let grants = self.shell.deps.pace.take(&wishes, now).await?;
        let mut claims = Vec::new();
        for (wish, grant) in wishes.iter().zip(grants) {
            self.paced.insert(wish.job, now);
            wake = wake.or(self.use_tokens(wish, &grant, &facts[&wish.job], now, &mut claims));
        }
        self.send(claims, owned, now).await?;
        Ok(wake)
    }

    /// What the jobs want that do not wait for their pace.
    async fn wants(&mut self, now: Timestamp) -> Result<(Vec<Want>, Facts, Wake), CommandError> {
        self.ready.retain(|_, ready| !ready.is_empty());
        let mut wake = Wake::OnSignal;
        let mut awake = BTreeSet::new();
        for (job, ready) in &self.ready {
            match ready.resting(now) {
                Some(until) => wake = wake.or(Wake::At(until)),
                None => drop(awake.insert(*job)),
            }
        }
        let facts = self.shell.book.get(&*self.shell.deps.store, &awake).await?;
        let mut wants = Vec::with_capacity(awake.len());
        for job in awake {
            let Some(facts) = facts.get(&job).filter(|facts| may_deliver(facts)) else {
                self.ready.remove(&job);
                continue;
            };
            let schedule = facts.job.new.schedule;
            if schedule.is_open(now) {
                let ready = self.ready.get(&job).map_or(0, Ready::len);
                wants.push(Want { account: facts.job.account, job, ready });
            } else if let Some(start) = schedule.start.filter(|start| now < *start) {
                wake = wake.or(Wake::At(start));
            }
        }
        Ok((wants, facts, wake))
    }

    /// Puts a job's tokens on tasks of devices that are online. The others are looked at when they come.
    fn use_tokens(
        &mut self,
        wish: &PaceWish,
        grant: &Grant,
        facts: &Arc<JobFacts>,
        now: Timestamp,
        claims: &mut Vec<Claim>,
    ) -> Wake {
        let Some(ready) = self.ready.get_mut(&wish.job) else { return Wake::OnSignal };
        let mut granted = 0;
        for emission in &grant.emissions {
            for _ in 0..emission.tokens {
                let waiting = std::iter::from_fn(|| ready.next())
                    .find_map(|task| self.online.session(task.key.device).map(|session| (task, session)));
                let Some((task, session)) = waiting else { break };
                let token = (emission.date.ceil(), grant.rate);
                claims.extend(Claim::of(task, session, facts, token, now));
            }
            granted += emission.tokens;
        }
        if granted < wish.want {
            ready.rest_until(grant.next_at + GATHER);
        }
        match ready.resting(now) {
            _ if ready.is_empty() => Wake::OnSignal,
            Some(until) => Wake::At(until),
            None => Wake::Now,
        }
    }

    async fn send(
        &mut self,
        claims: Vec<Claim>,
        owned: &Ownership,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let devices: Vec<DeviceId> = claims.iter().map(|claim| claim.key().device).collect();
        match claims::claim_and_send(&self.shell, claims, owned, now).await {
            Ok(outcome) => {
                for (key, session) in outcome.written {
                    self.online.tell(key.device, session, key.job);
                }
                // What they want now, if anything, is read afresh, and so is what their jobs allow.
                for key in outcome.refused {
                    self.shell.book.forget(key.job);
                    self.online.look_at(now + AGAIN, key.device);
                }
                Ok(())
            }
            Err(error) => {
                devices.into_iter().for_each(|device| self.online.look_at(now + AGAIN, device));
                Err(error)
            }
        }
    }

    fn wish(&self, facts: &Arc<JobFacts>, share: usize) -> PaceWish {
        PaceWish {
            job: facts.job.no,
            rate: facts.job.new.policy.maximum_per_minute,
            rate_version: facts.job.rate_version,
            want: u32::try_from(share).unwrap_or(u32::MAX),
            fresh: facts.job.created_at >= self.started_at,
            created_at: facts.job.created_at,
        }
    }

    /// Devices that are online, for tests and metrics.
    #[must_use]
    pub fn online(&self) -> usize {
        self.online.len()
    }
}

/// In which order tasks go out: by the list where nobody else can take over what is behind.
fn order(owned: &Ownership) -> Order {
    let all = owned.shards.epochs.len() == SHARDS;
    if all { Order::List } else { Order::Spread(owned.shards.member) }
}

type Facts = BTreeMap<JobNo, Arc<JobFacts>>;

/// Whether anything of the job may be pushed at all; its schedule is looked at where tokens are wanted.
fn may_deliver(facts: &JobFacts) -> bool {
    facts.job.status.delivers(facts.job.new.kind) && facts.job.new.policy.need_push
}

/// Whether a task in this status may be pushed: not while it waits for its cancellation.
fn may_push(facts: &JobFacts, status: TaskStatus) -> bool {
    may_deliver(facts) && !facts.is_canceling(status)
}

/// Whether a dynamic job may push to the task's device once more (I16). A notice of which nobody has told counts
/// as written; only words that were lost for good can hide more than that one.
fn pushes_left(facts: &JobFacts, task: &Task) -> bool {
    if facts.job.new.kind != JobKind::Dynamic {
        return true;
    }
    let is_untold = match &task.state {
        TaskState::Notified { delivery, .. } | TaskState::InProgress { delivery, .. } => {
            matches!(delivery, Delivery::Claimed { .. } | Delivery::Wanted)
        }
        TaskState::Confirm
        | TaskState::Queued
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Canceled { .. } => false,
    };
    task.notices + u32::from(is_untold) < DYNAMIC_PUSHES_MAX
}
