//! Accounts, keys, products, devices, versions.

use otaria_core::ids::{
    AccessKeyId, AccountNo, DeviceId, DeviceName, InformedVersion, ModuleName, ProductKey, ProductNo,
};
use otaria_ports::auth::SeenDevice;
use otaria_ports::store::{
    AccessKey, Account, AuthRow, Device, ModuleVersion, NewProduct, Product, Role, StoreError,
};

use super::{Columns, Of};

pub(crate) fn account(row: &impl Columns) -> Result<Account, StoreError> {
    let of = Of { table: "account", row };
    Ok(Account { no: AccountNo(of.get("no")?), name: of.get("name")?, created_at: of.at("created_at")? })
}

pub(crate) fn access_key(row: &impl Columns) -> Result<AccessKey, StoreError> {
    let of = Of { table: "access_key", row };
    Ok(AccessKey {
        id: of.parsed("id", |text: &str| AccessKeyId::parse(text).ok())?,
        account: AccountNo(of.get("account_id")?),
        role: of.parsed("role", Role::parse)?,
        active: of.get::<i64>("active")? == 1,
        sealed_secret: of.get("sealed_secret")?,
        created_at: of.at("created_at")?,
    })
}

pub(crate) fn product(row: &impl Columns) -> Result<Product, StoreError> {
    let of = Of { table: "product", row };
    Ok(Product {
        no: ProductNo(of.get("no")?),
        new: NewProduct {
            account: AccountNo(of.get("account_id")?),
            key: of.parsed("key", |text: &str| ProductKey::parse(text).ok())?,
            name: of.get("name")?,
            description: of.get("description")?,
            node_type: of.parsed("node_type", |n: i64| u8::try_from(n).ok())?,
            sealed_secret: of.get("sealed_secret")?,
        },
        device_count: of.count("device_count")?,
        created_at: of.at("created_at")?,
    })
}

pub(crate) fn device(row: &impl Columns) -> Result<Device, StoreError> {
    let of = Of { table: "device", row };
    Ok(Device {
        id: DeviceId(of.get("id")?),
        product: ProductNo(of.get("product_no")?),
        name: of.parsed("name", |text: &str| DeviceName::parse(text).ok())?,
        nickname: of.get("nickname")?,
        sealed_secret: of.get("sealed_secret")?,
        enabled: of.get::<i64>("enabled")? == 1,
        created_at: of.at("created_at")?,
        active_at: of.maybe_at("active_at")?,
        online_at: of.maybe_at("online_at")?,
    })
}

pub(crate) fn seen(row: &impl Columns) -> Result<SeenDevice, StoreError> {
    let of = Of { table: "device", row };
    Ok(SeenDevice {
        device: DeviceId(of.get("id")?),
        product_key: of.parsed("key", |text: &str| ProductKey::parse(text).ok())?,
        name: of.parsed("name", |text: &str| DeviceName::parse(text).ok())?,
        at: of.at("online_at")?,
    })
}

pub(crate) fn auth(row: &impl Columns) -> Result<(usize, AuthRow), StoreError> {
    let of = Of { table: "device", row };
    let auth = AuthRow {
        device: DeviceId(of.get("id")?),
        account: AccountNo(of.get("account_id")?),
        enabled: of.get::<i64>("enabled")? == 1,
        sealed_secret: of.get("sealed_secret")?,
    };
    Ok((of.parsed("place", |place: i64| usize::try_from(place).ok())?, auth))
}

pub(crate) fn version(row: &impl Columns) -> Result<ModuleVersion, StoreError> {
    let of = Of { table: "device_module", row };
    Ok(ModuleVersion {
        device: DeviceId(of.get("device_id")?),
        module: of.parsed("module", module)?,
        version: of.parsed("version", |text: &str| InformedVersion::parse(text).ok())?,
        at: of.at("at")?,
    })
}

/// How a module is kept: the one that every device has is the empty text.
pub(crate) fn module_column(module: &ModuleName) -> &str {
    if module.is_default() { "" } else { module.as_str() }
}

/// Reads [`module_column`] back.
pub(crate) fn module(column: &str) -> Option<ModuleName> {
    if column.is_empty() { Some(ModuleName::default_module()) } else { ModuleName::parse(column).ok() }
}
