//! Runs seeds and says what came out: `otaria-sim --seeds N [--first-seed K] [--plant NAME] [--json]`, or one of
//! them with everything it did: `--replay SEED`, or a kept list: `--file PATH`. With `--history FOLDER` such a run also
//! leaves what its processes and its devices wrote down, for `otaria check-history FOLDER/server FOLDER/devices.ndjson`.
//!
//! Never decides whether something holds: that is the library's. One seed runs on one thread.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use otaria_sim::{Outcome, Plant, Scenario, record, run, shrink};

const USAGE: &str = "usage: otaria-sim [--first-seed K] [--seeds N] [--plant NAME] [--threads T] [--json]
       otaria-sim --replay SEED [--plant NAME] [--history FOLDER]
       otaria-sim --file PATH [--plant NAME] [--history FOLDER]";

#[derive(Default)]
struct Args {
    first: u64,
    seeds: u64,
    plant: Option<Plant>,
    threads: usize,
    json: bool,
    replay: Option<u64>,
    file: Option<String>,
    history: Option<String>,
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let scenario = match (&args.file, args.replay) {
        (Some(path), _) => match std::fs::read_to_string(path).ok().and_then(|text| Scenario::parse(&text)) {
            Some(scenario) => Some(scenario),
            None => {
                eprintln!("{path} holds no list of operations");
                return ExitCode::from(2);
            }
        },
        (None, Some(seed)) => Some(Scenario::draw(seed)),
        (None, None) => None,
    };
    match scenario {
        Some(scenario) => {
            let done = replay(&scenario, args.plant);
            match args.history.map(|folder| leave_history(Path::new(&folder), &scenario, args.plant)) {
                Some(Err(error)) => {
                    eprintln!("the history cannot be written: {error}");
                    ExitCode::from(2)
                }
                Some(Ok(())) | None => done,
            }
        }
        None => simulate(&args),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args { seeds: 100, threads: 2, ..Args::default() };
    while let Some(word) = words.next() {
        if word == "--json" {
            args.json = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} wants a number, not {value}"));
        match word.as_str() {
            "--first-seed" => args.first = number()?,
            "--seeds" => args.seeds = number()?,
            "--threads" => args.threads = usize::try_from(number()?.clamp(1, 256)).unwrap_or(1),
            "--replay" => args.replay = Some(number()?),
            "--file" => args.file = Some(value),
            "--history" => args.history = Some(value),
            "--plant" => {
                let names: Vec<&str> = Plant::ALL.iter().map(|plant| plant.as_str()).collect();
                let unknown = format!("no plant {value}; there are {}", names.join(", "));
                args.plant = Some(Plant::parse(&value).ok_or(unknown)?);
            }
            _ => return Err(format!("unknown option {word}")),
        }
    }
    Ok(args)
}

/// Prints the operations and everything that they did.
fn replay(scenario: &Scenario, plant: Option<Plant>) -> ExitCode {
    let outcome = run(scenario, plant, true);
    println!("{scenario}\n{}", outcome.trace);
    match &outcome.violation {
        None => {
            println!("# {} operations, nothing broken", outcome.ops);
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("# {violation}");
            ExitCode::FAILURE
        }
    }
}

/// Runs once more, recorded, and writes down what processes and devices did.
fn leave_history(folder: &Path, scenario: &Scenario, plant: Option<Plant>) -> std::io::Result<()> {
    let (_, recorded) = record(scenario, plant);
    let server = folder.join("server");
    std::fs::create_dir_all(&server)?;
    for (process, lines) in &recorded.processes {
        write_lines(&server.join(format!("{process}.ndjson")), lines)?;
    }
    write_lines(&folder.join("devices.ndjson"), &recorded.devices)
}

fn write_lines<T: serde::Serialize>(path: &Path, lines: &[T]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// What all seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    ops: u64,
    virtual_millis: u64,
    events: BTreeMap<&'static str, u64>,
    checked: BTreeMap<&'static str, u64>,
    broken: BTreeMap<u64, String>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.ops += outcome.ops as u64;
        self.virtual_millis += outcome.virtual_millis;
        outcome.events.iter().for_each(|(event, count)| *self.events.entry(event).or_default() += count);
        outcome.checked.iter().for_each(|(what, count)| *self.checked.entry(what).or_default() += count);
        if let Some(violation) = outcome.violation {
            self.broken.insert(seed, violation);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is measured from outside of every world")]
fn simulate(args: &Args) -> ExitCode {
    let begun = Instant::now();
    let (next, stop, sum) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Sum::default()));
    // What a broken world panics with is part of its outcome.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= args.seeds {
                        return;
                    }
                    let seed = args.first + n;
                    let outcome = run(&Scenario::draw(seed), args.plant, false);
                    if outcome.violation.is_some() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if let Ok(mut sum) = sum.lock() {
                        sum.add(seed, outcome);
                    }
                }
            });
        }
    });
    let Ok(sum) = sum.into_inner() else { return ExitCode::FAILURE };
    let seconds = begun.elapsed().as_secs_f64();
    if let Some((seed, violation)) = sum.broken.first_key_value() {
        println!("# seed {seed} breaks {violation}");
        println!("# cut down; keep it as crates/otaria-sim/tests/kept/NAME.ops:");
        println!("# {violation}");
        print!("{}", shrink(&Scenario::draw(*seed), args.plant));
    }
    if args.json {
        println!("{}", json(&sum, seconds));
    } else {
        println!("{} seeds, {} broken, {} operations, {seconds:.1} s", sum.seeds, sum.broken.len(), sum.ops);
    }
    if sum.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn json(sum: &Sum, seconds: f64) -> String {
    let counts = |of: &BTreeMap<&'static str, u64>| {
        let counts: Vec<String> = of.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
        format!("{{{}}}", counts.join(","))
    };
    let hours = sum.virtual_millis as f64 / 3_600_000.0;
    let seed = sum.broken.keys().next().map_or_else(|| "null".to_owned(), u64::to_string);
    format!(
        "{{\"seeds\":{},\"violations\":{},\"first_broken_seed\":{seed},\"ops\":{},\"virtual_hours\":{hours:.2},\
         \"seconds\":{seconds:.2},\"events\":{},\"checked\":{}}}",
        sum.seeds,
        sum.broken.len(),
        sum.ops,
        counts(&sum.events),
        counts(&sum.checked),
    )
}
