//! One peer's socket, plain or TLS, written from anywhere and read by its own task.
//!
//! Writing never waits: what the kernel does not take at once is kept, up to a limit, and a task that
//! lives only as long as something is kept brings it out. Reading needs no buffer of its own. So an idle
//! link costs its socket and two empty vectors.
//!
//! Invariant: bytes leave in the order in which `send` was called, and a link whose peer does not read
//! fails instead of growing.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

/// A peer that takes nothing for so long, while something waits for it, is given up.
const STALL: Duration = Duration::from_secs(30);

/// Why nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// More waits than is allowed.
    Overrun,
    /// The socket is broken or closed.
    Broken,
}

/// Whether something was sent right away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfIdle {
    Sent,
    /// Something else still waits; nothing was done.
    Congested,
}

pub(crate) struct Link {
    tcp: TcpStream,
    channel: Mutex<Channel>,
    max_pending: usize,
    bytes_in: Counter,
    bytes_out: Counter,
}

struct Channel {
    /// What the kernel did not take yet, as it goes on the wire.
    pending: Vec<u8>,
    /// Whether a task brings out `pending`.
    flushing: bool,
    closed: bool,
    tls: Option<Box<ServerConnection>>,
}

/// Lets rustls use a non-blocking socket.
struct Unblocked<'a>(&'a TcpStream);

impl Read for Unblocked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Link {
    pub(crate) fn new(
        tcp: TcpStream,
        tls: Option<ServerConnection>,
        max_pending: usize,
        bytes: (Counter, Counter),
    ) -> Arc<Self> {
        let (bytes_in, bytes_out) = bytes;
        let channel = Channel { pending: Vec::new(), flushing: false, closed: false, tls: tls.map(Box::new) };
        Arc::new(Self { tcp, channel: Mutex::new(channel), max_pending, bytes_in, bytes_out })
    }

    /// Waits until a read may bring something.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.tcp.readable().await
    }

    /// Reads what is there; 0 at the end, `WouldBlock` when nothing is there.
    pub(crate) fn try_read(self: &Arc<Self>, into: &mut [u8]) -> io::Result<usize> {
        let mut channel = self.channel.lock();
        let read = match &mut channel.tls {
            None => {
                drop(channel);
                self.tcp.try_read(into)
            }
            Some(tls) => {
                let read = read_tls(tls, &self.tcp, into);
                // Alerts, key updates and session tickets are sent as they come up.
                let _ = self.push_sealed(&mut channel);
                read
            }
        };
        if let Ok(count) = read {
            self.bytes_in.increment(count as u64);
        }
        read
    }

    /// Sends bytes, now or when the peer has read what waits before them.
    pub(crate) fn send(self: &Arc<Self>, bytes: &[u8]) -> Result<(), SendError> {
        self.write(&mut self.channel.lock(), bytes, self.max_pending)
    }

    /// Sends bytes if nothing waits before them. However many they are: what is sent like this is ours, one
    /// notice or one block of a package, and nothing else gets behind it before it is gone.
    pub(crate) fn send_if_idle(self: &Arc<Self>, bytes: &[u8]) -> Result<IfIdle, SendError> {
        let mut channel = self.channel.lock();
        if !channel.pending.is_empty() {
            return Ok(IfIdle::Congested);
        }
        self.write(&mut channel, bytes, usize::MAX).map(|()| IfIdle::Sent)
    }

    /// Whether nothing waits for the peer.
    pub(crate) fn is_drained(&self) -> bool {
        self.channel.lock().pending.is_empty()
    }

    /// Waits until nothing waits for the peer.
    pub(crate) async fn drained(&self) {
        // A broken socket is found by whoever reads it.
        while !self.is_drained() && self.tcp.writable().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// The same, calling `waiting` after each `span` of it.
    pub(crate) async fn drained_patiently(&self, span: Duration, waiting: impl Fn()) {
        while tokio::time::timeout(span, self.drained()).await.is_err() {
            waiting();
        }
    }

    fn write(
        self: &Arc<Self>,
        channel: &mut Channel,
        bytes: &[u8],
        max_pending: usize,
    ) -> Result<(), SendError> {
        if let Some(tls) = &mut channel.tls {
            let mut sealed = Vec::new();
            let mut rest = bytes;
            while !rest.is_empty() {
                // Takes as much as its own buffer holds, which is less than a block of a package.
                let taken = tls.writer().write(rest).map_err(|_| SendError::Broken)?;
                seal(tls, &mut sealed)?;
                if taken == 0 {
                    return Err(SendError::Broken);
                }
                rest = &rest[taken..];
            }
            return self.push(channel, &sealed, max_pending);
        }
        self.push(channel, bytes, max_pending)
    }

    /// Sends what TLS itself has to say.
    fn push_sealed(self: &Arc<Self>, channel: &mut Channel) -> Result<(), SendError> {
        let Some(tls) = &mut channel.tls else { return Ok(()) };
        let mut sealed = Vec::new();
        seal(tls, &mut sealed)?;
        if sealed.is_empty() { Ok(()) } else { self.push(channel, &sealed, self.max_pending) }
    }

    fn push(
        self: &Arc<Self>,
        channel: &mut Channel,
        mut bytes: &[u8],
        max_pending: usize,
    ) -> Result<(), SendError> {
        if channel.closed {
            return Err(SendError::Broken);
        }
        if channel.pending.is_empty() {
            let taken = write_now(&self.tcp, bytes).map_err(|_| SendError::Broken)?;
            self.bytes_out.increment(taken as u64);
            bytes = &bytes[taken..];
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if channel.pending.len() + bytes.len() > max_pending {
            self.shut(channel);
            return Err(SendError::Overrun);
        }
        channel.pending.extend_from_slice(bytes);
        if !channel.flushing {
            channel.flushing = true;
            tokio::spawn(Arc::clone(self).flush());
        }
        Ok(())
    }

    /// Brings out what waits, then ends.
    async fn flush(self: Arc<Self>) {
        loop {
            let ready = tokio::time::timeout(STALL, self.tcp.writable()).await;
            let mut channel = self.channel.lock();
            let taken = match ready {
                Ok(Ok(())) if !channel.closed => write_now(&self.tcp, &channel.pending),
                _ => Err(io::ErrorKind::TimedOut.into()),
            };
            match taken {
                Ok(taken) => {
                    self.bytes_out.increment(taken as u64);
                    channel.pending.drain(..taken);
                    if channel.pending.is_empty() {
                        channel.pending = Vec::new();
                        channel.flushing = false;
                        return;
                    }
                }
                Err(_) => {
                    self.shut(&mut channel);
                    channel.flushing = false;
                    return;
                }
            }
        }
    }

    /// Ends the connection: the task that reads sees the end.
    pub(crate) fn close(&self) {
        self.shut(&mut self.channel.lock());
    }

    fn shut(&self, channel: &mut Channel) {
        channel.closed = true;
        channel.pending = Vec::new();
        // Fails only when the peer was faster.
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
    }

    /// Says the last words and waits a little for the peer to hear them: closing at once while something
    /// unread is in the socket would make the kernel throw them away.
    pub(crate) async fn close_after(self: &Arc<Self>, last_words: &[u8], patience: Duration) {
        if self.send(last_words).is_ok() {
            if let Some(tls) = &mut self.channel.lock().tls {
                tls.send_close_notify();
            }
            let _ = self.push_sealed(&mut self.channel.lock());
            let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
            let _ = tokio::time::timeout(patience, self.drain()).await;
        }
        self.close();
    }

    async fn drain(&self) {
        let mut waste = [0; 256];
        while self.tcp.readable().await.is_ok() {
            match self.tcp.try_read(&mut waste) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

/// Writes as much as the kernel takes.
fn write_now(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match tcp.try_write(&bytes[taken..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Takes what TLS has ready for the wire.
fn seal(tls: &mut ServerConnection, into: &mut Vec<u8>) -> Result<(), SendError> {
    while tls.wants_write() {
        tls.write_tls(into).map_err(|_| SendError::Broken)?;
    }
    Ok(())
}

fn read_tls(tls: &mut ServerConnection, tcp: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        if tls.read_tls(&mut Unblocked(tcp))? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
}
