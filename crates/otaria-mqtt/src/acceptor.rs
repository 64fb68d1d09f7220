//! Takes connections in, no faster than wanted and no more than there is room for.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::device;
use crate::feed;
use crate::gate::Gate;
use crate::login::{self, Guest};
use crate::meters::ConnectResult;

/// After a failed accept, as when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);

/// How fast connections are taken in, by all listeners together.
pub(crate) struct ConnectRate {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl ConnectRate {
    pub(crate) fn per_second(count: u32) -> Self {
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self { limiter: RateLimiter::direct(Quota::per_second(count)), clock: DefaultClock::default() }
    }

    async fn wait(&self) {
        while let Err(early) = self.limiter.check() {
            tokio::time::sleep(early.wait_time_from(self.clock.now()).max(Duration::from_millis(1))).await;
        }
    }
}

/// Accepts for ever.
pub(crate) async fn run(
    gate: Arc<Gate>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    rate: Arc<ConnectRate>,
) {
    let mut is_stuck = false;
    loop {
        rate.wait().await;
        match listener.accept().await {
            Ok((tcp, _)) => {
                is_stuck = false;
                take(&gate, tcp, tls.clone());
            }
            Err(error) if is_about_one_peer(&error) => {}
            Err(error) => {
                // Said once, not twenty times a second.
                if !is_stuck {
                    warn!(%error, "connections cannot be accepted");
                }
                is_stuck = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_about_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn take(gate: &Arc<Gate>, tcp: TcpStream, tls: Option<TlsAcceptor>) {
    let connection = Arc::clone(&gate.connections).try_acquire_owned();
    let stranger = Arc::clone(&gate.strangers).try_acquire_owned();
    let (Ok(connection), Ok(stranger)) = (connection, stranger) else {
        gate.meters.connects.count(ConnectResult::Full);
        return;
    };
    let socket = SockRef::from(&tcp);
    // Both make things better, neither is needed.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(gate.config.send_buffer_bytes as usize);
    tokio::spawn(attend(Arc::clone(gate), tcp, tls, connection, stranger));
}

/// A connection's whole life. What is large and rare is boxed, so that an idle device's task stays small.
async fn attend(
    gate: Arc<Gate>,
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    connection: OwnedSemaphorePermit,
    stranger: OwnedSemaphorePermit,
) {
    gate.meters.connections.increment(1);
    match Box::pin(login::receive(&gate, tcp, tls, stranger)).await {
        Some((Guest::Device(session), intake)) => {
            let seen = device::serve(&gate, &session, intake).await;
            gate.meters.closes.count(session.peer.close_reason(seen));
            Box::pin(device::leave(&gate, &session)).await;
        }
        Some((Guest::Platform(peer, identity), intake)) => {
            let seen = Box::pin(feed::serve(&gate, &peer, identity, intake)).await;
            peer.link.close();
            gate.meters.closes.count(peer.close_reason(seen));
        }
        None => {}
    }
    gate.meters.connections.decrement(1);
    drop(connection);
}
