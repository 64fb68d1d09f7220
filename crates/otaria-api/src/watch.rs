//! Following jobs: one reading per job, shared by all who watch it.
//!
//! A job that nobody watches is not read. Readings are half a second apart, and what did not move is not
//! told again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream;
use otaria_core::ids::AccountNo;
use otaria_engine::{Caller, CommandError, Commands};
use otaria_ports::clock::Clock;
use otaria_proto::v1::{JobStatus, WatchOtaJobResponse};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;
use tonic::codegen::BoxStream;

use crate::convert::job::watched;
use crate::errors;

/// Between two readings of a job: two a second, whatever the watchers.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Jobs watched at once, and watchers of one job, at most.
const JOBS_MAX: usize = 256;
const WATCHERS_MAX: usize = 1_024;

type Key = (AccountNo, String);
type Readings = watch::Sender<WatchOtaJobResponse>;

/// Jobs that are watched.
#[derive(Clone)]
pub(crate) struct Hub {
    commands: Commands,
    clock: Arc<dyn Clock>,
    closing: watch::Receiver<bool>,
    jobs: Arc<Mutex<HashMap<Key, Arc<Readings>>>>,
}

impl Hub {
    /// Nobody watches yet. All watchers are sent away when `closing` turns true.
    pub(crate) fn new(commands: Commands, clock: Arc<dyn Clock>, closing: watch::Receiver<bool>) -> Self {
        Self { commands, clock, closing, jobs: Arc::default() }
    }

    /// Items of a job: the latest reading at once, later ones as it moves, and the last after its end.
    pub(crate) async fn watch(
        &self,
        caller: &Caller,
        job_id: &str,
    ) -> Result<BoxStream<WatchOtaJobResponse>, Status> {
        let key = (caller.account, job_id.to_owned());
        let known = self.lock().get(&key).map(join).transpose()?;
        let receiver = match known {
            Some(receiver) => receiver,
            None => {
                let first = self.read(caller, job_id).await.map_err(errors::status_of)?;
                self.open(key, caller, first)?
            }
        };
        Ok(self.items(receiver))
    }

    /// A place at a job that nobody watched a moment ago.
    fn open(
        &self,
        key: Key,
        caller: &Caller,
        first: WatchOtaJobResponse,
    ) -> Result<watch::Receiver<WatchOtaJobResponse>, Status> {
        let mut jobs = self.lock();
        if let Some(readings) = jobs.get(&key) {
            return join(readings);
        }
        let ended = has_ended(&first);
        let (sender, receiver) = watch::channel(first);
        if ended {
            // The sender goes: the first item is the last.
            return Ok(receiver);
        }
        if jobs.len() >= JOBS_MAX {
            return Err(errors::busy("too many jobs are watched at once; repeat the call later"));
        }
        let sender = Arc::new(sender);
        jobs.insert(key.clone(), Arc::clone(&sender));
        metrics::gauge!("otaria_grpc_watched_jobs").set(gauge(jobs.len()));
        drop(jobs);
        tokio::spawn(self.clone().follow(key, caller.clone(), sender));
        Ok(receiver)
    }

    /// Reads a job for all its watchers until it ends or nobody is left.
    async fn follow(mut self, key: Key, caller: Caller, readings: Arc<Readings>) {
        loop {
            tokio::select! {
                () = sleep(READ_EVERY) => {}
                _ = self.closing.wait_for(|closing| *closing) => break,
            }
            if self.leave_if_alone(&key, &readings) {
                return;
            }
            match self.read(&caller, &key.1).await {
                Ok(item) => {
                    let ended = has_ended(&item);
                    readings.send_if_modified(|latest| {
                        let moved = !same(latest, &item);
                        *latest = item;
                        moved
                    });
                    if ended {
                        break;
                    }
                }
                // A bad moment of the store: the next reading tells what this one would have.
                Err(CommandError::Unavailable(error)) => tracing::debug!(%error, "watched job not read"),
                Err(error) => {
                    tracing::info!(job.id = %key.1, %error, "job is watched no more");
                    break;
                }
            }
        }
        self.forget(&key);
    }

    /// The stream of one watcher. It ends after the last reading.
    fn items(&self, receiver: watch::Receiver<WatchOtaJobResponse>) -> BoxStream<WatchOtaJobResponse> {
        let start = (receiver, self.closing.clone(), true);
        Box::pin(stream::unfold(start, |(mut receiver, mut closing, first)| async move {
            if !first {
                tokio::select! {
                    changed = receiver.changed() => changed.ok()?,
                    // The call is not lost on anybody: who watches again gets everything at once.
                    _ = closing.wait_for(|closing| *closing) => return None,
                }
            }
            let item = receiver.borrow_and_update().clone();
            Some((Ok(item), (receiver, closing, false)))
        }))
    }

    async fn read(&self, caller: &Caller, job_id: &str) -> Result<WatchOtaJobResponse, CommandError> {
        let now = self.clock.now();
        let view = self.commands.query_job(caller, now, job_id).await?;
        Ok(watched(&view, now))
    }

    fn leave_if_alone(&self, key: &Key, readings: &Readings) -> bool {
        // Under the lock: nobody can join between the look and the removal.
        let mut jobs = self.lock();
        let alone = readings.receiver_count() == 0;
        if alone {
            jobs.remove(key);
            metrics::gauge!("otaria_grpc_watched_jobs").set(gauge(jobs.len()));
        }
        alone
    }

    fn forget(&self, key: &Key) {
        let mut jobs = self.lock();
        jobs.remove(key);
        metrics::gauge!("otaria_grpc_watched_jobs").set(gauge(jobs.len()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Readings>>> {
        // A panic elsewhere cannot leave the map half-changed.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn join(readings: &Arc<Readings>) -> Result<watch::Receiver<WatchOtaJobResponse>, Status> {
    if readings.receiver_count() >= WATCHERS_MAX {
        return Err(errors::busy("too many watch this job already; repeat the call later"));
    }
    Ok(readings.subscribe())
}

fn has_ended(item: &WatchOtaJobResponse) -> bool {
    match item.job_status() {
        JobStatus::Completed => true,
        // Its tasks are cancelled yet, or, of a dynamic job, go on without it.
        JobStatus::Canceled => item
            .task_counts
            .is_none_or(|counts| counts.confirm + counts.queued + counts.notified + counts.in_progress == 0),
        JobStatus::Unspecified | JobStatus::Planned | JobStatus::InProgress | JobStatus::Paused => false,
    }
}

/// Whether nothing moved between two readings.
fn same(a: &WatchOtaJobResponse, b: &WatchOtaJobResponse) -> bool {
    a.job_status == b.job_status
        && a.task_counts == b.task_counts
        && a.expansion == b.expansion
        && a.notices_written == b.notices_written
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn gauge(n: usize) -> f64 {
    n as f64
}
