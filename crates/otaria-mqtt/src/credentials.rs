//! Looks up devices that log in, many at a time.

use std::sync::Arc;

use otaria_core::ids::{DeviceName, ProductKey};
use otaria_ports::Unavailable;
use otaria_ports::auth::{DeviceAuth, DeviceCredential};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::warn;

/// Devices in one call.
const BATCH: usize = 256;
/// Calls at a time. When they are slow, the batches grow by themselves.
const CALLS: usize = 4;
/// Devices that may wait for a call; then logging in waits.
const QUEUE: usize = 1_024;

type Names = (ProductKey, DeviceName);
type Answer = Result<Option<DeviceCredential>, Unavailable>;

/// Asks for one device; the asking is gathered behind it.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    queue: mpsc::Sender<(Names, oneshot::Sender<Answer>)>,
}

impl Credentials {
    /// Starts the gathering task, which ends with the last clone.
    pub(crate) fn start(auth: Arc<dyn DeviceAuth>) -> Self {
        let (queue, asked) = mpsc::channel(QUEUE);
        tokio::spawn(gather(asked, auth));
        Self { queue }
    }

    pub(crate) async fn of(&self, names: Names) -> Answer {
        const DOING: &str = "looking up a device";
        let (answer, answered) = oneshot::channel();
        self.queue.send((names, answer)).await.map_err(|_| Unavailable::while_doing(DOING))?;
        answered.await.map_err(|_| Unavailable::while_doing(DOING))?
    }
}

async fn gather(mut asked: mpsc::Receiver<(Names, oneshot::Sender<Answer>)>, auth: Arc<dyn DeviceAuth>) {
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut batch = Vec::new();
    loop {
        // The permit comes first, so that a batch grows while all calls are out.
        let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { return };
        if asked.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let (names, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let auth = Arc::clone(&auth);
        tokio::spawn(async move {
            answer(auth.as_ref(), &names, answers).await;
            drop(permit);
        });
    }
}

async fn answer(auth: &dyn DeviceAuth, names: &[Names], answers: Vec<oneshot::Sender<Answer>>) {
    match auth.devices(names).await {
        // Who asked may have hung up.
        Ok(found) => answers.into_iter().zip(found).for_each(|(answer, found)| drop(answer.send(Ok(found)))),
        Err(error) => {
            warn!(%error, devices = names.len(), "devices could not be looked up");
            for answer in answers {
                let _ = answer.send(Err(Unavailable::while_doing("looking up devices")));
            }
        }
    }
}
