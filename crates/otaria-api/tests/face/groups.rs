//! Groups, parts of fleets, modules, and what is deleted or shut out.

use otaria_proto::v1::{self, DeviceStatus, GroupType, TargetSelection};
use tonic::Code;

use crate::fleet::{create, fleet, query};
use crate::world::{Caller, World, because, firmware, product, register, why};

async fn group(caller: &Caller, name: &str) -> String {
    let request = v1::CreateDeviceGroupRequest { group_name: name.into(), ..Default::default() };
    caller.devices().create_device_group(request).await.unwrap().into_inner().group_id
}

fn members(group_id: &str, product_key: &str, names: &[&str]) -> v1::BatchAddDeviceGroupRelationsRequest {
    let device = |name: &&str| v1::DeviceRef { product_key: product_key.into(), device_name: (*name).into() };
    v1::BatchAddDeviceGroupRelationsRequest {
        group_id: group_id.into(),
        device: names.iter().map(device).collect(),
    }
}

#[tokio::test]
async fn a_group_is_filled_told_of_and_deleted() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let key = product(&admin, "lamp").await;
    register(&admin, &key, (1..=3).map(|n| format!("dev-{n}"))).await;
    let id = group(&admin, "room 1").await;
    let twice = v1::CreateDeviceGroupRequest { group_name: "room 1".into(), ..Default::default() };
    let twice = devices.create_device_group(twice).await.unwrap_err();
    assert_eq!(why(&twice), because(Code::AlreadyExists, "iot.ota.GroupNameExisted", ""));

    let request = members(&id, &key, &["dev-1", "dev-2", "dev-2", "nobody"]);
    let added = devices.batch_add_device_group_relations(request).await.unwrap().into_inner();
    assert_eq!((added.valid_device_count, added.success_added_device_count), (2, 2));
    assert_eq!((added.already_related_group_device_count, added.exceed_ten_group_device_count), (0, 0));
    let request = members(&id, &key, &["dev-2", "dev-3"]);
    let added = devices.batch_add_device_group_relations(request).await.unwrap().into_inner();
    assert_eq!((added.already_related_group_device_count, added.success_added_device_count), (1, 1));
    let many = members(&id, &key, &["dev-1"; 201]);
    let many = devices.batch_add_device_group_relations(many).await.unwrap_err();
    assert_eq!(why(&many), because(Code::InvalidArgument, "InvalidDevice", "Device"));

    let v1::BatchAddDeviceGroupRelationsRequest { group_id, device } = members(&id, &key, &["dev-3"]);
    let request = v1::BatchDeleteDeviceGroupRelationsRequest { group_id, device };
    let taken = devices.batch_delete_device_group_relations(request.clone()).await.unwrap().into_inner();
    assert_eq!((taken.valid_device_count, taken.success_device_count), (1, 1));
    let taken = devices.batch_delete_device_group_relations(request).await.unwrap().into_inner();
    assert_eq!((taken.valid_device_count, taken.success_device_count), (1, 0));

    let update = |desc: &str, kind: GroupType| v1::UpdateDeviceGroupRequest {
        group_id: id.clone(),
        group_desc: desc.into(),
        group_type: kind.into(),
    };
    devices.update_device_group(update("upstairs", GroupType::LinkPlatform)).await.unwrap();
    let wrong = devices.update_device_group(update("x", GroupType::LinkPlatformDynamic)).await.unwrap_err();
    assert_eq!(why(&wrong).2, "GroupType");
    let info = v1::QueryDeviceGroupInfoRequest { group_id: id.clone(), ..Default::default() };
    let told = devices.query_device_group_info(info.clone()).await.unwrap().into_inner();
    assert_eq!((told.device_count, told.device_active, told.device_online), (2, 0, 0));
    assert_eq!(told.group_desc.as_deref(), Some("upstairs"));

    let delete = v1::DeleteDeviceGroupRequest { group_id: id };
    devices.delete_device_group(delete.clone()).await.unwrap();
    let again = devices.delete_device_group(delete).await.unwrap_err();
    assert_eq!(why(&again), because(Code::NotFound, "iot.ota.GroupNotFound", "GroupId"));
    assert_eq!(devices.query_device_group_info(info).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn groups_and_their_devices_are_paged() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let key = product(&admin, "lamp").await;
    register(&admin, &key, (0..30).map(|n| format!("dev-{n:02}"))).await;
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(group(&admin, &format!("room {n:02}")).await);
    }
    let by_number = v1::QueryDeviceGroupListRequest { current_page: Some(2), ..Default::default() };
    let page = devices.query_device_group_list(by_number).await.unwrap().into_inner();
    assert_eq!((page.total, page.page_size, page.page_count), (12, 10, 2));
    assert_eq!(page.groups.iter().map(|group| &group.group_name).collect::<Vec<_>>(), ["room 01", "room 00"]);
    assert_eq!(page.groups[0].group_type(), GroupType::LinkPlatform);
    let named = v1::QueryDeviceGroupListRequest { group_name: Some("room 1".into()), ..Default::default() };
    assert_eq!(devices.query_device_group_list(named).await.unwrap().into_inner().total, 2);
    let dynamic = v1::QueryDeviceGroupListRequest {
        group_types: vec![GroupType::LinkPlatformDynamic.into()],
        ..Default::default()
    };
    assert_eq!(devices.query_device_group_list(dynamic).await.unwrap().into_inner().total, 0);

    let names: Vec<String> = (0..30).map(|n| format!("dev-{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    devices.batch_add_device_group_relations(members(&ids[0], &key, &names)).await.unwrap();
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = v1::QueryDeviceListByDeviceGroupRequest {
            group_id: ids[0].clone(),
            page_size: Some(7),
            page_token: token,
            ..Default::default()
        };
        let page = devices.query_device_list_by_device_group(request).await.unwrap().into_inner();
        assert_eq!((page.total, page.page_count), (30, 5));
        seen.extend(page.devices.into_iter().map(|device| (device.device_name, device.product_name)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen.len(), 30);
    assert_eq!(seen[0], ("dev-00".to_owned(), "lamp".to_owned()));

    // A device is in ten groups at most, and names them page by page.
    let mut exceeding = 0;
    for id in &ids[1..] {
        let added = devices.batch_add_device_group_relations(members(id, &key, &["dev-00"])).await.unwrap();
        exceeding += added.into_inner().exceed_ten_group_device_count;
    }
    assert_eq!(exceeding, 2);
    let of = v1::QueryDeviceGroupByDeviceRequest {
        product_key: key,
        device_name: "dev-00".into(),
        page_size: Some(6),
        page_token: String::new(),
    };
    let first = devices.query_device_group_by_device(of.clone()).await.unwrap().into_inner();
    let rest = v1::QueryDeviceGroupByDeviceRequest { page_token: first.next_page_token, ..of };
    let rest = devices.query_device_group_by_device(rest).await.unwrap().into_inner();
    assert_eq!((first.groups.len(), first.total, rest.groups.len()), (6, 10, 4));
    assert_eq!(rest.next_page_token, "");
}

#[tokio::test]
async fn jobs_for_groups_and_parts_name_what_they_are_for() {
    let world = World::new().await;
    let admin = world.admin();
    let fleet = fleet(&admin, 9).await;
    let id = group(&admin, "room 1").await;
    let one = members(&id, &fleet.product_key, &["dev-000"]);
    admin.devices().batch_add_device_group_relations(one).await.unwrap();
    let for_group = v1::CreateOtaStaticUpgradeJobRequest {
        target_selection: TargetSelection::Group.into(),
        group_id: Some(id.clone()),
        group_type: GroupType::LinkPlatform.into(),
        ..fleet.all()
    };
    let job = query(&admin, &create(&admin, for_group.clone()).await).await;
    assert_eq!(job.target_selection(), TargetSelection::Group);
    assert_eq!((job.group_id.as_str(), job.group_name.as_str()), (id.as_str(), "room 1"));
    assert_eq!(job.task_counts.unwrap().queued, 1);
    let unknown = v1::CreateOtaStaticUpgradeJobRequest { group_id: Some("nobody".into()), ..for_group };
    let unknown = admin.jobs().create_ota_static_upgrade_job(unknown).await.unwrap_err();
    assert_eq!(why(&unknown), because(Code::NotFound, "iot.ota.GroupNotFound", "GroupId"));

    let gray = |percent: &str| v1::CreateOtaStaticUpgradeJobRequest {
        target_selection: TargetSelection::Gray.into(),
        gray_percent: Some(percent.into()),
        ..fleet.all()
    };
    let part = query(&admin, &create(&admin, gray("33.333")).await).await;
    assert_eq!(part.gray_percent.as_deref(), Some("33.333"));
    assert_eq!(part.expansion.unwrap().tasks, 2);
    let none = admin.jobs().create_ota_static_upgrade_job(gray("11.111")).await.unwrap_err();
    assert_eq!(why(&none), because(Code::InvalidArgument, "iot.ota.InvalidGrayPercent", "GrayPercent"));
}

#[tokio::test]
async fn modules_are_listed_with_the_one_that_is_always_there() {
    let world = World::new().await;
    let (admin, mut client) = (world.admin(), world.admin().firmware());
    let key = product(&admin, "lamp").await;
    let new = |name: &str| v1::CreateOtaModuleRequest {
        product_key: key.clone(),
        module_name: name.into(),
        alias_name: Some("Modem".into()),
        desc: None,
    };
    client.create_ota_module(new("mcu")).await.unwrap();
    let twice = client.create_ota_module(new("MCU")).await.unwrap_err();
    assert_eq!(why(&twice), because(Code::AlreadyExists, "iot.ota.ModuleNameExisted", ""));
    let default = client.create_ota_module(new("default")).await.unwrap_err();
    assert_eq!(why(&default).2, "ModuleName");
    for n in 1..10 {
        client.create_ota_module(new(&format!("mod{n}"))).await.unwrap();
    }
    let full = client.create_ota_module(new("mod10")).await.unwrap_err();
    assert_eq!(why(&full), because(Code::ResourceExhausted, "iot.ota.TooManyModules", ""));

    let update = v1::UpdateOtaModuleRequest {
        product_key: key.clone(),
        module_name: "mcu".into(),
        desc: Some("the small one".into()),
        ..Default::default()
    };
    client.update_ota_module(update).await.unwrap();
    let delete = v1::DeleteOtaModuleRequest { product_key: key.clone(), module_name: "mod1".into() };
    client.delete_ota_module(delete.clone()).await.unwrap();
    let gone = client.delete_ota_module(delete).await.unwrap_err();
    assert_eq!(why(&gone), because(Code::NotFound, "iot.ota.ModuleNotFound", ""));
    let list = v1::ListOtaModuleByProductRequest { product_key: key, ..Default::default() };
    let list = client.list_ota_module_by_product(list).await.unwrap().into_inner();
    assert_eq!((list.total, list.modules[0].module_name.as_str()), (10, "default"));
    let mcu = list.modules.iter().find(|module| module.module_name == "mcu").unwrap();
    assert_eq!((mcu.alias_name.as_deref(), mcu.desc.as_deref()), (Some("Modem"), Some("the small one")));
}

#[tokio::test]
async fn what_is_deleted_is_not_found() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let key = product(&admin, "lamp").await;
    register(&admin, &key, ["dev-1".to_owned()].into_iter()).await;
    let id = firmware(&admin, &key, "fw1").await;
    let which = || (None, Some(key.clone()), Some("dev-1".to_owned()));
    let state = |client: &Caller| {
        let (iot_id, product_key, device_name) = which();
        let request = v1::GetDeviceStatusRequest { iot_id, product_key, device_name };
        let mut client = client.devices();
        async move { client.get_device_status(request).await.map(|answer| answer.into_inner().status()) }
    };
    let (iot_id, product_key, device_name) = which();
    devices.disable_thing(v1::DisableThingRequest { iot_id, product_key, device_name }).await.unwrap();
    assert_eq!(state(&admin).await.unwrap(), DeviceStatus::Disable);
    let (iot_id, product_key, device_name) = which();
    devices.enable_thing(v1::EnableThingRequest { iot_id, product_key, device_name }).await.unwrap();
    assert_eq!(state(&admin).await.unwrap(), DeviceStatus::Unactive);
    let request = v1::BatchGetDeviceStateRequest {
        product_key: Some(key.clone()),
        device_name: vec!["dev-1".into(), "nobody".into()],
        iot_id: Vec::new(),
    };
    let states = devices.batch_get_device_state(request).await.unwrap().into_inner().device_status_list;
    assert_eq!(states.len(), 1);
    assert_eq!((states[0].device_name.as_str(), states[0].status()), ("dev-1", DeviceStatus::Unactive));

    let modify = v1::ModifyOtaFirmwareRequest {
        firmware_id: id.clone(),
        firmware_name: Some("fw2".into()),
        ..Default::default()
    };
    admin.firmware().modify_ota_firmware(modify).await.unwrap();
    let asked = v1::QueryOtaFirmwareRequest { firmware_id: id.clone() };
    let told = admin.firmware().query_ota_firmware(asked).await.unwrap().into_inner().firmware_info.unwrap();
    assert_eq!(told.firmware_name, "fw2");

    let delete_product = v1::DeleteProductRequest { product_key: key.clone() };
    let used = devices.delete_product(delete_product.clone()).await.unwrap_err();
    assert_eq!(why(&used), because(Code::FailedPrecondition, "iot.prod.ProductInUse", ""));
    let viewer = world.another(v1::AccessKeyRole::Viewer, None).await;
    let (iot_id, product_key, device_name) = which();
    let delete = v1::DeleteDeviceRequest { iot_id, product_key, device_name };
    let denied = viewer.devices().delete_device(delete.clone()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    devices.delete_device(delete.clone()).await.unwrap();
    let gone = devices.delete_device(delete).await.unwrap_err();
    assert_eq!(why(&gone), because(Code::NotFound, "iot.device.NotExistedDevice", ""));
    assert_eq!(state(&admin).await.unwrap_err().code(), Code::NotFound);

    let delete = v1::DeleteOtaFirmwareRequest { firmware_id: id };
    admin.firmware().delete_ota_firmware(delete.clone()).await.unwrap();
    let gone = admin.firmware().delete_ota_firmware(delete).await.unwrap_err();
    assert_eq!(why(&gone), because(Code::NotFound, "iot.ota.FirmwareNotFound", ""));
    devices.delete_product(delete_product).await.unwrap();
    let query = v1::QueryProductRequest { product_key: key };
    assert_eq!(devices.query_product(query).await.unwrap_err().code(), Code::NotFound);
}
