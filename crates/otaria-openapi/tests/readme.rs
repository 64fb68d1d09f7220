//! The page that documents this face tells of every action that there is, and of none that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(crate_folder().join("README.md")).unwrap()
}

/// A row of a table of actions or methods.
struct Row {
    section: String,
    name: String,
    service: String,
    proto: PathBuf,
}

/// Rows that begin with a name in code quotes and link a definition.
fn rows() -> Vec<Row> {
    let page = page();
    let mut section = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            section = heading;
        }
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once('`')) else {
            continue;
        };
        let link = rest.split_once("| [").and_then(|(_, link)| link.split_once("](")?.1.split_once(')'));
        let (link, _) = link.unwrap_or_else(|| panic!("the row of {name} has no link"));
        let service = rest.split_once("| [").unwrap().1.split_once(']').unwrap().0;
        rows.push(Row {
            section: section.to_owned(),
            name: name.to_owned(),
            service: service.to_owned(),
            proto: crate_folder().join(link),
        });
    }
    rows
}

fn beyond_http(row: &Row) -> bool {
    matches!(row.section.as_str(), "Only over gRPC" | "Not served")
}

#[test]
fn every_action_has_one_row_and_every_row_an_action() {
    let mut documented = BTreeSet::new();
    for row in rows().into_iter().filter(|row| !beyond_http(row)) {
        assert!(documented.insert(row.name.clone()), "{} stands there twice", row.name);
    }
    let served: BTreeSet<String> = otaria_openapi::action_names().map(str::to_owned).collect();

    let missing: Vec<_> = served.difference(&documented).collect();
    let stray: Vec<_> = documented.difference(&served).collect();
    assert!(missing.is_empty() && stray.is_empty(), "not documented: {missing:?}; not served: {stray:?}");
}

#[test]
fn what_is_said_not_to_be_served_is_not() {
    for row in rows().iter().filter(|row| beyond_http(row)) {
        assert!(otaria_openapi::action_names().all(|name| name != row.name), "{} is served", row.name);
    }
}

/// The methods of each service, by the text of the definitions.
fn methods() -> BTreeMap<String, BTreeSet<String>> {
    let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in std::fs::read_dir(crate_folder().join("../../proto/otaria/v1")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut service = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("service ") {
                service = name.split(' ').next();
            } else if let Some(rpc) = line.strip_prefix("  rpc ") {
                let method = rpc.split('(').next().unwrap().to_owned();
                services.entry(service.unwrap().to_owned()).or_default().insert(method);
            }
        }
    }
    services
}

#[test]
fn every_method_has_a_row_that_links_its_definition() {
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows() {
        let text = std::fs::read_to_string(&row.proto).unwrap_or_default();
        let defined = text.contains(&format!("service {} {{", row.service))
            && text.contains(&format!("  rpc {}(", row.name));
        assert!(defined, "{} of {} is not defined in {}", row.name, row.service, row.proto.display());
        documented.entry(row.service).or_default().insert(row.name);
    }
    assert_eq!(documented, methods());
}

#[test]
fn links_to_other_files_lead_somewhere() {
    for page in [crate_folder().join("README.md"), crate_folder().join("../otaria-mqtt/README.md")] {
        let text = std::fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let path = link.split('#').next().unwrap();
            assert!(page.parent().unwrap().join(path).exists(), "{link} of {}", page.display());
        }
    }
}
