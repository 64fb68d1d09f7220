//! When a job begins and ends: what is refused, and that nobody hears of a job before its time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otaria_proto::v1::{
    CancelOtaTaskByJobRequest, CreateOtaStaticUpgradeJobRequest, JobStatus, TaskStatus, WaitReason,
};
use tokio::time::sleep;
use tonic::Code;

use crate::device::{Device, Temper};
use crate::faces::assert_refused;
use crate::rollout::{firmware, names_job, product, query, register, tasks};
use crate::server::Server;
use crate::{QUIET, eventually};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Between this clock and the moment when the server looks at its own.
const SLACK: i64 = 20_000;

#[expect(clippy::disallowed_methods, reason = "schedules are instants of the wall clock")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn schedules_outside_their_limits_are_refused_and_make_nothing() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let product = product(&faces, "schedule_test").await;
    register(&faces, &product, ["unit-0".to_owned()]).await;
    let firmware = firmware(&faces, &product, "2.0.0").await;

    let begin = "ScheduleTime";
    let finish = "ScheduleFinishTime";
    for (schedule_time, schedule_finish_time, field) in [
        (Some(5 * MINUTE - SLACK), None, begin),
        (Some(-DAY), None, begin),
        (Some(i64::MIN), None, begin),
        (Some(i64::MAX), None, begin),
        (Some(7 * DAY + SLACK), None, begin),
        (Some(HOUR), Some(HOUR), finish),
        (Some(HOUR), Some(2 * HOUR - 1), finish),
        (Some(HOUR), Some(30 * DAY + HOUR + SLACK), finish),
        (None, Some(HOUR - SLACK), finish),
        (None, Some(30 * DAY + SLACK), finish),
        (None, Some(-HOUR), finish),
    ] {
        let now = now();
        let request = CreateOtaStaticUpgradeJobRequest {
            schedule_time: schedule_time.map(|offset: i64| now.saturating_add(offset)),
            schedule_finish_time: schedule_finish_time.map(|offset: i64| now.saturating_add(offset)),
            ..names_job(&product, &firmware, ["unit-0"])
        };
        let refused = faces.jobs().create_ota_static_upgrade_job(request).await;
        assert_refused(refused, (Code::InvalidArgument, field, &format!("iot.ota.Invalid{field}")));
    }
    // The device has no task: a job that takes it finds it free.
    let request = names_job(&product, &firmware, ["unit-0"]);
    let job = faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id;
    assert_eq!(query(&faces, &job).await.expansion.unwrap_or_default().busy, 0);
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_planned_job_waits_and_can_be_cancelled_as_a_whole() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let product = product(&faces, "schedule_test").await;
    let identities = register(&faces, &product, ["unit-0".to_owned()]).await;
    let good = Temper::Good(Duration::ZERO);
    let device = Device::start(server.at().mqtt, &product, &identities[0], good);
    eventually("it is online", Duration::from_secs(10), async || device.is_online().then_some(())).await;
    let firmware = firmware(&faces, &product, "2.0.0").await;

    let (begin, finish) = (now() + 5 * MINUTE + SLACK, now() + 2 * HOUR);
    let request = CreateOtaStaticUpgradeJobRequest {
        schedule_time: Some(begin),
        schedule_finish_time: Some(finish),
        ..names_job(&product, &firmware, ["unit-0"])
    };
    let job = faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id;
    let info = query(&faces, &job).await;
    assert_eq!(info.job_status(), JobStatus::Planned);
    let millis = |stamp: Option<prost_types::Timestamp>| {
        stamp.map(|stamp| stamp.seconds * 1_000 + i64::from(stamp.nanos) / 1_000_000)
    };
    assert_eq!(millis(info.utc_schedule_time), Some(begin));
    assert_eq!(millis(info.utc_schedule_finish_time), Some(finish));
    assert_eq!(info.utc_start_time, None);
    let task = tasks(&faces, &job).await.remove("unit-0").unwrap();
    assert_eq!((task.task_status(), task.wait_reason()), (TaskStatus::Queued, WaitReason::Schedule));
    sleep(QUIET).await;
    assert!(!device.was_told("2.0.0"), "nobody hears of it before its time");

    let request = CancelOtaTaskByJobRequest {
        job_id: job.clone(),
        cancel_scheduled_task: Some(true),
        ..CancelOtaTaskByJobRequest::default()
    };
    faces.tasks().cancel_ota_task_by_job(request).await.unwrap();
    eventually("the job is cancelled", Duration::from_secs(10), async || {
        (query(&faces, &job).await.job_status() == JobStatus::Canceled).then_some(())
    })
    .await;
    // Tasks follow their job in slices.
    eventually("its task is cancelled", Duration::from_secs(10), async || {
        let task = tasks(&faces, &job).await.remove("unit-0").unwrap();
        (task.task_status() == TaskStatus::Canceled).then_some(())
    })
    .await;
    assert!(!device.was_told("2.0.0"));

    // With the same device free again, a job at once is a job at once.
    let request = names_job(&product, &firmware, ["unit-0"]);
    faces.jobs().create_ota_static_upgrade_job(request).await.unwrap();
    eventually("it is updated", Duration::from_secs(20), async || {
        (device.informed() == "2.0.0").then_some(())
    })
    .await;
    server.assert_healthy().await;
}
