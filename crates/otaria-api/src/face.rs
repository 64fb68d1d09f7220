//! The server: services behind one guard on one socket.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use otaria_engine::Commands;
use otaria_ports::clock::Clock;
use otaria_ports::quotas::Quotas;
use otaria_proto::FILE_DESCRIPTOR_SET;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::server::HealthReporter;

use crate::forms::UploadForms;
use crate::guard::Guard;
use crate::listen::{self, Exposed, Tls};
use crate::services::{self, ServerInfo, Shared};

/// Between two signs of life on a connection; a peer that does not answer one is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a request's head at most.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// Calls of one connection at once.
const STREAMS_MAX: u32 = 256;
const CALLS_PER_CONNECTION: usize = 128;
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the face does not serve (any more).
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Secrets would cross a network in the clear.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The socket, or the certificate.
    #[error("gRPC face failed")]
    Transport(#[from] tonic::transport::Error),
    /// The socket has no address.
    #[error("gRPC socket has no address")]
    Socket(#[from] std::io::Error),
    /// The descriptors in this binary cannot be read.
    #[error("descriptors for reflection cannot be read")]
    Descriptors(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The gRPC face, ready to serve.
pub struct GrpcFace {
    shared: Shared,
    quotas: Arc<dyn Quotas>,
    tls: Option<Tls>,
    allow_plaintext: bool,
    closing: watch::Sender<bool>,
}

impl GrpcFace {
    /// A face over these commands; plaintext on loopback only, until told otherwise.
    #[must_use]
    pub fn new(commands: Commands, clock: Arc<dyn Clock>, quotas: Arc<dyn Quotas>, info: ServerInfo) -> Self {
        let (closing, closed) = watch::channel(false);
        let shared = Shared::new(commands, clock, info, closed);
        Self { shared, quotas, tls: None, allow_plaintext: false, closing }
    }

    /// Answers with these upload forms; without them such calls are not served.
    #[must_use]
    pub fn forms(mut self, forms: Arc<dyn UploadForms>) -> Self {
        self.shared.forms = Some(forms);
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Allows plaintext off loopback.
    #[must_use]
    pub const fn allow_plaintext(mut self, allow: bool) -> Self {
        self.allow_plaintext = allow;
        self
    }

    /// Serves until `shutdown` is done: then watchers are sent away, calls under way are ended, and it
    /// returns once every connection is closed. The caller bounds how long it waits for that.
    ///
    /// # Errors
    /// When the socket is exposed without TLS, or the certificate is no good.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        listen::check_exposure(listener.local_addr()?, self.tls.is_some(), self.allow_plaintext)?;
        let mut server = Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(HEAD_MAX_BYTES);
        if let Some(tls) = self.tls {
            let identity = Identity::from_pem(tls.certificates, tls.private_key);
            let config = ServerTlsConfig::new().identity(identity).timeout(TLS_HANDSHAKE_TIMEOUT);
            server = server.tls_config(config)?;
        }

        let health = HealthReporter::new();
        let shared = Arc::new(self.shared);
        let routes = routes(&shared, &health).await?;
        let guard = Guard::new(routes, shared, self.quotas);
        let closing = self.closing;
        let until = async move {
            shutdown.await;
            // Nobody may be left: then there is nobody to tell.
            let _ = closing.send(true);
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        };
        Ok(server.serve_with_incoming_shutdown(guard, listen::incoming(listener), until).await?)
    }
}

async fn routes(shared: &Arc<Shared>, health: &HealthReporter) -> Result<Routes, ServeError> {
    let mut routes = Routes::builder();
    let names = services::add_to(&mut routes, shared);
    for name in names {
        health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    routes.add_service(tonic_health::pb::health_server::HealthServer::new(health));

    let unreadable = |error: tonic_reflection::server::Error| ServeError::Descriptors(Box::new(error));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    routes.add_service(reflection().build_v1().map_err(unreadable)?);
    routes.add_service(reflection().build_v1alpha().map_err(unreadable)?);
    Ok(routes.routes().prepare())
}
