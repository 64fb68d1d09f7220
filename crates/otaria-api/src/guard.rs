//! The door of the face: who calls, whether it may call so often, and what came of it.
//!
//! Looks at a request's head only: a caller without a key that works is turned away before any of its
//! message is read.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use otaria_engine::Caller;
use otaria_ports::quotas::Quotas;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::errors;
use crate::methods::{self, Method};
use crate::services::Shared;

/// Requests under way at once at most, watchers and uploads not counted once they are answered.
const IN_FLIGHT_MAX: usize = 512;
/// Characters of a foreign path that are given back.
const PATH_SHOWN_CHARS: usize = 100;

/// Stands before all services.
#[derive(Clone)]
pub(crate) struct Guard {
    routes: Routes,
    shared: Arc<Shared>,
    quotas: Arc<dyn Quotas>,
    in_flight: Arc<Semaphore>,
}

impl Guard {
    pub(crate) fn new(routes: Routes, shared: Arc<Shared>, quotas: Arc<dyn Quotas>) -> Self {
        Self { routes, shared, quotas, in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) }
    }

    async fn answer(mut self, mut request: http::Request<Body>) -> http::Response<Body> {
        let name = match methods::of(request.uri().path()) {
            Method::Ours(name) => name,
            Method::Open => return self.pass(request).await,
            Method::Unknown => {
                count("unknown", Code::Unimplemented);
                let path: String = request.uri().path().chars().take(PATH_SHOWN_CHARS).collect();
                return errors::not_served(&path).into_http();
            }
        };
        let in_flight = Arc::clone(&self.in_flight);
        let Ok(_place) = in_flight.try_acquire() else {
            count(name, Code::ResourceExhausted);
            return errors::busy("too many calls are under way; repeat the call").into_http();
        };

        match self.admit(request.headers(), name).await {
            Err(status) => {
                count(name, status.code());
                status.into_http()
            }
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                let response = self.pass(request).await;
                let code = code_of(&response);
                count(name, code);
                // What no service here has written answers without its name.
                if code == Code::Unimplemented && is_stub(&response) {
                    return errors::not_served(name).into_http();
                }
                response
            }
        }
    }

    async fn admit(&self, headers: &http::HeaderMap, action: &'static str) -> Result<Caller, Status> {
        let (id, secret) = credentials(headers).ok_or_else(errors::no_credentials)?;
        let caller = self.shared.commands.authenticate(id, secret).await.map_err(errors::unauthenticated)?;
        match self.quotas.take(caller.account, action).await {
            Ok(Ok(())) => Ok(caller),
            Ok(Err(refused)) => Err(errors::too_many(action, refused)),
            Err(error) => {
                // A quota protects the service; it does not take it down.
                tracing::debug!(%error, "quota not counted");
                metrics::counter!("otaria_grpc_uncounted_quota_total").increment(1);
                Ok(caller)
            }
        }
    }

    async fn pass(&mut self, request: http::Request<Body>) -> http::Response<Body> {
        match self.routes.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl Service<http::Request<Body>> for Guard {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routes are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

/// The key's id and secret; the secret may hold colons, the id does not.
fn credentials(headers: &http::HeaderMap) -> Option<(&str, &str)> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    token.trim().split_once(':')
}

/// How a call ended, or, for a stream, began.
fn code_of(response: &http::Response<Body>) -> Code {
    match response.headers().get("grpc-status") {
        Some(code) => Code::from_bytes(code.as_bytes()),
        None => Code::Ok,
    }
}

/// Whether the answer is that of a generated method which nobody has written.
fn is_stub(response: &http::Response<Body>) -> bool {
    const STUB: &str = "Not yet implemented";
    Status::from_header_map(response.headers()).is_some_and(|status| status.message() == STUB)
}

fn count(method: &'static str, code: Code) {
    metrics::counter!("otaria_grpc_requests_total", "method" => method, "code" => name_of(code)).increment(1);
}

const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<(String, String)> {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        credentials(&headers).map(|(id, secret)| (id.into(), secret.into()))
    }

    #[test]
    fn credentials_are_read_from_a_bearer_token_only() {
        assert_eq!(of("Bearer id:se:cret"), Some(("id".into(), "se:cret".into())));
        assert_eq!(of("bearer id:secret"), Some(("id".into(), "secret".into())));
        for bad in ["", "Bearer", "Bearer idsecret", "Basic id:secret", "id:secret"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(credentials(&http::HeaderMap::new()), None);
    }
}
