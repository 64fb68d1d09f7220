//! Tasks, and how jobs are stopped and followed.

use std::time::Duration;

use otaria_proto::v1::{self, JobStatus, TaskStatus, WaitReason};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::fleet::{close, create, fleet, query, tasks_of};
use crate::world::{START, World, why};

#[tokio::test]
async fn tasks_are_listed_by_number_by_status_and_by_device() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 25).await;
    let job_id = create(&admin, fleet.all()).await;
    let list =
        |request| async { admin.tasks().list_ota_task_by_job(request).await.map(|page| page.into_inner()) };

    for status in [TaskStatus::Unspecified, TaskStatus::Queued] {
        let third = v1::ListOtaTaskByJobRequest {
            page_size: Some(10),
            current_page: Some(3),
            task_status: status.into(),
            ..tasks_of(&job_id)
        };
        let page = list(third).await.unwrap();
        assert_eq!((page.tasks.len(), page.current_page, page.next_page_token.as_str()), (5, Some(3), ""));
    }
    let named = v1::ListOtaTaskByJobRequest {
        device_names: ["dev-003", "dev-019", "dev-999"].map(Into::into).to_vec(),
        ..tasks_of(&job_id)
    };
    let page = list(named).await.unwrap();
    assert_eq!((page.tasks.len(), page.total), (2, 2));
    let none = v1::ListOtaTaskByJobRequest { task_status: TaskStatus::Failed.into(), ..tasks_of(&job_id) };
    assert_eq!(list(none).await.unwrap().total, 0);

    let bad = |change: fn(&mut v1::ListOtaTaskByJobRequest)| {
        let mut request = tasks_of(&job_id);
        change(&mut request);
        async { why(&list(request).await.unwrap_err()) }
    };
    assert_eq!(bad(|request| request.task_status = 99).await.2, "TaskStatus");
    assert_eq!(bad(|request| request.page_size = Some(1_001)).await.2, "PageSize");
    assert_eq!(bad(|request| request.page_token = "zz".into()).await.2, "PageToken");
    assert_eq!(bad(|request| request.device_names = vec!["?".into()]).await.2, "DeviceNames.1");
    let many = bad(|request| request.device_names = (0..300).map(|n| format!("dev-{n:03}")).collect()).await;
    assert_eq!(many.1, "iot.ota.InvalidTargetDevices");
    assert_eq!(bad(|request| request.job_id = "nonsense".into()).await.1, "iot.ota.JobNotFound");
}

#[tokio::test]
async fn a_paused_job_says_so_until_it_is_resumed() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 2).await;
    let job_id = create(&admin, fleet.all()).await;
    let (pause, resume) = (
        v1::PauseOtaJobRequest { job_id: job_id.clone() },
        v1::ResumeOtaJobRequest { job_id: job_id.clone() },
    );
    admin.jobs().pause_ota_job(pause.clone()).await.unwrap();
    admin.jobs().pause_ota_job(pause).await.unwrap();
    assert_eq!(query(&admin, &job_id).await.job_status(), JobStatus::Paused);
    let page = admin.tasks().list_ota_task_by_job(tasks_of(&job_id)).await.unwrap().into_inner();
    assert_eq!(page.tasks[0].wait_reason(), WaitReason::Pause);
    admin.jobs().resume_ota_job(resume).await.unwrap();
    assert_eq!(query(&admin, &job_id).await.job_status(), JobStatus::InProgress);
}

#[tokio::test]
async fn a_planned_job_waits_for_its_time_and_can_be_cancelled_as_a_whole() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 2).await;
    let begin = START.millis() + 10 * 60_000;
    let request = v1::CreateOtaStaticUpgradeJobRequest { schedule_time: Some(begin), ..fleet.all() };
    let job_id = create(&admin, request).await;
    let job = query(&admin, &job_id).await;
    assert_eq!((job.job_status(), job.utc_start_time), (JobStatus::Planned, None));
    assert_eq!(job.utc_schedule_time.unwrap().seconds, begin / 1_000);
    let page = admin.tasks().list_ota_task_by_job(tasks_of(&job_id)).await.unwrap().into_inner();
    assert_eq!(page.tasks[0].wait_reason(), WaitReason::Schedule);

    let cancel = v1::CancelOtaTaskByJobRequest { job_id: job_id.clone(), ..Default::default() };
    assert_eq!(
        admin.tasks().cancel_ota_task_by_job(cancel.clone()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let cancel = v1::CancelOtaTaskByJobRequest { cancel_scheduled_task: Some(true), ..cancel };
    admin.tasks().cancel_ota_task_by_job(cancel).await.unwrap();
    close(&world).await;
    let job = query(&admin, &job_id).await;
    assert_eq!((job.job_status(), job.task_counts.unwrap().canceled), (JobStatus::Canceled, 2));
    assert!(job.utc_end_time.is_some());
}

#[tokio::test]
async fn a_watcher_sees_a_job_at_once_and_to_its_end() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 3).await;
    let job_id = create(&admin, fleet.all()).await;
    let request = v1::WatchOtaJobRequest { job_id: job_id.clone() };
    let mut items = admin.jobs().watch_ota_job(request.clone()).await.unwrap().into_inner();
    let mut others = admin.jobs().watch_ota_job(request.clone()).await.unwrap().into_inner();
    let first = timeout(Duration::from_secs(5), items.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((first.job_status(), first.task_counts.unwrap().queued), (JobStatus::InProgress, 3));

    let cancel = v1::CancelOtaTaskByJobRequest {
        job_id: job_id.clone(),
        cancel_queued_task: Some(true),
        ..Default::default()
    };
    admin.tasks().cancel_ota_task_by_job(cancel).await.unwrap();
    close(&world).await;
    for items in [&mut items, &mut others] {
        let mut last = None;
        while let Some(item) = timeout(Duration::from_secs(5), items.next()).await.expect("an end") {
            last = Some(item.unwrap());
        }
        let last = last.unwrap();
        assert_eq!((last.job_status(), last.task_counts.unwrap().canceled), (JobStatus::Completed, 3));
    }
    // An ended job is told once.
    let mut items = admin.jobs().watch_ota_job(request).await.unwrap().into_inner();
    assert!(items.next().await.unwrap().is_ok());
    assert!(items.next().await.is_none());

    let foreign = v1::WatchOtaJobRequest { job_id };
    let stranger = world.stranger().await;
    assert_eq!(stranger.jobs().watch_ota_job(foreign).await.unwrap_err().code(), Code::NotFound);
    let nothing = v1::CancelOtaTaskByJobRequest { job_id: "unknown".into(), ..Default::default() };
    assert_eq!(
        why(&admin.tasks().cancel_ota_task_by_job(nothing).await.unwrap_err()).1,
        "iot.ota.JobNotFound"
    );
}
