//! Deletes devices, products and firmware: gone for whoever asks, and still there for the jobs that refer
//! to them.
//!
//! Invariant: what still has work to do with a thing is ended, or keeps it from being deleted, in the same
//! transaction.

use otaria_core::ids::{AccountNo, DeviceId, FirmwareId, JobNo, ProductNo};
use otaria_core::task::{CancelCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::StoreError;
use sqlx::{Row, query, query_scalar};

use crate::cancel::cancel;
use crate::counters::Counters;
use crate::groups::leave_all;
use crate::rows::Of;
use crate::sql::deletion as sql;
use crate::sql::devices::COUNT_DEVICES;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::{part, text, versions};

/// Deletes a device with its versions and its places in groups, and cancels its open tasks.
pub(crate) async fn device(tx: &mut Tx, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
    let unavailable = failed("deleting a device");
    // Before the device goes: a cancellation is told with its name.
    cancel_tasks(tx, id, now).await?;
    part::remember_deleted(tx, id).await?;
    let gone = query(sql::DEVICE).bind(id.0).fetch_optional(&mut tx.conn).await.map_err(unavailable)?;
    let gone = gone.ok_or(StoreError::NotFound { what: "device" })?;
    let of = Of { table: "device", row: &gone };
    let (product, name) = (ProductNo(of.get("product_no")?), of.get::<String>("name")?);
    let keep = query(sql::KEEP_NAME).bind(id.0).bind(product.0).bind(name).bind(now.millis());
    keep.execute(&mut tx.conn).await.map_err(unavailable)?;

    let forgotten = query(sql::FORGET_VERSIONS).bind(id.0).fetch_all(&mut tx.conn).await;
    let mut counts = versions::Counts::default();
    for row in &forgotten.map_err(unavailable)? {
        let of = Of { table: "device_module", row };
        counts.add(product.0, of.get("module")?, of.get("version")?, -1);
    }
    counts.write(tx).await?;
    leave_all(tx, id).await?;
    let count = query(COUNT_DEVICES).bind(product.0).bind(-1_i64).execute(&mut tx.conn).await;
    count.map(drop).map_err(unavailable)
}

async fn cancel_tasks(tx: &mut Tx, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
    let open = query_scalar(sql::OPEN_TASKS).bind(id.0).fetch_one(&mut tx.conn).await;
    let open: Option<String> = open.map_err(failed("deleting a device"))?;
    let mut tasks = Vec::new();
    for [task, code] in text::lines::<2>("task", open.as_deref())? {
        let corrupt = || StoreError::Corrupt { table: "task", reason: format!("status {code}") };
        tasks.push((task, id, TaskStatus::from_code(code).ok_or_else(corrupt)?));
    }
    let mut counters = Counters::default();
    cancel(tx, &tasks, CancelCause::DeviceDeleted, &mut counters, now).await?;
    counters.write(tx).await
}

/// Refuses when one of these devices was deleted.
pub(crate) async fn expect_devices(
    tx: &mut Tx,
    devices: impl Iterator<Item = DeviceId>,
) -> Result<(), StoreError> {
    let unavailable = failed("looking for deleted devices");
    let any: bool = query_scalar(sql::ANY_GONE).fetch_one(&mut tx.conn).await.map_err(unavailable)?;
    if !any {
        return Ok(());
    }
    let set = text::numbers(devices.map(|device| device.0));
    let gone: bool = query_scalar(sql::GONE).bind(set).fetch_one(&mut tx.conn).await.map_err(unavailable)?;
    if gone { Err(StoreError::NotFound { what: "device" }) } else { Ok(()) }
}

/// Deletes a product without devices, with its modules and firmware.
pub(crate) async fn product(tx: &mut Tx, no: ProductNo) -> Result<(), StoreError> {
    let unavailable = failed("deleting a product");
    let devices = query_scalar(sql::PRODUCT).bind(no.0).fetch_optional(&mut tx.conn).await;
    match devices.map_err(unavailable)? {
        None => return Err(StoreError::NotFound { what: "product" }),
        Some(0_i64) => {}
        Some(_) => return Err(StoreError::Conflict { what: "devices" }),
    }
    let jobs: bool =
        query_scalar(sql::JOBS_OF_PRODUCT).bind(no.0).fetch_one(&mut tx.conn).await.map_err(unavailable)?;
    if jobs {
        return Err(StoreError::Conflict { what: "jobs" });
    }
    let firmware = query_scalar(sql::FIRMWARE_OF_PRODUCT).bind(no.0).fetch_one(&mut tx.conn).await;
    let firmware: Option<String> = firmware.map_err(unavailable)?;
    let firmware = text::lines::<1>("firmware", firmware.as_deref())?;
    hide_firmware(tx, firmware.into_iter().flatten().collect()).await?;
    for statement in [sql::MODULES, sql::HIDE_PRODUCT] {
        query(statement).bind(no.0).execute(&mut tx.conn).await.map_err(unavailable)?;
    }
    Ok(())
}

/// Deletes a firmware whose jobs have ended.
pub(crate) async fn firmware(tx: &mut Tx, account: AccountNo, id: &FirmwareId) -> Result<(), StoreError> {
    let unavailable = failed("deleting a firmware");
    let found = query(sql::FIRMWARE).bind(id.as_str()).bind(account.0).fetch_optional(&mut tx.conn).await;
    let found = found.map_err(unavailable)?.ok_or(StoreError::NotFound { what: "firmware" })?;
    let no: i64 = found.try_get(0).map_err(unavailable)?;
    let jobs: bool =
        query_scalar(sql::JOBS_OF_FIRMWARE).bind(no).fetch_one(&mut tx.conn).await.map_err(unavailable)?;
    if jobs {
        return Err(StoreError::Conflict { what: "jobs" });
    }
    hide_firmware(tx, vec![no]).await
}

async fn hide_firmware(tx: &mut Tx, numbers: Vec<i64>) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let set = text::numbers(numbers);
    for statement in [sql::RELEASE_UPLOADS, sql::HIDE_FIRMWARE] {
        let hide = query(statement).bind(set.clone()).execute(&mut tx.conn).await;
        hide.map_err(failed("deleting a firmware"))?;
    }
    forget_firmware(tx).await
}

/// Removes deleted firmware of which no job speaks any more.
pub(crate) async fn forget_firmware(tx: &mut Tx) -> Result<(), StoreError> {
    let forget = query(sql::FORGET_FIRMWARE).execute(&mut tx.conn).await;
    forget.map(drop).map_err(failed("forgetting firmware"))
}

/// Forgets the versions that a draw asked for.
pub(crate) async fn forget_past(tx: &mut Tx, job: JobNo, limit: i64) -> Result<(), StoreError> {
    let forget = query(crate::sql::part::FORGET_PAST).bind(job.0).bind(limit).execute(&mut tx.conn).await;
    forget.map(drop).map_err(failed("forgetting a draw"))
}
