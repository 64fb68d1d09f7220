//! A call of the cloud-compatible API over plain HTTP/1.1, signed as RPC clients do (HMAC-SHA1 over the sorted query).
//!
//! Never interprets an answer beyond its status.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::operator::Operator;
use crate::clock::unix_us;

const PATIENCE: Duration = Duration::from_secs(10);

/// Calls an action with these parameters, and returns status and body.
pub(crate) fn call(
    address: &str,
    operator: &Operator,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<(u16, String)> {
    let query = query(operator, action, parameters, unix_us())?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    read(&String::from_utf8_lossy(&answer)).context("no HTTP answer")
}

/// The whole query with its signature. The nonce is made of the time: one client calls one thing at a time.
fn query(operator: &Operator, action: &str, parameters: &[(&str, &str)], unix_us: u64) -> Result<String> {
    let timestamp = jiff::Timestamp::from_second(i64::try_from(unix_us / 1_000_000)?)?.to_string();
    let nonce = format!("otaria-xtask-{}-{unix_us}", std::process::id());
    let mut all = vec![
        ("AccessKeyId", operator.key_id.as_str()),
        ("Action", action),
        ("Format", "JSON"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &timestamp),
        ("Version", "2018-01-20"),
    ];
    all.extend_from_slice(parameters);
    all.sort_unstable();
    let pairs = all.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    let canonical = pairs.collect::<Vec<_>>().join("&");
    let signature = signature(&operator.key_secret, &canonical);
    Ok(format!("{canonical}&Signature={}", encoded(&signature)))
}

fn signature(secret: &str, canonical: &str) -> String {
    let text = format!("GET&%2F&{}", encoded(canonical));
    // HMAC takes keys of any length.
    let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(format!("{secret}&").as_bytes());
    let mac = mac.expect("a key of any length").chain_update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Percent encoding of everything but letters, digits and `-_.~`.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Status and body of an answer.
fn read(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_published_example() {
        // The example of the RPC signature in the documentation of the ECS API.
        let canonical = "AccessKeyId=testid&Action=DescribeRegions&Format=XML&SignatureMethod=HMAC-SHA1\
            &SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&SignatureVersion=1.0\
            &Timestamp=2016-02-23T12%3A46%3A24Z&Version=2014-05-26";
        assert_eq!(signature("testsecret", canonical), "OLeaidS1JvxuMvnyHOwuJ+uX5qY=");
    }

    #[test]
    fn a_query_is_sorted_and_says_when_it_was_made() {
        let operator = Operator {
            binary: "x".into(),
            key_id: "id".to_owned(),
            key_secret: "secret".to_owned(),
            namespace: None,
        };
        let query = query(&operator, "QueryOTAJob", &[("JobId", "a b")], 1_700_000_000_000_001).unwrap();
        assert!(query.starts_with("AccessKeyId=id&Action=QueryOTAJob&Format=JSON&JobId=a%20b&"), "{query}");
        assert!(query.contains("&Timestamp=2023-11-14T22%3A13%3A20Z&"), "{query}");
    }

    #[test]
    fn an_answer_is_read() {
        assert_eq!(read("HTTP/1.1 503 Busy\r\na: b\r\n\r\n{}"), Some((503, "{}".to_owned())));
        assert_eq!(read(""), None);
    }
}
