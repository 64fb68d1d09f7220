//! What a broker is told about devices, asked as EMQX and mosquitto-go-auth ask.

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::World;
use otaria_core::door::ConnectClaim;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, ProductKey};
use otaria_core::shard::Shard;
use otaria_openapi::BrokerHook;
use otaria_ports::auth::{DeviceCredential, FixedAuth};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef";
const CLIENT_ID: &str = "x|securemode=3,signmethod=hmacsha256,timestamp=1700000000000|";

fn hook() -> BrokerHook {
    let device = |name: &str, n, enabled| {
        let names = (ProductKey::parse("a1pk").unwrap(), DeviceName::parse(name).unwrap());
        let device = DeviceId::new(Shard(1), n);
        (names, DeviceCredential { device, account: AccountNo(1), enabled, secret: SECRET.into() })
    };
    let devices = HashMap::from([device("dev_one", 1, true), device("dev_shut", 2, false)]);
    let auth = Arc::new(FixedAuth { devices, ..FixedAuth::default() });
    BrokerHook { auth, bridge: ("otaria".into(), "bridge secret".into()) }
}

async fn world() -> World {
    World::with_face(|face| face.with_broker(hook())).await
}

async fn post(world: &World, path: &str, kind: &str, body: &str) -> (u16, String) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: otaria\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = world.ask(&request).await;
    (answer.status(), answer.text().to_owned())
}

/// Asks both ways; both brokers have to understand the same.
async fn allowed(world: &World, path: &str, fields: &[(&str, &str)]) -> bool {
    let object: serde_json::Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let text: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut said = Vec::new();
    for (kind, body) in
        [("application/json", Value::Object(object).to_string()), ("application/x-www-form-urlencoded", text)]
    {
        let (status, body) = post(world, path, kind, &body).await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["result"] == "allow", answer["Ok"] == true, "{answer}");
        said.push(answer["Ok"].as_bool().unwrap());
    }
    assert_eq!(said[0], said[1]);
    said[0]
}

async fn connects(world: &World, user: &str, password: &str, client_id: &str) -> bool {
    allowed(world, "/mqtt/auth", &[("username", user), ("password", password), ("clientid", client_id)]).await
}

#[tokio::test]
async fn who_proves_its_secret_comes_in_and_nobody_else() {
    let world = world().await;
    let password = |user: &str| ConnectClaim::parse(CLIENT_ID, user).unwrap().password(SECRET.as_bytes());
    assert!(connects(&world, "dev_one&a1pk", &password("dev_one&a1pk"), CLIENT_ID).await);
    assert!(
        !connects(&world, "dev_one&a1pk", &password("dev_one&a1pk"), "other|signmethod=hmacsha256|").await
    );
    assert!(!connects(&world, "dev_one&a1pk", "", CLIENT_ID).await);
    assert!(!connects(&world, "dev_shut&a1pk", &password("dev_shut&a1pk"), CLIENT_ID).await);
    assert!(!connects(&world, "dev_none&a1pk", &password("dev_none&a1pk"), CLIENT_ID).await);
    let none = ConnectClaim::parse(CLIENT_ID, "dev_none&a1pk").unwrap().password(b"");
    assert!(!connects(&world, "dev_none&a1pk", &none, CLIENT_ID).await, "no secret is no proof");
    assert!(!connects(&world, "somebody", "bridge secret", "x").await);
    assert!(connects(&world, "otaria", "bridge secret", "otaria-up").await);
    assert!(!connects(&world, "otaria", "bridge secre", "otaria-up").await);
    assert!(!connects(&world, "", "", "").await);
}

#[tokio::test]
async fn a_device_has_its_own_topics_and_no_others() {
    let world = world().await;
    let own = [
        "/ota/device/inform/a1pk/dev_one",
        "/sys/a1pk/dev_one/thing/ota/firmware/get",
        "/a1pk/dev_one/user/x",
    ];
    let foreign = [
        "/ota/device/inform/a1pk/dev_two",
        "/ota/device/upgrade/+/+",
        "#",
        "/sys/a1pk/+/thing/#",
        "$SYS/#",
        "",
    ];
    for (topics, expected) in [(&own[..], true), (&foreign[..], false)] {
        for topic in topics {
            for how in [
                ("action", "publish"),
                ("action", "subscribe"),
                ("acc", "1"),
                ("acc", "2"),
                ("acc", "3"),
                ("acc", "4"),
            ] {
                let asked = [("username", "dev_one&a1pk"), ("topic", topic), how];
                assert_eq!(allowed(&world, "/mqtt/acl", &asked).await, expected, "{topic} {how:?}");
            }
        }
    }
    let wild = [("username", "dev_one&a1pk"), ("topic", "/sys/a1pk/dev_one/#")];
    assert!(allowed(&world, "/mqtt/acl", &[wild[0], wild[1], ("action", "subscribe")]).await);
    assert!(!allowed(&world, "/mqtt/acl", &[wild[0], wild[1], ("action", "publish")]).await);
    let bridge = [("username", "otaria"), ("topic", "/ota/device/inform/+/+"), ("action", "subscribe")];
    assert!(allowed(&world, "/mqtt/acl", &bridge).await);
    for odd in [("acc", "0"), ("acc", "8"), ("acc", "x"), ("action", "all"), ("other", "")] {
        for user in ["dev_one&a1pk", "otaria"] {
            assert!(
                !allowed(&world, "/mqtt/acl", &[("username", user), ("topic", own[0]), odd]).await,
                "{odd:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_question_gets_no_verdict() {
    let world = world().await;
    assert_eq!(post(&world, "/mqtt/auth", "application/json", "{\"username\":").await.0, 400);
    assert_eq!(post(&world, "/mqtt/acl", "application/json", &"x".repeat(17 * 1024)).await.0, 400);
    // Numbers as mosquitto-go-auth writes them.
    let asked =
        r#"{"username":"dev_one&a1pk","topic":"/ota/device/inform/a1pk/dev_one","clientid":"x","acc":2}"#;
    assert!(post(&world, "/mqtt/acl", "application/json", asked).await.1.contains("\"Ok\":true"));
}

#[tokio::test]
async fn without_a_broker_nobody_answers() {
    let world = World::start().await;
    assert_eq!(post(&world, "/mqtt/auth", "application/json", "{}").await.0, 404);
}
