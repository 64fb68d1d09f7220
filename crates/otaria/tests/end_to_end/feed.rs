//! The event feed, as platform clients follow it: everything of their own products, in order, and nothing
//! that anybody else could put there or see.

use std::collections::BTreeMap;
use std::time::Duration;

use otaria_proto::v1::{
    CancelOtaTaskByJobRequest, CreateOtaStaticUpgradeJobRequest, JobStatus, QueryDeviceRequest,
};
use rumqttc::ConnectReturnCode;
use serde_json::Value;

use crate::device::{Device, Temper, login};
use crate::eventually;
use crate::faces::Faces;
use crate::mqtt::Client;
use crate::rollout::{Identity, firmware, list_job, names_job, product, query, register, tasks, upload_list};
use crate::server::Server;

const VERSION: &str = "2.0.0";

/// A job of good, failing and offline devices.
struct Story {
    server: Server,
    faces: Faces,
    product: String,
    identities: Vec<Identity>,
    devices: Vec<Device>,
}

impl Story {
    async fn begin(online: usize, failing: usize, offline: usize) -> Self {
        let server = Server::start().await;
        let faces = server.faces();
        let product = product(&faces, "feed_test").await;
        let count = online + failing + offline;
        let identities = register(&faces, &product, (0..count).map(|n| format!("feed-{n:03}"))).await;
        let start = |(n, identity)| {
            let good = Temper::Good(Duration::from_millis(20));
            let temper = if n < failing { Temper::Failing } else { good };
            Device::start(server.at().mqtt, &product, identity, temper)
        };
        let devices: Vec<Device> = identities[..online + failing].iter().enumerate().map(start).collect();
        eventually("all are online", Duration::from_secs(30), async || {
            devices.iter().all(|device| device.informed() == "1.0.0").then_some(())
        })
        .await;
        Self { server, faces, product, identities, devices }
    }

    fn all(&self) -> String {
        format!("otaria/v1/events/{}/#", self.product)
    }

    async fn follower(&self, name: &str) -> Client {
        let mut client =
            Client::platform(self.server.at().mqtt, name, self.server.admin_key()).await.unwrap();
        assert!(client.subscribe(&self.all()).await);
        client
    }

    async fn create(&self) -> String {
        let firmware = firmware(&self.faces, &self.product, VERSION).await;
        let names: Vec<&str> = self.identities.iter().map(|identity| identity.name.as_str()).collect();
        let url = upload_list(&self.faces, names.join("\r\n").as_bytes()).await.unwrap().into_inner();
        let request = CreateOtaStaticUpgradeJobRequest {
            retry_interval: Some(0),
            retry_count: Some(1),
            ..list_job(&self.product, &firmware, &url.file_url)
        };
        self.faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id
    }

    /// Waits until all online devices are final, and cancels the others.
    async fn end(&self, job: &str) {
        let online = i64::try_from(self.devices.len()).unwrap();
        eventually("all online devices are final", Duration::from_secs(60), async || {
            let counts = query(&self.faces, job).await.task_counts.unwrap_or_default();
            (counts.succeeded + counts.failed >= online).then_some(())
        })
        .await;
        let request = CancelOtaTaskByJobRequest {
            job_id: job.to_owned(),
            cancel_queued_task: Some(true),
            ..CancelOtaTaskByJobRequest::default()
        };
        self.faces.tasks().cancel_ota_task_by_job(request).await.unwrap();
    }
}

const FINAL: [&str; 3] = ["SUCCEEDED", "FAILED", "CANCELED"];

/// Where a task may go from where it is; from nothing when it is made.
fn may_follow(previous: Option<&str>, status: &str) -> bool {
    match previous {
        None => status == "QUEUED",
        Some("QUEUED") => ["NOTIFIED", "CANCELED", "SUCCEEDED"].contains(&status),
        Some("NOTIFIED") => ["NOTIFIED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELED"].contains(&status),
        Some("IN_PROGRESS") => ["IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELED"].contains(&status),
        Some(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_client_sees_every_transition_in_order() {
    let story = Story::begin(60, 8, 6).await;
    let mut follower = story.follower("follower").await;
    let job = story.create().await;
    story.end(&job).await;

    let prefix = format!("otaria/v1/events/{}/job/{job}", story.product);
    let mut of_task: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut of_job: Vec<String> = Vec::new();
    while !of_job.iter().any(|status| ["COMPLETED", "CANCELED"].contains(&status.as_str())) {
        let publish = follower.publish().await;
        let event: Value = serde_json::from_slice(&publish.payload).unwrap();
        assert_eq!(
            (event["jobId"].as_str(), event["productKey"].as_str()),
            (Some(&*job), Some(&*story.product))
        );
        match event["deviceName"].as_str() {
            Some(device) => {
                assert_eq!(publish.topic, format!("{prefix}/task/{device}"));
                of_task.entry(device.to_owned()).or_default().push(event);
            }
            None => {
                assert_eq!(publish.topic, prefix);
                of_job.push(event["status"].as_str().unwrap().to_owned());
            }
        }
    }
    assert!(follower.hears_nothing().await, "after its end a job is silent");

    assert_eq!(
        of_job.iter().filter(|status| FINAL.contains(&status.as_str()) || *status == "COMPLETED").count(),
        1
    );
    let tasks = tasks(&story.faces, &job).await;
    assert_eq!(of_task.keys().collect::<Vec<_>>(), tasks.keys().collect::<Vec<_>>());
    for (name, events) in &of_task {
        let (mut status, mut revision) = (None, -1);
        for event in events {
            let next = event["status"].as_str().unwrap();
            assert!(event["revision"].as_i64().unwrap() > revision, "{name}: {events:?}");
            assert_eq!(event["previousStatus"].as_str(), status, "{name}: {events:?}");
            assert!(may_follow(status, next), "{name}: {status:?} to {next}: {events:?}");
            (status, revision) = (Some(next), event["revision"].as_i64().unwrap());
        }
        let found = tasks[name].task_status().as_str_name();
        assert_eq!(found, format!("TASK_STATUS_{}", status.unwrap()), "{name}: {events:?}");
        assert!(FINAL.contains(&status.unwrap()), "{name}: {events:?}");
        let seen = |wanted: &str| events.iter().any(|event| event["status"] == wanted);
        match status.unwrap() {
            "SUCCEEDED" => assert!(seen("NOTIFIED") && seen("IN_PROGRESS"), "{name}: {events:?}"),
            "FAILED" => assert!(events.iter().any(|event| event["attempt"] == 2), "{name}: {events:?}"),
            _ => assert!(!seen("NOTIFIED"), "{name}: {events:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_client_cannot_publish() {
    let story = Story::begin(1, 0, 1).await;
    let mut listener = story.follower("listener").await;
    let mut speaker = story.follower("speaker").await;
    let (product, device) = (&story.product, story.devices[0].name());
    let notice = r#"{"id":1,"code":"1000","data":{"version":"6.6.6","url":"http://127.0.0.1/","size":1}}"#;
    let inform = r#"{"id":"1","params":{"version":"6.6.6"}}"#;
    for (topic, payload) in [
        (format!("otaria/v1/events/{product}/job/j1"), "{}"),
        (format!("otaria/v1/events/{product}/job/j1/task/{device}"), "{}"),
        (format!("/ota/device/upgrade/{product}/{device}"), notice),
        (format!("/ota/device/inform/{product}/{device}"), inform),
        (format!("/ota/device/progress/{product}/{device}"), inform),
        ("ünicode".to_owned(), "{}"),
    ] {
        speaker.say(&topic, payload).await;
    }
    assert!(listener.hears_nothing().await && speaker.hears_nothing().await);
    assert_eq!(story.devices[0].odd(), Vec::<String>::new());
    assert!(!story.devices[0].was_told("6.6.6"));
    let request = QueryDeviceRequest { product_key: product.clone(), ..QueryDeviceRequest::default() };
    let devices = story.faces.devices().query_device(request).await.unwrap().into_inner().devices;
    let versions = devices.iter().flat_map(|device| &device.module_versions);
    assert_eq!(versions.map(|version| version.module_version.as_str()).collect::<Vec<_>>(), ["1.0.0"]);

    // Whoever spoke still listens.
    story.create().await;
    speaker.publish().await;
    listener.publish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_and_other_accounts_see_nothing_of_it() {
    let story = Story::begin(3, 0, 1).await;
    let mqtt = story.server.at().mqtt;
    let account = story.server.cli(&["account", "create", "somebody else"]).await;
    let account = account["account"]["account_id"].as_str().unwrap();
    let made = story.server.cli(&["key", "create", "--role", "admin", "--account", account]).await;
    let id = made["access_key"]["access_key_id"].as_str().unwrap().to_owned();
    let key = [id, made["access_key_secret"].as_str().unwrap().to_owned()];

    // What belongs to somebody else does not exist.
    let foreign = Faces::new(story.server.at().grpc, &key);
    let firmware = firmware(&story.faces, &story.product, "1.5.0").await;
    let request = names_job(&story.product, &firmware, ["feed-000"]);
    let refused = foreign.jobs().create_ota_static_upgrade_job(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused:?}");

    let mut other = Client::platform(mqtt, "other", key.clone()).await.unwrap();
    let spare = story.identities.last().unwrap();
    let mut device = Client::connect(mqtt, login(&story.product, spare)).await.unwrap();
    let filters = [
        story.all(),
        "#".to_owned(),
        "+/v1/events/#".to_owned(),
        "otaria/#".to_owned(),
        "$SYS/#".to_owned(),
        format!("otaria/v1/events/{}/job/+/task/+", story.product),
        format!("/ota/device/upgrade/{}/feed-000", story.product),
    ];
    for filter in &filters {
        assert!(!other.subscribe(filter).await, "another account: {filter}");
        assert!(!device.subscribe(filter).await, "a device: {filter}");
    }

    let mut own = story.follower("own").await;
    let job = story.create().await;
    own.publish().await;
    // The device gets its own notice, and nothing else.
    let notice = device.publish().await;
    assert_eq!(notice.topic, format!("/ota/device/upgrade/{}/{}", story.product, spare.name));
    eventually("the others are done", Duration::from_secs(60), async || {
        let counts = query(&story.faces, &job).await.task_counts.unwrap_or_default();
        (counts.succeeded == 3).then_some(())
    })
    .await;
    assert!(other.hears_nothing().await && device.hears_nothing().await);
    assert_ne!(query(&story.faces, &job).await.job_status(), JobStatus::Completed);

    // A key that is wrong, unknown or disabled does not come in.
    let wrong = [key[0].clone(), "wrong".to_owned()];
    let unknown = ["OTunknown0000000".to_owned(), key[1].clone()];
    for key in [wrong, unknown] {
        let refused = Client::platform(mqtt, "stranger", key).await.err().expect("refused");
        let refusals = [ConnectReturnCode::NotAuthorized, ConnectReturnCode::BadUserNamePassword];
        assert!(refusals.contains(&refused), "{refused:?}");
    }
    let viewer = story.server.cli(&["key", "create", "--role", "viewer"]).await;
    let id = viewer["access_key"]["access_key_id"].as_str().unwrap().to_owned();
    let viewer = [id.clone(), viewer["access_key_secret"].as_str().unwrap().to_owned()];
    let mut reader = Client::platform(mqtt, "viewer", viewer.clone()).await.unwrap();
    assert!(reader.subscribe(&story.all()).await, "reading is what a viewer may");
    story.server.cli(&["key", "disable", &id]).await;
    let refused = Client::platform(mqtt, "viewer again", viewer).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
}
