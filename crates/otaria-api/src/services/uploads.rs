//! What uploads have in common: a peer that sends nothing more is not waited for, and forms come from whoever
//! takes their files.

use std::time::Duration;

use otaria_core::time::Timestamp;
use otaria_engine::Caller;
use otaria_ports::store::UploadKind;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Shared;
use crate::errors::{self, status_of};
use crate::forms::UploadForm;

/// Kind of object store whose forms ours are like.
pub(super) const OBJECT_STORAGE: &str = "OSS";

/// Until the next message of an upload.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next message; `None` at the end of a stream that ended well.
pub(super) async fn next<T>(parts: &mut Streaming<T>) -> Result<Option<T>, Status> {
    match timeout(PATIENCE, parts.message()).await {
        Ok(message) => message,
        Err(_) => Err(Status::deadline_exceeded("nothing came for 60 seconds; the upload is given up")),
    }
}

/// A form for one file, if this server gives out any.
pub(super) fn form(
    shared: &Shared,
    caller: &Caller,
    now: Timestamp,
    (kind, suffix): (UploadKind, Option<String>),
) -> Result<UploadForm, Status> {
    let Some(forms) = &shared.forms else {
        return Err(errors::not_served(match kind {
            UploadKind::Package => "GenerateOTAUploadURL",
            UploadKind::NameList => "GenerateDeviceNameListURL",
        }));
    };
    forms.issue(caller, now, kind, suffix).map_err(status_of)
}
