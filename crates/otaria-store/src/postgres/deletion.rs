//! Deletes devices, products and firmware: gone for whoever asks, and still there for the jobs that refer
//! to them.
//!
//! Invariant: what still has work to do with a thing is ended, or keeps it from being deleted, in the same
//! transaction. A device and a product go under the product's lock held alone, so nobody makes a task of a
//! device, keeps a version of it, or makes a job, while it goes.

use otaria_core::ids::{AccountNo, DeviceId, FirmwareId, JobNo, ProductNo};
use otaria_core::task::CancelCause;
use otaria_core::time::Timestamp;
use otaria_ports::store::StoreError;
use sqlx::{query, query_scalar};

use super::cancel::cancel;
use super::counters::Counters;
use super::sql::{deletion as own, devices::HOLD_PRODUCT};
use super::{Lock, PgTx, groups, part, versions};
use crate::errors::failed;
use crate::rows::Of;
use crate::sql::deletion as sql;
use crate::sql::devices::COUNT_DEVICES;
use crate::versions::Counts;

/// Deletes a device with its versions and its places in groups, and cancels its open tasks.
pub(super) async fn device(tx: &mut PgTx<'_>, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
    let unavailable = failed("deleting a device");
    let product = query_scalar(own::PRODUCT_OF_DEVICE).bind(id.0).fetch_optional(tx.conn()).await;
    let product: Option<i64> = product.map_err(unavailable)?;
    let product = ProductNo(product.ok_or(StoreError::NotFound { what: "device" })?);
    tx.lock(Lock::Product(product)).await?;
    let groups = groups::hold_all(tx, id).await?;
    // Before the device goes: a cancellation is told with its name.
    let counters = cancel_tasks(tx, id, now).await?;
    part::remember_deleted(tx, id).await?;
    let gone = query(sql::DEVICE).bind(id.0).fetch_optional(tx.conn()).await.map_err(unavailable)?;
    let gone = gone.ok_or(StoreError::NotFound { what: "device" })?;
    let name: String = Of { table: "device", row: &gone }.get("name")?;
    let keep = query(sql::KEEP_NAME).bind(id.0).bind(product.0).bind(name).bind(now.millis());
    keep.execute(tx.conn()).await.map_err(unavailable)?;

    let forgotten = query(sql::FORGET_VERSIONS).bind(id.0).fetch_all(tx.conn()).await;
    let mut counts = Counts::default();
    for row in &forgotten.map_err(unavailable)? {
        let of = Of { table: "device_module", row };
        counts.add(product.0, of.get("module")?, of.get("version")?, -1);
    }
    groups::leave_all(tx, id, &groups).await?;
    let count = query(COUNT_DEVICES).bind(product.0).bind(-1_i64).execute(tx.conn()).await;
    count.map_err(unavailable)?;
    counters.write(tx).await?;
    versions::count(tx, counts).await
}

async fn cancel_tasks(tx: &mut PgTx<'_>, id: DeviceId, now: Timestamp) -> Result<Counters, StoreError> {
    let open = query_scalar(own::OPEN_TASKS).bind(id.0).fetch_all(tx.conn()).await;
    let open: Vec<i64> = open.map_err(failed("deleting a device"))?;
    let tasks: Vec<(DeviceId, JobNo)> = open.into_iter().map(|job| (id, JobNo(job))).collect();
    let mut counters = Counters::default();
    cancel(tx, &tasks, |_| true, CancelCause::DeviceDeleted, &mut counters, now).await?;
    Ok(counters)
}

/// Refuses when one of these devices was deleted. The product is shared, so those that are there stay.
pub(crate) async fn expect_devices(
    tx: &mut PgTx<'_>,
    devices: impl Iterator<Item = DeviceId>,
) -> Result<(), StoreError> {
    let unavailable = failed("looking for deleted devices");
    let any: bool = query_scalar(sql::ANY_GONE).fetch_one(tx.conn()).await.map_err(unavailable)?;
    if !any {
        return Ok(());
    }
    let devices: Vec<i64> = devices.map(|device| device.0).collect();
    let gone: bool = query_scalar(own::GONE).bind(devices).fetch_one(tx.conn()).await.map_err(unavailable)?;
    if gone { Err(StoreError::NotFound { what: "device" }) } else { Ok(()) }
}

/// Deletes a product without devices, with its modules and firmware.
pub(super) async fn product(tx: &mut PgTx<'_>, no: ProductNo) -> Result<(), StoreError> {
    let unavailable = failed("deleting a product");
    tx.lock(Lock::Product(no)).await?;
    let devices = query_scalar(HOLD_PRODUCT).bind(no.0).fetch_optional(tx.conn()).await;
    match devices.map_err(unavailable)? {
        None => return Err(StoreError::NotFound { what: "product" }),
        Some(0_i64) => {}
        Some(_) => return Err(StoreError::Conflict { what: "devices" }),
    }
    let jobs: bool =
        query_scalar(sql::JOBS_OF_PRODUCT).bind(no.0).fetch_one(tx.conn()).await.map_err(unavailable)?;
    if jobs {
        return Err(StoreError::Conflict { what: "jobs" });
    }
    let firmware = query_scalar(own::FIRMWARE_OF_PRODUCT).bind(no.0).fetch_all(tx.conn()).await;
    hide_firmware(tx, firmware.map_err(unavailable)?).await?;
    for statement in [sql::MODULES, sql::HIDE_PRODUCT] {
        query(statement).bind(no.0).execute(tx.conn()).await.map_err(unavailable)?;
    }
    Ok(())
}

/// Deletes a firmware whose jobs have ended.
pub(super) async fn firmware(
    tx: &mut PgTx<'_>,
    account: AccountNo,
    id: &FirmwareId,
) -> Result<(), StoreError> {
    let unavailable = failed("deleting a firmware");
    let found = query_scalar(own::FIRMWARE).bind(id.as_str()).bind(account.0).fetch_optional(tx.conn()).await;
    let found: Option<i64> = found.map_err(unavailable)?;
    let no = found.ok_or(StoreError::NotFound { what: "firmware" })?;
    let jobs: bool =
        query_scalar(sql::JOBS_OF_FIRMWARE).bind(no).fetch_one(tx.conn()).await.map_err(unavailable)?;
    if jobs {
        return Err(StoreError::Conflict { what: "jobs" });
    }
    hide_firmware(tx, vec![no]).await
}

async fn hide_firmware(tx: &mut PgTx<'_>, numbers: Vec<i64>) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    for statement in [own::RELEASE_UPLOADS, own::HIDE_FIRMWARE] {
        let hide = query(statement).bind(&numbers).execute(tx.conn()).await;
        hide.map_err(failed("deleting a firmware"))?;
    }
    forget_firmware(tx).await
}

/// Removes deleted firmware of which no job speaks any more.
pub(crate) async fn forget_firmware(tx: &mut PgTx<'_>) -> Result<(), StoreError> {
    let forget = query(sql::FORGET_FIRMWARE).execute(tx.conn()).await;
    forget.map(drop).map_err(failed("forgetting firmware"))
}

/// Forgets the versions that a draw asked for.
pub(crate) async fn forget_past(tx: &mut PgTx<'_>, job: JobNo, limit: i64) -> Result<(), StoreError> {
    let forget = query(crate::sql::part::FORGET_PAST).bind(job.0).bind(limit).execute(tx.conn()).await;
    forget.map(drop).map_err(failed("forgetting a draw"))
}
