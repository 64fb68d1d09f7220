//! Packages in a bucket of a real S3-compatible server: who is told an address of the bucket itself, and who not.

use std::net::SocketAddr;

use otaria_proto::v1::QueryOtaFirmwareRequest;

use crate::cloud::{Cloud, params};
use crate::device::login;
use crate::http;
use crate::mqtt::Client;
use crate::rollout::{firmware, names_job, product, register};
use crate::server::Server;

const BUCKET: &str = "otaria-end-to-end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn only_platforms_over_grpc_are_told_addresses_of_the_bucket() {
    let endpoint = std::env::var("OTARIA_TEST_S3").expect("OTARIA_TEST_S3 is set by cargo xtask test");
    let store: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let make =
        format!("PUT /{BUCKET} HTTP/1.1\r\nhost: {store}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(http::send(store, make.as_bytes()).await.status, 200);
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-store"),
    ];
    let objects = format!("[objects]\nurl = \"s3://{BUCKET}/it\"\n");
    let shy = Server::start_in(&environment, &objects).await;
    let open = Server::start_in(&environment, &format!("{objects}presigned_downloads = true\n")).await;
    for (server, is_open) in [(&shy, false), (&open, true)] {
        let faces = server.faces();
        let own = format!("http://{}/d/", server.at().http);
        let product = product(&faces, "in_bucket").await;
        let devices = register(&faces, &product, ["unit".to_owned()]).await;
        let firmware = firmware(&faces, &product, "2.0.0").await;
        let package = "2.0.0".repeat(1_000);

        let request = QueryOtaFirmwareRequest { firmware_id: firmware.clone() };
        let told = faces.firmware().query_ota_firmware(request).await.unwrap().into_inner();
        let told = told.firmware_info.unwrap().firmware_url.unwrap();
        if is_open {
            assert!(told.starts_with(&format!("{endpoint}/{BUCKET}/it/")), "{told}");
            assert!(told.contains("X-Amz-Expires=900&") && !told.contains("secret"), "{told}");
            let answer = http::get(store, told.strip_prefix(&endpoint).unwrap()).await;
            assert!(answer.status == 200 && answer.text.ends_with(&package), "{}", answer.text);
        } else {
            assert!(told.starts_with(&own), "{told}");
        }

        let cloud = Cloud::new(server.at().http, server.admin_key());
        let said = cloud.call("QueryOTAFirmware", &params(&[("FirmwareId", &firmware)])).await.done();
        let told = said["FirmwareInfo"]["FirmwareUrl"].as_str().unwrap().to_owned();
        assert!(told.starts_with(&own), "{told}");

        let mut device = Client::connect(server.at().mqtt, login(&product, &devices[0])).await.unwrap();
        assert!(device.subscribe(&format!("/ota/device/upgrade/{product}/unit")).await);
        let version = r#"{"id":"1","params":{"version":"1.0.0"}}"#;
        device.say(&format!("/ota/device/inform/{product}/unit"), version).await;
        let job = names_job(&product, &firmware, ["unit"]);
        faces.jobs().create_ota_static_upgrade_job(job).await.unwrap();
        let notice: serde_json::Value = serde_json::from_slice(&device.publish().await.payload).unwrap();
        let told = notice["data"]["url"].as_str().unwrap();
        assert!(told.starts_with(&own), "{notice}");
        let path = told.strip_prefix(&format!("http://{}", server.at().http)).unwrap();
        let answer = http::get(server.at().http, path).await;
        assert!(answer.status == 200 && answer.text.ends_with(&package), "{}", answer.status);
    }
}

#[tokio::test]
async fn a_folder_that_should_have_addresses_is_refused_at_the_start() {
    use crate::server::{otaria, run};

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("otaria.toml");
    std::fs::write(&file, "[objects]\npresigned_downloads = true\n").unwrap();
    let mut serve = otaria();
    serve.args([
        "serve",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--mqtt",
        "127.0.0.1:0",
        "--config",
    ]);
    let ended = run(serve.arg(&file).arg("--data-dir").arg(folder.path().join("data")), crate::SOON).await;
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("only objects in a bucket"), "{}", ended.stderr);
}
