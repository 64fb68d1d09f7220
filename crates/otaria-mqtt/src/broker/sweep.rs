//! Takes devices that were silent for too long out of everybody's sight.

use std::time::Duration;

use otaria_core::door::SessionSeq;
use otaria_core::ids::DeviceId;
use otaria_core::time::Timestamp;
use tracing::warn;

use super::BrokerPorts;

const PAUSE: Duration = Duration::from_secs(1);

/// Sweeps for ever.
pub(super) async fn run(silence: Duration, ports: BrokerPorts) {
    let mut ticks = tokio::time::interval(PAUSE);
    loop {
        ticks.tick().await;
        let silent = ports.pusher.heard.leave_since(ports.clock.now() - silence);
        tell(&ports, silent).await;
        let closed = ports.pusher.take_closed();
        tell(&ports, closed).await;
    }
}

/// Forgets everybody.
pub(super) async fn forget_all(ports: &BrokerPorts) {
    let all = ports.pusher.heard.leave_since(Timestamp::from_millis(i64::MAX));
    tell(ports, all).await;
    let closed = ports.pusher.take_closed();
    tell(ports, closed).await;
}

async fn tell(ports: &BrokerPorts, gone: Vec<(DeviceId, SessionSeq)>) {
    for (device, session) in gone {
        if let Err(error) = ports.presence.disconnect(device, session.0).await {
            // The engine's own sweep finds it.
            warn!(%error, device.id = device.0, "the end of a session was not recorded");
        }
    }
}
