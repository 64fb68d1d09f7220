//! Groups and modules.

use otaria_core::ids::iot_id;
use otaria_engine::command::{DynamicMember, GroupView, MemberParams, MemberView};
use otaria_ports::store::{Group, Module, Product};
use otaria_proto::v1;

use super::{choice, count, device, instant, text, unless_empty};

/// `GroupType` as the API spells it.
pub(crate) fn kind(raw: i32) -> Option<String> {
    choice(raw, &["LINK_PLATFORM", "LINK_PLATFORM_DYNAMIC"])
}

/// A device's `Status` as the API spells it.
pub(crate) fn device_status(raw: i32) -> Option<String> {
    choice(raw, &["ONLINE", "OFFLINE", "UNACTIVE", "DISABLE"])
}

/// The rule of a dynamic group.
pub(crate) fn expression(group: &Group) -> Option<String> {
    group.new.expression.as_ref().map(ToString::to_string)
}

/// A count of what came in one call.
pub(crate) fn few(n: u64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

pub(crate) fn members(devices: Vec<v1::DeviceRef>) -> Vec<MemberParams> {
    let member = |device: v1::DeviceRef| MemberParams {
        product_key: text(device.product_key),
        device_name: text(device.device_name),
    };
    devices.into_iter().map(member).collect()
}

pub(crate) fn info(group: &Group) -> v1::GroupInfo {
    v1::GroupInfo {
        group_id: group.new.id.to_string(),
        group_name: group.new.name.clone(),
        group_desc: unless_empty(&group.new.description),
        group_type: match group.new.expression {
            Some(_) => v1::GroupType::LinkPlatformDynamic.into(),
            None => v1::GroupType::LinkPlatform.into(),
        },
        utc_create: Some(instant(group.created_at)),
    }
}

pub(crate) fn queried(view: GroupView) -> v1::QueryDeviceGroupInfoResponse {
    let GroupView { group, devices, active, online } = view;
    v1::QueryDeviceGroupInfoResponse {
        group_id: group.new.id.to_string(),
        group_desc: unless_empty(&group.new.description),
        dynamic_group_expression: expression(&group),
        group_name: group.new.name,
        device_count: count(devices),
        device_active: count(active),
        device_online: count(online),
        utc_create: Some(instant(group.created_at)),
    }
}

pub(crate) fn member(view: MemberView) -> v1::SimpleDeviceInfo {
    v1::SimpleDeviceInfo {
        product_key: view.product_key.to_string(),
        product_name: view.product_name,
        device_name: view.device.name.to_string(),
        iot_id: iot_id(view.device.id),
    }
}

pub(crate) fn dynamic_member(view: DynamicMember) -> v1::DynamicGroupDevice {
    let DynamicMember { device: member, product, status } = view;
    v1::DynamicGroupDevice {
        product_key: product.new.key.to_string(),
        product_name: product.new.name.clone(),
        device_name: member.name.to_string(),
        iot_id: iot_id(member.id),
        nickname: member.nickname,
        category_key: None,
        node_type: device::node_type(&product),
        status: device::status(status).into(),
        utc_active_time: member.active_at.map(instant),
        utc_last_online_time: member.online_at.map(instant),
    }
}

pub(crate) fn module(product: &Product, module: &Module) -> v1::OtaModuleInfo {
    v1::OtaModuleInfo {
        product_key: product.new.key.to_string(),
        module_name: module.name.to_string(),
        alias_name: unless_empty(&module.alias),
        desc: unless_empty(&module.description),
        utc_create: Some(instant(module.created_at)),
        utc_modified: Some(instant(module.modified_at)),
    }
}
