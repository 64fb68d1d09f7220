//! What a push costs the database when it holds a million open tasks, and when it holds ten.
//!
//! The calls are those of the store itself, by an example of that crate, which has the words for what is measured
//! (`crates/otaria-store/examples/rows`). Each size has a PostgreSQL of its own, with buffers of its own, since
//! in one server each would drive out the other's pages. Together they have a quarter of the memory, as
//! PostgreSQL's manual recommends for one: then the tables and indexes of ten million tasks (2 GiB) fit. Where their
//! indexes do not, as in 512 MiB, pages come and go, and a random task costs about 12 % more.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::{Common, rounded};
use crate::process::Life;
use crate::repo;
use crate::services::{Ground, Kind, Services};

/// What the larger may cost more, to be called flat.
const FLAT: f64 = 1.1;

/// The costs by size, and how the largest compares with the smallest.
pub(super) fn run(root: &Path, common: &Common, sizes: &[u64]) -> Result<Value> {
    common.say("building the measurement of the store");
    let mut build = repo::cargo(root);
    build.args(["build", "--release", "--locked", "--package", "otaria-store", "--example", "rows"]);
    ensure!(build.status()?.success(), "the build failed");

    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    let share_mib = memory_kib()? / 4 / 1_024 / u64::try_from(sizes.len().max(1))?;
    let mut measure = std::process::Command::new(root.join("target/release/examples/rows"));
    let (mut all, mut buffers) = (Vec::new(), String::new());
    for size in &sizes {
        let folder = root.join("target/bench").join(format!("rows-{size}"));
        crate::cluster::clear(&folder)?;
        let mut services = Services::start_on(Ground::new(&folder, Life::WithUs)?, &[Kind::Postgres])?;
        let postgres = services.postgres()?;
        postgres.query(&format!("alter system set shared_buffers = '{share_mib}MB'"))?;
        postgres.restart()?;
        postgres.query("show shared_buffers")?.trim().clone_into(&mut buffers);
        measure.arg(format!("{size}={}", postgres.url()));
        all.push(services);
    }
    common.say(&format!("open tasks: {sizes:?}, each in a PostgreSQL with shared_buffers of {buffers}"));
    if common.json {
        measure.stderr(Stdio::null());
    } else {
        measure.stderr(Stdio::inherit());
    }
    let output = measure.stdin(Stdio::null()).output().context("running the measurement")?;
    // Before anything is said of it: the data is large.
    for mut services in all {
        services.stop()?;
    }
    ensure!(output.status.success(), "the measurement of the store failed: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().context("the measurement of the store said nothing")?;
    let costs: Map<String, Value> = serde_json::from_str(last).context("the measurement's last line")?;
    let mut line = compared(costs, &sizes)?;
    line.insert("shared_buffers".to_owned(), buffers.into());
    if let Some(ratio) = line["ratio"].as_f64() {
        let flat = if ratio <= FLAT { "flat" } else { "NOT flat" };
        common.say(&format!(
            "   ×{ratio} from {} to {} open tasks: {flat}",
            sizes[0],
            sizes[sizes.len() - 1]
        ));
    }
    Ok(line.into())
}

/// The memory of this machine.
fn memory_kib() -> Result<u64> {
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total =
        total.and_then(|line| line.split_whitespace().next()).context("no MemTotal in /proc/meminfo")?;
    Ok(total.parse()?)
}

/// Adds how the largest compares with the smallest; nothing where there is one only.
fn compared(mut costs: Map<String, Value>, sizes: &[u64]) -> Result<Map<String, Value>> {
    let micros = |size: &u64| {
        let cost = costs.get(&size.to_string()).and_then(|cost| cost["micros_per_task"].as_f64());
        cost.with_context(|| format!("there is no cost at {size} rows"))
    };
    let all: Vec<f64> = sizes.iter().map(micros).collect::<Result<_>>()?;
    let ratio = match all.as_slice() {
        [first, .., last] => rounded(last / first).into(),
        _ => Value::Null,
    };
    costs.insert("ratio".to_owned(), ratio);
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn costs(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_largest_is_compared_with_the_smallest() {
        let found = json!({"1000": {"micros_per_task": 20.0}, "20000": {"micros_per_task": 21.0}});
        let line = compared(costs(found.clone()), &[1_000, 20_000]).unwrap();
        assert_eq!(line["ratio"], 1.05);
        assert_eq!(compared(costs(found.clone()), &[1_000]).unwrap()["ratio"], Value::Null);
        assert!(compared(costs(found), &[1_000, 30_000]).is_err(), "a size without its cost");
    }
}
