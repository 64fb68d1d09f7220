//! Clients that only count: as many subscribers as there are devices, a topic for each, QoS 1. The same for a
//! broker's bare fan-out, with one publisher, and for a gateway's notices, so that what is compared differs in the
//! servers alone.
//!
//! Knows as much of MQTT 3.1.1 as that takes, and decides nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::clock::{now, unix_us};
use crate::cluster::per_second;

/// Messages that are on their way unacknowledged; a publisher with fewer would wait for the round trip.
const WINDOW: usize = 500;

/// Without any message for so long, some were lost.
const PATIENCE: Duration = Duration::from_secs(20);

const EVENTS: usize = 1_024;

/// Threads that connect them.
const HANDS: usize = 8;

/// Who connects where, as whom, and hears what.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) id: String,
    /// User name and password, where they are asked for.
    pub(super) proof: Option<(String, String)>,
    pub(super) topic: String,
}

impl Client {
    /// Subscribers of a broker that lets everybody in.
    pub(super) fn of_broker(address: SocketAddr, count: usize) -> Vec<Self> {
        let client =
            |number| Self { address, id: format!("sub-{number}"), proof: None, topic: topic(number) };
        (0..count).map(client).collect()
    }

    /// Connects, subscribes, and is granted QoS 1.
    fn subscribe(&self) -> Result<TcpStream> {
        let mut socket = self.login()?;
        let mut subscribe = vec![0, 1];
        subscribe.extend(text(&self.topic));
        subscribe.push(1);
        socket.write_all(&packet(0x82, &subscribe))?;
        let mut granted = [0; 5];
        socket.read_exact(&mut granted)?;
        ensure!(granted == [0x90, 3, 0, 1, 1], "the subscription was answered with {granted:?}");
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Connects and says hello.
    fn login(&self) -> Result<TcpStream> {
        let mut socket = TcpStream::connect(self.address).context("connecting to the server")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut connect: Vec<u8> = text("MQTT").collect();
        // Version 3.1.1, a clean session, no keep-alive.
        connect.extend([4, if self.proof.is_some() { 0xc2 } else { 2 }, 0, 0]);
        connect.extend(text(&self.id));
        for word in self.proof.iter().flat_map(|(user, password)| [user, password]) {
            connect.extend(text(word));
        }
        socket.write_all(&packet(0x10, &connect))?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer)?;
        ensure!(answer == [0x20, 2, 0, 0], "the server answered CONNECT with {answer:?}");
        Ok(socket)
    }
}

/// Connected clients.
pub(super) struct Subscribers {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Bytes of the payloads that arrived, and how many those were.
    heard: (usize, usize),
}

struct Connection {
    socket: TcpStream,
    /// What arrived and is no whole packet yet.
    inbox: Vec<u8>,
}

impl Subscribers {
    pub(super) fn connect(clients: &[Client]) -> Result<Self> {
        let parts = clients.chunks(clients.len().div_ceil(HANDS).max(1));
        let subscribe = |part: &[Client]| part.iter().map(Client::subscribe).collect::<Result<Vec<_>>>();
        let sockets: Vec<Result<Vec<TcpStream>>> = std::thread::scope(|scope| {
            let hands: Vec<_> = parts.map(|part| scope.spawn(move || subscribe(part))).collect();
            let lost = |_| Err(anyhow!("a thread that connects panicked"));
            hands.into_iter().map(|hand| hand.join().unwrap_or_else(lost)).collect()
        });
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(clients.len());
        for sockets in sockets {
            for socket in sockets? {
                let data = epoll::EventData::new_u64(u64::try_from(connections.len())?);
                epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
                connections.push(Connection { socket, inbox: Vec::new() });
            }
        }
        Ok(Self { epoll, connections, heard: (0, 0) })
    }

    /// Publishes one message of so many bytes to each subscriber of a broker, and returns how many arrived a
    /// second, from the first to the last.
    pub(super) fn round(&mut self, address: SocketAddr, bytes: usize) -> Result<f64> {
        let count = self.connections.len();
        let publisher = std::thread::spawn(move || publish(address, count, bytes));
        let times = self.hear(count, PATIENCE)?;
        publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
        Ok(per_second(&times))
    }

    /// Takes so many messages, and says when each arrived, in microseconds. Ends as an error when none comes for
    /// so long.
    pub(super) fn hear(&mut self, count: usize, patience: Duration) -> Result<Vec<u64>> {
        let mut last = now();
        let mut times = Vec::with_capacity(count);
        let mut events = Vec::with_capacity(EVENTS);
        while times.len() < count {
            events.clear();
            let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
            for event in &events {
                let number = usize::try_from(event.data.u64())?;
                let connection = self.connections.get_mut(number).context("no such subscriber")?;
                let (messages, bytes) = connection.take()?;
                if messages > 0 {
                    last = now();
                    times.extend(std::iter::repeat_n(unix_us(), messages));
                    self.heard = (self.heard.0 + bytes, self.heard.1 + messages);
                }
            }
            ensure!(last.elapsed() < patience, "{} of {count} messages arrived", times.len());
        }
        Ok(times)
    }

    /// Bytes of a payload, on average.
    pub(super) const fn payload_bytes(&self) -> usize {
        match self.heard {
            (_, 0) => 0,
            (bytes, messages) => bytes / messages,
        }
    }

    /// Each publishes something of its own, in the order in which they connected; nobody acknowledges it.
    pub(super) fn say(&mut self, messages: impl Iterator<Item = (String, String)>) -> Result<()> {
        for (connection, (topic, payload)) in self.connections.iter_mut().zip(messages) {
            let message: Vec<u8> = text(&topic).chain(payload.bytes()).collect();
            // The socket's buffer is empty.
            connection.socket.write_all(&packet(0x30, &message))?;
        }
        Ok(())
    }
}

impl Connection {
    /// Takes what has arrived; returns how many messages that were, each of which is acknowledged, and the bytes of
    /// their payloads.
    fn take(&mut self) -> Result<(usize, usize)> {
        let mut bytes = [0; 4_096];
        match self.socket.read(&mut bytes) {
            Ok(0) => bail!("the server closed a subscriber"),
            Ok(length) => self.inbox.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((0, 0)),
            Err(error) => return Err(error.into()),
        }
        let (mut messages, mut payloads) = (0, 0);
        while let Some(length) = whole(&self.inbox) {
            if let Some((id, payload)) = message(&self.inbox[..length]) {
                // The socket's buffer is empty but for these four bytes.
                self.socket.write_all(&[0x40, 2, id[0], id[1]])?;
                messages += 1;
                payloads += payload;
            }
            self.inbox.drain(..length);
        }
        Ok((messages, payloads))
    }
}

fn publish(address: SocketAddr, count: usize, bytes: usize) -> Result<()> {
    let publisher = Client { address, id: "publisher".to_owned(), proof: None, topic: String::new() };
    let mut socket = publisher.login()?;
    let payload = vec![b'x'; bytes];
    let (mut open, mut answers, mut batch) = (0_usize, Answers::default(), Vec::new());
    for number in 0..count {
        let id = u16::try_from(number % 65_000)? + 1;
        let mut message: Vec<u8> = text(&topic(number)).collect();
        message.extend(id.to_be_bytes());
        message.extend(&payload);
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

/// The number of a message with QoS 1, and the bytes of its payload; `None` for every other packet.
fn message(packet: &[u8]) -> Option<([u8; 2], usize)> {
    if packet.first()? & 0xf6 != 0x32 {
        return None;
    }
    let head = 1 + packet.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
    let topic = usize::from(u16::from_be_bytes([*packet.get(head)?, *packet.get(head + 1)?]));
    let at = head + 2 + topic;
    Some(([*packet.get(at)?, *packet.get(at + 1)?], packet.len() - at - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_where_they_end() {
        let mut body: Vec<u8> = text("a/b").collect();
        body.extend([1, 2]);
        body.extend([b'x'; 240]);
        let message = packet(0x32, &body);
        assert_eq!(whole(&message), Some(message.len()));
        assert_eq!(whole(&message[..message.len() - 1]), None);
        assert_eq!(whole(&[&message[..], &[0x40]].concat()), Some(message.len()));
        assert_eq!(whole(&message[..1]), None);
        assert_eq!(super::message(&message), Some(([1, 2], 240)));
        assert_eq!(super::message(&packet(0x40, &[1, 2])), None);
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
