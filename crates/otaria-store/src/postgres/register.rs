//! Registers devices.
//!
//! 2026-11-22, 2 cores, server and caller on one machine: 160–200 thousand a second, 20,000 a call.
//!
//! Invariant: numbers of the membership sequence are drawn while the product is shared, and a job draws its
//! own while it holds the product alone. So whoever has a number up to the job's is there when the job is made,
//! and whoever is not comes later with a greater one.

use std::collections::HashSet;

use otaria_core::ids::{DeviceId, DeviceName};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::store::{NewDevice, Product, StoreError};
use sqlx::{query, query_scalar};

use super::sql::devices as sql;
use super::{Lock, PgTx, standing};
use crate::errors::failed;
use crate::sql::devices::COUNT_DEVICES;
use crate::sql::modules::PRODUCT_IS_THERE;

/// Devices of one statement: some 600 KB of arrays.
const REGISTER_ROWS: usize = 5_000;

/// Registers devices whose names are free; `None` for the others.
pub(super) async fn register(
    tx: &mut PgTx<'_>,
    product: &Product,
    devices: &[NewDevice],
    now: Timestamp,
) -> Result<Vec<Option<DeviceId>>, StoreError> {
    let unavailable = failed("registering devices");
    tx.share(Lock::Product(product.no)).await?;
    let is_there = query_scalar(PRODUCT_IS_THERE).bind(product.no.0).fetch_one(tx.conn()).await;
    if !is_there.map_err(unavailable)? {
        return Err(StoreError::NotFound { what: "product" });
    }
    let mut free = free(tx, product, devices).await?;
    let mut ids = vec![None; devices.len()];
    if free.is_empty() {
        return Ok(ids);
    }
    let count = i64::try_from(free.len()).unwrap_or(i64::MAX);
    let numbers: Vec<i64> =
        query_scalar(sql::DRAW).bind(count).fetch_all(tx.conn()).await.map_err(unavailable)?;
    // In the caller's order, so that the order of registration is the order of the call.
    free.sort_unstable();
    for (n, i) in numbers.into_iter().zip(&free) {
        ids[*i] = Some(DeviceId::new(Shard::of(&product.new.key, &devices[*i].name), n));
    }
    free.sort_unstable_by_key(|i| ids[*i]);
    for part in free.chunks(REGISTER_ROWS) {
        let of = |i: &usize| &devices[*i];
        let new = query(sql::REGISTER)
            .bind(product.no.0)
            .bind(now.millis())
            .bind(part.iter().filter_map(|i| ids[*i]).map(|id| id.0).collect::<Vec<_>>())
            .bind(part.iter().map(|i| of(i).name.as_str()).collect::<Vec<_>>())
            .bind(part.iter().map(|i| of(i).sealed_secret.as_slice()).collect::<Vec<_>>())
            .bind(part.iter().map(|i| of(i).nickname.as_deref()).collect::<Vec<_>>());
        new.execute(tx.conn()).await.map_err(unavailable)?;
    }
    let fresh: Vec<(DeviceId, &DeviceName)> =
        free.iter().filter_map(|i| Some((ids[*i]?, &devices[*i].name))).collect();
    standing::register(tx, product.no.0, &fresh, now).await?;
    // Last: other registrations of the product wait for this row.
    let counted = query(COUNT_DEVICES).bind(product.no.0).bind(count).execute(tx.conn()).await;
    counted.map_err(unavailable)?;
    Ok(ids)
}

/// Places of the devices whose names are free, each name once.
async fn free(tx: &mut PgTx<'_>, product: &Product, devices: &[NewDevice]) -> Result<Vec<usize>, StoreError> {
    let mut seen = HashSet::with_capacity(devices.len());
    let mut fresh: Vec<usize> = (0..devices.len()).filter(|i| seen.insert(&devices[*i].name)).collect();
    fresh.sort_unstable_by(|a, b| devices[*a].name.cmp(&devices[*b].name));
    let mut free = Vec::with_capacity(fresh.len());
    for part in fresh.chunks(REGISTER_ROWS) {
        let names: Vec<&str> = part.iter().map(|i| devices[*i].name.as_str()).collect();
        let taken = query_scalar(sql::TAKEN_NAMES).bind(product.no.0).bind(names);
        let taken: Vec<i64> = taken.fetch_all(tx.conn()).await.map_err(failed("registering devices"))?;
        let taken: HashSet<i64> = taken.into_iter().collect();
        free.extend((1_i64..).zip(part).filter(|(place, _)| !taken.contains(place)).map(|(_, i)| *i));
    }
    Ok(free)
}
