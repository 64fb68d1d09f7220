//! What an MQTT broker that is not ours asks about devices: may this one come in, is this topic its own.
//!
//! A device's password is an HMAC over texts of its own choice, so no file of passwords can hold it; the broker has
//! to ask for each login. Requests are forms or JSON, as EMQX and mosquitto-go-auth send them, and the answer is
//! in the words of both:
//!
//! | | EMQX | mosquitto-go-auth |
//! |---|---|---|
//! | `/mqtt/auth` | `username`, `password`, `clientid` | the same |
//! | `/mqtt/acl` | `username`, `topic`, `action` (`publish` or `subscribe`) | `username`, `topic`, `acc` (bits: 1 read, 2 write, 4 subscribe) |
//! | yes | `{"result":"allow"}` | `{"Ok":true}` (`http_response_mode json`) |
//! | no | `{"result":"deny"}` | `{"Ok":false}` |
//!
//! A question that cannot be answered is answered with an error of HTTP. EMQX then asks its next source, so its
//! `no_match` has to be `deny`.
//!
//! How fast devices may knock is the broker's to limit: it knows where they come from, and here all questions come from
//! the broker. What was answered is counted (`otaria_http_broker_answers_total`), so that guessing shows.
//!
//! Never hands out a secret, and keeps no state: a device that is shut out is refused from its next login on.
//!
//! Invariant: a device is allowed nothing beyond topics that hold its own product key and name, by the same
//! rules as at our own door (`otaria_core::door`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use axum::routing::post;
use otaria_core::door::{ConnectClaim, Own};
use otaria_core::ids::{DeviceName, ProductKey};
use otaria_ports::auth::DeviceAuth;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::face::text;
use crate::meters::{Answer, Asked, Route, told_broker};

/// Bytes of the longest question: texts of a CONNECT and some words around them.
const QUESTION_BYTES_MAX: usize = 16 * 1024;

/// Bits of mosquitto-go-auth's `acc`.
const READ: u8 = 1;
const WRITE: u8 = 2;
const SUBSCRIBE: u8 = 4;

/// Answers a broker's questions.
#[derive(Clone)]
pub struct BrokerHook {
    /// Knows devices.
    pub auth: Arc<dyn DeviceAuth>,
    /// User name and password of Otaria's own client of the broker, which may read and write all topics.
    pub bridge: (String, String),
}

impl std::fmt::Debug for BrokerHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerHook").field("bridge", &self.bridge.0).finish_non_exhaustive()
    }
}

/// No answer can be given now.
struct Unanswered;

impl BrokerHook {
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/mqtt/auth", post(may_connect))
            .route("/mqtt/acl", post(may_use))
            .with_state(Arc::new(self))
    }

    async fn connects(&self, asked: &Question) -> Result<bool, Unanswered> {
        let (user, password) = (asked.text("username"), asked.text("password"));
        if user == self.bridge.0 {
            return Ok(bool::from(password.as_bytes().ct_eq(self.bridge.1.as_bytes())));
        }
        let Ok(claim) = ConnectClaim::parse(asked.text("clientid"), user) else { return Ok(false) };
        let names = [(claim.product_key.clone(), claim.device_name.clone())];
        let found = self.auth.devices(&names).await.map_err(|error| {
            tracing::warn!(%error, "a broker's question was not answered");
            Unanswered
        })?;
        let found = found.into_iter().next().flatten();
        // An unknown device takes as long as a wrong password.
        let secret = found.as_ref().map_or("", |credential| credential.secret.as_str());
        let proven = claim.verify(secret.as_bytes(), password.as_bytes());
        Ok(proven && found.is_some_and(|credential| credential.enabled))
    }

    fn uses(&self, asked: &Question) -> bool {
        let (user, topic) = (asked.text("username"), asked.text("topic"));
        let Some(access) = asked.access() else { return false };
        if user == self.bridge.0 {
            return true;
        }
        let Some((device_name, product_key)) = user.split_once('&') else { return false };
        if DeviceName::parse(device_name).is_err() || ProductKey::parse(product_key).is_err() {
            return false;
        }
        let own = Own { product_key, device_name };
        let writes = access & WRITE == 0 || own.publishes(topic).is_ok();
        let reads = access & (READ | SUBSCRIBE) == 0 || own.subscribes(topic).is_ok();
        writes && reads
    }
}

/// The fields of a form or of a JSON object.
struct Question(HashMap<String, String>);

impl Question {
    /// A broker names what it sends, or sends JSON.
    fn parse(body: &[u8]) -> Option<Self> {
        if !body.trim_ascii_start().starts_with(b"{") {
            return Some(Self(form_urlencoded::parse(body).into_owned().collect()));
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return None };
        let fields = fields.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Number(number) => Some((name, number.to_string())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        });
        Some(Self(fields.collect()))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// What is to be done with a topic; `None` when that is not said, or nothing we know.
    fn access(&self) -> Option<u8> {
        match (self.text("action"), self.text("acc")) {
            ("publish", "") => Some(WRITE),
            ("subscribe", "") => Some(SUBSCRIBE),
            ("", bits) => bits.parse().ok().filter(|bits| (1..=READ | WRITE | SUBSCRIBE).contains(bits)),
            _ => None,
        }
    }
}

async fn may_connect(State(hook): State<Arc<BrokerHook>>, request: Request<Body>) -> Response {
    let Some(asked) = question(request).await else { return malformed(Asked::Login) };
    match hook.connects(&asked).await {
        Ok(allowed) => answer(Asked::Login, allowed),
        Err(Unanswered) => {
            told_broker(Asked::Login, Answer::Unavailable);
            text(Route::Broker, StatusCode::SERVICE_UNAVAILABLE, "ask again\n")
        }
    }
}

async fn may_use(State(hook): State<Arc<BrokerHook>>, request: Request<Body>) -> Response {
    let Some(asked) = question(request).await else { return malformed(Asked::Topic) };
    answer(Asked::Topic, hook.uses(&asked))
}

async fn question(request: Request<Body>) -> Option<Question> {
    let body = to_bytes(request.into_body(), QUESTION_BYTES_MAX).await.ok()?;
    Question::parse(&body)
}

fn malformed(asked: Asked) -> Response {
    told_broker(asked, Answer::Malformed);
    text(Route::Broker, StatusCode::BAD_REQUEST, "a form or a JSON object is wanted\n")
}

fn answer(asked: Asked, allowed: bool) -> Response {
    told_broker(asked, if allowed { Answer::Allowed } else { Answer::Denied });
    let result = if allowed { "allow" } else { "deny" };
    let body = json!({"result": result, "is_superuser": false, "Ok": allowed, "Error": ""}).to_string();
    let mut response = text(Route::Broker, StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
