//! MQTT 3.1.1 through the codec.

use bytes::Bytes;
use mqtt_proto::v3::{
    Connack, Connect, ConnectReturnCode, Header, Packet, PacketType, Publish, Subscribe, Unsubscribe,
};
use mqtt_proto::{Pid, QoS, QosPid, TopicName};
use otaria_core::door::subscription::Delivery;

use super::{ConnectAnswer, Hello, Inbound, Malformed, Publication, SubscribeAnswer, Wire};

pub(super) fn hello(packet: &[u8]) -> Result<Hello, Malformed> {
    let mut offset = super::body_start(packet);
    let connect = Connect::decode(packet, &mut offset)?;
    super::at_end(packet, offset)?;
    Ok(Hello {
        wire: Wire::V4,
        client_id: connect.client_id.to_string(),
        user_name: connect.username.map(|name| name.to_string()),
        password: connect.password,
        keep_alive: connect.keep_alive,
    })
}

pub(super) fn decode(packet: &[u8]) -> Result<Inbound, Malformed> {
    let header = Header::decode(packet)?;
    let mut offset = super::body_start(packet);
    match header.typ {
        PacketType::Publish => match Publish::decode(packet, &mut offset, header) {
            Ok(publish) => published(publish),
            Err(error) if super::is_truncated(&error) => Err(Malformed),
            Err(error) => super::odd_publish(packet, &error),
        },
        PacketType::Puback => Ok(Inbound::Acknowledged),
        PacketType::Subscribe => {
            let body = packet.get(offset..).ok_or(Malformed)?;
            let subscribe = match Subscribe::decode(packet, &mut offset, header) {
                Ok(subscribe) => subscribe,
                Err(error) => return super::odd_subscribe(body, body.get(2..).ok_or(Malformed)?, &error),
            };
            let filters = subscribe.topics.iter().map(|(filter, qos)| (filter.to_string(), delivery(*qos)));
            Ok(super::subscribe(subscribe.pid.value(), filters.collect()))
        }
        PacketType::Unsubscribe => {
            let unsubscribe = Unsubscribe::decode(packet, &mut offset, header)?;
            let filters = unsubscribe.topics.iter().map(ToString::to_string);
            Ok(Inbound::Unsubscribe { pkid: unsubscribe.pid.value(), filters: filters.collect() })
        }
        PacketType::Pingreq => Ok(Inbound::Ping),
        PacketType::Disconnect => Ok(Inbound::Disconnect),
        // A second CONNECT, what only servers send, and the handshake of QoS 2, which is not served.
        PacketType::Connect
        | PacketType::Connack
        | PacketType::Suback
        | PacketType::Unsuback
        | PacketType::Pingresp
        | PacketType::Pubrec
        | PacketType::Pubrel
        | PacketType::Pubcomp => Err(Malformed),
    }
}

fn published(publish: Publish) -> Result<Inbound, Malformed> {
    let pkid = match publish.qos_pid {
        QosPid::Level0 => None,
        QosPid::Level1(pid) => Some(pid.value()),
        QosPid::Level2(_) => return Err(Malformed),
    };
    Ok(Inbound::Publish(Publication { topic: publish.topic_name, payload: publish.payload, pkid }))
}

/// The highest quality given to what was asked for; there is no QoS 2.
pub(super) fn delivery(qos: QoS) -> Delivery {
    if qos == QoS::Level0 { Delivery::AtMostOnce } else { Delivery::AtLeastOnce }
}

/// Packet ids come from the peer, where the codec refuses zero, or are counted from one.
pub(super) fn pid(pkid: u16) -> Pid {
    Pid::try_from(pkid).unwrap_or_default()
}

pub(super) fn qos_pid(pkid: Option<u16>) -> QosPid {
    pkid.map_or(QosPid::Level0, |pkid| QosPid::Level1(pid(pkid)))
}

/// Encoding fails only for packets beyond 256 MiB, which nothing here comes near to.
fn encode(packet: &Packet) -> Vec<u8> {
    packet.encode().map(|bytes| bytes.as_ref().to_vec()).unwrap_or_default()
}

pub(super) fn connack(answer: ConnectAnswer) -> Vec<u8> {
    let code = match answer {
        ConnectAnswer::Accepted { .. } => ConnectReturnCode::Accepted,
        ConnectAnswer::BadProtocol => ConnectReturnCode::UnacceptableProtocolVersion,
        ConnectAnswer::BadClientId => ConnectReturnCode::IdentifierRejected,
        ConnectAnswer::Unavailable => ConnectReturnCode::ServerUnavailable,
        ConnectAnswer::BadUserOrPassword => ConnectReturnCode::BadUserNameOrPassword,
        ConnectAnswer::NotAuthorized => ConnectReturnCode::NotAuthorized,
    };
    encode(&Packet::Connack(Connack { session_present: false, code }))
}

pub(super) fn publish(topic: &TopicName, payload: Bytes, pkid: Option<u16>) -> Vec<u8> {
    match Packet::Publish(Publish::new(qos_pid(pkid), topic.clone(), payload)).encode() {
        Ok(mqtt_proto::VarBytes::Dynamic(bytes)) => bytes,
        Ok(other) => other.as_ref().to_vec(),
        Err(_) => Vec::new(), // See `encode`.
    }
}

pub(super) fn puback(pkid: u16) -> Vec<u8> {
    encode(&Packet::Puback(pid(pkid)))
}

/// Written by hand: the codec's 0.4.0 encodes a refusal as 3 instead of 0x80.
pub(super) fn suback(pkid: u16, answers: &[SubscribeAnswer]) -> Vec<u8> {
    let codes = answers.iter().map(|answer| match answer {
        SubscribeAnswer::Granted(Delivery::AtMostOnce) => 0,
        SubscribeAnswer::Granted(Delivery::AtLeastOnce) => 1,
        SubscribeAnswer::Refused => 0x80,
    });
    let mut packet = vec![0x90];
    let mut length = 2 + answers.len();
    while length > 0x7f {
        // The mask leaves seven bits.
        packet.push(0x80 | u8::try_from(length & 0x7f).unwrap_or(0));
        length >>= 7;
    }
    packet.push(u8::try_from(length).unwrap_or(0));
    packet.extend(pkid.to_be_bytes());
    packet.extend(codes);
    packet
}

pub(super) fn unsuback(pkid: u16) -> Vec<u8> {
    encode(&Packet::Unsuback(pid(pkid)))
}
