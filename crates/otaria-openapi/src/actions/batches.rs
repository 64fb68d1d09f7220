//! Registering devices by the thousand: names are checked, registered, and asked for.

use otaria_core::ids::iot_id;
use otaria_core::rules::{DeviceParams, Refusal};
use otaria_engine::command::NameFault;
use otaria_ports::store::RefusedName;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::paging::Paging;

/// The names come in one of two lists, or in both.
pub(super) async fn check_names(call: &Call<'_>) -> Done {
    let plain = call.params.list("DeviceName").into_iter();
    let plain = plain.map(|name| DeviceParams { device_name: Some(name), nickname: None });
    let entries = call.params.entries("DeviceNameList");
    let named = entries.iter().map(|entry| DeviceParams {
        device_name: entry.owned("DeviceName"),
        nickname: entry.owned("DeviceNickname"),
    });
    let names: Vec<DeviceParams> = plain.chain(named).collect();
    let product = call.params.owned("ProductKey");
    let checked = call.commands().check_names(&call.caller, call.now, product.as_ref(), &names).await?;

    let of = |fault: NameFault| {
        checked.refused.iter().filter(move |(found, _)| *found == fault).map(|(_, name)| name)
    };
    let nicknames = of(NameFault::Nickname).filter_map(|name| name.nickname.as_deref());
    let data = Fields::new()
        .with("ApplyId", checked.apply.0)
        .wrapped(
            "InvalidDetailList",
            "InvalidDetailList",
            checked.refused.iter().map(|(_, name)| detail(name)),
        )
        .wrapped(
            "InvalidDeviceNameList",
            "InvalidDeviceName",
            of(NameFault::Name).map(|name| name.name.as_str()),
        )
        .wrapped("InvalidDeviceNicknameList", "InvalidDeviceNickname", nicknames)
        // Misspelled so on the real wire.
        .wrapped(
            "RepeatedDeviceNameList",
            "RepeatDevieNameList",
            of(NameFault::Repeated).map(|name| name.name.as_str()),
        );
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn register_checked(call: &Call<'_>) -> Done {
    let product = call.params.owned("ProductKey");
    // The command refuses 0 as absent.
    let apply = call.params.int("ApplyId")?.unwrap_or_default();
    let apply = call.commands().register_checked(&call.caller, call.now, product.as_ref(), apply).await?;
    Ok(Fields::new().with("Data", Fields::new().with("ApplyId", apply.0)))
}

pub(super) async fn register_count(call: &Call<'_>) -> Done {
    let product = call.params.owned("ProductKey");
    let count = call.params.int("Count")?.ok_or_else(|| Refusal::missing("Count", ""))?;
    let apply = call.commands().register_count(&call.caller, call.now, product.as_ref(), count).await?;
    Ok(Fields::new().with("Data", Fields::new().with("ApplyId", apply.0)))
}

pub(super) async fn status(call: &Call<'_>) -> Done {
    let product = call.params.owned("ProductKey");
    let apply = call.params.int("ApplyId")?.unwrap_or_default();
    let view = call.commands().query_apply(&call.caller, product.as_ref(), apply).await?;
    let data = Fields::new()
        .with("Status", view.status.as_str())
        .wrapped("ValidList", "Name", view.valid.iter().map(|name| name.as_str()))
        .wrapped("InvalidList", "Name", view.refused.iter().map(|name| name.name.as_str()))
        // With a small letter here, on the real wire too.
        .wrapped("InvalidDetailList", "invalidDetailList", view.refused.iter().map(detail));
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn devices(call: &Call<'_>) -> Done {
    let page = Paging::of_devices(50).read(&call.params)?;
    let apply = call.params.int("ApplyId")?.unwrap_or_default();
    let commands = call.commands();
    let (_, listed) = commands.devices_of_apply(&call.caller, apply, page.skip(), page.size).await?;
    let rows = listed.rows.iter().map(|row| {
        Fields::new()
            .with("DeviceId", iot_id(row.device.id))
            .with("DeviceName", row.device.name.as_str())
            .with_some("DeviceSecret", row.secret.as_deref())
            .with("IotId", iot_id(row.device.id))
    });
    Ok(page.fields(listed.total).wrapped("ApplyDeviceList", "ApplyDeviceInfo", rows))
}

fn detail(name: &RefusedName) -> Fields {
    Fields::new()
        .with("DeviceName", name.name.as_str())
        .with_some("NickName", name.nickname.as_deref())
        .with("ErrorMsg", name.reason.as_str())
}
