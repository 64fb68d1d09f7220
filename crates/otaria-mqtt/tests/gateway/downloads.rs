//! Packages over MQTT.

use bytes::Bytes;
use otaria_ports::inbox::{BLOCK_MAX, BlockAsked};
use rumqttc::Publish;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::client::{Client, framed, publish_packet, raw_device, read};
use crate::world::{PRODUCT, World, device, eventually};

pub(crate) fn topic() -> String {
    format!("/sys/{PRODUCT}/dev_0001/thing/file/download")
}

pub(crate) fn question(id: u32, offset: usize, size: u32) -> String {
    let block = json!({"size": size, "offset": offset});
    let params = json!({"fileInfo": {"streamId": 7, "fileId": 1}, "fileBlock": block});
    json!({"id": id, "params": params}).to_string()
}

/// The JSON of an answer and what follows it.
pub(crate) fn taken_apart(payload: &[u8]) -> (Value, &[u8]) {
    let (length, rest) = payload.split_at(2);
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    (serde_json::from_slice(&rest[..length]).unwrap(), &rest[length..])
}

async fn refused(client: &mut Client, question: &str) -> Value {
    client.say(&topic(), question).await;
    let Publish { topic: reply, payload, .. } = client.publish().await;
    assert_eq!(reply, format!("{}_reply", topic()));
    let (json, rest) = taken_apart(&payload);
    assert!(rest.is_empty() && json["data"].is_null());
    json
}

#[tokio::test]
async fn a_block_arrives_in_its_frame() {
    let world = World::start();
    *world.inbox.file.lock().unwrap() = Some(Bytes::from_static(b"123456789"));
    let mut client = Client::device(world.plain, 1).await;
    // As a kit in C writes it, with a comma too many.
    let asked = r#"{"id":"1","version":"1.0","params":{"fileInfo":{"streamId":7,"fileId":1,},"fileBlock":{"size":5120,"offset":0}}}"#;
    client.say(&topic(), asked).await;
    let reply = client.publish().await;
    assert_eq!(reply.topic, format!("{}_reply", topic()));
    let (json, rest) = taken_apart(&reply.payload);
    assert_eq!(json, json!({"id": "1", "code": 200, "data": {"bOffset": 0, "bSize": 9, "fileLength": 9}}));
    assert_eq!(rest, b"123456789\x3d\xbb");
    let asked = BlockAsked { stream_id: 7, file_id: 1, offset: 0, size: 5_120 };
    assert_eq!(*world.inbox.blocks.lock().unwrap(), [(device(1), asked)]);
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_a_code() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    assert_eq!(refused(&mut client, &question(1, 0, 10)).await, json!({"id": 1, "code": 404}));
    *world.inbox.file.lock().unwrap() = Some(Bytes::from_static(b"123456789"));
    assert_eq!(refused(&mut client, &question(2, 9, 10)).await, json!({"id": 2, "code": 416}));
    assert_eq!(refused(&mut client, &question(3, 0, BLOCK_MAX + 1)).await["code"], 400);
    assert_eq!(refused(&mut client, &question(4, 0, 0)).await["code"], 400);
    assert_eq!(refused(&mut client, r#"{"id":"5","params":{}}"#).await, json!({"id": "5", "code": 400}));
    assert_eq!(world.inbox.blocks.lock().unwrap().len(), 2, "what has no sense does not get further");
}

#[tokio::test]
async fn a_question_that_is_no_json_or_for_another_device_gets_no_answer() {
    let world = World::start();
    *world.inbox.file.lock().unwrap() = Some(Bytes::from_static(b"123456789"));
    let mut client = Client::device(world.plain, 1).await;
    client.say(&topic(), "{").await;
    client.say(&topic().replace("0001", "0002"), &question(1, 0, 10)).await;
    assert!(client.hears_nothing().await);
    assert!(world.inbox.blocks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_did_not_subscribe_to_answers_costs_no_reading() {
    let world = World::start();
    *world.inbox.file.lock().unwrap() = Some(Bytes::from_static(b"123456789"));
    let mut client = Client::silent_device(world.plain, 1).await;
    client.say(&topic(), &question(1, 0, 10)).await;
    assert!(client.hears_nothing().await);
    assert!(world.inbox.blocks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_longest_blocks_go_through_and_one_at_a_time() {
    const ASKED: usize = 12;
    let world = World::start();
    let file: Vec<u8> = (0..BLOCK_MAX).map(|n| u8::try_from(n % 251).unwrap()).collect();
    *world.inbox.file.lock().unwrap() = Some(file.clone().into());
    let mut socket = raw_device(world.plain, 1).await;
    for id in 0..ASKED {
        let asked = question(u32::try_from(id).unwrap(), 0, BLOCK_MAX);
        socket.write_all(&publish_packet(topic().as_bytes(), asked.as_bytes())).await.unwrap();
    }
    // It does not read, so not all of them are fetched from the engine.
    tokio::time::sleep(crate::world::QUIET).await;
    let fetched = world.inbox.blocks.lock().unwrap().len();
    assert!(fetched < ASKED, "{fetched} blocks wait for a device that does not read");

    for id in 0..ASKED {
        let json = json!({"id": id, "code": 200,
            "data": {"bOffset": 0, "bSize": BLOCK_MAX, "fileLength": BLOCK_MAX}});
        let reply = format!("{}_reply", topic());
        let length = 2 + reply.len() + 2 + json.to_string().len() + file.len() + 2;
        let packet = read(&mut socket, framed(0x30, &vec![0; length]).len()).await;
        let payload = &packet[packet.len() - length + 2 + reply.len()..];
        let (found, rest) = taken_apart(payload);
        assert_eq!(found, json);
        assert_eq!(rest[..file.len()], file);
    }
    eventually(|| (world.inbox.blocks.lock().unwrap().len() == ASKED).then_some(())).await;
}
