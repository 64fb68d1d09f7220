//! Looks once more at every notice that was written, and says what must never be.
//!
//! Knows nothing of the fences that were asked before the write; what it finds changes nothing.

use std::time::Duration;

use otaria_core::door::Stamp;
use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_core::witness::{Broken, COUNTER, Invariant, Told, Writes};
use otaria_ports::pusher::Notice;
use parking_lot::Mutex;

/// A write that ends so long after its notice's time was delayed between the last look at the clock and the socket.
const STALLED_BY: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Witness(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    writes: Writes,
    told: Told,
}

impl Witness {
    /// A job's fence was raised; told while nothing can be written.
    pub(crate) fn fence_raised(&self, job: JobNo, fence: u64, at: Timestamp) {
        self.0.lock().writes.fence_raised(job, fence, at);
    }

    /// A shard's epoch was raised; told while nothing can be written.
    pub(crate) fn epoch_raised(&self, shard: Shard, epoch: i64) {
        self.0.lock().writes.epoch_raised(shard, epoch);
    }

    /// A notice was written to `device`, which was decided at `at`. What that breaks is counted and logged.
    pub(crate) fn wrote(&self, notice: &Notice, stamp: &Stamp, device: DeviceId, at: Timestamp) {
        for broken in self.look(notice, stamp, device, at) {
            metrics::counter!(COUNTER, "invariant" => broken.invariant.as_str()).increment(1);
            if self.0.lock().told.next(broken.invariant) {
                tracing::error!(
                    invariant = broken.invariant.as_str(),
                    seen = broken.seen,
                    job = notice.key.job.0,
                    device = format_args!("{:x}", notice.key.device.0),
                    seq = notice.key.seq,
                    attempt = notice.attempt,
                    "an invariant is broken"
                );
            }
        }
    }

    fn look(&self, notice: &Notice, stamp: &Stamp, device: DeviceId, at: Timestamp) -> Vec<Broken> {
        let mut found = self.0.lock().writes.wrote(stamp, notice.terms.as_ref(), at);
        if device != notice.key.device {
            found.push(Broken::new(Invariant::Own, format!("written to device {:x}", device.0)));
        }
        found
    }
}

/// Whether a write that ended at `at` took so long that nobody can say whether it was in time: the process stood
/// still between its look at the clock and the write, or between the write and now. No violation that anybody has
/// seen; so it is counted apart.
pub(crate) fn is_stalled(notice: &Notice, at: Timestamp) -> bool {
    at >= notice.not_after + STALLED_BY
}

#[cfg(test)]
mod tests;
