//! Tells the engine what became of notices, many at a time.

use std::sync::Arc;
use std::time::Duration;

use otaria_ports::inbox::Inbox;
use otaria_ports::pusher::Settled;
use tokio::sync::mpsc;
use tracing::warn;

/// Outcomes in one call.
const BATCH: usize = 1_000;
/// How long an outcome waits for others.
const GATHER: Duration = Duration::from_millis(100);
/// How often a batch is offered before it is dropped. The tasks then fall due by their delivery deadline.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Runs until all senders are gone and everything is told.
pub(crate) async fn run(mut outcomes: mpsc::UnboundedReceiver<Settled>, inbox: Arc<dyn Inbox>) {
    loop {
        let mut batch = Vec::new();
        if outcomes.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let gather = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if outcomes.recv_many(&mut batch, room).await == 0 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(GATHER, gather).await;
        tell(inbox.as_ref(), batch).await;
    }
}

async fn tell(inbox: &dyn Inbox, batch: Vec<Settled>) {
    for n in 1..=TRIES {
        match inbox.settled(batch.clone()).await {
            Ok(()) => return,
            Err(error) if n == TRIES => {
                warn!(error = %error, outcomes = batch.len(), "outcomes of notices were not taken; the notices will be repeated");
            }
            Err(_) => tokio::time::sleep(PAUSE * n).await,
        }
    }
}
