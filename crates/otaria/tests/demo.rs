//! `otaria demo` and `otaria fleet bench` for real: a server process, its public faces, devices on sockets.

use std::process::{Command, Output};

use serde_json::Value;

fn otaria(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otaria")).args(line.split(' ')).output().unwrap()
}

/// The last line of the output of a run that must end well.
fn verdict(line: &str) -> Value {
    let output = otaria(line);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}\n{stdout}\n{stderr}");
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn a_demo_adds_up_with_devices_that_fail_and_devices_that_are_away() {
    let found = verdict(
        "demo --devices 1200 --online 90 --fail-percent 2 --maximum-per-minute 10000 --seed 11 --json",
    );
    for (field, expected) in [
        ("lines", 1_200),
        ("tasks", 1_200),
        ("skipped", 0),
        ("rejected", 0),
        ("succeeded", 66),
        ("failed", 24),
        ("canceled", 1_110),
        ("notices", 114),
        ("limit_per_minute", 10_000),
        ("seed", 11),
    ] {
        assert_eq!(found[field], expected, "{field} in {found}");
    }
    assert_eq!(found["ok"], true);

    let mut fields: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let promised = "canceled expand_seconds failed first_push_seconds limit_per_minute lines max_in_any_60s \
                    notices ok peak_rss_mib push_seconds rejected seed skipped succeeded tasks";
    assert_eq!(fields.join(" "), promised);
}

#[test]
fn a_bench_updates_every_device_with_every_job() {
    let found = verdict("fleet bench --devices 40 --jobs 2 --work-ms 0 --download full --seed 1 --json");
    assert_eq!((&found["connected"], &found["notices"]), (&40.into(), &80.into()));
    assert_eq!((&found["downloads"], &found["ok"]), (&80.into(), &true.into()));
    assert_eq!(found["jobs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    for line in ["demo --devices 3 --online 4", "demo --devices 10 --online 2 --fail-percent 30", "demo --no"]
    {
        assert_eq!(otaria(line).status.code(), Some(2), "{line}");
    }
    let away = otaria("product list --endpoint http://127.0.0.1:9 --access-key-id a --access-key-secret b");
    assert_eq!(away.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&away.stderr).contains("otaria serve"));
}
