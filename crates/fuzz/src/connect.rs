//! The first bytes of a connection: a CONNECT of either version, and what its texts prove.

use otaria_core::door::connect::{CLIENT_ID_MAX, is_platform};
use otaria_core::door::topic::TOPIC_MAX;
use otaria_core::door::{ConnectClaim, Downlink, HmacMethod, Own};
use otaria_core::ids::AccessKeyId;
use otaria_mqtt::untrusted::{Connect, Greeting, greet};

use crate::mqtt;

/// The secret of the devices that the kept inputs show.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The gateway's limit of a CONNECT.
const PACKET_MAX: usize = 4 * 1024;

pub(crate) fn run(input: &[u8]) {
    received(input);
    written(input);
}

/// The input is what a socket brought.
fn received(input: &[u8]) {
    let greeting = greet(input);
    let connect = match &greeting {
        Greeting::Incomplete => return,
        // What no packet begins with does not become one.
        Greeting::Malformed | Greeting::Refused(_) => {
            let more = [input, b"\0"].concat();
            assert_eq!(greet(&more), greeting, "a refusal changed with what came behind it");
            return;
        }
        Greeting::Connect(connect) => connect,
    };

    // Neither what follows nor how it was cut changes what was read.
    let packet = &input[..connect.length];
    assert_eq!(greet(packet), greeting, "a CONNECT changed with what came behind it");
    for cut in [1, 2, 3, 5, 9, connect.length / 2, connect.length - 1] {
        assert_eq!(greet(&packet[..cut.min(connect.length - 1)]), Greeting::Incomplete, "cut at {cut}");
    }

    let plain = mqtt::connect(packet).expect("a CONNECT by the standard");
    assert_eq!((connect.is_v5, connect.keep_alive), (plain.is_v5, plain.keep_alive));
    assert_eq!(connect.client_id.as_bytes(), plain.client_id);
    assert_eq!(connect.user_name.as_ref().map(String::as_bytes), plain.user_name);
    assert_eq!(connect.password.as_deref(), plain.password);
    assert_eq!(plain.rest, b"", "a CONNECT goes on behind its last field");
    judge(connect);
}

/// The input is three lines: client id, user name and password, sent in both versions.
fn written(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).ok();
    let (Some(client_id), Some(user)) = (text(), text()) else { return };
    let password = lines.next().unwrap_or_default();
    let keep_alive = u16::from(*input.first().unwrap_or(&0)) << 4;

    let read = [false, true].map(|is_v5| {
        let packet = mqtt::write_connect(is_v5, keep_alive, client_id, user, password);
        match greet(&packet) {
            Greeting::Connect(connect) => {
                assert_eq!((connect.is_v5, connect.length), (is_v5, packet.len()));
                assert_eq!((connect.client_id.as_str(), connect.keep_alive), (client_id, keep_alive));
                assert_eq!(connect.user_name.as_deref(), Some(user));
                assert_eq!(connect.password.as_deref(), Some(password));
                Some(connect)
            }
            Greeting::Malformed => {
                let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
                let is_good = is_plain(client_id) && is_plain(user) && packet.len() <= PACKET_MAX;
                assert!(!is_good, "a good CONNECT was not read");
                None
            }
            other => panic!("a whole CONNECT is {other:?}"),
        }
    });
    // The same texts are a byte longer in 5.0, which may be the one that is too much.
    let is_short = client_id.len() + user.len() + password.len() + 32 < PACKET_MAX;
    assert!(!is_short || read[0].is_some() == read[1].is_some(), "the versions disagree");
    if let [Some(connect), _] = &read {
        judge(connect);
    }
}

/// What the gateway decides before it looks anybody up, and with the secret it would find.
fn judge(connect: &Connect) {
    let Connect { client_id, .. } = connect;
    let (Some(user), Some(password)) = (&connect.user_name, &connect.password) else { return };
    if is_platform(user) {
        assert!(ConnectClaim::parse(client_id, user).is_err(), "one user name, two kinds of client");
        let key = AccessKeyId::parse(user);
        assert!(key.is_err() || user.bytes().all(|byte| byte.is_ascii_graphic()));
        return;
    }
    let Ok(claim) = ConnectClaim::parse(client_id, user) else { return };

    let (name, product) = (claim.device_name.as_str(), claim.product_key.as_str());
    assert_eq!(format!("{name}&{product}"), *user);
    assert!(client_id.len() <= CLIENT_ID_MAX && client_id.ends_with('|'));
    assert!(client_id.starts_with(&format!("{}|", claim.id)));
    if let Some(timestamp) = &claim.timestamp {
        assert!(client_id.contains(&format!("timestamp={timestamp}")));
    }

    let right = claim.password(SECRET);
    let digits = match claim.sign_method {
        HmacMethod::Md5 => 32,
        HmacMethod::Sha1 => 40,
        HmacMethod::Sha256 => 64,
    };
    assert_eq!(right.len(), digits);
    assert!(claim.verify(SECRET, right.as_bytes()));
    assert!(claim.verify(SECRET, right.to_ascii_uppercase().as_bytes()));
    assert!(!claim.verify(b"another", right.as_bytes()));
    assert!(!claim.verify(SECRET, &right.as_bytes()[..digits - 2]));
    let is_right = password.eq_ignore_ascii_case(right.as_bytes());
    assert_eq!(claim.verify(SECRET, password), is_right, "only the digits of the digest prove anything");

    // Who comes in can be reached: its topics are topics, and its own.
    let own = Own { product_key: product, device_name: name };
    for downlink in Downlink::ALL {
        let topic = downlink.topic(own);
        assert!(topic.len() <= TOPIC_MAX);
        assert_eq!(own.subscribes(&topic), Ok(downlink.into()));
    }
}
