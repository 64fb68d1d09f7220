//! Calls that must not be served: who sends them again, too late, with a form or an address that nobody gave
//! out, with too much, or without the right. Each is refused by name, on both faces where both can be asked,
//! and leaves nothing behind: no row, no file, no job.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use otaria_ports::events::NoEvents;
use otaria_ports::store::Firmwares;
use otaria_proto::v1::upload_firmware_file_request::Part;
use otaria_proto::v1::{
    AccessKeyRole, CreateAccessKeyRequest, ListOtaFirmwareRequest, ListOtaJobByFirmwareRequest,
    QueryProductListRequest, UploadFirmwareFileHeader, UploadFirmwareFileRequest,
};
use otaria_store::{SqliteOptions, SqliteStore};
use tonic::Code;

use crate::cloud::{Cloud, Params, now, params};
use crate::faces::{Faces, assert_denied, assert_refused};
use crate::rollout::{firmware, product, register, upload_list};
use crate::server::{Addresses, Server};
use crate::{SOON, eventually, grpc};

/// How far a request's instant may lie from the server's.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// Between this clock and the moment when the server looks at its own.
const SLACK: SignedDuration = SignedDuration::from_secs(20);

fn cloud(server: &Server) -> Cloud {
    Cloud::new(server.at().http, server.admin_key())
}

fn new_product(name: &str) -> Params {
    params(&[("ProductName", name), ("NodeType", "0")])
}

async fn products(faces: &Faces) -> i64 {
    let request = QueryProductListRequest::default();
    faces.devices().query_product_list(request).await.unwrap().into_inner().total
}

async fn firmware_count(faces: &Faces) -> i64 {
    let request = ListOtaFirmwareRequest::default();
    faces.firmware().list_ota_firmware(request).await.unwrap().into_inner().total
}

async fn jobs(faces: &Faces, firmware_id: &str) -> i64 {
    let firmware_id = firmware_id.to_owned();
    let request = ListOtaJobByFirmwareRequest { firmware_id, ..ListOtaJobByFirmwareRequest::default() };
    faces.jobs().list_ota_job_by_firmware(request).await.unwrap().into_inner().total
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |path: std::path::PathBuf| if path.is_dir() { files_below(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

/// Waits until there are so many files: what was begun goes right after it was refused.
async fn assert_files(server: &Server, count: usize) {
    let folder = server.data_dir().join("objects");
    let look = async || (files_below(&folder) == count).then_some(());
    eventually("no file but those that were taken", SOON, look).await;
}

/// Stops the server and counts the uploads that nothing uses in what it kept.
async fn assert_unused_uploads(mut server: Server, count: usize) {
    server.terminate().await;
    server.assert_no_panic();
    let database = server.data_dir().join("otaria.db");
    let store = SqliteStore::open(database, SqliteOptions::default(), Arc::new(NoEvents)).await.unwrap();
    let ever = otaria_core::time::Timestamp::from_millis(4_000_000_000_000);
    let rows = store.expire_uploads(ever, 1_000).await.unwrap();
    assert_eq!(rows.len(), count, "{rows:?}");
}

#[tokio::test]
async fn a_request_that_was_served_once_is_refused_also_after_a_crash() {
    let mut server = Server::new(Addresses::fixed(), &["--api-quota", "off"]);
    server.up().await;
    let cloud = cloud(&server);
    let request = cloud.request("CreateProduct", &new_product("once"), now(), "nonce-1");
    cloud.send(&request).await.done();
    assert_eq!(cloud.send(&request).await.refused().0, "SignatureNonceUsed");
    // The same nonce on another call, with a signature of its own.
    let other = cloud.request("CreateProduct", &new_product("other"), now(), "nonce-1");
    assert_eq!(cloud.send(&other).await.refused().0, "SignatureNonceUsed");

    server.kill().await;
    server.up().await;
    for request in [&request, &other] {
        let said = cloud.send(request).await;
        assert_eq!((said.status, said.refused().0), (400, "SignatureNonceUsed"));
    }
    assert_eq!(products(&server.faces()).await, 1);
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_request_of_another_time_is_refused() {
    let mut server = Server::start().await;
    let cloud = cloud(&server);
    let dated = async |name: &str, at: Timestamp| {
        cloud.send(&cloud.request("CreateProduct", &new_product(name), at, name)).await
    };
    for (name, at) in [("late", now() - WINDOW - SLACK), ("early", now() + WINDOW + SLACK)] {
        let said = dated(name, at).await;
        assert_eq!((said.status, said.refused().0), (400, "InvalidTimeStamp.Expired"), "{name}");
    }
    assert_eq!(products(&server.faces()).await, 0);
    dated("late_enough", now() - WINDOW + SLACK).await.done();
    dated("early_enough", now() + WINDOW - SLACK).await.done();
    assert_eq!(products(&server.faces()).await, 2);
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_form_that_was_not_given_out_is_refused() {
    let mut server = Server::start().await;
    let (cloud, faces) = (cloud(&server), server.faces());
    let product = product(&faces, "forms").await;
    let (form, other) = (cloud.form("GenerateOTAUploadURL").await, cloud.form("GenerateOTAUploadURL").await);
    let list = cloud.form("GenerateDeviceNameListURL").await;
    let of = |form: &serde_json::Value, name: &str| form[name].as_str().unwrap().to_owned();
    let [_, secret] = server.admin_key();
    for (changed, code) in [
        ([("policy", of(&other, "Policy"))], "SignatureDoesNotMatch"),
        ([("policy", "e30=".to_owned())], "SignatureDoesNotMatch"),
        ([("Signature", of(&other, "Signature"))], "SignatureDoesNotMatch"),
        ([("Signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned())], "SignatureDoesNotMatch"),
        ([("Signature", secret)], "SignatureDoesNotMatch"),
        ([("key", of(&other, "Key"))], "AccessDenied"),
        ([("key", of(&list, "Key"))], "AccessDenied"),
        ([("key", "../../access-key".to_owned())], "AccessDenied"),
        ([("OSSAccessKeyId", "nobody".to_owned())], "AccessDenied"),
    ] {
        let changed = changed.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = cloud.post(&form, &changed, b"forged").await;
        assert!(answer.status == 403 && answer.text.contains(code), "{changed:?}: {}", answer.text);
    }
    assert_files(&server, 0).await;
    for form in [&form, &other] {
        let made = [
            ("ProductKey", product.as_str()),
            ("FirmwareName", "forged"),
            ("DestVersion", "2.0"),
            ("FirmwareUrl", form["FirmwareUrl"].as_str().unwrap()),
        ];
        let said = cloud.call("CreateOTAFirmware", &params(&made)).await;
        assert_eq!((said.status, said.refused().0), (400, "InvalidFirmwareUrl"));
    }
    assert_eq!(firmware_count(&faces).await, 0);
    server.assert_healthy().await;
    assert_unused_uploads(server, 0).await;
}

#[tokio::test]
async fn a_file_larger_than_allowed_is_refused() {
    let config = "[limits]\nfirmware_max_bytes = 100000\nlist_max_lines = 100\nlist_max_bytes = 5000\n";
    let mut server = Server::start_configured(config).await;
    let (cloud, faces) = (cloud(&server), server.faces());
    let package = async |bytes: usize| {
        let parts = [Part::Header(UploadFirmwareFileHeader::default()), Part::Chunk(vec![7; bytes].into())];
        let parts = parts.map(|part| UploadFirmwareFileRequest { part: Some(part) });
        faces.firmware().upload_firmware_file(futures_util::stream::iter(parts)).await
    };
    for bytes in [100_001, 3_000_000] {
        let form = cloud.form("GenerateOTAUploadURL").await;
        let answer = cloud.post(&form, &[], &vec![7; bytes]).await;
        assert!(answer.status == 400 && answer.text.contains("100000 bytes"), "{bytes}: {}", answer.text);
        let rule = assert_refused(package(bytes).await, (Code::InvalidArgument, "File", "InvalidFile"));
        assert!(rule.contains("100000 bytes"), "{rule}");
    }
    for (list, named) in [("dev-1\n".repeat(101), "100 lines"), ("x".repeat(5_001), "5000 bytes")] {
        let form = cloud.form("GenerateDeviceNameListURL").await;
        let answer = cloud.post(&form, &[], list.as_bytes()).await;
        assert!(answer.status == 400 && answer.text.contains(named), "{}", answer.text);
        let invalid = (Code::InvalidArgument, "File", "iot.ota.DeviceListFileInvalid");
        let rule = assert_refused(upload_list(&faces, list.as_bytes()).await, invalid);
        assert!(rule.contains(named), "{rule}");
    }
    assert_files(&server, 0).await;

    // What is just as large as allowed is taken.
    let form = cloud.form("GenerateOTAUploadURL").await;
    assert_eq!(cloud.post(&form, &[], &[7; 100_000]).await.status, 200);
    package(100_000).await.unwrap();
    let form = cloud.form("GenerateDeviceNameListURL").await;
    assert_eq!(cloud.post(&form, &[], "dev-1\n".repeat(100).as_bytes()).await.status, 200);
    assert_files(&server, 3).await;
    server.assert_healthy().await;
    assert_unused_uploads(server, 3).await;
}

#[tokio::test]
async fn an_address_that_was_not_given_out_or_not_uploaded_to_is_refused() {
    let mut server = Server::start().await;
    let (cloud, faces) = (cloud(&server), server.faces());
    let product = product(&faces, "addresses").await;
    register(&faces, &product, ["unit-1".to_owned()]).await;
    let known = firmware(&faces, &product, "1.0").await;
    let (package, list) =
        (cloud.form("GenerateOTAUploadURL").await, cloud.form("GenerateDeviceNameListURL").await);
    assert_eq!(cloud.post(&package, &[], b"package").await.status, 200);
    assert_eq!(cloud.post(&list, &[], b"unit-1\n").await.status, 200);
    let never = cloud.form("GenerateOTAUploadURL").await;
    let never_list = cloud.form("GenerateDeviceNameListURL").await;
    let of = |form: &serde_json::Value, name: &str| form[name].as_str().unwrap().to_owned();
    let (package, list) = (of(&package, "FirmwareUrl"), of(&list, "FileUrl"));

    let made_up = format!("http://{}/o/{}", server.at().http, "a".repeat(30));
    let elsewhere = "http://127.0.0.1:1/firmware.bin".to_owned();
    for url in [&of(&never, "FirmwareUrl"), &made_up, &elsewhere, &list, &package[1..].to_owned()] {
        let made = params(&[
            ("ProductKey", &product),
            ("FirmwareName", "stray"),
            ("DestVersion", "2.0"),
            ("FirmwareUrl", url),
        ]);
        let refused = grpc::call(&faces, "CreateOTAFirmware", &made).await.map(tonic::Response::new);
        assert_refused(refused, (Code::InvalidArgument, "FirmwareUrl", "InvalidFirmwareUrl"));
        let said = cloud.call("CreateOTAFirmware", &made).await;
        let (code, message) = said.refused();
        assert_eq!((said.status, code), (400, "InvalidFirmwareUrl"), "{url}");
        assert!(message.starts_with("FirmwareUrl "), "{message}");
    }
    for url in [&of(&never_list, "FileUrl"), &made_up, &elsewhere, &package, &list[1..].to_owned()] {
        let job = params(&[
            ("ProductKey", &product),
            ("FirmwareId", &known),
            ("TargetSelection", "SPECIFIC"),
            ("DnListFileUrl", url),
        ]);
        let refused = grpc::call(&faces, "CreateOTAStaticUpgradeJob", &job).await.map(tonic::Response::new);
        let invalid = "iot.ota.DeviceListFileInvalid";
        assert_refused(refused, (Code::InvalidArgument, "DnListFileUrl", invalid));
        let said = cloud.call("CreateOTAStaticUpgradeJob", &job).await;
        let (code, message) = said.refused();
        assert_eq!((said.status, code), (200, invalid), "{url}");
        assert!(message.starts_with("DnListFileUrl "), "{message}");
    }
    assert_eq!((firmware_count(&faces).await, jobs(&faces, &known).await), (1, 0));
    assert_files(&server, 3).await;
    server.assert_healthy().await;
    assert_unused_uploads(server, 2).await;
}

/// What a viewer may call: the names of what only reads.
fn reads(action: &str) -> bool {
    ["Query", "List", "Get", "BatchGet", "Watch"].iter().any(|verb| action.starts_with(verb))
}

#[tokio::test]
async fn whoever_may_only_read_changes_nothing() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let product = product(&faces, "viewers").await;
    register(&faces, &product, ["unit-1".to_owned()]).await;
    let known = firmware(&faces, &product, "1.0").await;
    let request = CreateAccessKeyRequest { account_id: None, role: AccessKeyRole::Viewer.into() };
    let made = faces.access().create_access_key(request).await.unwrap().into_inner();
    let key = [made.access_key.unwrap().access_key_id, made.access_key_secret];
    let (viewer, cloud) = (Faces::new(server.at().grpc, &key), Cloud::new(server.at().http, key));

    let job = params(&[("ProductKey", &product), ("FirmwareId", &known), ("TargetSelection", "ALL")]);
    let refused = grpc::call(&viewer, "CreateOTAStaticUpgradeJob", &job).await.map(tonic::Response::new);
    assert_denied(refused, (Code::PermissionDenied, "NoPermission"));
    let said = cloud.call("CreateOTAStaticUpgradeJob", &job).await;
    assert_eq!((said.status, said.refused().0), (403, "NoPermission"));
    assert_eq!(jobs(&faces, &known).await, 0);

    let header = Part::Header(UploadFirmwareFileHeader::default());
    let header = futures_util::stream::iter([UploadFirmwareFileRequest { part: Some(header) }]);
    let refused = viewer.firmware().upload_firmware_file(header).await;
    assert_denied(refused, (Code::PermissionDenied, "NoPermission"));
    assert_denied(upload_list(&viewer, b"unit-1").await, (Code::PermissionDenied, "NoPermission"));

    // The role is asked for before anything else, so an empty call tells.
    let nothing = Params::new();
    for method in grpc::methods().filter(|method| !method.is_client_streaming() && !reads(method.name())) {
        let answer = grpc::call(&viewer, method.name(), &nothing).await;
        let status = answer.expect_err(method.name());
        let served = method.name() != "GenerateFileUploadURL";
        let expected = if served { Code::PermissionDenied } else { Code::Unimplemented };
        assert_eq!(status.code(), expected, "{}: {status:?}", method.name());
    }
    // These two are read by the face.
    let numbers = params(&[("Count", "1"), ("ApplyId", "1")]);
    for action in otaria_openapi::action_names() {
        let said = cloud.call(action, &numbers).await;
        let denied = (said.status, &said.json["Code"]) == (403, &"NoPermission".into());
        assert_eq!(denied, !reads(action), "{action}: {}", said.json);
    }
    let everything = params(&[("ProductKey", &product), ("CurrentPage", "1"), ("PageSize", "10")]);
    let seen = cloud.call("QueryDevice", &everything).await.done();
    assert_eq!(seen["Total"], 1, "a viewer sees what there is");
    assert_eq!((products(&faces).await, firmware_count(&faces).await), (1, 1));
    assert_files(&server, 1).await;
    server.assert_healthy().await;
    assert_unused_uploads(server, 0).await;
}
