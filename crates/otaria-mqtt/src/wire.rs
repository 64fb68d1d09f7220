//! MQTT packets as this gateway sees them: one small set for 3.1.1 and 5.0, whatever the codec calls them.
//!
//! 2026-11-21, which codec. Measured on the reference machine (one core, 100-byte PUBLISH in, 300-byte
//! PUBLISH out, millions a second, decode / encode): `mqtt-proto` 0.4 10.9 / 9.1, `mqtt-protocol-core` 0.7
//! 18.2 / 4.7, `rmqtt-codec` 0.3 12.6 / 13.0, `rumqttd::protocol` 15.7 / 18.7, `rumqttc::mqttbytes` 12.3 /
//! 16.8. None panicked on a million mutated packets, non-ASCII topics among them. All are a hundred times
//! faster than sockets are, so other things decided: `mqtt-proto` reads both versions from a borrowed slice
//! (an idle connection keeps no buffer), has the smallest dependency tree (24 crates; 52 and 47 for the
//! next two) and is not the codec of the client that our tests use, so the two check each other. That paid
//! at once: the client found that 0.4.0 writes a refusal in a 3.1.1 SUBACK as 3, so that packet is ours.

mod v4;
mod v5;

use bytes::Bytes;
use mqtt_proto::{Error, IoErrorKind, Protocol, TopicName};
use otaria_core::door::subscription::Delivery;

/// The peer sent what is no MQTT; its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<Error> for Malformed {
    fn from(_: Error) -> Self {
        Self
    }
}

/// The protocol a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// MQTT 3.1.1, and 3.1.
    V4,
    /// MQTT 5.0.
    V5,
}

/// A CONNECT.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) wire: Wire,
    pub(crate) client_id: String,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Bytes>,
    pub(crate) keep_alive: u16,
}

/// How a CONNECT is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectAnswer {
    /// Welcome; with the keep-alive in seconds that holds here if it differs from the asked one (5.0 only).
    Accepted { keep_alive: Option<u16> },
    /// 3.1.1: 1.
    BadProtocol,
    /// 3.1.1: 2.
    BadClientId,
    /// 3.1.1: 3.
    Unavailable,
    /// 3.1.1: 4.
    BadUserOrPassword,
    /// 3.1.1: 5.
    NotAuthorized,
}

/// A packet from a peer that is connected.
#[derive(Debug)]
pub(crate) enum Inbound {
    Publish(Publication),
    /// A PUBLISH on a topic that no topic may look like (wildcards, no UTF-8). Dropped, not a reason to close.
    OddPublish {
        pkid: Option<u16>,
    },
    /// PUBACK.
    Acknowledged,
    Subscribe {
        pkid: u16,
        filters: Vec<(String, Delivery)>,
    },
    /// A SUBSCRIBE with a filter that is none (`a#`, no UTF-8): all of it is refused, the connection stays.
    OddSubscribe {
        pkid: u16,
        filters: usize,
    },
    Unsubscribe {
        pkid: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect,
}

/// A PUBLISH.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: TopicName,
    pub(crate) payload: Bytes,
    /// Present for QoS 1.
    pub(crate) pkid: Option<u16>,
}

/// How a PUBLISH of QoS 1 is answered; 3.1.1 has only one word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishAnswer {
    Taken,
    NotAuthorized,
}

/// How one filter of a SUBSCRIBE is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscribeAnswer {
    Granted(Delivery),
    Refused,
}

/// Why the gateway closes a 5.0 connection; 3.1.1 has no word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    TakenOver,
    ShuttingDown,
    KeepAliveTimeout,
    TooSlow,
    /// It may not connect any more.
    Expelled,
}

/// The length of the first whole packet in `bytes`, `None` while it is incomplete.
pub(crate) fn frame(bytes: &[u8], max: usize) -> Result<Option<usize>, Malformed> {
    let mut body = 0_usize;
    for place in 0..4 {
        let Some(byte) = bytes.get(1 + place) else { return Ok(None) };
        body |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let whole = 2 + place + body;
            if whole > max {
                return Err(Malformed);
            }
            return Ok((bytes.len() >= whole).then_some(whole));
        }
    }
    Err(Malformed)
}

/// Whether the first packet begins like a CONNECT.
pub(crate) fn may_be_hello(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| *first == 0x10)
}

/// Reads a whole CONNECT, or how to refuse it; `Malformed` is closed without an answer.
pub(crate) fn hello(packet: &[u8]) -> Result<Result<Hello, ConnectAnswer>, Malformed> {
    let mut offset = body_start(packet);
    match Protocol::decode(packet, &mut offset) {
        Ok(Protocol::V310 | Protocol::V311) => Ok(Ok(v4::hello(packet)?)),
        Ok(Protocol::V500) => Ok(Ok(v5::hello(packet)?)),
        Err(Error::InvalidProtocol(..)) => Ok(Err(ConnectAnswer::BadProtocol)),
        Err(_) => Err(Malformed),
    }
}

/// Where the body begins in a whole packet.
fn body_start(packet: &[u8]) -> usize {
    let length_bytes = packet.iter().skip(1).take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    1 + length_bytes
}

/// What a PUBLISH that the codec refused is to us: odd if only its topic is wrong.
fn odd_publish(packet: &[u8], error: &Error) -> Result<Inbound, Malformed> {
    if !matches!(error, Error::InvalidTopicName(_) | Error::InvalidString) {
        return Err(Malformed);
    }
    let body = packet.get(body_start(packet)..).ok_or(Malformed)?;
    let (length, rest) = body.split_first_chunk::<2>().ok_or(Malformed)?;
    let pkid = rest.get(usize::from(u16::from_be_bytes(*length))..).and_then(<[u8]>::first_chunk::<2>);
    match packet[0] & 0b110 {
        0 => Ok(Inbound::OddPublish { pkid: None }),
        0b10 => Ok(Inbound::OddPublish { pkid: Some(u16::from_be_bytes(*pkid.ok_or(Malformed)?)) }),
        _ => Err(Malformed),
    }
}

/// What a SUBSCRIBE that the codec refused is to us: odd if only a filter is wrong. `rest` begins behind
/// the packet id and, in 5.0, the properties.
fn odd_subscribe(pkid: &[u8], mut rest: &[u8], error: &Error) -> Result<Inbound, Malformed> {
    if !matches!(error, Error::InvalidTopicFilter(_) | Error::InvalidString) {
        return Err(Malformed);
    }
    let pkid = u16::from_be_bytes(*pkid.first_chunk::<2>().ok_or(Malformed)?);
    let mut filters = 0;
    while !rest.is_empty() {
        let length = rest.first_chunk::<2>().ok_or(Malformed)?;
        rest = rest.get(2 + usize::from(u16::from_be_bytes(*length)) + 1..).ok_or(Malformed)?;
        filters += 1;
    }
    if pkid == 0 || filters == 0 { Err(Malformed) } else { Ok(Inbound::OddSubscribe { pkid, filters }) }
}

/// The codec leaves it to us what stands behind the last field of a CONNECT: nothing may.
fn at_end(packet: &[u8], offset: usize) -> Result<(), Malformed> {
    if offset == packet.len() { Ok(()) } else { Err(Malformed) }
}

/// A SUBSCRIBE that the codec read. It lets a wildcard pass that shares its level with something else.
fn subscribe(pkid: u16, filters: Vec<(String, Delivery)>) -> Inbound {
    let stands_alone = |level: &str| level.len() == 1 || !level.contains(['+', '#']);
    if filters.iter().all(|(filter, _)| filter.split('/').all(stands_alone)) {
        Inbound::Subscribe { pkid, filters }
    } else {
        Inbound::OddSubscribe { pkid, filters: filters.len() }
    }
}

/// A whole packet that ends too early is malformed, not incomplete.
fn is_truncated(error: &Error) -> bool {
    matches!(error, Error::IoError(IoErrorKind::UnexpectedEof))
}

impl Wire {
    /// Reads a whole packet of a connected peer.
    pub(crate) fn decode(self, packet: &[u8]) -> Result<Inbound, Malformed> {
        match self {
            Self::V4 => v4::decode(packet),
            Self::V5 => v5::decode(packet),
        }
    }

    /// CONNACK.
    pub(crate) fn connack(self, answer: ConnectAnswer) -> Vec<u8> {
        match self {
            Self::V4 => v4::connack(answer),
            Self::V5 => v5::connack(answer),
        }
    }

    /// PUBLISH; QoS 1 with a packet id, else 0.
    pub(crate) fn publish(self, topic: &TopicName, payload: Bytes, pkid: Option<u16>) -> Vec<u8> {
        match self {
            Self::V4 => v4::publish(topic, payload, pkid),
            Self::V5 => v5::publish(topic, payload, pkid),
        }
    }

    /// PUBACK.
    pub(crate) fn puback(self, pkid: u16, answer: PublishAnswer) -> Vec<u8> {
        match self {
            Self::V4 => v4::puback(pkid),
            Self::V5 => v5::puback(pkid, answer),
        }
    }

    /// SUBACK, an answer for each filter.
    pub(crate) fn suback(self, pkid: u16, answers: &[SubscribeAnswer]) -> Vec<u8> {
        match self {
            Self::V4 => v4::suback(pkid, answers),
            Self::V5 => v5::suback(pkid, answers),
        }
    }

    /// UNSUBACK for that many filters.
    pub(crate) fn unsuback(self, pkid: u16, filters: usize) -> Vec<u8> {
        match self {
            Self::V4 => v4::unsuback(pkid),
            Self::V5 => v5::unsuback(pkid, filters),
        }
    }

    /// PINGRESP: the same bytes in both.
    pub(crate) const fn pong() -> &'static [u8] {
        &[0xd0, 0]
    }

    /// DISCONNECT, where the protocol lets a server say why.
    pub(crate) fn farewell(self, why: Farewell) -> Option<Vec<u8>> {
        match self {
            Self::V4 => None,
            Self::V5 => Some(v5::farewell(why)),
        }
    }
}

#[cfg(test)]
mod tests;
