use super::*;

/// A PUBLISH of QoS 0 or 1 with any bytes as topic.
fn publish(topic: &[u8], qos: u8) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic);
    if qos > 0 {
        body.extend([0, 9]);
    }
    // To 5.0 the zero is an empty list of properties.
    body.extend(b"\0{}");
    [&[0x30 | qos << 1, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

#[test]
fn a_frame_is_whole_incomplete_or_too_long() {
    assert_eq!(frame(&[], 100), Ok(None));
    assert_eq!(frame(&[0x30], 100), Ok(None));
    assert_eq!(frame(&[0x30, 0x80], 100), Ok(None));
    assert_eq!(frame(&[0xc0, 0], 100), Ok(Some(2)));
    assert_eq!(frame(&[0x30, 3, 0, 1], 100), Ok(None));
    assert_eq!(frame(&[0x30, 3, 0, 1, b'a', 0xc0], 100), Ok(Some(5)));
    assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 65_536), Err(Malformed));
    assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff], 65_536), Err(Malformed));
}

#[test]
fn an_odd_topic_is_dropped_and_not_malformed() {
    for wire in [Wire::V4, Wire::V5] {
        assert!(matches!(wire.decode(&publish(b"\xff\xfe", 0)), Ok(Inbound::OddPublish { pkid: None })));
        assert!(matches!(wire.decode(&publish(b"a/#", 0)), Ok(Inbound::OddPublish { pkid: None })));
        assert!(matches!(wire.decode(&publish(b"a/+", 1)), Ok(Inbound::OddPublish { pkid: Some(9) })));
    }
    let Ok(Inbound::Publish(publish)) = Wire::V4.decode(&publish("ü/x".as_bytes(), 1)) else { panic!() };
    assert_eq!((&*publish.topic, publish.pkid), ("ü/x", Some(9)));
}

#[test]
fn a_filter_that_is_none_is_refused_and_not_malformed() {
    let filters = [&[0, 2][..], b"a#", &[1, 0, 1], b"b", &[0]].concat();
    let v4 = [&[0x82, 2 + u8::try_from(filters.len()).unwrap(), 0, 7][..], &filters].concat();
    let v5 = [&[0x82, 3 + u8::try_from(filters.len()).unwrap(), 0, 7, 0][..], &filters].concat();
    assert!(matches!(Wire::V4.decode(&v4), Ok(Inbound::OddSubscribe { pkid: 7, filters: 2 })));
    assert!(matches!(Wire::V5.decode(&v5), Ok(Inbound::OddSubscribe { pkid: 7, filters: 2 })));
}

#[test]
fn a_wildcard_that_does_not_stand_alone_makes_no_filter() {
    for filter in [&b"/sys/a/b/+x"[..], b"/sys/a/b/x+", b"/sys/a/b/x#"] {
        let filters = [&[0, u8::try_from(filter.len()).unwrap()][..], filter, &[1]].concat();
        let v4 = [&[0x82, 2 + u8::try_from(filters.len()).unwrap(), 0, 7][..], &filters].concat();
        let v5 = [&[0x82, 3 + u8::try_from(filters.len()).unwrap(), 0, 7, 0][..], &filters].concat();
        assert!(matches!(Wire::V4.decode(&v4), Ok(Inbound::OddSubscribe { pkid: 7, filters: 1 })));
        assert!(matches!(Wire::V5.decode(&v5), Ok(Inbound::OddSubscribe { pkid: 7, filters: 1 })));
    }
}

#[test]
fn nothing_follows_the_last_field_of_a_connect() {
    for (version, properties) in [(4, &[][..]), (5, &[0][..])] {
        let body = [&[0, 4][..], b"MQTT", &[version, 2, 0, 60], properties, &[0, 1, b'c']].concat();
        let packet = |more: &[u8]| {
            let length = u8::try_from(body.len() + more.len()).unwrap();
            [&[0x10, length][..], &body, more].concat()
        };
        assert_eq!(hello(&packet(&[])).unwrap().unwrap().client_id, "c");
        assert_eq!(hello(&packet(&[0, 1, b'u'])).unwrap_err(), Malformed);
    }
}

#[test]
fn a_suback_has_an_answer_for_each_filter_and_its_right_length() {
    use SubscribeAnswer::{Granted, Refused};
    let answers = [Granted(Delivery::AtMostOnce), Granted(Delivery::AtLeastOnce), Refused];
    assert_eq!(Wire::V4.suback(258, &answers), [0x90, 5, 1, 2, 0, 1, 0x80]);
    for count in [1, 125, 126, 127, 16_381, 16_382] {
        let packet = Wire::V4.suback(1, &vec![Refused; count]);
        assert_eq!(frame(&packet, 20_000), Ok(Some(packet.len())), "{count}");
    }
}

#[test]
fn quality_two_is_refused() {
    assert!(matches!(Wire::V4.decode(&publish(b"a", 2)), Err(Malformed)));
    assert!(matches!(Wire::V5.decode(&publish(b"a", 2)), Err(Malformed)));
}

#[test]
fn an_unknown_protocol_is_answered_and_not_dropped() {
    let connect = [&[0x10, 12, 0, 4][..], b"MQTT", &[9, 2, 0, 60, 0, 0]].concat();
    assert_eq!(hello(&connect).unwrap().unwrap_err(), ConnectAnswer::BadProtocol);
    assert_eq!(Wire::V4.connack(ConnectAnswer::BadProtocol), [0x20, 2, 0, 1]);
    assert_eq!(Wire::V4.connack(ConnectAnswer::NotAuthorized), [0x20, 2, 0, 5]);
}

#[test]
fn a_truncated_or_mutated_packet_never_panics() {
    let connect = [&[0x10, 12, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, 0]].concat();
    let subscribe = [&[0x82, 8, 0, 1, 0, 3][..], b"a/#", &[1]].concat();
    for seed in [connect, subscribe, publish(b"a/b", 1)] {
        for place in 0..seed.len() {
            for byte in 0..=u8::MAX {
                let mut mutant = seed.clone();
                mutant[place] = byte;
                for end in [seed.len(), place + 1] {
                    if let Ok(Some(whole)) = frame(&mutant[..end], 64) {
                        let _ = hello(&mutant[..whole]);
                        let _ = Wire::V4.decode(&mutant[..whole]);
                        let _ = Wire::V5.decode(&mutant[..whole]);
                    }
                }
            }
        }
    }
}
