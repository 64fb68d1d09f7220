//! What libFuzzer says about a run.

use serde_json::{Value, json};

/// The head of the table that [`Stats::row`] fills.
pub(super) const HEAD: &str =
    "target          runs   runs/s    edges  at first   inputs      new  MiB  result";

/// How a run of a target went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    runs: u64,
    runs_per_second: u64,
    /// Edges of the code that were taken, by the kept inputs and in the end.
    edges_at_first: u64,
    edges: u64,
    /// Inputs that each reach something of their own.
    inputs: u64,
    new_inputs: u64,
    peak_mib: u64,
    ended_well: bool,
    /// The input that made it fail.
    pub(super) input: Option<String>,
    /// What it said then.
    pub(super) message: Option<String>,
}

impl Stats {
    /// Reads the log of a run.
    pub(super) fn read(log: &str, ended_well: bool) -> Self {
        let mut stats = Self { ended_well, ..Self::default() };
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some((name, value)) = line.strip_prefix("stat::").and_then(|stat| stat.split_once(':')) {
                stats.stat(name, value.trim().parse().unwrap_or(0));
            } else if let Some(input) = line.split("Test unit written to ").nth(1) {
                stats.input = Some(input.to_owned());
            } else if line.contains("panicked at ") {
                let place = line.trim_end_matches(':');
                // The message follows in one or more lines.
                let said = lines.next_if(|next| !next.starts_with("note:")).unwrap_or_default();
                let more: Vec<&str> =
                    std::iter::from_fn(|| lines.next_if(|next| next.starts_with(' '))).collect();
                stats.message = Some(format!("{place}: {said} {}", more.join(" ")).trim_end().to_owned());
            } else if stats.message.is_none()
                && (line.contains("ERROR: ") || line.contains("memory allocation of"))
            {
                stats.message = Some(line.to_owned());
            } else if line.starts_with('#') {
                stats.progress(line);
            }
        }
        stats
    }

    fn stat(&mut self, name: &str, value: u64) {
        match name {
            "number_of_executed_units" => self.runs = value,
            "average_exec_per_sec" => self.runs_per_second = value,
            "new_units_added" => self.new_inputs = value,
            "peak_rss_mb" => self.peak_mib = value,
            _ => {}
        }
    }

    /// Reads `#67 INITED cov: 412 ft: 873 corp: 58/6010b exec/s: 0 rss: 31Mb`.
    fn progress(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let is_first = words.nth(1) == Some("INITED");
        while let Some(word) = words.next() {
            let mut number = || words.next()?.split('/').next()?.parse::<u64>().ok();
            match word {
                "cov:" => self.edges = number().unwrap_or(self.edges),
                "corp:" => self.inputs = number().unwrap_or(self.inputs),
                _ => {}
            }
        }
        if is_first {
            self.edges_at_first = self.edges;
        }
    }

    /// Whether it ran to its end and found nothing. A run that reached no code was not guided by it.
    pub(super) fn is_clean(&self) -> bool {
        self.ended_well && self.input.is_none() && self.edges > 0
    }

    pub(super) fn row(&self, name: &str) -> String {
        let result = if self.is_clean() { "ok" } else { "FAILED" };
        format!(
            "{name:<10} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8} {:>4}  {result}",
            self.runs,
            self.runs_per_second,
            self.edges,
            self.edges_at_first,
            self.inputs,
            self.new_inputs,
            self.peak_mib
        )
    }

    pub(super) fn json(&self, name: &str) -> Value {
        json!({
            "target": name,
            "ok": self.is_clean(),
            "runs": self.runs,
            "runs_per_second": self.runs_per_second,
            "edges": self.edges,
            "edges_at_first": self.edges_at_first,
            "inputs": self.inputs,
            "new_inputs": self.new_inputs,
            "peak_mib": self.peak_mib,
            "crash": self.input,
            "message": self.message,
        })
    }
}

/// The inputs that take an edge which none before them does, those with the most such edges first: from the report
/// of a merge, which lists its inputs, counts the edges of each as far as they are new, and begins with the smallest.
pub(super) fn with_new_edges(report: &str) -> Vec<&str> {
    let mut lines = report.lines();
    let count = lines.next().and_then(|count| count.parse().ok()).unwrap_or(0);
    let inputs: Vec<&str> = lines.by_ref().skip(1).take(count).collect();
    let mut found: Vec<(usize, &str)> = Vec::new();
    for line in lines {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        if words.next() != Some("COV") {
            continue;
        }
        let input = words.next().and_then(|id| inputs.get(id.parse::<usize>().ok()?));
        let edges = words.count();
        found.extend(input.filter(|_| edges > 0).map(|input| (edges, *input)));
    }
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.into_iter().map(|(_, input)| input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "INFO: Seed: 1
#67\tINITED cov: 412 ft: 873 corp: 58/6010b exec/s: 0 rss: 31Mb
#812\tNEW    cov: 415 ft: 880 corp: 59/6040b lim: 96 exec/s: 0 rss: 32Mb L: 30/401 MS: 1 EraseBytes-
#90000\tDONE   cov: 431 ft: 900 corp: 70/7000b lim: 96 exec/s: 30000 rss: 40Mb
Done 90000 runs in 3 second(s)
stat::number_of_executed_units: 90000
stat::average_exec_per_sec:     30000
stat::new_units_added:          12
stat::slowest_unit_time_sec:    0
stat::peak_rss_mb:              40
";

    #[test]
    fn a_clean_run_is_read() {
        let stats = Stats::read(CLEAN, true);
        let wanted = Stats {
            runs: 90_000,
            runs_per_second: 30_000,
            edges_at_first: 412,
            edges: 431,
            inputs: 70,
            new_inputs: 12,
            peak_mib: 40,
            ended_well: true,
            ..Stats::default()
        };
        assert_eq!(stats, wanted);
        assert!(stats.is_clean() && stats.row("a").ends_with("ok"));
        assert!(!Stats::read(CLEAN, false).is_clean());
        assert!(!Stats::read("", true).is_clean(), "it was not guided");
    }

    #[test]
    fn a_finding_is_read_with_its_words_and_its_input() {
        let log = "#2\tINITED cov: 9 ft: 9 corp: 1/1b exec/s: 0 rss: 27Mb
thread '<unnamed>' (7) panicked at crates/fuzz/src/list.rs:20:5:
assertion `left == right` failed: lines
  left: 1
 right: 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
==1== ERROR: libFuzzer: deadly signal
artifact_prefix='/a/'; Test unit written to /a/crash-1
stat::number_of_executed_units: 5
";
        let stats = Stats::read(log, false);
        assert!(!stats.is_clean());
        assert_eq!(stats.input.as_deref(), Some("/a/crash-1"));
        let message = stats.message.unwrap();
        assert!(
            message.contains("list.rs:20:5: assertion `left == right` failed: lines   left: 1"),
            "{message}"
        );
    }

    #[test]
    fn inputs_with_new_edges_are_read_from_the_report_of_a_merge() {
        let report = "3\n0\n/a/0\n/a/1\n/a/2\nSTARTED 0 1\nFT 0 1 2\nCOV 0 7\nSTARTED 1 2\nFT 1 3\nCOV 1\nSTARTED 2 2\nFT 2 4\nCOV 2 8 9\n";
        assert_eq!(with_new_edges(report), ["/a/2", "/a/0"]);
        assert!(with_new_edges("").is_empty());
    }

    #[test]
    fn too_much_memory_is_a_finding_with_its_words() {
        let log = "memory allocation of 9 bytes failed\n==1== ERROR: libFuzzer: deadly signal\nartifact_prefix='/a/'; Test unit written to /a/oom-1\n";
        let stats = Stats::read(log, false);
        assert_eq!(stats.message.as_deref(), Some("memory allocation of 9 bytes failed"));
    }
}
