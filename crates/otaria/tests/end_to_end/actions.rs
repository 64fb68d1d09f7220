//! Both faces serve the same actions, and each serves what it names.

use std::collections::BTreeSet;

use tonic::Code;

use crate::cloud::{Cloud, Params};
use crate::grpc;
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
const NOT_SERVED_OVER_GRPC: &[(&str, &str)] = &[
    ("GenerateOTAUploadURL", "a form is for HTTP; UploadFirmwareFile takes the file itself"),
    ("GenerateDeviceNameListURL", "a form is for HTTP; UploadDeviceNameList takes the file itself"),
    ("GenerateFileUploadURL", "files that have to do with no update"),
];

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
