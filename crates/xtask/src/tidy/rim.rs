//! Clock and chance are read at the rim only: the rules take `now` and drawn numbers as values, so that a
//! test or a simulation can replay them.
//!
//! clippy's `disallowed-methods` says the same about what it can name; this rule also sees the clocks of
//! other crates, and holds the one list of places that are allowed.

use super::{Finding, error, warning};
use crate::repo::Repo;
use crate::source::{code_only, line_of, without_tests, words};

const RULE: &str = "rim";

/// The files that may read the clock or chance, and why. A new row needs a reason that a reader accepts.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/otaria/src/clock.rs", "the Clock port on the system's clock"),
    ("crates/otaria-redis/src/clock.rs", "the Clock port on Redis's time, carried on by the monotonic clock"),
    ("crates/otaria/src/ids.rs", "the Ids port on the system's randomness"),
    ("crates/otaria-sim/src/main.rs", "how long a run of seeds took, measured from outside of every world"),
    ("crates/otaria/src/stopwatch.rs", "what demo and fleet measure a server with, from outside"),
];

/// Code that is not the product: it measures, or it is built for tests alone.
const EXEMPT: &[&str] = &["crates/xtask/", "loadtest/"];
const EXEMPT_FOLDERS: &[&str] = &["tests", "benches", "examples"];

const CLOCKS: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "OffsetDateTime::now",
    "Timestamp::now",
    "Zoned::now",
    "UNIX_EPOCH.elapsed",
    "UnixTimestamp::now",
];

const CHANCE: &[&str] = &[
    "thread_rng",
    "rand::rng(",
    "rand::random",
    "getrandom::",
    "from_os_rng",
    "OsRng",
    "SysRng",
    "fastrand::",
    "Uuid::new_v4",
    "Uuid::new_v7",
    "Uuid::now_v7",
];

/// In the crates that a simulation replays, the order of a map is chance too. These constructors exist
/// for the randomly seeded hasher only.
const HASH_SEEDS: &[&str] =
    &["HashMap::new(", "HashMap::with_capacity(", "HashSet::new(", "HashSet::with_capacity(", "RandomState"];
const REPLAYED: &[&str] = &["crates/otaria-core/src/", "crates/otaria-engine/src/"];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    check_against(repo, ALLOWED)
}

fn check_against(repo: &Repo, allowed: &[(&str, &str)]) -> Vec<Finding> {
    let product: Vec<(&str, String, Vec<String>)> = repo
        .rust()
        .filter(|(path, _)| !is_exempt(path))
        .map(|(path, text)| {
            let (code, modules) = without_tests(&code_only(text));
            (path, code, modules.iter().map(|module| module_path(path, module)).collect())
        })
        .collect();
    let for_tests = |path: &str| {
        let stem = path.trim_end_matches(".rs");
        let inside = |module: &String| stem == module || stem.starts_with(&format!("{module}/"));
        product.iter().any(|(_, _, modules)| modules.iter().any(inside))
    };

    let mut findings = Vec::new();
    for (path, code, _) in product.iter().filter(|(path, ..)| !for_tests(path)) {
        let replayed = REPLAYED.iter().any(|folder| path.starts_with(folder));
        let advice =
            "take it as a value, or ask the Clock or Ids port; a new rim needs a row, with its reason, in ";
        let mut reads = Vec::new();
        reads.extend(CLOCKS.iter().map(|needle| (needle, "reads the clock", advice)));
        reads.extend(CHANCE.iter().map(|needle| (needle, "draws chance", advice)));
        if replayed {
            let advice = "use an ordered map, or a fixed hasher: a simulation must replay it; see ";
            reads.extend(HASH_SEEDS.iter().map(|needle| (needle, "draws a hash seed", advice)));
        }

        let mut found = Vec::new();
        for (needle, what, advice) in reads {
            found.extend(words(code, needle).map(|at| (line_of(code, at), needle, what, advice)));
        }
        if allowed.iter().any(|(file, _)| file == path) {
            if found.is_empty() {
                let what = "may read clock or chance, but does not".to_owned();
                findings.push(warning(RULE, (path, 1), what, format!("remove its row in {}", file!())));
            }
            continue;
        }
        findings.extend(found.into_iter().map(|(line, needle, what, advice)| {
            error(
                RULE,
                (path, line),
                format!("`{}` {what}", needle.trim_end_matches('(')),
                format!("{advice}{}", file!()),
            )
        }));
    }

    for (file, _) in allowed.iter().filter(|(file, _)| !product.iter().any(|(path, ..)| path == file)) {
        let what = format!("{file} may read clock or chance, but is not there");
        findings.push(warning(RULE, (file!(), 1), what, "remove its row"));
    }
    findings
}

fn is_exempt(path: &str) -> bool {
    // crates/<name>/tests/…
    let folder = path.split('/').nth(2).unwrap_or_default();
    EXEMPT.iter().any(|start| path.starts_with(start)) || EXEMPT_FOLDERS.contains(&folder)
}

/// Where a module declared in the file at `path` has its text, without `.rs`.
fn module_path(path: &str, module: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let (folder, file) = stem.rsplit_once('/').unwrap_or(("", stem));
    match file {
        "lib" | "main" | "mod" => format!("{folder}/{module}"),
        _ => format!("{stem}/{module}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{files, places};
    use super::*;

    fn found(tree: &[(&str, &str)]) -> Vec<String> {
        places(&check_against(&files(tree), &[]))
    }

    #[test]
    fn a_clock_read_away_from_the_rim_is_found_at_its_line() {
        let text = "fn f() {\n    let now = std::time::SystemTime::now();\n}\n";
        assert_eq!(found(&[("crates/otaria-store/src/a.rs", text)]), ["crates/otaria-store/src/a.rs:2 rim"]);
    }

    #[test]
    fn every_needle_is_found() {
        for needle in CLOCKS.iter().chain(CHANCE) {
            let text = format!("fn f() {{ g({needle}");
            assert!(!found(&[("crates/otaria-store/src/a.rs", &text)]).is_empty(), "{needle}");
        }
    }

    #[test]
    fn comments_strings_and_tests_may_name_a_clock() {
        let text = "//! Never `Instant::now`.\nconst A: &str = \"Instant::now\";\n\
                    #[cfg(test)]\nmod tests { fn f() { Instant::now(); } }\n";
        assert!(found(&[("crates/otaria-store/src/a.rs", text)]).is_empty());
        let reads = "fn f() { Instant::now() }";
        assert!(found(&[("crates/otaria/tests/a.rs", reads), ("crates/xtask/src/b.rs", reads)]).is_empty());
        assert!(found(&[("loadtest/goose/src/main.rs", reads)]).is_empty());
    }

    #[test]
    fn a_test_module_in_its_own_file_is_exempt_and_its_neighbour_is_not() {
        let reads = "fn f() { Instant::now() }";
        let tree = [
            ("crates/otaria-store/src/lib.rs", "#[cfg(test)]\nmod bench;\nmod a;"),
            ("crates/otaria-store/src/bench.rs", reads),
            ("crates/otaria-store/src/bench/deep.rs", reads),
            ("crates/otaria-store/src/a.rs", "#[cfg(test)]\nmod checks;"),
            ("crates/otaria-store/src/a/checks.rs", reads),
            ("crates/otaria-store/src/benches.rs", reads),
        ];
        assert_eq!(found(&tree), ["crates/otaria-store/src/benches.rs:1 rim"]);
    }

    #[test]
    fn a_hash_seed_is_chance_where_a_simulation_replays() {
        let text = "fn f() { let a = HashMap::new(); }";
        assert_eq!(found(&[("crates/otaria-engine/src/a.rs", text)]).len(), 1);
        assert_eq!(found(&[("crates/otaria-mqtt/src/a.rs", text)]).len(), 0);
    }

    #[test]
    fn an_allowed_file_may_and_a_row_without_need_is_a_warning() {
        let allowed = [("crates/otaria/src/clock.rs", "reason"), ("crates/otaria/src/idle.rs", "reason")];
        let tree =
            [("crates/otaria/src/clock.rs", "fn f() { Instant::now() }"), ("crates/otaria/src/idle.rs", "")];
        let findings = check_against(&files(&tree), &allowed);
        assert_eq!(places(&findings), ["crates/otaria/src/idle.rs:1 rim"]);
        assert_eq!(findings[0].severity, super::super::Severity::Warning);
        assert_eq!(check_against(&files(&[]), &allowed).len(), 2);
    }
}
