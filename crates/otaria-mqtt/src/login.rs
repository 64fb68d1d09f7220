//! From a fresh socket to a known peer, or to a refusal.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::door::connect::is_platform;
use otaria_core::door::{BadConnect, ConnectClaim, SessionSeq, Subscriptions};
use otaria_core::ids::{AccessKeyId, AccountNo};
use otaria_ports::auth::DeviceCredential;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;

use crate::gate::Gate;
use crate::intake::{Intake, ReadSome};
use crate::link::Link;
use crate::meters::ConnectResult;
use crate::registry::Before;
use crate::session::{Peer, Session};
use crate::wire::{self, ConnectAnswer, Hello, Wire};

/// How long a refused peer may take to read its refusal.
const REFUSAL: Duration = Duration::from_millis(500);

/// Who came in.
pub(crate) enum Guest {
    Device(Arc<Session>),
    Platform(Arc<Peer>, PlatformIdentity),
}

/// A platform client that proved to be one.
pub(crate) struct PlatformIdentity {
    pub(crate) account: AccountNo,
    pub(crate) client_id: String,
}

/// Why nobody came in.
enum Refusal {
    /// Without a word.
    Silent(ConnectResult),
    /// With a CONNACK.
    Answered(Wire, ConnectAnswer),
}

impl From<ConnectResult> for Refusal {
    fn from(result: ConnectResult) -> Self {
        Self::Silent(result)
    }
}

/// Lets a peer in, or refuses it; what it sent beyond its CONNECT is in the intake.
pub(crate) async fn receive(
    gate: &Gate,
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    stranger: OwnedSemaphorePermit,
) -> Option<(Guest, Intake)> {
    let timeout = gate.config.connect_timeout;
    let mut closing = gate.closing.clone();
    let greeting = tokio::select! {
        greeting = greet(gate, tcp, tls) => greeting,
        () = tokio::time::sleep(timeout) => Err(ConnectResult::Timeout),
        _ = closing.wait_for(|closing| *closing) => Err(ConnectResult::Gone),
    };
    let (link, intake, hello) = match greeting {
        Ok(greeting) => greeting,
        Err(result) => {
            gate.meters.connects.count(result);
            return None;
        }
    };
    let admitted = match hello {
        Ok(hello) => admit(gate, &link, hello).await,
        Err(answer) => Err(Refusal::Answered(Wire::V4, answer)),
    };
    drop(stranger);
    match admitted {
        Ok(guest) => {
            gate.meters.connects.count(match guest {
                Guest::Device(_) => ConnectResult::Device,
                Guest::Platform(..) => ConnectResult::Platform,
            });
            Some((guest, intake))
        }
        Err(Refusal::Silent(result)) => {
            gate.meters.connects.count(result);
            link.close();
            None
        }
        Err(Refusal::Answered(wire, answer)) => {
            gate.meters.connects.count(result_of(answer));
            link.close_after(&wire.connack(answer), REFUSAL).await;
            None
        }
    }
}

const fn result_of(answer: ConnectAnswer) -> ConnectResult {
    match answer {
        ConnectAnswer::Accepted { .. } => ConnectResult::Device,
        ConnectAnswer::BadProtocol => ConnectResult::BadProtocol,
        ConnectAnswer::BadClientId => ConnectResult::BadClientId,
        ConnectAnswer::Unavailable => ConnectResult::Unavailable,
        ConnectAnswer::BadUserOrPassword => ConnectResult::BadUserOrPassword,
        ConnectAnswer::NotAuthorized => ConnectResult::NotAuthorized,
    }
}

type Greeting = (Arc<Link>, Intake, Result<Hello, ConnectAnswer>);

/// Waits for a whole CONNECT.
async fn greet(gate: &Gate, tcp: TcpStream, tls: Option<TlsAcceptor>) -> Result<Greeting, ConnectResult> {
    let (tcp, tls) = match tls {
        Some(acceptor) => shake_hands(gate, tcp, acceptor).await?,
        None => (tcp, None),
    };
    let bytes = (gate.meters.bytes_in.clone(), gate.meters.bytes_out.clone());
    let link = Link::new(tcp, tls, gate.config.max_pending_bytes, bytes);
    let mut intake = Intake::default();
    loop {
        // A stranger of another trade is sent away at its first byte.
        if !wire::may_be_hello(intake.peek()) {
            return Err(ConnectResult::Malformed);
        }
        if let Some(packet) =
            intake.next(gate.config.max_connect_bytes).map_err(|_| ConnectResult::Malformed)?
        {
            let hello = wire::hello(packet).map_err(|_| ConnectResult::Malformed)?;
            return Ok((link, intake, hello));
        }
        match intake.read(&link) {
            Ok(ReadSome::Some) => {}
            Ok(ReadSome::Nothing) => link.readable().await.map_err(|_| ConnectResult::Gone)?,
            Ok(ReadSome::End) | Err(_) => return Err(ConnectResult::Gone),
        }
    }
}

async fn shake_hands(
    gate: &Gate,
    tcp: TcpStream,
    acceptor: TlsAcceptor,
) -> Result<(TcpStream, Option<ServerConnection>), ConnectResult> {
    // Whoever says nothing does not take a handshake's place.
    tcp.readable().await.map_err(|_| ConnectResult::Gone)?;
    let permit = gate.handshakes.acquire().await.map_err(|_| ConnectResult::Gone)?;
    let stream = acceptor.accept(tcp).await.map_err(|_| ConnectResult::Tls)?;
    drop(permit);
    let (tcp, tls) = stream.into_inner();
    Ok((tcp, Some(tls)))
}

async fn admit(gate: &Gate, link: &Arc<Link>, hello: Hello) -> Result<Guest, Refusal> {
    let wire = hello.wire;
    let refuse = |answer| Refusal::Answered(wire, answer);
    let no_password = || refuse(ConnectAnswer::BadUserOrPassword);
    let user_name = hello.user_name.as_deref().ok_or_else(no_password)?;
    let password = hello.password.as_deref().ok_or_else(no_password)?;

    if is_platform(user_name) {
        let account = admit_platform(gate, user_name, password).await.map_err(refuse)?;
        let peer = Arc::new(peer(gate, link, &hello));
        welcome(gate, &peer, hello.keep_alive)?;
        return Ok(Guest::Platform(peer, PlatformIdentity { account, client_id: hello.client_id }));
    }
    let claim = ConnectClaim::parse(&hello.client_id, user_name).map_err(|bad| {
        refuse(match bad {
            BadConnect::ClientId(_) => ConnectAnswer::BadClientId,
            BadConnect::UserName => ConnectAnswer::BadUserOrPassword,
            BadConnect::Registration => ConnectAnswer::NotAuthorized,
        })
    })?;
    let before = gate.registry.before();
    let credential = prove(gate, &claim, password).await.map_err(refuse)?;
    let peer = peer(gate, link, &hello);
    begin_session(gate, claim, (&credential, before), peer, hello.keep_alive).await.map(Guest::Device)
}

fn peer(gate: &Gate, link: &Arc<Link>, hello: &Hello) -> Peer {
    let max = gate.config.max_keep_alive;
    Peer::new(Arc::clone(link), hello.wire, hello.keep_alive, max, gate.registry.tick())
}

async fn prove(
    gate: &Gate,
    claim: &ConnectClaim,
    password: &[u8],
) -> Result<DeviceCredential, ConnectAnswer> {
    let names = (claim.product_key.clone(), claim.device_name.clone());
    let found = gate.credentials.of(names).await.map_err(|_| ConnectAnswer::Unavailable)?;
    // An unknown device takes as long as a wrong password.
    let secret = found.as_ref().map_or("", |credential| credential.secret.as_str());
    let proven = claim.verify(secret.as_bytes(), password);
    found.filter(|credential| proven && credential.enabled).ok_or(ConnectAnswer::NotAuthorized)
}

async fn admit_platform(gate: &Gate, user_name: &str, password: &[u8]) -> Result<AccountNo, ConnectAnswer> {
    let key = AccessKeyId::parse(user_name).map_err(|_| ConnectAnswer::BadUserOrPassword)?;
    let secret = std::str::from_utf8(password).map_err(|_| ConnectAnswer::BadUserOrPassword)?;
    let account = gate.auth.platform(&key, secret).await.map_err(|_| ConnectAnswer::Unavailable)?;
    account.ok_or(ConnectAnswer::NotAuthorized)
}

/// Numbers the session, greets the device and puts the session where notices find it, in this order.
async fn begin_session(
    gate: &Gate,
    claim: ConnectClaim,
    (credential, before): (&DeviceCredential, Before),
    peer: Peer,
    keep_alive: u16,
) -> Result<Arc<Session>, Refusal> {
    let device = credential.device;
    let wire = peer.wire;
    let arriving = gate.registry.arriving(device);
    let connected = gate.presence.connect(device).await;
    let seq = match connected {
        Ok(connected) => SessionSeq(connected.session),
        Err(_) => return Err(Refusal::Answered(wire, ConnectAnswer::Unavailable)),
    };
    let subscriptions =
        if claim.server_subscribes { Subscriptions::automatic() } else { Subscriptions::default() };
    let names = (claim.product_key, claim.device_name);
    let session = Arc::new(Session::new(device, seq, peer, names, subscriptions));
    let entered = welcome(gate, &session.peer, keep_alive).is_ok() && gate.registry.enter(&session, before);
    drop(arriving);
    if entered {
        return Ok(session);
    }
    gate.forget(device, seq).await;
    Err(Refusal::Silent(ConnectResult::Gone))
}

/// CONNACK.
fn welcome(gate: &Gate, peer: &Peer, keep_alive: u16) -> Result<(), Refusal> {
    let max = u16::try_from(gate.config.max_keep_alive.as_secs()).unwrap_or(u16::MAX);
    let lowered = (keep_alive == 0 || keep_alive > max).then_some(max);
    let connack = peer.wire.connack(ConnectAnswer::Accepted { keep_alive: lowered });
    peer.link.send(&connack).map_err(|_| Refusal::Silent(ConnectResult::Gone))
}
