//! Upload forms of the HTTP face, for callers of gRPC.
//!
//! Never makes a form itself: a file is taken by the face that signed its form.

use otaria_api::{UploadForm, UploadForms};
use otaria_core::time::Timestamp;
use otaria_engine::{Caller, CommandError};
use otaria_openapi::{Forms, IssuedForm};
use otaria_ports::store::UploadKind;

/// The forms that are posted to `/u`.
pub(super) struct HttpForms(pub(super) Forms);

impl UploadForms for HttpForms {
    fn issue(
        &self,
        caller: &Caller,
        now: Timestamp,
        kind: UploadKind,
        suffix: Option<String>,
    ) -> Result<UploadForm, CommandError> {
        let issued = self.0.issue(caller, now, kind, suffix)?;
        let IssuedForm { host, key, access_key_id, policy, signature, url } = issued;
        Ok(UploadForm { host, key, access_key_id, policy, signature, url })
    }
}
