//! What the face must be given to answer with upload forms: the files themselves go over HTTP.
//!
//! Never makes or signs a form.

use otaria_core::time::Timestamp;
use otaria_engine::{Caller, CommandError};
use otaria_ports::store::UploadKind;

/// Gives out the forms that the server's HTTP face takes.
pub trait UploadForms: Send + Sync {
    /// Gives out a form for one file. The suffix means something for packages only.
    ///
    /// # Errors
    /// When the caller may not upload, or the suffix breaks its rule.
    fn issue(
        &self,
        caller: &Caller,
        now: Timestamp,
        kind: UploadKind,
        suffix: Option<String>,
    ) -> Result<UploadForm, CommandError>;
}

/// A form, and where to post it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadForm {
    /// Where the form is posted.
    pub host: String,
    /// What the file will be called, a field of the form.
    pub key: String,
    /// Who asked for it, a field of the form.
    pub access_key_id: String,
    /// Base64 of the conditions, a field of the form.
    pub policy: String,
    /// Of the policy, a field of the form.
    pub signature: String,
    /// The address that the file will have.
    pub url: String,
}
