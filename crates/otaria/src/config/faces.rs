//! `[grpc]`, `[http]`, `[mqtt]`: where the faces listen, and how they are reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// A listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Face {
    /// Address and port; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// PEM file of the certificate chain; TLS is on when both files are named.
    #[serde(default)]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file of the private key.
    #[serde(default)]
    pub(crate) tls_key: Option<PathBuf>,
}

/// The HTTP face.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// PEM file of the certificate chain.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file of the private key.
    pub(crate) tls_key: Option<PathBuf>,
    /// How devices reach this face, when not by its own address: what download links begin with.
    pub(crate) public_url: Option<String>,
    /// When set, calls of the cloud-compatible API have to name it as `IotInstanceId`.
    pub(crate) instance_id: Option<String>,
}

/// The device gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MqttConfig {
    /// Address and port of plain MQTT.
    pub(crate) listen: SocketAddr,
    /// Address and port of MQTT over TLS.
    pub(crate) tls_listen: Option<SocketAddr>,
    /// PEM file of the certificate chain.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file of the private key.
    pub(crate) tls_key: Option<PathBuf>,
    /// Connections at most.
    pub(crate) max_connections: u32,
    /// New connections a second at most; more wait to be accepted.
    pub(crate) connects_per_second: u32,
}

/// This machine only.
pub(super) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            tls_certificate: None,
            tls_key: None,
            public_url: None,
            instance_id: None,
        }
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            listen: loopback(1883),
            tls_listen: None,
            tls_certificate: None,
            tls_key: None,
            max_connections: 100_000,
            connects_per_second: 5_000,
        }
    }
}
