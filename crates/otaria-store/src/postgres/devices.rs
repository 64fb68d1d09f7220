//! Products and devices.

use std::collections::BTreeMap;

use async_trait::async_trait;
use otaria_core::ids::{
    AccountNo, DeviceId, DeviceName, InformedVersion, JobNo, ModuleName, ProductKey, ProductNo,
};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::auth::SeenDevice;
use otaria_ports::store::{
    AuthRow, BATCH_MAX, Candidate, Device, Devices, Drawn, ModuleVersion, NewDevice, NewProduct, Product,
    StoreError,
};
use sqlx::postgres::PgRow;
use sqlx::query;

use super::sql::devices as own;
use super::{PgTx, PostgresStore, accounts, deletion, part, register};
use crate::errors::{failed, taken};
use crate::rows::{self, Of};
use crate::sql::deletion::ENABLE;
use crate::sql::devices as sql;

#[async_trait]
impl Devices for PostgresStore {
    async fn create_product(&self, product: &NewProduct, now: Timestamp) -> Result<Product, StoreError> {
        let work =
            self.tx("making a product", |tx| Box::pin(async move { create_product(tx, product, now).await }));
        work.await
    }

    async fn product(&self, key: &ProductKey) -> Result<Option<Product>, StoreError> {
        let row = self.row("reading a product", || query(sql::PRODUCT).bind(key.as_str())).await?;
        row.as_ref().map(rows::product).transpose()
    }

    async fn product_by_no(&self, no: ProductNo) -> Result<Option<Product>, StoreError> {
        let row = self.row("reading a product", || query(sql::PRODUCT_BY_NO).bind(no.0)).await?;
        row.as_ref().map(rows::product).transpose()
    }

    async fn products(
        &self,
        account: AccountNo,
        after: ProductNo,
        limit: usize,
    ) -> Result<(Vec<Product>, u64), StoreError> {
        let doing = "listing products";
        let page = || query(sql::PRODUCTS).bind(account.0).bind(after.0).bind(int(limit));
        let page = self.rows(doing, page).await?;
        let total: i64 = self.value(doing, || query(sql::COUNT_PRODUCTS).bind(account.0)).await?;
        Ok((page.iter().map(rows::product).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn register_devices(
        &self,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Vec<Option<DeviceId>>, StoreError> {
        let doing = "registering devices";
        if devices.len() > BATCH_MAX {
            let work = self.long_tx(doing, |tx| {
                Box::pin(async move { register::register(tx, product, devices, now).await })
            });
            return work.await;
        }
        let work =
            self.tx(doing, |tx| Box::pin(async move { register::register(tx, product, devices, now).await }));
        work.await
    }

    async fn delete_product(&self, no: ProductNo, _: Timestamp) -> Result<(), StoreError> {
        let work =
            self.tx("deleting a product", |tx| Box::pin(async move { deletion::product(tx, no).await }));
        work.await
    }

    async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>, StoreError> {
        let set: &Vec<i64> = &ids.iter().map(|id| id.0).collect();
        let found = self.rows("reading devices", || query(own::DEVICES_BY_ID).bind(set)).await?;
        let found = found.iter().map(rows::device).collect::<Result<Vec<_>, _>>()?;
        let found: BTreeMap<DeviceId, Device> = found.into_iter().map(|device| (device.id, device)).collect();
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn enable_device(&self, id: DeviceId, enabled: bool) -> Result<(), StoreError> {
        let doing = "enabling a device";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let change = query(ENABLE).bind(id.0).bind(i64::from(enabled)).execute(tx.conn()).await;
                match change.map_err(failed(doing))?.rows_affected() {
                    0 => Err(StoreError::NotFound { what: "device" }),
                    _ => Ok(()),
                }
            })
        });
        work.await
    }

    async fn delete_device(&self, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let work =
            self.tx("deleting a device", |tx| Box::pin(async move { deletion::device(tx, id, now).await }));
        work.await
    }

    async fn device(&self, product: ProductNo, name: &DeviceName) -> Result<Option<Device>, StoreError> {
        let one = || query(sql::DEVICE).bind(product.0).bind(name.as_str());
        self.row("reading a device", one).await?.as_ref().map(rows::device).transpose()
    }

    async fn device_by_id(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let row = self.row("reading a device", || query(sql::DEVICE_BY_ID).bind(id.0)).await?;
        row.as_ref().map(rows::device).transpose()
    }

    async fn devices(
        &self,
        product: ProductNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let after = after.map_or("", DeviceName::as_str);
        let page = || query(sql::DEVICES).bind(product.0).bind(after).bind(int(limit));
        self.rows("listing devices", page).await?.iter().map(rows::device).collect()
    }

    async fn module_versions(&self, devices: &[DeviceId]) -> Result<Vec<ModuleVersion>, StoreError> {
        let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        devices.sort_unstable();
        devices.dedup();
        let versions = self.rows("reading versions", || query(own::VERSIONS).bind(&devices)).await?;
        let mut versions: Vec<_> = versions.iter().map(rows::version).collect::<Result<_, _>>()?;
        versions.sort_by(|a, b| (a.device, &a.module).cmp(&(b.device, &b.module)));
        Ok(versions)
    }

    async fn auth(&self, who: &[(ProductKey, DeviceName)]) -> Result<Vec<Option<AuthRow>>, StoreError> {
        let keys: &Vec<&str> = &who.iter().map(|(key, _)| key.as_str()).collect();
        let names: &Vec<&str> = &who.iter().map(|(_, name)| name.as_str()).collect();
        let rows = self.rows("authenticating devices", || query(own::AUTH).bind(keys).bind(names)).await?;
        let mut found = vec![None; who.len()];
        for row in &rows {
            let (place, auth) = rows::auth(row)?;
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(auth);
            }
        }
        Ok(found)
    }

    async fn connected(&self, devices: &[(DeviceId, Timestamp)]) -> Result<(), StoreError> {
        let doing = "noting connections";
        let mut spans: BTreeMap<DeviceId, (Timestamp, Timestamp)> = BTreeMap::new();
        for (device, at) in devices {
            let (first, last) = spans.entry(*device).or_insert((*at, *at));
            (*first, *last) = ((*first).min(*at), (*last).max(*at));
        }
        let ids: &Vec<i64> = &spans.keys().map(|device| device.0).collect();
        let first: &Vec<i64> = &spans.values().map(|(first, _)| first.millis()).collect();
        let last: &Vec<i64> = &spans.values().map(|(_, last)| last.millis()).collect();
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let noted = query(own::CONNECTED).bind(ids).bind(first).bind(last).execute(tx.conn()).await;
                noted.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, StoreError> {
        let (first, last) = (DeviceId::new(shard, 0), DeviceId::new(shard, -1));
        let asked = || query(sql::SEEN_SINCE).bind(first.0).bind(last.0).bind(since.millis());
        let found = self.rows("reading who was connected", asked).await?;
        found.iter().map(rows::seen).collect()
    }

    async fn resolve(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        names: &[DeviceName],
    ) -> Result<Vec<Option<Candidate>>, StoreError> {
        // In the order of the index: neighbours share pages.
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by(|a, b| names[*a].cmp(&names[*b]));
        let sorted: &Vec<&str> = &order.iter().map(|place| names[*place].as_str()).collect();
        let module = rows::module_column(module);
        let statement = || query(own::RESOLVE).bind(product.0).bind(module).bind(sorted);
        let mut candidates = vec![None; names.len()];
        for row in &self.rows("resolving names", statement).await? {
            let of = Of { table: "device", row };
            let place = of.parsed("place", |place: i64| order.get(usize::try_from(place - 1).ok()?))?;
            let candidate = candidate(&of)?;
            if candidate.device.n() <= upto {
                candidates[*place] = Some(candidate);
            }
        }
        Ok(candidates)
    }

    async fn scan_drawn(
        &self,
        job: JobNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Drawn>, StoreError> {
        part::scan(self, job, after, limit).await
    }

    async fn scan(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<(DeviceName, Candidate)>, StoreError> {
        let after = after.map_or("", DeviceName::as_str);
        let module = rows::module_column(module);
        let page = || query(own::SCAN).bind(product.0).bind(module).bind(after).bind(upto).bind(int(limit));
        self.rows("scanning devices", page).await?.iter().map(scanned).collect()
    }
}

async fn create_product(
    tx: &mut PgTx<'_>,
    product: &NewProduct,
    now: Timestamp,
) -> Result<Product, StoreError> {
    accounts::hold(tx, product.account).await?;
    let new = query(sql::NEW_PRODUCT)
        .bind(product.account.0)
        .bind(product.key.as_str())
        .bind(&product.name)
        .bind(&product.description)
        .bind(i64::from(product.node_type))
        .bind(&product.sealed_secret)
        .bind(now.millis());
    let row = new.fetch_one(tx.conn()).await.map_err(taken("making a product", "product"))?;
    rows::product(&row)
}

/// Reads `name`, `id` and `version`, which may be null.
pub(super) fn scanned(row: &PgRow) -> Result<(DeviceName, Candidate), StoreError> {
    let of = Of { table: "device", row };
    Ok((of.parsed("name", |text: &str| DeviceName::parse(text).ok())?, candidate(&of)?))
}

/// Reads `id` and `version`, which may be null.
pub(super) fn candidate(of: &Of<'_, PgRow>) -> Result<Candidate, StoreError> {
    Ok(Candidate {
        device: DeviceId(of.get("id")?),
        version: of.maybe("version", |text: &str| InformedVersion::parse(text).ok())?,
    })
}

pub(super) fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
