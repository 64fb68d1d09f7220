//! Whether a run was good enough: errors and p95 of the calls, and what the devices saw.

use std::collections::BTreeMap;
use std::fmt;

use goose::prelude::GooseMetrics;

use crate::local::{Notice, Report, most_in_a_minute};
use crate::things::{PACED_VERSION, Things};

/// What is still good enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) error_percent: f64,
    pub(crate) p95_ms: usize,
}

/// The calls of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) name: String,
    pub(crate) count: usize,
    pub(crate) failed: usize,
    pub(crate) p50_ms: usize,
    pub(crate) p95_ms: usize,
    pub(crate) max_ms: usize,
}

/// The calls of a run by name.
pub(crate) fn calls(metrics: &GooseMetrics) -> Vec<Calls> {
    let mut calls: Vec<Calls> = metrics
        .requests
        .values()
        .map(|request| Calls {
            name: request.path.clone(),
            count: request.raw_data.counter,
            failed: request.fail_count,
            p50_ms: percentile(&request.raw_data.times, 50),
            p95_ms: percentile(&request.raw_data.times, 95),
            max_ms: request.raw_data.maximum_time,
        })
        .collect();
    calls.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    calls
}

/// The smallest time that at least so many percent of the calls did not exceed.
fn percentile(times: &BTreeMap<usize, usize>, percent: usize) -> usize {
    let wanted = (times.values().sum::<usize>() * percent).div_ceil(100);
    let mut seen = 0;
    let at = times.iter().find(|(_, count)| {
        seen += **count;
        seen >= wanted
    });
    at.map_or(0, |(time, _)| *time)
}

/// Prints the calls, and returns what is wrong with them.
pub(crate) fn judge_calls(calls: &[Calls], seconds: usize, limits: Limits) -> Vec<String> {
    println!("{:<32} {:>8} {:>7} {:>8} {:>8} {:>8}", "", "calls", "failed", "p50 ms", "p95 ms", "max ms");
    for row in calls {
        println!("{row}");
    }
    let (count, failed) =
        calls.iter().fold((0, 0), |(count, failed), row| (count + row.count, failed + row.failed));
    println!("{count} calls, {} a second, {failed} failed", count / seconds.max(1));

    let mut wrong = Vec::new();
    if count == 0 {
        wrong.push("nothing was called".to_owned());
    }
    // Numbers of calls are far below 2^53.
    if failed as f64 * 100.0 > limits.error_percent * count as f64 {
        wrong.push(format!("{failed} of {count} calls failed, more than {} %", limits.error_percent));
    }
    wrong.extend(
        calls
            .iter()
            .filter(|row| row.p95_ms > limits.p95_ms)
            .map(|row| format!("p95 of {} is {} ms, more than {} ms", row.name, row.p95_ms, limits.p95_ms)),
    );
    wrong
}

/// Prints what the devices saw, and returns what is wrong with that.
pub(crate) fn judge_devices(things: &Things, report: &Report, notices: &[Notice]) -> Vec<String> {
    let moments = |of: Option<&str>| {
        let of = notices.iter().filter(|notice| of.is_none_or(|version| notice.version == version));
        of.map(|notice| notice.at_ms).collect::<Vec<_>>()
    };
    let (all, paced) = (moments(None), moments(Some(PACED_VERSION)));
    let most = most_in_a_minute(paced.clone());
    let allowed = things.paced_per_minute;
    println!(
        "devices      {} of {} connected, {} connections lost",
        report.connected, report.devices, report.connections_lost
    );
    println!(
        "pushes       {} ({} repeats), at most {} in any 60 s; {} updates",
        report.notices,
        report.repeats,
        most_in_a_minute(all),
        report.updates
    );
    println!("paced job    {} pushes, at most {most} in any 60 s of {allowed} allowed", paced.len());

    let rows = [
        (report.connected < report.devices, "not every device could connect".to_owned()),
        (report.odd_messages > 0, format!("{} messages were no notices", report.odd_messages)),
        (report.download_failures > 0, format!("{} downloads failed", report.download_failures)),
        (report.updates == 0, "no device was updated".to_owned()),
        (paced.is_empty(), "the paced job pushed nothing".to_owned()),
        (most > allowed, format!("the paced job pushed {most} in 60 s, more than {allowed}")),
    ];
    rows.into_iter().filter_map(|(is_wrong, what)| is_wrong.then_some(what)).collect()
}

impl fmt::Display for Calls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, count, failed, p50_ms, p95_ms, max_ms } = self;
        write!(out, "{name:<32} {count:>8} {failed:>7} {p50_ms:>8} {p95_ms:>8} {max_ms:>8}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { error_percent: 1.0, p95_ms: 100 };

    fn row(count: usize, failed: usize, p95_ms: usize) -> Calls {
        Calls { name: "QueryOTAJob".to_owned(), count, failed, p50_ms: 1, p95_ms, max_ms: 500 }
    }

    #[test]
    fn a_percentile_is_a_time_that_was_seen() {
        let times = BTreeMap::from([(1, 94), (7, 1), (90, 5)]);
        assert_eq!((percentile(&times, 50), percentile(&times, 95), percentile(&times, 96)), (1, 7, 90));
        assert_eq!(percentile(&BTreeMap::new(), 95), 0);
    }

    #[test]
    fn limits_are_held_and_nothing_is_no_success() {
        assert!(judge_calls(&[row(100, 1, 100)], 1, LIMITS).is_empty());
        assert_eq!(judge_calls(&[row(100, 2, 100)], 1, LIMITS).len(), 1);
        assert_eq!(judge_calls(&[row(100, 2, 101)], 1, LIMITS).len(), 2);
        assert_eq!(judge_calls(&[], 1, LIMITS), ["nothing was called"]);
    }
}
