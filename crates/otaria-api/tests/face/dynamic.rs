//! Dynamic jobs and dynamic groups.

use otaria_proto::v1::{self, DeviceStatus, DynamicMode, GroupType, JobStatus};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::fleet::{close, fleet, query};
use crate::world::{Caller, World, because, product, register, why};

async fn group(caller: &Caller, name: &str, rule: &str) -> v1::CreateDeviceDynamicGroupResponse {
    let request = v1::CreateDeviceDynamicGroupRequest {
        group_name: name.into(),
        group_desc: None,
        dynamic_group_expression: rule.into(),
    };
    caller.devices().create_device_dynamic_group(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_dynamic_job_takes_devices_until_its_strategy_is_cancelled() {
    let world = World::new().await;
    let (admin, mut jobs) = (world.admin(), world.admin().jobs());
    let fleet = fleet(&admin, 3).await;
    let request = v1::CreateOtaDynamicUpgradeJobRequest {
        firmware_id: fleet.firmware_id.clone(),
        product_key: fleet.product_key.clone(),
        client_token: Some("token".into()),
        ..Default::default()
    };
    let job_id = jobs.create_ota_dynamic_upgrade_job(request.clone()).await.unwrap().into_inner().job_id;
    let again = jobs.create_ota_dynamic_upgrade_job(request.clone()).await.unwrap().into_inner().job_id;
    assert_eq!(again, job_id);
    let job = query(&admin, &job_id).await;
    assert_eq!((job.dynamic_mode(), job.job_status()), (DynamicMode::NowAndLater, JobStatus::InProgress));
    assert_eq!(job.selection_type(), v1::SelectionType::Dynamic);
    assert_eq!(job.target_selection(), v1::TargetSelection::All);
    assert_eq!(job.task_counts.unwrap().queued, 3);

    let later = v1::CreateOtaDynamicUpgradeJobRequest {
        dynamic_mode: DynamicMode::Later.into(),
        client_token: None,
        ..request
    };
    let beside = jobs.create_ota_dynamic_upgrade_job(later.clone()).await.unwrap_err();
    assert_eq!(why(&beside), because(Code::AlreadyExists, "iot.ota.DynamicJobExisted", "FirmwareId"));
    register(&admin, &fleet.product_key, std::iter::once("late-1".to_owned())).await;
    assert_eq!(query(&admin, &job_id).await.task_counts.unwrap().queued, 4);

    let watch = v1::WatchOtaJobRequest { job_id: job_id.clone() };
    let mut items = jobs.watch_ota_job(watch).await.unwrap().into_inner();
    let item = items.next().await.unwrap().unwrap();
    assert_eq!(item.job_status(), JobStatus::InProgress);
    let end = v1::CancelOtaStrategyByJobRequest { job_id: job_id.clone() };
    jobs.cancel_ota_strategy_by_job(end.clone()).await.unwrap();
    jobs.cancel_ota_strategy_by_job(end).await.unwrap();
    let item = items.next().await.unwrap().unwrap();
    assert_eq!((item.job_status(), item.task_counts.unwrap().queued), (JobStatus::Canceled, 4));
    // Four tasks go on, and so does the watch; once they are over it ends.
    let cancel = v1::CancelOtaTaskByJobRequest {
        job_id: job_id.clone(),
        cancel_queued_task: Some(true),
        ..Default::default()
    };
    admin.tasks().cancel_ota_task_by_job(cancel).await.unwrap();
    close(&world).await;
    let item = items.next().await.unwrap().unwrap();
    assert_eq!(item.task_counts.unwrap().canceled, 4);
    assert!(items.next().await.is_none());

    let second = jobs.create_ota_dynamic_upgrade_job(later).await.unwrap().into_inner().job_id;
    let job = query(&admin, &second).await;
    assert_eq!((job.dynamic_mode(), job.expansion.unwrap().complete), (DynamicMode::Later, true));
    assert_eq!(job.task_counts.unwrap().queued, 0);
}

#[tokio::test]
async fn a_dynamic_group_is_told_of_and_its_devices_are_paged() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let key = product(&admin, "lamp").await;
    register(&admin, &key, (0..25).map(|n| format!("dev-{n:02}"))).await;
    let rule = r#"name like "dev-1%""#;
    let made = group(&admin, "tens", rule).await;
    assert_eq!(made.dynamic_group_expression, rule);
    let info = v1::QueryDeviceGroupInfoRequest {
        group_id: made.group_id.clone(),
        group_type: GroupType::LinkPlatformDynamic.into(),
    };
    let told = devices.query_device_group_info(info).await.unwrap().into_inner();
    assert_eq!((told.device_count, told.dynamic_group_expression.as_deref()), (10, Some(rule)));

    let asked = v1::QueryDynamicGroupDevicesRequest {
        group_id: made.group_id.clone(),
        page_size: Some(4),
        ..Default::default()
    };
    let (mut request, mut seen) = (asked.clone(), Vec::new());
    loop {
        let page = devices.query_dynamic_group_devices(request.clone()).await.unwrap().into_inner();
        assert_eq!((page.total, page.page_count), (10, 3));
        seen.extend(page.devices.into_iter().map(|device| device.device_name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, (10..20).map(|n| format!("dev-{n:02}")).collect::<Vec<_>>());
    let foreign =
        v1::QueryDynamicGroupDevicesRequest { device_name: Some("dev-11".into()), ..request.clone() };
    let foreign = devices.query_dynamic_group_devices(foreign).await.unwrap_err();
    assert_eq!(why(&foreign).2, "PageToken");
    let by_status = |status: DeviceStatus| v1::QueryDynamicGroupDevicesRequest {
        status: status.into(),
        current_page: Some(1),
        page_size: None,
        ..asked.clone()
    };
    let page = devices.query_dynamic_group_devices(by_status(DeviceStatus::Unactive)).await.unwrap();
    let page = page.into_inner();
    assert_eq!((page.total, page.current_page, page.devices.len()), (10, Some(1), 10));
    assert_eq!(page.devices[0].status(), DeviceStatus::Unactive);
    assert_eq!(page.devices[0].node_type(), v1::NodeType::Device);
    let page = devices.query_dynamic_group_devices(by_status(DeviceStatus::Online)).await.unwrap();
    assert_eq!(page.into_inner().total, 0);

    let wrong = v1::CreateDeviceDynamicGroupRequest {
        group_name: "wrong".into(),
        group_desc: None,
        dynamic_group_expression: "colour = 'red'".into(),
    };
    let wrong = devices.create_device_dynamic_group(wrong).await.unwrap_err();
    let named = because(Code::InvalidArgument, "InvalidDynamicGroupExpression", "DynamicGroupExpression");
    assert_eq!(why(&wrong), named);
    assert!(wrong.message().contains("character 1"), "{}", wrong.message());
}
