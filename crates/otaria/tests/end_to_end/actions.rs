//! Both faces serve the same actions, and each serves what it names.

use std::collections::BTreeSet;

use otaria_proto::v1::{
    CreateOtaFirmwareRequest, GenerateDeviceNameListUrlRequest, GenerateOtaUploadUrlRequest,
    QueryOtaFirmwareRequest,
};
use serde_json::json;
use tonic::Code;

use crate::cloud::{Cloud, Params};
use crate::faces::assert_refused;
use crate::grpc;
use crate::rollout::{firmware, list_job, product, register, tasks};
use crate::server::Server;

/// What is ours, and there over gRPC and on the command line alone. The cloud's API has no such action.
const GRPC_ONLY: &[(&str, &str)] = &[
    ("PauseOTAJob", "the cloud's jobs know no pause"),
    ("ResumeOTAJob", "the cloud's jobs know no pause"),
    ("WatchOTAJob", "a stream; on the other wire a caller asks again"),
    ("RegisterDevices", "many devices in one call; the other wire has the batch calls"),
    ("UploadFirmwareFile", "a stream; the other wire has upload forms"),
    ("UploadDeviceNameList", "a stream; the other wire has upload forms"),
    ("CreateAccount", "the cloud keeps accounts and keys in a service of its own"),
    ("ListAccounts", "the cloud keeps accounts and keys in a service of its own"),
    ("CreateAccessKey", "the cloud keeps accounts and keys in a service of its own"),
    ("ListAccessKeys", "the cloud keeps accounts and keys in a service of its own"),
    ("UpdateAccessKey", "the cloud keeps accounts and keys in a service of its own"),
    ("DeleteAccessKey", "the cloud keeps accounts and keys in a service of its own"),
    ("GetServerInfo", "about this server, of which the cloud shows nothing"),
];

/// What gRPC names and answers UNIMPLEMENTED.
const NOT_SERVED_OVER_GRPC: &[(&str, &str)] =
    &[("GenerateFileUploadURL", "files that have to do with no update")];

/// What neither face serves.
const NOWHERE: &str = "GenerateFileUploadURL";

fn names(list: &[(&'static str, &str)]) -> BTreeSet<String> {
    let names: BTreeSet<String> = list.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), list.len(), "an exception stands there twice");
    names
}

#[test]
fn an_action_of_one_face_is_one_of_the_other_but_for_the_exceptions() {
    let grpc: BTreeSet<String> = grpc::methods().map(|method| method.name().to_owned()).collect();
    assert_eq!(grpc.len(), grpc::methods().count(), "two services have a method of one name");
    let http: BTreeSet<String> = otaria_openapi::action_names().map(str::to_owned).collect();

    let mut only_grpc: BTreeSet<String> = grpc.difference(&http).cloned().collect();
    assert!(only_grpc.remove(NOWHERE), "{NOWHERE} is no exception any more");
    let excepted = names(GRPC_ONLY);
    let missing: Vec<_> = only_grpc.difference(&excepted).collect();
    assert!(missing.is_empty(), "gRPC has them, HTTP lacks them: {missing:?}");
    let stale: Vec<_> = excepted.difference(&only_grpc).collect();
    assert!(stale.is_empty(), "exceptions that are none any more: {stale:?}");
    let missing: Vec<_> = http.difference(&grpc).collect();
    assert!(missing.is_empty(), "HTTP has them, gRPC lacks them: {missing:?}");
}

#[tokio::test]
async fn what_a_face_names_it_serves_but_for_the_exceptions() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let mut not_served = BTreeSet::new();
    for method in grpc::methods() {
        // Whatever an empty call is answered: that somebody answers.
        let answer = grpc::call(&faces, method.name(), &Params::new()).await;
        if answer.is_err_and(|status| status.code() == Code::Unimplemented) {
            not_served.insert(method.name().to_owned());
        }
    }
    assert_eq!(not_served, names(NOT_SERVED_OVER_GRPC));

    let cloud = Cloud::new(server.at().http, server.admin_key());
    for action in otaria_openapi::action_names() {
        let said = cloud.call(action, &Params::new()).await;
        assert_ne!(said.json["Code"], "InvalidApi.NotFound", "{action}: {}", said.json);
    }
    let said = cloud.call(NOWHERE, &Params::new()).await;
    assert_eq!(said.refused().0, "InvalidApi.NotFound");
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_form_got_over_grpc_takes_a_package_over_http() {
    let mut server = Server::start().await;
    let (cloud, faces) = (Cloud::new(server.at().http, server.admin_key()), server.faces());
    let product = product(&faces, "forms").await;
    let form = async |suffix: &str| {
        let request = GenerateOtaUploadUrlRequest { file_suffix: Some(suffix.to_owned()) };
        faces.firmware().generate_ota_upload_url(request).await
    };
    let invalid = (Code::InvalidArgument, "FileSuffix", "InvalidFileSuffix");
    assert_refused(form("exe").await, invalid);

    let form = form("tar.gz").await.unwrap().into_inner();
    assert_eq!(form.host, format!("http://{}/u", server.at().http));
    assert!(form.key.ends_with(".tar.gz"), "{}", form.key);
    assert!(form.object_storage == "OSS" && form.utc_create.is_some(), "{form:?}");
    let fields = json!({
        "Key": form.key, "Policy": form.policy, "OSSAccessKeyId": form.oss_access_key_id,
        "Signature": form.signature,
    });
    let made = CreateOtaFirmwareRequest {
        firmware_name: "posted".into(),
        dest_version: "2.0".into(),
        firmware_url: Some(form.firmware_url),
        product_key: product,
        ..CreateOtaFirmwareRequest::default()
    };
    let early = faces.firmware().create_ota_firmware(made.clone()).await;
    assert_refused(early, (Code::InvalidArgument, "FirmwareUrl", "InvalidFirmwareUrl"));
    let answer = cloud.post(&fields, &[], b"package").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let firmware_id = faces.firmware().create_ota_firmware(made).await.unwrap().into_inner().firmware_id;
    let found = faces.firmware().query_ota_firmware(QueryOtaFirmwareRequest { firmware_id }).await;
    assert_eq!(found.unwrap().into_inner().firmware_info.unwrap().firmware_size, Some(7));
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_form_got_over_grpc_takes_a_list_over_http() {
    let mut server = Server::start().await;
    let (cloud, faces) = (Cloud::new(server.at().http, server.admin_key()), server.faces());
    let product = product(&faces, "forms").await;
    register(&faces, &product, ["unit-1", "unit-2", "unit-3"].map(str::to_owned)).await;
    let firmware_id = firmware(&faces, &product, "2.0").await;

    let form = faces.jobs().generate_device_name_list_url(GenerateDeviceNameListUrlRequest {}).await;
    let form = form.unwrap().into_inner();
    let fields = json!({
        "Key": form.key, "Policy": form.policy, "AccessKeyId": form.access_key_id,
        "Signature": form.signature,
    });
    let answer = cloud.post(&fields, &[], b"unit-1\nunit-3\n").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let request = list_job(&product, &firmware_id, &form.file_url);
    let job_id = faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id;
    let tasks = tasks(&faces, &job_id).await;
    assert_eq!(tasks.keys().collect::<Vec<_>>(), ["unit-1", "unit-3"]);
    server.assert_healthy().await;
}
