//! The test command: everything a change must pass, in order, with the time each step took.
//!
//! Asks for a Rust toolchain, a C compiler and python3. PostgreSQL, Redis, Mosquitto and an S3-compatible
//! store are started for the tests that need them, in a folder below `target/`; the first three are installed with
//! apt-get if this machine has none, the store from PyPI.
//!
//! Invariant: the last line is `N passed, N failed`, summed over all test binaries, whatever happened.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::clock::now;
use crate::services::{Kind, Services};
use crate::{chaos, fuzz, mutants, repo, tidy};

/// Seen by tests that can do a longer run: more seeds, more kills, larger lists.
const FULL: &str = "OTARIA_TEST_FULL";

/// Where tests that need them find the services.
const POSTGRES: &str = "OTARIA_TEST_POSTGRES";
const REDIS: &str = "OTARIA_TEST_REDIS";
const S3: &str = "OTARIA_TEST_S3";
const MOSQUITTO: &str = "OTARIA_TEST_MOSQUITTO";

const TESTS: &[&str] = &["test", "--workspace", "--locked", "--no-fail-fast"];

const SIMULATION: &[&str] =
    &["run", "--release", "--locked", "--package", "otaria-sim", "--", "--seeds", "10000", "--json"];

/// Tests that need a service are ignored without one; nothing else may be ignored.
const WITH_SERVICES: &[&str] = &["--", "--include-ignored"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs the steps, up to the first that fails. True if none does.
pub(crate) fn run(full: bool, with_services: bool) -> Result<bool> {
    let root = repo::root()?;
    let mut counts = Counts::default();
    let mut services = None;
    let tests = if with_services { [TESTS, WITH_SERVICES].concat() } else { TESTS.to_vec() };
    let repeat = if with_services { "cargo xtask test" } else { "cargo xtask test --no-services" };
    let repeat = if full { format!("{repeat} --full") } else { repeat.to_owned() };

    let steps = if full { 7 } else { 3 };
    let ok = step(&format!("1/{steps} tidy: the rules of the house"), "cargo xtask tidy", tidy::run)
        && step(&format!("2/{steps} services"), &repeat, || start(&root, with_services, &mut services))
        && step(&format!("3/{steps} cargo {}", tests.join(" ")), &repeat, || {
            run_tests(&root, &tests, full, services.as_mut(), &mut counts)
        });
    drop(services);
    let ok = ok && (!full || run_longer(&root, with_services));
    if !ok && counts.failed == 0 {
        // A step that fails without a failed test (a rule, a build) counts as one failure.
        counts.failed = 1;
    }
    if counts.ignored > 0 {
        println!(
            "{} tests were left out: they need PostgreSQL, Redis, Mosquitto or an S3-compatible server",
            counts.ignored
        );
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(ok)
}

/// What takes longer than a change should wait for: an hour and a half on two cores.
fn run_longer(root: &Path, with_services: bool) -> bool {
    let simulation =
        || Ok(repo::cargo(root).args(SIMULATION).status().context("cannot run cargo")?.success());
    step("4/7 simulation: ten thousand worlds", &format!("cargo {}", SIMULATION.join(" ")), simulation)
        && step("5/7 fuzz: strangers' bytes", fuzz::LONG, fuzz::run_long)
        && chaos(with_services)
        && step("7/7 mutants: mistakes that a test has to notice", "cargo xtask mutants", || {
            mutants::run(&[], false)
        })
}

/// A short chaos. It needs services of its own.
fn chaos(with_services: bool) -> bool {
    if !with_services {
        println!("── 6/7 chaos is left out: it needs PostgreSQL and Redis\n");
        return true;
    }
    step("6/7 chaos: real processes, hurt in every way", chaos::SHORT, chaos::run_short)
}

fn start(root: &Path, wanted: bool, services: &mut Option<Services>) -> Result<bool> {
    if !wanted {
        println!(
            "--no-services: tests that need PostgreSQL, Redis, Mosquitto or an S3-compatible server are left out"
        );
        return Ok(true);
    }
    let started = services.insert(Services::start(root, &[Kind::Postgres, Kind::Redis, Kind::Mosquitto])?);
    println!("{POSTGRES}={}", started.postgres()?.url());
    println!("{REDIS}={}", started.redis()?.url());
    println!("{MOSQUITTO}={}", started.mosquitto()?.address);
    println!("{S3}={}", started.start_moto(root)?.url());
    println!("their logs: {}", started.logs().display());
    Ok(true)
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

fn run_tests(
    root: &Path,
    tests: &[&str],
    full: bool,
    services: Option<&mut Services>,
    counts: &mut Counts,
) -> Result<bool> {
    let mut cargo = repo::cargo(root);
    cargo
        .args(tests)
        .env_remove(POSTGRES)
        .env_remove(REDIS)
        .env_remove(S3)
        .env_remove(MOSQUITTO)
        .stdout(Stdio::piped());
    if full {
        cargo.env(FULL, "1");
    }
    if let Some(services) = services {
        cargo.env(POSTGRES, services.postgres()?.url()).env(REDIS, services.redis()?.url());
        cargo.env(S3, services.moto()?.url()).env(MOSQUITTO, services.mosquitto()?.address.to_string());
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
            counts.ignored += more.ignored;
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
    Some(Counts { passed: before(" passed")?, failed: before(" failed")?, ignored: before(" ignored")? })
}

/// Reads `test some::name ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    outcome.contains("FAILED").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_and_without_colours() {
        let plain = "test result: ok. 12 passed; 0 failed; 4 ignored; 0 measured; 3 filtered out; finished in 0.01s\n";
        assert_eq!(result(plain), Some(Counts { passed: 12, failed: 0, ignored: 4 }));
        let coloured = "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 1 passed; 27 failed; 0 ignored\n";
        assert_eq!(result(coloured), Some(Counts { passed: 1, failed: 27, ignored: 0 }));
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
