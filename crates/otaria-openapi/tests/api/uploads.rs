//! Files that come with a form.

use std::time::Duration;

use otaria_core::rules::Limits;
use otaria_ports::objects::Objects;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Answer, read_answer, send};
use crate::world::{Wanted, World};

const BOUNDARY: &str = "5e2bd6684aaf7f5a39fb668ac7034ac9";

/// The body of a form as python-requests writes it.
fn multipart(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}").as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn head(length: usize) -> String {
    format!(
        "POST /u HTTP/1.1\r\nHost: otaria\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
}

async fn post(world: &World, fields: &[(&str, &str)], file: &[u8]) -> Answer {
    let body = multipart(fields, file);
    send(world.address, &[head(body.len()).as_bytes(), &body].concat()).await
}

/// The fields of a form as it was answered.
fn fields(data: &Value) -> Vec<(&'static str, &str)> {
    let of = |name: &str| data[name].as_str().unwrap();
    let id = if data["OSSAccessKeyId"].is_string() { "OSSAccessKeyId" } else { "AccessKeyId" };
    vec![
        ("key", of("Key")),
        ("policy", of("Policy")),
        ("OSSAccessKeyId", of(id)),
        ("Signature", of("Signature")),
        ("success_action_status", "200"),
    ]
}

impl World {
    /// Uploads a package; returns its address.
    pub(crate) async fn uploaded(&self, params: &[(&str, &str)], file: &[u8]) -> String {
        let data = self.call("GenerateOTAUploadURL", params).await.ok()["Data"].take();
        let answer = post(self, &fields(&data), file).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        data["FirmwareUrl"].as_str().unwrap().to_owned()
    }

    async fn form(&self, action: &str) -> Value {
        self.call(action, &[]).await.ok()["Data"].take()
    }
}

#[tokio::test]
async fn a_list_is_uploaded_and_made_a_job_of() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    world.device(&product, "dev-1").await;
    let firmware = world.firmware(&product, "fw1", &[("NeedToVerify", "false")]).await;
    let data = world.form("GenerateDeviceNameListURL").await;
    assert_eq!(data["Host"], format!("http://{}/u", world.address));
    assert_eq!(data["ObjectStorage"], "OSS");
    assert_eq!(post(&world, &fields(&data)[..4], b"\xef\xbb\xbfdev-1\r\ndev-2\r\n").await.status, 204);

    let params = [
        ("ProductKey", product.as_str()),
        ("FirmwareId", firmware.as_str()),
        ("TargetSelection", "SPECIFIC"),
        ("DnListFileUrl", data["FileUrl"].as_str().unwrap()),
    ];
    let made = world.call("CreateOTAStaticUpgradeJob", &params).await.ok();
    let tasks =
        world.call("ListOTATaskByJob", &[("JobId", made["Data"]["JobId"].as_str().unwrap())]).await.ok();
    assert_eq!(tasks["Total"], 1);
}

#[tokio::test]
async fn field_names_have_no_case_and_the_status_is_chosen() {
    let world = World::new().await;
    let data = world.form("GenerateOTAUploadURL").await;
    let mut fields: Vec<(String, &str)> =
        fields(&data).into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect();
    fields[4].1 = "201";
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let answer = post(&world, &fields, b"x").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.body.contains(data["FirmwareUrl"].as_str().unwrap()), "{}", answer.body);
}

#[tokio::test]
async fn a_form_is_good_for_its_own_file_only() {
    let world = World::new().await;
    let data = world.form("GenerateOTAUploadURL").await;
    let other = world.form("GenerateOTAUploadURL").await;
    let right = fields(&data);
    let changed = |place: usize, value: &'static str| {
        let mut fields = right.clone();
        fields[place].1 = value;
        fields
    };
    let policy = "eyJrZXkiOiAib3RhL2VmZTVlZTkyLmJpbiIsICJleHAiOiAxNzk1MjkwMzUwLjc4ODg2NDZ9";
    for forged in [
        changed(0, "package/mine.bin"),
        changed(1, policy),
        changed(2, "somebody"),
        changed(3, "AAAAPNOdKn+7gGpj9+5hh/Wq3Sk="),
        vec![right[0], fields(&other)[1], right[2], right[3]],
        vec![right[0], fields(&other)[1], right[2], fields(&other)[3]],
    ] {
        let answer = post(&world, &forged, b"x").await;
        assert_eq!(answer.status, 403, "{forged:?} {}", answer.body);
        assert!(answer.body.contains("<Error><Code>"), "{}", answer.body);
    }
    for missing in 0..4 {
        let mut fields = right.clone();
        fields.remove(missing);
        assert_eq!(post(&world, &fields, b"x").await.status, 400, "{missing}");
    }
    // Nothing of all that used the form up.
    assert_eq!(post(&world, &right, b"x").await.status, 200);
}

#[tokio::test]
async fn a_form_ends_with_its_time_and_with_its_key() {
    let world = World::new().await;
    let data = world.form("GenerateOTAUploadURL").await;
    world.clock.advance(Duration::from_secs(600));
    let late = post(&world, &fields(&data), b"x").await;
    assert!(late.status == 403 && late.body.contains("expired"), "{}", late.body);

    let world = World::new().await;
    let key = crate::client::Key("second", "secret");
    let (account, role) = (otaria_core::ids::DEFAULT_ACCOUNT, otaria_ports::store::Role::Operator);
    world.key(key, account, role, true).await;
    let data = world.call_as(key, "GenerateOTAUploadURL", &[]).await.ok()["Data"].take();
    let id = otaria_core::ids::AccessKeyId::parse("second").unwrap();
    otaria_ports::store::Accounts::delete_access_key(&*world.store, account, &id).await.unwrap();
    assert_eq!(post(&world, &fields(&data), b"x").await.status, 403);
}

#[tokio::test]
async fn a_repeat_of_the_same_file_is_the_same_upload_and_another_file_is_refused() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let data = world.form("GenerateOTAUploadURL").await;
    assert_eq!(post(&world, &fields(&data), b"package").await.status, 200);
    assert_eq!(post(&world, &fields(&data), b"package").await.status, 200);
    let other = post(&world, &fields(&data), b"another").await;
    assert!(other.status == 409 && other.body.contains("FileAlreadyExists"), "{}", other.body);

    let params = [
        ("ProductKey", product.as_str()),
        ("FirmwareName", "fw1"),
        ("DestVersion", "2.0"),
        ("FirmwareUrl", data["FirmwareUrl"].as_str().unwrap()),
        ("FirmwareSize", "7"),
    ];
    world.call("CreateOTAFirmware", &params).await.ok();
}

#[tokio::test]
async fn a_file_that_is_too_large_or_empty_leaves_nothing_behind() {
    let limits = Limits { firmware_max_bytes: 1_000_000, ..Limits::default() };
    let world = World::with(Wanted { limits, ..Wanted::default() }).await;
    let product = world.product("lamp").await;
    let data = world.form("GenerateOTAUploadURL").await;
    for file in [vec![7; 3_000_000], Vec::new()] {
        let answer = post(&world, &fields(&data), &file).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    let params = [
        ("ProductKey", product.as_str()),
        ("FirmwareName", "fw1"),
        ("DestVersion", "2.0"),
        ("FirmwareUrl", data["FirmwareUrl"].as_str().unwrap()),
    ];
    let refused = world.call("CreateOTAFirmware", &params).await.refused();
    assert_eq!(refused, (400, "InvalidFirmwareUrl".into()));
    assert_eq!(post(&world, &fields(&data), &[7; 1_000_000]).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused() {
    let world = World::new().await;
    let data = world.form("GenerateOTAUploadURL").await;
    let plain = "POST /u HTTP/1.1\r\nHost: o\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nabc";
    assert_eq!(world.send(plain).await.status, 400);
    assert_eq!(world.send("GET /u HTTP/1.1\r\nHost: o\r\n\r\n").await.status, 405);
    let long = "x".repeat(70_000);
    let mut fields = fields(&data);
    fields.push(("x-field", &long));
    assert_eq!(post(&world, &fields, b"x").await.status, 400);
}

#[tokio::test]
async fn a_part_without_an_end_is_not_kept_in_memory() {
    let world = World::new().await;
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    socket.write_all(head(100_000_000).as_bytes()).await.unwrap();
    let endless = [format!("--{BOUNDARY}\r\nX-Long: ").into_bytes(), vec![b'x'; 2_000_000]].concat();
    let _ = socket.write_all(&endless).await;
    socket.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut socket).await.status, 400);
}

#[tokio::test]
async fn half_a_file_is_no_file() {
    let world = World::new().await;
    let data = world.form("GenerateOTAUploadURL").await;
    let body = multipart(&fields(&data), &[7; 100_000]);
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    socket.write_all(head(body.len()).as_bytes()).await.unwrap();
    socket.write_all(&body[..50_000]).await.unwrap();
    drop(socket);
    // The whole file still finds its place.
    assert_eq!(post(&world, &fields(&data), &[7; 100_000]).await.status, 200);
    assert!(world.objects.check().await.is_ok());
}

#[tokio::test]
async fn the_form_of_a_real_client_is_taken_once_its_fields_are_ours() {
    let world = World::new().await;
    let data = world.form("GenerateOTAUploadURL").await;
    let recorded = include_str!("../recorded/upload-form.http").replace('\n', "\r\n");
    assert_eq!(world.send(&recorded).await.status, 403);

    let (head, body) = recorded.split_once("\r\n\r\n").unwrap();
    let [key, policy, id, signature, _] = fields(&data)[..] else { panic!("five fields") };
    let body = body
        .replace("ota/efe5ee92.bin", key.1)
        .replace("eyJrZXkiOiAib3RhL2VmZTVlZTkyLmJpbiIsICJleHAiOiAxNzk1MjkwMzUwLjc4ODg2NDZ9", policy.1)
        .replace("testak", id.1)
        .replace("AAAAPNOdKn+7gGpj9+5hh/Wq3Sk=", signature.1);
    let head = head.replace("Content-Length: 721", &format!("Content-Length: {}", body.len()));
    assert_eq!(world.send(&format!("{head}\r\n\r\n{body}")).await.status, 200);
}
