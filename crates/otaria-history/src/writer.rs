//! Writes a process's history: a bounded queue, one thread, files of bounded size and number.
//!
//! Never makes the work wait: what finds the queue full, or the disk, is lost, counted, and told by a
//! [`Fact::Gap`] as soon as something can be written again.
//!
//! Invariant: lines stand in the order in which they were told, so a file that ends early lacks only its end. Whoever
//! tells a cause before its effect can be sure that no history holds the effect alone.

mod files;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use otaria_core::time::Timestamp;
use otaria_ports::clock::Clock;

use self::files::Files;
use crate::record::{Fact, Line};

/// What was told at once may wait in so many pieces.
const PIECES: usize = 8_192;
/// And in so many lines: about 32 MB of them. A slice of an expansion is 20,000.
const LINES: usize = 131_072;
/// How long the thread gathers before it writes: a tenth of a second is what a crash may cost.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes after which it writes without having taken everything.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// Where a history goes.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// The folder; made if it is not there.
    pub folder: PathBuf,
    /// Which process writes: unique among all that write to the folder, and new with every start. Part of the
    /// files' names.
    pub process: String,
    /// The version of the program.
    pub version: String,
    /// Bytes after which the next file begins.
    pub file_bytes: u64,
    /// Files of this process at most; the oldest goes when one more begins.
    pub files: u32,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder or the first file cannot be made.
    #[error("cannot write a history to {}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No thread can be started.
    #[error("cannot start the thread that writes the history")]
    Thread(#[source] std::io::Error),
}

/// A fact with its time, without its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// See [`Line::from`].
    pub from: u64,
    /// See [`Line::at`].
    pub at: u64,
    /// See [`Line::fact`].
    pub fact: Fact,
}

/// Many facts, made into drafts by the thread that writes them.
type Drafts = Box<dyn Iterator<Item = Draft> + Send>;

enum Told {
    Lines(usize, Drafts),
    Stop,
}

/// What both ends of the queue know.
#[derive(Debug, Default)]
struct Shared {
    /// Lines in the queue.
    waiting: AtomicUsize,
    /// Lines that were lost and not told yet.
    lost: AtomicU64,
}

/// The history of this process.
pub struct History {
    clock: Arc<dyn Clock>,
    way: Way,
}

/// Where lines go.
enum Way {
    Files { queue: SyncSender<Told>, shared: Arc<Shared>, writing: Mutex<Option<JoinHandle<()>>> },
    Memory(Mutex<Vec<Line>>),
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

/// An instant that the clock showed, as lines have it: it shows milliseconds, so the truth lies within the next one.
#[must_use]
pub fn not_before(shown: Timestamp) -> u64 {
    u64::try_from(shown.millis()).unwrap_or(0).saturating_mul(1_000)
}

/// See [`not_before`].
#[must_use]
pub fn not_after(shown: Timestamp) -> u64 {
    not_before(shown).saturating_add(999)
}

impl History {
    /// Begins a history: its first file is there when this returns.
    ///
    /// # Errors
    /// When the folder, the first file or the thread cannot be made.
    pub fn open(config: HistoryConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>, HistoryError> {
        let shared = Arc::<Shared>::default();
        let (process, version) = (config.process.clone(), config.version.clone());
        let files = Files::open(config)?;
        let start = Fact::Start { process, version };
        let mut writer = Writer {
            files,
            start,
            shared: Arc::clone(&shared),
            clock: Arc::clone(&clock),
            n: 0,
            batch: Batch::default(),
            is_failing: false,
        };
        // There from the start, so that an alert on it has something to watch.
        shared.lose(0);
        let (queue, told) = sync_channel(PIECES);
        writer.begin();
        writer.flush();
        let thread = std::thread::Builder::new().name("history".into());
        let writing = thread.spawn(move || writer.run(&told)).map_err(HistoryError::Thread)?;
        let writing = Mutex::new(Some(writing));
        Ok(Arc::new(Self { clock, way: Way::Files { queue, shared, writing } }))
    }

    /// A history that is kept in memory, without a thread and without an end: for tests and simulations.
    #[must_use]
    pub fn in_memory(process: String, version: String, clock: Arc<dyn Clock>) -> Arc<Self> {
        let history = Self { clock, way: Way::Memory(Mutex::default()) };
        history.tell_one(history.now(), Fact::Start { process, version });
        Arc::new(history)
    }

    /// The lines of a history in memory so far; of others none.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        match &self.way {
            Way::Files { .. } => Vec::new(),
            Way::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The clock that all processes share.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells facts, in this order, after all that were told before. Never waits. They are made into drafts later, by
    /// the thread that writes them.
    pub fn tell<I>(&self, drafts: I)
    where
        I: ExactSizeIterator<Item = Draft> + Send + 'static,
    {
        match &self.way {
            Way::Files { queue, shared, .. } if drafts.len() > 0 => {
                let lines = drafts.len();
                let waiting = shared.waiting.fetch_add(lines, Ordering::SeqCst);
                // However many come at once are taken by an empty queue.
                let fits = waiting == 0 || waiting + lines <= LINES;
                if !fits || queue.try_send(Told::Lines(lines, Box::new(drafts))).is_err() {
                    shared.waiting.fetch_sub(lines, Ordering::SeqCst);
                    shared.lose(lines as u64);
                }
            }
            Way::Files { .. } => {}
            Way::Memory(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                for Draft { from, at, fact } in drafts {
                    let n = lines.len() as u64 + 1;
                    lines.push(Line { n, from, at, fact });
                }
            }
        }
    }

    /// Tells one fact that began at `from`, as it is known now.
    pub fn tell_one(&self, from: Timestamp, fact: Fact) {
        self.tell_between(from, self.now(), fact);
    }

    /// Tells one fact that was done between two looks at the clock.
    pub fn tell_between(&self, from: Timestamp, at: Timestamp, fact: Fact) {
        self.tell(std::iter::once(Draft { from: not_before(from), at: not_after(at), fact }));
    }

    /// Writes what was told, says that nothing is missing after it, and ends. What is told later is lost.
    pub fn close(&self) {
        match &self.way {
            Way::Files { queue, writing, .. } => {
                let writing = writing.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(writing) = writing {
                    // The thread takes until it is told to end, and fails to be joined only if it panicked.
                    let _ = queue.send(Told::Stop);
                    let _ = writing.join();
                }
            }
            Way::Memory(_) => self.tell_one(self.now(), Fact::Stop {}),
        }
    }
}

impl Shared {
    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::SeqCst);
        metrics::counter!("otaria_history_lines_total", "fate" => "lost").increment(lines);
    }
}

/// What is written at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Facts in it.
    facts: u64,
    /// Lost ones that its gap tells of.
    gap: u64,
    /// The number before its first line.
    n: u64,
}

struct Writer {
    files: Files,
    start: Fact,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Of the last line.
    n: u64,
    batch: Batch,
    is_failing: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Told>) {
        while let Ok(first) = queue.recv() {
            std::thread::sleep(GATHER);
            let mut next = Some(first);
            while let Some(told) = next {
                match told {
                    Told::Lines(lines, drafts) => {
                        drafts.for_each(|draft| self.take(draft));
                        self.shared.waiting.fetch_sub(lines, Ordering::SeqCst);
                    }
                    Told::Stop => {
                        let now = self.clock.now();
                        self.take(Draft { from: not_before(now), at: not_after(now), fact: Fact::Stop {} });
                        self.flush();
                        return;
                    }
                }
                next = queue.try_recv().ok();
            }
            self.flush();
        }
    }

    fn take(&mut self, draft: Draft) {
        if self.batch.bytes.is_empty() {
            self.begin();
        }
        self.line(draft);
        self.batch.facts += 1;
        if self.batch.bytes.len() >= WRITTEN_AT_ONCE {
            self.flush();
        }
    }

    /// What comes before facts: the head of a new file, and what was lost.
    fn begin(&mut self) {
        let now = self.clock.now();
        let (from, at) = (not_before(now), not_after(now));
        self.batch.n = self.n;
        if self.files.begins() {
            let fact = self.start.clone();
            self.line(Draft { from, at, fact });
        }
        let lost = self.shared.lost.swap(0, Ordering::SeqCst);
        if lost > 0 {
            self.n += lost;
            self.batch.gap = lost;
            self.line(Draft { from, at, fact: Fact::Gap { lost } });
        }
    }

    fn line(&mut self, Draft { from, at, fact }: Draft) {
        self.n += 1;
        let line = Line { n: self.n, from, at, fact };
        let begun = self.batch.bytes.len();
        // Lines are made of numbers and texts, which always have a JSON form.
        if serde_json::to_writer(&mut self.batch.bytes, &line).is_err() {
            self.batch.bytes.truncate(begun);
            return;
        }
        self.batch.bytes.push(b'\n');
    }

    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.bytes.is_empty() {
            return;
        }
        match self.files.write(&batch.bytes) {
            Ok(()) => {
                metrics::counter!("otaria_history_lines_total", "fate" => "written").increment(batch.facts);
                metrics::counter!("otaria_history_bytes_total").increment(batch.bytes.len() as u64);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the history can be written again");
                }
            }
            Err(error) => {
                // As if it had never been made: its numbers are given again, or told as lost.
                self.n = batch.n;
                self.shared.lost.fetch_add(batch.gap, Ordering::SeqCst);
                self.shared.lose(batch.facts);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%error, "the history cannot be written; lines are lost");
                }
            }
        }
        self.batch.bytes = batch.bytes;
        self.batch.bytes.clear();
    }
}
