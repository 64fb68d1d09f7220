//! The test command: everything a change must pass, in order, with the time each step took.
//!
//! Never installs anything and asks for nothing but a Rust toolchain and a C compiler.
//!
//! Invariant: the last line is `N passed, N failed`, summed over all test binaries, whatever happened.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{repo, tidy};

/// Seen by tests that can do a longer run: more seeds, more kills, larger lists.
const FULL: &str = "OTARIA_TEST_FULL";

const TESTS: &[&str] = &["test", "--workspace", "--locked", "--no-fail-fast"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Runs the steps, up to the first that fails. True if none does.
pub(crate) fn run(full: bool) -> Result<bool> {
    let root = repo::root()?;
    let mut counts = Counts::default();
    let repeat = if full {
        format!("{FULL}=1 cargo {}", TESTS.join(" "))
    } else {
        format!("cargo {}", TESTS.join(" "))
    };

    let ok = step("1/2 tidy: the rules of the house", "cargo xtask tidy", tidy::run)
        && step(&format!("2/2 {repeat}"), &repeat, || tests(&root, full, &mut counts));
    if !ok && counts.failed == 0 {
        // A step that fails without a failed test (a rule, a build) counts as one failure.
        counts.failed = 1;
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(ok)
}

/// Announces a step, runs it and says how it went; on failure also how to repeat it alone.
fn step(title: &str, repeat: &str, work: impl FnOnce() -> Result<bool>) -> bool {
    println!("── {title}");
    let start = now();
    let done = work();
    let seconds = (now() - start).as_secs_f64();
    match done {
        Ok(true) => {
            println!("── ok after {seconds:.1} s\n");
            return true;
        }
        Ok(false) => println!("── FAILED after {seconds:.1} s"),
        Err(error) => println!("── FAILED after {seconds:.1} s: {error:#}"),
    }
    println!("── to repeat this step: {repeat}\n");
    false
}

fn tests(root: &Path, full: bool, counts: &mut Counts) -> Result<bool> {
    let mut cargo = repo::cargo(root);
    cargo.args(TESTS).stdout(Stdio::piped());
    if full {
        cargo.env(FULL, "1");
    }
    let mut child = cargo.spawn().context("cannot run cargo test")?;

    // Taken right after it was asked for above.
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    let mut failures = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        if let Some(more) = result(&text) {
            counts.passed += more.passed;
            counts.failed += more.failed;
        }
        if let Some(name) = failed_test(&text) {
            failures.push(name.to_owned());
        }
    }
    let ok = child.wait()?.success();

    if !failures.is_empty() {
        println!("\nfailed:\n    {}", failures.join("\n    "));
    }
    Ok(ok && counts.failed == 0)
}

/// Reads `test result: ok. 3 passed; 1 failed; …`, with or without colours.
fn result(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result:")?;
    let before = |word: &str| rest.split_once(word)?.0.rsplit([' ', '.']).next()?.parse().ok();
    Some(Counts { passed: before(" passed")?, failed: before(" failed")? })
}

/// Reads `test some::name ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    outcome.contains("FAILED").then_some(name)
}

/// The one clock of this crate: how long a step took.
#[expect(clippy::disallowed_methods, reason = "a helper beside the product; nobody replays it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_and_without_colours() {
        let plain = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s\n";
        assert_eq!(result(plain), Some(Counts { passed: 12, failed: 0 }));
        let coloured = "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 1 passed; 27 failed; 0 ignored\n";
        assert_eq!(result(coloured), Some(Counts { passed: 1, failed: 27 }));
        for other in ["test result_is_read ... ok\n", "running 3 tests\n", "test result:\n", ""] {
            assert_eq!(result(other), None);
        }
    }

    #[test]
    fn failed_tests_are_named() {
        assert_eq!(failed_test("test a::b ... FAILED\n"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok\n"), None);
        assert_eq!(failed_test("test result: FAILED. 1 passed; 2 failed\n"), None);
    }

    #[test]
    fn a_step_fails_by_answer_and_by_error() {
        assert!(step("a", "a", || Ok(true)));
        assert!(!step("b", "b", || Ok(false)));
        assert!(!step("c", "c", || anyhow::bail!("no")));
    }
}
