//! What a connected peer may read and speak: packets of both versions, topics of publishes, filters of
//! subscriptions.

use otaria_core::door::subscription::Delivery;
use otaria_core::door::topic::TOPIC_MAX;
use otaria_core::door::{Downlink, Own, Subscriptions};
use otaria_core::ids::{DeviceName, ProductKey};
use otaria_mqtt::untrusted::{self, Packet};

use crate::mqtt;

const OWN: Own<'static> = Own { product_key: "a1Le6d0abcd", device_name: "dev_0001" };
/// The gateway's limit of a packet.
const PACKET_MAX: usize = 64 * 1024;

pub(crate) fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        publish(text);
        subscribe(text);
        events(text);
    }
    for is_v5 in [false, true] {
        packets(is_v5, input);
    }
}

/// The input is what a socket brought after a CONNECT.
fn packets(is_v5: bool, mut input: &[u8]) {
    while let Ok(Some(length)) = untrusted::frame(input, PACKET_MAX) {
        assert!((2..=input.len()).contains(&length));
        let (packet, rest) = input.split_at(length);
        assert_eq!(untrusted::frame(packet, PACKET_MAX), Ok(Some(length)));
        assert_eq!(untrusted::frame(&packet[..length - 1], PACKET_MAX), Ok(None));
        input = rest;
        match untrusted::packet(is_v5, packet) {
            Packet::Malformed => return,
            Packet::Publish { topic, payload, pkid } => {
                assert!(!topic.contains(['+', '#']), "a topic with a wildcard came through");
                assert!(packet.ends_with(&payload), "a payload is not the end of its packet");
                assert_ne!(pkid, Some(0));
                publish(&topic);
            }
            Packet::Subscribe { pkid, filters } => {
                assert_ne!(pkid, 0);
                let granted = filters.iter().map(|(filter, wish)| {
                    assert!(mqtt::is_filter(filter), "{filter:?} is no filter");
                    subscribe(filter);
                    OWN.subscribes(filter).ok().map(|_| *wish)
                });
                answer(is_v5, pkid, &granted.collect::<Vec<_>>());
            }
            Packet::OddSubscribe { pkid, filters } => {
                assert!(pkid != 0 && (1..length).contains(&filters));
                answer(is_v5, pkid, &vec![None; filters]);
            }
            Packet::Unsubscribe { pkid, filters } => {
                assert!(pkid != 0 && !filters.is_empty());
                filters.iter().for_each(|filter| subscribe(filter));
            }
            Packet::OddPublish { .. } | Packet::Other => {}
        }
    }
}

/// A SUBACK is a frame that ends in an answer for each filter.
fn answer(is_v5: bool, pkid: u16, granted: &[Option<Delivery>]) {
    let packet = untrusted::suback(is_v5, pkid, granted);
    assert_eq!(untrusted::frame(&packet, 2 * PACKET_MAX), Ok(Some(packet.len())));
    let refused = if is_v5 { 0x87 } else { 0x80 };
    let codes = granted.iter().map(|given| match given {
        Some(Delivery::AtMostOnce) => 0,
        Some(Delivery::AtLeastOnce) => 1,
        None => refused,
    });
    assert!(packet.ends_with(&codes.collect::<Vec<u8>>()));
}

/// All devices that the levels of a topic could name, side by side.
fn others(topic: &str) -> impl Iterator<Item = Own<'_>> {
    let levels: Vec<&str> = topic.split('/').collect();
    let pairs: Vec<[&str; 2]> = levels.windows(2).map(|pair| [pair[0], pair[1]]).collect();
    let devices = pairs.into_iter().map(|[product_key, device_name]| Own { product_key, device_name });
    devices.filter(|own| {
        *own != OWN
            && ProductKey::parse(own.product_key).is_ok()
            && DeviceName::parse(own.device_name).is_ok()
    })
}

fn publish(topic: &str) {
    if OWN.publishes(topic).is_err() {
        return;
    }
    assert!(topic.len() <= TOPIC_MAX && topic.bytes().all(|byte| byte.is_ascii_graphic()));
    let own = [OWN.product_key, OWN.device_name];
    assert!(topic.split('/').collect::<Vec<_>>().windows(2).any(|pair| pair == own), "{topic}");
    assert!(!topic.contains(['+', '#']));
    for other in others(topic) {
        assert!(other.publishes(topic).is_err(), "{topic} is also {other:?}'s");
    }
}

fn subscribe(filter: &str) {
    let Ok(granted) = OWN.subscribes(filter) else { return };
    assert!(filter.len() <= TOPIC_MAX);
    for other in others(filter) {
        assert!(other.subscribes(filter).is_err(), "{filter} is also {other:?}'s");
    }
    if mqtt::is_filter(filter) {
        for downlink in Downlink::ALL {
            let matches = mqtt::matches(filter, &downlink.topic(OWN));
            assert_eq!(granted.contains(downlink), matches, "{filter} and {downlink:?}");
            for other in others(filter) {
                assert!(!mqtt::matches(filter, &downlink.topic(other)), "{filter} reaches {other:?}");
            }
        }
    }
    for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce] {
        let mut subscriptions = Subscriptions::automatic();
        subscriptions.add(granted, delivery);
        for downlink in Downlink::ALL.into_iter().filter(|downlink| granted.contains(*downlink)) {
            assert_eq!(subscriptions.delivery(downlink), Some(delivery));
        }
        subscriptions.remove(granted);
        assert!(
            Downlink::ALL.into_iter().all(|downlink| {
                !granted.contains(downlink) || subscriptions.delivery(downlink).is_none()
            })
        );
    }
}

/// The feed of events: a filter stays within the product that it names.
fn events(filter: &str) {
    let topic = |product: &str| format!("otaria/v1/events/{product}/job/j1/task/dev_0001");
    let Some((product, matches)) = untrusted::events(filter, &topic("a1Le6d0abcd")) else { return };
    assert!(filter.starts_with(&format!("otaria/v1/events/{product}/")));
    if mqtt::is_filter(filter) {
        assert_eq!(matches, mqtt::matches(filter, &topic("a1Le6d0abcd")), "{filter}");
    }
    for other in ["a1Le6d0abcd", "other", "job"].into_iter().filter(|other| *other != product.as_str()) {
        let reached = untrusted::events(filter, &topic(other)).is_some_and(|(_, matches)| matches);
        assert!(!reached, "{filter} reaches {other}");
    }
}
