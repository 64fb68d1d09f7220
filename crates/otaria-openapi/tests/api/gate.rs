//! Who may come in, how often, and how those hear of it who may not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, DEFAULT_ACCOUNT};
use otaria_ports::Unavailable;
use otaria_ports::quotas::{Quotas, TooMany};
use otaria_ports::store::Role;

use crate::client::{Key, query, signature, signed};
use crate::world::{ADMIN, NOW_TEXT, Wanted, World};

fn post(query: &str) -> String {
    format!("POST /?{query} HTTP/1.1\r\nHost: otaria:8080\r\nContent-Length: 0\r\n\r\n")
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.into())
}

#[tokio::test]
async fn a_wrong_secret_is_shown_what_the_server_signed() {
    let world = World::new().await;
    let answer = world.call_as(Key("testak", "other"), "QueryOTAJob", &[("JobId", "a:b")]).await;
    assert_eq!(answer.refused(), code(400, "SignatureDoesNotMatch"));
    let json = answer.json();
    let message = json["Message"].as_str().unwrap();
    let (before, string_to_sign) = message.split_once(':').unwrap();
    assert!(before.ends_with("server string to sign is"), "{before}");
    assert!(string_to_sign.starts_with("POST&%2F&AccessKeyId%3Dtestak%26"), "{string_to_sign}");
    assert!(!string_to_sign.contains(':'));
    assert_eq!(json["HostId"], "otaria:8080");
    assert_eq!(answer.header("Content-Type"), Some("application/json;charset=utf-8"));
}

#[tokio::test]
async fn a_key_must_be_known_and_active() {
    let world = World::new().await;
    world.key(Key("sleeper", "secret"), DEFAULT_ACCOUNT, Role::Admin, false).await;
    let of = async |id| world.call_as(Key(id, "secret"), "QueryOTAJob", &[]).await.refused();
    assert_eq!(of("nobody").await, code(404, "InvalidAccessKeyId.NotFound"));
    assert_eq!(of("sleeper").await, code(400, "InvalidAccessKeyId.Inactive"));
    assert_eq!(of("no key at all").await, code(404, "InvalidAccessKeyId.NotFound"));
}

#[tokio::test]
async fn an_old_request_is_refused_and_so_is_one_from_the_future() {
    let world = World::new().await;
    for (timestamp, expected) in [
        ("2026-11-21T07:44:59Z", "InvalidTimeStamp.Expired"),
        ("2026-11-21T08:15:01Z", "InvalidTimeStamp.Expired"),
        ("an hour ago", "InvalidTimeStamp.Format"),
    ] {
        let params = signed(ADMIN, "POST", timestamp, "QueryProductList", &[]);
        assert_eq!(world.send(&post(&query(&params))).await.refused(), code(400, expected));
    }
    let params = signed(ADMIN, "POST", "2026-11-21T07:45:01Z", "QueryProductList", &[]);
    world.send(&post(&query(&params))).await.ok();
}

#[tokio::test]
async fn a_replay_is_refused_also_by_a_server_that_was_started_again() {
    let wanted = Wanted::default();
    let store = Arc::clone(&wanted.store);
    let world = World::with(wanted).await;
    let request = post(&query(&signed(ADMIN, "POST", NOW_TEXT, "QueryProductList", &[])));
    world.send(&request).await.ok();
    assert_eq!(world.send(&request).await.refused(), code(400, "SignatureNonceUsed"));

    let again = World::with(Wanted { store, ..Wanted::default() }).await;
    again.clock.advance(Duration::from_secs(14 * 60));
    assert_eq!(again.send(&request).await.refused(), code(400, "SignatureNonceUsed"));
}

#[tokio::test]
async fn nobody_uses_up_the_nonces_of_a_key_without_its_secret() {
    let world = World::new().await;
    let mut params = signed(ADMIN, "POST", NOW_TEXT, "QueryProductList", &[]);
    let right = params.insert("Signature".into(), "AAAA".into()).unwrap();
    assert_eq!(world.send(&post(&query(&params))).await.refused(), code(400, "SignatureDoesNotMatch"));
    params.insert("Signature".into(), right);
    world.send(&post(&query(&params))).await.ok();
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name() {
    let world = World::new().await;
    let unknown = world.call("MakeCoffee", &[]).await;
    assert_eq!(unknown.refused(), code(404, "InvalidApi.NotFound"));

    let mut params = signed(ADMIN, "POST", NOW_TEXT, "QueryProductList", &[]);
    for (version, expected) in
        [(Some("2019-01-01"), code(404, "InvalidApi.NotFound")), (None, code(400, "MissingVersion"))]
    {
        match version {
            Some(version) => params.insert("Version".into(), version.into()),
            None => params.remove("Version"),
        };
        assert_eq!(world.send(&post(&query(&params))).await.refused(), expected);
    }
    params.remove("Action");
    assert_eq!(world.send(&post(&query(&params))).await.refused(), code(400, "MissingAction"));
    let put = "PUT /?Action=QueryProductList HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.send(put).await.refused(), code(400, "UnsupportedHTTPMethod"));
    let nothing = "POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.send(nothing).await.refused(), code(400, "MissingAction"));
    let unsigned = "GET /?Action=QueryProductList&Version=2018-01-20 HTTP/1.1\r\nHost: o\r\n\r\n";
    assert_eq!(world.send(unsigned).await.refused(), code(400, "IncompleteSignature"));
}

#[tokio::test]
async fn people_who_look_around_are_told_what_this_is() {
    let world = World::new().await;
    let about = world.send("GET / HTTP/1.1\r\nHost: o\r\n\r\n").await;
    assert!(about.status == 200 && about.body.starts_with("Otaria "), "{}", about.body);
}

#[tokio::test]
async fn xml_is_answered_where_it_is_asked_for() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let answer = world.call("QueryProduct", &[("ProductKey", &product), ("Format", "XML")]).await;
    assert_eq!(answer.header("Content-Type"), Some("text/xml;charset=utf-8"));
    assert!(answer.body.contains("<QueryProductResponse><RequestId>"), "{}", answer.body);
    assert!(answer.body.contains("<ProductName>lamp</ProductName>"), "{}", answer.body);

    let business = world.call("QueryProduct", &[("ProductKey", "a1nothing"), ("Format", "xml")]).await;
    assert_eq!(business.status, 200);
    assert!(business.body.contains("<Code>iot.prod.NotExistedProduct</Code>"), "{}", business.body);
    let gate = world.call("QueryProduct", &[("Format", "XML")]).await;
    assert_eq!((gate.status, gate.header("Content-Type")), (400, Some("text/xml;charset=utf-8")));
    assert!(gate.body.contains("<Error><RequestId>"), "{}", gate.body);
    assert!(gate.body.contains("<Message>ProductKey is mandatory for this action.</Message>"));
}

#[tokio::test]
async fn get_and_form_bodies_are_taken_as_well() {
    let world = World::new().await;
    let params = query(&signed(ADMIN, "GET", NOW_TEXT, "QueryProductList", &[]));
    world.send(&format!("GET /?{params} HTTP/1.1\r\nHost: o\r\n\r\n")).await.ok();

    let form = query(&signed(ADMIN, "POST", NOW_TEXT, "QueryProductList", &[("PageSize", "5")]));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: o\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(world.send(&request).await.ok()["Data"]["PageSize"], 5);
}

#[tokio::test]
async fn ten_thousand_names_fit_into_a_body_and_far_more_do_not() {
    let world = World::new().await;
    let ask = async |count: usize, length: usize| {
        let names: Vec<(String, String)> =
            (1..=count).map(|n| (format!("DeviceName.{n}"), format!("{n:0length$}"))).collect();
        let mut params = signed(ADMIN, "POST", NOW_TEXT, "QueryProductList", &[]);
        params.extend(names);
        params.remove("Signature");
        params.insert("Signature".into(), signature(&params, "POST", ADMIN.1));
        let form = query(&params);
        let head = "POST / HTTP/1.1\r\nHost: o\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        world.send(&format!("{head}Content-Length: {}\r\n\r\n{form}", form.len())).await
    };
    ask(10_000, 32).await.ok();
    assert_eq!(ask(40_000, 64).await.refused(), code(400, "InvalidBody"));
}

#[tokio::test]
async fn a_query_may_hold_all_that_a_job_may_have() {
    let world = World::new().await;
    let value = "升".repeat(400);
    let tags: Vec<(String, &str)> =
        (1..=10).flat_map(|n| [(format!("Tag.{n}.Key"), "k"), (format!("Tag.{n}.Value"), &*value)]).collect();
    let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let answer = world.call("CreateOTAStaticUpgradeJob", &tags).await;
    assert_eq!(answer.refused(), code(400, "MissingFirmwareId"));
}

#[tokio::test]
async fn a_viewer_looks_and_does_not_touch() {
    let world = World::new().await;
    let viewer = Key("viewer", "secret");
    world.key(viewer, DEFAULT_ACCOUNT, Role::Viewer, true).await;
    let product = world.product("lamp").await;
    let seen = world.call_as(viewer, "QueryProduct", &[("ProductKey", &product)]).await.ok();
    assert_eq!(seen["Data"].get("ProductSecret"), None);
    for action in ["CreateProduct", "GenerateOTAUploadURL", "CreateOTAStaticUpgradeJob"] {
        let refused = world.call_as(viewer, action, &[]).await.refused();
        assert_eq!(refused, code(403, "NoPermission"), "{action}");
    }
}

#[tokio::test]
async fn what_belongs_to_another_account_is_not_there() {
    let world = World::new().await;
    let other = otaria_ports::store::Accounts::create_account(&*world.store, "other", crate::world::NOW);
    let stranger = Key("stranger", "secret");
    world.key(stranger, other.await.unwrap().no, Role::Admin, true).await;
    let product = world.product("lamp").await;
    let refused = world.call_as(stranger, "QueryProduct", &[("ProductKey", &product)]).await.refused();
    assert_eq!(refused, code(200, "iot.prod.NotExistedProduct"));
}

#[tokio::test]
async fn a_server_with_an_instance_id_wants_to_hear_it() {
    let wanted = Wanted { instance_id: Some("iot-1".into()), ..Wanted::default() };
    let world = World::with(wanted).await;
    for params in [&[][..], &[("IotInstanceId", "iot-2")]] {
        let refused = world.call("QueryProductList", params).await.refused();
        assert_eq!(refused, code(200, "iot.system.InstanceNotFound"));
    }
    world.call("QueryProductList", &[("IotInstanceId", "iot-1")]).await.ok();
    World::new().await.call("QueryProductList", &[("IotInstanceId", "iot-2")]).await.ok();
}

struct NoneLeft;

#[async_trait]
impl Quotas for NoneLeft {
    async fn take(&self, _: AccountNo, _: &'static str) -> Result<Result<(), TooMany>, Unavailable> {
        Ok(Err(TooMany { retry_after: Duration::from_millis(70) }))
    }
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_back() {
    let wanted = Wanted { quotas: Arc::new(NoneLeft), ..Wanted::default() };
    let world = World::with(wanted).await;
    let answer = world.call("QueryProductList", &[]).await;
    assert_eq!(answer.refused(), code(400, "Throttling.User"));
    assert_eq!(answer.header("X-Acs-Retry-After"), Some("70"));
}
