//! The devices that were heard before this bridge began: by an earlier one, in this process or another.
//!
//! A device says its version when it connects to the broker, and then perhaps nothing for long. It does not notice that
//! another bridge took over, so that one has to know of it. The database remembers who connected when; a device
//! whose last session began within the silence is taken over as if it had been heard here then.
//!
//! Never keeps a device longer than its silence, and never replaces what the device itself says meanwhile.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use otaria_core::door::SessionSeq;
use otaria_core::shard::Shard;
use otaria_ports::Unavailable;
use otaria_ports::auth::SeenDevice;
use tracing::{info, warn};

use super::BrokerPorts;

/// Sessions that are begun at once.
const AT_ONCE: usize = 32;
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes over whoever was connected, shard by shard, until all are.
pub(super) async fn run(silence: Duration, ports: BrokerPorts) {
    let since = ports.clock.now() - silence;
    let mut count = 0_usize;
    for shard in Shard::all() {
        let seen = loop {
            match ports.auth.seen_since(shard, since).await {
                Ok(seen) => break seen,
                Err(error) => warn!(%error, "it is not known yet who was at the broker before"),
            }
            tokio::time::sleep(AGAIN).await;
        };
        let begun = stream::iter(seen).map(|seen| take(&ports, seen)).buffer_unordered(AT_ONCE);
        count += begun.filter(|taken| std::future::ready(*taken)).count().await;
    }
    info!(devices = count, "devices that were at the broker before are taken over");
}

/// Whether a session was begun for the device.
async fn take(ports: &BrokerPorts, seen: SeenDevice) -> bool {
    let heard = &ports.pusher.heard;
    loop {
        if heard.session(seen.device).is_some() {
            return false;
        }
        match ports.presence.connect(seen.device).await {
            Ok(connected) => {
                let names = (seen.product_key, seen.name);
                heard.inherit(seen.device, names, SessionSeq(connected.session), seen.at);
                return true;
            }
            Err(Unavailable { .. }) => tokio::time::sleep(AGAIN).await,
        }
    }
}
