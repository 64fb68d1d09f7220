//! The smoke test as anybody runs it: a server, devices and the whole mix of calls, in about twenty seconds.
//! Needs the server's binary, which a test of the whole workspace builds.

use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_otaria-loadtest-goose");

/// Whether a smoke test was good enough, and what it said.
fn smoke(more: &[&str]) -> (bool, String) {
    let mut command = Command::new(PROGRAM);
    if std::env::var_os("OTARIA_BIN").is_none() {
        let built = Path::new(PROGRAM).with_file_name("otaria");
        assert!(built.is_file(), "build the server first: cargo build -p otaria");
        command.env("OTARIA_BIN", built);
    }
    let output = command.arg("--smoke").args(more).output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_smoke_test_is_good_enough_and_a_limit_that_is_not_kept_fails_it() {
    let (good, said) = smoke(&[]);
    assert!(good && said.contains("good enough"), "{said}");
    // No call takes no time at all, so this has to be noticed.
    let (good, said) = smoke(&["--max-p95-ms", "0", "--", "--test-plan", "2,1s;2,2s;0,0s"]);
    assert!(!good && said.contains("NOT GOOD ENOUGH: p95 of "), "{said}");
}
