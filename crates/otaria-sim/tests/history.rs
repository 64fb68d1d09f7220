//! What simulated processes and devices write down is enough for a judge who knows nothing else: good worlds are
//! found good, and planted mistakes are found in the records alone.

use otaria_history::check::{Checker, Options, Place, Verdict};
use otaria_sim::{Plant, Recorded, Scenario, record, run};

fn judge(recorded: &Recorded) -> Verdict {
    let mut checker = Checker::default();
    let place = |file: usize, n: usize| Place::new(file, n as u64 + 1);
    for (file, lines) in recorded.processes.values().enumerate() {
        for (n, line) in lines.iter().enumerate() {
            let text = serde_json::to_string(line).unwrap();
            checker.server_line(place(file, n), &text).unwrap();
        }
    }
    let devices = recorded.processes.len();
    for (n, seen) in recorded.devices.iter().enumerate() {
        let text = serde_json::to_string(seen).unwrap();
        checker.device_line(place(devices, n), &text).unwrap();
    }
    checker.judge(Options::default()).unwrap()
}

#[test]
fn good_worlds_are_found_good_and_are_not_changed_by_being_recorded() {
    let mut judged = 0;
    for seed in 0..12 {
        let scenario = Scenario::draw(seed);
        let (outcome, recorded) = record(&scenario, None);
        assert_eq!(outcome, run(&scenario, None, false), "seed {seed}");
        let verdict = judge(&recorded);
        assert!(verdict.violations.is_empty(), "seed {seed}: {:#?}", verdict.violations);
        judged += verdict.checked.values().sum::<u64>();
    }
    assert!(judged > 5_000, "{judged}");
}

/// Most mistakes end a simulation at the first step that shows them; this one shows in the records by then as well,
/// beyond all that clocks may differ by.
#[test]
fn a_pace_that_lets_too_much_through_is_found_in_the_records_alone() {
    let found = (0..50).any(|seed| {
        let (_, recorded) = record(&Scenario::draw(seed), Some(Plant::PaceCapacityR));
        judge(&recorded).violations.iter().any(|violation| violation.invariant == "I1")
    });
    assert!(found);
}
