//! Whatever is missing of a good history, it is no violation.

use otaria_history::check::{Options, Verdict};
use otaria_history::record::{Fact, Line};

use crate::good::good;
use crate::history::{Chance, History, judge, judge_buried};

/// So many of each.
const SEEDS: u64 = 100;

/// Cuts holes of some kind into the files of a history.
type Cut = fn(&mut [Vec<Line>], &mut Chance);

const CUTS: &[(&str, Cut)] = &[
    ("killed", killed),
    ("killed and gone on without a word", middle),
    ("disk full", full),
    ("rotated away", rotated),
    ("not answered", unsure),
    ("all of it", everything),
];

fn killed(files: &mut [Vec<Line>], chance: &mut Chance) {
    for file in files {
        let keep = 1 + chance.below(file.len() as u64 - 1) as usize;
        file.truncate(keep);
    }
}

fn middle(files: &mut [Vec<Line>], chance: &mut Chance) {
    for file in files {
        let from = 1 + chance.below(file.len() as u64 - 1) as usize;
        let until = (from + chance.below(60) as usize).min(file.len());
        file.drain(from..until);
    }
}

fn full(files: &mut [Vec<Line>], chance: &mut Chance) {
    for file in files {
        let from = 1 + chance.below(file.len() as u64 - 2) as usize;
        let until = (from + 1 + chance.below(60) as usize).min(file.len() - 1);
        let gone: Vec<Line> = file.drain(from..until).collect();
        let last = gone.last().unwrap();
        let gap = Line { n: last.n, from: last.at, at: last.at, fact: Fact::Gap { lost: gone.len() as u64 } };
        file.insert(from, gap);
    }
}

fn rotated(files: &mut [Vec<Line>], chance: &mut Chance) {
    for file in files {
        let until = 2 + chance.below(file.len() as u64 - 3) as usize;
        file.drain(1..until);
        file[0].n = file[1].n - 1;
        (file[0].from, file[0].at) = (file[1].at, file[1].at);
    }
}

/// Writes that were done and not answered: their lines are missing.
fn unsure(files: &mut [Vec<Line>], chance: &mut Chance) {
    for file in files.iter_mut() {
        for _ in 0..10 {
            let at = 1 + chance.below(file.len() as u64 - 2) as usize;
            if matches!(file[at].fact, Fact::Stop {} | Fact::Settled { .. } | Fact::Report { .. }) {
                continue;
            }
            file[at].fact = Fact::Unsure { doing: "something".into(), jobs: Vec::new() };
        }
    }
}

fn everything(files: &mut [Vec<Line>], chance: &mut Chance) {
    for cut in [unsure, full, middle, killed] {
        cut(files, chance);
    }
}

fn cut(history: &History, how: Cut, chance: &mut Chance, options: Options) -> Verdict {
    let mut files = history.numbered();
    how(&mut files, chance);
    judge(&files, &history.seen, options)
}

#[test]
fn what_is_missing_is_no_violation() {
    for (name, how) in CUTS {
        let mut judged = 0;
        for seed in 0..SEEDS {
            let history = good(seed);
            let verdict = cut(&history, *how, &mut Chance(seed), Options::default());
            assert!(verdict.is_ok(), "{name}, seed {seed}: {:#?}", verdict.violations);
            assert!(
                verdict.is_incomplete() || *name == "killed and gone on without a word",
                "{name}, seed {seed}"
            );
            judged += verdict.checked.values().sum::<u64>();
        }
        println!("{name}: {judged} evaluations, no false alarm");
    }
}

#[test]
fn the_end_of_the_devices_record_may_be_missing_too() {
    for seed in 0..SEEDS {
        let mut history = good(seed);
        let keep = Chance(seed).below(history.seen.len() as u64) as usize;
        history.seen.truncate(keep);
        let verdict = history.judge();
        assert!(verdict.is_ok(), "seed {seed}: {:#?}", verdict.violations);
    }
}

#[test]
fn a_killed_process_that_was_buried_hides_less() {
    let (mut hidden, mut left) = (0, 0);
    for seed in 0..20 {
        let history = good(seed);
        let mut files = history.numbered();
        // One more that is killed soon after its start.
        let (name, begin) = ("killed", files[0][0].at);
        let fact = Fact::Start { process: name.to_owned(), version: "1".to_owned() };
        files.push(vec![Line { n: 1, from: begin, at: begin, fact }]);
        let unknown = judge(&files, &history.seen, Options::default());
        let graves = [(name.to_owned(), begin + 1_000_000)];
        let known = judge_buried(&files, &history.seen, Options::default(), &graves);
        assert!(known.is_ok(), "seed {seed}: {:#?}", known.violations);
        assert_eq!((known.unfinished, unknown.unfinished), (1, 1));
        hidden += unknown.not_judged.values().sum::<u64>();
        left += known.not_judged.values().sum::<u64>();
    }
    assert!(
        left * 2 < hidden,
        "{left} of {hidden} are not judged though it is known when the process was gone"
    );
}

#[test]
fn what_is_certain_is_found_beside_a_hole() {
    // A killed process does not hide what the other lines prove by themselves.
    let certain = [
        "a write after the fence",
        "a write before ScheduleTime",
        "a succeeded task fails",
        "another body with the same token",
        "a write under an older epoch after the lease",
        "a topic of another device",
    ];
    for (kind, rule, spoil) in crate::spoil::kinds().into_iter().filter(|(kind, ..)| certain.contains(kind)) {
        for seed in 0..20 {
            let mut chance = Chance(seed);
            let mut history = good(seed);
            assert!(spoil(&mut history, &mut chance), "{kind}");
            history.sort();
            let mut files = history.numbered();
            files.iter_mut().for_each(|file| drop(file.pop()));
            let verdict = judge(&files, &history.seen, Options::default());
            assert!(verdict.is_incomplete());
            let found = verdict.violations.iter().any(|violation| violation.invariant == rule);
            assert!(found, "{kind}, seed {seed}: {:#?}", verdict.violations);
        }
    }
}
