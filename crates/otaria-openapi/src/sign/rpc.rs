//! RPC v1: HMAC-SHA1 over method and parameters, the signature among them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::encode::{encode, joined};
use super::{Claim, Request, Style, incomplete, unknown_method};
use crate::envelope::Fault;

pub(super) fn read(request: &Request<'_>) -> Result<Claim, Fault> {
    let params = request.params;
    let needed = |name: &'static str| params.text(name).ok_or_else(|| incomplete(name));
    let signature = needed("Signature")?;
    let key = needed("AccessKeyId")?;
    let timestamp = needed("Timestamp")?;
    let nonce = needed("SignatureNonce")?;
    if !needed("SignatureMethod")?.eq_ignore_ascii_case("HMAC-SHA1") {
        return Err(unknown_method("SignatureMethod must be HMAC-SHA1"));
    }
    if needed("SignatureVersion")? != "1.0" {
        return Err(unknown_method("SignatureVersion must be 1.0"));
    }
    let signed = joined(params.iter().filter(|(name, _)| *name != "Signature"));
    Ok(Claim {
        key: key.to_owned(),
        nonce: nonce.to_owned(),
        timestamp: timestamp.to_owned(),
        string_to_sign: format!("{}&%2F&{}", request.head.method, encode(&signed)),
        // What is no base64 is no signature of anything.
        signature: STANDARD.decode(signature).unwrap_or_default(),
        style: Style::Rpc,
    })
}
