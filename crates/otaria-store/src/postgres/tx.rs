//! Runs work in a transaction, again where that is safe, and tells what was committed.
//!
//! Invariant: work is repeated only before its commit was asked for. A connection with an open transaction
//! never goes back into the pool.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use otaria_core::ids::{AccountNo, GroupNo, JobNo, ProductNo};
use otaria_ports::events::{Event, Events};
use otaria_ports::store::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, query, raw_sql};

use super::retry::{self, Tries};
use super::{PostgresStore, sql};
use crate::errors::{failed, silent};
use crate::feed::JobFacts;

/// Jobs whose facts are remembered; some 200 bytes each.
const JOBS_KNOWN_MAX: usize = 1_024;

/// What never changes of jobs. A number of a job is never given again, so what was read stays true.
#[derive(Clone, Default)]
pub(super) struct Jobs(Arc<Mutex<HashMap<JobNo, Arc<JobFacts>>>>);

/// A transaction, and the events that go out when it is committed. Work may refer to what lives for `'a`.
pub(crate) struct PgTx<'a> {
    conn: PoolConnection<Postgres>,
    is_open: bool,
    events: Vec<Event>,
    listeners: Arc<dyn Events>,
    jobs: Jobs,
    _works_on: PhantomData<&'a ()>,
}

impl Drop for PgTx<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.conn.close_on_drop();
        }
    }
}

/// What many transactions agree on before they look at anything. Held to the end of the transaction; taken
/// before any row is locked, products before groups.
///
/// Advisory locks, since a row's lock that many share cannot be turned into a write of that row without a
/// deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lock {
    /// Who is in a product, and in which version. Shared: by what registers devices, keeps versions, or makes
    /// tasks of devices. Alone: by what draws the membership number, and by what deletes a device or the
    /// product.
    Product(ProductNo),
    /// Who is in a group. Shared by nobody: changes of a group follow each other. Alone: by what changes or
    /// deletes it, and by a job that draws its membership number.
    Group(GroupNo),
    /// Who owns which shard: alone, by what takes shards over.
    Shards,
}

impl Lock {
    fn key(self) -> i64 {
        match self {
            Self::Product(no) => (1 << 48) | no.0,
            Self::Group(no) => (2 << 48) | no.0,
            Self::Shards => 3 << 48,
        }
    }
}

impl PgTx<'_> {
    /// The connection, for a statement.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Takes a lock together with others who share it.
    pub(crate) async fn share(&mut self, lock: Lock) -> Result<(), StoreError> {
        let locked = query(sql::SHARE).bind(lock.key()).execute(self.conn()).await;
        locked.map(drop).map_err(failed("waiting for a lock"))
    }

    /// Takes a lock alone.
    pub(crate) async fn lock(&mut self, lock: Lock) -> Result<(), StoreError> {
        let locked = query(sql::LOCK).bind(lock.key()).execute(self.conn()).await;
        locked.map(drop).map_err(failed("waiting for a lock"))
    }

    /// Whether anybody listens to this account.
    pub(crate) fn wanted(&self, account: AccountNo) -> bool {
        self.listeners.wanted(account)
    }

    /// Tells after the commit, in order.
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// What was read of a job before.
    pub(crate) fn known(&self, job: JobNo) -> Option<Arc<JobFacts>> {
        self.jobs.0.lock().unwrap_or_else(PoisonError::into_inner).get(&job).map(Arc::clone)
    }

    /// Remembers what never changes of a job.
    pub(crate) fn know(&mut self, job: JobNo, facts: Arc<JobFacts>) {
        let mut jobs = self.jobs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= JOBS_KNOWN_MAX {
            jobs.clear();
        }
        jobs.insert(job, facts);
    }
}

/// Why a try did not do it.
enum Failed {
    /// Nothing was committed.
    Before(StoreError),
    /// It may have been committed.
    Unknown(StoreError),
}

impl PostgresStore {
    /// Does work in a transaction and returns what it made once it is committed. The work is done anew when
    /// its transaction was lost before the commit, so it keeps nothing from one try to the next.
    pub(crate) async fn tx<'a, T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> Fn(&'t mut PgTx<'a>) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync,
    {
        let mut tries = Tries::default();
        loop {
            let attempt = tokio::time::timeout(self.options.call_timeout, self.attempt(doing, &work));
            let error = match attempt.await {
                Ok(Ok(made)) => return Ok(made),
                Ok(Err(Failed::Before(error))) => error,
                Ok(Err(Failed::Unknown(error))) => return Err(error),
                Err(_) => return Err(silent(doing, "the database did not answer in time")),
            };
            if !self.again(&mut tries, &error).await {
                return Err(error);
            }
            tracing::debug!(doing, %error, "a transaction is run again");
        }
    }

    /// The same for long work in slices, of which only so much runs at a time.
    pub(crate) async fn long_tx<'a, T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> Fn(&'t mut PgTx<'a>) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync,
    {
        let _place = self.long.acquire().await.map_err(|_| silent(doing, "the store is closed"))?;
        self.tx(doing, work).await
    }

    async fn attempt<'a, T, F>(&self, doing: &'static str, work: &F) -> Result<T, Failed>
    where
        F: for<'t> Fn(&'t mut PgTx<'a>) -> BoxFuture<'t, Result<T, StoreError>>,
    {
        let before = |error| Failed::Before(failed(doing)(error));
        let mut tx = PgTx {
            conn: self.writers.acquire().await.map_err(before)?,
            is_open: true,
            events: Vec::new(),
            listeners: Arc::clone(&self.events),
            jobs: self.jobs.clone(),
            _works_on: PhantomData,
        };
        raw_sql("begin").execute(tx.conn()).await.map_err(before)?;
        match work(&mut tx).await {
            Ok(made) => {
                self.commit(doing, &mut tx).await?;
                Ok(made)
            }
            Err(error) => {
                let is_lost = match &error {
                    StoreError::Unavailable { source, .. } => {
                        source.downcast_ref().is_some_and(retry::is_lost)
                    }
                    StoreError::Conflict { .. }
                    | StoreError::Exists { .. }
                    | StoreError::NotFound { .. }
                    | StoreError::Corrupt { .. } => false,
                };
                // Where it does not come through, the connection is closed, and the server does it.
                tx.is_open = is_lost || raw_sql("rollback").execute(tx.conn()).await.is_err();
                Err(Failed::Before(error))
            }
        }
    }

    async fn commit(&self, doing: &'static str, tx: &mut PgTx<'_>) -> Result<(), Failed> {
        if let Err(error) = raw_sql("commit").execute(tx.conn()).await {
            // The server says no, so it is rolled back; all else may be silence after the deed.
            let is_refused = error.as_database_error().is_some() && !retry::is_lost(&error);
            let error = failed(doing)(error);
            return Err(if is_refused { Failed::Before(error) } else { Failed::Unknown(error) });
        }
        tx.is_open = false;
        let events = std::mem::take(&mut tx.events);
        if !events.is_empty() {
            self.events.publish(events);
        }
        Ok(())
    }
}
