//! The two signatures of the cloud-compatible API, as its SDKs make them.
//!
//! Written from their documentation and never from the server: where both agree, they agree about the wire.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

const VERSION: &str = "2018-01-20";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters of a call, in any order.
pub(crate) type Params = Vec<(String, String)>;

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// How a call is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// HMAC-SHA1 over the sorted parameters; all of them are in a form.
    Rpc,
    /// ACS3-HMAC-SHA256 over the request; the parameters are in the query.
    V3,
}

/// A POST request, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) query: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// Signs a call to `host` (with its port, if that is not the scheme's own), now.
pub(crate) fn sign(style: Style, key: &Key, host: &str, action: &str, params: &Params) -> Signed {
    let moment = Moment { timestamp: second(Timestamp::now()), nonce: nonce() };
    match style {
        Style::Rpc => rpc(key, action, params, &moment),
        Style::V3 => v3(key, host, action, params, &moment),
    }
}

/// What makes a call different from the same call before.
struct Moment {
    timestamp: String,
    nonce: String,
}

fn second(now: Timestamp) -> String {
    // A whole second is in range if the instant is.
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Different in every call of every run; the server takes each once.
fn nonce() -> String {
    static RUN: LazyLock<String> =
        LazyLock::new(|| format!("goose-{}-{}", std::process::id(), Timestamp::now().as_microsecond()));
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", *RUN, CALLS.fetch_add(1, Ordering::Relaxed))
}

fn rpc(key: &Key, action: &str, params: &Params, moment: &Moment) -> Signed {
    let own = [
        ("AccessKeyId", key.id.as_str()),
        ("Action", action),
        ("Format", "JSON"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &moment.nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &moment.timestamp),
        ("Version", VERSION),
    ];
    let form = sorted(params.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(own));
    let signature = rpc_signature("POST", &key.secret, &form);
    Signed {
        query: String::new(),
        headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
        body: format!("{form}&Signature={}", encoded(&signature)),
    }
}

fn rpc_signature(method: &str, secret: &str, sorted: &str) -> String {
    let text = format!("{method}&%2F&{}", encoded(sorted));
    let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(format!("{secret}&").as_bytes());
    let mac = mac.expect("HMAC takes keys of any length").chain_update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn v3(key: &Key, host: &str, action: &str, params: &Params, moment: &Moment) -> Signed {
    let query = sorted(params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let headers = [
        ("accept", "application/json".to_owned()),
        ("host", host.to_owned()),
        ("x-acs-action", action.to_owned()),
        ("x-acs-content-sha256", hex(&Sha256::digest(b""))),
        ("x-acs-date", moment.timestamp.clone()),
        ("x-acs-signature-nonce", moment.nonce.clone()),
        ("x-acs-version", VERSION.to_owned()),
    ];
    let (signed, signature) = v3_signature("POST", &key.secret, &query, &headers);
    let authorization =
        format!("ACS3-HMAC-SHA256 Credential={},SignedHeaders={signed},Signature={signature}", key.id);
    let mut headers = headers.to_vec();
    headers.push(("authorization", authorization));
    Signed { query, headers, body: String::new() }
}

/// Names of the signed headers, which come sorted, and the signature. The body's digest is one of the headers.
fn v3_signature(
    method: &str,
    secret: &str,
    query: &str,
    headers: &[(&'static str, String)],
) -> (String, String) {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let digest = headers.iter().find(|(name, _)| *name == "x-acs-content-sha256");
    let digest = digest.map_or("", |(_, digest)| digest.as_str());
    let signed = names.join(";");
    let canonical = format!("{method}\n/\n{query}\n{lines}\n{signed}\n{digest}");
    let text = format!("ACS3-HMAC-SHA256\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes());
    let mac = mac.expect("HMAC takes keys of any length").chain_update(text.as_bytes());
    (signed, hex(&mac.finalize().into_bytes()))
}

fn sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    let pairs = pairs.into_iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpc_signature_is_that_of_the_published_example() {
        // The example of the RPC signature in the documentation of the ECS API.
        let form = "AccessKeyId=testid&Action=DescribeRegions&Format=XML&SignatureMethod=HMAC-SHA1\
            &SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&SignatureVersion=1.0\
            &Timestamp=2016-02-23T12%3A46%3A24Z&Version=2014-05-26";
        assert_eq!(rpc_signature("GET", "testsecret", form), "OLeaidS1JvxuMvnyHOwuJ+uX5qY=");
    }

    #[test]
    fn a_v3_signature_is_that_of_the_published_example() {
        // The example of the V3 signature in the documentation: RunInstances.
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let query = "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai";
        let (signed, signature) = v3_signature("POST", "YourAccessKeySecret", query, &headers);
        assert_eq!(
            signed,
            "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
        );
        assert_eq!(signature, "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0");
    }

    #[test]
    fn no_two_calls_are_the_same_and_each_tells_what_it_asks() {
        let key = Key { id: "id".to_owned(), secret: "secret".to_owned() };
        let params = vec![("JobId".to_owned(), "a b*".to_owned())];
        for style in [Style::Rpc, Style::V3] {
            let call = || sign(style, &key, "127.0.0.1:8080", "QueryOTAJob", &params);
            let signed = call();
            assert_ne!(signed, call());
            let place = if style == Style::Rpc { &signed.body } else { &signed.query };
            assert!(place.contains("JobId=a%20b%2A"), "{place}");
        }
        assert_eq!(second("2026-11-22T01:02:03.9Z".parse().unwrap()), "2026-11-22T01:02:03Z");
    }
}
