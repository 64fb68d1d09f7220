//! MQTT. While one side misbehaves, another device on the same server is updated.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::device::{Device, Temper, login};
use crate::eventually;
use crate::mqtt::{answers, connect_packet, framed, hung_up, knock, publish_packet};
use crate::rollout::{Identity, firmware, names_job, product, query, register};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_misbehaves_harms_no_other() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let mqtt = server.at().mqtt;
    let product = product(&faces, "hostile_test").await;
    let identities = register(&faces, &product, (0..4).map(|n| format!("unit-{n}"))).await;
    let [good, bad, half, stranger] = &identities[..] else { panic!("four devices") };
    let device = Device::start(mqtt, &product, good, Temper::Good(Duration::ZERO));
    eventually("it is online", Duration::from_secs(20), async || device.is_online().then_some(())).await;

    // Whoever cannot prove to be a device is told so.
    let wrong = Identity { secret: "0".repeat(32), ..stranger.clone() };
    let ghost = Identity { name: "ghost-1".to_owned(), ..stranger.clone() };
    for identity in [&wrong, &ghost] {
        let (mut socket, code) = knock(mqtt, &login(&product, identity)).await;
        assert!([4, 5].contains(&code), "CONNACK {code}");
        hung_up(&mut socket).await;
    }
    let [client_id, user, password] = login(&product, stranger);
    for texts in [
        ["no form at all".to_owned(), user.clone(), password.clone()],
        [client_id.clone(), "nobody".to_owned(), password.clone()],
        [client_id.clone(), user.clone(), String::new()],
        [client_id.replace("hmacsha256", "none"), user.clone(), password.clone()],
    ] {
        let (mut socket, code) = knock(mqtt, &texts).await;
        assert!([2, 4, 5].contains(&code), "CONNACK {code} for {texts:?}");
        hung_up(&mut socket).await;
    }

    // Bytes that are no MQTT end the connection.
    let too_large = [0x10, 0xff, 0xff, 0xff, 0x7f];
    let endless_length = [0x10, 0xff, 0xff, 0xff, 0xff, 0xff];
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 512], &[0; 64], &too_large, &endless_length] {
        let mut socket = TcpStream::connect(mqtt).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        hung_up(&mut socket).await;
    }

    // A known device may not do more harm than a stranger.
    let (mut socket, code) = knock(mqtt, &login(&product, bad)).await;
    assert_eq!(code, 0);
    let own = |what: &str| format!("/ota/device/{what}/{product}/{}", bad.name);
    for (topic, payload) in [
        ("ünicode".as_bytes().to_vec(), b"x".to_vec()),
        ("\u{fe0f}/ota".as_bytes().to_vec(), b"x".to_vec()),
        (own("inform").into_bytes(), b"{".to_vec()),
        (own("inform").into_bytes(), vec![0xff; 200]),
        (own("inform").into_bytes(), vec![b'['; 60_000]),
        (own("inform").into_bytes(), br#"{"id":1,"params":{"version":7}}"#.to_vec()),
        (own("progress").into_bytes(), br#"{"id":1,"params":{"step":"1e99"}}"#.to_vec()),
        (own("nonsense").into_bytes(), b"{}".to_vec()),
        (format!("/ota/device/inform/{product}/{}", good.name).into_bytes(), informing("6.6.6")),
    ] {
        socket.write_all(&publish_packet(&topic, &payload)).await.unwrap();
        assert!(answers(&mut socket).await, "after {}", String::from_utf8_lossy(&topic));
    }
    // 200 MB announced: not one byte of it is waited for.
    socket.write_all(&[0x30, 0x80, 0x80, 0x80, 0x64]).await.unwrap();
    hung_up(&mut socket).await;

    // Half a CONNECT, half a PUBLISH, and silence, while the other device goes on.
    let connect = connect_packet(&login(&product, half));
    let mut silent = TcpStream::connect(mqtt).await.unwrap();
    silent.write_all(&connect[..connect.len() / 2]).await.unwrap();
    let (mut stuck, _) = knock(mqtt, &login(&product, half)).await;
    let publish = framed(0x30, &vec![b'x'; 3_000]);
    stuck.write_all(&publish[..publish.len() / 2]).await.unwrap();

    let firmware = firmware(&faces, &product, "2.0.0").await;
    let request = names_job(&product, &firmware, [good.name.as_str()]);
    let job = faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id;
    eventually("the other device is updated", Duration::from_secs(20), async || {
        let counts = query(&faces, &job).await.task_counts.unwrap_or_default();
        (counts.succeeded == 1).then_some(())
    })
    .await;
    assert_eq!((device.connects(), device.seen("2.0.0").len()), (1, 1));
    assert_eq!(device.odd(), Vec::<String>::new());
    server.assert_healthy().await;
}

fn informing(version: &str) -> Vec<u8> {
    serde_json::json!({"id": "1", "params": {"version": version}}).to_string().into_bytes()
}
