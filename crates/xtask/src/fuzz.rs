//! The fuzz command: throws bytes at everything that reads what strangers send, guided by the code they reach.
//!
//! The targets are the binaries of `crates/fuzz`; libFuzzer comes with its crate, and the coverage it follows is
//! the compiler's own, so a stable toolchain and a C++ compiler will do. What a run finds to be new stays in
//! `target/fuzz`; `--keep` takes the best of it into `crates/fuzz/corpus`, which `cargo test` runs as well.
//!
//! Invariant: a target that ended in any way but by its own clock has failed.

mod stats;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::clock::now;
use crate::process::{Launch, Life, program, run, tail};
use crate::repo;
use crate::services;
use crate::suite::succeed;
use stats::Stats;

/// The crate of the targets.
const PACKAGE: &str = "otaria-fuzz";

/// Coverage as libFuzzer reads it: a counter and an address for each edge, and the sides of each comparison.
/// What cargo-fuzz passes when it is told to use no sanitizer, which only a nightly toolchain has.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Bytes of an input at most: more than any limit that the readers have for one text.
const INPUT_MAX: usize = 4_096;
/// MiB of a whole process. What one input may hold is counted by the targets themselves.
const PROCESS_MIB: u32 = 512;
/// Seconds that one input may take. The slowest known one takes some milliseconds.
const INPUT_SECONDS: u32 = 10;

/// Bytes and files of a target's kept inputs at most, so that a clone stays small and the test quick.
const KEPT_BYTES: u64 = 28 * 1_024;
const KEPT_FILES: usize = 120;

const PAUSE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "Examples:
  cargo xtask fuzz                                  all targets, 30 seconds each, two at a time
  cargo xtask fuzz --target policy --seconds 600    one of them, for longer
  cargo xtask fuzz --target policy --replay PATH    one input again, with its message
  cargo xtask fuzz --seconds 180 --keep             and keep what reached new code";

/// What to throw bytes at, and for how long.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FuzzArgs {
    /// Only this target; may be given more than once.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u32,
    /// Targets at a time.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Run this one input instead.
    #[arg(long, value_name = "PATH", requires = "target")]
    replay: Option<PathBuf>,
    /// Keep inputs that reached new code in crates/fuzz/corpus, as far as there is room.
    #[arg(long, conflicts_with = "replay")]
    keep: bool,
    /// Print one JSON object instead of a table.
    #[arg(long, conflicts_with = "replay")]
    json: bool,
}

/// Where things of one target are.
struct Place {
    name: String,
    binary: PathBuf,
    /// Inputs that are part of the repository.
    kept: PathBuf,
    /// Inputs that runs on this machine found.
    found: PathBuf,
    /// Inputs that made it fail.
    failures: PathBuf,
    words: PathBuf,
    logs: PathBuf,
}

/// A target under way.
struct Running<'a> {
    place: &'a Place,
    child: Child,
}

/// How to repeat what [`run_long`] does.
pub(crate) const LONG: &str = "cargo xtask fuzz --seconds 180";

/// Minutes for each target, for every full test.
pub(crate) fn run_long() -> Result<bool> {
    /// What the words of [`LONG`] are read by.
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: FuzzArgs,
    }
    let words = LONG.split(' ').skip_while(|word| *word != "fuzz");
    run_command(&<Line as clap::Parser>::try_parse_from(words)?.args)
}

/// Builds the targets and runs them. True if nothing was found.
pub(crate) fn run_command(args: &FuzzArgs) -> Result<bool> {
    let root = repo::root()?;
    let names = chosen(names(&root)?, &args.target)?;
    let built = now();
    let binaries = build(&root)?;
    let build_seconds = built.elapsed().as_secs();
    let places: Vec<Place> = names.iter().map(|name| Place::new(&root, &binaries, name)).collect();
    if let Some(input) = &args.replay {
        return replay(&places, input);
    }

    if !args.json {
        println!("built in {build_seconds} s; {} targets, {} s each", places.len(), args.seconds);
        println!("{}", stats::HEAD);
    }
    let started = now();
    let mut rows = Vec::new();
    each(&places, args, |place, stats| {
        if !args.json {
            println!("{}", stats.row(&place.name));
        }
        rows.push((place, stats));
    })?;

    let failed: Vec<_> = rows.iter().filter(|(_, stats)| !stats.is_clean()).collect();
    if args.json {
        let targets: Vec<Value> = rows.iter().map(|(place, stats)| stats.json(&place.name)).collect();
        let (seconds, crashes) = (started.elapsed().as_secs(), failed.len());
        println!(
            "{}",
            json!({"ok": crashes == 0, "crashes": crashes, "build_seconds": build_seconds,
            "seconds": seconds, "targets": targets})
        );
    }
    for (place, stats) in &failed {
        eprintln!("{}", place.complaint(&root, stats));
    }
    if args.keep {
        for place in &places {
            let kept = place.keep()?;
            eprintln!("{}: kept {kept} more", place.name);
        }
    }
    Ok(failed.is_empty())
}

/// The targets: the binaries of the crate.
fn names(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("crates/fuzz/src/bin");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn chosen(all: Vec<String>, wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    Ok(if wanted.is_empty() { all } else { all.into_iter().filter(|name| wanted.contains(name)).collect() })
}

/// Builds all targets; returns the folder of their binaries. In a folder of its own, so that nobody else's build
/// is thrown away for other flags.
fn build(root: &Path) -> Result<PathBuf> {
    if program("c++").is_none() && std::env::var_os("CXX").is_none() {
        services::install(&["g++"])?;
    }
    let version = run(Command::new("rustc").arg("-vV").current_dir(root))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what it compiles for")?;
    let folder = root.join("target/fuzz");
    let mut cargo = repo::cargo(root);
    cargo.args(["build", "--locked", "--package", PACKAGE, "--bins", "--features", "libfuzzer"]);
    // A named target keeps the flags away from build scripts and macros.
    cargo.args(["--profile", "fuzz", "--target", host, "--target-dir"]).arg(&folder);
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", COVERAGE.join(" "));
    succeed(&mut cargo)?;
    Ok(folder.join(host).join("fuzz"))
}

/// Runs the targets, so many at a time, and hands on how each went.
fn each<'a>(places: &'a [Place], args: &FuzzArgs, mut ended: impl FnMut(&'a Place, Stats)) -> Result<()> {
    let mut waiting = places.iter();
    let mut running: Vec<Running<'a>> = Vec::new();
    loop {
        while running.len() < args.jobs.max(1) {
            let Some(place) = waiting.next() else { break };
            running.push(place.start(args.seconds)?);
        }
        if running.is_empty() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
        let mut at = 0;
        while at < running.len() {
            match running[at].child.try_wait()? {
                None => at += 1,
                Some(status) => {
                    let place = running.swap_remove(at).place;
                    let log = std::fs::read(place.log())?;
                    ended(place, Stats::read(&String::from_utf8_lossy(&log), status.success()));
                }
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Place {
    fn new(root: &Path, binaries: &Path, name: &str) -> Self {
        let (crate_folder, folder) = (root.join("crates/fuzz"), root.join("target/fuzz"));
        Self {
            name: name.to_owned(),
            binary: binaries.join(name),
            kept: crate_folder.join("corpus").join(name),
            found: folder.join("corpus").join(name),
            failures: folder.join("failures").join(name),
            words: crate_folder.join("words").join(format!("{name}.dict")),
            logs: folder.join("logs"),
        }
    }

    fn log(&self) -> PathBuf {
        self.logs.join(format!("{}.log", self.name))
    }

    /// The target with what every run has.
    fn launch(&self) -> Launch {
        let args = [
            format!("-max_len={INPUT_MAX}"),
            format!("-rss_limit_mb={PROCESS_MIB}"),
            format!("-timeout={INPUT_SECONDS}"),
            // Its end is the directory that inputs go to.
            format!("-artifact_prefix={}/", self.failures.display()),
        ];
        // A trace would need more memory than an input may hold, and the message says where.
        Launch::new(&self.name, &self.binary, &self.logs, Life::WithUs).args(args).env("RUST_BACKTRACE", "0")
    }

    fn start(&self, seconds: u32) -> Result<Running<'_>> {
        for folder in [&self.found, &self.failures, &self.logs] {
            std::fs::create_dir_all(folder)?;
        }
        let mut launch = self.launch().args([format!("-max_total_time={seconds}")]);
        launch = launch.args(["-print_final_stats=1", "-reload=0"]);
        if self.words.is_file() {
            launch = launch.args([format!("-dict={}", self.words.display())]);
        }
        let mut command = launch.args([&self.found, &self.kept]).command();
        let log = File::create(self.log())?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Running { place: self, child: child.with_context(|| format!("cannot run {}", self.name))? })
    }

    /// What somebody needs who is to repair it.
    fn complaint(&self, root: &Path, stats: &Stats) -> String {
        let name = &self.name;
        let why = stats.message.as_deref().unwrap_or("it ended before its time");
        let Some(input) = &stats.input else {
            return format!("FAILED {name}: {why}\n  {}", tail(&self.log()));
        };
        let input = Path::new(input);
        let shown = input.strip_prefix(root).unwrap_or(input).display();
        format!(
            "FAILED {name}: {why}\n  input: {shown}\n  again: cargo xtask fuzz --target {name} --replay {shown}\n  \
             when it is repaired: keep it in crates/fuzz/corpus/{name}, where `cargo test -p {PACKAGE}` runs it"
        )
    }

    /// Takes of what was found into the repository what takes edges that nothing there does, the most at once
    /// first, as far as there is room. Returns how many.
    fn keep(&self) -> Result<usize> {
        let merged = self.found.with_file_name(format!("{}.merged", self.name));
        let report = self.logs.join(format!("{}.merge", self.name));
        crate::cluster::clear(&merged)?;
        std::fs::create_dir_all(&merged)?;
        if report.exists() {
            // It would be gone on with.
            std::fs::remove_file(&report)?;
        }
        let args = ["-merge=1".to_owned(), format!("-merge_control_file={}", report.display())];
        let mut merge = self.launch().args(args).args([&merged, &self.kept, &self.found]).command();
        run(merge.current_dir(&self.logs))?;
        std::fs::remove_dir_all(&merged)?;

        let kept = files(&self.kept)?;
        let (mut bytes, mut count) = (kept.iter().map(|(_, size)| size).sum::<u64>(), kept.len());
        let mut more = 0;
        for path in stats::with_new_edges(&std::fs::read_to_string(&report)?) {
            let path = Path::new(path);
            let target = self.kept.join(path.file_name().context("a file without a name")?);
            let size = path.metadata()?.len();
            if target.exists() || bytes + size > KEPT_BYTES || count >= KEPT_FILES {
                continue;
            }
            std::fs::copy(path, target)?;
            (bytes, count, more) = (bytes + size, count + 1, more + 1);
        }
        Ok(more)
    }
}

/// The files of a folder with their sizes.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.path(), entry.metadata()?.len()));
    }
    Ok(files)
}

fn replay(places: &[Place], input: &Path) -> Result<bool> {
    let input = std::path::absolute(input)?;
    ensure!(input.is_file(), "{} is not there", input.display());
    let [place] = places else { bail!("one input is for one target") };
    let status = place.launch().args([&input]).command().env("RUST_BACKTRACE", "0").status()?;
    println!("{} {}", place.name, if status.success() { "takes it" } else { "FAILED" });
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_kept_inputs() {
        let root = repo::root().unwrap();
        let names = names(&root).unwrap();
        assert!(names.contains(&"connect".to_owned()));
        for name in &names {
            let place = Place::new(&root, Path::new("/nowhere"), name);
            let kept = files(&place.kept).unwrap();
            assert!(!kept.is_empty(), "{name}");
            assert!(kept.iter().map(|(_, size)| size).sum::<u64>() <= KEPT_BYTES, "{name}");
        }
    }

    #[test]
    fn an_unknown_target_is_refused_with_the_known_ones() {
        let all = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(all(), &[]).unwrap(), all());
        assert_eq!(chosen(all(), &["b".to_owned()]).unwrap(), ["b"]);
        let error = chosen(all(), &["c".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "there is no target c; there are a, b");
    }
}
