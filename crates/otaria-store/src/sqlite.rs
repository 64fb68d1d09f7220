//! Opens and closes the file.
//!
//! Connections: one writes ([`writer`]), one moves the write-ahead log into the file ([`checkpoint`]), a few
//! read ([`readers`]). SQLite's own page caches are small, since the system's cache holds the file anyway
//! and a read from there costs about a microsecond; mapping the file instead would count as memory of the
//! process.
//!
//! 2026-11-21, measured on 2 cores beside other work (`examples/bench`, 1,000,000 names in random order
//! against as many devices; processor time is what the load does not distort):
//!
//! | page caches, writer and reader | list resolved and expanded | memory at the end |
//! |---|---|---|
//! | 16 and 4 MiB | 5.8–6.1 s of processor | 61 MiB, 20 of it the measurement's own |
//! | 8 and 2 MiB (chosen) | 5.1–5.6 s | 37 MiB |

mod checkpoint;
pub(crate) mod errors;
mod readers;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use otaria_ports::events::Events;
use otaria_ports::store::StoreError;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Decode, Error, Row, SqliteConnection, Type};

use errors::failed;
pub(crate) use readers::{READ_MAX, Readers};
pub(crate) use writer::{Lane, Tx, Writer};

/// In order; the number of those that ran is the file's `user_version`.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_bulk.sql"),
    include_str!("../migrations/0003_groups.sql"),
    include_str!("../migrations/0004_nonces.sql"),
    include_str!("../migrations/0005_dynamic.sql"),
];

/// What is left of the write-ahead log's file when it begins anew.
const JOURNAL_SIZE_BYTES: u32 = 32 << 20;

/// What may be tuned.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    /// Page cache of the writer, in KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reader, in KiB.
    pub reader_cache_kib: u32,
    /// Connections that only read.
    pub readers: usize,
    /// Pages in the write-ahead log from which on they are moved into the file.
    pub checkpoint_pages: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { writer_cache_kib: 8 * 1024, reader_cache_kib: 2 * 1024, readers: 3, checkpoint_pages: 4_000 }
    }
}

/// The store in one SQLite file.
pub struct SqliteStore {
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
}

impl SqliteStore {
    /// Opens the file, makes it if there is none, and brings its schema up to date. Must be called inside a
    /// tokio runtime: the writer is a task of it. What is committed is told to `events`.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened or written, `Corrupt` when a later version made it.
    pub async fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        events: Arc<dyn Events>,
    ) -> Result<Self, StoreError> {
        let unavailable = failed("opening the store");
        let base = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_secs(5))
            .row_buffer_size(1_024)
            .statement_cache_capacity(64)
            .foreign_keys(true)
            .pragma("temp_store", "memory")
            .disable_statement_logging();

        let writing = base
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Where the log cannot be moved aside of the writer, the writer moves it after all.
            .pragma("wal_autocheckpoint", options.checkpoint_pages.saturating_mul(8).to_string())
            .pragma("journal_size_limit", JOURNAL_SIZE_BYTES.to_string());
        let cache = format!("-{}", options.writer_cache_kib);
        let mut conn = writing.clone().pragma("cache_size", cache).connect().await.map_err(unavailable)?;
        migrate(&mut conn).await?;
        let checkpoints = writing.pragma("cache_size", "-64").connect().await.map_err(unavailable)?;

        let reading =
            base.pragma("query_only", "on").pragma("cache_size", format!("-{}", options.reader_cache_kib));
        let readers = Readers::open(&reading, options.readers.max(1)).await.map_err(unavailable)?;
        let writer = Writer::start(conn, checkpoints, options.checkpoint_pages, events);
        Ok(Self { writer, readers })
    }

    /// Returns when nothing can be written any more. Unless [`SqliteStore::close`] was called, that is a
    /// defect: the process should end, and start again on what is committed.
    pub async fn ended(&self) {
        self.writer.ended().await;
    }

    /// Finishes what was handed in, moves the write-ahead log into the file and closes it. Calls after
    /// that answer `Unavailable`. A store that is dropped without it loses nothing.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A statement with its binds.
pub(crate) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

impl SqliteStore {
    /// Reads rows.
    pub(crate) async fn rows(
        &self,
        doing: &'static str,
        statement: Statement<'_>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut reader = self.readers.get(doing).await?;
        reader.read(doing, READ_MAX, |conn| statement.fetch_all(conn)).await
    }

    /// Reads one row.
    pub(crate) async fn row(
        &self,
        doing: &'static str,
        statement: Statement<'_>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let mut reader = self.readers.get(doing).await?;
        reader.read(doing, READ_MAX, |conn| statement.fetch_optional(conn)).await
    }

    /// Reads the only column of the only row.
    pub(crate) async fn value<T>(
        &self,
        doing: &'static str,
        statement: Statement<'_>,
    ) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
    {
        let mut reader = self.readers.get(doing).await?;
        let row = reader.read(doing, READ_MAX, |conn| statement.fetch_one(conn)).await?;
        row.try_get(0).map_err(failed(doing))
    }
}

async fn migrate(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let doing = "bringing the schema up to date";
    let version: i64 =
        sqlx::query_scalar("pragma user_version").fetch_one(&mut *conn).await.map_err(failed(doing))?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        let reason = format!("schema {version} is newer than this program, which knows {}", MIGRATIONS.len());
        return Err(StoreError::Corrupt { table: "the whole file", reason });
    }
    for (i, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let text = format!("begin immediate;\n{migration};\npragma user_version = {};\ncommit;", i + 1);
        let ran: Result<_, Error> = sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut *conn).await;
        ran.map_err(failed(doing))?;
    }
    Ok(())
}
