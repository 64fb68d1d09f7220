//! What a world writes down where it is recorded: a history for each life of each host, by that host's clock, and the
//! devices' own record, by the true time. The recorders are those of production.
//!
//! Draws no chance and changes nothing, so a recorded world is the same as one that is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use otaria_core::ids::DeviceId;
use otaria_core::task::{Report, ReportOrder, Said};
use otaria_core::time::Timestamp;
use otaria_history::record::{Line, Seen, Sight};
use otaria_history::recorder::{RecordedEvents, RecordedPusher, RecordedStore};
use otaria_history::writer::{History, not_before};
use otaria_ports::clock::Clock;
use otaria_ports::events::{Events, NoEvents};
use otaria_ports::pusher::Pusher;
use otaria_ports::store::Store;

use crate::medium::{HostNo, Life, Medium};
use crate::store::Shared;
use crate::world::World;

/// What came out of a recorded world.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The lines of each process, by its name. A process that died says nothing of its end.
    pub processes: BTreeMap<String, Vec<Line>>,
    /// What the devices saw, in order.
    pub devices: Vec<Seen>,
}

/// Everything that is written down.
#[derive(Default)]
pub(crate) struct Records {
    lives: BTreeMap<String, Arc<History>>,
    skews: BTreeMap<HostNo, Arc<AtomicI64>>,
    seen: Vec<Seen>,
    /// The last report of each device that it is known to have said.
    said: BTreeMap<DeviceId, ReportOrder>,
}

/// A host's clock, which never goes back.
struct HostClock {
    medium: Arc<Medium>,
    skew: Arc<AtomicI64>,
    shown: AtomicI64,
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let now = self.medium.lock().now.millis() + self.skew.load(Ordering::SeqCst);
        Timestamp::from_millis(self.shown.fetch_max(now, Ordering::SeqCst).max(now))
    }
}

impl Records {
    /// A host begins a life.
    pub(crate) fn begin(&mut self, medium: &Arc<Medium>, life: Life) -> Arc<History> {
        let skew = Arc::clone(self.skews.entry(life.host).or_default());
        let clock = HostClock { medium: Arc::clone(medium), skew, shown: AtomicI64::default() };
        let name = format!("host{}-{}", life.host, life.number);
        let history = History::in_memory(name.clone(), "sim".to_owned(), Arc::new(clock));
        self.lives.insert(name, Arc::clone(&history));
        history
    }

    /// A host's clock goes so many milliseconds ahead from now on.
    pub(crate) fn skew(&mut self, host: HostNo, millis: i64) {
        self.skews.entry(host).or_default().store(millis, Ordering::SeqCst);
    }

    /// Whether a device says this for the first time.
    fn is_news(&mut self, report: &Report) -> bool {
        let last = self.said.entry(report.device).or_default();
        let is_news = report.order > *last;
        *last = report.order.max(*last);
        is_news
    }

    /// All of it.
    pub(crate) fn end(mut self) -> Recorded {
        self.seen.sort_by_key(|seen| seen.at);
        let processes = self.lives.into_iter().map(|(name, history)| (name, history.lines())).collect();
        Recorded { processes, devices: self.seen }
    }
}

impl World {
    /// A device sees or does something.
    pub(crate) fn saw(&mut self, place: usize, at: Timestamp, what: impl FnOnce() -> Sight) {
        if let Some(records) = &mut self.records {
            let (product, device) = (self.product.clone(), self.fleet.devices[place].name.clone());
            records.seen.push(Seen { at: not_before(at), product, device, what: what() });
        }
    }

    /// A device says these, and perhaps said some of them before.
    pub(crate) fn saw_saying(&mut self, place: usize, at: Timestamp, reports: &[Report]) {
        for report in reports {
            if self.records.as_mut().is_some_and(|records| records.is_news(report)) {
                self.saw(place, at, || spoken(&report.said));
            }
        }
    }
}

fn spoken(said: &Said) -> Sight {
    let module = String::new();
    match said {
        Said::Version(version) => Sight::Inform { version: version.as_str().to_owned(), module },
        Said::Progress { percent, .. } => Sight::Progress { step: percent.get().into(), module },
        // −1 to −4.
        Said::Refused { step, .. } => {
            Sight::Progress { step: i16::try_from(step.code()).unwrap_or(-1), module }
        }
    }
}

/// A notice as a device sees it.
pub(crate) fn sight_of(id: i64, version: &str) -> Sight {
    Sight::Notice { version: version.to_owned(), module: String::new(), id, strange_topic: None }
}

/// The store of a host. What the recorder itself reads is no call of the host.
pub(crate) fn recorded_store(
    history: Option<&Arc<History>>,
    inner: Arc<dyn Store>,
    shared: &Shared,
) -> Arc<dyn Store> {
    match history {
        Some(history) => {
            RecordedStore::with_reader(Arc::clone(history), inner, Arc::clone(&shared.facts) as _)
        }
        None => inner,
    }
}

/// The way of a host's notices.
pub(crate) fn recorded_pusher(history: Option<&Arc<History>>, inner: Arc<dyn Pusher>) -> Arc<dyn Pusher> {
    match history {
        Some(history) => RecordedPusher::new(Arc::clone(history), inner),
        None => inner,
    }
}

/// What hears the commits of a host.
pub(crate) fn told(history: &Arc<History>) -> Arc<dyn Events> {
    RecordedEvents::new(Arc::clone(history), Arc::new(NoEvents))
}
