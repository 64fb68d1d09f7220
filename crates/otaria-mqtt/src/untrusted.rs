//! What bytes of strangers come to, without a socket: the gateway's own readers, one by one, for tests that
//! throw anything at them.
//!
//! Nothing of the product calls this, and nothing is decided here: each function hands its bytes to the reader
//! that a connection uses, with the limits that hold by default.

use bytes::Bytes;
use otaria_core::door::subscription::Delivery;
use otaria_core::ids::{ModuleName, ProductKey};
use otaria_core::task::Said;
use otaria_ports::inbox::{Block, BlockAsked};

use crate::block::{Question, Refusal};
use crate::config::GatewayConfig;
use crate::feed::filter::EventFilter;
use crate::wire::{self, Hello, Inbound, SubscribeAnswer, Wire};
use crate::{notice, payload};

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The beginning of a packet; the gateway waits for the rest.
    Incomplete,
    /// Nothing that is answered: the connection is closed.
    Malformed,
    /// Answered with this packet, then closed.
    Refused(Vec<u8>),
    /// A CONNECT.
    Connect(Connect),
}

/// A CONNECT as the gateway understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of its name in MQTT")]
pub struct Connect {
    /// Bytes of the packet.
    pub length: usize,
    /// MQTT 5.0, not 3.1.1 or 3.1.
    pub is_v5: bool,
    pub client_id: String,
    pub user_name: Option<String>,
    pub password: Option<Vec<u8>>,
    pub keep_alive: u16,
}

/// What a connected peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of MQTT")]
pub enum Packet {
    /// The connection is closed.
    Malformed,
    Publish {
        topic: String,
        payload: Vec<u8>,
        /// Present for QoS 1.
        pkid: Option<u16>,
    },
    /// A PUBLISH on what no topic may look like: dropped.
    OddPublish {
        pkid: Option<u16>,
    },
    Subscribe {
        pkid: u16,
        filters: Vec<(String, Delivery)>,
    },
    /// A SUBSCRIBE with a filter that is none: all of it is refused.
    OddSubscribe {
        pkid: u16,
        filters: usize,
    },
    Unsubscribe {
        pkid: u16,
        filters: Vec<String>,
    },
    /// PUBACK, PINGREQ, DISCONNECT.
    Other,
}

/// A device's question for a block of its package.
#[derive(Debug)]
pub struct Download(Question);

/// The length of the first whole packet, `None` while it is incomplete; `Err` when the connection is closed.
///
/// # Errors
/// When no packet of at most `max` bytes begins so.
#[expect(clippy::result_unit_err, reason = "there is nothing to say to who is no MQTT client")]
pub fn frame(bytes: &[u8], max: usize) -> Result<Option<usize>, ()> {
    wire::frame(bytes, max).map_err(drop)
}

/// Reads the first bytes of a connection.
#[must_use]
pub fn greet(bytes: &[u8]) -> Greeting {
    if !wire::may_be_hello(bytes) {
        return Greeting::Malformed;
    }
    let length = match wire::frame(bytes, GatewayConfig::default().max_connect_bytes) {
        Ok(Some(length)) => length,
        Ok(None) => return Greeting::Incomplete,
        Err(_) => return Greeting::Malformed,
    };
    match wire::hello(&bytes[..length]) {
        Ok(Ok(hello)) => Greeting::Connect(connect(hello, length)),
        Ok(Err(answer)) => Greeting::Refused(Wire::V4.connack(answer)),
        Err(_) => Greeting::Malformed,
    }
}

fn connect(hello: Hello, length: usize) -> Connect {
    let Hello { wire, client_id, user_name, password, keep_alive } = hello;
    let password = password.map(|password| password.to_vec());
    Connect { length, is_v5: wire == Wire::V5, client_id, user_name, password, keep_alive }
}

/// Reads one whole packet of a connected peer.
#[must_use]
pub fn packet(is_v5: bool, bytes: &[u8]) -> Packet {
    match wire(is_v5).decode(bytes) {
        Err(_) => Packet::Malformed,
        Ok(Inbound::Publish(publish)) => Packet::Publish {
            topic: publish.topic.to_string(),
            payload: publish.payload.to_vec(),
            pkid: publish.pkid,
        },
        Ok(Inbound::OddPublish { pkid }) => Packet::OddPublish { pkid },
        Ok(Inbound::Subscribe { pkid, filters }) => Packet::Subscribe { pkid, filters },
        Ok(Inbound::OddSubscribe { pkid, filters }) => Packet::OddSubscribe { pkid, filters },
        Ok(Inbound::Unsubscribe { pkid, filters }) => Packet::Unsubscribe { pkid, filters },
        Ok(Inbound::Acknowledged | Inbound::Ping | Inbound::Disconnect) => Packet::Other,
    }
}

/// The SUBACK to so many filters: granted with a quality, or refused.
#[must_use]
pub fn suback(is_v5: bool, pkid: u16, granted: &[Option<Delivery>]) -> Vec<u8> {
    let answers =
        granted.iter().map(|given| given.map_or(SubscribeAnswer::Refused, SubscribeAnswer::Granted));
    wire(is_v5).suback(pkid, &answers.collect::<Vec<_>>())
}

const fn wire(is_v5: bool) -> Wire {
    if is_v5 { Wire::V5 } else { Wire::V4 }
}

/// The version that a device informs; `None` when it is dropped.
#[must_use]
pub fn inform(payload: &[u8]) -> Option<(ModuleName, Said)> {
    payload::inform(payload).ok()
}

/// How far a device is; `None` when it is dropped.
#[must_use]
pub fn progress(payload: &[u8]) -> Option<(ModuleName, Said)> {
    payload::progress(payload).ok()
}

/// The module whose update a device asks for, and the answer that holds `data`; `None` when it is dropped.
#[must_use]
pub fn fetch(payload: &[u8], data: Option<&[u8]>) -> Option<(ModuleName, Bytes)> {
    let request = payload::request(payload).ok()?;
    let reply = notice::get_reply(&request.id, data);
    Some((request.module, reply))
}

impl Download {
    /// Reads a question; `None` when it is dropped.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        Question::parse(payload).ok().map(Self)
    }

    /// What is asked for; `None` when it is refused without a look.
    #[must_use]
    pub const fn asked(&self) -> Option<BlockAsked> {
        self.0.asked
    }

    /// The answer with a block.
    #[must_use]
    pub fn answer(&self, offset: u64, block: &Block) -> Bytes {
        self.0.answer(offset, block)
    }

    /// The answer to a question without sense.
    #[must_use]
    pub fn refuse(&self) -> Bytes {
        self.0.refuse(Refusal::Malformed)
    }
}

/// The product within which a platform's filter stays, and whether it matches a topic; `None` when it is refused.
#[must_use]
pub fn events(filter: &str, topic: &str) -> Option<(ProductKey, bool)> {
    let filter = EventFilter::parse(filter)?;
    let matches = filter.matches(topic);
    Some((filter.product, matches))
}
