//! The socket: who may listen where, and what a peer may hold before it has said anything.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at once at most; further peers wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a peer may take to say its first words.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// The first words: the preface of HTTP/2 has 24 bytes, a TLS greeting more.
const GREETING_BYTES: usize = 24;
/// Rest after an accept that failed for want of descriptors: some connection has to end first.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A certificate chain, leaf first, and its private key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain.
    pub certificates: Vec<u8>,
    /// The key.
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Secrets would cross a network in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not a loopback address: give a certificate and key, or allow plaintext explicitly")]
pub struct Exposed {
    /// Where it was to listen.
    pub address: SocketAddr,
}

/// Whether a face that asks for secrets may listen here.
///
/// # Errors
/// Off loopback without TLS, unless plaintext is allowed.
pub fn check_exposure(address: SocketAddr, tls: bool, allow_plaintext: bool) -> Result<(), Exposed> {
    if tls || allow_plaintext || address.ip().is_loopback() {
        return Ok(());
    }
    Err(Exposed { address })
}

/// Connections as they come in, a bounded number at once.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Io>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    futures_util::stream::unfold((listener, places), |(listener, places)| async move {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small: nothing is gained by waiting for more.
                    let _ = stream.set_nodelay(true);
                    return Some((Ok(Io::new(stream, place)), (listener, places)));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    })
}

/// A connection that holds its place until it ends.
pub(crate) struct Io {
    stream: TcpStream,
    /// Bytes of the greeting still to come, and until when.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
}

impl Io {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        let greeting = Some((GREETING_BYTES, Box::pin(sleep(GREETING_TIMEOUT))));
        Self { stream, greeting, _place: place }
    }
}

impl Connected for Io {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((_, deadline)) = &mut self.greeting
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        match &mut self.greeting {
            Some((missing, _)) if *missing > read => *missing -= read,
            greeting => *greeting = None,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_cross_a_network_in_the_clear_only_if_somebody_says_so() {
        let (inside, outside) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
        assert!(check_exposure(inside, false, false).is_ok());
        assert!(check_exposure("[::1]:1".parse().unwrap(), false, false).is_ok());
        assert_eq!(check_exposure(outside, false, false), Err(Exposed { address: outside }));
        assert!(check_exposure(outside, true, false).is_ok());
        assert!(check_exposure(outside, false, true).is_ok());
    }
}
