//! Moves the write-ahead log into the file, beside the writer.
//!
//! Never holds up a transaction: the bulk is moved on a connection of its own while the writer goes on, and
//! only the short rest that was written meanwhile is moved between two transactions. Then the log begins
//! anew instead of growing.
//!
//! 2026-11-21. We considered `wal_autocheckpoint` on the writer's connection: a commit then moves the whole
//! log. Resolving and expanding a list of 1,000,000 names, with the longest time that another small write
//! waited meanwhile, two runs each:
//!
//! | who moves the log | from pages | seconds | others waited at most |
//! |---|---|---|---|
//! | the writer | 1,000 | 10.3 (under twice the load) | 67 ms |
//! | the writer | 16,000 | 4.9–5.6 | 72–94 ms |
//! | the writer | 64,000 | 7.0 (under twice the load) | 347 ms |
//! | aside | 16,000 | 4.8–5.0 | 51–55 ms |
//! | aside | 8,000 | 4.4–4.7 | 31–33 ms |
//! | aside (chosen) | 4,000 | 4.4–4.7 | 23–36 ms |

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot};

use super::writer::Message;

/// How often to look while there are commits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the writer may move itself: some milliseconds.
const REST_PAGES: i64 = 1_000;

/// Moves the log once it has so many pages.
pub(super) struct Checkpoints {
    pub(super) conn: SqliteConnection,
    pub(super) pages: i64,
    /// Rung after each commit.
    pub(super) committed: Arc<Notify>,
    pub(super) writer: mpsc::WeakUnboundedSender<Message>,
    pub(super) closing: oneshot::Receiver<oneshot::Sender<()>>,
}

impl Checkpoints {
    pub(super) async fn run(mut self) {
        let commits = Arc::clone(&self.committed);
        let closed = loop {
            let committed = pin!(commits.notified());
            if let Either::Left((closing, _)) = select(&mut self.closing, committed).await {
                break closing.ok();
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the write-ahead log was not moved into the file; it grows until it is");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let _ = self.conn.close().await; // It holds nothing of its own.
        if let Some(closed) = closed {
            let _ = closed.send(()); // Whoever closed may have gone.
        }
    }

    async fn look(&mut self) -> Result<(), sqlx::Error> {
        if self.unmoved("pragma wal_checkpoint(noop)").await? < self.pages {
            return Ok(());
        }
        let rest = self.unmoved("pragma wal_checkpoint(passive)").await?;
        if rest <= REST_PAGES
            && let Some(writer) = self.writer.upgrade()
        {
            let _ = writer.send(Message::Checkpoint); // It may be closing.
        }
        Ok(())
    }

    /// Pages of the log that are not in the file after the statement.
    async fn unmoved(&mut self, statement: &'static str) -> Result<i64, sqlx::Error> {
        let row = sqlx::query(statement).fetch_one(&mut self.conn).await?;
        let (log, moved): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        Ok(log - moved)
    }
}
