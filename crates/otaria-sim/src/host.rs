//! One host: a process with a clock of its own, loops, calls under way, and perhaps devices.
//!
//! A turn of a loop and a call are futures that the host keeps. They can be stopped at any port call, left there
//! while others move, polled on, or dropped when the host dies.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::task::noop_waker_ref;
use otaria_core::ids::JobNo;
use otaria_core::time::Timestamp;
use otaria_engine::closer::Closer;
use otaria_engine::dispatcher::Dispatcher;
use otaria_engine::error::CommandError;
use otaria_engine::expander::Expander;
use otaria_engine::janitor::{self, Retention, Work};
use otaria_engine::listener::Listener;
use otaria_engine::ownership::{Owner, Ownership};
use otaria_engine::{Commands, Shell, Wake, overdue};
use otaria_history::writer::History;
use otaria_ports::bell::Bell;
use otaria_ports::store::memory::Fault;

use crate::book::Stimulus;
use crate::door::Door;
use crate::gate::{Gate, WRITES};
use crate::medium::{Inner, Life, Medium};
use crate::ports::{SimBus, SimPresence};

/// A loop without news looks by itself this often.
const IDLE: Duration = Duration::from_secs(1);
/// After a failure.
const REST: Duration = Duration::from_millis(100);
/// Turns in a row that a loop may want at one and the same instant.
const SPIN_MAX: usize = 3_000;

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dispatcher,
    Gateway,
    Api,
}

/// The loops of a dispatcher, in the order of [`Live::slots`].
pub(crate) const LOOPS: usize = 6;
const DISPATCHER: usize = 1;
const OVERDUE: usize = 2;
const EXPANDER: usize = 3;
const CLOSER: usize = 4;
const JANITOR: usize = 5;

/// What a loop keeps between two turns.
enum Actor {
    Owner(Box<Owner>),
    Dispatcher(Box<Dispatcher>),
    Overdue,
    Expander(Box<Expander>),
    Closer(Box<Closer>),
    Janitor,
}

type Turn = Pin<Box<dyn Future<Output = (Actor, Result<Wake, CommandError>)> + Send>>;

/// A loop.
pub(crate) struct Slot {
    actor: Option<Actor>,
    running: Option<Turn>,
    /// By the host's clock; for a turn that stands still, when it goes on.
    due: Timestamp,
    spins: usize,
}

/// What a call answers.
pub(crate) enum Answer {
    Done(Result<(), CommandError>),
    Created(Result<otaria_core::ids::JobId, CommandError>),
    /// What a device that asks is offered: wire id and version.
    Fetched(Result<Option<(i64, JobNo, String)>, CommandError>),
}

/// A call under way.
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) stimulus: Stimulus,
    pub(crate) future: Pin<Box<dyn Future<Output = Answer> + Send>>,
    /// By the true time.
    pub(crate) due: Timestamp,
}

/// How a turn or a call is run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Stands still after so many yield points, and for how long.
    pub(crate) stop: Option<(u32, Duration)>,
    /// A port call fails, after so many others.
    pub(crate) fault: Option<(u32, Fault)>,
}

impl How {
    /// As the mood is.
    pub(crate) fn any(inner: &mut Inner) -> Self {
        let (stalls, faults) = (inner.mood.stalls, inner.mood.faults);
        let mut how = Self::default();
        if stalls > 0 && inner.chance.permille(stalls) {
            let passes = u32::try_from(inner.chance.below(8)).unwrap_or(0);
            let span = inner.chance.pick(&[1, 20, 20, 120, 500, 1_200]);
            how.stop = Some((passes, Duration::from_millis(span)));
        }
        if faults > 0 && inner.chance.permille(faults) {
            let calls = match inner.chance.below(2) {
                0 => u32::try_from(inner.chance.below(9)).unwrap_or(0),
                _ => WRITES + u32::try_from(inner.chance.below(2)).unwrap_or(0),
            };
            how.fault = Some((calls, inner.chance.pick(&[Fault::Before, Fault::After])));
        }
        how
    }
}

/// What is in a host's memory.
pub(crate) struct Live {
    pub(crate) life: Life,
    pub(crate) shell: Arc<Shell>,
    pub(crate) commands: Commands,
    pub(crate) gate: Arc<Gate>,
    pub(crate) bus: Arc<SimBus>,
    pub(crate) presence: Arc<SimPresence>,
    pub(crate) news: Arc<Bell>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) owned: Arc<Ownership>,
    pub(crate) calls: Vec<Call>,
    pub(crate) door: Option<Door>,
    /// What it writes down, if it does.
    pub(crate) history: Option<Arc<History>>,
    /// Of a host without loops, and when it looks, by the true time.
    pub(crate) listener: Listener,
    pub(crate) listens_at: Timestamp,
}

/// See the module.
pub(crate) struct Host {
    pub(crate) kind: Kind,
    pub(crate) live: Option<Box<Live>>,
    pub(crate) lives: u64,
    /// How far its clock is ahead of the true one, in milliseconds.
    pub(crate) skew: i64,
    shown: Timestamp,
    /// It does not move before.
    pub(crate) frozen_until: Timestamp,
    /// How the next call is run.
    pub(crate) next: How,
}

impl Host {
    pub(crate) const fn new(kind: Kind) -> Self {
        let shown = Timestamp::EPOCH;
        Self {
            kind,
            live: None,
            lives: 0,
            skew: 0,
            shown,
            frozen_until: Timestamp::EPOCH,
            next: How { stop: None, fault: None },
        }
    }

    /// Its clock, which never goes back.
    pub(crate) fn clock(&mut self, now: Timestamp) -> Timestamp {
        self.shown = self.shown.max(Timestamp::from_millis(now.millis() + self.skew));
        self.shown
    }

    /// The true time at which its clock shows an instant.
    pub(crate) fn truly(&self, shown: Timestamp) -> Timestamp {
        Timestamp::from_millis(shown.millis() - self.skew)
    }
}

/// The loops of a dispatcher that has just joined.
pub(crate) fn slots(owner: Owner, shell: &Arc<Shell>, now: Timestamp) -> Vec<Slot> {
    let actors = [
        Actor::Owner(Box::new(owner)),
        Actor::Dispatcher(Box::new(Dispatcher::new(Arc::clone(shell), now))),
        Actor::Overdue,
        Actor::Expander(Box::new(Expander::new(Arc::clone(shell)))),
        Actor::Closer(Box::new(Closer::new(Arc::clone(shell)))),
        Actor::Janitor,
    ];
    actors.into_iter().map(|actor| Slot { actor: Some(actor), running: None, due: now, spins: 0 }).collect()
}

async fn turn(
    mut actor: Actor,
    shell: Arc<Shell>,
    owned: Arc<Ownership>,
    now: Timestamp,
) -> (Actor, Result<Wake, CommandError>) {
    let wake = match &mut actor {
        Actor::Owner(owner) => owner.tick(now).await,
        Actor::Dispatcher(dispatcher) => dispatcher.tick(now, &owned).await,
        Actor::Overdue => overdue::tick(&shell, now, &owned).await,
        Actor::Expander(expander) => expander.tick(now, &owned).await,
        Actor::Closer(closer) => closer.tick(now, &owned).await,
        Actor::Janitor => {
            let day = Duration::from_secs(86_400);
            let keep = Retention { uploads: day, jobs: 30 * day };
            let mut ran = Ok(true);
            for work in [Work::PokeJobs, Work::AuditCounters] {
                ran = janitor::run(&shell, work, &owned, keep, now).await;
                if ran.is_err() {
                    break;
                }
            }
            ran.map(|_| Wake::At(now + Work::PokeJobs.period()))
        }
    };
    (actor, wake)
}

/// An error with what it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut from = error.source();
    while let Some(source) = from {
        text = format!("{text}: {source}");
        from = source.source();
    }
    text
}

fn was_rung(bell: &Bell) -> bool {
    let rung = bell.heard().now_or_never().is_some();
    if rung {
        // The loop is to hear it too.
        bell.ring();
    }
    rung
}

impl Live {
    fn bell(&self, which: usize) -> Option<&Bell> {
        match which {
            DISPATCHER => Some(&self.news),
            EXPANDER => Some(self.shell.expand_hints.bell()),
            CLOSER => Some(self.shell.close_hints.bell()),
            _ => None,
        }
    }

    /// When a loop has work next, by the host's clock.
    pub(crate) fn due(&self, which: usize) -> Timestamp {
        let slot = &self.slots[which];
        if slot.running.is_none() {
            let rung = self.bell(which).is_some_and(was_rung);
            if rung || (which == DISPATCHER && self.presence.has_news()) {
                return Timestamp::EPOCH;
            }
        }
        slot.due
    }

    pub(crate) fn is_running(&self, which: usize) -> bool {
        self.slots[which].running.is_some()
    }

    /// Lets what stands still go on at once.
    pub(crate) fn go(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.running.is_some()) {
            slot.due = Timestamp::EPOCH;
        }
        for call in &mut self.calls {
            call.due = Timestamp::EPOCH;
        }
    }

    /// Runs a loop's turn, or its rest. `Err` names a loop that never comes to rest.
    pub(crate) fn tick(
        &mut self,
        which: usize,
        now: Timestamp,
        medium: &Medium,
        how: How,
    ) -> Result<(), String> {
        if let Some(bell) = self.bell(which) {
            let _rung = bell.heard().now_or_never();
        }
        let mut running = match self.slots[which].running.take() {
            Some(running) => running,
            None => {
                let Some(actor) = self.slots[which].actor.take() else { return Ok(()) };
                Box::pin(turn(actor, Arc::clone(&self.shell), Arc::clone(&self.owned), now))
            }
        };
        medium.lock().book.stimulus = if which == OVERDUE { Stimulus::Overdue } else { Stimulus::Other };
        let polled = self.poll(&mut running, how);
        let slot = &mut self.slots[which];
        let Poll::Ready((actor, wake)) = polled else {
            slot.running = Some(running);
            slot.due = now + how.stop.map_or(REST, |(_, span)| span);
            medium.lock().book.count("hold");
            return Ok(());
        };
        if let Err(error) = &wake {
            let (host, error) = (self.life.host, chain(error));
            medium.lock().tell(|| format!("host {host} loop {which}: {error}"));
        }
        if let Actor::Owner(owner) = &actor {
            self.owned = Arc::new(owner.owned().clone());
        }
        slot.due = match wake {
            Ok(Wake::Now) => now,
            Ok(Wake::At(at)) if which == JANITOR => at,
            Ok(Wake::At(at)) => at.min(now + IDLE),
            Ok(Wake::OnSignal) => now + IDLE,
            Err(_) => now + REST,
        };
        slot.actor = Some(actor);
        slot.spins = if slot.due <= now { slot.spins + 1 } else { 0 };
        if slot.spins > SPIN_MAX { Err(format!("loop {which} spins")) } else { Ok(()) }
    }

    fn poll<T>(&self, future: &mut Pin<Box<dyn Future<Output = T> + Send>>, how: How) -> Poll<T> {
        self.gate.open();
        if let Some((passes, _)) = how.stop {
            self.gate.stop_in(passes);
        }
        if let Some((calls, fault)) = how.fault {
            self.gate.fail_in(calls, fault);
        }
        let polled = future.as_mut().poll(&mut Context::from_waker(noop_waker_ref()));
        self.gate.open();
        polled
    }

    /// Begins or goes on with a call; its answer when it is done.
    pub(crate) fn call(
        &mut self,
        mut call: Call,
        now: Timestamp,
        medium: &Medium,
        how: How,
    ) -> Option<(u64, Answer)> {
        {
            let mut inner = medium.lock();
            inner.book.stimulus = call.stimulus.clone();
            inner.alarm = None;
        }
        match self.poll(&mut call.future, how) {
            Poll::Ready(answer) => Some((call.number, answer)),
            Poll::Pending => {
                let alarm = medium.lock().alarm.take();
                call.due = alarm.unwrap_or_else(|| now + how.stop.map_or(REST, |(_, span)| span));
                self.calls.push(call);
                None
            }
        }
    }
}
