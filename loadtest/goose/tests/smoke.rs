//! The smoke test as anybody runs it: a server, devices and the whole mix of calls, in about twenty seconds.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs the server's binary: cargo xtask test runs it"]
fn the_smoke_test_is_good_enough_and_a_limit_that_is_not_kept_fails_it() {
    let smoke = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_otaria-loadtest-goose"));
        let built = Path::new(env!("CARGO_BIN_EXE_otaria-loadtest-goose")).with_file_name("otaria");
        if std::env::var_os("OTARIA_BIN").is_none() {
            command.env("OTARIA_BIN", built);
        }
        let output = command.arg("--smoke").args(more).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let (good, said) = smoke(&[]);
    assert!(good && said.contains("good enough"), "{said}");
    // No call takes no time, so this has to be noticed.
    let (good, said) = smoke(&["--max-p95-ms", "0", "--", "--test-plan", "2,1s;2,2s;0,0s"]);
    assert!(!good && said.contains("NOT GOOD ENOUGH: p95 of "), "{said}");
}
