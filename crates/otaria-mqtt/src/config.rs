//! How the gateway is set up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Addresses and limits. [`GatewayConfig::default`] listens on the loopback without TLS.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where to listen for plain MQTT; port 0 takes a free one.
    pub plain: Option<SocketAddr>,
    /// Where to listen for MQTT over TLS, and with what.
    pub tls: Option<TlsConfig>,
    /// Connections at most, both kinds together. One more is closed at once.
    pub max_connections: u32,
    /// Connections at most that have not said who they are. One more is closed at once.
    pub max_strangers: u32,
    /// New connections a second, both kinds together. What is beyond waits to be accepted.
    pub connects_per_second: u32,
    /// TLS handshakes at a time. What is beyond waits.
    pub max_handshakes: u32,
    /// From accept to a whole CONNECT; includes the TLS handshake.
    pub connect_timeout: Duration,
    /// The longest CONNECT in bytes.
    pub max_connect_bytes: usize,
    /// The longest later packet in bytes.
    pub max_packet_bytes: usize,
    /// How much may wait for a peer that reads slowly, in bytes, beside what the kernel holds. A block of a
    /// package that a device asked for may be longer (128 KiB at most), while nothing else waits.
    pub max_pending_bytes: usize,
    /// The kernel's send buffer of a connection in bytes; bounds what a peer that does not read can hold.
    pub send_buffer_bytes: u32,
    /// The longest time between two packets of a peer is 1.5 times its keep-alive, which is at most this.
    pub max_keep_alive: Duration,
    /// Platform clients at most; the router reserves some 33 KiB for each one connected.
    pub max_platform_clients: u32,
    /// Over how long the connections of devices are ended when the gateway stops, one after the other, so that
    /// they do not all come to the other gateways at once. Nobody new is taken in meanwhile, and notices still
    /// go out to those who are left. Zero ends all at once: where there is no other gateway, nothing is gained.
    pub drain_spread: Duration,
    /// How long connections may take to end when the gateway stops, after [`GatewayConfig::drain_spread`].
    pub drain_timeout: Duration,
}

/// MQTT over TLS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate, key and protocol versions.
    pub server: Arc<ServerConfig>,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// The PEM text holds no certificate or no key that can be read.
    #[error("certificate or key cannot be read")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// They do not fit together or are not supported.
    #[error("certificate and key cannot be used")]
    Unfit(#[from] rustls::Error),
}

impl TlsConfig {
    /// TLS 1.2 and 1.3 with this certificate chain and key, both PEM.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together.
    pub fn from_pem(listen: SocketAddr, chain: &[u8], key: &[u8]) -> Result<Self, BadTls> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key)?;
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self { listen, server: Arc::new(server) })
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            plain: Some(SocketAddr::from(([127, 0, 0, 1], 1883))),
            tls: None,
            max_connections: 100_000,
            max_strangers: 16_384,
            connects_per_second: 5_000,
            max_handshakes: 1_024,
            connect_timeout: Duration::from_secs(10),
            max_connect_bytes: 4 * 1024,
            max_packet_bytes: 64 * 1024,
            max_pending_bytes: 64 * 1024,
            send_buffer_bytes: 64 * 1024,
            max_keep_alive: Duration::from_secs(1_200),
            max_platform_clients: 256,
            drain_spread: Duration::ZERO,
            drain_timeout: Duration::from_secs(5),
        }
    }
}
