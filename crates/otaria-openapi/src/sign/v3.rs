//! V3: HMAC-SHA256 over method, path, query, chosen headers and the body's digest, in a header.

use std::collections::BTreeSet;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use otaria_core::rules::Code;
use sha2::{Digest, Sha256};

use super::encode::joined;
use super::{Claim, Request, Style, incomplete, unknown_method};
use crate::envelope::Fault;
use crate::hex::{hex, unhex};

const FAMILY: &str = "ACS3-";
const METHOD: &str = "ACS3-HMAC-SHA256";
/// Headers that a signature has to cover, or a part of the request could be exchanged.
const SIGNED: [&str; 6] =
    ["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"];
/// The digest of a body of no bytes.
const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Headers that a signature may name at most.
const HEADERS_MAX: usize = 64;

/// The header that makes a request one of V3.
pub(super) fn authorization(head: &Parts) -> Option<&str> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.starts_with(FAMILY).then_some(value)
}

pub(super) fn read(request: &Request<'_>, authorization: &str) -> Result<Claim, Fault> {
    let (method, parts) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if method != METHOD {
        return Err(unknown_method("it must be ACS3-HMAC-SHA256"));
    }
    let part = |name: &str| {
        let mut parts = parts.split(',').filter_map(|part| part.trim().split_once('='));
        parts.find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    };
    let key = part("Credential").ok_or_else(|| incomplete("Credential"))?;
    let names = part("SignedHeaders").ok_or_else(|| incomplete("SignedHeaders"))?;
    let signature = part("Signature").ok_or_else(|| incomplete("Signature"))?;

    let covered: BTreeSet<&str> = names.split(';').take(HEADERS_MAX).collect();
    if let Some(missing) = SIGNED.into_iter().find(|name| !covered.contains(name)) {
        return Err(incomplete(&format!("{missing} among the signed headers")));
    }
    let needed = |name: &str| header(request.head, name).ok_or_else(|| incomplete(name));
    let digest = needed("x-acs-content-sha256")?;
    if !digest.eq_ignore_ascii_case(request.body_sha256) {
        let message = "x-acs-content-sha256 is not the digest of the body that arrived";
        return Err(Fault::code(Code::SignatureDoesNotMatch, message));
    }
    // Whether a body is a form, and so holds parameters, is said by a header.
    if !digest.eq_ignore_ascii_case(NO_BODY) && !covered.contains(CONTENT_TYPE.as_str()) {
        return Err(incomplete("content-type among the signed headers"));
    }

    let mut canonical = format!("{}\n{}\n", request.head.method, request.head.uri.path());
    canonical += &joined(request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    canonical.push('\n');
    for name in names.split(';').take(HEADERS_MAX) {
        let value = header(request.head, name).unwrap_or_default();
        canonical += &format!("{name}:{value}\n");
    }
    canonical += &format!("\n{names}\n{digest}");
    Ok(Claim {
        key: key.to_owned(),
        nonce: needed("x-acs-signature-nonce")?,
        timestamp: needed("x-acs-date")?,
        string_to_sign: format!("{METHOD}\n{}", hex(&Sha256::digest(canonical))),
        // What is no hex is no signature of anything.
        signature: unhex(signature).unwrap_or_default(),
        style: Style::V3,
    })
}

/// A header's value without blanks around it; several values are joined by commas. The text is what arrived,
/// byte by byte.
fn header(head: &Parts, name: &str) -> Option<String> {
    let mut values = head.headers.get_all(name).iter().peekable();
    values.peek()?;
    let values: Vec<String> =
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned()).collect();
    Some(values.join(","))
}
