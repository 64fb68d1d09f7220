//! Which life of the data this is; see the crate's words on how a loss is noticed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lua functions that other scripts begin with: `text`, `time_us` and `incarnation`.
pub(crate) const PRELUDE: &str = include_str!("incarnation.lua");

/// The greatest incarnation of one unit that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen(AtomicU64);

impl Seen {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn note(&self, incarnation: u64) {
        self.0.fetch_max(incarnation, Ordering::SeqCst);
    }
}
