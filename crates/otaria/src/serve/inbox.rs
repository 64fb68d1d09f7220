//! The `Inbox` port in front of the engine: gathers what many devices say into batches.
//!
//! Bounded: a gateway awaits each report, so at most one a connection waits here, and outcomes are as many
//! as notices under way.

use std::sync::Arc;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, ModuleName};
use otaria_core::task::Report;
use otaria_core::time::Timestamp;
use otaria_engine::{Shell, inbox, streams};
use otaria_ports::Unavailable;
use otaria_ports::clock::Clock;
use otaria_ports::inbox::{Block, BlockAsked, Fetched, Inbox, NoBlock};
use otaria_ports::pusher::Settled;
use otaria_ports::store::BATCH_MAX;
use tokio::sync::{mpsc, oneshot};

type Answer = oneshot::Sender<Result<(), Unavailable>>;

/// Reports that may wait beyond the batch that is being written.
const WAITING: usize = 4 * BATCH_MAX;
/// Batches of outcomes that may wait.
const OUTCOMES: usize = 1_024;

/// See the module.
pub(crate) struct QueueInbox {
    shell: Arc<Shell>,
    reports: mpsc::Sender<(Report, Answer)>,
    outcomes: mpsc::Sender<Vec<Settled>>,
}

impl QueueInbox {
    /// Starts the tasks that write batches. They end when the inbox is dropped.
    pub(crate) fn start(shell: Arc<Shell>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (reports, reported) = mpsc::channel(WAITING);
        let (outcomes, settled) = mpsc::channel(OUTCOMES);
        tokio::spawn(take_reports(Arc::clone(&shell), Arc::clone(&clock), reported));
        tokio::spawn(take_outcomes(Arc::clone(&shell), clock, settled));
        Arc::new(Self { shell, reports, outcomes })
    }
}

async fn take_reports(
    shell: Arc<Shell>,
    clock: Arc<dyn Clock>,
    mut reported: mpsc::Receiver<(Report, Answer)>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while reported.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (reports, answers): (Vec<Report>, Vec<Answer>) = batch.drain(..).unzip();
        let taken = inbox::take(&shell, reports, clock.now()).await;
        if let Err(error) = &taken {
            tracing::warn!(%error, reports = answers.len(), "reports not taken; devices will repeat");
        }
        for answer in answers {
            let told = taken.as_ref().copied().map_err(|_| Unavailable::while_doing("taking a report"));
            // Whoever asked may be gone by now; the report is kept all the same.
            let _ = answer.send(told);
        }
    }
}

async fn take_outcomes(shell: Arc<Shell>, clock: Arc<dyn Clock>, mut settled: mpsc::Receiver<Vec<Settled>>) {
    let mut batches = Vec::new();
    while settled.recv_many(&mut batches, 64).await > 0 {
        let outcomes: Vec<Settled> = batches.drain(..).flatten().collect();
        for outcomes in outcomes.chunks(BATCH_MAX) {
            if let Err(error) = inbox::settle(&shell, outcomes, clock.now()).await {
                tracing::warn!(%error, "outcomes not kept; their notices go out once more");
            }
        }
    }
}

#[async_trait]
impl Inbox for QueueInbox {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        let stopping = || Unavailable::while_doing("taking a report: the server stops");
        let (answer, told) = oneshot::channel();
        self.reports.send((report, answer)).await.map_err(|_| stopping())?;
        told.await.map_err(|_| stopping())?
    }

    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable> {
        let fetched = inbox::fetch(&self.shell, device, &module, now).await;
        fetched.map_err(|error| Unavailable { doing: "answering a device", source: Some(Box::new(error)) })
    }

    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        now: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        let block = streams::block(&self.shell, device, asked, now).await;
        block.map_err(|error| Unavailable { doing: "reading a block", source: Some(Box::new(error)) })
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        let sent = self.outcomes.send(outcomes).await;
        sent.map_err(|_| Unavailable::while_doing("taking outcomes: the server stops"))
    }
}
