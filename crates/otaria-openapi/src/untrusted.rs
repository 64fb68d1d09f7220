//! What bytes of strangers come to, without a socket: the readers of the API, one by one, for tests that throw
//! anything at them.
//!
//! Nothing of the product calls this, and nothing is decided here: each function hands its bytes to the reader
//! that a call uses.

use axum::body::Bytes;
use axum::http::Request;
use axum::http::request::Parts;
use otaria_core::rules::{
    DynamicUpgradeParams, FirmwareParams, Refusal, StaticUpgradeParams, UpdateJobParams, VerifyParams,
};
use otaria_core::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::actions::{firmware, jobs};
use crate::hex::hex;
use crate::paging::Paging;
use crate::params::{self, Params};
use crate::sign::{self, Claim};
use crate::{api, sign::encode};

/// The pairs of a query or a form, decoded.
#[must_use]
pub fn pairs(text: &[u8]) -> Vec<(String, String)> {
    params::pairs(text)
}

/// The pairs as a signature covers them: encoded, sorted, joined.
#[must_use]
pub fn canonical(pairs: &[(String, String)]) -> String {
    encode::joined(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// A text as a signature covers it.
#[must_use]
pub fn encode(text: &str) -> String {
    encode::encode(text)
}

/// The parameters of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters(Params);

impl Parameters {
    /// Reads query and form.
    #[must_use]
    pub fn read(query: &[u8], form: &[u8]) -> Self {
        Self(Params::merge(&params::pairs(query), &Bytes::copy_from_slice(form)))
    }

    /// All of them, sorted by name.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// `Name.1`, `Name.2`, …
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        self.0.list(name)
    }

    /// Rows before a page of at most `size_max`, and rows in it.
    ///
    /// # Errors
    /// Names the parameter that breaks a rule, as do all that follow.
    pub fn page(&self, size_max: usize) -> Result<(usize, usize), Refusal> {
        let page = Paging::up_to(size_max).read(&self.0)?;
        Ok((page.skip(), page.size))
    }

    /// `CreateOTAVerifyJob`.
    ///
    /// # Errors
    /// Names the parameter that is not of its type.
    pub fn verify_job(&self) -> Result<VerifyParams, Refusal> {
        jobs::verify_params(&self.0)
    }

    /// `CreateOTAStaticUpgradeJob`.
    ///
    /// # Errors
    /// Names the parameter that is not of its type.
    pub fn static_job(&self) -> Result<StaticUpgradeParams, Refusal> {
        jobs::static_params(&self.0)
    }

    /// `CreateOTADynamicUpgradeJob`.
    ///
    /// # Errors
    /// Names the parameter that is not of its type.
    pub fn dynamic_job(&self) -> Result<DynamicUpgradeParams, Refusal> {
        jobs::dynamic_params(&self.0)
    }

    /// `UpdateOTAJob`.
    ///
    /// # Errors
    /// Names the parameter that is not of its type.
    pub fn update_job(&self) -> Result<UpdateJobParams, Refusal> {
        jobs::update_params(&self.0)
    }

    /// `CreateOTAFirmware`.
    ///
    /// # Errors
    /// Names the parameter that is not of its type.
    pub fn firmware(&self) -> Result<FirmwareParams, Refusal> {
        firmware::firmware_params(&self.0)
    }
}

/// A call as it arrived, its body read.
#[derive(Clone, Debug)]
pub struct Arrived {
    head: Parts,
    query: Vec<(String, String)>,
    params: Params,
    body_sha256: String,
}

/// Who a call says that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed(Claim);

impl Arrived {
    /// Reads a call; `None` when it is no request of HTTP.
    #[must_use]
    pub fn read(method: &str, uri: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Option<Self> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).ok()?.into_parts();
        let query = params::pairs(head.uri.query().unwrap_or_default().as_bytes());
        let params = api::told(&head, &query, &Bytes::copy_from_slice(body));
        Some(Self { head, query, params, body_sha256: hex(&Sha256::digest(body)) })
    }

    /// The action that runs, if there is such a one.
    #[must_use]
    pub fn action(&self) -> Option<&'static str> {
        api::action(&self.head, &self.params).ok().map(|action| action.name)
    }

    /// What that action reads.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        Parameters(self.params.clone())
    }

    /// The pairs of the query.
    #[must_use]
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// Who says to have sent it.
    ///
    /// # Errors
    /// The code of the answer, when parts are missing or of an unknown kind.
    pub fn signed(&self) -> Result<Signed, String> {
        let Self { head, query, params, body_sha256 } = self;
        let claim = sign::read(&sign::Request { head, query, params, body_sha256 });
        claim.map(Signed).map_err(|fault| fault.code.into_owned())
    }
}

impl Signed {
    /// The access key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// The nonce.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.0.nonce
    }

    /// What the signature is over.
    #[must_use]
    pub fn string_to_sign(&self) -> &str {
        &self.0.string_to_sign
    }

    /// Whether this secret made the signature.
    #[must_use]
    pub fn is_by(&self, secret: &[u8]) -> bool {
        self.0.verify(secret).is_ok()
    }

    /// Until when the nonce is kept; `None` when the sender's clock is too far from `now`.
    #[must_use]
    pub fn fresh_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.check_time(now).ok()
    }
}
