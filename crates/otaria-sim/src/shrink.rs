//! Cuts a failing list of operations down to those that matter.

use crate::op::{Op, Scenario};
use crate::plant::Plant;
use crate::run::run;

/// Runs that are tried at most.
const TRIES: usize = 600;

/// The shortest list found that breaks the same invariant; the list itself where it breaks none.
#[must_use]
pub fn shrink(scenario: &Scenario, plant: Option<Plant>) -> Scenario {
    let outcome = run(scenario, plant, false);
    let Some(broken) = outcome.broken().map(str::to_owned) else { return scenario.clone() };
    let mut best = scenario.clone();
    best.ops.truncate(outcome.ops.max(1));
    let mut tries = 0;
    let mut breaks = |candidate: &Scenario| {
        tries += 1;
        tries <= TRIES && run(candidate, plant, false).broken() == Some(broken.as_str())
    };
    if !breaks(&best) {
        best = scenario.clone();
    }
    let mut piece = best.ops.len().div_ceil(2);
    while piece > 0 {
        let mut from = 0;
        while from < best.ops.len() {
            let mut candidate = best.clone();
            let to = (from + piece).min(candidate.ops.len());
            candidate.ops.drain(from..to);
            if breaks(&candidate) {
                best = candidate;
            } else {
                from += piece;
            }
        }
        piece /= 2;
    }
    for devices in [1, 2, 4, 8, 16, 32] {
        let mut candidate = best.clone();
        candidate.setup.devices = devices;
        if devices < best.setup.devices && breaks(&candidate) {
            best = candidate;
            break;
        }
    }
    for n in 0..best.ops.len() {
        if let Op::Create { kind, host, devices: 2.., rate, retry, rules, salt } = best.ops[n] {
            let mut candidate = best.clone();
            candidate.ops[n] = Op::Create { kind, host, devices: 1, rate, retry, rules, salt };
            if breaks(&candidate) {
                best = candidate;
            }
        }
    }
    best
}
