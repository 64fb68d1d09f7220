//! The server as its clients see it: a gRPC channel with an access key on every call.
//!
//! Knows nothing of what the server is made of. Every refusal becomes a text that says what to do next.

mod errands;
mod fault;
mod upload;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use otaria_proto::v1::access_service_client::AccessServiceClient;
use otaria_proto::v1::device_service_client::DeviceServiceClient;
use otaria_proto::v1::ota_firmware_service_client::OtaFirmwareServiceClient;
use otaria_proto::v1::ota_job_service_client::OtaJobServiceClient;
use otaria_proto::v1::ota_task_service_client::OtaTaskServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use crate::keyfile::AccessKey;

pub(crate) use errands::Registered;
pub(crate) use fault::explain;
use fault::unreachable;
pub(crate) use upload::open;

/// Largest answer that is accepted, in bytes: 20,000 registered devices are close to 4 MiB.
const ANSWER_MAX: usize = 16 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Certificates that the common systems trust, tried in turn where no other are given.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connection to a server.
#[derive(Clone)]
pub(crate) struct Remote {
    channel: Channel,
    bearer: Bearer,
}

/// Puts the access key on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Wire = InterceptedService<Channel, Bearer>;

impl Remote {
    /// Connects to `endpoint`, `http://host:port` or `https://host:port`.
    pub(crate) async fn connect(
        endpoint: &str,
        tls_ca: Option<&Path>,
        key: &AccessKey,
    ) -> anyhow::Result<Self> {
        let with_scheme =
            if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        let mut target = Endpoint::from_shared(with_scheme.clone())
            .with_context(|| format!("{endpoint} is no endpoint; one looks like http://127.0.0.1:50051"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30));
        if with_scheme.starts_with("https://") {
            target = target.tls_config(ClientTlsConfig::new().ca_certificate(roots(tls_ca)?))?;
        } else if tls_ca.is_some() {
            anyhow::bail!("certificates were given, but {endpoint} does not begin with https://");
        }

        let mut token: MetadataValue<Ascii> = format!("Bearer {}:{}", key.id, key.secret)
            .parse()
            .context("the access key holds characters that no access key has")?;
        token.set_sensitive(true);
        let channel = target.connect().await.map_err(|error| unreachable(endpoint, &error))?;
        Ok(Self { channel, bearer: Bearer(token) })
    }

    fn wire(&self) -> Wire {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Wire> {
        AccessServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Wire> {
        DeviceServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(crate) fn firmware(&self) -> OtaFirmwareServiceClient<Wire> {
        OtaFirmwareServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(crate) fn jobs(&self) -> OtaJobServiceClient<Wire> {
        OtaJobServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(crate) fn tasks(&self) -> OtaTaskServiceClient<Wire> {
        OtaTaskServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }
}

/// Waits for an answer; a refusal becomes a text that says what to do next.
pub(crate) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> anyhow::Result<T> {
    call.await.map(Response::into_inner).map_err(|status| explain(&status))
}

fn roots(tls_ca: Option<&Path>) -> anyhow::Result<Certificate> {
    let path = tls_ca.or_else(|| SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()));
    let path = path.context("no certificates to trust were found; name a file with --tls-ca")?;
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Certificate::from_pem(pem))
}
