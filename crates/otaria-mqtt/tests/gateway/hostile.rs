//! Peers that misbehave: nobody else notices.

use std::time::Duration;

use otaria_ports::pusher::{Outcome, Pusher};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{
    Client, answers, connect_packet, framed, hung_up, publish_packet, raw_device, read, texts,
};
use crate::world::{PRODUCT, SECRET, World, eventually};

/// A notice reaches another device quickly.
async fn others_are_well(world: &World, n: i64) {
    let mut other = Client::device(world.plain, n).await;
    world.push(n).await;
    tokio::time::timeout(Duration::from_secs(2), other.publish()).await.expect("promptly");
}

#[tokio::test]
async fn a_topic_that_begins_with_no_ascii_is_dropped() {
    let world = World::start();
    let mut socket = raw_device(world.plain, 1).await;
    for topic in ["ütopic".as_bytes(), b"\xff\xfe", b"\xc3", b"a/#", b"+", b"a\0b", b""] {
        socket.write_all(&publish_packet(topic, b"{}")).await.unwrap();
    }
    assert!(answers(&mut socket).await);
    others_are_well(&world, 2).await;
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_and_the_connection_stays() {
    let world = World::start();
    let mut socket = raw_device(world.plain, 1).await;
    let subscribe = framed(0x82, &[&[0, 7, 0, 2][..], b"a#", &[1]].concat());
    socket.write_all(&subscribe).await.unwrap();
    assert_eq!(read(&mut socket, 5).await, [0x90, 3, 0, 7, 0x80]);
    assert!(answers(&mut socket).await);
}

#[tokio::test]
async fn half_a_packet_waits_for_its_other_half() {
    let world = World::start();
    let mut socket = raw_device(world.plain, 1).await;
    let report = br#"{"id":1,"params":{"version":"1.0.0"}}"#;
    let packet = publish_packet(format!("/ota/device/inform/{PRODUCT}/dev_0001").as_bytes(), report);
    let (first, second) = packet.split_at(packet.len() / 2);
    socket.write_all(first).await.unwrap();
    others_are_well(&world, 2).await;
    socket.write_all(second).await.unwrap();
    eventually(|| (world.inbox.reports.lock().unwrap().len() == 1).then_some(())).await;

    // And a CONNECT in single bytes.
    let mut slow = TcpStream::connect(world.plain).await.unwrap();
    for byte in connect_packet(&texts(3, "securemode=3", SECRET)) {
        slow.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&mut slow, 4).await, [0x20, 2, 0, 0]);
}

#[tokio::test]
async fn many_silent_connections_harm_nobody_and_are_closed() {
    let world = World::with(|config| config.connect_timeout = Duration::from_secs(2));
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(world.plain).await.unwrap());
    }
    others_are_well(&world, 2).await;
    for socket in &mut idle {
        hung_up(socket).await;
    }
}

#[tokio::test]
async fn strangers_beyond_the_limit_are_closed_and_devices_stay() {
    let world = World::with(|config| config.max_strangers = 10);
    let mut device = Client::device(world.plain, 1).await;
    let mut idle = Vec::new();
    for _ in 0..11 {
        idle.push(TcpStream::connect(world.plain).await.unwrap());
    }
    hung_up(idle.last_mut().unwrap()).await;
    world.push(1).await;
    device.publish().await;
}

#[tokio::test]
async fn what_is_no_mqtt_is_closed() {
    let world = World::start();
    let good = connect_packet(&texts(1, "securemode=3", SECRET));
    for rubbish in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0],
        vec![0x10, 0xff, 0xff, 0xff, 0xff],
        framed(0x10, &[0; 5_000]),
        framed(0x10, &[0, 4]),
        vec![0x30, 0],
        [&good[..], &framed(0x32, &[0, 1, b'a', 0, 0])].concat(),
        [&good[..], &framed(0x34, &[0, 1, b'a', 0, 1])].concat(),
        [&good[..], &good[..]].concat(),
        [&good[..], &[0x30, 0xff, 0xff, 0xff, 0x7f]].concat(),
        [&good[..], &[0x00, 0]].concat(),
    ] {
        let mut socket = TcpStream::connect(world.plain).await.unwrap();
        socket.write_all(&rubbish).await.unwrap();
        hung_up(&mut socket).await;
    }
    others_are_well(&world, 2).await;
}

#[tokio::test]
async fn a_slow_reader_is_congested_then_closed_and_others_are_served() {
    let world = World::with(|config| config.send_buffer_bytes = 8 * 1024);
    let slow = raw_device(world.plain, 1).await;
    // It asks for answers without end and reads none of them.
    let (_silent, mut asks) = slow.into_split();
    let asking = tokio::spawn(async move { while asks.write_all(&[0xc0, 0].repeat(512)).await.is_ok() {} });

    let mut other = Client::device(world.plain, 2).await;
    for _ in 0..20 {
        world.push(2).await;
        tokio::time::timeout(Duration::from_secs(2), other.publish()).await.expect("promptly");
    }
    tokio::time::timeout(crate::world::SOON, asking).await.expect("closed soon").unwrap();
}

#[tokio::test]
async fn a_notice_is_not_queued_behind_others() {
    let world = World::with(|config| config.send_buffer_bytes = 8 * 1024);
    let _never_reads = raw_device(world.plain, 1).await;
    let notice = world.notice(1).await;
    let mut outcomes = Vec::new();
    for round in 1..=200 {
        world.pusher.send(vec![notice.clone(); 500]).await.unwrap();
        outcomes = world.outcomes(500 * round).await;
        if outcomes.contains(&Outcome::Congested) {
            break;
        }
    }
    assert!(outcomes.contains(&Outcome::Congested));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Written | Outcome::Congested)));
    others_are_well(&world, 2).await;
}
