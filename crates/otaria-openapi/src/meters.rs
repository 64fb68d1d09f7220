//! What the HTTP face counts. Labels come from closed sets.

use axum::http::StatusCode;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use crate::envelope::Fault;

const REQUESTS: &str = "otaria_http_requests_total";
const CALLS: &str = "otaria_http_calls_total";
const BYTES: &str = "otaria_http_download_bytes_total";
const BROKER: &str = "otaria_http_broker_answers_total";
const CONNECTIONS: &str = "otaria_http_connections";

/// The label of a request: which path it took through the face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Api,
    Upload,
    Download,
    Health,
    Ready,
    Metrics,
    Broker,
    About,
    Other,
}

impl Route {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Health => "healthz",
            Self::Ready => "readyz",
            Self::Metrics => "metrics",
            Self::Broker => "broker",
            Self::About => "about",
            Self::Other => "other",
        }
    }
}

/// How a call of an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Ok,
    /// A rule of the business forbids it.
    Business,
    /// It was refused at the gate.
    Refused,
    /// It may be repeated.
    Unavailable,
}

impl Outcome {
    pub(crate) fn of(result: Result<(), &Fault>) -> Self {
        match result.map_err(|fault| fault.status.as_u16()) {
            Ok(()) => Self::Ok,
            Err(200) => Self::Business,
            Err(500..) => Self::Unavailable,
            Err(_) => Self::Refused,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Business => "business",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What a broker asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Whether a device may come in.
    Login,
    /// Whether a topic is its own.
    Topic,
}

/// What it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// The question was none.
    Malformed,
    /// Nobody can tell now.
    Unavailable,
}

/// Counts an answer to a broker.
pub(crate) fn told_broker(asked: Asked, answer: Answer) {
    let asked = match asked {
        Asked::Login => "login",
        Asked::Topic => "topic",
    };
    let answer = match answer {
        Answer::Allowed => "allowed",
        Answer::Denied => "denied",
        Answer::Malformed => "malformed",
        Answer::Unavailable => "unavailable",
    };
    counter!(BROKER, "question" => asked, "answer" => answer).increment(1);
}

/// Counts a call of an action of the table.
pub(crate) fn called(action: &'static str, outcome: Outcome) {
    counter!(CALLS, "action" => action, "outcome" => outcome.as_str()).increment(1);
}

pub(crate) fn describe() {
    describe_counter!(CALLS, "Calls of the API over HTTP, by action and outcome");
    describe_counter!(BROKER, "Questions of a broker about devices, by question and answer");
    describe_counter!(REQUESTS, "HTTP requests answered, by route and class of status");
    describe_counter!(BYTES, metrics::Unit::Bytes, "Bytes of packages handed to HTTP connections");
    describe_gauge!(CONNECTIONS, "Open HTTP connections");
}

pub(crate) fn answered(route: Route, status: StatusCode) {
    let class = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    counter!(REQUESTS, "route" => route.as_str(), "status" => class).increment(1);
}

pub(crate) fn download_bytes() -> Counter {
    counter!(BYTES)
}

/// Counts a connection as long as it lives.
pub(crate) struct OpenConnection(Gauge);

impl OpenConnection {
    pub(crate) fn count() -> Self {
        let connections = gauge!(CONNECTIONS);
        connections.increment(1);
        Self(connections)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
