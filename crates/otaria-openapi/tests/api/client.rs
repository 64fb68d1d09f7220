//! A client that signs as the old SDKs do, and sees every byte of an answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::Sha1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

static NONCES: AtomicU32 = AtomicU32::new(0);

/// A key and its secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a>(pub(crate) &'a str, pub(crate) &'a str);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The answer of a call that was done.
    pub(crate) fn ok(&self) -> Value {
        let json = self.json();
        assert_eq!((self.status, &json["Success"]), (200, &Value::Bool(true)), "{}", self.body);
        json
    }

    /// Status and code of one that was not.
    pub(crate) fn refused(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["Success"], Value::Bool(false), "{}", self.body);
        (self.status, json["Code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends bytes on a fresh connection, reads one answer.
pub(crate) async fn send(address: SocketAddr, request: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // A server that has heard enough may close before it read everything.
    let _ = socket.write_all(request).await;
    read_answer(&mut socket).await
}

pub(crate) async fn read_answer(socket: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "no answer");
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: String::new() };
    let length: usize = answer.header("Content-Length").unwrap_or("0").parse().unwrap();
    let mut body = bytes[head_end + 4..].to_vec();
    while body.len() < length {
        assert!(socket.read_buf(&mut body).await.unwrap() > 0, "half an answer");
    }
    answer.body = String::from_utf8(body).unwrap();
    answer
}

/// The parameters of a call with what a signature needs, and the signature.
pub(crate) fn signed(
    Key(id, secret): Key<'_>,
    method: &str,
    timestamp: &str,
    action: &str,
    params: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let nonce = format!("nonce-{}", NONCES.fetch_add(1, Ordering::Relaxed));
    let fixed = [
        ("AccessKeyId", id),
        ("Action", action),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", timestamp),
        ("Version", "2018-01-20"),
    ];
    let given = fixed.iter().chain(params).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut all: BTreeMap<String, String> = given.collect();
    all.insert("Signature".into(), signature(&all, method, secret));
    all
}

/// The signature over parameters.
pub(crate) fn signature(params: &BTreeMap<String, String>, method: &str, secret: &str) -> String {
    let text = format!("{method}&%2F&{}", encode(&query(params)));
    let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(format!("{secret}&").as_bytes()).unwrap();
    STANDARD.encode(mac.chain_update(text).finalize().into_bytes())
}

/// `name=value&…`, percent-encoded.
pub(crate) fn query(params: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        params.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
