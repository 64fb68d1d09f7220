//! What the HTTP face counts. Labels come from closed sets.

use axum::http::StatusCode;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const REQUESTS: &str = "otaria_http_requests_total";
const BYTES: &str = "otaria_http_download_bytes_total";
const CONNECTIONS: &str = "otaria_http_connections";

/// The label of a request: which path it took through the face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Download,
    Health,
    Ready,
    Metrics,
    About,
    Other,
}

impl Route {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Health => "healthz",
            Self::Ready => "readyz",
            Self::Metrics => "metrics",
            Self::About => "about",
            Self::Other => "other",
        }
    }
}

pub(crate) fn describe() {
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
