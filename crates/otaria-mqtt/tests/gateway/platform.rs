//! Platform clients and the feed of events.

use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobId, JobNo, ProductKey};
use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::events::{Event, Events, Happened};
use rumqttc::{ConnectReturnCode, Packet, QoS};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Client, connect_packet, framed, hung_up, read};
use crate::world::{ACCOUNT, KEY, KEY_SECRET, OTHER_KEY, PRODUCT, World, eventually};

const ALL: &str = "otaria/v1/events/a1Le6d0abcd/#";

fn login(key: &str, client_id: &str) -> [String; 3] {
    [client_id.to_owned(), key.to_owned(), KEY_SECRET.to_owned()]
}

async fn platform(world: &World, client_id: &str) -> Client {
    Client::connect(world.plain, login(KEY, client_id), None).await.unwrap()
}

fn event(job: &str, what: Happened) -> Event {
    let product = ProductKey::parse(PRODUCT).unwrap();
    let (job, at) = (JobId::parse(job).unwrap(), Timestamp::from_millis(9));
    Event { account: ACCOUNT, product, job, job_no: JobNo(1), at, what }
}

fn task(job: &str, n: i64, revision: i64) -> Event {
    let what = Happened::Task {
        device: DeviceName::parse(&crate::world::name(n)).unwrap(),
        device_id: DeviceId(n),
        previous: Some(TaskStatus::InProgress),
        status: TaskStatus::InProgress,
        attempt: 1,
        percent: Some(50),
        revision,
        desc: Some("half".into()),
    };
    event(job, what)
}

#[tokio::test]
async fn a_platform_client_sees_all_events_of_its_product_in_order() {
    let world = World::start();
    let mut client = platform(&world, "p").await;
    assert!(client.subscribe(ALL, QoS::AtLeastOnce).await);
    for revision in 1..=500 {
        world.feed.publish(vec![task("j1", 1, revision), task("j1", 2, revision)]);
    }
    world.feed.publish(vec![event("j1", Happened::Job { status: JobStatus::Completed })]);

    for revision in 1..=500 {
        for n in [1, 2] {
            let publish = client.publish().await;
            let name = crate::world::name(n);
            assert_eq!(publish.topic, format!("otaria/v1/events/{PRODUCT}/job/j1/task/{name}"));
            let json: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
            assert_eq!(
                json,
                json!({"jobId": "j1", "deviceName": name, "productKey": PRODUCT, "status": "IN_PROGRESS",
                    "previousStatus": "IN_PROGRESS", "attempt": 1, "progress": 50, "desc": "half",
                    "revision": revision, "utc": 9})
            );
        }
    }
    let publish = client.publish().await;
    assert_eq!(publish.topic, format!("otaria/v1/events/{PRODUCT}/job/j1"));
    let json: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
    assert_eq!(json, json!({"jobId": "j1", "productKey": PRODUCT, "status": "COMPLETED", "utc": 9}));
}

#[tokio::test]
async fn each_client_gets_what_it_asked_for_and_each_event_once() {
    let world = World::start();
    let mut one_job = platform(&world, "one").await;
    let mut one_device = platform(&world, "two").await;
    let prefix = format!("otaria/v1/events/{PRODUCT}/job");
    assert!(one_job.subscribe(&format!("{prefix}/j1/#"), QoS::AtMostOnce).await);
    assert!(one_job.subscribe(&format!("{prefix}/j1/task/+"), QoS::AtMostOnce).await);
    assert!(one_device.subscribe(&format!("{prefix}/+/task/dev_0002"), QoS::AtMostOnce).await);
    world.feed.publish(vec![task("j1", 1, 1), task("j2", 1, 1), task("j2", 2, 1), task("j1", 2, 1)]);
    let topics = [format!("{prefix}/j1/task/dev_0001"), format!("{prefix}/j1/task/dev_0002")];
    for topic in topics {
        assert_eq!(one_job.publish().await.topic, topic);
    }
    assert_eq!(one_device.publish().await.topic, format!("{prefix}/j2/task/dev_0002"));
    assert_eq!(one_device.publish().await.topic, format!("{prefix}/j1/task/dev_0002"));
    assert!(one_job.hears_nothing().await);

    one_job.mqtt.unsubscribe(format!("{prefix}/j1/#")).await.unwrap();
    one_job.mqtt.unsubscribe(format!("{prefix}/j1/task/+")).await.unwrap();
    for _ in 0..2 {
        while !matches!(one_job.packet().await, Some(Packet::UnsubAck(_))) {}
    }
    world.feed.publish(vec![task("j1", 1, 2)]);
    assert!(one_job.hears_nothing().await);
}

#[tokio::test]
async fn nothing_is_wanted_while_nobody_listens() {
    let world = World::start();
    assert!(!world.feed.wanted(ACCOUNT));
    let mut client = platform(&world, "p").await;
    assert!(!world.feed.wanted(ACCOUNT));
    assert!(client.subscribe(ALL, QoS::AtMostOnce).await);
    assert!(world.feed.wanted(ACCOUNT));
    assert!(!world.feed.wanted(AccountNo(2)));
    client.mqtt.disconnect().await.unwrap();
    eventually(|| (!world.feed.wanted(ACCOUNT)).then_some(())).await;
}

#[tokio::test]
async fn filters_beyond_the_own_account_are_refused() {
    let world = World::start();
    let mut own = platform(&world, "p").await;
    for filter in [
        "#".to_owned(),
        "+/v1/events/a1Le6d0abcd/#".to_owned(),
        "otaria/v1/events/#".to_owned(),
        "otaria/v1/events/+/#".to_owned(),
        "otaria/v1/events/b2Foreign/#".to_owned(),
        "otaria/v1/events/unknown/#".to_owned(),
        format!("/ota/device/upgrade/{PRODUCT}/dev_0001"),
        format!("$share/g/{ALL}"),
        "$SYS/#".to_owned(),
    ] {
        assert!(!own.subscribe(&filter, QoS::AtMostOnce).await, "{filter}");
    }
    let mut other = Client::connect(world.plain, login(OTHER_KEY, "p"), None).await.unwrap();
    assert!(!other.subscribe(ALL, QoS::AtMostOnce).await);
    assert!(own.subscribe(ALL, QoS::AtMostOnce).await);
    world.feed.publish(vec![task("j1", 1, 1)]);
    own.publish().await;
    assert!(other.hears_nothing().await);
}

#[tokio::test]
async fn a_platform_client_cannot_publish() {
    let world = World::start();
    let mut device = Client::device(world.plain, 1).await;
    let mut reader = platform(&world, "reader").await;
    let mut writer = platform(&world, "writer").await;
    assert!(reader.subscribe(ALL, QoS::AtMostOnce).await);
    for topic in [
        format!("otaria/v1/events/{PRODUCT}/job/j1"),
        format!("events/{PRODUCT}"),
        format!("/ota/device/upgrade/{PRODUCT}/dev_0001"),
        format!("/ota/device/inform/{PRODUCT}/dev_0001"),
        "ü".to_owned(),
    ] {
        let payload = r#"{"id":1,"params":{"version":"1"}}"#;
        writer.mqtt.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        while !matches!(writer.packet().await, Some(Packet::PubAck(_))) {}
    }
    assert!(reader.hears_nothing().await);
    assert!(device.hears_nothing().await);
    assert!(world.inbox.reports.lock().unwrap().is_empty());
    world.feed.publish(vec![task("j1", 1, 1)]);
    reader.publish().await;
}

#[tokio::test]
async fn a_client_of_the_same_name_takes_the_place_of_the_first() {
    let world = World::start();
    let mut first = platform(&world, "p").await;
    let _elsewhere = Client::connect(world.plain, login(OTHER_KEY, "p"), None).await.unwrap();
    let mut second = platform(&world, "p").await;
    first.ended().await;
    assert!(second.subscribe(ALL, QoS::AtMostOnce).await);
    world.feed.publish(vec![task("j1", 1, 1)]);
    second.publish().await;
}

#[tokio::test]
async fn a_client_that_falls_behind_is_disconnected_and_others_see_everything() {
    let world = World::with(|config| config.send_buffer_bytes = 8 * 1024);
    let mut quick = platform(&world, "quick").await;
    assert!(quick.subscribe(ALL, QoS::AtMostOnce).await);
    let mut slow = TcpStream::connect(world.plain).await.unwrap();
    slow.write_all(&connect_packet(&login(KEY, "slow"))).await.unwrap();
    read(&mut slow, 4).await;
    let filter = [&[0, 1, 0, 30][..], ALL.as_bytes(), &[0]].concat();
    slow.write_all(&framed(0x82, &filter)).await.unwrap();
    assert_eq!(read(&mut slow, 5).await, [0x90, 3, 0, 1, 0]);

    // More than the router keeps and the kernel holds.
    let long = "x".repeat(8 * 1024);
    for revision in 1..=4_000 {
        let mut event = task("j1", 1, revision);
        if let Happened::Task { desc, .. } = &mut event.what {
            *desc = Some(long.clone());
        }
        world.feed.publish(vec![event]);
        assert_eq!(quick.json().await["revision"], revision);
    }
    hung_up(&mut slow).await;
}

#[tokio::test]
async fn one_client_too_many_is_closed() {
    let world = World::with(|config| config.max_platform_clients = 1);
    let _first = platform(&world, "one").await;
    let mut second = platform(&world, "two").await;
    second.ended().await;
    let refused = Client::connect(world.plain, ["x".into(), KEY.into(), "wrong".into()], None).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
}
