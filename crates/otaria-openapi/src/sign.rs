//! Who signed a request: reads what a signature says, builds what it is over, and compares.
//!
//! Knows the two styles of the SDKs, told apart by what is there: an `Authorization` header of the ACS3
//! family is V3, anything else RPC v1. Never looks a key up, never notes a nonce: `call` does, in that order,
//! so that nobody can use up the nonces of a key without holding it.
//!
//! Invariant: everything that an action reads is covered by the signature: for RPC v1 every parameter, for
//! V3 the query, the headers that matter and, by its digest, the body.

pub(crate) mod encode;
mod rpc;
#[cfg(test)]
mod tests;
mod v3;

use std::time::Duration;

use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use otaria_core::rules::{Code, Refusal};
use otaria_core::time::Timestamp;
use sha1::Sha1;
use sha2::Sha256;

use crate::envelope::Fault;
use crate::params::Params;

/// How far a request's clock may be from ours, either way.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// How long a nonce is kept: a clock that is ahead as far as it may be keeps its request fresh for twice the
/// window, and a little more costs nothing.
const NONCE_KEPT: Duration = Duration::from_secs(31 * 60);
/// Characters of a nonce at most; SDKs send 32 to 36.
const NONCE_CHARS_MAX: usize = 128;

/// What a request says about who sent it. Nothing of it is proved before [`Claim::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The access key.
    pub(crate) key: String,
    /// The nonce.
    pub(crate) nonce: String,
    /// The sender's clock, as it came.
    timestamp: String,
    /// What the signature is over, by our reckoning.
    pub(crate) string_to_sign: String,
    signature: Vec<u8>,
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Rpc,
    V3,
}

/// What of a request is signed.
pub(crate) struct Request<'a> {
    pub(crate) head: &'a Parts,
    pub(crate) query: &'a [(String, String)],
    /// Query and form.
    pub(crate) params: &'a Params,
    /// Hex SHA-256 of the body.
    pub(crate) body_sha256: &'a str,
}

/// Whether a request is signed by headers.
pub(crate) fn is_v3(head: &Parts) -> bool {
    v3::authorization(head).is_some()
}

/// Reads what a request says about its sender.
///
/// # Errors
/// When parts are missing or of an unknown kind.
pub(crate) fn read(request: &Request<'_>) -> Result<Claim, Fault> {
    let claim = match v3::authorization(request.head) {
        Some(authorization) => v3::read(request, authorization)?,
        None => rpc::read(request)?,
    };
    if claim.nonce.chars().count() > NONCE_CHARS_MAX {
        let rule = format!("must have at most {NONCE_CHARS_MAX} characters");
        return Err(Refusal::invalid(Code::InvalidParameter, "SignatureNonce", rule).into());
    }
    Ok(claim)
}

impl Claim {
    /// Checks the sender's clock; returns until when the nonce has to be kept.
    ///
    /// # Errors
    /// When the text is no instant, or too far from `now`.
    pub(crate) fn check_time(&self, now: Timestamp) -> Result<Timestamp, Fault> {
        let Some(at) = instant(&self.timestamp) else {
            let message = "Specified time stamp or date value is not well formatted.";
            return Err(Fault::code(Code::TimeStampFormat, message));
        };
        if at.since(now) > WINDOW || now.since(at) > WINDOW {
            return Err(Fault::code(
                Code::TimeStampExpired,
                "Specified time stamp or date value is expired.",
            ));
        }
        Ok(now + NONCE_KEPT)
    }

    /// Compares the signature with ours, in constant time.
    ///
    /// # Errors
    /// When it is another one. The message ends in our string to sign, with no other colon before it: SDKs
    /// cut it there to tell a wrong secret from a wrong string.
    pub(crate) fn verify(&self, secret: &[u8]) -> Result<(), Fault> {
        let text = self.string_to_sign.as_bytes();
        let is_ours = match self.style {
            Style::Rpc => {
                let key = [secret, b"&"].concat();
                // HMAC takes keys of any length.
                let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&key).expect("a key of any length");
                mac.chain_update(text).verify_slice(&self.signature).is_ok()
            }
            Style::V3 => {
                // HMAC takes keys of any length.
                let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("a key of any length");
                mac.chain_update(text).verify_slice(&self.signature).is_ok()
            }
        };
        if is_ours {
            return Ok(());
        }
        let message = format!(
            "Specified signature is not matched with our calculation. server string to sign is:{}",
            self.string_to_sign
        );
        Err(Fault::code(Code::SignatureDoesNotMatch, message))
    }
}

/// `YYYY-MM-DDThh:mm:ssZ`; fractions of a second may be there.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').filter(|text| (19..=29).contains(&text.len()))?;
    let at: jiff::Timestamp = format!("{text}Z").parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

fn incomplete(what: &str) -> Fault {
    let message = format!("The request signature does not conform to the standards; {what} is missing.");
    Fault::code(Code::IncompleteSignature, message)
}

fn unknown_method(what: &str) -> Fault {
    let message = format!("Specified signature method is not valid; {what}.");
    Fault::code(Code::InvalidSignatureMethod, message)
}
