//! Devices at a real Mosquitto, which `otaria broker-config` has set up.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use otaria_proto::v1::{QueryDeviceDetailRequest, TaskStatus};
use rumqttc::ConnectReturnCode;
use tokio::process::{Child, Command};

use crate::device::login_at;
use crate::faces::Faces;
use crate::mqtt::{Client, knock};
use crate::rollout::{Identity, create_by_list, firmware, in_status, product, query, register, tasks};
use crate::server::{Addresses, Ended, Server, otaria, run};
use crate::{SOON, eventually, http};

/// What the C kit sends, and with it the devices of `otaria fleet --kit c`.
const TIMESTAMP: &str = "2524608000000";

fn mosquitto() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut programs = folders.map(|folder| folder.join("mosquitto"));
    programs.find(|program| program.is_file()).expect("Mosquitto is installed")
}

/// Starts Mosquitto with a configuration, and waits until it listens.
pub(crate) async fn broker(config: &Path, at: SocketAddr) -> Child {
    let mut command = Command::new(mosquitto());
    command.arg("-c").arg(config).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    eventually("Mosquitto listens", SOON, async || TcpStream::connect(at).ok()).await;
    child
}

pub(crate) fn write_list(file: &Path, devices: &[Identity]) {
    let lines = devices.iter().map(|device| format!("{},{}\n", device.name, device.secret));
    std::fs::write(file, lines.collect::<String>()).unwrap();
}

pub(crate) async fn broker_config(
    devices: &Path,
    product: &str,
    url: &str,
    more: &[&str],
    out: &Path,
) -> Ended {
    let mut command = otaria();
    command.args(["broker-config", "mosquitto", "--product-key", product, "--broker", url, "--devices"]);
    command.arg(devices).arg("--out").arg(out);
    run(command.args(["--timestamp", TIMESTAMP, "--upper-case"]).args(more), SOON).await
}

/// Client id, user name and password as the C kit has them.
pub(crate) fn login(product: &str, identity: &Identity) -> [String; 3] {
    let [client_id, user, mut password] = login_at(TIMESTAMP, product, identity);
    password.make_ascii_uppercase();
    [client_id, user, password]
}

pub(crate) fn version(version: &str) -> String {
    serde_json::json!({"id": "1", "params": {"version": version}}).to_string()
}

pub(crate) fn inform_topic(product: &str, device: &Identity) -> String {
    format!("/ota/device/inform/{product}/{}", device.name)
}

pub(crate) async fn known_version(faces: &Faces, product: &str, device: &Identity) -> String {
    let request = QueryDeviceDetailRequest {
        product_key: Some(product.to_owned()),
        device_name: Some(device.name.clone()),
        ..QueryDeviceDetailRequest::default()
    };
    let detail = faces.devices().query_device_detail(request).await.unwrap().into_inner();
    detail.firmware_version.unwrap_or_default()
}

/// Asks what a broker asks; tells whether it is allowed.
async fn asks(http: SocketAddr, path: &str, fields: &[(&str, &str)]) -> bool {
    let fields: serde_json::Map<String, serde_json::Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let body = serde_json::Value::Object(fields).to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {http}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = http::send(http, request.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text.contains(r#""result":"allow""#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Mosquitto: cargo xtask test runs it"]
async fn a_job_is_rolled_out_through_a_mosquitto_that_keeps_devices_apart() {
    let at = Addresses::fixed().mqtt;
    let url = format!("mqtt://otaria:bridge%20secret@{at}");
    // The broker comes later: the server waits for it.
    let mut server = Server::start_with(&["--api-quota", "off", "--broker", &url]).await;
    let faces = server.faces();
    let product = product(&faces, "at_broker").await;
    let identities = register(&faces, &product, (0..22).map(|n| format!("unit-{n:03}"))).await;
    let [spy, victim, others @ ..] = &identities[..] else { panic!("22 devices") };

    let folder = tempfile::tempdir().unwrap();
    let (list, out) = (folder.path().join("devices.csv"), folder.path().join("mosquitto"));
    write_list(&list, &identities);
    let ended = broker_config(&list, &product, &url, &["--run-as", "root"], &out).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    let mut mosquitto = broker(&out.join("mosquitto.conf"), at).await;

    // Who comes in: devices that prove it, by the broker's own file.
    let mut wrong = login(&product, victim);
    wrong[2] = login(&product, spy)[2].clone();
    assert!(Client::connect(at, wrong).await.is_err());
    assert!(Client::connect(at, ["x".into(), "otaria".into(), "wrong".into()]).await.is_err());
    let mut spying = Client::connect(at, login(&product, spy)).await.unwrap();
    // Until the bridge listens for the first time, words are lost.
    eventually("the bridge hears", SOON, async || {
        spying.say(&inform_topic(&product, spy), &version("1.0.0")).await;
        (known_version(&faces, &product, spy).await == "1.0.0").then_some(())
    })
    .await;

    // Whose topics: Mosquitto grants a subscription elsewhere, but brings nothing by it; what is said elsewhere is
    // acknowledged and dropped.
    for filter in [&format!("/ota/device/upgrade/{product}/{}", victim.name), "/ota/device/#", "/sys/#", "#"]
    {
        spying.subscribe(filter).await;
    }
    let mut listening = Client::connect(at, login(&product, victim)).await.unwrap();
    assert!(listening.subscribe(&format!("/ota/device/upgrade/{product}/{}", victim.name)).await);
    listening.say(&inform_topic(&product, victim), &version("1.0.0")).await;
    spying.say(&inform_topic(&product, victim), &version("9.9.9")).await;
    spying.say(&inform_topic(&product, spy), &version("1.0.1")).await;
    eventually("the last word is heard", SOON, async || {
        (known_version(&faces, &product, spy).await == "1.0.1").then_some(())
    })
    .await;
    assert_eq!(known_version(&faces, &product, victim).await, "1.0.0");

    // A rollout to everybody else.
    let of_fleet = folder.path().join("fleet.csv");
    write_list(&of_fleet, others);
    let mut fleet = otaria();
    fleet.args(["fleet", "--kit", "c", "--subscribe", "--product-key", &product, "--names-file"]);
    fleet.arg(&of_fleet).args(["--mqtt", &at.to_string(), "--json"]);
    let fleet = fleet.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut platform = Client::platform(server.at().mqtt, "watcher", server.admin_key()).await.unwrap();
    assert!(platform.subscribe(&format!("otaria/v1/events/{product}/#")).await);
    let firmware = firmware(&faces, &product, "2.0.0").await;
    let names: Vec<&str> = identities[1..].iter().map(|device| device.name.as_str()).collect();
    let job = create_by_list(&faces, &product, &firmware, names.join("\n").as_bytes(), 10_000).await;
    let notice = listening.publish().await;
    assert!(String::from_utf8_lossy(&notice.payload).contains(r#""version":"2.0.0""#), "{notice:?}");
    listening.say(&inform_topic(&product, victim), &version("2.0.0")).await;
    eventually("all are updated", Duration::from_secs(60), async || {
        let counts = query(&faces, &job).await.task_counts.unwrap_or_default();
        (counts.succeeded == 21).then_some(())
    })
    .await;
    assert_eq!(in_status(&tasks(&faces, &job).await, TaskStatus::Succeeded).len(), 21);
    assert!(spying.hears_nothing().await, "a device hears of its own only");
    let _ = platform.publish().await;
    drop(fleet);

    // Our own port is for platforms now.
    let (_, code) = knock(server.at().mqtt, &login(&product, victim)).await;
    assert_eq!(code, ConnectReturnCode::NotAuthorized as u8);

    // A broker that asks is told the same.
    let [client_id, user, password] = login(&product, victim);
    let of = |password: &str| {
        [("username", user.clone()), ("password", password.to_owned()), ("clientid", client_id.clone())]
    };
    for (password, expected) in [(password.as_str(), true), ("wrong", false)] {
        let fields = of(password);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(asks(server.at().http, "/mqtt/auth", &fields).await, expected);
    }
    let bridge = [("username", "otaria"), ("password", "bridge secret"), ("clientid", "otaria-up")];
    assert!(asks(server.at().http, "/mqtt/auth", &bridge).await);
    let foreign = inform_topic(&product, spy);
    let fields = [("username", user.as_str()), ("topic", &foreign), ("action", "publish")];
    assert!(!asks(server.at().http, "/mqtt/acl", &fields).await);

    server.assert_healthy().await;
    assert!(server.terminate().await.success());
    mosquitto.kill().await.unwrap();
}

#[tokio::test]
async fn without_a_broker_nobody_is_answered_for_one() {
    let server = Server::start().await;
    let at = server.at().http;
    let request =
        format!("POST /mqtt/auth HTTP/1.1\r\nhost: {at}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(http::send(at, request.as_bytes()).await.status, 404);
}

#[tokio::test]
async fn what_a_password_file_cannot_hold_is_refused_by_name_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (list, out) = (folder.path().join("devices.csv"), folder.path().join("out"));
    let one = |name: &str| Identity { name: name.to_owned(), secret: "s".to_owned() };
    let url = "mqtt://otaria:secret@127.0.0.1:1";
    write_list(&list, &[one("fine"), one("not:fine")]);
    let ended = broker_config(&list, "a1pk", url, &[], &out).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stderr.contains("device not:fine") && ended.stderr.contains("/mqtt/auth"),
        "{}",
        ended.stderr
    );

    write_list(&list, &[one("fine")]);
    for (url, more, words) in [
        ("mqtt://otaria:secret@broker", &[][..], "--listen"),
        ("mqtts://otaria:secret@127.0.0.1", &[], "--tls-certificate"),
        (url, &["--tls-certificate", "a", "--tls-key", "b"], "mqtts"),
    ] {
        let ended = broker_config(&list, "a1pk", url, more, &out).await;
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(words) && !ended.stderr.contains("secret"), "{}", ended.stderr);
    }
    assert!(!out.exists());
    let ended = broker_config(&list, "a1pk", url, &[], &out).await;
    assert!(ended.status.success(), "{}", ended.stderr);
}
