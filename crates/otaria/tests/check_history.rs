//! `otaria check-history` on real files: its exit codes, its words, its line of JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../otaria-history/tests/kept").join(name)
}

fn check(server: &Path, devices: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otaria"));
    command.arg("check-history").args([server, devices]).args(more).output().unwrap()
}

fn of(name: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = check(&kept(name).join("server"), &kept(name).join("devices.ndjson"), more);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_clean_history_ends_with_zero() {
    let (code, text) = of("retries-and-confirmations", &[]);
    assert!(code == Some(0) && text.ends_with("nothing is wrong\n"), "{text}");
    let (code, text) = of("retries-and-confirmations", &["--json"]);
    let verdict: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (code, &verdict["ok"], &verdict["violations"]),
        (Some(0), &Value::Bool(true), &Value::Array(vec![]))
    );
    assert_eq!(verdict["incomplete"]["holes"], 0);
    for field in ["lines", "devices_lines", "jobs", "tasks", "processes"] {
        assert!(verdict[field].as_u64().unwrap() > 0, "{field} in {verdict}");
    }
    for n in 1..=17 {
        assert!(verdict["checked"][format!("I{n}")].is_u64(), "I{n} in {verdict}");
    }
}

#[test]
fn a_breach_is_shown_with_the_lines_that_prove_it() {
    let (code, text) = of("too-fast", &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("I1 is broken: 12 notices of job 1"), "{text}");
    assert!(
        text.contains("the rule: at most MaximumPerMinute") && text.contains("\"per_minute\":10"),
        "{text}"
    );
    assert!(text.contains("0000.ndjson:"), "{text}");
    let (code, text) = of("too-fast", &["--json"]);
    let verdict: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let violation = &verdict["violations"][0];
    assert_eq!((code, violation["invariant"].as_str()), (Some(1), Some("I1")));
    assert!(violation["evidence"].as_array().unwrap().len() >= 3, "{violation}");
    for line in violation["evidence"].as_array().unwrap() {
        assert!(line["line"].as_u64().unwrap() > 0 && line["text"]["at"].is_u64(), "{line}");
    }
}

#[test]
fn what_cannot_be_read_ends_with_two_and_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server.ndjson");
    let devices = folder.path().join("devices.ndjson");
    fs::write(&devices, "").unwrap();
    let begin = "{\"n\":1,\"from\":5,\"at\":5,\"kind\":\"start\",\"process\":\"a\",\"version\":\"0\"}\n";
    fs::write(&server, format!("{begin}{{\"n\":2,\"fro\n{{}}\n")).unwrap();
    let output = check(&server, &devices, &["--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("server.ndjson:2: no line of a server's record"), "{said}");

    // The same without anything behind it was cut by a crash.
    fs::write(&server, format!("{begin}{{\"n\":2,\"fro")).unwrap();
    let output = check(&server, &devices, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let output = check(&folder.path().join("none"), &devices, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("none: "));
}

#[test]
fn a_history_is_cut_down_to_a_job_and_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    let (server, devices) = (kept("too-fast").join("server"), kept("too-fast").join("devices.ndjson"));
    let out = folder.path().to_str().unwrap();
    let output = check(&server, &devices, &["--keep-job", "1", "--out", out]);
    assert!(output.status.success(), "{output:?}");
    let again = check(&folder.path().join("server"), &folder.path().join("devices.ndjson"), &["--json"]);
    assert_eq!(again.status.code(), Some(1));
}
