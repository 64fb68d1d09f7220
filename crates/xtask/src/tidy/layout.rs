//! Where things lie: the top level of the repository, and what every crate begins with.

use std::collections::BTreeSet;

use super::{Finding, error};
use crate::repo::{Package, Repo};

const RULE: &str = "layout";

/// Besides dotfiles. A newcomer sees these first; everything else has a better place below.
const TOP: &[&str] =
    &["Cargo.toml", "Cargo.lock", "proto", "crates", "deploy", "loadtest", "README.md", "LICENSE"];

/// The least a first paragraph needs to say what a crate does and what it never knows, in characters.
const PARAGRAPH_MIN: usize = 80;

const MAP: &str = "crates/README.md";

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_top(repo, &mut findings);
    check_unsafe(repo, &mut findings);
    for package in &repo.packages {
        check_crate(repo, package, &mut findings);
    }
    findings
}

fn check_top(repo: &Repo, findings: &mut Vec<Finding>) {
    let top: BTreeSet<&str> = repo.files.iter().filter_map(|file| file.path.split('/').next()).collect();
    for name in top {
        if !TOP.contains(&name) && !name.starts_with('.') {
            let what = "does not belong on the top level".to_owned();
            findings.push(error(
                RULE,
                (name, 1),
                what,
                format!("the top level holds {} and dotfiles", TOP.join(", ")),
            ));
        }
    }
}

fn check_unsafe(repo: &Repo, findings: &mut Vec<Finding>) {
    let manifest = repo.text("Cargo.toml").unwrap_or_default().parse::<toml::Table>().unwrap_or_default();
    let lints = manifest.get("workspace").and_then(|table| table.get("lints")?.get("rust"));
    if lints.and_then(|lints| lints.get("unsafe_code")?.as_str()) != Some("forbid") {
        let what = "the workspace does not forbid unsafe code".to_owned();
        findings.push(error(
            RULE,
            ("Cargo.toml", 1),
            what,
            "[workspace.lints.rust] unsafe_code = \"forbid\"",
        ));
    }
}

fn check_crate(repo: &Repo, package: &Package, findings: &mut Vec<Finding>) {
    let paragraph = first_paragraph(repo.text(&package.root_file).unwrap_or_default());
    if paragraph.chars().count() < PARAGRAPH_MIN {
        let what = format!("the crate's first paragraph is missing or says little: {paragraph:?}");
        let advice = "begin with `//!`: one sentence on what the crate does, one on what it will never know";
        findings.push(error(RULE, (&package.root_file, 1), what, advice));
    }

    let manifest =
        repo.text(&package.manifest).unwrap_or_default().parse::<toml::Table>().unwrap_or_default();
    let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
    if inherits != Some(true) {
        let what = format!("{} does not take the lints of the workspace", package.name);
        findings.push(error(RULE, (&package.manifest, 1), what, "[lints] workspace = true"));
    }

    // A crate under crates/ is named there in code quotes; one beside it by its folder.
    let label = if package.manifest.starts_with("crates/") { &package.name } else { package.folder() };
    if !repo.text(MAP).unwrap_or_default().contains(&format!("`{label}`")) {
        let what = format!("the map of the house does not mention `{label}`");
        findings.push(error(RULE, (MAP, 1), what, "add a line: what it does, and what it must not know"));
    }
}

fn first_paragraph(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.trim().is_empty() || line.starts_with("#!["));
    let docs = lines.map_while(|line| line.strip_prefix("//!")).map(str::trim);
    docs.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{files, package, places};
    use super::*;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n");
    const MANIFEST: (&str, &str) = ("crates/otaria-core/Cargo.toml", "[lints]\nworkspace = true\n");
    const LIBRARY: (&str, &str) = (
        "crates/otaria-core/src/lib.rs",
        "//! The rules of Otaria, as functions from values to values, in tables.\n//! Never knows a clock or a database.\n//!\n//! More.\n",
    );
    const MAPPED: (&str, &str) = (MAP, "| `otaria-core` | the rules |");

    fn found(tree: &[(&str, &str)]) -> Vec<String> {
        let mut repo = files(tree);
        repo.packages.push(package("otaria-core", &[]));
        places(&check(&repo))
    }

    #[test]
    fn a_tidy_tree_is_fine() {
        let tree = [ROOT, MANIFEST, LIBRARY, MAPPED, (".ci/run", ""), ("LICENSE", ""), ("proto/a.proto", "")];
        assert!(found(&tree).is_empty());
    }

    #[test]
    fn a_stray_file_on_the_top_level_is_found() {
        let tree = [ROOT, MANIFEST, LIBRARY, MAPPED, ("notes.txt", ""), ("docs/a.md", ""), ("docs/b.md", "")];
        assert_eq!(found(&tree), ["docs:1 layout", "notes.txt:1 layout"]);
    }

    #[test]
    fn a_crate_that_allows_unsafe_code_is_found() {
        assert_eq!(found(&[("Cargo.toml", ""), MANIFEST, LIBRARY, MAPPED]), ["Cargo.toml:1 layout"]);
        let tree = [ROOT, (MANIFEST.0, "[package]\n"), LIBRARY, MAPPED];
        assert_eq!(found(&tree), ["crates/otaria-core/Cargo.toml:1 layout"]);
    }

    #[test]
    fn a_crate_that_does_not_introduce_itself_is_found() {
        for text in [
            "fn a() {}\n",
            "//! Rules.\n",
            "//! Rules.\n//!\n//! And a long, long, long second paragraph, which is not read here.\n",
        ] {
            let tree = [ROOT, MANIFEST, (LIBRARY.0, text), MAPPED];
            assert_eq!(found(&tree), ["crates/otaria-core/src/lib.rs:1 layout"]);
        }
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        let tree = [ROOT, MANIFEST, LIBRARY, (MAP, "`otaria-corex` and `otaria`")];
        assert_eq!(found(&tree), ["crates/README.md:1 layout"]);
        assert_eq!(found(&[ROOT, MANIFEST, LIBRARY]), ["crates/README.md:1 layout"]);
    }
}
