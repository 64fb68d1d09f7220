//! What one server process holds in memory: all of it is gone when the process dies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use otaria_core::link::LinkKey;
use otaria_core::pace::HORIZON_EMBEDDED;
use otaria_core::rules::Limits;
use otaria_core::time::Timestamp;
use otaria_core::vault::Vault;
use otaria_engine::closer::Closer;
use otaria_engine::dispatcher::Dispatcher;
use otaria_engine::error::CommandError;
use otaria_engine::expander::Expander;
use otaria_engine::janitor::{self, Retention, Work};
use otaria_engine::ownership::Owner;
use otaria_engine::{Commands, Deps, Shell, Wake, overdue};
use otaria_ports::bell::Bell;
use otaria_ports::bus::LocalBus;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::pace::LocalPace;
use otaria_ports::presence::LocalPresence;
use otaria_ports::pusher::Pusher;
use otaria_ports::store::Leases;
use otaria_ports::store::memory::MemoryStore;

/// How long a lease lasts without renewal.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// A loop without news looks by itself this often.
const IDLE: Duration = Duration::from_secs(1);
/// After a failure.
const REST: Duration = Duration::from_millis(100);
/// Ticks in a row that a loop may want at one and the same instant.
const SPIN_MAX: usize = 3_000;

/// Nothing in these tests ever waits.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing here waits")
}

/// The loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    Owner,
    Dispatcher,
    Overdue,
    Expander,
    Closer,
}

pub(crate) const LOOPS: [Loop; 5] =
    [Loop::Owner, Loop::Dispatcher, Loop::Overdue, Loop::Expander, Loop::Closer];

/// See the module.
pub(crate) struct Process {
    pub(crate) shell: Arc<Shell>,
    pub(crate) commands: Commands,
    pub(crate) presence: Arc<LocalPresence>,
    pub(crate) owner: Owner,
    pub(crate) dispatcher: Dispatcher,
    expander: Expander,
    closer: Closer,
    news: Arc<Bell>,
    /// When each loop is to be run next.
    due: [Timestamp; 5],
    spins: [usize; 5],
    /// Whether periodic work pokes jobs; without it, every hint must come by itself.
    pub(crate) pokes: bool,
    poke_at: Timestamp,
}

impl Process {
    /// Starts over a store that may have seen others; `alone` as the embedded server does, after a crash.
    pub(crate) fn start(
        store: &Arc<MemoryStore>,
        objects: &MemoryObjects,
        ids: &Arc<CountingIds>,
        pusher: Arc<dyn Pusher>,
        alone: bool,
        now: Timestamp,
    ) -> Self {
        let news: Arc<Bell> = Arc::default();
        let member = run(store.join(now, LEASE)).unwrap();
        let presence = Arc::new(LocalPresence::new(member.0, Arc::clone(&news)));
        let master = [7; 32];
        let shell = Shell::new(Deps {
            store: Arc::clone(store) as _,
            objects: Arc::new(objects.clone()),
            presence: Arc::clone(&presence) as _,
            pusher,
            pace: Arc::new(LocalPace::new(HORIZON_EMBEDDED)),
            bus: Arc::new(LocalBus::new(Arc::clone(&news))),
            ids: Arc::clone(ids) as _,
            vault: Vault::new(&master),
            link_key: LinkKey::new([7; 32]),
            download_base: "http://127.0.0.1:8080".into(),
            limits: Limits::default(),
        });
        let owner = run(Owner::begin(Arc::clone(&shell), member, LEASE, alone, now)).unwrap();
        Self {
            commands: Commands::new(Arc::clone(&shell)),
            presence,
            owner,
            dispatcher: Dispatcher::new(Arc::clone(&shell), now),
            expander: Expander::new(Arc::clone(&shell)),
            closer: Closer::new(Arc::clone(&shell)),
            news,
            due: [now; 5],
            spins: [0; 5],
            pokes: true,
            poke_at: now + Work::PokeJobs.period(),
            shell,
        }
    }

    /// When a loop next has work, if nobody rings for it.
    pub(crate) fn next(&self, which: Loop) -> Timestamp {
        let bell = match which {
            Loop::Owner | Loop::Overdue => None,
            Loop::Dispatcher => Some(&self.news),
            Loop::Expander => Some(self.shell.expand_hints.bell()),
            Loop::Closer => Some(self.shell.close_hints.bell()),
        };
        if let Some(bell) = bell
            && bell.heard().now_or_never().is_some()
        {
            // The loop is to hear it too.
            bell.ring();
            return Timestamp::EPOCH;
        }
        self.due[which as usize]
    }

    /// Runs a loop once if it is due, as the binary does.
    pub(crate) fn tick(&mut self, which: Loop, now: Timestamp) {
        if self.next(which) > now {
            return;
        }
        match which {
            Loop::Dispatcher => drop(self.news.heard().now_or_never()),
            Loop::Expander => drop(self.shell.expand_hints.bell().heard().now_or_never()),
            Loop::Closer => drop(self.shell.close_hints.bell().heard().now_or_never()),
            Loop::Owner | Loop::Overdue => {}
        }
        let place = which as usize;
        self.due[place] = match self.turn(which, now) {
            Ok(Wake::Now) => now,
            Ok(Wake::At(at)) => at.min(now + IDLE),
            Ok(Wake::OnSignal) => now + IDLE,
            Err(_) => now + REST,
        };
        self.spins[place] = if self.due[place] <= now { self.spins[place] + 1 } else { 0 };
        assert!(self.spins[place] < SPIN_MAX, "{which:?} spins at {now:?}");
    }

    fn turn(&mut self, which: Loop, now: Timestamp) -> Result<Wake, CommandError> {
        let owned = self.owner.owned().clone();
        match which {
            Loop::Owner => run(self.owner.tick(now)),
            Loop::Dispatcher => run(self.dispatcher.tick(now, &owned)),
            Loop::Overdue => run(overdue::tick(&self.shell, now, &owned)),
            Loop::Expander => run(self.expander.tick(now, &owned)),
            Loop::Closer => run(self.closer.tick(now, &owned)),
        }
    }

    /// What the scheduler of periodic work does.
    pub(crate) fn poke(&mut self, now: Timestamp) {
        if self.pokes && now >= self.poke_at {
            self.poke_at = now + Work::PokeJobs.period();
            let day = Duration::from_secs(86_400);
            // A failure is tried again in the next turn.
            drop(run(janitor::run(
                &self.shell,
                Work::PokeJobs,
                &self.owner.owned().clone(),
                Retention { uploads: day, jobs: day },
                now,
            )));
        }
    }
}
