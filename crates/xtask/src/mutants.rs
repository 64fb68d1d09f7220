//! The mutants command: small mistakes, made one at a time in the code that keeps the promises, each of which a
//! test has to notice: the state machines of task and job, the pace, fair shares, percentages and draws, the
//! gateway's door, leases and ownership, whose turn it is, and the witnesses of all that.
//!
//! The mistakes are made by cargo-mutants, in a copy of the work tree. A mistake that no test can notice, since
//! nothing is wrong with it, is named in `.cargo/mutants.toml` with the reason why. Each file is tried with the
//! tests of its own subject only: what a rule says is to be said beside it, and a try takes a second.
//!
//! Invariant: a mistake that nobody notices fails the command, and so does an exception that fits nothing any more.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::repo;
use crate::suite::succeed;

const TOOL: &str = "cargo-mutants";
const VERSION: &str = "27.1.0";

const EXCEPTIONS: &str = ".cargo/mutants.toml";

/// Files of one subject, and the tests that have to notice what is wrong with them.
struct Subject {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
    /// As `cargo test` takes them.
    tests: &'static [&'static str],
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "task",
        package: "otaria-core",
        files: &[
            "crates/otaria-core/src/task.rs",
            "crates/otaria-core/src/task/bulk.rs",
            "crates/otaria-core/src/task/cause.rs",
            "crates/otaria-core/src/task/offer.rs",
            "crates/otaria-core/src/task/state.rs",
            "crates/otaria-core/src/task/wait.rs",
        ],
        tests: &["--lib", "--", "task::"],
    },
    Subject {
        name: "job",
        package: "otaria-core",
        files: &["crates/otaria-core/src/job.rs", "crates/otaria-core/src/job/status.rs"],
        tests: &["--lib", "--", "job::"],
    },
    Subject {
        name: "pace",
        package: "otaria-core",
        files: &["crates/otaria-core/src/pace.rs"],
        tests: &["--lib", "--", "pace::"],
    },
    Subject {
        name: "plan",
        package: "otaria-core",
        files: &["crates/otaria-core/src/plan.rs"],
        tests: &["--lib", "--", "plan::"],
    },
    Subject {
        name: "gray",
        package: "otaria-core",
        files: &["crates/otaria-core/src/gray.rs", "crates/otaria-core/src/gray/draw.rs"],
        tests: &["--lib", "--", "gray::"],
    },
    Subject {
        name: "fence",
        package: "otaria-core",
        files: &[
            "crates/otaria-core/src/door/fence.rs",
            "crates/otaria-core/src/door/latest.rs",
            "crates/otaria-core/src/door/session.rs",
            "crates/otaria-core/src/shard.rs",
        ],
        tests: &["--lib", "--", "door::fence::", "door::latest::", "door::session::", "shard::"],
    },
    Subject {
        name: "leases",
        package: "otaria-ports",
        files: &["crates/otaria-ports/src/pace.rs", "crates/otaria-ports/src/store/memory/leases.rs"],
        tests: &["--lib", "--", "pace::", "store::memory::"],
    },
    Subject {
        name: "ownership",
        package: "otaria-engine",
        files: &["crates/otaria-engine/src/ownership.rs"],
        tests: &["--test", "engine", "--", "owners::", "survey::"],
    },
    Subject {
        name: "turns",
        package: "otaria-engine",
        files: &[
            "crates/otaria-engine/src/dispatcher/forgotten.rs",
            "crates/otaria-engine/src/dispatcher/ready.rs",
            "crates/otaria-engine/src/dispatcher/turns.rs",
            "crates/otaria-engine/src/ownership/orphans.rs",
        ],
        tests: &["--lib", "--test", "engine", "--", "dispatcher::", "ownership::", "alarms::"],
    },
    Subject {
        name: "witness",
        package: "otaria-core",
        files: &[
            "crates/otaria-core/src/witness/replaced.rs",
            "crates/otaria-core/src/witness/task.rs",
            "crates/otaria-core/src/witness/writes.rs",
        ],
        tests: &["--lib", "--", "witness::"],
    },
    Subject {
        name: "door",
        package: "otaria-core",
        files: &[
            "crates/otaria-core/src/door/connect.rs",
            "crates/otaria-core/src/door/subscription.rs",
            "crates/otaria-core/src/door/topic.rs",
        ],
        tests: &["--lib", "--", "door::connect::", "door::subscription::", "door::topic::"],
    },
];

/// Memory of one try, in KiB: a mistake in a loop's end must not take the machine with it.
const MEMORY_KIB: u32 = 8 << 20;

/// The least a try may take, in seconds, before it counts as one that never ends.
const PATIENCE_SECONDS: &str = "60";

/// Where tests draw their examples from, and that they do not keep those that failed: a mistake is noticed always
/// or never, whatever was tried before it.
const CHANCE: [(&str, &str); 2] =
    [("PROPTEST_RNG_SEED", "20261122"), ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")];

/// What became of mistakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    caught: u64,
    /// The tests did not end, which is noticed too.
    timeout: u64,
    /// Does not compile.
    unviable: u64,
    missed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.caught += more.caught;
        self.timeout += more.timeout;
        self.unviable += more.unviable;
        self.missed += more.missed;
    }
}

impl Counts {
    fn json(self) -> Value {
        let Self { caught, timeout, unviable, missed } = self;
        json!({ "caught": caught, "timeout": timeout, "unviable": unviable, "missed": missed })
    }
}

/// Makes the mistakes, in all files or in those whose paths end like one of `wanted`. True if each was noticed.
pub(crate) fn run(wanted: &[String], as_json: bool) -> Result<bool> {
    let chosen = chosen(wanted)?;
    let root = repo::root()?;
    let folder = root.join("target/mutants");
    let tool = installed(&root, &folder)?;
    let stale = stale(&root, &tool)?;

    let (mut files, mut missed) = (BTreeMap::new(), Vec::new());
    for (subject, paths) in chosen {
        println!("── {}", subject.name);
        let outcomes = tried(&root, &folder, &tool, subject, &paths)?;
        for path in paths {
            files.insert(path.to_owned(), Counts::default());
        }
        count(&outcomes, &mut files, &mut missed)?;
    }

    let mut sum = Counts::default();
    println!("{:>7} {:>8} {:>9} {:>7}", "caught", "timeout", "unviable", "missed");
    for (path, counts) in &files {
        let Counts { caught, timeout, unviable, missed } = counts;
        println!("{caught:>7} {timeout:>8} {unviable:>9} {missed:>7}  {path}");
        sum += *counts;
    }
    for name in &missed {
        println!("MISSED {name}");
    }
    for exception in &stale {
        println!("STALE {EXCEPTIONS} excepts {exception:?}, which fits no mistake any more");
    }
    if as_json {
        let files: BTreeMap<&String, Value> =
            files.iter().map(|(path, counts)| (path, counts.json())).collect();
        println!("{}", json!({ "sum": sum.json(), "files": files, "missed": missed, "stale": stale }));
    } else {
        println!("{} caught, {} missed", sum.caught + sum.timeout, sum.missed);
    }
    Ok(missed.is_empty() && stale.is_empty())
}

/// The subjects with those of their files that are wanted.
fn chosen(wanted: &[String]) -> Result<Vec<(&'static Subject, Vec<&'static str>)>> {
    let is_wanted = |path: &str, end: &String| path == end || path.ends_with(&format!("/{end}"));
    let all = || SUBJECTS.iter().flat_map(|subject| subject.files);
    for end in wanted {
        let known: Vec<_> = all().copied().collect();
        ensure!(known.iter().any(|path| is_wanted(path, end)), "{end} is none of {}", known.join(", "));
    }
    let of = |subject: &'static Subject| {
        let files = subject.files.iter().copied();
        let files: Vec<_> =
            files.filter(|path| wanted.is_empty() || wanted.iter().any(|end| is_wanted(path, end))).collect();
        (subject, files)
    };
    Ok(SUBJECTS.iter().map(of).filter(|(_, files)| !files.is_empty()).collect())
}

/// The program, installed below `folder` if this version is not there yet.
fn installed(root: &Path, folder: &Path) -> Result<PathBuf> {
    let home = folder.join(format!("{TOOL}-{VERSION}"));
    let tool = home.join("bin").join(TOOL);
    if !tool.is_file() {
        println!("── installing {TOOL} {VERSION}, once");
        let install = ["install", TOOL, "--version", VERSION, "--locked", "--root"];
        succeed(repo::cargo(root).args(install).arg(&home))?;
    }
    Ok(tool)
}

/// Exceptions that fit no mistake: the code moved on, and the reason given there with it.
fn stale(root: &Path, tool: &Path) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for exception in exceptions(&std::fs::read_to_string(root.join(EXCEPTIONS)).context(EXCEPTIONS)?)? {
        let mut list = Command::new(tool);
        list.current_dir(root).args(["mutants", "--list", "--no-config", "--colors", "never", "--re"]);
        list.arg(&exception);
        for subject in SUBJECTS {
            list.args(["--package", subject.package]);
            list.args(subject.files.iter().flat_map(|path| ["--file", path]));
        }
        let listed = list.output().with_context(|| format!("cannot run {}", tool.display()))?;
        ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        if listed.stdout.trim_ascii().is_empty() {
            stale.push(exception);
        }
    }
    Ok(stale)
}

fn exceptions(config: &str) -> Result<Vec<String>> {
    let config: toml::Table = config.parse().context(EXCEPTIONS)?;
    let list = config.get("exclude_re").and_then(toml::Value::as_array).context("no exclude_re")?;
    let text = |value: &toml::Value| value.as_str().map(str::to_owned).context("exclude_re holds texts");
    list.iter().map(text).collect()
}

/// Makes the mistakes of one subject; returns what the program noted down.
fn tried(root: &Path, folder: &Path, tool: &Path, subject: &Subject, paths: &[&str]) -> Result<Value> {
    let output = folder.join(subject.name);
    let mut tries = Command::new("sh");
    let limited = format!("ulimit -v {MEMORY_KIB} 2>/dev/null; exec \"$0\" \"$@\"");
    tries.args(["-c", &limited]).arg(tool);
    tries.args(["mutants", "--jobs", "1", "--no-shuffle", "--minimum-test-timeout", PATIENCE_SECONDS]);
    tries.args(["--package", subject.package, "--output"]).arg(&output);
    tries.args(paths.iter().flat_map(|path| ["--file", path]));
    tries.arg("--").args(subject.tests);
    // One folder for all copies of the tree: only what is wrong is built again. Without debug info that is
    // twice as fast.
    tries.current_dir(root).env("CARGO_TARGET_DIR", folder.join("build")).envs(CHANCE);
    tries.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "1")]);
    let status = tries.status().context("cannot run sh")?;
    // 0: all caught; 2: some missed; 3: some did not end. Else nothing was tried.
    ensure!(
        matches!(status.code(), Some(0 | 2 | 3)),
        "{TOOL} failed ({status}); see {}",
        output.join("mutants.out/log").display()
    );
    let outcomes = output.join("mutants.out/outcomes.json");
    let text = std::fs::read(&outcomes).with_context(|| format!("cannot read {}", outcomes.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Adds what became of each mistake to its file, and the names of those that nobody noticed to `missed`.
fn count(outcomes: &Value, files: &mut BTreeMap<String, Counts>, missed: &mut Vec<String>) -> Result<()> {
    for outcome in outcomes["outcomes"].as_array().context("no outcomes")? {
        let mutant = &outcome["scenario"]["Mutant"];
        // The first run is without any mistake.
        let (Some(file), Some(name)) = (mutant["file"].as_str(), mutant["name"].as_str()) else { continue };
        let counts = files.entry(file.to_owned()).or_default();
        match outcome["summary"].as_str() {
            Some("CaughtMutant") => counts.caught += 1,
            Some("Timeout") => counts.timeout += 1,
            Some("Unviable") => counts.unviable += 1,
            // Also what is not known here.
            Some(_) | None => {
                counts.missed += 1;
                missed.push(name.to_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_there_and_belongs_to_one_subject() {
        let root = repo::root().unwrap();
        let mut files: Vec<&str> = SUBJECTS.iter().flat_map(|subject| subject.files).copied().collect();
        for file in &files {
            assert!(root.join(file).is_file(), "{file}");
        }
        let count = files.len();
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), count);
    }

    /// A state machine that is cut in two stays whole here.
    #[test]
    fn no_file_beside_one_of_a_folder_is_forgotten() {
        let root = repo::root().unwrap();
        let files: Vec<&str> = SUBJECTS.iter().flat_map(|subject| subject.files).copied().collect();
        for folder in ["task", "job", "gray", "door"].map(|name| format!("crates/otaria-core/src/{name}")) {
            for entry in std::fs::read_dir(root.join(&folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let path = format!("{folder}/{name}");
                let is_code = name.ends_with(".rs") && name != "tests.rs";
                assert!(!is_code || files.contains(&path.as_str()), "{path} belongs to a subject");
            }
        }
    }

    #[test]
    fn a_file_is_named_by_the_end_of_its_path() {
        let names = |wanted: &str| {
            let chosen = chosen(&[wanted.to_owned()]).unwrap();
            chosen.into_iter().flat_map(|(_, files)| files).collect::<Vec<_>>()
        };
        assert_eq!(names("otaria-core/src/plan.rs"), ["crates/otaria-core/src/plan.rs"]);
        assert_eq!(names("pace.rs"), ["crates/otaria-core/src/pace.rs", "crates/otaria-ports/src/pace.rs"]);
        assert!(chosen(&["ace.rs".to_owned()]).is_err());
        assert_eq!(chosen(&[]).unwrap().len(), SUBJECTS.len());
    }

    #[test]
    fn outcomes_are_counted_by_file() {
        let mutant = |name: &str, summary: &str| {
            let scenario = json!({ "Mutant": { "file": "a.rs", "name": name } });
            json!({ "scenario": scenario, "summary": summary })
        };
        let outcomes = json!({ "outcomes": [
            { "scenario": "Baseline", "summary": "Success" },
            mutant("one", "CaughtMutant"),
            mutant("two", "MissedMutant"),
            mutant("three", "Timeout"),
            mutant("four", "Unviable"),
        ] });
        let (mut files, mut missed) = (BTreeMap::new(), Vec::new());
        count(&outcomes, &mut files, &mut missed).unwrap();
        assert_eq!(files["a.rs"], Counts { caught: 1, timeout: 1, unviable: 1, missed: 1 });
        assert_eq!(missed, ["two"]);
        assert!(count(&json!({}), &mut files, &mut missed).is_err());
    }

    #[test]
    fn exceptions_are_read() {
        assert_eq!(exceptions("exclude_re = [\n'a b', # why\n]").unwrap(), ["a b"]);
        assert!(exceptions("").is_err());
    }
}
