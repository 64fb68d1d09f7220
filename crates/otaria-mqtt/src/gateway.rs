//! The gateway as a whole: bound, run, drained.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use otaria_ports::auth::DeviceAuth;
use otaria_ports::clock::Clock;
use otaria_ports::inbox::Inbox;
use otaria_ports::presence::Presence;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::acceptor::{self, ConnectRate};
use crate::config::GatewayConfig;
use crate::credentials::Credentials;
use crate::feed::{EventFeed, Platforms};
use crate::gate::Gate;
use crate::meters::CloseReason;
use crate::pusher::NoticePusher;
use crate::session::TICK;
use crate::settler;
use crate::wire::Farewell;

/// Connections that the kernel holds for a listener until they are accepted.
const BACKLOG: u32 = 4_096;

/// The grain in which connections are ended one by one.
const SPREAD_STEP: Duration = Duration::from_millis(5);

/// What the gateway needs from the rest of the house.
#[derive(Clone)]
pub struct Ports {
    /// Knows devices and access keys.
    pub auth: Arc<dyn DeviceAuth>,
    /// Takes reports and the outcomes of notices.
    pub inbox: Arc<dyn Inbox>,
    /// Is told who comes and goes.
    pub presence: Arc<dyn Presence>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The pusher that this gateway runs. Each belongs to one gateway.
    pub pusher: Arc<NoticePusher>,
    /// The feed that platform clients read.
    pub feed: Arc<EventFeed>,
}

/// A gateway that listens, but does not accept yet.
pub struct Gateway {
    gate: Arc<Gate>,
    pusher: Arc<NoticePusher>,
    closing: watch::Sender<bool>,
    listeners: Vec<(TcpListener, Option<TlsAcceptor>)>,
    plain: Option<SocketAddr>,
    tls: Option<SocketAddr>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("plain", &self.plain).field("tls", &self.tls).finish_non_exhaustive()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Gateway {
    /// Binds the listeners. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn bind(config: GatewayConfig, ports: Ports) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut plain = None;
        if let Some(address) = config.plain {
            let listener = listen(address)?;
            plain = Some(listener.local_addr()?);
            listeners.push((listener, None));
        }
        let mut tls = None;
        if let Some(with) = &config.tls {
            let listener = listen(with.listen)?;
            tls = Some(listener.local_addr()?);
            listeners.push((listener, Some(TlsAcceptor::from(Arc::clone(&with.server)))));
        }
        let semaphore = |count: u32| Arc::new(Semaphore::new(count as usize));
        let (closing, closed) = watch::channel(false);
        let gate = Gate {
            meters: Arc::clone(&ports.pusher.meters),
            registry: Arc::clone(&ports.pusher.registry),
            platforms: Platforms::new(&ports.feed, config.max_platform_clients),
            credentials: Credentials::start(Arc::clone(&ports.auth)),
            auth: ports.auth,
            inbox: ports.inbox,
            presence: ports.presence,
            clock: ports.clock,
            connections: semaphore(config.max_connections),
            strangers: semaphore(config.max_strangers),
            handshakes: semaphore(config.max_handshakes),
            closing: closed,
            config,
        };
        Ok(Self { gate: Arc::new(gate), pusher: ports.pusher, closing, listeners, plain, tls })
    }

    /// Where plain MQTT is served.
    #[must_use]
    pub const fn plain_address(&self) -> Option<SocketAddr> {
        self.plain
    }

    /// Where MQTT over TLS is served.
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Serves until `stop`, then takes nobody in any more, closes all connections, settles what is left and
    /// returns, after [`GatewayConfig::drain_spread`] and [`GatewayConfig::drain_timeout`] at the latest.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let Self { gate, pusher, closing, listeners, plain, tls } = self;
        info!(?plain, ?tls, "the device gateway listens");
        let (outcomes, settled) = mpsc::unbounded_channel();
        let pushing = tokio::spawn(pusher.run(outcomes, closing.subscribe()));
        let settling = tokio::spawn(settler::run(settled, Arc::clone(&gate.inbox)));

        let rate = Arc::new(ConnectRate::per_second(gate.config.connects_per_second));
        let mut acceptors = JoinSet::new();
        for (listener, tls) in listeners {
            acceptors.spawn(acceptor::run(Arc::clone(&gate), listener, tls, Arc::clone(&rate)));
        }
        let mut timekeeper = JoinSet::new();
        timekeeper.spawn(keep_time(Arc::clone(&gate)));
        stop.await;

        acceptors.shutdown().await;
        close_one_by_one(&gate).await;
        timekeeper.shutdown().await;
        // Somebody always hears it: the gate holds a receiver.
        let _ = closing.send(true);
        let drain = async {
            // Unsettled notices fall due by themselves, so a panic in there loses nothing.
            let _ = pushing.await;
            close_all(&gate).await;
            let _ = settling.await;
        };
        if tokio::time::timeout(gate.config.drain_timeout, drain).await.is_err() {
            warn!("the device gateway stops before all its connections have ended");
        }
    }
}

/// Moves the keep-alive clock.
async fn keep_time(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        gate.registry.pass_tick();
        gate.platforms.pass_tick(gate.registry.tick());
    }
}

/// Closes the devices that are here now, evenly over the span of the configuration.
async fn close_one_by_one(gate: &Gate) {
    let (sessions, span) = (gate.registry.shuffled(), gate.config.drain_spread);
    // As many steps as there is somebody for, and as a timer can tell apart.
    let steps = span.as_millis() / SPREAD_STEP.as_millis();
    let steps =
        u32::try_from(steps).unwrap_or(u32::MAX).min(u32::try_from(sessions.len()).unwrap_or(u32::MAX));
    if steps == 0 {
        return;
    }
    info!(
        sessions = sessions.len(),
        seconds = span.as_secs_f64(),
        "the device gateway sends its devices away"
    );
    // Ticks that are missed are made up for, so this takes as long as it should.
    let mut ticks = tokio::time::interval(span / steps);
    for share in sessions.chunks(sessions.len().div_ceil(steps as usize)) {
        ticks.tick().await;
        for session in share {
            session.peer.close(CloseReason::Shutdown, Farewell::ShuttingDown);
        }
    }
}

/// Closes until nobody is left: a peer may still be on its way in.
async fn close_all(gate: &Gate) {
    loop {
        gate.registry.close_all();
        gate.platforms.close_all();
        let all = gate.connections.acquire_many(gate.config.max_connections);
        if tokio::time::timeout(TICK, all).await.is_ok() {
            return;
        }
    }
}
