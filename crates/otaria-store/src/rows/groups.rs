//! Groups, modules, batches of names.

use otaria_core::expression::GroupExpression;
use otaria_core::ids::{AccountNo, ApplyNo, DeviceId, DeviceName, GroupId, GroupNo, ModuleName, ProductNo};
use otaria_ports::store::{Apply, ApplyName, Group, Module, NewApply, NewGroup, RefusedName, StoreError};
use serde_json::{Value, json};

use super::{Columns, Of};

pub(crate) fn group(row: &impl Columns) -> Result<Group, StoreError> {
    let of = Of { table: "device_group", row };
    Ok(Group {
        no: GroupNo(of.get("no")?),
        new: NewGroup {
            id: of.parsed("id", |text: &str| GroupId::parse(text).ok())?,
            account: AccountNo(of.get("account_id")?),
            name: of.get("name")?,
            description: of.get("description")?,
            parent: of.get::<Option<i64>>("parent_no")?.map(GroupNo),
            expression: of.maybe("expression", |text: &str| GroupExpression::parse(text).ok())?,
        },
        device_count: of.count("device_count")?,
        created_at: of.at("created_at")?,
    })
}

pub(crate) fn ota_module(row: &impl Columns) -> Result<Module, StoreError> {
    let of = Of { table: "ota_module", row };
    Ok(Module {
        product: ProductNo(of.get("product_no")?),
        name: of.parsed("name", |text: &str| ModuleName::parse(text).ok())?,
        alias: of.get("alias")?,
        description: of.get("description")?,
        created_at: of.at("created_at")?,
        modified_at: of.at("modified_at")?,
    })
}

pub(crate) fn apply(row: &impl Columns) -> Result<Apply, StoreError> {
    let of = Of { table: "apply", row };
    Ok(Apply {
        no: ApplyNo(of.get("no")?),
        new: NewApply {
            account: AccountNo(of.get("account_id")?),
            product: ProductNo(of.get("product_no")?),
            names: of.parsed("names", |text| read(text, read_name))?,
            refused: of.parsed("refused", |text| read(text, read_refused))?,
        },
        devices: of.maybe("devices", |text| read(text, read_device))?,
        created_at: of.at("created_at")?,
    })
}

pub(crate) fn apply_names(names: &[ApplyName]) -> String {
    Value::Array(names.iter().map(|name| json!([name.name.as_str(), name.nickname])).collect()).to_string()
}

pub(crate) fn refused_names(names: &[RefusedName]) -> String {
    let rows = names.iter().map(|name| json!([name.name, name.nickname, name.reason]));
    Value::Array(rows.collect()).to_string()
}

pub(crate) fn apply_devices(devices: &[Option<DeviceId>]) -> String {
    json!(devices.iter().map(|device| device.map(|device| device.0)).collect::<Vec<_>>()).to_string()
}

fn read<T>(text: &str, row: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    serde_json::from_str::<Value>(text).ok()?.as_array()?.iter().map(row).collect()
}

fn read_name(row: &Value) -> Option<ApplyName> {
    Some(ApplyName { name: DeviceName::parse(row.get(0)?.as_str()?).ok()?, nickname: text(row.get(1)?)? })
}

fn read_refused(row: &Value) -> Option<RefusedName> {
    let reason = row.get(2)?.as_str()?.to_owned();
    Some(RefusedName { name: row.get(0)?.as_str()?.to_owned(), nickname: text(row.get(1)?)?, reason })
}

fn read_device(row: &Value) -> Option<Option<DeviceId>> {
    if row.is_null() { Some(None) } else { Some(Some(DeviceId(row.as_i64()?))) }
}

/// A text that may be null.
#[expect(clippy::option_option, reason = "the outer one says whether it is either of the two")]
fn text(value: &Value) -> Option<Option<String>> {
    if value.is_null() { Some(None) } else { Some(Some(value.as_str()?.to_owned())) }
}
