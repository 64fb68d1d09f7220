//! Several processes on one database and one Redis: whatever a caller, a device or a platform does at one of them
//! holds at all of them, and a dispatcher that goes takes no job with it.

mod services;
mod stage;
mod takeover;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use otaria_proto::v1::{
    AccessKeyRole, AccessKeyStatus, CreateAccessKeyRequest, CreateOtaStaticUpgradeJobRequest, DeviceStatus,
    DisableThingRequest, EnableThingRequest, GenerateDeviceNameListUrlRequest, GenerateOtaUploadUrlRequest,
    ListAccessKeysRequest, PauseOtaJobRequest, ResumeOtaJobRequest, TaskStatus, UpdateAccessKeyRequest,
};
use rumqttc::ConnectReturnCode;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic_types::StatusExt;

use self::stage::{Cluster, Crew, Role, VERSION};
use crate::cloud::{Cloud, now, params};
use crate::device::login;
use crate::faces::Faces;
use crate::mqtt::{Client, answers, hung_up, knock};
use crate::rollout::{in_status, names_job, tasks};
use crate::{SOON, eventually, ms};

const NO_QUOTAS: &str = "[limits]\napi_quota = false\n";

/// What was written before an answer may be read a little later; the machine is busy.
const ON_THE_WAY: Duration = Duration::from_millis(300);

/// A gateway tells the others of its first listener within a second; a little more, the machine is busy.
const FEED_BEGINS: Duration = Duration::from_millis(2_500);

async fn create(faces: &Faces, crew: &Crew, maximum_per_minute: i32) -> String {
    let request = CreateOtaStaticUpgradeJobRequest {
        maximum_per_minute: Some(maximum_per_minute),
        ..names_job(&crew.product, &crew.firmware, crew.names())
    };
    faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id
}

/// Waits until every device runs the new version, and fails unless all tasks say so too.
async fn assert_all_succeed(faces: &Faces, crew: &Crew, job: &str) {
    crew.until("all have the new version", |device| device.informed() == VERSION).await;
    let tasks = tasks(faces, job).await;
    assert_eq!(in_status(&tasks, TaskStatus::Succeeded), crew.names().into_iter().collect::<BTreeSet<_>>());
    assert_eq!(tasks.len(), crew.devices.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn a_job_over_two_dispatchers_and_two_gateways_is_one_job() {
    use Role::{Api, Dispatcher, Gateway};
    let cluster = Cluster::start(&[Api, Dispatcher, Dispatcher, Gateway, Gateway], NO_QUOTAS).await;
    let crew = Crew::gather(&cluster, 24).await;
    let faces = cluster.faces().remove(0);
    cluster.until_shared_out().await;
    let first_gateway = cluster.all(Gateway)[0].mqtt();
    let mut follower = Client::platform(first_gateway, "follower", cluster.key()).await.unwrap();
    assert!(follower.subscribe(&format!("otaria/v1/events/{}/#", crew.product)).await);
    sleep(FEED_BEGINS).await;
    for device in &crew.devices {
        assert_eq!(crew.status(&faces, device.name()).await, DeviceStatus::Online, "{}", device.name());
    }
    assert_eq!(crew.status(&faces, &crew.spare.name).await, DeviceStatus::Unactive);

    let job = create(&faces, &crew, 10_000).await;
    assert_all_succeed(&faces, &crew, &job).await;
    for device in &crew.devices {
        assert_eq!((device.seen(VERSION).len(), device.connects()), (1, 1), "{}", device.name());
        assert_eq!(device.odd(), Vec::<String>::new());
    }
    for dispatcher in cluster.all(Dispatcher) {
        let claimed = dispatcher.metric("otaria_claims_total", "result=\"written\"").await;
        assert!((1..24).contains(&claimed), "both had a part of it: {claimed}");
    }

    // Every second device reported at the other gateway.
    let mut succeeded = BTreeSet::new();
    loop {
        let publish = follower.publish().await;
        let event: Value = serde_json::from_slice(&publish.payload).unwrap();
        match (event["deviceName"].as_str(), event["status"].as_str().unwrap()) {
            (Some(device), "SUCCEEDED") => assert!(succeeded.insert(device.to_owned()), "{device} twice"),
            (None, "COMPLETED") => break,
            _ => {}
        }
    }
    let names = crew.names().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(succeeded, names, "as seen at the first gateway");
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn a_device_is_at_one_gateway_and_gone_from_all_when_disabled() {
    let cluster = Cluster::start(&[Role::Api, Role::Api, Role::Gateway, Role::Gateway], NO_QUOTAS).await;
    let crew = Crew::gather(&cluster, 0).await;
    let faces = cluster.faces();
    let gateways: Vec<_> = cluster.all(Role::Gateway).iter().map(|gateway| gateway.mqtt()).collect();
    let name = &crew.spare.name;
    let login = login(&crew.product, &crew.spare);
    let status = async |wanted: DeviceStatus| {
        for faces in &faces {
            eventually(&format!("{wanted:?}"), SOON, async || {
                (crew.status(faces, name).await == wanted).then_some(())
            })
            .await;
        }
    };

    let (mut before, code) = knock(gateways[0], &login).await;
    assert_eq!(code, 0);
    status(DeviceStatus::Online).await;
    assert!(answers(&mut before).await);
    let (mut after, code) = knock(gateways[1], &login).await;
    assert_eq!(code, 0);
    hung_up(&mut before).await;
    assert!(answers(&mut after).await, "the later login stays");
    status(DeviceStatus::Online).await;

    let (product_key, device_name) = (Some(crew.product.clone()), Some(name.clone()));
    let disable = DisableThingRequest {
        product_key: product_key.clone(),
        device_name: device_name.clone(),
        ..DisableThingRequest::default()
    };
    let begun = Instant::now();
    faces[0].devices().disable_thing(disable).await.unwrap();
    hung_up(&mut after).await;
    println!("a disabled device was hung up on after {} ms", ms(begun));
    for gateway in &gateways {
        assert_eq!(knock(*gateway, &login).await.1, 5, "a disabled device is not let in");
    }
    status(DeviceStatus::Disable).await;
    let enable = EnableThingRequest { product_key, device_name, ..EnableThingRequest::default() };
    faces[1].devices().enable_thing(enable).await.unwrap();
    let (_socket, code) = knock(gateways[0], &login).await;
    assert_eq!(code, 0, "enabled at the other API");
    status(DeviceStatus::Online).await;
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn a_key_that_is_disabled_at_one_api_is_refused_everywhere_at_once() {
    let cluster = Cluster::start(&[Role::Api, Role::Api, Role::Gateway], NO_QUOTAS).await;
    let crew = Crew::gather(&cluster, 0).await;
    let owner = cluster.faces();
    let gateway = cluster.all(Role::Gateway)[0].mqtt();
    let request = CreateAccessKeyRequest { account_id: None, role: AccessKeyRole::Operator.into() };
    let made = owner[0].access().create_access_key(request).await.unwrap().into_inner();
    let id = made.access_key.unwrap().access_key_id;
    let key = [id.clone(), made.access_key_secret];
    let (faces, clouds) = (cluster.faces_of(&key), cluster.clouds_of(&key));
    let detail = params(&[("ProductKey", &crew.product), ("DeviceName", &crew.spare.name)]);

    for turn in 0..3 {
        // Both have seen the key before, so that both could remember it.
        for (faces, cloud) in faces.iter().zip(&clouds) {
            assert_eq!(crew.status(faces, &crew.spare.name).await, DeviceStatus::Unactive);
            cloud.call("QueryDeviceDetail", &detail).await.done();
        }
        drop(Client::platform(gateway, "before", key.clone()).await.unwrap());
        let set = async |at: usize, status: AccessKeyStatus| {
            let request = UpdateAccessKeyRequest {
                access_key_id: id.clone(),
                status: status.into(),
                ..UpdateAccessKeyRequest::default()
            };
            owner[at].access().update_access_key(request).await.unwrap();
        };
        set(turn % 2, AccessKeyStatus::Inactive).await;
        let at_once = async |faces: &Faces, cloud: &Cloud| {
            let request = names_job(&crew.product, &crew.firmware, ["unit-00"]);
            let refused = faces.jobs().create_ota_static_upgrade_job(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
            let said = cloud.call("QueryDeviceDetail", &detail).await;
            assert_eq!((said.status, said.refused().0), (400, "InvalidAccessKeyId.Inactive"));
        };
        at_once(&faces[1 - turn % 2], &clouds[1 - turn % 2]).await;
        at_once(&faces[turn % 2], &clouds[turn % 2]).await;
        let refused = Client::platform(gateway, "after", key.clone()).await.err();
        assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
        set(1 - turn % 2, AccessKeyStatus::Active).await;
    }
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn apis_that_begin_together_make_one_admin_key() {
    let (cluster, keys) = Cluster::start_without_key(&[Role::Api; 4]).await;
    assert_eq!(keys.len(), 1, "of four one has a key to tell: {} have", keys.len());
    for faces in cluster.faces_of(&keys[0]) {
        let there = faces.access().list_access_keys(ListAccessKeysRequest::default()).await;
        let there = there.unwrap().into_inner().access_keys;
        let ids: Vec<_> = there.iter().map(|key| key.access_key_id.as_str()).collect();
        assert_eq!(ids, [keys[0][0].as_str()]);
    }
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn two_apis_refuse_and_count_as_one() {
    let cluster = Cluster::start(&[Role::Api, Role::Api], "[limits.quotas]\nQueryOTAJob = 5\n").await;
    let crew = Crew::gather(&cluster, 0).await;
    let clouds = cluster.clouds();

    let detail = params(&[("ProductKey", &crew.product), ("DeviceName", &crew.spare.name)]);
    for nonce in ["first", "second"] {
        let request = clouds[0].request("QueryDeviceDetail", &detail, now(), nonce);
        clouds[0].send(&request).await.done();
        let again = clouds[1].send(&request).await;
        assert_eq!(again.refused().0, "SignatureNonceUsed");
    }

    let wanted = params(&[
        ("ProductKey", &crew.product),
        ("FirmwareId", &crew.firmware),
        ("TargetSelection", "SPECIFIC"),
        ("TargetDeviceName.1", &crew.spare.name),
        ("ClientToken", "the-same"),
    ]);
    let mut jobs = BTreeSet::new();
    for cloud in clouds.iter().chain(&clouds) {
        let made = cloud.call("CreateOTAStaticUpgradeJob", &wanted).await.done();
        jobs.insert(made["Data"]["JobId"].as_str().unwrap().to_owned());
    }
    assert_eq!(jobs.len(), 1, "the same token is the same job: {jobs:?}");

    let job = params(&[("JobId", jobs.first().unwrap())]);
    let begun = Instant::now();
    let calls = (0..30).map(|n| clouds[n % 2].call("QueryOTAJob", &job));
    let answers = join_all(calls).await;
    let lasted = begun.elapsed();
    let served = answers.iter().filter(|said| said.json["Success"] == true).count();
    println!("{served} of 30 calls were served within {lasted:?}");
    for said in answers.iter().filter(|said| said.json["Success"] != true) {
        assert_eq!(said.refused().0, "Throttling.User");
    }
    // A second's worth at once, and then five a second.
    let allowed = 5.0 + 5.0 * lasted.as_secs_f64() + 1.0;
    assert!(served >= 5 && (served as f64) < allowed, "{served} served within {lasted:?}");
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn upload_forms_are_counted_over_both_faces_of_both_apis_and_each_for_itself() {
    let quotas = "[limits.quotas]\nGenerateOTAUploadURL = 4\nGenerateDeviceNameListURL = 4\n";
    let cluster = Cluster::start(&[Role::Api, Role::Api], quotas).await;
    let (faces, clouds) = (cluster.faces(), cluster.clouds());
    for action in ["GenerateOTAUploadURL", "GenerateDeviceNameListURL"] {
        let ask = async |n: usize| -> Result<(), String> {
            let (faces, cloud) = (&faces[n % 2], &clouds[n % 2]);
            // Every fourth and fifth over HTTP.
            if n % 5 > 2 {
                let said = cloud.call(action, &params(&[])).await;
                return if said.json["Success"] == true { Ok(()) } else { Err(said.refused().0.to_owned()) };
            }
            let answer = if action == "GenerateOTAUploadURL" {
                let asked = GenerateOtaUploadUrlRequest::default();
                faces.firmware().generate_ota_upload_url(asked).await.map(drop)
            } else {
                let asked = GenerateDeviceNameListUrlRequest::default();
                faces.jobs().generate_device_name_list_url(asked).await.map(drop)
            };
            answer.map_err(|status| {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                status.get_error_details().error_info().unwrap().reason.clone()
            })
        };
        let begun = Instant::now();
        let answers = join_all((0..40).map(ask)).await;
        let lasted = begun.elapsed();
        let refused: BTreeSet<&str> =
            answers.iter().filter_map(|answer| answer.as_ref().err()).map(String::as_str).collect();
        let served = answers.iter().filter(|answer| answer.is_ok()).count();
        println!("{served} of 40 calls of {action} were served within {lasted:?}");
        assert_eq!(refused, BTreeSet::from(["Throttling.User"]));
        // A second's worth at once, whatever was asked of the other action, and then four a second.
        let allowed = 4.0 + 4.0 * lasted.as_secs_f64() + 1.0;
        assert!(served >= 4 && (served as f64) < allowed, "{served} served within {lasted:?}");
    }
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn a_pause_at_one_api_holds_for_a_dispatcher_elsewhere() {
    use Role::{Api, Dispatcher, Gateway};
    let cluster = Cluster::start(&[Api, Api, Dispatcher, Gateway], NO_QUOTAS).await;
    let crew = Crew::gather(&cluster, 16).await;
    let faces = cluster.faces();
    let job = create(&faces[0], &crew, 150).await;
    for count in [3, 8] {
        crew.until_told(count).await;
        let begun = Instant::now();
        faces[1].jobs().pause_ota_job(PauseOtaJobRequest { job_id: job.clone() }).await.unwrap();
        let answered = Instant::now();
        println!("a pause was answered after {} ms", ms(begun));
        // Time for four notices at that pace.
        sleep(Duration::from_millis(1_800)).await;
        let seen = crew.devices.iter().flat_map(|device| device.seen(VERSION));
        let late: Vec<Duration> = seen
            .filter_map(|seen| seen.at.checked_duration_since(answered))
            .filter(|after| *after > ON_THE_WAY)
            .collect();
        assert!(late.is_empty(), "notices this long after the answer: {late:?}");
        assert!(crew.told() < crew.devices.len(), "the pause came in the middle");
        faces[0].jobs().resume_ota_job(ResumeOtaJobRequest { job_id: job.clone() }).await.unwrap();
    }
    assert_all_succeed(&faces[1], &crew, &job).await;
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn dispatchers_that_are_killed_or_stopped_take_no_job_with_them() {
    use Role::{Api, Dispatcher, Gateway};
    let mut cluster = Cluster::start(&[Api, Dispatcher, Dispatcher, Gateway], NO_QUOTAS).await;
    let crew = Crew::gather(&cluster, 28).await;
    let faces = cluster.faces().remove(0);
    cluster.until_shared_out().await;
    // Some 17 s.
    let job = create(&faces, &crew, 100).await;
    crew.until_told(3).await;
    let begun = Instant::now();
    cluster.take_the_larger_dispatcher().await.kill().await;

    cluster.add(&[Dispatcher]).await;
    cluster.until_shared_out().await;
    println!("{} ms after the kill all shards are owned, {} devices are told", ms(begun), crew.told());
    let older = cluster.take_the_older_dispatcher();
    let ended = timeout(SOON, older.terminate()).await.expect("it stops soon");
    assert!(ended.success(), "{ended:?}");
    let told = crew.told();
    assert!(told < crew.devices.len(), "it was stopped in the middle");
    cluster.until_shared_out().await;
    println!("{} ms after the kill one owns everything, {told} devices are told", ms(begun));

    assert_all_succeed(&faces, &crew, &job).await;
    println!("{} ms after the kill all have succeeded", ms(begun));
    for device in &crew.devices {
        let attempts: BTreeSet<u64> = device.seen(VERSION).iter().map(|seen| seen.wire_id).collect();
        assert_eq!(attempts.len(), 1, "{} had one attempt", device.name());
    }
    cluster.end();
}
