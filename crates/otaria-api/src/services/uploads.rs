//! What uploads have in common: a peer that sends nothing more is not waited for.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Status, Streaming};

/// Until the next message of an upload.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next message; `None` at the end of a stream that ended well.
pub(super) async fn next<T>(parts: &mut Streaming<T>) -> Result<Option<T>, Status> {
    match timeout(PATIENCE, parts.message()).await {
        Ok(message) => message,
        Err(_) => Err(Status::deadline_exceeded("nothing came for 60 seconds; the upload is given up")),
    }
}
