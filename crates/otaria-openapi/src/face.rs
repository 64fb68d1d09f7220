//! Which path leads where, and the answers that need no more than a line.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use otaria_core::link::LinkKey;
use otaria_ports::clock::Clock;
use otaria_ports::objects::Objects;

use crate::api::{Api, ApiParts};
use crate::download::{Packages, download};
use crate::forms;
use crate::hook::BrokerHook;
use crate::meters::{self, Route};
use crate::ready::{Readiness, ReadyCheck};
use crate::rejects::RejectedLines;

/// Bytes of the longest path. What is ours is far shorter; a path is also what ends up in logs.
const PATH_BYTES_MAX: usize = 1_024;

/// Renders all metrics in Prometheus's text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// What the face needs.
pub struct FaceParts {
    /// Tells whether a link still holds.
    pub clock: Arc<dyn Clock>,
    /// Under which links are signed.
    pub link_key: LinkKey,
    /// Finds the file that a link leads to.
    pub packages: Arc<dyn Packages>,
    /// Finds the rejected lines that a link leads to.
    pub rejects: Arc<dyn RejectedLines>,
    /// Where the bytes lie.
    pub objects: Arc<dyn Objects>,
    /// For `/readyz`.
    pub ready: ReadyCheck,
    /// For `/metrics`.
    pub metrics: MetricsText,
    /// Where gRPC listens, for the text at `/`.
    pub grpc: String,
    /// The API; without it the face serves downloads only.
    pub api: Option<ApiParts>,
}

/// The HTTP face: an answer for every request. A clone is the same face.
#[derive(Clone)]
pub struct HttpFace {
    router: Router,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for HttpFace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpFace").finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) link_key: LinkKey,
    pub(crate) packages: Arc<dyn Packages>,
    pub(crate) rejects: Arc<dyn RejectedLines>,
    pub(crate) objects: Arc<dyn Objects>,
    readiness: Readiness,
    metrics: MetricsText,
    grpc: String,
    api: Option<Api>,
}

impl HttpFace {
    /// Puts the face together.
    #[must_use]
    pub fn new(parts: FaceParts) -> Self {
        let FaceParts { clock, link_key, packages, rejects, objects, ready, metrics, grpc, api } = parts;
        let readiness = Readiness::new(ready, clock.clone());
        let api = api.map(|parts| Api::new(parts, clock.clone(), &link_key));
        let inner = Inner { clock, link_key, packages, rejects, objects, readiness, metrics, grpc, api };
        let inner = Arc::new(inner);

        let only_get = |handler: MethodRouter<Arc<Inner>>| handler.fallback(wrong_method);
        let router = Router::new()
            .route("/d/{token}", only_get(get(download)))
            .route("/healthz", only_get(get(health)))
            .route("/readyz", only_get(get(ready_or_not)))
            .route("/metrics", only_get(get(metrics_text)))
            .route("/", any(call_or_about))
            .route(forms::PATH, post(upload).fallback(only_post))
            .fallback(unknown)
            .with_state(inner.clone());
        Self { router, inner }
    }

    /// Answers the questions of a broker besides.
    #[must_use]
    pub fn with_broker(mut self, hook: BrokerHook) -> Self {
        self.router = self.router.merge(hook.routes());
        self
    }

    /// From now on `/readyz` says that no work is wanted. Everything else is served as before, so that
    /// whoever balances the load has the time to notice.
    pub fn drain(&self) {
        self.inner.readiness.drain();
    }

    /// Answers a request.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path_bytes = request.uri().path().len();
        if path_bytes > PATH_BYTES_MAX {
            return text(Route::Other, StatusCode::URI_TOO_LONG, "the path is too long\n");
        }
        let router = TowerToHyperService::new(self.router.clone());
        match router.call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// An answer of plain text, counted.
pub(crate) fn text(route: Route, status: StatusCode, text: impl Into<Body>) -> Response {
    meters::answered(route, status);
    let mut response = (status, text.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn health() -> Response {
    text(Route::Health, StatusCode::OK, "alive\n")
}

async fn ready_or_not(State(face): State<Arc<Inner>>) -> Response {
    let (ready, told) = face.readiness.verdict().await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = text(Route::Ready, status, format!("{told}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn metrics_text(State(face): State<Arc<Inner>>) -> Response {
    let mut response = text(Route::Metrics, StatusCode::OK, (face.metrics)());
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

/// People look around without a query; everything else here is a call of the API.
async fn call_or_about(State(face): State<Arc<Inner>>, request: Request) -> Response {
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().query().is_none()
        && !request.headers().contains_key(AUTHORIZATION);
    match &face.api {
        _ if is_look => about(&face),
        None => text(Route::Other, StatusCode::NOT_FOUND, "the API is not served here\n"),
        Some(api) => {
            // A call is a large state: it lives on the heap.
            let response = Box::pin(api.answer(request)).await;
            meters::answered(Route::Api, response.status());
            response
        }
    }
}

async fn upload(State(face): State<Arc<Inner>>, request: Request) -> Response {
    match &face.api {
        None => text(Route::Other, StatusCode::NOT_FOUND, "uploads are not served here\n"),
        Some(api) => Box::pin(forms::receive(api, request)).await,
    }
}

fn about(face: &Inner) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let about = format!(
        "Otaria {version}, rollouts of firmware to devices.\n\n\
         The API is gRPC, package otaria.v1, with reflection, on {}; `otaria --help` is its command line.\n\
         The SDKs of the cloud API of version 2018-01-20 find the same actions here, at /.\n\
         Here are /healthz, /readyz and /metrics, and the downloads that devices and platforms are sent to.\n\
         How everything works stands in README.md of the source.\n",
        face.grpc
    );
    text(Route::About, StatusCode::OK, about)
}

async fn unknown() -> Response {
    text(Route::Other, StatusCode::NOT_FOUND, "nothing here; GET / says what there is\n")
}

async fn only_post() -> Response {
    text(Route::Upload, StatusCode::METHOD_NOT_ALLOWED, "only POST here\n")
}

async fn wrong_method() -> Response {
    text(Route::Other, StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n")
}
