//! A device reaches its own topics and nothing else.

use rumqttc::QoS;

use crate::client::Client;
use crate::world::{PRODUCT, World};

#[tokio::test]
async fn a_foreign_filter_is_refused_and_brings_nothing() {
    let world = World::start();
    let mut spy = Client::silent_device(world.plain, 1).await;
    let mut victim = Client::device(world.plain, 2).await;
    for filter in [
        "#".to_owned(),
        "+".to_owned(),
        "+/#".to_owned(),
        "$SYS/#".to_owned(),
        format!("/ota/device/upgrade/{PRODUCT}/dev_0002"),
        format!("/ota/device/upgrade/{PRODUCT}/+"),
        format!("/ota/device/upgrade/{PRODUCT}/#"),
        "/ota/device/upgrade/+/dev_0001".to_owned(),
        format!("/sys/{PRODUCT}/dev_0002/#"),
        format!("$share/g/ota/device/upgrade/{PRODUCT}/dev_0001"),
        format!("otaria/v1/events/{PRODUCT}/#"),
        "ü/#".to_owned(),
    ] {
        assert!(!spy.subscribe(&filter, QoS::AtLeastOnce).await, "{filter}");
    }
    world.push(2).await;
    victim.publish().await;
    assert!(spy.hears_nothing().await);
}

#[tokio::test]
async fn own_filters_are_granted_also_with_wildcards_behind_the_name() {
    let world = World::start();
    let mut client = Client::silent_device(world.plain, 1).await;
    for filter in [
        format!("/ota/device/upgrade/{PRODUCT}/dev_0001"),
        format!("/ota/device/request/{PRODUCT}/dev_0001"),
        format!("/sys/{PRODUCT}/dev_0001/#"),
        format!("/sys/{PRODUCT}/dev_0001/thing/service/property/set"),
    ] {
        assert!(client.subscribe(&filter, QoS::AtMostOnce).await, "{filter}");
    }
    world.push(1).await;
    client.publish().await;
}

#[tokio::test]
async fn a_publish_on_a_foreign_topic_is_dropped_and_the_connection_stays() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let mut victim = Client::device(world.plain, 2).await;
    let report = r#"{"id":"1","params":{"version":"9"}}"#;
    for topic in [
        format!("/ota/device/inform/{PRODUCT}/dev_0002"),
        format!("/ota/device/upgrade/{PRODUCT}/dev_0002"),
        format!("/sys/{PRODUCT}/dev_0002/thing/ota/firmware/get"),
        format!("otaria/v1/events/{PRODUCT}/job/1"),
        "$SYS/x".to_owned(),
        "ütopic".to_owned(),
    ] {
        client.say(&topic, report).await;
    }
    assert!(victim.hears_nothing().await);
    assert!(world.inbox.reports.lock().unwrap().is_empty());
    world.push(1).await;
    client.publish().await;
}

#[tokio::test]
async fn a_device_that_subscribes_beside_the_automatic_subscription_gets_each_notice_once() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let own = format!("/ota/device/upgrade/{PRODUCT}/dev_0001");
    assert!(client.subscribe(&own, QoS::AtLeastOnce).await);
    world.push(1).await;
    assert_eq!(client.publish().await.qos, QoS::AtLeastOnce);
    assert!(client.hears_nothing().await);
}

#[tokio::test]
async fn a_device_without_a_subscription_gets_its_notice_once_it_subscribes() {
    let world = World::start();
    let mut client = Client::silent_device(world.plain, 1).await;
    world.push(1).await;
    assert!(client.hears_nothing().await);
    assert!(client.subscribe(&format!("/ota/device/upgrade/{PRODUCT}/dev_0001"), QoS::AtMostOnce).await);
    assert_eq!(client.publish().await.qos, QoS::AtMostOnce);
}
