//! What the kernel says about a process: its memory, how many files this one may open, when it shall end.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Memory of a process that is held in RAM now, in KiB. `None` where the system does not tell.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    status_kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// The most memory that a process ever held in RAM, in KiB. `None` where the system does not tell.
pub(crate) fn peak_resident_kib(pid: u32) -> Option<u64> {
    status_kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

fn status_kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Processor time that a process used so far, in seconds, its threads' together. `None` where the system does not tell.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let ticks = cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    // A few years of ticks: exact in a float.
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name, in brackets, may hold anything; behind it utime and stime are the 12th and 13th words.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(user + system)
}

/// Lifts the soft limit of open files to the hard one, for this process and those it starts, and returns
/// the limit then. `None`: unlimited.
pub(crate) fn lift_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let lifted = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Refused on systems with a ceiling of their own below the hard limit; then the soft one stays.
        let _ = setrlimit(Resource::Nofile, lifted);
    }
    getrlimit(Resource::Nofile).current
}

/// Returns when this process is asked to end, by Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    let terminate = signal(SignalKind::terminate());
    let terminated = async {
        match terminate {
            Ok(mut terminate) => terminate.recv().await,
            // Without a handler the signal ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\totaria\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(status_kib(status, "VmHWM:"), Some(20_480));
        assert_eq!(status_kib(status, "VmRSS:"), Some(10_240));
        assert_eq!(status_kib(status, "VmSwap:"), None);
    }

    #[test]
    fn processor_time_is_read_from_behind_a_strange_name() {
        let stat = "42 (a) b 1) S 1 2 3 4 5 6 7 8 9 10 1200 34 0 0 20 0 4 0";
        assert_eq!(cpu_ticks(stat), Some(1_234));
        assert!(cpu_seconds(std::process::id()).is_some_and(|seconds| seconds < 1e6));
    }
}
