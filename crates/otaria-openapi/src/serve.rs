//! The server: accepts, bounds what a peer may hold, and ends in time.
//!
//! What one connection costs is bounded: a head of at most [`Limits::head_bytes`] is read within
//! [`Limits::head_timeout`], which is also how long an idle connection lives; one piece of a file waits to be
//! written, and a peer that takes nothing for [`Limits::write_stall`] is cut. Above
//! [`Limits::connections`], new peers wait in the kernel's queue.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::face::HttpFace;
use crate::meters::{self, OpenConnection};
use crate::patient::Patient;
use crate::tls::Tls;

/// Rest after an accept that failed for want of descriptors: some connection has to end first.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What peers may hold, and how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Bytes of a request's head; at least 8192. SDKs put all parameters of a call into it: ten tags alone may
    /// take 36 KiB, and no address is longer than 64 KiB. Also how much of an answer may wait before the next piece
    /// of a file is read.
    pub head_bytes: usize,
    /// Until a request's head is there, counted from the connection's begin or the last answer.
    pub head_timeout: Duration,
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a peer may take nothing of an answer.
    pub write_stall: Duration,
    /// For answers under way when the server is told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            head_bytes: 72 * 1024,
            head_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose answers were still under way when [`Limits::drain`] was over.
    pub cut: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Answers are ended, no request is begun.
    Draining,
    Cut,
}

/// Serves until `shutdown` is done, then ends the answers under way within [`Limits::drain`].
///
/// Dropping it closes the listener and cuts every connection.
pub async fn serve(
    listener: TcpListener,
    face: HttpFace,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> Drained {
    meters::describe();
    let limits = Arc::new(limits);
    let places = Arc::new(Semaphore::new(limits.connections));
    let (phase, phases) = watch::channel(Phase::Open);

    let mut shutdown = pin!(shutdown);
    loop {
        let (socket, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let connection =
            Connection { face: face.clone(), limits: limits.clone(), phases: phases.clone(), _place: place };
        let tls = tls.clone();
        tokio::spawn(connection.run(socket, tls));
    }
    drop(listener);

    phase.send_replace(Phase::Draining);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let drained = timeout(limits.drain, places.acquire_many(all)).await.is_ok();
    let cut = if drained { 0 } else { limits.connections - places.available_permits() };
    phase.send_replace(Phase::Cut);
    Drained { cut }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.expect("an open semaphore");
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return (socket, place),
            Err(error) if belongs_to_one_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept HTTP connections");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn belongs_to_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    face: HttpFace,
    limits: Arc<Limits>,
    phases: watch::Receiver<Phase>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(mut self, socket: TcpStream, tls: Option<Tls>) {
        let _open = OpenConnection::count();
        // A socket that is broken already shows it at the first read.
        let _ = socket.set_nodelay(true);
        let socket = Patient::new(socket, self.limits.write_stall);
        let Some(Tls(acceptor)) = tls else { return self.talk(socket).await };

        let shaken = tokio::select! {
            shaken = timeout(self.limits.handshake_timeout, acceptor.accept(socket)) => shaken,
            _ = self.phases.changed() => return,
        };
        match shaken {
            Ok(Ok(socket)) => self.talk(socket).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn talk(mut self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let face = self.face;
        let service = service_fn(move |request| {
            let face = face.clone();
            async move { Ok::<_, std::convert::Infallible>(face.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(self.limits.head_bytes)
            .title_case_headers(true)
            .half_close(true)
            .serve_connection(TokioIo::new(socket), service);

        let mut connection = pin!(connection);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an HTTP connection ended early");
                    }
                    return;
                }
                moved = self.phases.changed() => {
                    if moved.is_err() || *self.phases.borrow() == Phase::Cut {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
