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
}
