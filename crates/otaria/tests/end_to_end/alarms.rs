//! The counters of broken promises: all there from the start, all at 0 whatever happens, and not blind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use otaria_proto::v1::JobStatus;

use crate::device::{Device, Temper};
use crate::faces::Faces;
use crate::rollout::{create_by_list, firmware, product, query, register};
use crate::server::Server;
use crate::{eventually, http};

const VERSION: &str = "2.0.0";

/// The promises that are watched, by their numbers in `crates/README.md`.
const WATCHED: [&str; 22] = [
    "I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14", "I15", "I16",
    "I17", "I18", "I19", "I20", "I21", "I22",
];

/// How often each promise was seen broken. Fails if one is not watched.
pub(crate) async fn alarms(http: SocketAddr) -> BTreeMap<String, u64> {
    let metrics = http::get(http, "/metrics").await.text;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("otaria_invariant_violations_total{"));
    let counted: BTreeMap<String, u64> = lines
        .map(|line| {
            let (labels, count) = line.split_once("} ").unwrap();
            let invariant = labels.trim_start_matches("invariant=").trim_matches('"');
            (invariant.to_owned(), count.parse().unwrap())
        })
        .collect();
    for invariant in WATCHED {
        assert!(counted.contains_key(invariant), "{invariant} is not watched: {counted:?}");
    }
    assert_eq!(counted.len(), WATCHED.len(), "{counted:?}");
    counted
}

/// Fails if any promise was seen broken.
pub(crate) async fn assert_none(http: SocketAddr) {
    let mut broken = alarms(http).await;
    broken.retain(|_, count| *count > 0);
    assert!(broken.is_empty(), "{broken:?}");
}

/// Makes a job of so many devices, all of them connected.
async fn begin(server: &Server, faces: &Faces, count: usize, pace: i32) -> (Vec<Device>, String) {
    let product = product(faces, "alarm_test").await;
    let identities = register(faces, &product, (0..count).map(|n| format!("unit-{n:03}"))).await;
    let good = Temper::Good(Duration::from_millis(100));
    let start = |identity| Device::start(server.at().mqtt, &product, identity, good);
    let devices: Vec<Device> = identities.iter().map(start).collect();
    eventually("all are online", Duration::from_secs(30), async || {
        devices.iter().all(Device::is_online).then_some(())
    })
    .await;
    let firmware = firmware(faces, &product, VERSION).await;
    let names: Vec<&str> = devices.iter().map(Device::name).collect();
    let job = create_by_list(faces, &product, &firmware, names.join("\n").as_bytes(), pace).await;
    (devices, job)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_as_promised_raises_no_alarm() {
    let server = Server::start().await;
    assert_none(server.at().http).await;
    let faces = server.faces();
    let (_devices, job) = begin(&server, &faces, 100, 1_000).await;
    eventually("the job is completed", Duration::from_secs(60), async || {
        (query(&faces, &job).await.job_status() == JobStatus::Completed).then_some(())
    })
    .await;
    assert_none(server.at().http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_faster_than_promised_raises_the_alarm() {
    let planted = [("OTARIA_PLANT", "no-pace"), ("OTARIA_PLANT_I_TEST", "yes")];
    let server = Server::start_in(&planted, "").await;
    let faces = server.faces();
    let (_devices, job) = begin(&server, &faces, 15, 10).await;
    eventually("the job is completed", Duration::from_secs(60), async || {
        (query(&faces, &job).await.job_status() == JobStatus::Completed).then_some(())
    })
    .await;
    let broken = alarms(server.at().http).await;
    assert_eq!(broken["I1"], 5, "fifteen within a minute, and ten are allowed: {broken:?}");
    assert_eq!(broken.values().sum::<u64>(), 5, "the others hold: {broken:?}");
}
