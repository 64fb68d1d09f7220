//! `otaria demo`: what it promises, and that it adds up.

use std::time::Duration;

use serde_json::Value;

use crate::full;
use crate::server::{Ended, otaria, run};

const PATIENCE: Duration = Duration::from_secs(180);

/// What the last line of `--json` holds, all of it.
const FIELDS: [&str; 16] = [
    "canceled",
    "expand_seconds",
    "failed",
    "first_push_seconds",
    "limit_per_minute",
    "lines",
    "max_in_any_60s",
    "notices",
    "ok",
    "peak_rss_mib",
    "push_seconds",
    "rejected",
    "seed",
    "skipped",
    "succeeded",
    "tasks",
];

async fn demo(args: &[&str]) -> Ended {
    run(otaria().arg("demo").args(args), PATIENCE).await
}

/// A demo that ends well, and its numbers.
async fn numbers(args: &[&str]) -> Value {
    let ended = demo(&[args, &["--json"]].concat()).await;
    assert!(ended.status.success(), "{args:?}: {}\n{}", ended.stdout, ended.stderr);
    let last = ended.stdout.lines().last().expect("a line of JSON");
    let numbers: Value = serde_json::from_str(last).unwrap();
    let fields: Vec<&str> = numbers.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, FIELDS);
    assert_eq!(numbers["ok"], true, "{numbers}");
    numbers
}

fn assert_counts(numbers: &Value, expected: &[(&str, u64)]) {
    for (field, value) in expected {
        assert_eq!(numbers[field].as_u64(), Some(*value), "{field} in {numbers}");
    }
}

#[tokio::test]
async fn two_hundred_devices_are_updated() {
    let numbers = numbers(&["--devices", "200", "--seed", "7"]).await;
    let expected = [("lines", 200), ("tasks", 200), ("skipped", 0), ("rejected", 0), ("succeeded", 200)];
    assert_counts(&numbers, &expected);
    let expected =
        [("failed", 0), ("canceled", 0), ("notices", 200), ("limit_per_minute", 10_000), ("seed", 7)];
    assert_counts(&numbers, &expected);
    assert!(numbers["max_in_any_60s"].as_u64().unwrap() <= 10_000);
    for seconds in ["push_seconds", "expand_seconds", "first_push_seconds", "peak_rss_mib"] {
        assert!(numbers[seconds].as_f64().unwrap() >= 0.0, "{numbers}");
    }
}

#[tokio::test]
async fn failing_and_offline_devices_add_up() {
    let args = ["--devices", "300", "--online", "40", "--fail-percent", "10", "--silent-percent", "0"];
    let numbers = numbers(&args).await;
    // A tenth of all 300 fails, at two attempts each; all of them are among the 40 that are online.
    let expected = [("lines", 300), ("tasks", 300), ("succeeded", 10), ("failed", 30), ("canceled", 260)];
    assert_counts(&numbers, &expected);
    assert_counts(&numbers, &[("skipped", 0), ("rejected", 0), ("notices", 70)]);
}

#[tokio::test]
async fn a_demo_without_json_is_for_people() {
    let ended = demo(&["--devices", "20"]).await;
    assert!(ended.status.success(), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("Otaria updated 20 of 20 devices"), "{}", ended.stdout);
    assert!(ended.stderr.contains("Everything adds up"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_starts() {
    for (args, named) in [
        (&["--devices", "5", "--online", "6"][..], "--online 6 is more than --devices 5"),
        (&["--devices", "10", "--online", "1", "--fail-percent", "50"], "fewer devices are online"),
        (&["--devices", "0"], "--devices"),
        (&["--devices", "1000001"], "--devices"),
        (&["--maximum-per-minute", "9"], "--maximum-per-minute"),
        (&["--fail-percent", "101"], "--fail-percent"),
    ] {
        let ended = demo(args).await;
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(named), "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn silent_devices_and_a_slow_pace_add_up_too() {
    // Silent devices time out after a minute, and a slow pace takes minutes.
    if !full() {
        return;
    }
    let args = ["--devices", "200", "--fail-percent", "20", "--silent-percent", "5"];
    let numbers = numbers(&args).await;
    assert_counts(&numbers, &[("succeeded", 150), ("failed", 50), ("notices", 240)]);
    let slow = self::numbers(&["--devices", "15", "--maximum-per-minute", "10"]).await;
    assert_counts(&slow, &[("succeeded", 15), ("notices", 15), ("max_in_any_60s", 10)]);
}
