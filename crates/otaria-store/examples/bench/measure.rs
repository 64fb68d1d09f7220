//! Time, memory and chance of a measurement.

use std::time::Duration;

/// A line of `/proc/self/status`, in MiB.
pub(crate) fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib =
        line.and_then(|line| line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Seconds of processor time of a process so far.
pub(crate) fn cpu(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

pub(crate) fn say(what: &str, n: usize, spent: Duration) {
    static BEFORE: std::sync::Mutex<f64> = std::sync::Mutex::new(0.0);
    let (mut before, now) = (BEFORE.lock().unwrap(), cpu("self"));
    let used = now - std::mem::replace(&mut *before, now);
    println!(
        "{what:<44} {:>8.3} s (cpu {used:>6.2} s) {:>10.0} /s   rss {:>6.1} MiB, peak {:>6.1}",
        spent.as_secs_f64(),
        n as f64 / spent.as_secs_f64(),
        memory("VmRSS"),
        memory("VmHWM"),
    );
}

/// A generator that is good enough to shuffle with.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.next(i + 1));
        }
    }
}
