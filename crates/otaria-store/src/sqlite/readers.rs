//! A few connections that only read, and never hold up the writer.
//!
//! Invariant: a read that takes longer than it may is interrupted, since the write-ahead log cannot be
//! cleaned up behind it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otaria_ports::store::StoreError;
use sqlx::{ConnectOptions, Connection, Error, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::errors::{failed, silent};

/// How long a read may take.
pub(crate) const READ_MAX: Duration = Duration::from_secs(1);

/// Steps of SQLite's machine between two looks at whether to go on; about 1 ms.
const STEPS: i32 = 50_000;

/// Connections that are not in use.
pub(crate) struct Readers {
    idle: Mutex<Vec<Idle>>,
    free: Semaphore,
}

struct Idle {
    conn: SqliteConnection,
    /// Set while the connection may still be busy with what nobody waits for any more.
    stop: Arc<AtomicBool>,
}

impl Readers {
    pub(crate) async fn open(options: &SqliteConnectOptions, count: usize) -> Result<Self, Error> {
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            let mut conn = options.connect().await?;
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = Arc::clone(&stop);
            let go_on = move || !stopped.load(Ordering::Relaxed);
            conn.lock_handle().await?.set_progress_handler(STEPS, go_on);
            idle.push(Idle { conn, stop });
        }
        Ok(Self { idle: Mutex::new(idle), free: Semaphore::new(count) })
    }

    /// Waits for a connection.
    pub(crate) async fn get(&self, doing: &'static str) -> Result<Reader<'_>, StoreError> {
        let closed = || silent(doing, "the store is closed");
        let permit = self.free.acquire().await.map_err(|_| closed())?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut idle = idle.ok_or_else(closed)?;
        if idle.stop.load(Ordering::Relaxed) {
            let waited = idle.conn.ping().await;
            idle.stop.store(false, Ordering::Relaxed);
            waited.map_err(failed(doing))?;
        }
        Ok(Reader { idle: Some(idle), busy: false, home: self, _permit: permit })
    }

    pub(crate) async fn close(&self) {
        self.free.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for idle in idle {
            let _ = idle.conn.close().await; // It only read.
        }
    }
}

/// A connection in use.
pub(crate) struct Reader<'r> {
    idle: Option<Idle>,
    /// A statement was begun and not seen to end.
    busy: bool,
    home: &'r Readers,
    _permit: SemaphorePermit<'r>,
}

impl Reader<'_> {
    /// Runs a statement for as long as a read may take, and returns what it found.
    pub(crate) async fn read<'c, T, F>(
        &'c mut self,
        doing: &'static str,
        max: Duration,
        statement: impl FnOnce(&'c mut SqliteConnection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        // Only `drop` takes it out.
        let idle = self.idle.as_mut().expect("a reader has its connection until it is dropped");
        // Nobody may be left to see the end: whether it ran to the end is said by who drops the reader.
        self.busy = true;
        let found = tokio::time::timeout(max, statement(&mut idle.conn)).await;
        let found = found.map_err(|_| silent(doing, "it took too long"))?;
        self.busy = false;
        found.map_err(failed(doing))
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            idle.stop.store(self.busy, Ordering::Relaxed);
            self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row;

    #[test]
    fn a_read_that_takes_too_long_is_interrupted_and_its_connection_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let readers = Readers::open(&SqliteConnectOptions::new().in_memory(true), 1).await.unwrap();
            let endless =
                "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n";
            let mut reader = readers.get("testing").await.unwrap();
            let max = Duration::from_millis(20);
            let late = reader.read("testing", max, |conn| sqlx::query(endless).fetch_one(conn)).await;
            assert!(matches!(late, Err(StoreError::Unavailable { .. })));
            drop(reader);

            let mut reader = readers.get("testing").await.unwrap();
            let row = reader.read("testing", READ_MAX, |conn| sqlx::query("select 7").fetch_one(conn)).await;
            assert_eq!(row.unwrap().get::<i64, _>(0), 7);
        });
    }
}
