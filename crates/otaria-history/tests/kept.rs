//! Histories of operators and of real runs that are kept: `tests/kept/NAME/` holds `server.ndjson` (or a folder
//! `server` of files), `devices.ndjson`, and `verdict.txt`.
//!
//! The first lines of `verdict.txt` begin with `#` and tell where the history is from and what it shows. Each line after
//! them is the name of a rule that is broken (`I3`), or `clean`, or `incomplete`: exactly these must come out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use otaria_history::check::files::Files;
use otaria_history::check::{Options, RULES};

#[test]
fn kept_histories_are_judged_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 2, "{folders:?}");
    for folder in folders {
        let text = fs::read_to_string(folder.join("verdict.txt")).unwrap();
        assert!(text.starts_with("# "), "{}: says nothing about itself", folder.display());
        let expected: BTreeSet<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let known = |name: &&str| {
            ["clean", "incomplete"].contains(name) || RULES.iter().any(|(rule, _)| rule == name)
        };
        assert!(!expected.is_empty() && expected.iter().all(known), "{}: {expected:?}", folder.display());

        let server = ["server.ndjson", "server"].map(|name| folder.join(name));
        let server = server.iter().find(|path| path.exists()).expect("a server's record");
        let files = Files::find(server, &folder.join("devices.ndjson")).unwrap();
        let verdict = files.judge(Options::default(), |_| {}).unwrap();
        let mut found: BTreeSet<&str> =
            verdict.violations.iter().map(|violation| violation.invariant).collect();
        if verdict.is_ok() {
            found.insert("clean");
        }
        if verdict.is_incomplete() {
            found.insert("incomplete");
        }
        assert_eq!(found, expected, "{}: {:#?}", folder.display(), verdict.violations);
    }
}
