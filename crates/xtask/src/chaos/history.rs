//! The judge of the two records: `otaria check-history` over what the processes and what the devices wrote.
//!
//! Never reads a history itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::world::{Installation, devices_folder, history_folder};

/// What the judge says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgment {
    pub(super) violations: Vec<String>,
    /// Evaluations by invariant.
    pub(super) checked: BTreeMap<String, u64>,
    /// What could not be judged, since killed processes took lines with them.
    pub(super) not_judged: BTreeMap<String, u64>,
}

/// Asks it about an installation whose processes have ended. Its whole verdict, with the evidence, stays in the
/// folder.
pub(super) fn judge(installation: &Installation) -> Result<Judgment> {
    let folder = &installation.folder;
    let mut command = installation.cluster.operator.command();
    command.arg("check-history").arg(history_folder(folder)).arg(devices_folder(folder)).arg("--json");
    for grave in graves(&histories(folder)?, &installation.graves) {
        command.args(["--ended", &grave]);
    }
    let output = command.output().context("otaria check-history")?;
    std::fs::write(folder.join("verdict.json"), &output.stdout)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().with_context(|| format!("check-history said nothing: {complaint}"))?;
    let verdict: Value =
        serde_json::from_str(last).with_context(|| format!("check-history said {last:?}"))?;
    read(&verdict, installation.world.name())
}

/// The names of the processes that wrote there.
fn histories(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(history_folder(folder))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".ndjson").map(str::to_owned));
    }
    Ok(names)
}

/// Which process was gone when. Names are made of a time, the number of the process, and chance; a number that two
/// of them had tells nothing.
fn graves(histories: &[String], killed: &[(u32, u64)]) -> Vec<String> {
    let of = |pid: u32| {
        let number = pid.to_string();
        let mut named = histories.iter().filter(|name| {
            let mut parts = name.split('-').skip(1);
            parts.next() == Some(number.as_str()) && parts.next().is_some_and(|chance| !chance.contains('.'))
        });
        named.next().filter(|_| named.next().is_none())
    };
    let graves = killed.iter().filter_map(|(pid, at)| Some(format!("{}@{}", of(*pid)?, at.div_ceil(1_000))));
    graves.collect()
}

fn read(verdict: &Value, world: &str) -> Result<Judgment> {
    let violations = verdict["violations"].as_array().context("no violations in the verdict")?;
    let told = |one: &Value| {
        let (invariant, what) = (&one["invariant"], &one["what"]);
        format!("{world} history: {invariant} is broken {} times: {what}", one["count"])
    };
    let counts = |counts: &Value, what| -> Result<BTreeMap<String, u64>> {
        let counts = counts.as_object().with_context(|| format!("no {what} in the verdict"))?;
        Ok(counts.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect())
    };
    Ok(Judgment {
        violations: violations.iter().map(told).collect(),
        checked: counts(&verdict["checked"], "evaluations")?,
        not_judged: counts(&verdict["incomplete"]["not_judged"], "gaps")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_killed_process_is_found_by_its_number_unless_two_had_it() {
        let names = ["17-5-abc", "18-6-abd", "18-6-abd.1", "19-7-x", "20-7-y"].map(str::to_owned);
        let found = graves(&names, &[(5, 1_500), (6, 2_000), (7, 3_000), (8, 4_000)]);
        assert_eq!(found, ["17-5-abc@2", "18-6-abd@2"]);
    }

    #[test]
    fn a_verdict_is_read_and_one_without_its_parts_is_none() {
        let verdict = json!({
            "violations": [{ "invariant": "I1", "what": "11 notices", "count": 2 }],
            "checked": { "I1": 7 },
            "incomplete": { "not_judged": { "I5": 3 } },
        });
        let judgment = read(&verdict, "cluster").unwrap();
        assert_eq!(judgment.violations, [r#"cluster history: "I1" is broken 2 times: "11 notices""#]);
        assert_eq!((judgment.checked["I1"], judgment.not_judged["I5"]), (7, 3));
        assert!(read(&json!({ "violations": [] }), "cluster").is_err());
    }
}
