//! One seed, from its first operation to its end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::op::Scenario;
use crate::plant::Plant;
use crate::records::{Recorded, Records};
use crate::world::{BEGIN, World};

/// What came out of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first thing that did not hold.
    pub violation: Option<String>,
    /// Operations carried out.
    pub ops: usize,
    /// The virtual time that went by.
    pub virtual_millis: u64,
    /// What happened, and how often.
    pub events: BTreeMap<&'static str, u64>,
    /// Which invariant was looked at, and how often.
    pub checked: BTreeMap<&'static str, u64>,
    /// What happened, line by line, if that was asked for.
    pub trace: String,
}

impl Outcome {
    /// The invariant that did not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.violation.as_deref().and_then(|violation| violation.split(':').next())
    }
}

/// Runs a scenario, with a mistake planted or without, and with a trace or without.
#[must_use]
pub fn run(scenario: &Scenario, plant: Option<Plant>, traced: bool) -> Outcome {
    let ran = catch_unwind(AssertUnwindSafe(|| live(scenario, plant, traced, None).0));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome { violation: Some(format!("panic: {}", text.unwrap_or_default())), ..Outcome::default() }
    })
}

/// Runs a scenario and returns beside its outcome what its hosts and devices wrote down.
///
/// # Panics
/// When the scenario does; [`run`] tells why.
#[must_use]
pub fn record(scenario: &Scenario, plant: Option<Plant>) -> (Outcome, Recorded) {
    let (outcome, recorded) = live(scenario, plant, false, Some(Records::default()));
    (outcome, recorded.unwrap_or_default())
}

fn live(
    scenario: &Scenario,
    plant: Option<Plant>,
    traced: bool,
    records: Option<Records>,
) -> (Outcome, Option<Recorded>) {
    let mut world = World::new(&scenario.setup, plant, traced, records);
    let mut outcome = Outcome::default();
    for op in &scenario.ops {
        world.tell(|| format!("> {op}"));
        world.operate(*op);
        world.check();
        outcome.ops += 1;
        if world.is_broken() {
            break;
        }
    }
    if !world.is_broken() {
        world.make_peace(outcome.ops as u64);
    }
    let living = world.hosts.iter().filter_map(|host| host.live.as_ref()?.history.as_ref());
    living.for_each(|history| history.close());
    let recorded = world.records.take().map(Records::end);
    let mut inner = world.medium.lock();
    outcome.violation = inner.book.violations.first().cloned();
    outcome.virtual_millis = u64::try_from(inner.now.millis() - BEGIN).unwrap_or(0);
    outcome.events = std::mem::take(&mut inner.book.events);
    outcome.checked = std::mem::take(&mut inner.book.checked);
    outcome.trace = inner.trace.take().unwrap_or_default();
    (outcome, recorded)
}
