//! The judge itself is judged: good histories are clean, whatever is cut out of them, and every kind of mistake that
//! is planted into one is found, by the rule that it breaks.

mod borders;
mod files;
mod good;
mod history;
mod holes;
mod spoil;

use std::path::Path;

use good::good;
use history::{Chance, History};

#[test]
fn good_histories_are_clean() {
    for seed in 0..40 {
        let verdict = good(seed).judge();
        assert!(verdict.is_ok() && !verdict.is_incomplete(), "seed {seed}: {:#?}", verdict.violations);
        assert!(verdict.not_judged.is_empty(), "{:?}", verdict.not_judged);
        for (rule, times) in &verdict.checked {
            assert!(*times > 0, "{rule} was not looked at");
        }
    }
}

/// A history for each seed.
type Of = fn(u64) -> History;

fn real(_: u64) -> History {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept/retries-and-confirmations");
    History::read(&kept)
}

/// Plants every kind of mistake with so many seeds; prints what was found. Returns what was planted of each kind.
fn plant(of: Of, seeds: u64) -> Vec<(&'static str, u64)> {
    let mut missed = Vec::new();
    let mut all = Vec::new();
    for (kind, rule, spoil) in spoil::kinds() {
        let (mut planted, mut found) = (0, 0);
        for seed in 0..seeds {
            let mut chance = Chance(seed ^ 0xfeed);
            // A place that cannot take it is no plant: try another one.
            let spoiled = (0..20).find_map(|_| {
                let mut history = of(seed);
                spoil(&mut history, &mut chance).then_some(history)
            });
            let Some(mut history) = spoiled else { continue };
            history.sort();
            planted += 1;
            let verdict = history.judge();
            if verdict.violations.iter().any(|violation| violation.invariant == rule) {
                found += 1;
            } else if missed.len() < 5 {
                missed.push(format!("{kind} (seed {seed}): {:#?}", verdict.violations));
            }
        }
        println!("{rule:>8}  {found:>2} of {planted:>2}  {kind}");
        if found < planted {
            missed.push(format!("{kind}: {found} of {planted}"));
        }
        all.push((kind, planted));
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    all
}

#[test]
fn every_kind_of_mistake_is_found() {
    for (kind, planted) in plant(good, 25) {
        assert!(planted >= 20, "{kind} could be planted {planted} times only");
    }
}

#[test]
fn mistakes_in_what_real_processes_wrote_are_found() {
    assert!(real(0).judge().is_ok());
    let planted = plant(real, 20);
    // Not everything that a job can do happened in this one.
    let kinds = planted.iter().filter(|(_, planted)| *planted == 20).count();
    assert!(kinds * 10 >= planted.len() * 7, "{kinds} of {}", planted.len());
}
