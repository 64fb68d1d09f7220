//! A broker's bare fan-out: one publisher, as many subscribers as there are devices, a topic for each, QoS 1.
//!
//! Knows as much of MQTT 3.1.1 as that takes, and decides nothing: it only counts what arrives.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::clock::now;

/// Bytes of a message: as many as a notice has.
const PAYLOAD: [u8; 240] = [b'x'; 240];

/// Messages that are on their way unacknowledged; a publisher with fewer would wait for the round trip.
const WINDOW: usize = 500;

/// Without any message for so long, some were lost.
const PATIENCE: Duration = Duration::from_secs(20);

const EVENTS: usize = 1_024;

/// Subscribers of a broker, a topic each.
pub(super) struct Subscribers {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

struct Connection {
    socket: TcpStream,
    /// What arrived and is no whole packet yet.
    inbox: Vec<u8>,
}

impl Subscribers {
    pub(super) fn connect(address: SocketAddr, count: usize) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let mut socket = login(address, &format!("sub-{number}"))?;
            let topic = topic(number);
            let mut subscribe = vec![0, 1];
            subscribe.extend(text(&topic));
            subscribe.push(1);
            socket.write_all(&packet(0x82, &subscribe))?;
            let mut granted = [0; 5];
            socket.read_exact(&mut granted)?;
            ensure!(granted == [0x90, 3, 0, 1, 1], "the subscription was answered with {granted:?}");
            socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(u64::try_from(number)?);
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
            connections.push(Connection { socket, inbox: Vec::new() });
        }
        Ok(Self { epoll, connections })
    }

    /// Publishes one message to each subscriber, and returns how many arrived a second, from the first to the last.
    pub(super) fn round(&mut self, address: SocketAddr) -> Result<f64> {
        let count = self.connections.len();
        let publisher = std::thread::spawn(move || publish(address, count));
        let (mut arrived, mut first, mut last) = (0, None, now());
        let mut events = Vec::with_capacity(EVENTS);
        while arrived < count {
            events.clear();
            let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
            for event in &events {
                let number = usize::try_from(event.data.u64())?;
                let connection = self.connections.get_mut(number).context("no such subscriber")?;
                let more = connection.take()?;
                if more > 0 {
                    last = now();
                    first.get_or_insert(last);
                    arrived += more;
                }
            }
            ensure!(last.elapsed() < PATIENCE, "{arrived} of {count} messages arrived");
        }
        publisher.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
        Ok(rate(count, first.unwrap_or(last), last))
    }
}

impl Connection {
    /// Takes what has arrived; returns how many messages that were, each of which is acknowledged.
    fn take(&mut self) -> Result<usize> {
        let mut bytes = [0; 4_096];
        match self.socket.read(&mut bytes) {
            Ok(0) => bail!("the broker closed a subscriber"),
            Ok(length) => self.inbox.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        let mut messages = 0;
        while let Some(length) = whole(&self.inbox) {
            if let Some(id) = message_id(&self.inbox[..length]) {
                // The socket's buffer is empty but for these four bytes.
                self.socket.write_all(&[0x40, 2, id[0], id[1]])?;
                messages += 1;
            }
            self.inbox.drain(..length);
        }
        Ok(messages)
    }
}

fn publish(address: SocketAddr, count: usize) -> Result<()> {
    let mut socket = login(address, "publisher")?;
    let (mut open, mut answers, mut batch) = (0_usize, Answers::default(), Vec::new());
    for number in 0..count {
        let id = u16::try_from(number % 65_000)? + 1;
        let mut message: Vec<u8> = text(&topic(number)).collect();
        message.extend(id.to_be_bytes());
        message.extend(PAYLOAD);
        batch.extend(packet(0x32, &message));
        open += 1;
        if open == WINDOW || number + 1 == count {
            socket.write_all(&batch)?;
            batch.clear();
            // Half of the window is sent while the other half is under way.
            let least = if number + 1 == count { open } else { WINDOW / 2 };
            let mut answered = 0;
            while answered < least {
                answered += answers.read(&mut socket)?;
            }
            open -= answered;
        }
    }
    Ok(())
}

/// Reads acknowledgements, four bytes each.
#[derive(Default)]
struct Answers {
    rest: usize,
}

impl Answers {
    fn read(&mut self, socket: &mut TcpStream) -> Result<usize> {
        let mut bytes = [0; 4_096];
        let length = socket.read(&mut bytes)?;
        ensure!(length > 0, "the broker closed the publisher");
        let all = self.rest + length;
        self.rest = all % 4;
        Ok(all / 4)
    }
}

/// Connects and says hello.
fn login(address: SocketAddr, name: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).context("connecting to the broker")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut connect: Vec<u8> = text("MQTT").collect();
    connect.extend([4, 2, 0, 0]); // Version 3.1.1, a clean session, no keep-alive.
    connect.extend(text(name));
    socket.write_all(&packet(0x10, &connect))?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    ensure!(answer == [0x20, 2, 0, 0], "the broker answered CONNECT with {answer:?}");
    Ok(socket)
}

fn topic(number: usize) -> String {
    format!("/ota/device/upgrade/a1Bench/dev-{number:06}")
}

/// A text with its length before it.
fn text(text: &str) -> impl Iterator<Item = u8> {
    // All texts here are short.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    length.into_iter().chain(text.bytes())
}

/// A packet with its length, which is below 16,384 here.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let low = u8::try_from(length % 128).unwrap_or(0);
    let high = u8::try_from(length / 128).unwrap_or(0);
    let mut packet = vec![kind];
    if high == 0 {
        packet.push(low)
    } else {
        packet.extend([low | 0x80, high])
    }
    packet.extend_from_slice(body);
    packet
}

/// The length of the first packet, if it is whole.
fn whole(inbox: &[u8]) -> Option<usize> {
    let (mut length, mut scale) = (0, 1);
    for (place, byte) in inbox.iter().enumerate().skip(1).take(4) {
        length += usize::from(byte & 0x7f) * scale;
        scale *= 128;
        if byte & 0x80 == 0 {
            let all = place + 1 + length;
            return (inbox.len() >= all).then_some(all);
        }
    }
    None
}

/// The number of a message with QoS 1; `None` for every other packet.
fn message_id(packet: &[u8]) -> Option<[u8; 2]> {
    if packet.first()? & 0xf6 != 0x32 {
        return None;
    }
    let head = 1 + packet.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
    let topic = usize::from(u16::from_be_bytes([*packet.get(head)?, *packet.get(head + 1)?]));
    let at = head + 2 + topic;
    Some([*packet.get(at)?, *packet.get(at + 1)?])
}

fn rate(count: usize, first: Instant, last: Instant) -> f64 {
    let seconds = (last - first).as_secs_f64();
    let steps = f64::from(u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX));
    if seconds > 0.0 { steps / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_where_they_end() {
        let mut body: Vec<u8> = text("a/b").collect();
        body.extend([1, 2]);
        body.extend(PAYLOAD);
        let message = packet(0x32, &body);
        assert_eq!(whole(&message), Some(message.len()));
        assert_eq!(whole(&message[..message.len() - 1]), None);
        assert_eq!(whole(&[&message[..], &[0x40]].concat()), Some(message.len()));
        assert_eq!(whole(&message[..1]), None);
        assert_eq!(message_id(&message), Some([1, 2]));
        assert_eq!(message_id(&packet(0x40, &[1, 2])), None);
    }

    #[test]
    fn acknowledgements_are_counted_over_reads() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut answers = Answers::default();
        server.write_all(&[0x40, 2, 0, 1, 0x40, 2]).unwrap();
        assert_eq!(answers.read(&mut client).unwrap(), 1);
        server.write_all(&[0, 2]).unwrap();
        assert_eq!(answers.read(&mut client).unwrap(), 1);
    }
}
