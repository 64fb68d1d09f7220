//! What the store was asked for and did: jobs, claims, orders, leases. How tasks moved comes as events, in the order
//! of commits (see [`super::RecordedEvents`]).

mod jobs;
mod leases;
mod plain;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use otaria_core::ids::JobNo;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Store, StoreError, TaskCounts};

use crate::record::Fact;
use crate::writer::History;

/// Does what the store does, and tells of it.
pub struct RecordedStore {
    history: Arc<History>,
    inner: Arc<dyn Store>,
    /// The same facts, for what is read to be told.
    reader: Arc<dyn Store>,
    /// Epochs that were told.
    epochs: Mutex<BTreeMap<Shard, i64>>,
    /// Counts that were told last; forgotten when they are many.
    counts: Mutex<BTreeMap<JobNo, TaskCounts>>,
}

impl std::fmt::Debug for RecordedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedStore").finish_non_exhaustive()
    }
}

impl RecordedStore {
    /// Around a store that publishes to a [`super::RecordedEvents`] of the same history.
    #[must_use]
    pub fn new(history: Arc<History>, inner: Arc<dyn Store>) -> Arc<Self> {
        let reader = Arc::clone(&inner);
        Self::with_reader(history, inner, reader)
    }

    /// The same, with a way of its own to the same facts for what it reads itself, where calls are counted.
    #[must_use]
    pub fn with_reader(history: Arc<History>, inner: Arc<dyn Store>, reader: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { history, inner, reader, epochs: Mutex::default(), counts: Mutex::default() })
    }

    /// Passes on the answer to a write, and tells if nobody can know what it did.
    fn known<T>(
        &self,
        done: Result<T, StoreError>,
        from: Timestamp,
        doing: &str,
        jobs: impl IntoIterator<Item = JobNo>,
    ) -> Result<T, StoreError> {
        if let Err(StoreError::Unavailable { .. }) = &done {
            let mut jobs: Vec<i64> = jobs.into_iter().map(|job| job.0).collect();
            jobs.sort_unstable();
            jobs.dedup();
            self.history.tell_one(from, Fact::Unsure { doing: doing.to_owned(), jobs });
        }
        done
    }
}

/// Calls that go through untold.
macro_rules! forward {
    ($trait:ident { $($own:tt)* } $(fn $name:ident(&self $(, $arg:ident: $ty:ty)* $(,)?) -> $out:ty;)*) => {
        #[async_trait::async_trait]
        impl $trait for $crate::recorder::store::RecordedStore {
            $($own)*

            $(async fn $name(&self $(, $arg: $ty)*) -> Result<$out, StoreError> {
                self.inner.$name($($arg),*).await
            })*
        }
    };
}
use forward;
