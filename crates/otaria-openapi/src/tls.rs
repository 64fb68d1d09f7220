//! TLS from two PEM files, on ring, HTTP/1.1 only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of what it should.
    #[error("cannot read a {what} from {path}")]
    Unreadable {
        /// Certificate or private key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The certificate and the key do not fit together, or are of no use for TLS.
    #[error("certificate and private key cannot be used")]
    Unfit(#[from] rustls::Error),
}

/// The server's side of TLS.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate chain, leaf first, and its private key.
    ///
    /// # Errors
    /// When a file cannot be read, or the two do not fit together.
    pub fn from_pem_files(certificates: &Path, private_key: &Path) -> Result<Self, TlsError> {
        let certificates = read("certificate", certificates, |path| {
            let chain: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
            if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) }
        })?;
        let private_key = read("private key", private_key, |path| PrivateKeyDer::from_pem_file(path))?;

        // The provider is named, so that another crate that brings a second one cannot change it.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, private_key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

fn read<T>(
    what: &'static str,
    path: &Path,
    parse: impl FnOnce(&Path) -> Result<T, pem::Error>,
) -> Result<T, TlsError> {
    parse(path).map_err(|source| TlsError::Unreadable { what, path: path.into(), source })
}
