//! What the calls of one host's ports meet: a stop at any of them, before or after it is done, or a failure.
//!
//! Never does a call itself. A call that is stopped is a future that is pending: whoever polls it may poll again
//! later, when others have moved, or drop it, which is a crash.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;

use otaria_core::time::Timestamp;
use otaria_ports::store::memory::Fault;

const NEVER: u32 = u32::MAX;
/// See [`Gate::fail_in`].
pub(crate) const WRITES: u32 = 100;

/// See the module. Every fallible port call passes twice: before and after.
#[derive(Debug)]
pub(crate) struct Gate {
    stop_in: AtomicU32,
    fail_in: AtomicU32,
    after: AtomicBool,
    /// Whether only calls that write count.
    writes: AtomicBool,
    /// Whether the failure that was asked for came about.
    failed: AtomicBool,
    /// Until then the renewals of this host's membership fail.
    unrenewed_until: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            stop_in: AtomicU32::new(NEVER),
            fail_in: AtomicU32::new(NEVER),
            after: AtomicBool::new(false),
            writes: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            unrenewed_until: AtomicU64::new(0),
        }
    }
}

impl Gate {
    /// Everything passes.
    pub(crate) fn open(&self) {
        self.stop_in.store(NEVER, Ordering::Relaxed);
        self.fail_in.store(NEVER, Ordering::Relaxed);
    }

    /// Whoever passes after so many others stands still.
    pub(crate) fn stop_in(&self, passes: u32) {
        self.stop_in.store(passes, Ordering::Relaxed);
    }

    /// The call after so many others fails; from 100 on, the one after so many more than 100 that write.
    pub(crate) fn fail_in(&self, calls: u32, fault: Fault) {
        self.fail_in.store(calls % WRITES, Ordering::Relaxed);
        self.writes.store(calls >= WRITES, Ordering::Relaxed);
        self.after.store(fault == Fault::After, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn renew_not_before(&self, at: Timestamp) {
        self.unrenewed_until.store(u64::try_from(at.millis()).unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn may_renew(&self, now: Timestamp) -> bool {
        u64::try_from(now.millis()).unwrap_or(0) >= self.unrenewed_until.load(Ordering::Relaxed)
    }

    /// A yield point.
    pub(crate) async fn pass(&self) {
        poll_fn(|_| match self.stop_in.load(Ordering::Relaxed) {
            NEVER => Poll::Ready(()),
            0 => Poll::Pending,
            left => {
                self.stop_in.store(left - 1, Ordering::Relaxed);
                Poll::Ready(())
            }
        })
        .await;
    }

    /// How the next call will fail, if it does.
    pub(crate) fn fails_next(&self) -> Option<Fault> {
        let after = self.after.load(Ordering::Relaxed);
        let is_next = self.fail_in.load(Ordering::Relaxed) == 0;
        is_next.then_some(if after { Fault::After } else { Fault::Before })
    }

    /// How this call fails, if it does.
    pub(crate) fn fault(&self, writes: bool) -> Option<Fault> {
        if self.writes.load(Ordering::Relaxed) && !writes {
            return None;
        }
        match self.fail_in.load(Ordering::Relaxed) {
            NEVER => None,
            0 => {
                self.fail_in.store(NEVER, Ordering::Relaxed);
                self.failed.store(true, Ordering::Relaxed);
                Some(if self.after.load(Ordering::Relaxed) { Fault::After } else { Fault::Before })
            }
            left => {
                self.fail_in.store(left - 1, Ordering::Relaxed);
                None
            }
        }
    }
}
