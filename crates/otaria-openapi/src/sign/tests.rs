//! Signatures that SDKs made: computed by their own code with clock and nonce fixed, and recorded from them.

use axum::body::Bytes;
use axum::http;
use axum::http::request::Parts;
use otaria_core::time::Timestamp;
use sha2::{Digest, Sha256};

use super::{Claim, Request, read};
use crate::envelope::Fault;
use crate::hex::hex;
use crate::params::{Params, pairs};

const KEY: &str = "LTAI4FakeAccessKeyId01";
const SECRET: &str = "FakeSecretForVectorsOnly0123456";
const OLD_NONCE: &str = "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf";
const NEW_NONCE: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// 2026-11-21T08:00:00Z.
const AT: Timestamp = Timestamp::from_millis(1_795_248_000_000);

const JOB: &[(&str, &str)] = &[
    ("FirmwareId", "fw-0001"),
    ("ProductKey", "a1Le6d0abcd"),
    ("TargetSelection", "ALL"),
    ("SrcVersion.1", "V1.0.1"),
    ("SrcVersion.2", "V1.0.2"),
    ("Tag.1.Key", "batch.name"),
    ("Tag.1.Value", "A b*c~d/e+f 升级"),
    ("NeedPush", "True"),
    ("MaximumPerMinute", "1000"),
];
const CHECK: &[(&str, &str)] = &[("ProductKey", "a1Le6d0abcd")];
const CHECK_BODY: &str = "DeviceName.1=dev_0001&DeviceName.2=dev%3A0002";
const QUERY: &[(&str, &str)] = &[("JobId", "wahVIzGkCMuAUE2gDERM020200")];
/// What the old SDK adds to every call, and what the new one does in the old style.
const OLD_EXTRAS: &[(&str, &str)] =
    &[("Format", "JSON"), ("RegionId", "cn-shanghai"), ("SignatureType", ""), ("SignatureNonce", OLD_NONCE)];
const NEW_EXTRAS: &[(&str, &str)] = &[("Format", "json"), ("SignatureNonce", NEW_NONCE)];

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn claim(head: &Parts, body: &str) -> Result<Claim, Fault> {
    let query = pairs(head.uri.query().unwrap_or_default().as_bytes());
    let params = Params::merge(&query, &Bytes::from(body.to_owned()));
    let body_sha256 = hex(&Sha256::digest(body));
    read(&Request { head, query: &query, params: &params, body_sha256: &body_sha256 })
}

fn query_of(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn rpc(method: &str, action: &str, params: &[&[(&str, &str)]], body: &str, signature: &str) -> Claim {
    let fixed = [
        ("AccessKeyId", KEY),
        ("Action", action),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("Timestamp", "2026-11-21T08:00:00Z"),
        ("Version", "2018-01-20"),
        ("Signature", signature),
    ];
    let all = [params.concat(), fixed.to_vec()].concat();
    let request = http::Request::builder().method(method).uri(format!("/?{}", query_of(&all)));
    claim(&request.body(()).unwrap().into_parts().0, body).unwrap()
}

#[test]
fn rpc_signatures_of_both_sdks_are_right() {
    let rows: [(&str, &str, &[Pairs<'_>], &str, &str); 6] = [
        ("POST", "CreateOTAStaticUpgradeJob", &[JOB, OLD_EXTRAS], "", "wPiZtLKhzRFh2W1COlz70A2G/3w="),
        ("POST", "BatchCheckDeviceNames", &[CHECK, OLD_EXTRAS], CHECK_BODY, "N3ZmKOomqDRL2XjZE1QdeoWHEGM="),
        ("POST", "CreateOTAStaticUpgradeJob", &[JOB, NEW_EXTRAS], "", "5iumzBUopJemKwaVQIL2uBPe1EE="),
        ("POST", "BatchCheckDeviceNames", &[CHECK, NEW_EXTRAS], CHECK_BODY, "8DMXI4F90qLtEidaikKm0L75zSM="),
        ("POST", "QueryOTAJob", &[QUERY, NEW_EXTRAS], "", "kHXvqYN21Uy/SYNZrpUVAKwNOgE="),
        ("GET", "QueryOTAJob", &[QUERY, NEW_EXTRAS], "", "ctDooDEQT+tYYqs7RHFb2ulrop8="),
    ];
    for (method, action, params, body, signature) in rows {
        let claim = rpc(method, action, params, body, signature);
        assert_eq!(claim.verify(SECRET.as_bytes()), Ok(()), "{signature}");
        assert!(claim.verify(b"another secret").is_err(), "{signature}");
        assert_eq!((claim.key.as_str(), claim.check_time(AT).is_ok()), (KEY, true));
    }
}

#[test]
fn the_string_to_sign_is_the_sdks_own_and_ends_the_refusal() {
    let claim = rpc("POST", "CreateOTAStaticUpgradeJob", &[JOB, OLD_EXTRAS], "", "AAAA");
    let expected = "POST&%2F&AccessKeyId%3DLTAI4FakeAccessKeyId01%26Action%3DCreateOTAStaticUpgradeJob%26\
        FirmwareId%3Dfw-0001%26Format%3DJSON%26MaximumPerMinute%3D1000%26NeedPush%3DTrue%26\
        ProductKey%3Da1Le6d0abcd%26RegionId%3Dcn-shanghai%26SignatureMethod%3DHMAC-SHA1%26\
        SignatureNonce%3D3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf%26SignatureType%3D%26\
        SignatureVersion%3D1.0%26SrcVersion.1%3DV1.0.1%26SrcVersion.2%3DV1.0.2%26\
        Tag.1.Key%3Dbatch.name%26Tag.1.Value%3DA%2520b%252Ac~d%252Fe%252Bf%2520%25E5%258D%2587%25E7%25BA%25A7%26\
        TargetSelection%3DALL%26Timestamp%3D2026-11-21T08%253A00%253A00Z%26Version%3D2018-01-20";
    assert_eq!(claim.string_to_sign, expected);
    let refused = claim.verify(SECRET.as_bytes()).unwrap_err();
    let (before, after) = refused.message.split_once(':').unwrap();
    assert!(before.ends_with("server string to sign is"), "{before}");
    assert_eq!(after, expected);
}

const V3_HEADERS: [(&str, &str); 6] = [
    ("accept", "application/json"),
    ("host", "127.0.0.1:8080"),
    ("user-agent", "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2"),
    ("x-acs-credentials-provider", "static_ak"),
    ("x-acs-date", "2026-11-21T08:00:00Z"),
    ("x-acs-version", "2018-01-20"),
];

fn v3(action: &str, params: &[(&str, &str)], body: &str, signature: &str) -> (Parts, String) {
    let mut request = http::Request::builder().method("POST").uri(format!("/?{}", query_of(params)));
    for (name, value) in V3_HEADERS {
        request = request.header(name, value);
    }
    let form = if body.is_empty() { "" } else { "content-type;" };
    if !form.is_empty() {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    let signed = format!(
        "accept;{form}host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;\
         x-acs-date;x-acs-signature-nonce;x-acs-version"
    );
    let authorization =
        format!("ACS3-HMAC-SHA256 Credential={KEY},SignedHeaders={signed},Signature={signature}");
    let request = request
        .header("x-acs-action", action)
        .header("x-acs-signature-nonce", NEW_NONCE)
        .header("x-acs-content-sha256", hex(&Sha256::digest(body)))
        .header("authorization", authorization);
    (request.body(()).unwrap().into_parts().0, body.to_owned())
}

#[test]
fn v3_signatures_are_right_with_and_without_a_body() {
    let job = v3(
        "CreateOTAStaticUpgradeJob",
        JOB,
        "",
        "29b00eb781f46cf4c09d6226909e0f4bba883da3c9c2fccc3e2511d5b6394c1e",
    );
    let check = v3(
        "BatchCheckDeviceNames",
        CHECK,
        CHECK_BODY,
        "d3f64e9613c18c7cc55c56a97e2e3a2ac423e45948b18755a73c749880ecbaf4",
    );
    let digests = [
        "bc4be4b57621eb4311f24d0133c52895aa64ea60843d51db838293c42416fea3",
        "8f72829b8ad6ab4982d25a295dfaa3c3da2a7d565af2556648c83ad49829216b",
    ];
    for ((head, body), digest) in [job, check].into_iter().zip(digests) {
        let claim = claim(&head, &body).unwrap();
        assert_eq!(claim.string_to_sign, format!("ACS3-HMAC-SHA256\n{digest}"));
        assert_eq!(claim.verify(SECRET.as_bytes()), Ok(()));
        assert!(claim.verify(b"another secret").is_err());
        assert_eq!(claim.nonce, NEW_NONCE);
    }
}

#[test]
fn a_body_that_was_exchanged_is_noticed() {
    let (head, _) = v3("BatchCheckDeviceNames", CHECK, CHECK_BODY, "00");
    let refused = claim(&head, "DeviceName.1=dev_0002").unwrap_err();
    assert_eq!(refused.code, "SignatureDoesNotMatch");
    assert!(!refused.message.contains(':'), "{}", refused.message);
}

#[test]
fn a_signature_covers_what_it_must() {
    let (mut head, body) = v3("QueryOTAJob", QUERY, "", "00");
    let authorization = head.headers["authorization"].to_str().unwrap().replace("x-acs-signature-nonce;", "");
    head.headers.insert("authorization", authorization.parse().unwrap());
    assert_eq!(claim(&head, &body).unwrap_err().code, "IncompleteSignature");

    // Who could take the header away would take the parameters of the body away.
    let (mut head, body) = v3("BatchCheckDeviceNames", CHECK, CHECK_BODY, "00");
    let authorization = head.headers["authorization"].to_str().unwrap().replace("content-type;", "");
    head.headers.insert("authorization", authorization.parse().unwrap());
    assert_eq!(claim(&head, &body).unwrap_err().code, "IncompleteSignature");

    let (mut head, body) = v3("QueryOTAJob", QUERY, "", "00");
    head.headers.insert("authorization", "ACS3-RSA-SHA256 Credential=a".parse().unwrap());
    assert_eq!(claim(&head, &body).unwrap_err().code, "InvalidSignatureMethod");

    let unsigned = http::Request::builder().uri("/?Action=QueryOTAJob").body(()).unwrap().into_parts().0;
    assert_eq!(claim(&unsigned, "").unwrap_err().code, "IncompleteSignature");
    let other = "/?Signature=a&AccessKeyId=a&Timestamp=t&SignatureNonce=n&SignatureMethod=HMAC-SHA256";
    let other = http::Request::builder().uri(other).body(()).unwrap().into_parts().0;
    assert_eq!(claim(&other, "").unwrap_err().code, "InvalidSignatureMethod");
}

#[test]
fn the_order_of_a_names_values_is_signed() {
    let signed = |query| {
        let (mut head, body) = v3("QueryOTAJob", &[], "", "00");
        head.uri = http::Uri::from_static(query);
        claim(&head, &body).unwrap().string_to_sign
    };
    assert_ne!(signed("/?JobId=a&JobId=b"), signed("/?JobId=b&JobId=a"));
    assert_eq!(signed("/?JobId=a&Format=b"), signed("/?Format=b&JobId=a"));
}

#[test]
fn clocks_may_be_a_quarter_of_an_hour_apart() {
    let claim = rpc("POST", "QueryOTAJob", &[QUERY, NEW_EXTRAS], "", "AAAA");
    let millis = |off: i64| Timestamp::from_millis(AT.millis() + off);
    for off in [-900_000, 0, 900_000] {
        assert!(claim.check_time(millis(off)).unwrap() >= millis(off) + super::WINDOW * 2, "{off}");
    }
    for off in [-900_001, 900_001] {
        assert_eq!(claim.check_time(millis(off)).unwrap_err().code, "InvalidTimeStamp.Expired", "{off}");
    }
    for text in ["", "yesterday", "2026-11-21 08:00:00", "1795248000000", "2026-11-21T08:00:00+01:00"] {
        let claim = Claim { timestamp: text.into(), ..claim.clone() };
        assert_eq!(claim.check_time(AT).unwrap_err().code, "InvalidTimeStamp.Format", "{text}");
    }
}

/// What an SDK sent over a socket.
macro_rules! recorded {
    ($($name:literal,)+) => {
        [$(($name, include_str!(concat!("../../tests/recorded/", $name, ".http")))),+]
    };
}

const RECORDED: [(&str, &str); 11] = recorded![
    "v3-create-product",
    "v3-special-characters",
    "v3-static-job",
    "v3-form-body",
    "v3-get",
    "v3-node-few-headers",
    "rpc-create-product",
    "rpc-job-with-tags",
    "rpc-form-body",
    "rpc-all-in-the-body",
    "rpc-get",
];

fn parse(text: &'static str) -> (Parts, &'static str) {
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, uri) = (first.next().unwrap(), first.next().unwrap());
    let mut request = http::Request::builder().method(method).uri(uri);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    (request.body(()).unwrap().into_parts().0, body.trim_end())
}

#[test]
fn recorded_requests_are_signed_by_their_key() {
    for (name, text) in RECORDED {
        let (head, body) = parse(text);
        let claim = claim(&head, body).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(claim.key, "testak", "{name}");
        assert_eq!(claim.verify(b"testsk"), Ok(()), "{name}");
        assert!(claim.verify(b"testsl").is_err(), "{name}");
    }
}

#[test]
fn no_part_of_a_recorded_request_can_be_exchanged() {
    for (name, text) in RECORDED {
        let (mut head, body) = parse(text);
        if let Some(query) = head.uri.query().filter(|query| !query.is_empty()) {
            head.uri = format!("/?{query}&More=1").parse().unwrap();
        } else {
            head.uri = "/?More=1".parse().unwrap();
        }
        assert!(claim(&head, body).unwrap().verify(b"testsk").is_err(), "{name}");
    }
}
