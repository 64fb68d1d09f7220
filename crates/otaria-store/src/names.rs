//! Names of devices, looked up for those who read them.

use std::collections::HashMap;

use otaria_core::ids::{DeviceId, DeviceName};
use otaria_ports::store::StoreError;
use sqlx::query_scalar;

use crate::sql::devices as sql;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::text;

/// The names of devices.
pub(crate) async fn names(
    tx: &mut Tx,
    devices: impl IntoIterator<Item = DeviceId>,
) -> Result<HashMap<DeviceId, DeviceName>, StoreError> {
    let mut devices: Vec<i64> = devices.into_iter().map(|device| device.0).collect();
    devices.sort_unstable();
    devices.dedup();
    let found = query_scalar(sql::NAMES).bind(text::numbers(devices)).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed("looking up names"))?;
    let name = |line: &str| {
        let (id, name) = line.split_once(' ')?;
        Some((DeviceId(id.parse().ok()?), DeviceName::parse(name).ok()?))
    };
    let corrupt = |line| StoreError::Corrupt { table: "device", reason: format!("no name: {line:?}") };
    found.as_deref().unwrap_or_default().lines().map(|line| name(line).ok_or_else(|| corrupt(line))).collect()
}
