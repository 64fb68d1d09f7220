//! The store on PostgreSQL 15 and later: several processes share one database.
//!
//! Statements are kept to plans that ride on indexes, as SQLite's are: the session forbids what a planner
//! might choose instead while its statistics are young, and takes joins in the order in which they are
//! written ([`SESSION`]).
//!
//! Where SQLite has one writer, here many transactions run at once, in READ COMMITTED. What they must agree on
//! is held by locks in one order: product or group ([`Lock`]), job, `job_source`, leases by shard, tasks by
//! device, counters last. A transaction that is chosen as a victim, or whose connection is lost before its
//! commit, is run again ([`tx`]).
//!
//! Events are published by the process whose transaction they come from, right after its commit. Of two
//! commits that follow each other at once the later one may be heard first: a task's revision tells.
//!
//! Invariant: nobody is told of success before the commit that holds it, and work that failed leaves nothing
//! behind.

mod accounts;
mod applies;
mod bulk;
mod cancel;
mod changes;
mod counters;
mod deletion;
mod devices;
mod expand;
mod feed;
mod firmwares;
mod groups;
mod jobs;
mod leases;
mod listing;
mod migrate;
mod modules;
mod names;
mod nonces;
mod part;
mod register;
mod retention;
mod retry;
mod source;
mod sql;
mod standing;
mod tasks;
mod tx;
mod versions;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use otaria_core::time::Timestamp;
use otaria_ports::events::Events;
use otaria_ports::store::StoreError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Decode, PgPool, Postgres, Row, Type};
use tokio::sync::Semaphore;

use crate::errors::{failed, silent};
use retry::Tries;
pub(crate) use retry::raced;
use tx::Jobs;
pub(crate) use tx::{Lock, PgTx};

/// What every session is told. `join_collapse_limit` and `from_collapse_limit` keep the order of joins, the
/// rest leaves index scans and nested loops: the cost of a statement then grows with its sets, whatever the
/// planner believes about tables that were empty a minute ago. A plan that is kept would go on believing it: one
/// that was made while `task_due` was empty walked all of it for each row of a batch (3,000 claims a second
/// instead of 30,000); planning anew sees how long the table is, for about 0.1 ms.
const SESSION: &[(&str, &str)] = &[
    ("join_collapse_limit", "1"),
    ("from_collapse_limit", "1"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("enable_memoize", "off"),
    ("plan_cache_mode", "force_custom_plan"),
    ("jit", "off"),
];

/// A connection that was idle for longer is asked whether it still lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Whose clock counts for memberships, leases and periodic runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresClock {
    /// The database's: processes on several machines agree on who is alive, however their clocks go.
    Database,
    /// The caller's: for a world in which time is driven by hand, such as the contract's.
    Caller,
}

/// What may be tuned.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Connections that write; half of them at most do long work.
    pub writers: u32,
    /// Connections that only read.
    pub readers: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may take, and a lock may be waited for.
    pub statement_timeout: Duration,
    /// How long a call may take in all, once it has a connection; a connection that is silent for so long
    /// is given up.
    pub call_timeout: Duration,
    /// How long a call goes on trying while the database is away or chooses it as a victim, waits between
    /// the tries taken together.
    pub patience: Duration,
    /// Whose clock counts for leases.
    pub clock: PostgresClock,
    /// Whether opening brings the schema up to date. Where several processes start at once this is better
    /// done once, by `otaria migrate`.
    pub migrate: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            writers: 8,
            readers: 8,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            clock: PostgresClock::Database,
            migrate: false,
        }
    }
}

/// The store in one PostgreSQL database.
pub struct PostgresStore {
    readers: PgPool,
    writers: PgPool,
    /// Places for long work.
    long: Semaphore,
    events: Arc<dyn Events>,
    jobs: Jobs,
    options: PostgresOptions,
    jitter: AtomicU64,
}

/// A statement with its binds.
pub(crate) type PgStatement<'q> = Query<'q, Postgres, PgArguments>;

/// Brings the schema of a database up to date; what is up to date is left alone. Several at once wait for
/// each other.
///
/// # Errors
/// `Unavailable` when the database cannot be reached or refuses, `Corrupt` when a later version made the
/// schema.
pub async fn migrate(url: &str) -> Result<(), StoreError> {
    let options = connect_options(url)?;
    let mut conn = options.connect().await.map_err(failed(migrate::DOING))?;
    let done = migrate::run(&mut conn).await;
    // Closing is a courtesy: the work is committed.
    let _ = conn.close().await;
    done
}

fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(failed("reading the database's address"))?;
    Ok(options.application_name("otaria").disable_statement_logging())
}

impl PostgresStore {
    /// Opens the store. What is committed is told to `events`.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be reached; `Corrupt` when its schema is not the one that this
    /// program knows.
    pub async fn open(
        url: &str,
        options: PostgresOptions,
        events: Arc<dyn Events>,
    ) -> Result<Self, StoreError> {
        if options.migrate {
            migrate(url).await?;
        }
        let millis = options.statement_timeout.as_millis().to_string();
        let session = connect_options(url)?
            .statement_cache_capacity(256)
            .options(SESSION.iter().copied())
            .options([("statement_timeout", &millis), ("idle_in_transaction_session_timeout", &millis)]);
        let reading = session.clone().options([("default_transaction_read_only", "on")]);
        let store = Self {
            readers: pool(options.readers, &options).connect_lazy_with(reading),
            writers: pool(options.writers, &options).connect_lazy_with(session),
            long: Semaphore::new((options.writers as usize / 2).max(1)),
            events,
            jobs: Jobs::default(),
            // Chance enough to keep two processes from trying again in step.
            jitter: AtomicU64::new(u64::from(std::process::id())),
            options,
        };
        let mut conn = store.readers.acquire().await.map_err(failed("opening the store"))?;
        migrate::check(&mut conn).await?;
        drop(conn);
        Ok(store)
    }

    /// Closes the connections when the calls that use them have ended. Calls after that answer
    /// `Unavailable`. A store that is dropped without it loses nothing.
    pub async fn close(&self) {
        self.long.close();
        self.writers.close().await;
        self.readers.close().await;
    }

    /// The instant to hand to a statement about leases: `None` means the database's clock.
    fn now(&self, now: Timestamp) -> Option<i64> {
        match self.options.clock {
            PostgresClock::Database => None,
            PostgresClock::Caller => Some(now.millis()),
        }
    }

    /// Reads rows.
    pub(crate) async fn rows<'q>(
        &self,
        doing: &'static str,
        statement: impl Fn() -> PgStatement<'q> + Send + Sync,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut tries = Tries::default();
        loop {
            let error = match self.read(doing, statement()).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if !self.again(&mut tries, &error).await {
                return Err(error);
            }
        }
    }

    async fn read(&self, doing: &'static str, statement: PgStatement<'_>) -> Result<Vec<PgRow>, StoreError> {
        let mut conn = self.readers.acquire().await.map_err(failed(doing))?;
        match tokio::time::timeout(self.options.call_timeout, statement.fetch_all(&mut *conn)).await {
            Ok(rows) => {
                if rows.as_ref().is_err_and(retry::is_lost) {
                    conn.close_on_drop();
                }
                rows.map_err(failed(doing))
            }
            Err(_) => {
                conn.close_on_drop();
                Err(silent(doing, "the database did not answer in time"))
            }
        }
    }

    /// Reads one row.
    pub(crate) async fn row<'q>(
        &self,
        doing: &'static str,
        statement: impl Fn() -> PgStatement<'q> + Send + Sync,
    ) -> Result<Option<PgRow>, StoreError> {
        Ok(self.rows(doing, statement).await?.into_iter().next())
    }

    /// Reads the only column of the only row.
    pub(crate) async fn value<'q, T>(
        &self,
        doing: &'static str,
        statement: impl Fn() -> PgStatement<'q> + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let row = self.row(doing, statement).await?.ok_or_else(|| failed(doing)(sqlx::Error::RowNotFound))?;
        row.try_get(0).map_err(failed(doing))
    }
}

fn pool(connections: u32, options: &PostgresOptions) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(Some(Duration::from_secs(60)))
        .max_lifetime(Some(Duration::from_secs(30 * 60)))
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
}
