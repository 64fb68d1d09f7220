//! Groups.

use otaria_core::ids::{DeviceId, GroupNo};
use otaria_core::rules::{DynamicGroupParams, GroupParams};
use otaria_engine::command::{DeviceRef, DynamicMemberParams, DynamicPlace, GroupListParams};
use otaria_proto::v1;
use tonic::{Request, Status};

use super::super::Shared;
use crate::convert::{count, group as convert, instant, text, unless_empty};
use crate::errors::status_of;
use crate::paging::{Asked, Page};

pub(super) async fn create(
    shared: &Shared,
    request: Request<v1::CreateDeviceGroupRequest>,
) -> Result<v1::CreateDeviceGroupResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    let params = GroupParams {
        group_name: text(request.group_name),
        group_desc: request.group_desc,
        super_group_id: request.super_group_id,
    };
    let group = shared.commands.create_group(&caller, now, &params).await.map_err(status_of)?;
    Ok(v1::CreateDeviceGroupResponse {
        group_id: group.new.id.to_string(),
        group_name: group.new.name,
        group_desc: unless_empty(&group.new.description),
        utc_create: Some(instant(group.created_at)),
    })
}

pub(super) async fn create_dynamic(
    shared: &Shared,
    request: Request<v1::CreateDeviceDynamicGroupRequest>,
) -> Result<v1::CreateDeviceDynamicGroupResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    let params = DynamicGroupParams {
        group_name: text(request.group_name),
        group_desc: request.group_desc,
        dynamic_group_expression: text(request.dynamic_group_expression),
    };
    let group = shared.commands.create_dynamic_group(&caller, now, &params).await.map_err(status_of)?;
    Ok(v1::CreateDeviceDynamicGroupResponse {
        group_id: group.new.id.to_string(),
        group_desc: unless_empty(&group.new.description),
        dynamic_group_expression: convert::expression(&group).unwrap_or_default(),
        group_name: group.new.name,
        utc_create: Some(instant(group.created_at)),
    })
}

pub(super) async fn update(
    shared: &Shared,
    request: Request<v1::UpdateDeviceGroupRequest>,
) -> Result<v1::UpdateDeviceGroupResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let (kind, desc) = (convert::kind(request.group_type), text(request.group_desc));
    let update = shared.commands.update_group(&caller, &request.group_id, kind.as_ref(), desc.as_ref());
    update.await.map_err(status_of)?;
    Ok(v1::UpdateDeviceGroupResponse {})
}

pub(super) async fn delete(
    shared: &Shared,
    request: Request<v1::DeleteDeviceGroupRequest>,
) -> Result<v1::DeleteDeviceGroupResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    shared.commands.delete_group(&caller, &request.group_id).await.map_err(status_of)?;
    Ok(v1::DeleteDeviceGroupResponse {})
}

pub(super) async fn query(
    shared: &Shared,
    request: Request<v1::QueryDeviceGroupInfoRequest>,
) -> Result<v1::QueryDeviceGroupInfoResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let kind = convert::kind(request.group_type);
    let view = shared.commands.query_group(&caller, &request.group_id, kind.as_ref()).await;
    Ok(convert::queried(view.map_err(status_of)?))
}

pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::QueryDeviceGroupListRequest>,
) -> Result<v1::QueryDeviceGroupListResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let asked = Asked {
        size: by_number_default(request.page_size, &request.page_token, request.current_page),
        token: &request.page_token,
        number: request.current_page,
        by_number_max: 200,
    };
    let params = GroupListParams {
        group_name: request.group_name,
        group_types: request.group_types.iter().filter_map(|kind| convert::kind(*kind)).collect(),
        super_group_id: request.super_group_id,
    };
    let filters = format!("{params:?}");
    let cursor = |text: &str| text.parse().ok().map(GroupNo);
    let page: Page<GroupNo> = Page::read(asked, &["QueryDeviceGroupList", &filters], cursor)?;
    let listed = shared.commands.list_groups(&caller, &params, page.after, page.skip, page.size).await;
    let listed = listed.map_err(status_of)?;
    let answer = page.answer(listed.total, listed.next);
    Ok(v1::QueryDeviceGroupListResponse {
        groups: listed.rows.iter().map(convert::info).collect(),
        next_page_token: answer.next_page_token,
        current_page: answer.current_page,
        page_size: answer.page_size,
        page_count: answer.page_count,
        total: answer.total,
    })
}

/// Pages by number have a default of their own here: ten rows.
pub(super) fn by_number_default(size: Option<i32>, token: &str, number: Option<i32>) -> Option<i32> {
    if token.is_empty() && number.is_some() { size.or(Some(10)) } else { size }
}

pub(super) async fn add(
    shared: &Shared,
    request: Request<v1::BatchAddDeviceGroupRelationsRequest>,
) -> Result<v1::BatchAddDeviceGroupRelationsResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let devices = convert::members(request.device);
    let added = shared.commands.add_to_group(&caller, &request.group_id, &devices).await;
    let added = added.map_err(status_of)?;
    Ok(v1::BatchAddDeviceGroupRelationsResponse {
        already_related_group_device_count: convert::few(added.outcome.already),
        exceed_ten_group_device_count: convert::few(added.outcome.exceeding),
        success_added_device_count: convert::few(added.outcome.added),
        valid_device_count: convert::few(added.valid),
    })
}

pub(super) async fn take(
    shared: &Shared,
    request: Request<v1::BatchDeleteDeviceGroupRelationsRequest>,
) -> Result<v1::BatchDeleteDeviceGroupRelationsResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let devices = convert::members(request.device);
    let taken = shared.commands.take_from_group(&caller, &request.group_id, &devices).await;
    let taken = taken.map_err(status_of)?;
    Ok(v1::BatchDeleteDeviceGroupRelationsResponse {
        already_related_group_device_count: convert::few(taken.taken),
        success_device_count: convert::few(taken.taken),
        valid_device_count: convert::few(taken.valid),
    })
}

pub(super) async fn devices(
    shared: &Shared,
    request: Request<v1::QueryDeviceListByDeviceGroupRequest>,
) -> Result<v1::QueryDeviceListByDeviceGroupResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let asked = Asked {
        size: request.page_size,
        token: &request.page_token,
        number: request.current_page,
        by_number_max: 50,
    };
    let cursor = |text: &str| text.parse().ok().map(DeviceId);
    let list = ["QueryDeviceListByDeviceGroup", &request.group_id];
    let page: Page<DeviceId> = Page::read(asked, &list, cursor)?;
    let (after, skip, limit) = (page.after, page.skip, page.size);
    let listed = shared.commands.devices_of_group(&caller, &request.group_id, after, skip, limit).await;
    let listed = listed.map_err(status_of)?;
    let answer = page.answer(listed.total, listed.next.map(|next| next.0));
    Ok(v1::QueryDeviceListByDeviceGroupResponse {
        devices: listed.rows.into_iter().map(convert::member).collect(),
        next_page_token: answer.next_page_token,
        current_page: answer.current_page,
        page_size: answer.page_size,
        page_count: answer.page_count,
        total: answer.total,
    })
}

pub(super) async fn dynamic_devices(
    shared: &Shared,
    request: Request<v1::QueryDynamicGroupDevicesRequest>,
) -> Result<v1::QueryDynamicGroupDevicesResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let asked = Asked {
        size: request.page_size,
        token: &request.page_token,
        number: request.current_page,
        by_number_max: 50,
    };
    let params = DynamicMemberParams {
        group_id: text(request.group_id),
        product_key: request.product_key,
        device_name: request.device_name,
        fuzzy_name: request.fuzzy_name,
        status: convert::device_status(request.status),
    };
    let filters = format!("{params:?}");
    let list = ["QueryDynamicGroupDevices", &filters];
    let page: Page<DynamicPlace> = Page::read(asked, &list, DynamicPlace::parse)?;
    let (after, skip, limit) = (page.after.as_ref(), page.skip, page.size);
    let listed = shared.commands.devices_of_dynamic_group(&caller, &params, after, skip, limit).await;
    let listed = listed.map_err(status_of)?;
    let answer = page.answer(listed.total, listed.next);
    Ok(v1::QueryDynamicGroupDevicesResponse {
        devices: listed.rows.into_iter().map(convert::dynamic_member).collect(),
        next_page_token: answer.next_page_token,
        current_page: answer.current_page,
        page_size: answer.page_size,
        page_count: answer.page_count,
        total: answer.total,
    })
}

pub(super) async fn of_device(
    shared: &Shared,
    request: Request<v1::QueryDeviceGroupByDeviceRequest>,
) -> Result<v1::QueryDeviceGroupByDeviceResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let list = ["QueryDeviceGroupByDevice", &request.product_key, &request.device_name];
    let asked =
        Asked { size: request.page_size, token: &request.page_token, number: None, by_number_max: 1_000 };
    let page: Page<usize> = Page::read(asked, &list, |text| text.parse().ok())?;
    let which = DeviceRef {
        iot_id: None,
        product_key: text(request.product_key.clone()),
        device_name: text(request.device_name.clone()),
    };
    let groups = shared.commands.groups_of_device(&caller, &which).await.map_err(status_of)?;
    // At most ten: a page is cut out of all of them.
    let (from, total) = (page.after.unwrap_or(0), groups.len());
    let next = Some(from.saturating_add(page.size)).filter(|next| *next < total);
    let answer = page.answer(total as u64, next);
    Ok(v1::QueryDeviceGroupByDeviceResponse {
        groups: groups.iter().skip(from).take(page.size).map(convert::info).collect(),
        next_page_token: answer.next_page_token,
        total: count(total as u64),
    })
}
