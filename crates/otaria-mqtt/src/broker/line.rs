//! The client that publishes: connected, lost, connected anew.
//!
//! Invariant: every connection has a client of its own, so nothing that was handed to one is sent by another.

use rumqttc::{AsyncClient, Event, Outgoing, Packet};
use tokio::sync::mpsc;
use tracing::warn;

use super::BrokerConfig;

/// Messages that wait in the client for the socket: at most 32 MiB, when all are blocks of packages.
const WAITING_MAX: usize = 256;

/// What happens on the line, in its order.
pub(super) enum Turn {
    /// There is a broker.
    Up(AsyncClient),
    /// The message that was handed over first, of those of QoS 1 that were not out yet, is out under this number.
    Out(u16),
    /// The broker has this one.
    Acknowledged(u16),
    /// Whatever was handed over is lost, or cannot be told from lost.
    Down,
}

/// Holds the line until nobody listens to `turns` any more.
pub(super) async fn hold(config: BrokerConfig, turns: mpsc::Sender<Turn>) {
    let mut is_known = false;
    loop {
        let mut options = config.options("down");
        options.set_clean_session(true).set_inflight(config.inflight.max(1));
        let (client, mut events) = AsyncClient::new(options, WAITING_MAX);
        loop {
            let turn = match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => Turn::Up(client.clone()),
                Ok(Event::Incoming(Packet::PubAck(ack))) => Turn::Acknowledged(ack.pkid),
                // Zero is for QoS 0.
                Ok(Event::Outgoing(Outgoing::Publish(pkid))) if pkid != 0 => Turn::Out(pkid),
                Ok(_) => continue,
                Err(error) => {
                    // Said once, not every second.
                    if !is_known {
                        warn!(%error, "the broker is not reached; notices wait and expire");
                    }
                    is_known = true;
                    break;
                }
            };
            is_known &= !matches!(turn, Turn::Up(_));
            if turns.send(turn).await.is_err() {
                return;
            }
        }
        if turns.send(Turn::Down).await.is_err() {
            return;
        }
        tokio::time::sleep(config.retry).await;
    }
}
