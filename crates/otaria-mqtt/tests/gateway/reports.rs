//! What devices say, and what they are answered.

use std::sync::Arc;

use otaria_core::ids::{InformedVersion, JobNo, ModuleName};
use otaria_core::task::{FailedStep, Percent, Said};
use otaria_ports::inbox::Fetched;
use otaria_ports::pusher::Pusher;
use rumqttc::{Packet, QoS};
use serde_json::json;

use crate::client::{Client, raw_device};
use crate::world::{PRODUCT, World, device, eventually, offer};

#[tokio::test]
async fn reports_reach_the_engine_in_order() {
    let world = World::start();
    let client = Client::device(world.plain, 1).await;
    let inform = format!("/ota/device/inform/{PRODUCT}/dev_0001");
    let progress = format!("/ota/device/progress/{PRODUCT}/dev_0001");
    client.say(&inform, r#"{"id":1,"params":{"version":"1.0.0"}}"#).await;
    client.say(&progress, r#"{"id":"2","params":{"step":"50","desc":"half","module":"mcu"}}"#).await;
    client.say(&progress, r#"{"id":"3","params":{"step":-2,"desc":""}}"#).await;

    let reports = eventually(|| {
        let reports = world.inbox.reports.lock().unwrap();
        (reports.len() == 3).then(|| reports.clone())
    })
    .await;
    let session = world.session(1).await.unwrap();
    assert!(reports.iter().all(|report| report.device == device(1) && report.order.session == session));
    assert_eq!(reports.iter().map(|report| report.order.n).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(reports[0].said, Said::Version(InformedVersion::parse("1.0.0").unwrap()));
    assert_eq!(reports[1].module, ModuleName::parse("mcu").unwrap());
    let half = Said::Progress { percent: Percent::new(50).unwrap(), desc: "half".into() };
    assert_eq!(reports[1].said, half);
    assert_eq!(reports[2].said, Said::Refused { step: FailedStep::Download, desc: String::new() });
}

/// Of each module by itself, and of a session: who comes back was told of nothing yet.
#[tokio::test]
async fn a_report_says_which_job_the_device_was_told_of_last() {
    let world = World::start();
    let progress = format!("/ota/device/progress/{PRODUCT}/dev_0001");
    let say =
        |module: &str| format!(r#"{{"id":"2","params":{{"step":"50","desc":"","module":"{module}"}}}}"#);
    let said = |count: usize| {
        let world = &world;
        eventually(move || {
            let reports = world.inbox.reports.lock().unwrap();
            (reports.len() == count).then(|| reports.last().unwrap().told)
        })
    };
    let mut client = Client::device(world.plain, 1).await;
    client.say(&progress, &say("default")).await;
    assert_eq!(said(1).await, None);
    for (n, job) in [(2, 7), (3, 8)] {
        let mut notice = world.notice(1).await;
        notice.key.job = JobNo(job);
        world.pusher.send(vec![notice]).await.unwrap();
        client.publish().await;
        client.say(&progress, &say("default")).await;
        assert_eq!(said(n).await, Some(JobNo(job)));
    }
    // What is not written tells nothing.
    let mut late = world.notice(1).await;
    (late.key.job, late.not_after) = (JobNo(9), late.not_before);
    world.pusher.send(vec![late]).await.unwrap();
    world.outcomes(3).await;
    client.say(&progress, &say("default")).await;
    assert_eq!(said(4).await, Some(JobNo(8)));
    client.say(&progress, &say("radio")).await;
    assert_eq!(said(5).await, None);
    // An answer tells as much as a notice.
    let asked = Fetched { wire_id: 5, job: JobNo(6), offer: offer() };
    *world.inbox.offer.lock().unwrap() = Some(asked);
    client.say(&format!("/sys/{PRODUCT}/dev_0001/thing/ota/firmware/get"), r#"{"id":8}"#).await;
    client.publish().await;
    client.say(&progress, &say("default")).await;
    assert_eq!(said(6).await, Some(JobNo(6)));
    drop(client);
    let client = Client::device(world.plain, 1).await;
    client.say(&progress, &say("default")).await;
    assert_eq!(said(7).await, None);
}

#[tokio::test]
async fn a_report_of_quality_one_is_acknowledged() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let inform = format!("/ota/device/inform/{PRODUCT}/dev_0001");
    let payload = r#"{"id":1,"params":{"version":"1.0.0"}}"#;
    client.mqtt.publish(&inform, QoS::AtLeastOnce, false, payload).await.unwrap();
    while !matches!(client.packet().await, Some(Packet::PubAck(_))) {}
    assert_eq!(world.inbox.reports.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn malformed_json_changes_nothing_and_the_connection_stays() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let topics = ["/ota/device/inform/", "/ota/device/progress/"].map(|t| format!("{t}{PRODUCT}/dev_0001"));
    let get = format!("/sys/{PRODUCT}/dev_0001/thing/ota/firmware/get");
    for topic in topics.iter().chain([&get]) {
        for payload in ["", "{", "null", "[[[[", r#"{"params":7,}"#, r#"{"params":{"step":"101"},"id":[]}"#] {
            client.mqtt.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
            while !matches!(client.packet().await, Some(Packet::PubAck(_))) {}
        }
    }
    assert!(world.inbox.reports.lock().unwrap().is_empty());
    world.push(1).await;
    client.publish().await;
}

#[tokio::test]
async fn a_device_that_asks_is_answered_in_its_own_form() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let get = format!("/sys/{PRODUCT}/dev_0001/thing/ota/firmware/get");
    client.say(&get, r#"{"id":"7","version":"1.0","params":{}}"#).await;
    let reply = client.publish().await;
    assert_eq!(reply.topic, format!("{get}_reply"));
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&reply.payload).unwrap(),
        json!({"id": "7", "code": 200, "data": {}})
    );

    *world.inbox.offer.lock().unwrap() =
        Some(Fetched { wire_id: 5, job: JobNo(7), offer: Arc::clone(&offer()) });
    client.say(&get, r#"{"id":8}"#).await;
    let reply = client.json().await;
    assert_eq!(reply["id"], 8);
    assert_eq!(reply["data"]["url"], "http://127.0.0.1:8080/d/token");
}

#[tokio::test]
async fn a_notice_has_the_form_that_devices_know() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    world.push(1).await;
    let notice = client.publish().await;
    assert_eq!(notice.topic, format!("/ota/device/upgrade/{PRODUCT}/dev_0001"));
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&notice.payload).unwrap(),
        json!({"id": 1_711_111_111_111_i64, "code": "1000", "message": "success", "data": {
            "size": 7, "version": "2.0.0", "url": "http://127.0.0.1:8080/d/token",
            "md5": "0cc175b9c0f1b6a831c399e269772661", "sign": "0cc175b9c0f1b6a831c399e269772661",
            "signMethod": "Md5", "extData": {}}})
    );
}

#[tokio::test]
async fn a_ping_is_answered() {
    let world = World::start();
    let mut socket = raw_device(world.plain, 1).await;
    assert!(crate::client::answers(&mut socket).await);
}
