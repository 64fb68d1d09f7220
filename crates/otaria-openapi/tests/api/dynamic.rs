//! Dynamic jobs and dynamic groups.

use crate::jobs::Fleet;

const GROUP_TYPE: (&str, &str) = ("GroupType", "LINK_PLATFORM_DYNAMIC");

/// The id of a new dynamic group.
async fn group(fleet: &Fleet, name: &str, rule: &str) -> String {
    let params = [("GroupName", name), ("GroupDesc", "some"), ("DynamicGroupExpression", rule)];
    let made = fleet.world.call("CreateDeviceDynamicGroup", &params).await.ok();
    assert_eq!(
        (&made["Data"]["DynamicGroupExpression"], &made["Data"]["GroupName"]),
        (&rule.into(), &name.into())
    );
    made["Data"]["GroupId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_dynamic_job_shows_what_it_is_and_is_ended_by_its_strategy() {
    let fleet = Fleet::new().await;
    let params = [("ProductKey", fleet.product.as_str()), ("FirmwareId", fleet.firmware.as_str())];
    let with = |more: &[(&'static str, &'static str)]| [&params[..], more].concat();
    let made = fleet.world.call("CreateOTADynamicUpgradeJob", &with(&[("SrcVersion.1", "1.0")])).await.ok();
    let job = made["Data"]["JobId"].as_str().unwrap();
    let query = async || fleet.world.call("QueryOTAJob", &[("JobId", job)]).await.ok()["Data"].take();
    let data = query().await;
    let expected = serde_json::json!({
        "JobId": job, "JobDesc": "", "JobStatus": "IN_PROGRESS", "JobType": "UPGRADE_FIRMWARE",
        "SelectionType": "DYNAMIC", "DynamicMode": 1, "TargetSelection": "ALL", "FirmwareId": fleet.firmware,
        "Name": "fw1", "DestVersion": "2.0", "ProductKey": fleet.product,
        "SrcVersions": {"SrcVersion": ["1.0"]}, "GroupId": "", "GroupName": "", "MaximumPerMinute": 10000,
        "OverwriteMode": 1, "MultiModuleMode": false, "NeedPush": true, "NeedConfirm": false,
        "DownloadProtocol": "HTTPS", "Tags": {"OtaTagDTO": []}, "UtcCreate": "2026-11-21T08:00:00.000Z",
        "UtcModified": "2026-11-21T08:00:00.000Z", "UtcStartTime": "2026-11-21T08:00:00.000Z",
    });
    assert_eq!(data, expected);

    let beside = fleet.world.call("CreateOTADynamicUpgradeJob", &params).await.refused();
    assert_eq!(beside, (200, "iot.ota.DynamicJobExisted".into()));
    let wrong =
        fleet.world.call("CreateOTADynamicUpgradeJob", &with(&[("DynamicMode", "3")])).await.refused();
    assert_eq!(wrong, (400, "InvalidDynamicMode".into()));
    fleet.world.call("CancelOTAStrategyByJob", &[("JobId", job)]).await.ok();
    let data = query().await;
    assert_eq!((&data["JobStatus"], &data["UtcEndTime"]), (&"CANCELED".into(), &data["UtcModified"]));
    fleet.world.call("CancelOTAStrategyByJob", &[("JobId", job)]).await.ok();
    fleet.world.call("CreateOTADynamicUpgradeJob", &with(&[("DynamicMode", "2")])).await.ok();

    let fixed = fleet.job(&[("TargetSelection", "ALL"), ("NeedPush", "false")]).await;
    let refused = fleet.world.call("CancelOTAStrategyByJob", &[("JobId", &fixed)]).await.refused();
    assert_eq!(refused, (200, "iot.ota.JobStatusNotAllowed".into()));
    let missing = fleet.world.call("CancelOTAStrategyByJob", &[]).await.refused();
    assert_eq!(missing, (400, "MissingJobId".into()));
}

#[tokio::test]
async fn a_dynamic_job_for_a_group_says_all_and_names_its_group() {
    let fleet = Fleet::new().await;
    let id = group(&fleet, "odd ones", r#"name in ("dev-1", "dev-3")"#).await;
    let params = [
        ("ProductKey", fleet.product.as_str()),
        ("FirmwareId", fleet.firmware.as_str()),
        ("GroupId", &id),
        GROUP_TYPE,
    ];
    let made = fleet.world.call("CreateOTADynamicUpgradeJob", &params).await.ok();
    let job = made["Data"]["JobId"].as_str().unwrap();
    let data = fleet.world.call("QueryOTAJob", &[("JobId", job)]).await.ok()["Data"].take();
    assert_eq!((&data["TargetSelection"], &data["GroupId"]), (&"ALL".into(), &id.as_str().into()));
    assert_eq!((&data["GroupName"], &data["DynamicMode"]), (&"odd ones".into(), &1.into()));
    let tasks = fleet.world.call("ListOTATaskByJob", &[("JobId", job)]).await.ok();
    assert_eq!(tasks["Total"], 2);
    let page = [("FirmwareId", fleet.firmware.as_str()), ("CurrentPage", "1"), ("PageSize", "10")];
    let listed = fleet.world.call("ListOTAJobByFirmware", &page).await.ok();
    let row = &listed["Data"]["SimpleOTAJobInfo"][0];
    assert_eq!((&row["SelectionType"], &row["TargetSelection"]), (&"DYNAMIC".into(), &"ALL".into()));

    let fixed =
        [&params[..2], &[("TargetSelection", "GROUP"), ("GroupId", &id), ("GroupType", "LINK_PLATFORM")]];
    let refused = fleet.world.call("CreateOTAStaticUpgradeJob", &fixed.concat()).await.refused();
    assert_eq!(refused, (400, "InvalidGroupId".into()));
}

#[tokio::test]
async fn a_dynamic_group_tells_its_rule_and_pages_its_devices() {
    let fleet = Fleet::new().await;
    let rule = r#"name like "dev-%" and name != "dev-2""#;
    let id = group(&fleet, "not two", rule).await;
    let info = fleet.world.call("QueryDeviceGroupInfo", &[("GroupId", &id), GROUP_TYPE]).await.ok();
    assert_eq!(
        (&info["Data"]["DynamicGroupExpression"], &info["Data"]["DeviceCount"]),
        (&rule.into(), &2.into())
    );
    let listed = fleet.world.call("QueryDeviceGroupList", &[("GroupTypes.1", GROUP_TYPE.1)]).await.ok();
    assert_eq!(listed["Data"]["GroupInfo"][0]["GroupType"], GROUP_TYPE.1);

    let asked = [("GroupId", id.as_str()), ("PageSize", "1")];
    let first = fleet.world.call("QueryDynamicGroupDevices", &asked).await.ok();
    assert_eq!((&first["Page"], &first["Total"], &first["PageCount"]), (&1.into(), &2.into(), &2.into()));
    let row = &first["Data"]["SimpleDeviceInfo"][0];
    let expected = serde_json::json!({
        "ProductKey": fleet.product, "ProductName": "lamp", "DeviceName": "dev-1", "IotId": row["IotId"],
        "NodeType": 0, "Status": "UNACTIVE",
    });
    assert_eq!(row, &expected);
    let token = first["NextToken"].as_str().unwrap();
    let next = [&asked[..], &[("NextToken", token)]].concat();
    let second = fleet.world.call("QueryDynamicGroupDevices", &next).await.ok();
    assert_eq!(second["Data"]["SimpleDeviceInfo"][0]["DeviceName"], "dev-3");
    assert_eq!((&second["Total"], second.get("NextToken")), (&2.into(), None));
    let filtered = [asked[0], ("DeviceName", "dev"), ("FuzzyName", "True"), ("Status", "OFFLINE")];
    assert_eq!(fleet.world.call("QueryDynamicGroupDevices", &filtered).await.ok()["Total"], 0);
    let wrong = [asked[0], ("NextToken", "dev-1")];
    let wrong = fleet.world.call("QueryDynamicGroupDevices", &wrong).await.refused();
    assert_eq!(wrong, (200, "iot.common.InvalidPageParams".into()));
    let wrong = [("GroupName", "wrong"), ("DynamicGroupExpression", "name =")];
    let wrong = fleet.world.call("CreateDeviceDynamicGroup", &wrong).await.refused();
    assert_eq!(wrong, (400, "InvalidDynamicGroupExpression".into()));
}
