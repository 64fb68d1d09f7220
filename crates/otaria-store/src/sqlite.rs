//! Opens and closes the file.

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
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_bulk.sql"),
    include_str!("../migrations/0003_groups.sql"),
    include_str!("../migrations/0004_nonces.sql"),
];

/// What may be tuned.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    /// Page cache of the writer, in KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reader, in KiB.
    pub reader_cache_kib: u32,
    /// Connections that only read.
    pub readers: usize,
    /// Pages in the write-ahead log from which on a commit moves them into the file.
    pub checkpoint_pages: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { writer_cache_kib: 16 * 1024, reader_cache_kib: 4 * 1024, readers: 2, checkpoint_pages: 4_000 }
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

        let mut conn = base
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", format!("-{}", options.writer_cache_kib))
            .pragma("wal_autocheckpoint", options.checkpoint_pages.to_string())
            .pragma("journal_size_limit", "16777216")
            .connect()
            .await
            .map_err(unavailable)?;
        migrate(&mut conn).await?;

        let reading = base
            .pragma("query_only", "on")
            .pragma("cache_size", format!("-{}", options.reader_cache_kib));
        let readers = Readers::open(&reading, options.readers.max(1)).await.map_err(unavailable)?;
        Ok(Self { writer: Writer::start(conn, events), readers })
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
    pub(crate) async fn value<T>(&self, doing: &'static str, statement: Statement<'_>) -> Result<T, StoreError>
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
