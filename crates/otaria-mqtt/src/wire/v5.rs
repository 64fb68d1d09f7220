//! MQTT 5.0 through the codec. No topic aliases, no QoS 2, no retained messages, no shared subscriptions,
//! no session that outlives its connection: the CONNACK says so.

use bytes::Bytes;
use mqtt_proto::v5::{
    Connack, ConnackProperties, Connect, ConnectReasonCode, Disconnect, DisconnectReasonCode, ErrorV5,
    Header, Packet, PacketType, Puback, PubackReasonCode, Publish, PublishProperties, Suback, Subscribe,
    SubscribeReasonCode, Unsuback, Unsubscribe, UnsubscribeReasonCode,
};
use mqtt_proto::{QoS, QosPid, TopicName};
use otaria_core::door::subscription::Delivery;

use super::v4::{delivery, pid, qos_pid};
use super::{
    ConnectAnswer, Farewell, Hello, Inbound, Malformed, Publication, PublishAnswer, SubscribeAnswer, Wire,
};

impl From<ErrorV5> for Malformed {
    fn from(_: ErrorV5) -> Self {
        Self
    }
}

pub(super) fn hello(packet: &[u8]) -> Result<Hello, Malformed> {
    let header = Header::decode(packet)?;
    let mut offset = super::body_start(packet);
    let connect = Connect::decode(packet, &mut offset, header)?;
    super::at_end(packet, offset)?;
    Ok(Hello {
        wire: Wire::V5,
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
            Err(ErrorV5::Common(error)) if !super::is_truncated(&error) => super::odd_publish(packet, &error),
            Err(_) => Err(Malformed),
        },
        PacketType::Puback => Ok(Inbound::Acknowledged),
        PacketType::Subscribe => {
            let body = packet.get(offset..).ok_or(Malformed)?;
            let subscribe = match Subscribe::decode(packet, &mut offset, header) {
                Ok(subscribe) => subscribe,
                Err(ErrorV5::Common(error)) => {
                    return super::odd_subscribe(body, behind_properties(body)?, &error);
                }
                Err(_) => return Err(Malformed),
            };
            let filters = subscribe.topics.iter();
            let filters = filters.map(|(filter, wish)| (filter.to_string(), delivery(wish.max_qos)));
            Ok(super::subscribe(subscribe.pid.value(), filters.collect()))
        }
        PacketType::Unsubscribe => {
            let unsubscribe = Unsubscribe::decode(packet, &mut offset, header)?;
            let filters = unsubscribe.topics.iter().map(ToString::to_string);
            Ok(Inbound::Unsubscribe { pkid: unsubscribe.pid.value(), filters: filters.collect() })
        }
        PacketType::Pingreq => Ok(Inbound::Ping),
        PacketType::Disconnect => Ok(Inbound::Disconnect),
        PacketType::Connect
        | PacketType::Connack
        | PacketType::Suback
        | PacketType::Unsuback
        | PacketType::Pingresp
        | PacketType::Pubrec
        | PacketType::Pubrel
        | PacketType::Pubcomp
        | PacketType::Auth => Err(Malformed),
    }
}

/// What follows the packet id and the properties. They are shorter than 128 bytes, or we do not care.
fn behind_properties(body: &[u8]) -> Result<&[u8], Malformed> {
    let length = *body.get(2).filter(|length| **length < 0x80).ok_or(Malformed)?;
    body.get(3 + usize::from(length)..).ok_or(Malformed)
}

fn published(publish: Publish) -> Result<Inbound, Malformed> {
    let pkid = match publish.qos_pid {
        QosPid::Level0 => None,
        QosPid::Level1(pid) => Some(pid.value()),
        QosPid::Level2(_) => return Err(Malformed),
    };
    if publish.properties.topic_alias.is_some() {
        return Err(Malformed);
    }
    Ok(Inbound::Publish(Publication { topic: publish.topic_name, payload: publish.payload, pkid }))
}

/// Encoding fails only for packets beyond 256 MiB, which nothing here comes near to.
fn encode(packet: &Packet) -> Vec<u8> {
    match packet.encode() {
        Ok(mqtt_proto::VarBytes::Dynamic(bytes)) => bytes,
        Ok(other) => other.as_ref().to_vec(),
        Err(_) => Vec::new(),
    }
}

pub(super) fn connack(answer: ConnectAnswer) -> Vec<u8> {
    let reason_code = match answer {
        ConnectAnswer::Accepted { .. } => ConnectReasonCode::Success,
        ConnectAnswer::BadProtocol => ConnectReasonCode::UnsupportedProtocolVersion,
        ConnectAnswer::BadClientId => ConnectReasonCode::ClientIdentifierNotValid,
        ConnectAnswer::Unavailable => ConnectReasonCode::ServerUnavailable,
        ConnectAnswer::BadUserOrPassword => ConnectReasonCode::BadUserNameOrPassword,
        ConnectAnswer::NotAuthorized => ConnectReasonCode::NotAuthorized,
    };
    let properties = match answer {
        ConnectAnswer::Accepted { keep_alive } => ConnackProperties {
            session_expiry_interval: Some(0),
            max_qos: Some(QoS::Level1),
            retain_available: Some(false),
            shared_subscription_available: Some(false),
            server_keep_alive: keep_alive,
            ..ConnackProperties::default()
        },
        _ => ConnackProperties::default(),
    };
    encode(&Packet::Connack(Connack { session_present: false, reason_code, properties }))
}

pub(super) fn publish(topic: &TopicName, payload: Bytes, pkid: Option<u16>) -> Vec<u8> {
    encode(&Packet::Publish(Publish {
        dup: false,
        retain: false,
        qos_pid: qos_pid(pkid),
        topic_name: topic.clone(),
        payload,
        properties: PublishProperties::default(),
    }))
}

pub(super) fn puback(pkid: u16, answer: PublishAnswer) -> Vec<u8> {
    let code = match answer {
        PublishAnswer::Taken => PubackReasonCode::Success,
        PublishAnswer::NotAuthorized => PubackReasonCode::NotAuthorized,
    };
    encode(&Packet::Puback(Puback::new(pid(pkid), code)))
}

pub(super) fn suback(pkid: u16, answers: &[SubscribeAnswer]) -> Vec<u8> {
    let topics = answers.iter().map(|answer| match answer {
        SubscribeAnswer::Granted(Delivery::AtMostOnce) => SubscribeReasonCode::GrantedQoS0,
        SubscribeAnswer::Granted(Delivery::AtLeastOnce) => SubscribeReasonCode::GrantedQoS1,
        SubscribeAnswer::Refused => SubscribeReasonCode::NotAuthorized,
    });
    encode(&Packet::Suback(Suback::new(pid(pkid), topics.collect())))
}

pub(super) fn unsuback(pkid: u16, filters: usize) -> Vec<u8> {
    encode(&Packet::Unsuback(Unsuback::new(pid(pkid), vec![UnsubscribeReasonCode::Success; filters])))
}

pub(super) fn farewell(why: Farewell) -> Vec<u8> {
    let code = match why {
        Farewell::TakenOver => DisconnectReasonCode::SessionTakenOver,
        Farewell::ShuttingDown => DisconnectReasonCode::ServerShuttingDown,
        Farewell::KeepAliveTimeout => DisconnectReasonCode::KeepAliveTimeout,
        Farewell::TooSlow => DisconnectReasonCode::QuotaExceeded,
        Farewell::Expelled => DisconnectReasonCode::NotAuthorized,
    };
    encode(&Packet::Disconnect(Disconnect::new(code)))
}
