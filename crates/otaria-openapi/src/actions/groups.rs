//! Groups of devices.

use otaria_core::ids::iot_id;
use otaria_core::rules::{Code, DynamicGroupParams, GroupParams, Refusal};
use otaria_engine::command::{
    DynamicMember, DynamicMemberParams, DynamicPlace, GroupListParams, MemberParams,
};
use otaria_ports::store::Group;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::{gmt, utc};
use crate::paging::Paging;

pub(super) async fn create(call: &Call<'_>) -> Done {
    let params = GroupParams {
        group_name: call.params.owned("GroupName"),
        group_desc: call.params.owned("GroupDesc"),
        super_group_id: call.params.owned("SuperGroupId"),
    };
    let group = call.commands().create_group(&call.caller, call.now, &params).await?;
    Ok(Fields::new().with("Data", head(&group)))
}

pub(super) async fn create_dynamic(call: &Call<'_>) -> Done {
    let params = DynamicGroupParams {
        group_name: call.params.owned("GroupName"),
        group_desc: call.params.owned("GroupDesc"),
        dynamic_group_expression: call.params.owned("DynamicGroupExpression"),
    };
    let group = call.commands().create_dynamic_group(&call.caller, call.now, &params).await?;
    Ok(Fields::new().with("Data", head(&group).and(rule(&group))))
}

pub(super) async fn update(call: &Call<'_>) -> Done {
    let (kind, desc) = (call.params.owned("GroupType"), call.params.owned("GroupDesc"));
    let id = call.id("GroupId");
    call.commands().update_group(&call.caller, id, kind.as_ref(), desc.as_ref()).await?;
    Ok(Fields::new())
}

pub(super) async fn delete(call: &Call<'_>) -> Done {
    call.commands().delete_group(&call.caller, call.id("GroupId")).await?;
    Ok(Fields::new())
}

pub(super) async fn query(call: &Call<'_>) -> Done {
    let kind = call.params.owned("GroupType");
    let view = call.commands().query_group(&call.caller, call.id("GroupId"), kind.as_ref()).await?;
    let data = head(&view.group)
        .and(rule(&view.group))
        .with("DeviceCount", view.devices)
        .with("DeviceActive", view.active)
        .with("DeviceOnline", view.online);
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn list(call: &Call<'_>) -> Done {
    let page = Paging::up_to(200).read(&call.params)?;
    let params = GroupListParams {
        group_name: call.params.owned("GroupName"),
        group_types: call.params.list("GroupTypes"),
        super_group_id: call.params.owned("SuperGroupId"),
    };
    let commands = call.commands();
    let listed = commands.list_groups(&call.caller, &params, None, page.skip(), page.size).await?;
    Ok(page.fields(listed.total).wrapped("Data", "GroupInfo", listed.rows.iter().map(row)))
}

pub(super) async fn add_devices(call: &Call<'_>) -> Done {
    let devices = members(call);
    let done = call.commands().add_to_group(&call.caller, call.id("GroupId"), &devices).await?;
    Ok(Fields::new()
        .with("ValidDeviceCount", done.valid)
        .with("SuccessAddedDeviceCount", done.outcome.added)
        .with("AlreadyRelatedGroupDeviceCount", done.outcome.already)
        .with("ExceedTenGroupDeviceCount", done.outcome.exceeding))
}

pub(super) async fn take_devices(call: &Call<'_>) -> Done {
    let devices = members(call);
    let done = call.commands().take_from_group(&call.caller, call.id("GroupId"), &devices).await?;
    Ok(Fields::new()
        .with("ValidDeviceCount", done.valid)
        .with("SuccessDeviceCount", done.taken)
        .with("AlreadyRelatedGroupDeviceCount", done.taken))
}

fn members(call: &Call<'_>) -> Vec<MemberParams> {
    let devices = call.params.entries("Device");
    let member = devices.iter().map(|device| MemberParams {
        product_key: device.owned("ProductKey"),
        device_name: device.owned("DeviceName"),
    });
    member.collect()
}

pub(super) async fn devices(call: &Call<'_>) -> Done {
    let page = Paging::of_devices(200).read(&call.params)?;
    let (id, commands) = (call.id("GroupId"), call.commands());
    let listed = commands.devices_of_group(&call.caller, id, None, page.skip(), page.size).await?;
    let rows = listed.rows.iter().map(|view| {
        Fields::new()
            .with("ProductKey", view.product_key.as_str())
            .with("ProductName", view.product_name.as_str())
            .with("DeviceName", view.device.name.as_str())
            .with("IotId", iot_id(view.device.id))
    });
    Ok(page.fields(listed.total).wrapped("Data", "SimpleDeviceInfo", rows))
}

pub(super) async fn dynamic_devices(call: &Call<'_>) -> Done {
    let page = Paging::of_devices(50).read(&call.params)?;
    let params = DynamicMemberParams {
        group_id: call.params.owned("GroupId"),
        product_key: call.params.owned("ProductKey"),
        device_name: call.params.owned("DeviceName"),
        fuzzy_name: call.params.flag("FuzzyName")?,
        status: call.params.owned("Status"),
    };
    // Goes before the number, and reaches further.
    let after = call.params.text("NextToken").map(|text| {
        let rule = "must be the NextToken of an answer to the same call";
        let place = DynamicPlace::parse(text);
        place.ok_or_else(|| Refusal::invalid(Code::InvalidPageParams, "NextToken", rule))
    });
    let after = after.transpose()?;
    let skip = if after.is_some() { 0 } else { page.skip() };
    let commands = call.commands();
    let listed =
        commands.devices_of_dynamic_group(&call.caller, &params, after.as_ref(), skip, page.size).await?;
    let rows = listed.rows.iter().map(dynamic_row);
    Ok(page.fields(listed.total).with_some("NextToken", listed.next.map(|next| next.to_string())).wrapped(
        "Data",
        "SimpleDeviceInfo",
        rows,
    ))
}

fn dynamic_row(member: &DynamicMember) -> Fields {
    let DynamicMember { device, product, status } = member;
    Fields::new()
        .with("ProductKey", product.new.key.as_str())
        .with("ProductName", product.new.name.as_str())
        .with("DeviceName", device.name.as_str())
        .with("IotId", iot_id(device.id))
        .with_some("Nickname", device.nickname.as_deref())
        .with("NodeType", product.new.node_type)
        .with("Status", status.as_str())
        .with_some("ActiveTime", device.active_at.map(gmt))
        .with_some("UtcActiveTime", device.active_at.map(utc))
        .with_some("LastOnlineTime", device.online_at.map(gmt))
        .with_some("UtcLastOnlineTime", device.online_at.map(utc))
}

pub(super) async fn of_device(call: &Call<'_>) -> Done {
    let groups = call.commands().groups_of_device(&call.caller, &call.device()).await?;
    Ok(Fields::new().wrapped("GroupInfos", "GroupInfo", groups.iter().map(row)))
}

fn head(group: &Group) -> Fields {
    Fields::new()
        .with("GroupId", group.new.id.as_str())
        .with("GroupName", group.new.name.as_str())
        .with("GroupDesc", group.new.description.as_str())
        .with("UtcCreate", utc(group.created_at))
}

fn row(group: &Group) -> Fields {
    let kind = if group.new.expression.is_some() { "LINK_PLATFORM_DYNAMIC" } else { "LINK_PLATFORM" };
    head(group).with("GroupType", kind)
}

/// Only dynamic groups have one.
fn rule(group: &Group) -> Fields {
    Fields::new().with_some("DynamicGroupExpression", group.new.expression.as_ref().map(|rule| rule.as_str()))
}
