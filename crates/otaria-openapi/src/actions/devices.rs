//! Devices, one by one.

use otaria_core::ids::{DeviceName, iot_id};
use otaria_core::rules::{Code, DeviceParams, Refusal};
use otaria_engine::command::{DeviceState, DeviceStatesParams, DeviceView};
use otaria_ports::store::{ModuleVersion, Product};

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::{gmt, utc};
use crate::paging::Paging;

/// Parameters for a kind of device that is not served.
const OF_LORA: [&str; 5] = ["AppKey", "DevEui", "JoinEui", "LoraNodeType", "PinCode"];

pub(super) async fn register(call: &Call<'_>) -> Done {
    if let Some(stranger) = OF_LORA.into_iter().find(|name| call.params.text(name).is_some()) {
        let rule = "is for LoRaWAN devices, which are not served";
        return Err(Refusal::invalid(Code::InvalidParameter, stranger, rule).into());
    }
    let params = DeviceParams {
        device_name: call.params.owned("DeviceName"),
        nickname: call.params.owned("Nickname"),
    };
    let product_key = call.params.owned("ProductKey");
    let commands = call.commands();
    let made = commands.register_device(&call.caller, call.now, product_key.as_ref(), &params).await?;
    let (product, device) = made;
    let data = Fields::new()
        .with("ProductKey", product.new.key.as_str())
        .with("DeviceName", device.name.as_str())
        .with("DeviceSecret", device.secret)
        .with("IotId", iot_id(device.id))
        .with_some("Nickname", device.nickname);
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn list(call: &Call<'_>) -> Done {
    let page = Paging::of_devices(50).read(&call.params)?;
    // Goes before the number, and reaches further.
    let after = call.params.text("NextToken").map(DeviceName::parse).transpose().map_err(|_| {
        let rule = "must be the NextToken of an answer to the same call";
        Refusal::invalid(Code::InvalidPageParams, "NextToken", rule)
    })?;
    let skip = if after.is_some() { 0 } else { page.skip() };
    let product_key = call.params.owned("ProductKey");
    let commands = call.commands();
    let (product, listed) =
        commands.query_devices(&call.caller, product_key.as_ref(), after, skip, page.size).await?;
    let rows = listed.rows.iter().map(|view| row(&product, view));
    Ok(page.fields(listed.total).with_some("NextToken", listed.next.map(|next| next.to_string())).wrapped(
        "Data",
        "DeviceInfo",
        rows,
    ))
}

pub(super) async fn detail(call: &Call<'_>) -> Done {
    let (product, view) = call.commands().query_device(&call.caller, &call.device()).await?;
    let device = &view.device;
    let version = view.versions.iter().find(|version| version.module.is_default());
    let data = Fields::new()
        .with("ProductKey", product.new.key.as_str())
        .with("ProductName", product.new.name.as_str())
        .with("DeviceName", device.name.as_str())
        .with("IotId", iot_id(device.id))
        .with_some("DeviceSecret", view.secret.as_deref())
        .with_some("Nickname", device.nickname.as_deref())
        .with("NodeType", product.new.node_type)
        .with("Owner", true)
        .with("Status", view.status.as_str())
        .with_some("FirmwareVersion", version.map(|version| version.version.as_str()))
        .with("GmtCreate", gmt(device.created_at))
        .with("UtcCreate", utc(device.created_at))
        .with_some("GmtActive", device.active_at.map(gmt))
        .with_some("UtcActive", device.active_at.map(utc))
        .with_some("GmtOnline", device.online_at.map(gmt))
        .with_some("UtcOnline", device.online_at.map(utc));
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn status(call: &Call<'_>) -> Done {
    let (status, since) = call.commands().device_status(&call.caller, &call.device()).await?;
    let data = Fields::new()
        .with("Status", status.as_str())
        .with_some("Timestamp", since.map(|since| since.millis()));
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn states(call: &Call<'_>) -> Done {
    let params = DeviceStatesParams {
        product_key: call.params.owned("ProductKey"),
        device_name: call.params.list("DeviceName"),
        iot_id: call.params.list("IotId"),
    };
    let states = call.commands().device_states(&call.caller, &params).await?;
    let rows = states.iter().map(|DeviceState { device, status }| {
        Fields::new()
            .with("DeviceId", iot_id(device.id))
            .with("DeviceName", device.name.as_str())
            .with("IotId", iot_id(device.id))
            .with("Status", status.as_str())
            .with_some("LastOnlineTime", device.online_at.map(utc))
            .with_some("Timestamp", device.online_at.map(|at| at.millis()))
    });
    Ok(Fields::new().wrapped("DeviceStatusList", "DeviceStatus", rows))
}

pub(super) async fn delete(call: &Call<'_>) -> Done {
    call.commands().delete_device(&call.caller, call.now, &call.device()).await?;
    Ok(Fields::new())
}

pub(super) async fn disable(call: &Call<'_>) -> Done {
    call.commands().disable_device(&call.caller, &call.device()).await?;
    Ok(Fields::new())
}

pub(super) async fn enable(call: &Call<'_>) -> Done {
    call.commands().enable_device(&call.caller, &call.device()).await?;
    Ok(Fields::new())
}

pub(super) async fn module_versions(call: &Call<'_>) -> Done {
    let page = Paging::up_to(100).read(&call.params)?;
    let (product, view) = call.commands().query_device(&call.caller, &call.device()).await?;
    let rows = view.versions.iter().map(|version| module_row(&product, &view, version)).collect();
    let (rows, total) = page.cut(rows);
    Ok(page.fields(total).wrapped("Data", "SimpleOTAModuleInfo", rows))
}

fn row(product: &Product, view: &DeviceView) -> Fields {
    let device = &view.device;
    Fields::new()
        .with("ProductKey", product.new.key.as_str())
        .with("DeviceName", device.name.as_str())
        .with("DeviceId", iot_id(device.id))
        .with("IotId", iot_id(device.id))
        .with_some("DeviceSecret", view.secret.as_deref())
        .with("DeviceStatus", view.status.as_str())
        .with_some("Nickname", device.nickname.as_deref())
        .with("GmtCreate", gmt(device.created_at))
        .with("GmtModified", gmt(device.created_at))
        .with("UtcCreate", utc(device.created_at))
        .with("UtcModified", utc(device.created_at))
}

fn module_row(product: &Product, view: &DeviceView, version: &ModuleVersion) -> Fields {
    Fields::new()
        .with("ProductKey", product.new.key.as_str())
        .with("DeviceName", view.device.name.as_str())
        .with("IotId", iot_id(view.device.id))
        .with("ModuleName", version.module.as_str())
        .with("ModuleVersion", version.version.as_str())
}
