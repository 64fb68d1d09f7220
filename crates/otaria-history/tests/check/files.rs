//! Records in files: several processes, rotated and torn ones, garbage; and what is cut out of them.

use std::fs;
use std::path::Path;

use otaria_history::check::files::{Files, FilesError};
use otaria_history::check::{Options, Verdict};
use otaria_history::cut::{Keep, cut};
use otaria_history::record::{Fact, Line};

use crate::good::good;
use crate::history::{Chance, History};
use crate::spoil;

fn text<T: serde::Serialize>(lines: &[T]) -> String {
    lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
}

/// Writes a history, each process's in two files, and the devices' in one.
fn write(history: &History, folder: &Path) {
    let servers = folder.join("server");
    fs::create_dir_all(&servers).unwrap();
    for lines in history.numbered() {
        let Fact::Start { process, .. } = &lines[0].fact else { panic!("a file begins with its start") };
        let half = lines.len() / 2;
        let again = Line { n: lines[half].n, ..lines[0].clone() };
        let mut second: Vec<Line> = vec![Line { from: lines[half].from, at: lines[half].at, ..again }];
        second.extend(lines[half..].iter().map(|line| Line { n: line.n + 1, ..line.clone() }));
        fs::write(servers.join(format!("{process}.ndjson")), text(&second)).unwrap();
        fs::write(servers.join(format!("{process}.ndjson.1")), text(&lines[..half])).unwrap();
    }
    fs::write(folder.join("devices.ndjson"), text(&history.seen)).unwrap();
}

fn files(folder: &Path) -> Files {
    Files::find(&folder.join("server"), &folder.join("devices.ndjson")).unwrap()
}

fn judge(folder: &Path) -> Result<Verdict, FilesError> {
    files(folder).judge(Options::default(), |_| {})
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn processes_and_rotated_files_are_one_record() {
    let folder = folder();
    let history = (0..).map(good).find(|history| history.processes == 2).unwrap();
    write(&history, folder.path());
    let verdict = judge(folder.path()).unwrap();
    assert!(verdict.is_ok() && !verdict.is_incomplete(), "{verdict:#?}");
    assert_eq!((verdict.processes, verdict.jobs), (2, 11));
    assert_eq!(verdict.device_lines, history.seen.len() as u64);
}

#[test]
fn a_rotated_file_that_is_gone_is_a_hole() {
    let folder = folder();
    write(&good(1), folder.path());
    for entry in fs::read_dir(folder.path().join("server")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "1") {
            fs::remove_file(path).unwrap();
        }
    }
    let verdict = judge(folder.path()).unwrap();
    assert!(verdict.is_ok() && verdict.is_incomplete() && verdict.lost > 100, "{verdict:#?}");
}

#[test]
fn a_line_that_a_crash_cut_is_left_out() {
    let folder = folder();
    write(&good(2), folder.path());
    for path in files(folder.path()).paths {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    }
    let verdict = judge(folder.path()).unwrap();
    assert!(verdict.is_ok() && verdict.is_incomplete() && verdict.unfinished > 0, "{verdict:#?}");
}

#[test]
fn empty_files_say_nothing() {
    let folder = folder();
    write(&good(3), folder.path());
    fs::write(folder.path().join("server/empty.ndjson"), "").unwrap();
    fs::write(folder.path().join("devices.ndjson"), "").unwrap();
    let verdict = judge(folder.path()).unwrap();
    assert!(verdict.is_ok() && !verdict.is_incomplete());
    assert_eq!(verdict.device_lines, 0);
}

#[test]
fn garbage_is_named_by_file_and_line() {
    let cases: &[(&str, &str, &str, u64)] = &[
        ("server/p0.ndjson", "{\"n\":1}\n{\"n\":2}\n", "missing field", 1),
        ("server/p0.ndjson", "not json\nat all\n", "expected", 1),
        (
            "server/p0.ndjson",
            "{\"n\":1,\"from\":5,\"at\":5,\"kind\":\"stop\"}\n",
            "begins with a line of the kind start",
            1,
        ),
        (
            "server/p0.ndjson",
            "{\"n\":1,\"from\":5,\"at\":5,\"kind\":\"start\",\"process\":\"x\",\"version\":\"0\"}\n{\"n\":2,\"from\":9,\"at\":5,\"kind\":\"stop\"}\n",
            "before it begins",
            2,
        ),
        (
            "devices.ndjson",
            "{\"at\":1,\"product\":\"p\",\"device\":\"d\",\"event\":\"online\"}\n{\"at\":1}\n\n",
            "device's record",
            2,
        ),
    ];
    for (file, garbage, why, at) in cases {
        let folder = folder();
        write(&good(4), folder.path());
        fs::write(folder.path().join(file), garbage).unwrap();
        match judge(folder.path()) {
            Err(FilesError::Line { path, line, what }) => {
                assert!(path.ends_with(file) && line == *at && what.contains(why), "{path:?}:{line}: {what}");
            }
            other => panic!("{garbage}: {other:?}"),
        }
    }
    let folder = folder();
    let nothing = Files::find(folder.path(), folder.path());
    assert!(matches!(nothing, Err(FilesError::Empty { .. })), "{nothing:?}");
    let nowhere = Files::find(&folder.path().join("none"), folder.path());
    assert!(matches!(nowhere, Err(FilesError::Io { .. })), "{nowhere:?}");
}

#[test]
fn the_same_lines_twice_are_refused() {
    let folder = folder();
    write(&good(5), folder.path());
    let server = folder.path().join("server");
    fs::copy(server.join("p0.ndjson"), server.join("copy.ndjson")).unwrap();
    let again = judge(folder.path());
    assert!(matches!(&again, Err(FilesError::Line { what, .. }) if what.contains("twice")), "{again:?}");
}

#[test]
fn evidence_is_read_once_more() {
    let folder = folder();
    let mut history = good(6);
    let (.., plant) =
        spoil::kinds().into_iter().find(|(kind, ..)| *kind == "a succeeded task fails").unwrap();
    assert!(plant(&mut history, &mut Chance(6)));
    history.sort();
    write(&history, folder.path());
    let verdict = judge(folder.path()).unwrap();
    let violation = verdict.violations.iter().find(|violation| violation.invariant == "I3").unwrap();
    let lines = files(folder.path()).lines(&violation.evidence).unwrap();
    assert!(lines.iter().any(|line| line.contains("\"status\":\"FAILED\"")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("\"SUCCEEDED\"")), "{lines:?}");
}

#[test]
fn what_is_cut_out_stays_good_and_keeps_what_is_wrong() {
    for seed in 0..10 {
        let history = good(seed);
        let folder = folder();
        write(&history, folder.path());
        for job in 1..=11 {
            let out = folder.path().join(format!("job-{job}"));
            let keep = Keep { jobs: vec![format!("job-{job}")], devices: Vec::new() };
            let kept = cut(&files(folder.path()), &keep, &out).unwrap();
            assert!(kept.lines < history.lines.len() as u64 && kept.devices > 0, "{kept:?}");
            let verdict = judge(&out).unwrap();
            assert!(verdict.is_ok() && !verdict.is_incomplete(), "job {job}, seed {seed}: {verdict:#?}");
        }
        let out = folder.path().join("device");
        let keep = Keep { jobs: Vec::new(), devices: vec!["dev-017".into()] };
        assert_eq!(cut(&files(folder.path()), &keep, &out).unwrap().devices, 1);
        assert!(judge(&out).unwrap().is_ok());
    }
    // What breaks a rule by one task's lines breaks it still when the rest is gone.
    for (kind, rule, plant) in
        spoil::kinds().into_iter().filter(|(_, rule, _)| ["I3", "I5", "I6", "I8"].contains(rule))
    {
        let mut history = good(7);
        assert!(plant(&mut history, &mut Chance(7)), "{kind}");
        history.sort();
        let folder = folder();
        write(&history, folder.path());
        let verdict = judge(folder.path()).unwrap();
        let whole = verdict.violations.iter().find(|violation| violation.invariant == rule).unwrap();
        let line = files(folder.path()).lines(&whole.evidence).unwrap().pop().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        // A device's line names no job.
        let Some(job) = line["job"].as_i64() else { continue };
        let out = folder.path().join("cut");
        cut(&files(folder.path()), &Keep { jobs: vec![job.to_string()], devices: Vec::new() }, &out).unwrap();
        let verdict = judge(&out).unwrap();
        assert!(
            verdict.violations.iter().any(|violation| violation.invariant == rule),
            "{kind}: {verdict:#?}"
        );
    }
}

#[test]
fn a_hole_stays_a_hole_when_it_is_cut() {
    let folder = folder();
    write(&good(8), folder.path());
    let path = folder.path().join("server/p0.ndjson");
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let kept: Vec<String> = lines
        .iter()
        .enumerate()
        .filter(|(n, _)| !(20..40).contains(n))
        .map(|(_, line)| line.clone() + "\n")
        .collect();
    fs::write(&path, kept.concat()).unwrap();
    let before = judge(folder.path()).unwrap();
    let out = folder.path().join("cut");
    cut(&files(folder.path()), &Keep { jobs: vec!["1".into()], devices: Vec::new() }, &out).unwrap();
    let after = judge(&out).unwrap();
    assert!(before.is_ok() && after.is_ok() && after.is_incomplete(), "{after:#?}");
    assert_eq!((before.lost, after.lost), (20, 20));
}
