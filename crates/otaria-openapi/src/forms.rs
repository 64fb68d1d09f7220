//! Upload forms: a permission to send one file to one place, signed here and shown again with the file.
//!
//! The policy is JSON as object stores have it; clients pass it on as it is. It is signed with a key of this
//! server alone: a caller cannot make a form up, not even with its own secret.
//!
//! Invariant: a file is taken only for a form that [`FormKey::sign`] made, within its time, under its key and
//! from its access key, as long as that one is active.

mod receive;

pub(crate) use receive::receive;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use otaria_core::ids::AccessKeyId;
use otaria_core::link::LinkKey;
use otaria_core::time::Timestamp;
use otaria_engine::command::IssuedUpload;
use otaria_engine::{Caller, CommandError, Commands};
use otaria_ports::store::UploadKind;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::instant::utc;

/// Where files are sent.
pub(crate) const PATH: &str = "/u";
/// How long a form is good for beginning an upload.
const LIFE: Duration = Duration::from_secs(600);

/// Gives out forms: whoever hands them to clients, they are the same, and `/u` takes their files.
#[derive(Clone)]
pub struct Forms {
    key: FormKey,
    commands: Commands,
}

/// A form that was given out, with where to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedForm {
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

/// Signs forms. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct FormKey([u8; 32]);

impl std::fmt::Debug for FormKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FormKey").finish_non_exhaustive()
    }
}

/// What a form permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// What the file will be called: `kind/name.suffix`.
    pub(crate) key: String,
    /// Who asked for it.
    pub(crate) access_key: String,
    /// From then on it is refused.
    expires_at: Timestamp,
    /// Bytes of the file at most.
    max_bytes: u64,
}

/// A form as it goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedForm {
    pub(crate) policy: String,
    pub(crate) signature: String,
}

/// What a form's key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileKey {
    pub(crate) kind: UploadKind,
    pub(crate) name: String,
    pub(crate) suffix: String,
}

/// Why a form is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormRefused {
    #[error("this form was not made here")]
    Forged,
    #[error("this form has expired; ask for a new one")]
    Expired,
    #[error("this form is for another key or access key")]
    Other,
}

impl Forms {
    /// Signs with the key that belongs to the one of links.
    #[must_use]
    pub fn new(links: &LinkKey, commands: Commands) -> Self {
        Self { key: FormKey::of(links), commands }
    }

    /// Gives out a form for one file. The suffix means something for packages only.
    ///
    /// # Errors
    /// When the caller may not upload, or the suffix breaks its rule.
    pub fn issue(
        &self,
        caller: &Caller,
        now: Timestamp,
        kind: UploadKind,
        suffix: Option<String>,
    ) -> Result<IssuedForm, CommandError> {
        let issued = self.commands.issue_upload(caller, kind, suffix)?;
        let form = Form::new(kind, &issued, &caller.key, now);
        let SignedForm { policy, signature } = self.key.sign(&form);
        let host = format!("{}{PATH}", self.commands.deps().download_base);
        let Form { key, access_key: access_key_id, .. } = form;
        Ok(IssuedForm { host, key, access_key_id, policy, signature, url: issued.url })
    }
}

impl Form {
    pub(crate) fn new(kind: UploadKind, issued: &IssuedUpload, caller: &AccessKeyId, now: Timestamp) -> Self {
        let suffix = match kind {
            UploadKind::Package => issued.suffix,
            UploadKind::NameList => "csv",
        };
        Self {
            key: format!("{}/{}.{suffix}", kind.as_str(), issued.name),
            access_key: caller.to_string(),
            expires_at: now + LIFE,
            max_bytes: issued.max_bytes,
        }
    }

    fn policy(&self) -> Value {
        json!({
            "expiration": utc(self.expires_at),
            "conditions": [
                ["eq", "$key", self.key],
                ["eq", "$OSSAccessKeyId", self.access_key],
                ["content-length-range", 1, self.max_bytes],
            ],
        })
    }

    /// Reads what [`Form::policy`] wrote.
    fn read(policy: &Value) -> Option<Self> {
        let expiration: jiff::Timestamp = policy["expiration"].as_str()?.parse().ok()?;
        let conditions = &policy["conditions"];
        Some(Self {
            key: conditions[0][2].as_str()?.to_owned(),
            access_key: conditions[1][2].as_str()?.to_owned(),
            expires_at: Timestamp::from_millis(expiration.as_millisecond()),
            max_bytes: conditions[2][2].as_u64()?,
        })
    }
}

impl FormKey {
    /// The key that belongs to the one of links.
    pub(crate) fn of(links: &LinkKey) -> Self {
        Self(links.form_key())
    }

    pub(crate) fn sign(&self, form: &Form) -> SignedForm {
        let policy = STANDARD.encode(form.policy().to_string());
        let signature = STANDARD.encode(self.over(&policy).finalize().into_bytes());
        SignedForm { policy, signature }
    }

    /// The form that came back, with the key and access key that came beside it.
    pub(crate) fn open(
        &self,
        signed: &SignedForm,
        (key, access_key): (&str, &str),
        now: Timestamp,
    ) -> Result<Form, FormRefused> {
        let signature = STANDARD.decode(&signed.signature).map_err(|_| FormRefused::Forged)?;
        // In constant time.
        self.over(&signed.policy).verify_slice(&signature).map_err(|_| FormRefused::Forged)?;
        let policy = STANDARD.decode(&signed.policy).map_err(|_| FormRefused::Forged)?;
        let policy = serde_json::from_slice(&policy).map_err(|_| FormRefused::Forged)?;
        let form = Form::read(&policy).ok_or(FormRefused::Forged)?;
        if now >= form.expires_at {
            return Err(FormRefused::Expired);
        }
        if form.key != key || form.access_key != access_key {
            return Err(FormRefused::Other);
        }
        Ok(form)
    }

    fn over(&self, policy: &str) -> Hmac<Sha1> {
        // HMAC takes keys of any length.
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&self.0).expect("a key of any length");
        mac.chain_update(policy.as_bytes())
    }
}

impl FileKey {
    /// Reads the key of a form.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let (kind, file) = key.split_once('/')?;
        let (name, suffix) = file.split_once('.')?;
        Some(Self { kind: UploadKind::parse(kind)?, name: name.to_owned(), suffix: suffix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_712_000_123);

    fn key(byte: u8) -> FormKey {
        FormKey::of(&LinkKey::new([byte; 32]))
    }

    fn form() -> Form {
        let issued = IssuedUpload {
            name: "abc".into(),
            url: "http://127.0.0.1/o/abc".into(),
            suffix: "tar.gz",
            max_bytes: 99,
        };
        Form::new(UploadKind::Package, &issued, &AccessKeyId::parse("testak").unwrap(), NOW)
    }

    #[test]
    fn a_form_opens_where_it_was_signed_and_only_for_its_file() {
        let signed = key(1).sign(&form());
        let open = |with: &FormKey, signed: &SignedForm, beside, at| with.open(signed, beside, at);
        let beside = ("package/abc.tar.gz", "testak");
        assert_eq!(open(&key(1), &signed, beside, NOW), Ok(form()));
        assert_eq!(open(&key(2), &signed, beside, NOW), Err(FormRefused::Forged));
        assert_eq!(open(&key(1), &signed, ("package/abd.tar.gz", "testak"), NOW), Err(FormRefused::Other));
        assert_eq!(open(&key(1), &signed, ("package/abc.tar.gz", "other"), NOW), Err(FormRefused::Other));
        assert_eq!(open(&key(1), &signed, beside, NOW + LIFE), Err(FormRefused::Expired));

        let longer = Form { max_bytes: 100, ..form() };
        let forged = SignedForm { policy: key(2).sign(&longer).policy, ..signed.clone() };
        assert_eq!(open(&key(1), &forged, beside, NOW), Err(FormRefused::Forged));
        for signature in ["", "AAAA", "no base64"] {
            let forged = SignedForm { signature: signature.into(), ..signed.clone() };
            assert_eq!(open(&key(1), &forged, beside, NOW), Err(FormRefused::Forged));
        }
    }

    #[test]
    fn a_key_tells_kind_name_and_suffix() {
        let file = FileKey::parse(&form().key).unwrap();
        assert_eq!(
            (file.kind, file.name.as_str(), file.suffix.as_str()),
            (UploadKind::Package, "abc", "tar.gz")
        );
        assert_eq!(FileKey::parse("list/x.csv").unwrap().kind, UploadKind::NameList);
        assert_eq!(FileKey::parse("other/x.csv"), None);
        assert_eq!(FileKey::parse("package"), None);
    }
}
