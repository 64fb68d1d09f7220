//! The witnesses of production in the simulated world: whatever happens there, they raise no false alarm; and what they are
//! there for, they see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use otaria_core::witness::COUNTER;
use otaria_sim::{Plant, Scenario, run};

/// Counts what the engine's witnesses count, and nothing else.
#[derive(Default)]
struct Alarms(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Alarms {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != COUNTER {
            return Counter::noop();
        }
        let invariant = key.labels().next().unwrap().value().to_owned();
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(invariant).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Runs a scenario; what broke there, and what the engine's witnesses counted.
fn alarms(scenario: &Scenario, plant: Option<Plant>) -> (Option<String>, Vec<(String, u64)>) {
    let alarms = Alarms::default();
    let outcome = with_local_recorder(&alarms, || run(scenario, plant, false));
    let found = alarms.0.into_inner().unwrap().into_iter();
    (outcome.violation, found.map(|(invariant, count)| (invariant, count.load(Ordering::Relaxed))).collect())
}

#[test]
fn no_witness_raises_a_false_alarm() {
    // More of them on request.
    let seeds = std::env::var("OTARIA_SIM_SEEDS").map_or(24, |seeds| seeds.parse().unwrap());
    for seed in 1_000..1_000 + seeds {
        let scenario = Scenario::draw(seed);
        assert_eq!(alarms(&scenario, None), (None, Vec::new()), "seed {seed}");
    }
}

#[test]
fn the_gateway_sees_a_job_that_goes_too_fast() {
    // A gateway sees only what it wrote itself: in most seeds the simulation, which sees all, is the first to tell.
    let broken = |seed| alarms(&Scenario::draw(seed), Some(Plant::PaceCapacityR)).0;
    let seen = (0..100).filter_map(broken).find(|seen| seen.contains("a witness saw it"));
    let seen = seen.expect("one gateway writes too much by itself");
    assert!(seen.starts_with("I1: "), "{seen}");
}
