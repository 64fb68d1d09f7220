//! Jobs: what they are made of and what is refused.

use std::time::Duration;

use bytes::Bytes;
use otaria_core::link::{self, LinkKey, LinkRefused, Linked};
use otaria_proto::v1::{self, JobStatus, TargetSelection, TaskStatus, WaitReason};
use tonic::Code;

use crate::fleet::{create, fleet, query, tasks_of};
use crate::world::{START, World, because, why};

#[tokio::test]
async fn a_small_job_has_its_tasks_when_the_call_returns() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 25).await;
    let job_id = create(&admin, fleet.all()).await;
    let job = query(&admin, &job_id).await;
    assert_eq!((job.job_status(), job.job_type()), (JobStatus::InProgress, v1::JobType::UpgradeFirmware));
    assert_eq!(job.selection_type(), v1::SelectionType::Static);
    let (expansion, counts) = (job.expansion.unwrap(), job.task_counts.unwrap());
    assert_eq!((expansion.complete, expansion.lines, expansion.tasks), (true, 25, 25));
    assert_eq!(counts.queued, 25);
    // Only what was set is there.
    assert_eq!((job.retry_count, job.retry_interval, job.timeout_in_minutes), (None, None, None));
    assert_eq!((job.gray_percent, job.dynamic_mode, job.utc_end_time), (None, None, None));
    assert_eq!(job.reject_file_url, None);
    assert_eq!((job.utc_schedule_time, job.maximum_per_minute), (None, 10_000));
    assert_eq!((job.name.as_str(), job.dest_version.as_str(), job.group_id.as_str()), ("fw1", "2.0", ""));

    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = v1::ListOtaTaskByJobRequest {
            page_size: Some(10),
            page_token: token,
            task_status: TaskStatus::Queued.into(),
            ..tasks_of(&job_id)
        };
        let page = admin.tasks().list_ota_task_by_job(request).await.unwrap().into_inner();
        assert_eq!((page.total, page.page_count), (25, 3));
        seen.extend(page.tasks);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 25);
    let task = &seen[0];
    assert_eq!((task.task_status(), task.wait_reason()), (TaskStatus::Queued, WaitReason::Offline));
    assert_eq!((task.product_name.as_str(), task.dest_version.as_str()), ("lamp", "2.0"));
    assert_eq!((task.attempt, task.progress, task.timeout), (0, None, None));
}

#[tokio::test]
async fn a_list_file_is_counted_line_by_line() {
    use v1::upload_device_name_list_request::Part;

    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 5).await;
    let text = "\u{feff}dev-000\r\ndev-001\r\n\r\ndev-001\nno name\nunknown-device\ndev-002";
    let parts = text.as_bytes().chunks(7).map(Bytes::copy_from_slice).map(Part::Chunk);
    let parts = parts.map(|part| v1::UploadDeviceNameListRequest { part: Some(part) });
    let stream = tokio_stream::iter(parts.collect::<Vec<_>>());
    let sent = admin.jobs().upload_device_name_list(stream).await.unwrap().into_inner();
    assert_eq!(sent.line_count, 6);

    let request = v1::CreateOtaStaticUpgradeJobRequest {
        target_selection: TargetSelection::Specific.into(),
        dn_list_file_url: Some(sent.file_url.clone()),
        ..fleet.all()
    };
    let job_id = create(&admin, request.clone()).await;
    let job = query(&admin, &job_id).await;
    let expansion = job.expansion.unwrap();
    assert_eq!((expansion.lines, expansion.tasks, expansion.rejected), (6, 3, 3));
    assert_eq!(expansion.reject_samples.len(), 3);
    // The link to all of them: to this job's lines, good for a day at least.
    let link = job.reject_file_url.expect("a link");
    let token = link.strip_prefix("http://127.0.0.1:8080/d/").expect("a download");
    let opens = |at| link::open(&LinkKey::new([8; 32]), token, at);
    let no = world.shell.deps.store.unfinished_jobs().await.unwrap()[0].no;
    let day_later = START + Duration::from_secs(24 * 3_600);
    assert_eq!(opens(day_later).unwrap().to, Linked::RejectFile { job: no });
    assert_eq!(opens(day_later + Duration::from_secs(3_601)), Err(LinkRefused::Expired));

    let stranger = world.stranger().await;
    let refused = stranger.jobs().create_ota_static_upgrade_job(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let foreign = v1::CreateOtaStaticUpgradeJobRequest {
        dn_list_file_url: Some("http://elsewhere/list".into()),
        ..request
    };
    let refused = admin.jobs().create_ota_static_upgrade_job(foreign).await.unwrap_err();
    assert_eq!(why(&refused).1, "iot.ota.DeviceListFileInvalid");
}

#[tokio::test]
async fn a_create_call_names_the_parameter_that_is_wrong() {
    type Request = v1::CreateOtaStaticUpgradeJobRequest;
    type Case = (fn(&mut Request), &'static str, &'static str);

    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 2).await;
    let specific = TargetSelection::Specific.into();
    let cases: [Case; 10] = [
        (|request| request.target_selection = 0, "MissingTargetSelection", "TargetSelection"),
        (|request| request.target_selection = 77, "iot.ota.InvalidTargetSelection", "TargetSelection"),
        (|request| request.firmware_id = String::new(), "MissingFirmwareId", "FirmwareId"),
        (
            |request| request.maximum_per_minute = Some(9),
            "iot.ota.InvalidMaximumPerMinute",
            "MaximumPerMinute",
        ),
        (|request| request.retry_interval = Some(0), "MissingRetryCount", "RetryCount"),
        (|request| request.overwrite_mode = 3, "InvalidOverwriteMode", "OverwriteMode"),
        (|request| request.download_protocol = 5, "InvalidDownloadProtocol", "DownloadProtocol"),
        (|request| request.gray_percent = Some("1".into()), "iot.ota.InvalidGrayPercent", "GrayPercent"),
        (|request| request.schedule_time = Some(1), "iot.ota.InvalidScheduleTime", "ScheduleTime"),
        (|request| request.tag = vec![v1::Tag::default()], "MissingTag", "Tag.1.Key"),
    ];
    for (change, reason, field) in cases {
        let mut request = fleet.all();
        change(&mut request);
        let refused = admin.jobs().create_ota_static_upgrade_job(request).await.unwrap_err();
        assert_eq!(why(&refused), because(Code::InvalidArgument, reason, field));
    }
    let named =
        |names: Vec<String>| Request { target_selection: specific, target_device_name: names, ..fleet.all() };
    let names = [vec!["dev-000".into(), "dev-777".into()], vec!["dev-000".into(), "dev-000".into()]];
    for names in names {
        let refused = admin.jobs().create_ota_static_upgrade_job(named(names)).await.unwrap_err();
        assert_eq!(why(&refused).2, "TargetDeviceName.2");
    }
    let many = named((0..201).map(|n| format!("dev-{n:03}")).collect());
    let refused = admin.jobs().create_ota_static_upgrade_job(many).await.unwrap_err();
    assert_eq!(why(&refused).2, "TargetDeviceName");
    let unknown = Request { firmware_id: "unknown".into(), ..fleet.all() };
    let refused = admin.jobs().create_ota_static_upgrade_job(unknown).await.unwrap_err();
    assert_eq!(why(&refused).1, "iot.ota.FirmwareNotFound");
}

#[tokio::test]
async fn the_same_token_makes_the_same_job() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 2).await;
    let request = v1::CreateOtaStaticUpgradeJobRequest {
        client_token: Some("token-1".into()),
        timeout_in_minutes: Some(60),
        retry_interval: Some(10),
        retry_count: Some(2),
        ..fleet.all()
    };
    let job_id = create(&admin, request.clone()).await;
    assert_eq!(create(&admin, request.clone()).await, job_id);
    let other = v1::CreateOtaStaticUpgradeJobRequest { maximum_per_minute: Some(10), ..request };
    let refused = admin.jobs().create_ota_static_upgrade_job(other).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::AlreadyExists, "IdempotentParameterMismatch", ""));
    let job = query(&admin, &job_id).await;
    assert_eq!((job.retry_interval, job.retry_count, job.timeout_in_minutes), (Some(10), Some(2), Some(60)));
    let stranger = world.stranger().await;
    let foreign = v1::QueryOtaJobRequest { job_id };
    let refused = stranger.jobs().query_ota_job(foreign).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::NotFound, "iot.ota.JobNotFound", ""));
}

#[tokio::test]
async fn a_verify_job_is_for_a_firmware_that_needs_one() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 2).await;
    let request = v1::CreateOtaVerifyJobRequest {
        firmware_id: fleet.firmware_id.clone(),
        product_key: fleet.product_key.clone(),
        target_device_name: vec!["dev-000".into()],
        ..Default::default()
    };
    let refused = admin.jobs().create_ota_verify_job(request.clone()).await.unwrap_err();
    let reason = "iot.ota.FirmwareAlreadyVerified";
    assert_eq!(why(&refused), because(Code::FailedPrecondition, reason, "FirmwareId"));

    let firmware_url = crate::world::upload(&admin, b"new").await.firmware_url;
    let unverified = v1::CreateOtaFirmwareRequest {
        firmware_name: "unverified".into(),
        dest_version: "3.0".into(),
        firmware_url: Some(firmware_url),
        product_key: fleet.product_key.clone(),
        ..Default::default()
    };
    let made = admin.firmware().create_ota_firmware(unverified).await.unwrap().into_inner();
    let early = v1::CreateOtaStaticUpgradeJobRequest { firmware_id: made.firmware_id.clone(), ..fleet.all() };
    let refused = admin.jobs().create_ota_static_upgrade_job(early).await.unwrap_err();
    assert_eq!(why(&refused).1, "iot.ota.FirmwareNotVerified");

    let request = v1::CreateOtaVerifyJobRequest { firmware_id: made.firmware_id, ..request };
    let made = admin.jobs().create_ota_verify_job(request.clone()).await.unwrap().into_inner();
    let job = query(&admin, &made.job_id).await;
    assert_eq!(job.job_type(), v1::JobType::VerifyFirmware);
    assert_eq!(job.target_selection(), TargetSelection::Specific);
    let refused = admin.jobs().create_ota_verify_job(request).await.unwrap_err();
    assert_eq!(why(&refused).1, "iot.ota.FirmwareVerifying");
}
