//! Who gets in, and what happens to the rest.

use otaria_ports::clock::Clock;
use otaria_ports::pusher::{Outcome, Pusher};
use rumqttc::ConnectReturnCode as Code;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Client, connect_packet, framed, hung_up, raw_device, read, texts};
use crate::world::{HostClock, KEY, KEY_SECRET, SECRET, World, device};

#[tokio::test]
async fn a_device_logs_in_by_each_of_the_three_methods() {
    let world = World::start();
    for (n, pairs) in [
        (1, "securemode=3"),
        (2, "securemode=3,signmethod=hmacmd5,timestamp=1763712000"),
        (3, "securemode=3,signmethod=hmacsha1,ext=3,"),
        (4, "timestamp=2524608000000,securemode=2,signmethod=hmacsha256,_ss=1"),
    ] {
        let [client_id, user, password] = texts(n, pairs, SECRET);
        for password in [password.to_uppercase(), password] {
            let texts = [client_id.clone(), user.clone(), password];
            assert!(Client::connect(world.plain, texts, None).await.is_ok(), "{pairs}");
        }
    }
}

#[tokio::test]
async fn everybody_else_is_told_why_not() {
    let world = World::start();
    let refusal = async |texts| Client::connect(world.plain, texts, None).await.err();
    let good = texts(1, "securemode=3", SECRET);
    let [client_id, user, password] = &good;
    let with = |id: &str, user: &str, password: &str| [id.to_owned(), user.to_owned(), password.to_owned()];

    assert_eq!(refusal(texts(1, "securemode=3", "another secret")).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(texts(21, "securemode=3", SECRET)).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(texts(9, "securemode=3", SECRET)).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(texts(21, "securemode=3", "")).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(with(client_id, user, "zz")).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(with("12345", user, password)).await, Some(Code::BadClientId));
    assert_eq!(refusal(with(client_id, "a&b", password)).await, Some(Code::BadUserNamePassword));
    assert_eq!(refusal(with("x", KEY, "wrong")).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(with("x", "nobody", KEY_SECRET)).await, Some(Code::NotAuthorized));
    assert_eq!(refusal(with("x", "ä", KEY_SECRET)).await, Some(Code::BadUserNamePassword));
    assert_eq!(world.session(1).await, None);
    assert_eq!(refusal(good).await, None);
}

#[tokio::test]
async fn an_unknown_protocol_is_refused_with_code_one() {
    let world = World::start();
    let mut socket = TcpStream::connect(world.plain).await.unwrap();
    let body = [&[0, 4][..], b"MQTT", &[9, 2, 0, 60, 0, 0]].concat();
    socket.write_all(&framed(0x10, &body)).await.unwrap();
    assert_eq!(read(&mut socket, 4).await, [0x20, 2, 0, 1]);
    hung_up(&mut socket).await;
}

#[tokio::test]
async fn a_second_login_closes_the_first() {
    let world = World::start();
    let mut first = Client::device(world.plain, 1).await;
    let first_session = world.session(1).await.unwrap();
    let mut second = Client::device(world.plain, 1).await;
    first.ended().await;

    let second_session = world.session(1).await.unwrap();
    assert!(second_session > first_session);
    world.push(1).await;
    assert_eq!(second.json().await["data"]["version"], "2.0.0");
    assert_eq!(world.outcomes(1).await, [Outcome::Written]);
    assert_eq!(world.session(1).await, Some(second_session));
}

#[tokio::test]
async fn a_device_that_is_shut_out_loses_its_connection() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let mut other = Client::device(world.plain, 2).await;
    world.pusher.close(device(1)).await.unwrap();
    client.ended().await;
    world.push(2).await;
    assert_eq!(other.json().await["data"]["version"], "2.0.0");
    // Whether it may come back is for its credentials to say.
    let _back = Client::device(world.plain, 1).await;
}

#[tokio::test]
async fn presence_ends_with_the_connection() {
    let world = World::start();
    let client = Client::device(world.plain, 1).await;
    assert!(world.session(1).await.is_some());
    client.mqtt.disconnect().await.unwrap();
    while world.session(1).await.is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_silent_device_is_closed_after_one_and_a_half_keep_alives() {
    let world = World::start();
    let mut packet = connect_packet(&texts(1, "securemode=3", SECRET));
    let keep_alive = packet.windows(4).position(|w| w == [4, 0xc2, 0, 60]).unwrap() + 3;
    packet[keep_alive] = 1;
    let mut socket = TcpStream::connect(world.plain).await.unwrap();
    socket.write_all(&packet).await.unwrap();
    read(&mut socket, 4).await;
    hung_up(&mut socket).await;
}

#[tokio::test]
async fn a_stop_closes_everybody_and_forgets_them() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let mut raw = raw_device(world.plain, 2).await;
    let presence = world.presence.clone();
    world.stop().await;
    client.ended().await;
    hung_up(&mut raw).await;
    use otaria_ports::presence::Presence;
    let left = presence.snapshot(otaria_core::shard::Shard(3)).await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_device_of_the_newer_protocol_is_welcome() {
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let world = World::start();
    let [client_id, user, password] = texts(1, "securemode=3,_ss=1", SECRET);
    let mut options = MqttOptions::new(client_id, world.plain.ip().to_string(), world.plain.port());
    options.set_credentials(user, password);
    let (_client, mut events) = AsyncClient::new(options, 10);
    loop {
        match events.poll().await.unwrap() {
            Event::Incoming(Packet::ConnAck(_)) => world.push(1).await,
            Event::Incoming(Packet::Publish(publish)) => {
                assert_eq!(publish.topic, format!("/ota/device/upgrade/{}/dev_0001", crate::world::PRODUCT));
                return;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_strangers() {
    let world = World::start();
    let mut stranger = TcpStream::connect(world.plain).await.unwrap();
    let _known = Client::device(world.plain, 1).await;
    tokio::time::timeout(std::time::Duration::from_secs(3), world.stop()).await.expect("a quick stop");
    hung_up(&mut stranger).await;
}

#[tokio::test]
async fn logins_beyond_the_rate_wait_and_none_is_refused() {
    let world = World::with(|config| config.connects_per_second = 5);
    let begun = HostClock.now();
    let logins: Vec<_> = (1..=8)
        .map(|n| {
            let address = world.plain;
            tokio::spawn(async move { Client::device(address, n).await })
        })
        .collect();
    for login in logins {
        login.await.unwrap();
    }
    assert!(HostClock.now().since(begun) >= std::time::Duration::from_millis(500));
}
