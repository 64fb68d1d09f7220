//! A client that calls the API all the time while its servers are restarted.
//!
//! It does what the documentation asks of clients: a refused connection, gRPC's UNAVAILABLE and HTTP's 503 are tried
//! again at another replica. Anything else that is no answer is a failed call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::operator::{Operator, Refusal};
use super::signed;
use super::verdict::Calls;
use crate::clock::now;

/// Between two calls.
const PAUSE: Duration = Duration::from_millis(150);

/// How long a call is tried again before it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Failed calls that are told word for word.
const TOLD: usize = 5;

/// A client at work.
pub(crate) struct Caller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Calls, Vec<String>)>,
}

/// What is called, and where.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) operator: Operator,
    pub(crate) grpc: Vec<String>,
    pub(crate) http: Vec<String>,
    pub(crate) job: String,
    pub(crate) firmware: String,
}

impl Caller {
    pub(crate) fn start(target: Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut calls, mut told, mut turn) = (Calls::default(), Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                if let Err(why) = target.call(turn, &mut calls)
                    && told.len() < TOLD
                {
                    told.push(why.to_string());
                }
                turn += 1;
                std::thread::sleep(PAUSE);
            }
            (calls, told)
        });
        Self { stop, thread }
    }

    /// Ends the client; its counts, and what failed calls said.
    pub(crate) fn end(self) -> Result<(Calls, Vec<String>)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the client of the API panicked"))
    }
}

impl Target {
    /// One call, tried again for as long as that is allowed: reads, a write that may be repeated, and HTTP in turn.
    fn call(&self, turn: usize, calls: &mut Calls) -> Result<()> {
        let described = format!("turn {turn}");
        let since = now();
        let mut replica = turn;
        loop {
            let refusal = match turn % 3 {
                0 => self.grpc(replica, &["job", "show", &self.job]),
                1 => self.grpc(replica, &["firmware", "modify", &self.firmware, "--description", &described]),
                _ => self.http(replica),
            };
            match refusal {
                Ok(()) => {
                    calls.answered += 1;
                    return Ok(());
                }
                Err(Refusal::Retryable(why)) if since.elapsed() > PATIENCE => {
                    calls.failed += 1;
                    return Err(anyhow!("no replica answered within {} s: {why}", PATIENCE.as_secs()));
                }
                Err(Refusal::Retryable(_)) => calls.retried += 1,
                Err(Refusal::Final(why)) => {
                    calls.failed += 1;
                    return Err(anyhow!(why));
                }
            }
            replica += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn grpc(&self, replica: usize, args: &[&str]) -> Result<(), Refusal> {
        self.operator.ask(&self.grpc[replica % self.grpc.len()], args).map(drop)
    }

    /// The same question over HTTP.
    fn http(&self, replica: usize) -> Result<(), Refusal> {
        let address = &self.http[replica % self.http.len()];
        match signed::call(address, &self.operator, "QueryOTAJob", &[("JobId", &self.job)]) {
            Ok((200, _)) => Ok(()),
            Ok((503, _)) => Err(Refusal::Retryable(format!("{address} answered 503"))),
            Ok((other, body)) => Err(Refusal::Final(format!("{address} answered {other}: {body}"))),
            // A connection that is refused, or closed without an answer.
            Err(error) => Err(Refusal::Retryable(format!("{address}: {error:#}"))),
        }
    }
}
