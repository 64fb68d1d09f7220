//! What all connections share.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::door::SessionSeq;
use otaria_core::ids::DeviceId;
use otaria_ports::auth::DeviceAuth;
use otaria_ports::clock::Clock;
use otaria_ports::inbox::Inbox;
use otaria_ports::presence::Presence;
use tokio::sync::{Semaphore, watch};
use tracing::warn;

use crate::config::GatewayConfig;
use crate::credentials::Credentials;
use crate::feed::Platforms;
use crate::meters::Meters;
use crate::registry::Registry;

/// How often an end of a session is told before the sweep of the engine has to find it.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Gate {
    pub(crate) config: GatewayConfig,
    pub(crate) meters: Arc<Meters>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) platforms: Platforms,
    pub(crate) credentials: Credentials,
    pub(crate) auth: Arc<dyn DeviceAuth>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) presence: Arc<dyn Presence>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) handshakes: Arc<Semaphore>,
    /// Turns true when the gateway stops.
    pub(crate) closing: watch::Receiver<bool>,
}

impl Gate {
    /// Tells presence that a session is over.
    pub(crate) async fn forget(&self, device: DeviceId, session: SessionSeq) {
        for n in 1..=TRIES {
            match self.presence.disconnect(device, session.0).await {
                Ok(()) => return,
                Err(error) if n == TRIES => {
                    warn!(%error, device.id = device.0, "the end of a session was not recorded");
                }
                Err(_) => tokio::time::sleep(PAUSE * n).await,
            }
        }
    }
}
