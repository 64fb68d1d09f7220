//! Some seeds, every planted mistake, and every list of operations that once broke something.

use otaria_sim::{Plant, Scenario, run, shrink};

#[test]
fn nothing_breaks_in_the_first_seeds() {
    for seed in 0..24 {
        let scenario = Scenario::draw(seed);
        let outcome = run(&scenario, None, false);
        assert_eq!(outcome.violation, None, "seed {seed}:\n{scenario}");
        assert!(outcome.ops >= 100);
    }
}

#[test]
fn a_seed_runs_the_same_way_again() {
    for seed in [3, 40] {
        let again = || run(&Scenario::draw(seed), None, true);
        let first = again();
        assert!(first.trace.lines().count() > 200, "{}", first.trace.len());
        assert_eq!(first, again());
    }
}

/// From which seed on to look, and what the mistake breaks. The first numbers only spare time: they move when the
/// engine does.
const MET: [(Plant, u64, &str); 7] = [
    (Plant::PaceCapacityR, 0, "I1"),
    (Plant::LeaseNoEpoch, 6, "I13"),
    (Plant::CursorBeforeCommit, 155, "I4"),
    (Plant::PushBeforeCommit, 25, "I7"),
    (Plant::TimeoutResetOnReconnect, 2, "I8"),
    (Plant::PresenceLostWakeup, 0, "I18"),
    (Plant::FenceNoWait, 19, "I5"),
];

/// Seeds that are tried for a mistake.
const TRIED: u64 = 300;

/// The first seed that meets a mistake, and what it breaks there.
fn meets(plant: Plant, first: u64) -> (Scenario, String) {
    let mut found = (first..first + TRIED).filter_map(|seed| {
        let scenario = Scenario::draw(seed);
        let outcome = run(&scenario, Some(plant), false);
        outcome.broken().map(|broken| (scenario, broken.to_owned()))
    });
    found.next().unwrap_or_else(|| panic!("{plant} is not found in {TRIED} seeds"))
}

#[test]
fn every_planted_mistake_is_found() {
    assert_eq!(MET.map(|(plant, ..)| plant), Plant::ALL);
    for (plant, first, broken) in MET {
        let (scenario, found) = meets(plant, first);
        assert_eq!(found, broken, "{plant}");
        assert_eq!(run(&scenario, None, false).violation, None, "{plant}: without it all is well");
    }
}

#[test]
fn a_failing_list_is_cut_down_and_can_be_kept() {
    let plant = Plant::CursorBeforeCommit;
    let (scenario, broken) = meets(plant, MET[2].1);
    let short = shrink(&scenario, Some(plant));
    assert!(short.ops.len() <= 12, "{short}");
    let kept = Scenario::parse(&short.to_string()).unwrap();
    assert_eq!(run(&kept, Some(plant), false).broken(), Some(broken.as_str()));
    assert_eq!(run(&kept, None, false).violation, None);
}

#[test]
fn what_broke_once_does_not_break_again() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kept");
    let mut kept = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::parse(&std::fs::read_to_string(&path).unwrap());
        let scenario = scenario.unwrap_or_else(|| panic!("{} holds no list", path.display()));
        assert_eq!(run(&scenario, None, false).violation, None, "{}", path.display());
        kept += 1;
    }
    assert!(kept > 0);
}
