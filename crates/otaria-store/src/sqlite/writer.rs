//! The one task that writes.
//!
//! Callers hand in work over the connection and wait for the answer. The writer takes what is queued,
//! claims and the API first, then reports, then expansion; runs each piece of work in its own savepoint of
//! one transaction; commits once; publishes the events; answers all.
//!
//! Never waits for more work to fill a transaction: while one is being flushed, the next one gathers.
//!
//! 2026-11-21: 64 callers who make jobs at once get 8–10 thousand a second, each with an answer from the disk.
//!
//! Invariant: nobody is told of success before the commit that holds it, and work that failed leaves
//! nothing behind.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use otaria_core::ids::{AccountNo, JobNo};
use otaria_ports::events::{Event, Events};
use otaria_ports::store::StoreError;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::errors::{failed, silent};
use crate::feed::JobFacts;

/// Which work goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What people and online devices wait for.
    Api,
    /// What devices said.
    Reports,
    /// Long work in slices.
    Expansion,
}

/// Rows of one transaction; about what 5 ms of work are.
const ROWS_MAX: usize = 1_000;

/// Of which so many may be taken from the first lane while the second one waits.
const API_ROWS_MAX: usize = 700;

/// After so many transactions without it, a slice of long work goes first.
const PATIENCE: u32 = 3;

/// Work that may wait in each lane; callers beyond wait outside.
const WAITING_MAX: [usize; 3] = [1_024, 64, 8];

/// The connection inside a transaction, and the events that go out when it is committed.
pub(crate) struct Tx {
    pub(crate) conn: SqliteConnection,
    events: Vec<Event>,
    listeners: Arc<dyn Events>,
    jobs: HashMap<JobNo, Arc<JobFacts>>,
}

impl Tx {
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
        self.jobs.get(&job).map(Arc::clone)
    }

    /// Remembers what never changes of a job.
    pub(crate) fn know(&mut self, job: JobNo, facts: Arc<JobFacts>) {
        if self.jobs.len() >= JOBS_KNOWN_MAX {
            self.jobs.clear();
        }
        self.jobs.insert(job, facts);
    }
}

/// Jobs whose facts are remembered; some 200 bytes each.
const JOBS_KNOWN_MAX: usize = 1_024;

type Run = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Done> + Send>;

struct Done {
    failed: bool,
    answer: Box<dyn FnOnce(bool) + Send>,
}

pub(super) struct Work {
    lane: Lane,
    rows: usize,
    run: Run,
    _place: OwnedSemaphorePermit,
}

pub(super) enum Message {
    Work(Work),
    /// Move what is left of the write-ahead log into the file.
    Checkpoint,
    Close(oneshot::Sender<()>),
}

/// The callers' side.
pub(crate) struct Writer {
    queue: mpsc::UnboundedSender<Message>, // Bounded by `places`.
    places: [Arc<Semaphore>; 3],
}

impl Writer {
    /// Starts the writer on one connection, and what moves its log into the file on another.
    pub(crate) fn start(
        conn: SqliteConnection,
        checkpoints: SqliteConnection,
        checkpoint_pages: u32,
        listeners: Arc<dyn Events>,
    ) -> Self {
        let (queue, messages) = mpsc::unbounded_channel();
        let (close_checkpoints, closing) = oneshot::channel();
        let committed = Arc::new(Notify::new());
        let checkpoints = Checkpoints {
            conn: checkpoints,
            pages: i64::from(checkpoint_pages),
            committed: Arc::clone(&committed),
            writer: queue.downgrade(),
            closing,
        };
        tokio::spawn(checkpoints.run());
        let tx = Tx { conn, events: Vec::new(), listeners, jobs: HashMap::new() };
        let lanes = Default::default();
        let writer = Loop { tx, messages, lanes, waited: 0, checkpoint: false, committed, close_checkpoints };
        tokio::spawn(writer.run());
        Self { queue, places: WAITING_MAX.map(|max| Arc::new(Semaphore::new(max))) }
    }

    /// Does work of about so many rows in a transaction and returns what it made once it is committed.
    pub(crate) async fn run<T, F>(
        &self,
        lane: Lane,
        rows: usize,
        doing: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let closed = || silent(doing, "the store is closed");
        let place = Arc::clone(&self.places[lane as usize]);
        let place = place.acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |tx| {
            Box::pin(async move {
                let outcome = work(tx).await;
                let failed = outcome.is_err();
                let answer = Box::new(move |committed| {
                    let lost = || silent(doing, "the transaction was not committed");
                    let outcome = if committed || failed { outcome } else { Err(lost()) };
                    let _ = answer.send(outcome); // The caller may have gone.
                });
                Done { failed, answer }
            })
        });
        let work = Work { lane, rows, run, _place: place };
        self.queue.send(Message::Work(work)).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Returns when the writer has ended: after a close, or because some work panicked.
    pub(crate) async fn ended(&self) {
        self.queue.closed().await;
    }

    /// Ends the writer after all that was handed in before.
    pub(crate) async fn close(&self) {
        let (done, wait) = oneshot::channel();
        for places in &self.places {
            places.close();
        }
        if self.queue.send(Message::Close(done)).is_ok() {
            let _ = wait.await; // It may have ended meanwhile.
        }
    }
}

/// The writer's side.
struct Loop {
    tx: Tx,
    messages: mpsc::UnboundedReceiver<Message>,
    lanes: [VecDeque<Work>; 3],
    /// Transactions since long work has been waiting.
    waited: u32,
    /// Whether to move the rest of the log before the next transaction.
    checkpoint: bool,
    committed: Arc<Notify>,
    close_checkpoints: oneshot::Sender<oneshot::Sender<()>>,
}

impl Loop {
    async fn run(mut self) {
        let mut closing = None;
        loop {
            if self.checkpoint {
                self.checkpoint = false;
                if let Err(error) = execute(&mut self.tx.conn, "pragma wal_checkpoint(passive)").await {
                    tracing::warn!(%error, "the write-ahead log was not moved into the file");
                }
            }
            if closing.is_none() && self.lanes.iter().all(VecDeque::is_empty) {
                match self.messages.recv().await {
                    Some(message) => self.sort(message, &mut closing),
                    None => break,
                }
            }
            while let Ok(message) = self.messages.try_recv() {
                self.sort(message, &mut closing);
            }
            let batch = self.next_batch();
            if !batch.is_empty() {
                self.commit(batch).await;
                self.committed.notify_one();
            } else if closing.is_some() {
                break;
            }
        }
        // The last connection to go moves the log into the file.
        let (closed, wait) = oneshot::channel();
        if self.close_checkpoints.send(closed).is_ok() {
            let _ = wait.await; // It may have ended meanwhile.
        }
        if let Err(error) = self.tx.conn.close().await {
            tracing::warn!(%error, "the store's file was not closed in order; nothing is lost");
        }
        if let Some(done) = closing {
            let _ = done.send(()); // Whoever closed may have gone.
        }
    }

    fn sort(&mut self, message: Message, closing: &mut Option<oneshot::Sender<()>>) {
        match message {
            Message::Work(work) => self.lanes[work.lane as usize].push_back(work),
            Message::Checkpoint => self.checkpoint = true,
            Message::Close(done) => *closing = Some(done),
        }
    }

    /// What goes into the next transaction: long work alone, everything else together.
    fn next_batch(&mut self) -> Vec<Work> {
        let [api, reports, expansion] = &mut self.lanes;
        let others_idle = api.is_empty() && reports.is_empty();
        if (others_idle || self.waited >= PATIENCE)
            && let Some(work) = expansion.pop_front()
        {
            self.waited = 0;
            return vec![work];
        }
        self.waited = if expansion.is_empty() { 0 } else { self.waited + 1 };

        let (mut batch, mut rows) = (Vec::new(), 0);
        let api_max = if reports.is_empty() { ROWS_MAX } else { API_ROWS_MAX };
        for (lane, max) in [(api, api_max), (reports, ROWS_MAX)] {
            while rows < max {
                let Some(work) = lane.pop_front() else { break };
                rows += work.rows.max(1);
                batch.push(work);
            }
        }
        batch
    }

    async fn commit(&mut self, batch: Vec<Work>) {
        let mut answers = Vec::with_capacity(batch.len());
        let outcome = self.transaction(batch, &mut answers).await;
        let events = std::mem::take(&mut self.tx.events);
        if let Err(error) = &outcome {
            // With what SQLite says: a full disk is mended by whoever reads this.
            tracing::error!(error = error as &dyn std::error::Error, "a transaction was rolled back");
            self.tx.jobs.clear();
            // It may be closed already: SQLite rolls back by itself when the disk is full.
            let _ = execute(&mut self.tx.conn, "rollback").await;
        } else if !events.is_empty() {
            self.tx.listeners.publish(events);
        }
        for answer in answers {
            answer(outcome.is_ok());
        }
    }

    /// Runs the batch in one transaction. An error is of the transaction itself, not of a piece of work; work
    /// that was not reached is dropped, and its caller hears that nobody is there.
    async fn transaction(
        &mut self,
        batch: Vec<Work>,
        answers: &mut Vec<Box<dyn FnOnce(bool) + Send>>,
    ) -> Result<(), StoreError> {
        let alone = batch.len() == 1;
        execute(&mut self.tx.conn, "begin immediate").await?;
        for work in batch {
            if !alone {
                execute(&mut self.tx.conn, "savepoint work").await?;
            }
            let events = self.tx.events.len();
            let done = (work.run)(&mut self.tx).await;
            answers.push(done.answer);
            if done.failed {
                self.tx.events.truncate(events);
                self.tx.jobs.clear(); // A job may have been made in vain, and its number is drawn again.
            }
            match (alone, done.failed) {
                (true, true) => return execute(&mut self.tx.conn, "rollback").await,
                (true, false) => {}
                (false, true) => execute(&mut self.tx.conn, "rollback to work; release work").await?,
                (false, false) => execute(&mut self.tx.conn, "release work").await?,
            }
        }
        execute(&mut self.tx.conn, "commit").await
    }
}

async fn execute(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(conn).await.map(drop).map_err(failed("writing a transaction"))
}
