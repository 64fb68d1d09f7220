//! The rules of the house that no compiler checks.
//!
//! Each rule is a pure function from the work tree to findings, so that its tests can feed it bad input.
//! What is allowed stands in tables at the head of each module, with the reason beside it.

mod arrows;
mod layout;
mod rim;
mod samples;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::repo::{self, Repo};

/// Something a rule does not like.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    rule: &'static str,
    path: String,
    line: usize,
    what: String,
    advice: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// Makes the command fail.
    Error,
    /// Is printed and no more.
    Warning,
}

/// Prints what the rules find. True if nothing is wrong.
pub(crate) fn run() -> Result<bool> {
    let root = repo::root()?;
    let repo = Repo::read(&root)?;
    let findings = findings(&root, &repo)?;
    for finding in &findings {
        println!("{finding}");
    }

    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let (files, packages) = (repo.files.len(), repo.packages.len());
    println!("tidy: {files} files, {packages} crates, {errors} errors, {warnings} warnings");
    Ok(errors == 0)
}

fn findings(root: &Path, repo: &Repo) -> Result<Vec<Finding>> {
    let mut findings = arrows::check(repo);
    for (package, edges) in arrows::RUNTIME_FREE {
        if repo.packages.iter().any(|member| member.name == *package) {
            findings.extend(arrows::check_reach(repo, package, &repo::reachable(root, package, edges)?));
        }
    }
    findings.extend(rim::check(repo));
    findings.extend(samples::check(repo));
    findings.extend(layout::check(repo));
    findings.extend(words::check(repo));
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

fn error(
    rule: &'static str,
    (path, line): (&str, usize),
    what: String,
    advice: impl Into<String>,
) -> Finding {
    Finding { severity: Severity::Error, rule, path: path.to_owned(), line, what, advice: advice.into() }
}

fn warning(rule: &'static str, place: (&str, usize), what: String, advice: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, ..error(rule, place, what, advice) }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, rule, path, line, what, advice } = self;
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{path}:{line}: {severity}[{rule}]: {what}\n    what to do: {advice}")
    }
}

#[cfg(test)]
mod fixtures {
    use super::Finding;
    use crate::repo::{Dependency, File, Package, Repo};

    pub(super) fn files(files: &[(&str, &str)]) -> Repo {
        let files =
            files.iter().map(|(path, text)| File { path: (*path).into(), text: Some((*text).into()) });
        Repo { files: files.collect(), packages: Vec::new() }
    }

    /// A package under `crates/`; a dependency written `dev:name` is a dev-dependency.
    pub(super) fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|dependency| match dependency.strip_prefix("dev:") {
            Some(name) => Dependency { name: name.into(), dev: true },
            None => Dependency { name: (*dependency).into(), dev: false },
        });
        Package {
            name: name.into(),
            manifest: format!("crates/{name}/Cargo.toml"),
            root_file: format!("crates/{name}/src/lib.rs"),
            dependencies: dependencies.collect(),
        }
    }

    /// `path:line rule` of each finding.
    pub(super) fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{} {}", finding.path, finding.line, finding.rule)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let finding = error("arrows", ("crates/a/Cargo.toml", 7), "a depends on b".into(), "turn it round");
        assert_eq!(
            finding.to_string(),
            "crates/a/Cargo.toml:7: error[arrows]: a depends on b\n    what to do: turn it round"
        );
    }
}
