//! Devices that are connected to somebody else's MQTT broker.
//!
//! Two clients of that broker take the place of the gateway's sockets: one reads what devices say, the other
//! publishes notices and answers. To the engine this looks like a gateway. What it promises is less, because
//! a broker stands in between:
//!
//! - *Who is there.* A broker does not say. A device counts as connected from its first word on until it was
//!   silent for [`BrokerConfig::silence`]; a version that it informs begins a new session. So a device has to
//!   inform its version whenever it connects, as the devices' own documents want it. A bridge that takes over from
//!   another one knows who began a session within that time, whatever they say then.
//! - *Written* means that the broker has acknowledged a notice, not that a device was there to take it. All
//!   fences are asked right before the notice is handed over; what the broker holds for an absent device, it
//!   may deliver later, even after a cancellation.
//! - *Who may speak.* The broker's access rules alone keep a device on its own topics; what arrives on a
//!   device's topic is taken as its word. A device that is shut out here has to be shut out there as well.
//! - One process at a time: two would tell each other's sessions apart no better than the broker does.
//!
//! A report is acknowledged to the broker once it is durable, under a session that outlives the connection, so
//! the broker keeps what was said meanwhile, as long as it keeps anything.
//!
//! Never learns passwords and never sees a device's socket.
//!
//! Invariant: a notice that is handed to the broker's client is neither repeated by it nor kept over a
//! reconnect.

use std::sync::Arc;
use std::time::Duration;

use otaria_ports::auth::DeviceAuth;
use otaria_ports::clock::Clock;
use otaria_ports::inbox::Inbox;
use otaria_ports::presence::Presence;
use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::credentials::Credentials;
use crate::settler;

mod heard;
mod inherit;
mod line;
mod pusher;
mod sweep;
mod words;

pub use pusher::BrokerPusher;

/// The longest packet either way: a block of a package with its frame.
const PACKET_BYTES_MAX: usize = 160 << 10;

/// Where the broker is, and how its devices are looked at.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Host name or address.
    pub host: String,
    /// 1883 or 8883, as a rule.
    pub port: u16,
    /// With TLS: what to trust.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// User name and password; the broker has to let this user read and write the topics of all devices.
    pub user: Option<(String, String)>,
    /// The name of this client; `-up` and `-down` are appended. The same after a restart: the broker keeps
    /// what devices said meanwhile under it.
    pub client_id: String,
    /// How long a device may be silent and still counts as connected.
    pub silence: Duration,
    /// Notices that the broker may leave unacknowledged. Not more than it allows a client.
    pub inflight: u16,
    /// From one try to reach the broker to the next.
    pub retry: Duration,
}

impl BrokerConfig {
    /// A broker at this place; half an hour of silence, 100 notices unacknowledged.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            user: None,
            client_id: "otaria".into(),
            silence: Duration::from_secs(30 * 60),
            inflight: 100,
            retry: Duration::from_secs(1),
        }
    }

    fn options(&self, side: &str) -> MqttOptions {
        let name = format!("{}-{side}", self.client_id);
        let mut options = MqttOptions::new(name, self.host.clone(), self.port);
        options
            .set_keep_alive(Duration::from_secs(30))
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        if let Some((name, password)) = &self.user {
            options.set_credentials(name, password);
        }
        if let Some(tls) = &self.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(tls))));
        }
        options
    }
}

/// What the bridge needs from the rest of the house.
#[derive(Clone)]
pub struct BrokerPorts {
    /// Knows devices.
    pub auth: Arc<dyn DeviceAuth>,
    /// Takes reports and the outcomes of notices.
    pub inbox: Arc<dyn Inbox>,
    /// Is told who was heard, and who was silent for too long.
    pub presence: Arc<dyn Presence>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The pusher that this bridge runs. Each belongs to one bridge.
    pub pusher: Arc<BrokerPusher>,
}

/// Serves the devices of a broker until `stop`, connecting again whenever the broker was away; then forgets
/// them all and returns.
pub async fn serve_broker(config: BrokerConfig, ports: BrokerPorts, stop: impl Future<Output = ()> + Send) {
    info!(host = config.host, port = config.port, "devices are served through a broker");
    let (stopping, stopped) = watch::channel(false);
    let (outcomes, settled) = mpsc::unbounded_channel();
    let pushing = tokio::spawn(Arc::clone(&ports.pusher).run(config.clone(), outcomes, stopped.clone()));
    let settling = tokio::spawn(settler::run(settled, Arc::clone(&ports.inbox)));
    let mut others = JoinSet::new();
    let ears = words::Ears { credentials: Credentials::start(Arc::clone(&ports.auth)), ports: ports.clone() };
    others.spawn(words::run(config.clone(), ears));
    others.spawn(sweep::run(config.silence, ports.clone()));
    others.spawn(inherit::run(config.silence, ports.clone()));
    stop.await;

    // Who is not listened to any more is not to be written to either, but what was written is still settled.
    others.shutdown().await;
    sweep::forget_all(&ports).await;
    // Somebody always hears it: a receiver is held here.
    let _ = stopping.send(true);
    let _ = pushing.await;
    let _ = settling.await;
}
