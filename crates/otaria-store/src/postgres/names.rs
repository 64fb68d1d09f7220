//! Names of devices, looked up for those who read them.

use std::collections::HashMap;

use otaria_core::ids::{DeviceId, DeviceName};
use otaria_ports::store::StoreError;
use sqlx::query;

use super::PgTx;
use super::sql::devices as sql;
use crate::errors::failed;
use crate::rows::Of;

/// The names of devices, also of deleted ones of which tasks still speak.
pub(crate) async fn names(
    tx: &mut PgTx<'_>,
    devices: impl IntoIterator<Item = DeviceId>,
) -> Result<HashMap<DeviceId, DeviceName>, StoreError> {
    let mut devices: Vec<i64> = devices.into_iter().map(|device| device.0).collect();
    devices.sort_unstable();
    devices.dedup();
    let found = query(sql::NAMES).bind(devices).fetch_all(tx.conn()).await;
    let mut names = HashMap::new();
    for row in &found.map_err(failed("looking up names"))? {
        let of = Of { table: "device", row };
        let name = of.parsed("name", |text: &str| DeviceName::parse(text).ok())?;
        names.insert(DeviceId(of.get("id")?), name);
    }
    Ok(names)
}
