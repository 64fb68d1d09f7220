//! The store in memory: the fake on which the engine is tested and simulated.
//!
//! Never forgets until it is dropped, never waits, and draws no chance: all its tables are ordered. It
//! decides nothing that [`super`]'s documentation leaves open; what it does is what every store does.
//!
//! Invariant: a transaction looks at everything that could refuse it before it writes anything, so that an
//! error leaves the tables as they were.

mod accounts;
mod applies;
mod bulk;
mod cancel;
mod deletion;
mod devices;
mod expand;
mod firmwares;
mod groups;
mod jobs;
mod leases;
mod modules;
mod nonces;
mod standing;
mod tables;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otaria_core::ids::JobNo;
use otaria_core::task::TaskStatus;

use self::tables::Tables;
use super::StoreError;
use crate::events::Events;

/// See the module.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    events: Arc<dyn Events>,
}

/// How a call fails that [`MemoryStore::fail_next`] makes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written.
    Before,
    /// Everything is written, and only the answer gets lost.
    After,
}

struct Inner {
    tables: Tables,
    /// What becomes of the next calls.
    faults: VecDeque<Option<Fault>>,
    /// See [`MemoryStore::replace_wrongly`].
    replaced_in: Option<TaskStatus>,
}

impl MemoryStore {
    /// A store that holds nothing but account 1, and publishes to `events`.
    #[must_use]
    pub fn new(events: Arc<dyn Events>) -> Self {
        let tables = Tables::new(Arc::clone(&events));
        Self { inner: Mutex::new(Inner { tables, faults: VecDeque::new(), replaced_in: None }), events }
    }

    /// Makes the next `calls` calls answer [`StoreError::Unavailable`], after those that were asked to fail
    /// already.
    pub fn fail_next(&self, calls: usize, fault: Fault) {
        self.lock().faults.extend(std::iter::repeat_n(Some(fault), calls));
    }

    /// Lets the next `calls` calls through, after those that were asked to fail already, and makes the one
    /// behind them fail.
    pub fn fail_after(&self, calls: usize, fault: Fault) {
        let mut inner = self.lock();
        inner.faults.extend(std::iter::repeat_n(None, calls));
        inner.faults.push_back(Some(fault));
    }

    /// From now on says of tasks that an expansion replaced that they were in this status, as a store would that
    /// replaces what it must not.
    pub fn replace_wrongly(&self, status: TaskStatus) {
        self.lock().replaced_in = Some(status);
    }

    /// Counts one task of a job in another status than its own, as a store would whose counters went wrong.
    pub fn miscount(&self, job: JobNo, from: TaskStatus, to: TaskStatus) {
        if let Some(row) = self.lock().tables.jobs.get_mut(&job) {
            row.counts.by_status[from as usize] -= 1;
            row.counts.by_status[to as usize] += 1;
        }
    }

    /// Lets all further calls through.
    pub fn mend(&self) {
        self.lock().faults.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic can only come from a caller's broken promise; the test that made it fails anyway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one transaction. Events are published before the lock is given back: in the order of commits.
    fn transact<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut inner = self.lock();
        let fault = inner.faults.pop_front().flatten();
        if fault == Some(Fault::Before) {
            return Err(made_to_fail(doing));
        }
        let result = work(&mut inner.tables);
        let news = std::mem::take(&mut inner.tables.news);
        if !news.is_empty() {
            self.events.publish(news);
        }
        if fault == Some(Fault::After) {
            return Err(made_to_fail(doing));
        }
        result
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

fn made_to_fail(doing: &'static str) -> StoreError {
    StoreError::Unavailable { doing, source: "made to fail".into() }
}
