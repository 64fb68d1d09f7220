//! A list file of shuffled names to durable tasks, by the way that every list takes: upload, create, expansion.
//!
//! Beside it, in the same run and the same database: COPY of as many lines into a bare table, and COPY of the very
//! tasks that came of it into a table with the schema and the indexes of `task`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{Common, median, rounded};
use crate::clock::{Dice, now, wait_for};
use crate::cluster::{Cluster, Role, Shape, text};
use crate::process::memory_kib;
use crate::services::Postgres;

/// Repeats of each COPY; the middle one counts.
const COPIES: usize = 3;

const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);

/// The version that the job brings, and the one that most devices have.
const NEW: &str = "2.0.0";
const OLD: &str = "1.0.0";

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Lines of the list, and registered devices.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    rows: u32,
    #[command(flatten)]
    common: Common,
}

/// What a list is made of. Everybody else in it gets a task that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lists {
    /// All lines, shuffled.
    all: Vec<String>,
    /// 10 %: have the new version already.
    at_destination: Vec<String>,
    /// 5 %: have an open task of another job.
    busy: Vec<String>,
    /// 1 %: were never registered.
    unknown: usize,
    /// 1 %: stand there twice.
    duplicates: usize,
}

impl Lists {
    fn draw(rows: u32, seed: u64) -> Result<Self> {
        let rows_count = usize::try_from(rows)?;
        let (unknown, duplicates) = (rows_count / 100, rows_count / 100);
        let mut dice = Dice::new(seed);
        let mut known: Vec<u32> = (1..=rows).collect();
        dice.shuffle(&mut known);
        known.truncate(rows_count - unknown - duplicates);
        let names: Vec<String> = known.iter().map(|number| name(*number, rows)).collect();
        let (tenth, twentieth) = (rows_count / 10, rows_count / 20);
        let at_destination = names[..tenth].to_vec();
        let busy = names[tenth..tenth + twentieth].to_vec();
        let mut all = names;
        all.extend((0..unknown).map(|number| format!("none-{number:07}")));
        // Of those that get a task, so that what is twice is nothing else.
        all.extend_from_within(tenth + twentieth..tenth + twentieth + duplicates);
        dice.shuffle(&mut all);
        Ok(Self { all, at_destination, busy, unknown, duplicates })
    }
}

/// As `otaria device register --count` names devices.
fn name(number: u32, of: u32) -> String {
    let digits = of.to_string().len().max(4);
    format!("dev-{number:0digits$}")
}

pub(super) fn run(root: &Path, args: &IngestArgs) -> Result<Value> {
    let common = &args.common;
    let settings = common.settings(root, "ingest", Shape::Together)?;
    let folder = settings.folder.clone();
    let lists = Lists::draw(args.rows, common.seed)?;
    let mut cluster = Cluster::start(settings, None)?;
    let folder = folder.canonicalize()?;
    let grpc = cluster.grpc().into_iter().next().context("no process serves gRPC")?;

    common.say(&format!("registering {} devices", args.rows));
    let operator = cluster.operator.clone();
    let product = text(&operator.call(&grpc, &["product", "create", "bench_ingest"])?, "product_key")?;
    let (rows, out) = (args.rows.to_string(), file(&folder, "devices.csv")?);
    let register = ["device", "register", "--product", &product, "--prefix", "dev-", "--out", &out];
    operator.run(&grpc, &[&register[..], &["--count", &rows]].concat())?;
    versions(&folder, cluster.postgres()?, &lists)?;

    common.say("an earlier job keeps 5 % of them busy");
    let busy = Job { version: "1.5.0", list: "busy.txt", names: &lists.busy };
    busy.run(&cluster, &grpc, &product)?;
    cluster.postgres()?.query("vacuum analyze")?;
    cluster.postgres()?.query("checkpoint")?;

    common.say("the job");
    // What registration left in the process must not hide what the list takes.
    cluster.restart(Role::All, 0)?;
    let pid = cluster.members.first().context("no process runs")?.process.pid;
    // Begins the count of the most memory anew.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak of memory")?;
    let before_kib = memory_kib(pid, "VmRSS").context("the server's memory cannot be read")?;
    let job = Job { version: NEW, list: "names.txt", names: &lists.all };
    let (job_id, counts, ingest_seconds) = job.run(&cluster, &grpc, &product)?;
    let peak_kib = memory_kib(pid, "VmHWM").context("the server's memory cannot be read")?;
    check(&lists, &counts)?;

    common.say("COPY of the same");
    let postgres = cluster.postgres()?;
    let bare = bare_copy(&folder, postgres, &lists)?;
    let (copied, copy) = task_copy(&folder, postgres, &job_id)?;
    cluster.stop()?;
    let growth = peak_kib.saturating_sub(before_kib);
    Ok(json!({
        "rows": args.rows,
        "bare_copy_seconds": rounded(bare),
        "copy_seconds": rounded(copy),
        "ingest_seconds": rounded(ingest_seconds),
        "ratio": rounded(ingest_seconds / copy),
        "peak_rss_growth_mib": rounded(f64::from(u32::try_from(growth)?) / 1_024.0),
        "copied_rows": copied,
        "counts": counts,
    }))
}

fn file(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    Ok(path.to_str().context("the folder's name is not UTF-8")?.to_owned())
}

/// Gives every device a version, as if each had informed it: by SQL, since only the list is measured.
fn versions(folder: &Path, postgres: &Postgres, lists: &Lists) -> Result<()> {
    let names = file(folder, "at-destination.txt")?;
    std::fs::write(&names, lists.at_destination.join("\n") + "\n")?;
    let script = format!(
        "create temporary table at_destination (name text collate \"C\" primary key);\n\
         \\copy at_destination from '{names}'\n\
         insert into device_module (device_id, module, version, at, report_session, report_n)\n\
         select device.id, '', case when at_destination.name is null then '{OLD}' else '{NEW}' end, 0, 0, 0\n\
         from device left join at_destination using (name) order by device.id;\n\
         insert into version_count (product_no, module, version, n)\n\
         select product_no, '', version, count(*) from device_module join device on device.id = device_id\n\
         group by product_no, version\n\
         on conflict (product_no, module, version) do update set n = version_count.n + excluded.n;\n"
    );
    let path = folder.join("versions.sql");
    std::fs::write(&path, script)?;
    postgres.script(&path)
}

struct Job<'a> {
    version: &'a str,
    list: &'a str,
    names: &'a [String],
}

impl Job<'_> {
    /// Rolls a new package out to the list; returns the job, what became of the lines, and the seconds from the
    /// call, upload included, until the expansion is complete.
    fn run(&self, cluster: &Cluster, grpc: &str, product: &str) -> Result<(String, Value, f64)> {
        let folder = &cluster.settings.folder;
        let operator = &cluster.operator;
        let (package, list) = (file(folder, "package.bin")?, file(folder, self.list)?);
        std::fs::write(&package, self.version.repeat(1_000))?;
        std::fs::write(&list, self.names.join("\n") + "\n")?;
        let create =
            ["firmware", "create", "--file", &package, "--product", product, "--version", self.version];
        let firmware = operator.call(grpc, &[&create[..], &["--no-verify"]].concat())?;
        let firmware = text(&firmware, "firmware_id")?;

        let begun = now();
        let create = ["job", "create", "--firmware", &firmware, "--product", product, "--list-file", &list];
        let job = text(&operator.call(grpc, &create)?, "job_id")?;
        let mut counts = Value::Null;
        let complete = wait_for(PATIENCE, PAUSE, || {
            counts = operator.call(grpc, &["job", "show", &job])?["expansion"].take();
            Ok(counts["complete"] == true)
        })?;
        if let Some(counts) = counts.as_object_mut() {
            counts.remove("reject_samples");
        }
        ensure!(complete, "the expansion took longer than {} s: {counts}", PATIENCE.as_secs());
        Ok((job, counts, begun.elapsed().as_secs_f64()))
    }
}

/// Every line has to be where it belongs.
fn check(lists: &Lists, counts: &Value) -> Result<()> {
    let expected = json!({
        "lines": lists.all.len(),
        "tasks": lists.all.len() - lists.at_destination.len() - lists.unknown - lists.duplicates,
        "skipped": lists.at_destination.len(),
        "rejected": lists.unknown + lists.duplicates,
        "busy": lists.busy.len(),
    });
    for (what, count) in expected.as_object().into_iter().flatten() {
        ensure!(counts[what] == *count, "{what}: {count} were expected, the server counts {counts}");
    }
    Ok(())
}

/// Seconds of a COPY into a table made by `table`, the middle of several.
fn copy(postgres: &Postgres, table: &str, file: &str) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..COPIES {
        postgres.query(&format!("drop table if exists copied; {table}"))?;
        postgres.query("checkpoint")?;
        let begun = now();
        postgres.query(&format!("\\copy copied from '{file}'"))?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    postgres.query("drop table copied")?;
    Ok(median(seconds))
}

/// As many lines as the list has, into a table without any index.
fn bare_copy(folder: &Path, postgres: &Postgres, lists: &Lists) -> Result<f64> {
    let path = file(folder, "bare.tsv")?;
    let lines = lists.all.iter().enumerate().fold(String::new(), |mut lines, (number, name)| {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "1\t{name}\t0\t{}\t0", number % 256);
        lines
    });
    std::fs::write(&path, lines)?;
    let table =
        "create table copied (job_id bigint, device text, status smallint, shard smallint, next_at bigint)";
    copy(postgres, table, &path)
}

/// The job's tasks as a loader would write them that takes the list as it is: numbered in the order of the list,
/// the devices in none. Into a table with the schema and all indexes of `task`.
fn task_copy(folder: &Path, postgres: &Postgres, job: &str) -> Result<(u64, f64)> {
    let path = file(folder, "tasks.tsv")?;
    let columns = postgres.query(
        "select attname from pg_attribute where attrelid = 'task'::regclass and attnum > 0 and not attisdropped \
         order by attnum",
    )?;
    let columns: Vec<&str> =
        columns.lines().map(|name| if name == "seq" { "row_number() over ()" } else { name }).collect();
    let of_job = format!(
        "select * from task where job_no = (select no from job where id = '{job}') order by random()"
    );
    postgres
        .query(&format!("\\copy (select {} from ({of_job}) shuffled) to '{path}'", columns.join(", ")))?;
    let count = std::fs::read(&path)?.iter().filter(|byte| **byte == b'\n').count();
    let seconds = copy(postgres, "create table copied (like task including all)", &path)?;
    Ok((u64::try_from(count)?, seconds))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_list_has_the_shares_that_it_should() {
        let lists = Lists::draw(10_000, 3).unwrap();
        let distinct: BTreeSet<&String> = lists.all.iter().collect();
        assert_eq!((lists.all.len(), distinct.len()), (10_000, 9_900));
        assert_eq!((lists.at_destination.len(), lists.busy.len()), (1_000, 500));
        assert_eq!(distinct.iter().filter(|name| name.starts_with("none-")).count(), 100);
        let busy: BTreeSet<&String> = lists.busy.iter().collect();
        assert!(lists.at_destination.iter().all(|name| !busy.contains(name) && distinct.contains(name)));
        assert_eq!(lists, Lists::draw(10_000, 3).unwrap());
        assert_ne!(lists.all, Lists::draw(10_000, 4).unwrap().all);
    }

    #[test]
    fn a_line_that_went_elsewhere_is_an_error() {
        let lists = Lists::draw(1_000, 3).unwrap();
        let mut counts = json!({"complete": true, "lines": 1_000, "tasks": 880, "skipped": 100, "rejected": 20, "busy": 50});
        check(&lists, &counts).unwrap();
        counts["skipped"] = 99.into();
        assert!(check(&lists, &counts).unwrap_err().to_string().contains("skipped: 100"));
    }
}
