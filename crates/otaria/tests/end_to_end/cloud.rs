//! The HTTP face as the cloud's SDKs call it: every request is signed (V3), and what comes back is read as it
//! is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::{Answer, send};

/// Parameters of a call, flat, as this wire has them.
pub(crate) type Params = BTreeMap<String, String>;

/// Where files are cut from the fields of a form.
const BOUNDARY: &str = "9f1c0ce7a4604a4b";

/// The HTTP face with one access key.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    pub(crate) http: SocketAddr,
    key: [String; 2],
}

/// What a call was answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

/// Parameters from a table.
pub(crate) fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The instant that a request names as its own.
#[expect(clippy::disallowed_methods, reason = "requests are dated by the wall clock")]
pub(crate) fn now() -> jiff::Timestamp {
    std::time::SystemTime::now().try_into().unwrap()
}

impl Cloud {
    pub(crate) fn new(http: SocketAddr, key: [String; 2]) -> Self {
        Self { http, key }
    }

    /// Gives one call, with a nonce of its own.
    pub(crate) async fn call(&self, action: &str, params: &Params) -> Said {
        self.send(&self.request(action, params, now(), &rand::random::<u128>().to_string())).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: &str) -> Said {
        Said::read(&send(self.http, request.as_bytes()).await)
    }

    /// A signed request: POST, everything in the query, as most SDKs have it.
    pub(crate) fn request(&self, action: &str, params: &Params, at: jiff::Timestamp, nonce: &str) -> String {
        let [id, secret] = &self.key;
        let pairs: Vec<String> =
            params.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let query = pairs.join("&");
        let digest = hex(&Sha256::digest(b""));
        let headers = [
            ("host", self.http.to_string()),
            ("x-acs-action", action.to_owned()),
            ("x-acs-content-sha256", digest.clone()),
            ("x-acs-date", at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ("x-acs-signature-nonce", nonce.to_owned()),
            ("x-acs-version", "2018-01-20".to_owned()),
        ];
        let signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let signed = signed.join(";");
        let of = |separator: &str, end: &str| -> String {
            headers.iter().map(|(name, value)| format!("{name}:{separator}{value}{end}")).collect()
        };
        let canonical = format!("POST\n/\n{query}\n{}\n{signed}\n{digest}", of("", "\n"));
        let text = format!("ACS3-HMAC-SHA256\n{}", hex(&Sha256::digest(canonical)));
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        let signature = hex(&mac.chain_update(text).finalize().into_bytes());
        format!(
            "POST /?{query} HTTP/1.1\r\n{}authorization: ACS3-HMAC-SHA256 \
             Credential={id},SignedHeaders={signed},Signature={signature}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n",
            of(" ", "\r\n")
        )
    }

    /// The form that an action gives out.
    pub(crate) async fn form(&self, action: &str) -> Value {
        self.call(action, &Params::new()).await.done()["Data"].take()
    }

    /// Posts a file with a form; `changed` fields stand in place of the form's own.
    pub(crate) async fn post(&self, form: &Value, changed: &[(&str, &str)], file: &[u8]) -> Answer {
        let of = |name: &str| form[name].as_str();
        let id = of("OSSAccessKeyId").or(of("AccessKeyId"));
        let fields = [
            ("key", of("Key")),
            ("policy", of("Policy")),
            ("OSSAccessKeyId", id),
            ("Signature", of("Signature")),
            ("success_action_status", Some("200")),
        ];
        let mut body = Vec::new();
        for (name, own) in fields {
            let other = changed.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
            let value = other.or(own).unwrap();
            let part = format!("content-disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
            body.extend_from_slice(format!("--{BOUNDARY}\r\n{part}\r\n").as_bytes());
        }
        let head = "content-disposition: form-data; name=\"file\"; filename=\"f\"";
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let head = format!(
            "POST /u HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n\
             content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n",
            self.http,
            body.len()
        );
        send(self.http, &[head.into_bytes(), body].concat()).await
    }
}

impl Said {
    fn read(answer: &Answer) -> Self {
        let body = answer.text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", answer.text));
        Self { status: answer.status, json }
    }

    /// The answer of a call that was done.
    pub(crate) fn done(self) -> Value {
        assert_eq!((self.status, &self.json["Success"]), (200, &Value::Bool(true)), "{}", self.json);
        self.json
    }

    /// Code and message of a call that was refused. Both forms of an error say the same.
    pub(crate) fn refused(&self) -> (&str, &str) {
        let json = &self.json;
        assert_eq!(json["Success"], false, "{json}");
        let message = json["ErrorMessage"].as_str().expect("an ErrorMessage");
        assert_eq!(self.status != 200, json["Message"] == message, "{} {json}", self.status);
        (json["Code"].as_str().expect("a Code"), message)
    }
}

fn encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
