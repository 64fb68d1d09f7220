//! Which crate may depend on which: arrows between our crates point down only, and a heavy dependency
//! stops in one crate.
//!
//! Dev-dependencies are exempt, save that the runtime-free crates are tested without a runtime too.

use super::{Finding, error};
use crate::repo::{Package, Repo};

const RULE: &str = "arrows";

/// Our crates, from the ground up, and which of ours each may use. `*` is every library beside it.
const ARROWS: &[(&str, &[&str])] = &[
    ("otaria-core", &[]),
    ("otaria-ports", &["otaria-core"]),
    ("otaria-engine", &["otaria-core", "otaria-ports"]),
    ("otaria-history", &["otaria-core", "otaria-ports"]),
    ("otaria-store", &["otaria-core", "otaria-ports"]),
    ("otaria-mqtt", &["otaria-core", "otaria-ports"]),
    ("otaria-objects", &["otaria-core", "otaria-ports"]),
    ("otaria-redis", &["otaria-core", "otaria-ports"]),
    ("otaria-proto", &[]),
    ("otaria-api", &["otaria-core", "otaria-ports", "otaria-engine", "otaria-proto"]),
    ("otaria-openapi", &["otaria-core", "otaria-ports", "otaria-engine"]),
    ("otaria", &["*"]),
    ("otaria-sim", &["otaria-core", "otaria-ports", "otaria-engine", "otaria-history"]),
    ("otaria-fuzz", &["otaria-core", "otaria-ports", "otaria-mqtt", "otaria-openapi"]),
    ("xtask", &[]),
    ("otaria-loadtest-goose", &[]),
];

/// A third-party crate and the only crates of ours that may name it. `*` at the end is any ending.
struct Home {
    dependency: &'static str,
    of: &'static [&'static str],
}

const HOMES: &[Home] = &[
    Home { dependency: "sqlx*", of: &["otaria-store"] },
    Home { dependency: "libsqlite3-sys", of: &["otaria-store"] },
    Home { dependency: "rumqttd", of: &["otaria-mqtt"] },
    Home { dependency: "redis", of: &["otaria-redis"] },
    Home { dependency: "postcard", of: &["otaria-redis"] },
    // The client of a broker that is not ours; the simulated devices of `otaria fleet` and `otaria demo`.
    Home { dependency: "rumqttc", of: &["otaria-mqtt", "otaria"] },
    // The binary wires the server and holds the client of its operator commands.
    Home { dependency: "tonic*", of: &["otaria-api", "otaria-proto", "otaria"] },
    Home { dependency: "prost*", of: &["otaria-api", "otaria-proto", "otaria"] },
    Home { dependency: "protox", of: &["otaria-proto"] },
    Home { dependency: "axum*", of: &["otaria-openapi", "otaria"] },
    Home { dependency: "hyper*", of: &["otaria-openapi", "otaria"] },
    // Below object_store it needs to be told which TLS it has.
    Home { dependency: "reqwest", of: &["otaria", "otaria-objects", "otaria-loadtest-goose"] },
    Home { dependency: "object_store", of: &["otaria-objects"] },
    Home { dependency: "tokio-cron-scheduler", of: &["otaria"] },
    Home { dependency: "governor", of: &["otaria", "otaria-mqtt"] },
    Home { dependency: "metrics-exporter-prometheus", of: &["otaria"] },
    Home { dependency: "tracing-subscriber", of: &["otaria"] },
    Home { dependency: "clap*", of: &["otaria", "xtask", "otaria-loadtest-goose"] },
    Home { dependency: "indicatif", of: &["otaria"] },
    // Libraries have errors that a caller can match on.
    Home { dependency: "anyhow", of: &["otaria", "xtask", "otaria-loadtest-goose"] },
    Home { dependency: "goose*", of: &["otaria-loadtest-goose"] },
];

/// What a crate may not name itself, because it must not know such a thing at all.
const STRANGERS: &[(&str, &[&str], &str)] = &[
    ("otaria-core", &["serde*", "tracing*", "metrics*", "futures*", "async-*"], "values in, values out"),
    ("otaria-core", &["rand*", "getrandom", "fastrand", "uuid"], "drawn numbers come in as values"),
    ("otaria-engine", &["rand*", "getrandom", "fastrand", "uuid"], "chance comes from the Ids port"),
    ("otaria-ports", &["serde*", "rand*", "getrandom"], "a port knows no technology"),
];

/// The crates that run on no runtime, so that a simulation can poll them in an order of its own, and the
/// edges by which they must not reach one. The engine and the core are tested without one as well.
pub(super) const RUNTIME_FREE: &[(&str, &str)] = &[
    ("otaria-core", "normal,build,dev"),
    ("otaria-engine", "normal,build,dev"),
    ("otaria-ports", "normal,build"),
    ("otaria-sim", "normal,build,dev"),
];

const RUNTIMES: &[&str] = &["tokio*", "async-std", "async-io", "async-global-executor", "smol", "mio"];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &repo.packages {
        check_package(repo, package, &mut findings);
    }
    for (name, _) in ARROWS {
        if !repo.packages.is_empty() && !repo.packages.iter().any(|package| package.name == *name) {
            let what = format!("the table of arrows names {name}, which is no member of the workspace");
            findings.push(error(RULE, (file!(), 1), what, "remove its row"));
        }
    }
    findings
}

/// Looks for a runtime among the names of all packages that `package` reaches.
pub(super) fn check_reach(repo: &Repo, package: &str, reachable: &[String]) -> Vec<Finding> {
    let runtimes = reachable.iter().filter(|name| RUNTIMES.iter().any(|pattern| fits(pattern, name)));
    let manifest = format!("crates/{package}/Cargo.toml");
    runtimes
        .map(|name| {
            let line = line_of_dependency(repo.text(&manifest).unwrap_or_default(), name);
            let what = format!("{package} reaches {name}, but must run on no runtime");
            let advice = format!(
                "see `cargo tree -e normal,dev -p {package} -i {name}`; what waits belongs in `otaria`"
            );
            error(RULE, (&manifest, line), what, advice)
        })
        .collect()
}

fn check_package(repo: &Repo, package: &Package, findings: &mut Vec<Finding>) {
    let manifest = repo.text(&package.manifest).unwrap_or_default();
    let name = &package.name;
    let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| of == name) else {
        let what = format!("{name} has no row in the table of arrows");
        findings.push(error(RULE, (&package.manifest, 1), what, format!("add one in {}", file!())));
        return;
    };

    for dependency in package.dependencies.iter().filter(|dependency| !dependency.dev) {
        let mut complain = |what: String, advice: String| {
            let line = line_of_dependency(manifest, &dependency.name);
            findings.push(error(RULE, (&package.manifest, line), what, advice));
        };
        let ours = ARROWS.iter().any(|(of, _)| *of == dependency.name);
        let any_library = allowed.contains(&"*") && dependency.name.starts_with("otaria-");
        if ours && !any_library && !allowed.contains(&dependency.name.as_str()) {
            let what = format!("{name} depends on {}", dependency.name);
            let may = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
            complain(what, format!("arrows point down only; {name} may use: {may}"));
        }

        for home in HOMES.iter().filter(|home| fits(home.dependency, &dependency.name)) {
            if !home.of.contains(&name.as_str()) {
                let what =
                    format!("{name} depends on {}, which stops in {}", dependency.name, home.of.join(", "));
                complain(what, "put a port between them, or use it as a dev-dependency only".into());
            }
        }

        for (of, strangers, reason) in STRANGERS {
            if of == name && strangers.iter().any(|pattern| fits(pattern, &dependency.name)) {
                let what = format!("{name} depends on {}", dependency.name);
                complain(what, format!("do it a crate further up: {reason}"));
            }
        }
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The line that declares a dependency; the first where it is declared in another way.
fn line_of_dependency(manifest: &str, name: &str) -> usize {
    let declares = |line: &str| {
        let rest = line.trim_start().trim_start_matches('"').strip_prefix(name);
        let table = line.starts_with('[') && line.trim_end().ends_with(&format!("dependencies.{name}]"));
        table || rest.is_some_and(|rest| rest.starts_with(['.', '=', ' ', '"']))
    };
    manifest.lines().position(declares).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{files, package, places};
    use super::*;

    /// Findings for one package, without those about rows that this small world lacks.
    fn of(package: Package) -> Vec<Finding> {
        let mut repo =
            files(&[(&package.manifest, "[dependencies]\nsqlx = \"1\"\notaria-store.workspace = true\n")]);
        repo.packages.push(package);
        check(&repo).into_iter().filter(|finding| finding.path.ends_with("Cargo.toml")).collect()
    }

    #[test]
    fn an_arrow_that_points_up_is_found_at_its_line() {
        let findings = of(package("otaria-engine", &["otaria-core", "otaria-store"]));
        assert_eq!(places(&findings), ["crates/otaria-engine/Cargo.toml:3 arrows"]);
        assert_eq!(findings[0].what, "otaria-engine depends on otaria-store");
    }

    #[test]
    fn arrows_that_point_down_are_fine() {
        assert!(
            of(package("otaria-api", &["otaria-core", "otaria-engine", "otaria-proto", "tonic"])).is_empty()
        );
        assert!(of(package("otaria", &["otaria-store", "otaria-mqtt", "tokio", "anyhow"])).is_empty());
    }

    #[test]
    fn nothing_uses_the_helpers_beside_the_house() {
        assert_eq!(of(package("otaria", &["xtask"])).len(), 1);
        assert_eq!(of(package("xtask", &["otaria-core"])).len(), 1);
    }

    #[test]
    fn a_heavy_dependency_outside_its_home_is_found() {
        let findings = of(package("otaria-api", &["sqlx"]));
        assert_eq!(places(&findings), ["crates/otaria-api/Cargo.toml:2 arrows"]);
        assert_eq!(of(package("otaria-store", &["tonic-types"])).len(), 1);
        assert_eq!(of(package("otaria-mqtt", &["rumqttd"])).len(), 0);
    }

    #[test]
    fn a_dev_dependency_is_exempt() {
        assert!(of(package("otaria-mqtt", &["dev:rumqttc", "dev:otaria-store"])).is_empty());
    }

    #[test]
    fn the_core_knows_no_serde() {
        assert_eq!(of(package("otaria-core", &["serde"])).len(), 1);
        assert_eq!(of(package("otaria-core", &["dev:serde_json"])).len(), 0);
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
        assert_eq!(of(package("otaria-common", &[])).len(), 1);
        let mut repo = files(&[]);
        repo.packages.push(package("otaria-core", &[]));
        assert_eq!(check(&repo).len(), ARROWS.len() - 1);
    }

    #[test]
    fn a_runtime_is_found_however_far_down_it_is() {
        let reached = ["async-trait", "otaria-core", "tokio-util", "tokio"].map(String::from);
        assert_eq!(check_reach(&files(&[]), "otaria-engine", &reached).len(), 2);
        assert!(check_reach(&files(&[]), "otaria-engine", &reached[..2]).is_empty());
    }

    #[test]
    fn dependencies_are_found_in_every_form() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\n\"b\" = \"1\"\nab = \"1\"\n[dev-dependencies.c]\n";
        let lines = ["a", "b", "ab", "c", "d"].map(|name| line_of_dependency(manifest, name));
        assert_eq!(lines, [4, 5, 6, 7, 1]);
    }
}
