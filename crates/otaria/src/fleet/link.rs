//! A byte stream to a server, plain or with TLS.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What bytes come and go through.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream of either kind.
pub(crate) type Link = Box<dyn Io>;

/// Opens links.
pub(crate) struct Dialer {
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// Opens plain links only.
    pub(crate) fn plain() -> Self {
        Self { tls: None }
    }

    /// Opens links with TLS to servers that these certificates vouch for, and plain ones.
    pub(crate) fn trusting(certificates: &Path) -> anyhow::Result<Self> {
        let doing = || format!("cannot read certificates in {}", certificates.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(certificates).with_context(doing)? {
            roots.add(certificate.with_context(doing)?).with_context(doing)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Connects to `address`, `host:port`.
    pub(crate) async fn dial(&self, tls: bool, address: &str) -> anyhow::Result<Link> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        if !tls {
            return Ok(Box::new(socket));
        }
        let connector = self.tls.as_ref().context("TLS needs certificates to trust: --tls-ca")?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        Ok(Box::new(connector.connect(name, socket).await?))
    }
}
