//! An answered pause or cancellation is the end of a job's notices, seen at the devices' sockets, and a
//! resumed job goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use otaria_proto::v1::{
    CancelOtaTaskByJobRequest, JobStatus, PauseOtaJobRequest, ResumeOtaJobRequest, TaskStatus,
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::device::{Device, Temper};
use crate::eventually;
use crate::faces::{Faces, assert_denied};
use crate::rollout::{create_by_list, firmware, in_status, product, query, register, tasks};
use crate::server::Server;

const DEVICES: usize = 400;
/// Some 80 notices a second.
const PACE: i32 = 5_000;
const VERSION: &str = "2.0.0";

/// What was written before the answer may be read a little later; the machine is busy.
const ON_THE_WAY: Duration = Duration::from_millis(300);
/// Long enough for a hundred notices at that pace.
const WATCH: Duration = Duration::from_millis(1_300);

struct Busy {
    server: Server,
    faces: Faces,
    devices: Vec<Device>,
    job: String,
}

impl Busy {
    /// A job that goes on for some seconds.
    async fn begin() -> Self {
        let server = Server::start().await;
        let faces = server.faces();
        let product = product(&faces, "cancel_test").await;
        let identities = register(&faces, &product, (0..DEVICES).map(|n| format!("unit-{n:03}"))).await;
        let good = Temper::Good(Duration::from_millis(100));
        let start = |identity| Device::start(server.at().mqtt, &product, identity, good);
        let devices: Vec<Device> = identities.iter().map(start).collect();
        eventually("all are online", Duration::from_secs(30), async || {
            devices.iter().all(Device::is_online).then_some(())
        })
        .await;
        let firmware = firmware(&faces, &product, VERSION).await;
        let names: Vec<&str> = devices.iter().map(Device::name).collect();
        let job = create_by_list(&faces, &product, &firmware, names.join("\n").as_bytes(), PACE).await;
        Self { server, faces, devices, job }
    }

    fn told(&self) -> usize {
        self.devices.iter().filter(|device| device.was_told(VERSION)).count()
    }

    async fn until_told(&self, count: usize) {
        let patience = Duration::from_secs(30);
        eventually("devices are told", patience, async || (self.told() >= count).then_some(())).await;
    }

    /// Fails if a device saw a notice after `answered`.
    async fn assert_silent_since(&self, answered: Instant) {
        sleep(WATCH).await;
        let all = self.devices.iter().flat_map(|device| device.seen(VERSION));
        let late: Vec<Duration> = all
            .filter_map(|seen| seen.at.checked_duration_since(answered))
            .filter(|after| *after > ON_THE_WAY)
            .collect();
        assert!(late.is_empty(), "notices this long after the answer: {late:?}");
    }

    async fn pause(&self) -> Instant {
        let request = PauseOtaJobRequest { job_id: self.job.clone() };
        self.faces.jobs().pause_ota_job(request).await.unwrap();
        Instant::now()
    }

    async fn resume(&self) {
        let request = ResumeOtaJobRequest { job_id: self.job.clone() };
        self.faces.jobs().resume_ota_job(request).await.unwrap();
    }
}

fn cancel_request(job: &str) -> CancelOtaTaskByJobRequest {
    CancelOtaTaskByJobRequest {
        job_id: job.to_owned(),
        cancel_queued_task: Some(true),
        cancel_notified_task: Some(true),
        ..CancelOtaTaskByJobRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_pause_no_notice_and_after_resuming_all_of_them() {
    let mut busy = Busy::begin().await;
    for count in [20, 110, 200] {
        busy.until_told(count).await;
        let answered = busy.pause().await;
        assert_eq!(query(&busy.faces, &busy.job).await.job_status(), JobStatus::Paused);
        busy.assert_silent_since(answered).await;
        assert!(busy.told() < DEVICES, "the pause came in the middle");
        // Pausing again changes nothing.
        busy.pause().await;
        busy.resume().await;
    }
    busy.resume().await;
    eventually("the job is completed", Duration::from_secs(60), async || {
        let job = query(&busy.faces, &busy.job).await;
        (job.job_status() == JobStatus::Completed).then_some(())
    })
    .await;
    for device in &busy.devices {
        assert_eq!(
            (device.seen(VERSION).len(), device.informed().as_str()),
            (1, VERSION),
            "{}",
            device.name()
        );
    }
    let request = PauseOtaJobRequest { job_id: busy.job.clone() };
    let refused = busy.faces.jobs().pause_ota_job(request).await;
    assert_denied(refused, (Code::FailedPrecondition, "iot.ota.JobStatusNotAllowed"));
    busy.server.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cancellation_no_notice_ever() {
    let mut busy = Busy::begin().await;
    busy.until_told(60).await;
    busy.faces.tasks().cancel_ota_task_by_job(cancel_request(&busy.job)).await.unwrap();
    let answered = Instant::now();
    busy.assert_silent_since(answered).await;

    // The tasks of a large job follow in slices.
    eventually("the job has ended", Duration::from_secs(30), async || {
        let status = query(&busy.faces, &busy.job).await.job_status();
        matches!(status, JobStatus::Completed | JobStatus::Canceled).then_some(())
    })
    .await;
    let tasks = tasks(&busy.faces, &busy.job).await;
    let done = in_status(&tasks, TaskStatus::Succeeded);
    let canceled = in_status(&tasks, TaskStatus::Canceled);
    assert_eq!(done.len() + canceled.len(), DEVICES);
    assert!(canceled.len() > DEVICES / 4, "it came in the middle: {}", canceled.len());
    let told: BTreeSet<&str> =
        busy.devices.iter().filter(|device| device.was_told(VERSION)).map(Device::name).collect();
    assert!(done.is_subset(&told));
    let untold = busy.devices.iter().find(|device| !device.was_told(VERSION)).unwrap();
    assert_eq!(tasks[untold.name()].task_status(), TaskStatus::Canceled);
    busy.server.assert_healthy().await;
}
