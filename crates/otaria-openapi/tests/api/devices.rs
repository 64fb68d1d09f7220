//! Devices, one by one, by the thousand and in groups.

use serde_json::Value;

use crate::world::World;

#[tokio::test]
async fn a_device_is_registered_found_and_listed() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let params = [("ProductKey", product.as_str()), ("DeviceName", "dev:1"), ("Nickname", "in the hall")];
    let made = world.call("RegisterDevice", &params).await.ok();
    let secret = made["Data"]["DeviceSecret"].as_str().unwrap();
    assert!(secret.len() == 32 && secret.bytes().all(|digit| digit.is_ascii_hexdigit()));

    let iot_id = made["Data"]["IotId"].as_str().unwrap();
    let detail = world.call("QueryDeviceDetail", &[("IotId", iot_id)]).await.ok();
    assert_eq!(detail["Data"]["DeviceName"], "dev:1");
    assert_eq!(detail["Data"]["Status"], "UNACTIVE");
    assert_eq!(detail["Data"]["UtcCreate"], "2026-11-21T08:00:00.000Z");
    assert_eq!(detail["Data"].get("FirmwareVersion"), None);
    let status = world.call("GetDeviceStatus", &params[..2]).await.ok();
    assert_eq!(status["Data"]["Status"], "UNACTIVE");
    let versions = world.call("ListOTAModuleVersionsByDevice", &params[..2]).await.ok();
    assert_eq!(
        (&versions["Total"], &versions["Data"]["SimpleOTAModuleInfo"]),
        (&0.into(), &Value::Array(vec![]))
    );

    world.device(&product, "dev:2").await;
    let first = world.call("QueryDevice", &[("ProductKey", &product), ("PageSize", "1")]).await.ok();
    assert_eq!((&first["Page"], &first["Total"], &first["PageCount"]), (&1.into(), &2.into(), &2.into()));
    assert_eq!(first["Data"]["DeviceInfo"][0]["Nickname"], "in the hall");
    let token = first["NextToken"].as_str().unwrap();
    let params = [("ProductKey", product.as_str()), ("NextToken", token), ("PageSize", "1")];
    let second = world.call("QueryDevice", &params).await.ok();
    assert_eq!(second["Data"]["DeviceInfo"][0]["DeviceName"], "dev:2");
    assert_eq!(second.get("NextToken"), None);
}

#[tokio::test]
async fn a_device_call_is_refused_by_the_rule_that_it_breaks() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    world.device(&product, "dev-1").await;
    let of = async |action: &str, name: &str| {
        world.call(action, &[("ProductKey", &product), ("DeviceName", name)]).await.refused()
    };
    let business = |code: &str| (200, code.to_owned());
    assert_eq!(of("RegisterDevice", "dev-1").await, business("iot.device.AlreadyExistedDeviceName"));
    assert_eq!(of("RegisterDevice", "a b").await, business("iot.device.InvalidFormattedDeviceName"));
    assert_eq!(of("GetDeviceStatus", "dev-2").await, business("iot.device.NotExistedDevice"));
    assert_eq!(of("QueryDeviceDetail", "").await, (400, "MissingDeviceName".into()));
    let page = world.call("QueryDevice", &[("ProductKey", &product), ("PageSize", "51")]).await.refused();
    assert_eq!(page, business("iot.common.InvalidPageParams"));
}

#[tokio::test]
async fn a_device_is_shut_out_let_in_and_deleted() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    world.device(&product, "dev-1").await;
    let device = [("ProductKey", product.as_str()), ("DeviceName", "dev-1")];
    let named = [device[0], ("DeviceName.1", "dev-1"), ("DeviceName.2", "dev-9")];
    let state = async || {
        let states = world.call("BatchGetDeviceState", &named).await.ok();
        let rows = states["DeviceStatusList"]["DeviceStatus"].as_array().unwrap().clone();
        rows.first().map(|row| row["Status"].as_str().unwrap().to_owned())
    };
    assert_eq!(state().await.as_deref(), Some("UNACTIVE"));
    world.call("DisableThing", &device).await.ok();
    assert_eq!(state().await.as_deref(), Some("DISABLE"));
    world.call("EnableThing", &device).await.ok();
    assert_eq!(state().await.as_deref(), Some("UNACTIVE"));
    world.call("DeleteDevice", &device).await.ok();
    assert_eq!(state().await, None);
}

#[tokio::test]
async fn names_are_checked_registered_and_listed() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    world.device(&product, "dev-1").await;
    let key = ("ProductKey", product.as_str());
    let names = [
        key,
        ("DeviceName.1", "dev-1"),
        ("DeviceName.2", "dev-2"),
        ("DeviceNameList.1.DeviceName", "dev-3"),
        ("DeviceNameList.1.DeviceNickname", "in the hall"),
        ("DeviceNameList.2.DeviceName", "a b"),
        ("DeviceNameList.3.DeviceName", "dev-4"),
        ("DeviceNameList.3.DeviceNickname", "x"),
    ];
    let data = world.call("BatchCheckDeviceNames", &names).await.ok()["Data"].take();
    assert_eq!(data["RepeatedDeviceNameList"]["RepeatDevieNameList"], serde_json::json!(["dev-1"]));
    assert_eq!(data["InvalidDeviceNameList"]["InvalidDeviceName"], serde_json::json!(["a b"]));
    assert_eq!(data["InvalidDeviceNicknameList"]["InvalidDeviceNickname"], serde_json::json!(["x"]));
    assert_eq!(data["InvalidDetailList"]["InvalidDetailList"].as_array().unwrap().len(), 3);

    let id = data["ApplyId"].as_i64().unwrap().to_string();
    let apply = [key, ("ApplyId", id.as_str())];
    let status = world.call("QueryBatchRegisterDeviceStatus", &apply).await.ok();
    assert_eq!(status["Data"]["Status"], "CHECK_FAILED");
    assert!(status["Data"]["InvalidDetailList"]["invalidDetailList"].is_array(), "{status}");
    world.call("BatchRegisterDeviceWithApplyId", &apply).await.ok();
    let status = world.call("QueryBatchRegisterDeviceStatus", &apply).await.ok();
    assert_eq!(status["Data"]["Status"], "CREATE_SUCCESS");
    assert_eq!(status["Data"]["ValidList"]["Name"], serde_json::json!(["dev-2", "dev-3"]));
    let page = world.call("QueryPageByApplyId", &apply[1..]).await.ok();
    let rows = &page["ApplyDeviceList"]["ApplyDeviceInfo"];
    assert_eq!(
        (&page["Total"], &page["Page"], &rows[1]["DeviceName"]),
        (&2.into(), &1.into(), &"dev-3".into())
    );
    assert_eq!(rows[1]["DeviceSecret"].as_str().unwrap().len(), 32);

    let made_up = world.call("BatchRegisterDevice", &[key, ("Count", "3")]).await.ok();
    assert!(made_up["Data"]["ApplyId"].is_i64(), "{made_up}");
    let missing = world.call("BatchRegisterDevice", &[key]).await.refused();
    assert_eq!(missing, (400, "MissingCount".into()));
    let missing = world.call("QueryPageByApplyId", &[]).await.refused();
    assert_eq!(missing, (400, "MissingApplyId".into()));
}

#[tokio::test]
async fn a_group_is_filled_found_and_emptied() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    world.device(&product, "dev-1").await;
    let made = world.call("CreateDeviceGroup", &[("GroupName", "hall"), ("GroupDesc", "a + b")]).await.ok();
    assert_eq!(made["Data"]["GroupDesc"], "a + b");
    let group = ("GroupId", made["Data"]["GroupId"].as_str().unwrap());
    let devices = [
        group,
        ("Device.1.ProductKey", product.as_str()),
        ("Device.1.DeviceName", "dev-1"),
        ("Device.2.ProductKey", product.as_str()),
        ("Device.2.DeviceName", "dev-9"),
    ];
    let added = world.call("BatchAddDeviceGroupRelations", &devices).await.ok();
    assert_eq!((&added["ValidDeviceCount"], &added["SuccessAddedDeviceCount"]), (&1.into(), &1.into()));
    let info = world.call("QueryDeviceGroupInfo", &[group]).await.ok();
    assert_eq!((&info["Data"]["DeviceCount"], &info["Data"]["DeviceOnline"]), (&1.into(), &0.into()));
    let listed = world.call("QueryDeviceGroupList", &[("PageSize", "5")]).await.ok();
    assert_eq!(listed["Data"]["GroupInfo"][0]["GroupType"], "LINK_PLATFORM");
    let inside = world.call("QueryDeviceListByDeviceGroup", &[group]).await.ok();
    assert_eq!(
        (&inside["Page"], &inside["Data"]["SimpleDeviceInfo"][0]["DeviceName"]),
        (&1.into(), &"dev-1".into())
    );
    let device = [("ProductKey", product.as_str()), ("DeviceName", "dev-1")];
    let groups = world.call("QueryDeviceGroupByDevice", &device).await.ok();
    assert_eq!(groups["GroupInfos"]["GroupInfo"][0]["GroupId"], group.1);

    world.call("UpdateDeviceGroup", &[group, ("GroupDesc", "dark")]).await.ok();
    let taken = world.call("BatchDeleteDeviceGroupRelations", &devices).await.ok();
    assert_eq!(taken["SuccessDeviceCount"], 1);
    world.call("DeleteDeviceGroup", &[group]).await.ok();
    let gone = world.call("QueryDeviceGroupInfo", &[group]).await.refused();
    assert_eq!(gone, (200, "iot.ota.GroupNotFound".into()));
}
