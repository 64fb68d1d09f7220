//! The MQTT side of a process: its own gateway; and where a broker holds the devices, the bridge to it beside a
//! gateway that lets in platforms only, for the event feed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo, DeviceName, ProductKey};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_mqtt::{BrokerConfig, BrokerPorts, Gateway, GatewayConfig, NoticePusher, Ports, TlsConfig};
use otaria_ports::Unavailable;
use otaria_ports::auth::{DeviceAuth, DeviceCredential, SeenDevice};
use otaria_ports::clock::Clock;
use otaria_ports::inbox::Inbox;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinSet;

use super::base::{Base, Devices, GatewayBase, Shared};
use super::bridge;
use crate::config::Config;

/// Over so long a gateway that stops lets its devices go, so that the others do not meet all of them at once.
const DRAIN_SPREAD: Duration = Duration::from_secs(4);

/// Listens, but takes nobody in yet.
pub(crate) struct MqttFace {
    gateway: Gateway,
    bridge: Option<(BrokerConfig, BrokerPorts)>,
    shared: Option<Shared>,
}

impl MqttFace {
    /// Binds the listeners, and lets notices come to this process.
    pub(crate) async fn bind(
        config: &Config,
        base: &Base,
        parts: &GatewayBase,
        auth: Arc<dyn DeviceAuth>,
        inbox: Arc<dyn Inbox>,
    ) -> anyhow::Result<Self> {
        let (presence, clock) = (Arc::clone(&base.presence), Arc::clone(&base.clock));
        let feed = Arc::clone(&parts.feed);
        let (ports, bridge) = match &parts.devices {
            Devices::Here(pusher) => {
                (Ports { auth, inbox, presence, clock, pusher: Arc::clone(pusher), feed }, None)
            }
            Devices::AtBroker(pusher, broker) => {
                let at_broker = BrokerPorts {
                    auth: Arc::clone(&auth),
                    inbox: Arc::clone(&inbox),
                    presence: Arc::clone(&presence),
                    clock: Arc::clone(&clock),
                    pusher: Arc::clone(pusher),
                };
                // Nobody pushes by this one: it belongs to a gateway without devices.
                let pusher = NoticePusher::new(Arc::clone(&clock) as Arc<dyn Clock>);
                let auth = Arc::new(PlatformsOnly(auth));
                (Ports { auth, inbox, presence, clock, pusher, feed }, Some((broker.clone(), at_broker)))
            }
        };
        let gateway = Gateway::bind(gateway_config(config)?, ports)
            .with_context(|| format!("MQTT cannot listen on {}", config.mqtt.listen))?;
        if let Some(shared) = &base.shared {
            shared.begin_gateway(parts).await?;
        }
        Ok(Self { gateway, bridge, shared: base.shared.clone() })
    }

    /// Where plain MQTT is served.
    pub(crate) const fn plain_address(&self) -> Option<SocketAddr> {
        self.gateway.plain_address()
    }

    /// Where MQTT over TLS is served.
    pub(crate) const fn tls_address(&self) -> Option<SocketAddr> {
        self.gateway.tls_address()
    }

    /// Serves until stopped.
    pub(crate) fn spawn<S>(self, faces: &mut JoinSet<&'static str>, until: impl Fn() -> S)
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let Self { gateway, bridge, shared } = self;
        let Some((broker, ports)) = bridge else {
            let stop = until();
            faces.spawn(async move {
                gateway.run(stop).await;
                leave(shared).await;
                "the MQTT gateway"
            });
            return;
        };
        let (stop, stop_bridge) = (until(), until());
        faces.spawn(async move {
            gateway.run(stop).await;
            "the MQTT face"
        });
        faces.spawn(async move {
            let lease = shared.as_ref().map(Shared::bridge_lease);
            bridge::run(broker, ports, lease, stop_bridge).await;
            leave(shared).await;
            "the bridge to the broker"
        });
    }
}

async fn leave(shared: Option<Shared>) {
    if let Some(shared) = shared {
        shared.end_gateway().await;
    }
}

/// Knows access keys and no device.
struct PlatformsOnly(Arc<dyn DeviceAuth>);

#[async_trait]
impl DeviceAuth for PlatformsOnly {
    async fn devices(
        &self,
        who: &[(ProductKey, DeviceName)],
    ) -> Result<Vec<Option<DeviceCredential>>, Unavailable> {
        Ok(vec![None; who.len()])
    }

    async fn seen_since(&self, _: Shard, _: Timestamp) -> Result<Vec<SeenDevice>, Unavailable> {
        Ok(Vec::new())
    }

    async fn platform(&self, key: &AccessKeyId, secret: &str) -> Result<Option<AccountNo>, Unavailable> {
        self.0.platform(key, secret).await
    }

    async fn owner(&self, product: &ProductKey) -> Result<Option<AccountNo>, Unavailable> {
        self.0.owner(product).await
    }
}

fn gateway_config(config: &Config) -> anyhow::Result<GatewayConfig> {
    let drain_spread = if config.is_clustered() { DRAIN_SPREAD } else { Duration::ZERO };
    let config = &config.mqtt;
    let tls = match (&config.tls_listen, &config.tls_certificate, &config.tls_key) {
        (Some(listen), Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(|| format!("reading {}", certificate.display()))?;
            let key =
                PrivateKeyDer::from_pem_file(key).with_context(|| format!("reading {}", key.display()))?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let server = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
                .context("setting up TLS for MQTT")?;
            Some(TlsConfig { listen: *listen, server: Arc::new(server) })
        }
        _ => None,
    };
    Ok(GatewayConfig {
        plain: Some(config.listen),
        tls,
        max_connections: config.max_connections,
        connects_per_second: config.connects_per_second,
        drain_spread,
        ..GatewayConfig::default()
    })
}
