//! A device's connection, once it is accepted: one future without buffers while nothing happens, so that many
//! thousands of them fit into one process.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::v4::{Packet, PubAck, SubscribeReasonCode};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::device::{Device, KEEP_ALIVE, closed};
use super::link::Link;

/// Largest packet that a device takes, in bytes.
pub(super) const PACKET_MAX: usize = 64 << 10;

/// Bytes read at a time: a notice is a few hundred.
const READ_BYTES: usize = 2 << 10;

pub(super) struct Session<'device> {
    device: &'device mut Device,
    link: Link,
    /// What arrived and is no whole packet yet.
    inbox: BytesMut,
    /// What waits to be written.
    outbox: BytesMut,
    unflushed: bool,
    next_ping: Pin<Box<Sleep>>,
}

impl<'device> Session<'device> {
    pub(super) fn new(device: &'device mut Device, link: Link) -> Self {
        // The first ping anywhere in the interval: a fleet that connected together does not ping together.
        let first = Duration::from_millis(1_000 + device.draw(u64::from(KEEP_ALIVE) * 500));
        let next_ping = Box::pin(sleep(first));
        let (inbox, outbox) = (BytesMut::new(), BytesMut::new());
        Self { device, link, inbox, outbox, unflushed: false, next_ping }
    }

    /// Stays connected as long as the server lets it; returns why it ended.
    pub(super) async fn run(mut self) -> io::Error {
        for packet in self.device.greeting() {
            self.post(&packet);
        }
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            self.poll_work(context);
            self.poll_ping(context);
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(error);
            }
            match ready!(self.poll_read(context)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(error),
            }
        }
    }

    fn poll_work(&mut self, context: &mut Context<'_>) {
        while let Some(work) = &mut self.device.work {
            match work.as_mut().poll_next(context) {
                Poll::Ready(Some(say)) => {
                    let packet = self.device.packet(say);
                    self.post(&packet);
                }
                Poll::Ready(None) => self.device.work = None,
                Poll::Pending => return,
            }
        }
    }

    fn poll_ping(&mut self, context: &mut Context<'_>) {
        while self.next_ping.as_mut().poll(context).is_ready() {
            self.post(&Packet::PingReq);
            let next = self.next_ping.deadline() + Duration::from_secs(u64::from(KEEP_ALIVE) / 2);
            self.next_ping.as_mut().reset(next);
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let written = ready!(Pin::new(&mut self.link).poll_write(context, &self.outbox))?;
            if written == 0 {
                return Poll::Ready(Err(closed()));
            }
            self.outbox.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            self.outbox = BytesMut::new();
            ready!(Pin::new(&mut self.link).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and takes the packets that are whole.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.link).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(closed()));
        }
        self.inbox.extend_from_slice(buffer.filled());
        loop {
            match Packet::read(&mut self.inbox, PACKET_MAX) {
                Ok(packet) => self.take(&packet),
                Err(Error::InsufficientBytes(_)) => break,
                Err(error) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    self.post(&Packet::PubAck(PubAck::new(publish.pkid)));
                }
                self.device.take(publish);
            }
            Packet::SubAck(ack) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
                self.device.trouble(|| "a subscription to its own topics was refused".to_owned());
            }
            _ => {}
        }
    }

    fn post(&mut self, packet: &Packet) {
        // A packet of ours is never as large as the limit.
        if let Err(error) = packet.write(&mut self.outbox, PACKET_MAX) {
            self.device.trouble(|| format!("cannot encode {packet:?}: {error}"));
        }
    }
}
