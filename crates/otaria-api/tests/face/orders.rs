//! Tasks and jobs that an operator moves: confirmed, started again, cancelled, changed, listed.

use otaria_proto::v1::{self, BulkAction, FailureCause, JobStatus, TaskStatus};
use tonic::{Code, Status};

use crate::fleet::{Fleet, close, create, fleet, query, tasks_of};
use crate::world::{Caller, World, because, why};

async fn ids(caller: &Caller, job_id: &str) -> Vec<String> {
    let page = caller.tasks().list_ota_task_by_job(tasks_of(job_id)).await.unwrap().into_inner();
    page.tasks.into_iter().map(|task| task.task_id).collect()
}

async fn to_confirm(caller: &Caller, fleet: &Fleet) -> String {
    let request = v1::CreateOtaStaticUpgradeJobRequest { need_confirm: Some(true), ..fleet.all() };
    create(caller, request).await
}

async fn cancel_all(world: &World, caller: &Caller, job_id: &str) {
    let request = v1::CancelOtaTaskByJobRequest {
        job_id: job_id.into(),
        cancel_queued_task: Some(true),
        ..Default::default()
    };
    caller.tasks().cancel_ota_task_by_job(request).await.unwrap();
    close(world).await;
}

async fn confirm(caller: &Caller, task_id: &[String], job_id: Option<&str>) -> Result<(), Status> {
    let request = v1::ConfirmOtaTaskRequest { task_id: task_id.to_vec(), job_id: job_id.map(Into::into) };
    caller.tasks().confirm_ota_task(request).await.map(drop)
}

async fn reupgrade(
    caller: &Caller,
    job_id: &str,
    task_id: &[String],
    filter: Option<v1::ReupgradeFilter>,
) -> Result<(), Status> {
    let request = v1::ReupgradeOtaTaskRequest { job_id: job_id.into(), task_id: task_id.to_vec(), filter };
    caller.tasks().reupgrade_ota_task(request).await.map(drop)
}

#[tokio::test]
async fn tasks_are_confirmed_by_name_or_all_of_a_job() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 14).await;
    let job_id = to_confirm(&admin, &fleet).await;
    let tasks = ids(&admin, &job_id).await;
    confirm(&admin, &tasks[..10], None).await.unwrap();
    let counts = query(&admin, &job_id).await.task_counts.unwrap();
    assert_eq!((counts.confirm, counts.queued), (4, 10));

    let refused = |task_id: Vec<String>, job: Option<&'static str>| {
        let admin = admin.clone();
        async move { why(&confirm(&admin, &task_id, job).await.unwrap_err()) }
    };
    let again = refused(vec![tasks[10].clone(), tasks[0].clone()], None).await;
    assert_eq!(again, because(Code::FailedPrecondition, "iot.ota.TaskStatusNotAllowed", "TaskId.2"));
    let none = refused(Vec::new(), None).await;
    assert_eq!(none, because(Code::InvalidArgument, "MissingTaskId", "TaskId"));
    assert_eq!(refused(tasks[..11].to_vec(), None).await.1, "iot.ota.TooManyTasks");
    let unknown = refused(vec!["nonsense".into()], None).await;
    assert_eq!(unknown, because(Code::NotFound, "iot.ota.TaskNotFound", "TaskId.1"));
    assert_eq!(refused(tasks[10..].to_vec(), Some("job")).await.2, "TaskId");
    assert_eq!(refused(Vec::new(), Some("nonsense")).await.1, "iot.ota.JobNotFound");
    let stranger = world.stranger().await;
    let foreign = confirm(&stranger, &tasks[10..], None).await.unwrap_err();
    assert_eq!(why(&foreign), because(Code::NotFound, "iot.ota.TaskNotFound", "TaskId.1"));
    let viewer = world.another(v1::AccessKeyRole::Viewer, None).await;
    assert_eq!(confirm(&viewer, &tasks[10..], None).await.unwrap_err().code(), Code::PermissionDenied);

    confirm(&admin, &[], Some(&job_id)).await.unwrap();
    close(&world).await;
    let job = query(&admin, &job_id).await;
    let bulk = job.bulk.unwrap();
    assert_eq!((bulk.action(), bulk.moved, bulk.passed_over, bulk.done), (BulkAction::Confirm, 4, 0, true));
    assert_eq!(job.task_counts.unwrap().queued, 14);
}

#[tokio::test]
async fn tasks_are_started_again_by_name_or_by_a_filter() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 5).await;
    let job_id = create(&admin, fleet.all()).await;
    let tasks = ids(&admin, &job_id).await;
    let queued = reupgrade(&admin, &job_id, &tasks[..1], None).await.unwrap_err();
    assert_eq!(why(&queued), because(Code::FailedPrecondition, "iot.ota.TaskStatusNotAllowed", "TaskId.1"));
    cancel_all(&world, &admin, &job_id).await;
    assert_eq!(query(&admin, &job_id).await.job_status(), JobStatus::Completed);

    reupgrade(&admin, &job_id, &tasks[..2], None).await.unwrap();
    let job = query(&admin, &job_id).await;
    assert_eq!((job.job_status(), job.utc_end_time), (JobStatus::InProgress, None));
    assert_eq!((job.task_counts.unwrap().queued, job.bulk), (2, None));

    let filter = |status: &[TaskStatus], cause: &[FailureCause]| {
        let task_status = status.iter().map(|status| (*status).into()).collect();
        Some(v1::ReupgradeFilter {
            task_status,
            failure_cause: cause.iter().map(|cause| (*cause).into()).collect(),
        })
    };
    let wrong = reupgrade(&admin, &job_id, &[], filter(&[TaskStatus::Succeeded], &[])).await.unwrap_err();
    assert_eq!(why(&wrong).2, "TaskStatus.1");
    let both = reupgrade(&admin, &job_id, &tasks[2..], filter(&[], &[])).await.unwrap_err();
    assert_eq!(why(&both).2, "TaskId");
    reupgrade(&admin, &job_id, &[], filter(&[], &[FailureCause::Timeout])).await.unwrap();
    close(&world).await;
    assert_eq!(query(&admin, &job_id).await.task_counts.unwrap().canceled, 3);
    reupgrade(&admin, &job_id, &[], filter(&[TaskStatus::Canceled], &[])).await.unwrap();
    close(&world).await;
    let job = query(&admin, &job_id).await;
    let bulk = job.bulk.unwrap();
    assert_eq!((bulk.action(), bulk.looked_at, bulk.moved, bulk.done), (BulkAction::Reupgrade, 5, 3, true));
    assert_eq!(job.task_counts.unwrap().queued, 5);
}

#[tokio::test]
async fn the_tasks_of_devices_are_cancelled_and_open_ones_listed() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 4).await;
    let job_id = create(&admin, fleet.all()).await;
    let cancel = |names: &[&str], job: Option<&str>| {
        let request = v1::CancelOtaTaskByDeviceRequest {
            product_key: fleet.product_key.clone(),
            firmware_id: fleet.firmware_id.clone(),
            device_name: names.iter().map(|name| (*name).to_owned()).collect(),
            job_id: job.map(Into::into),
        };
        let admin = admin.clone();
        async move { admin.tasks().cancel_ota_task_by_device(request).await.map(drop) }
    };
    assert_eq!(why(&cancel(&[], None).await.unwrap_err()).1, "MissingDeviceName");
    assert_eq!(why(&cancel(&["?"], None).await.unwrap_err()).2, "DeviceName.1");
    let nonsense = cancel(&["dev-000"], Some("nonsense")).await.unwrap_err();
    assert_eq!(why(&nonsense).1, "iot.ota.JobNotFound");
    cancel(&["dev-000", "dev-999"], Some(&job_id)).await.unwrap();
    cancel(&["dev-001", "dev-000"], None).await.unwrap();
    let counts = query(&admin, &job_id).await.task_counts.unwrap();
    assert_eq!((counts.canceled, counts.queued), (2, 2));

    let open = |name: &str, status: TaskStatus| {
        let request = v1::ListOtaUnfinishedTaskByDeviceRequest {
            product_key: Some(fleet.product_key.clone()),
            device_name: Some(name.into()),
            task_status: status.into(),
            ..Default::default()
        };
        let admin = admin.clone();
        async move { admin.tasks().list_ota_unfinished_task_by_device(request).await }
    };
    let page = open("dev-002", TaskStatus::Unspecified).await.unwrap().into_inner();
    assert_eq!((page.tasks.len(), page.total, page.next_page_token.as_str()), (1, 1, ""));
    assert_eq!((page.tasks[0].job_id.as_str(), page.tasks[0].module_name.as_str()), (&*job_id, "default"));
    assert_eq!(open("dev-000", TaskStatus::Unspecified).await.unwrap().into_inner().total, 0);
    assert_eq!(open("dev-002", TaskStatus::Notified).await.unwrap().into_inner().total, 0);
    let final_one = open("dev-002", TaskStatus::Failed).await.unwrap_err();
    assert_eq!(why(&final_one), because(Code::InvalidArgument, "InvalidTaskStatus", "TaskStatus"));
    let nobody = open("dev-999", TaskStatus::Unspecified).await.unwrap_err();
    assert_eq!(why(&nobody).1, "iot.device.NotExistedDevice");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_package_and_by_device() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 3).await;
    let mut made = Vec::new();
    for n in 0..5 {
        let device = if n % 2 == 0 { "dev-000" } else { "dev-001" };
        let request = v1::CreateOtaStaticUpgradeJobRequest {
            target_selection: v1::TargetSelection::Specific.into(),
            target_device_name: vec![device.into()],
            tag: vec![v1::Tag { key: "n".into(), value: n.to_string() }],
            ..fleet.all()
        };
        made.push(create(&admin, request).await);
    }
    made.reverse();
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = v1::ListOtaJobByFirmwareRequest {
            firmware_id: fleet.firmware_id.clone(),
            page_size: Some(2),
            page_token: token,
            current_page: None,
        };
        let page = admin.jobs().list_ota_job_by_firmware(request).await.unwrap().into_inner();
        assert_eq!((page.total, page.page_count), (5, 3));
        seen.extend(page.jobs);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.iter().map(|job| job.job_id.clone()).collect::<Vec<_>>(), made);
    assert_eq!((seen[0].tags[0].value.as_str(), seen[0].job_status()), ("4", JobStatus::InProgress));

    let of_device = v1::ListOtaJobByDeviceRequest {
        product_key: fleet.product_key.clone(),
        device_name: "dev-000".into(),
        firmware_id: fleet.firmware_id.clone(),
        page_size: Some(2),
        current_page: Some(2),
        ..Default::default()
    };
    let page = admin.jobs().list_ota_job_by_device(of_device.clone()).await.unwrap().into_inner();
    assert_eq!((page.total, page.current_page, page.jobs.len()), (3, Some(2), 1));
    assert_eq!(page.jobs[0].job_id, made[4]);
    let stranger = world.stranger().await;
    let foreign = stranger.jobs().list_ota_job_by_device(of_device).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    let large = v1::ListOtaJobByFirmwareRequest {
        firmware_id: fleet.firmware_id.clone(),
        page_size: Some(201),
        current_page: Some(1),
        ..Default::default()
    };
    let large = admin.jobs().list_ota_job_by_firmware(large).await.unwrap_err();
    assert_eq!(why(&large), because(Code::InvalidArgument, "iot.common.InvalidPageParams", "PageSize"));
}

#[tokio::test]
async fn a_job_is_changed_until_it_ends() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 1).await;
    let job_id = create(&admin, fleet.all()).await;
    let update = |change: fn(&mut v1::UpdateOtaJobRequest)| {
        let mut request = v1::UpdateOtaJobRequest { job_id: job_id.clone(), ..Default::default() };
        change(&mut request);
        let admin = admin.clone();
        async move { admin.jobs().update_ota_job(request).await.map(drop) }
    };
    update(|request| {
        request.maximum_per_minute = Some(77);
        request.timeout_in_minutes = Some(5);
        request.tags = vec![v1::Tag { key: "a".into(), value: "b".into() }];
        request.target_selection = v1::TargetSelection::All.into();
    })
    .await
    .unwrap();
    let job = query(&admin, &job_id).await;
    assert_eq!((job.maximum_per_minute, job.timeout_in_minutes), (77, Some(5)));
    assert_eq!(job.tags[0].value, "b");

    let change_job = &update;
    let refused = |change: fn(&mut v1::UpdateOtaJobRequest)| async move {
        why(&change_job(change).await.unwrap_err()).2
    };
    assert_eq!(refused(|request| request.maximum_per_minute = Some(9)).await, "MaximumPerMinute");
    assert_eq!(refused(|request| request.timeout_in_minutes = Some(0)).await, "TimeoutInMinutes");
    assert_eq!(refused(|request| request.tags = vec![v1::Tag::default()]).await, "Tags.1.Key");
    assert_eq!(refused(|request| request.src_version_list = vec!["1".into()]).await, "SrcVersionList");
    assert_eq!(refused(|request| request.target_selection = 3).await, "TargetSelection");

    cancel_all(&world, &admin, &job_id).await;
    let ended = update(|request| request.maximum_per_minute = Some(100)).await.unwrap_err();
    assert_eq!(why(&ended).1, "iot.ota.JobStatusNotAllowed");
}
