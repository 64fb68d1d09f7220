//! Products, devices and the versions that devices informed.
//!
//! 2026-11-21: 220–420 thousand registrations a second, 20,000 a call (50–90 ms each, during which nobody
//! else writes); resolving costs 1.5–1.9 µs a name.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

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
use sqlx::{query, query_scalar};

use crate::sql::{deletion as deletion_sql, devices as sql};
use crate::sqlite::errors::{failed, taken};
use crate::sqlite::{Lane, SqliteStore, Tx};
use crate::{deletion, part, rows, standing, text};

/// Devices of one statement: a JSON text of about half a megabyte.
const REGISTER_ROWS: usize = 4_000;

#[async_trait]
impl Devices for SqliteStore {
    async fn create_product(&self, product: &NewProduct, now: Timestamp) -> Result<Product, StoreError> {
        let (doing, product) = ("making a product", product.clone());
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let owner = query_scalar(sql::ACCOUNT_EXISTS).bind(product.account.0);
                if !owner.fetch_one(&mut tx.conn).await.map_err(failed(doing))? {
                    return Err(StoreError::NotFound { what: "account" });
                }
                let new = query(sql::NEW_PRODUCT)
                    .bind(product.account.0)
                    .bind(product.key.as_str())
                    .bind(product.name)
                    .bind(product.description)
                    .bind(i64::from(product.node_type))
                    .bind(product.sealed_secret)
                    .bind(now.millis());
                let row = new.fetch_one(&mut tx.conn).await.map_err(taken(doing, "product"))?;
                rows::product(&row)
            })
        });
        work.await
    }

    async fn product(&self, key: &ProductKey) -> Result<Option<Product>, StoreError> {
        let row = self.row("reading a product", query(sql::PRODUCT).bind(key.as_str())).await?;
        row.as_ref().map(rows::product).transpose()
    }

    async fn product_by_no(&self, no: ProductNo) -> Result<Option<Product>, StoreError> {
        let row = self.row("reading a product", query(sql::PRODUCT_BY_NO).bind(no.0)).await?;
        row.as_ref().map(rows::product).transpose()
    }

    async fn products(
        &self,
        account: AccountNo,
        after: ProductNo,
        limit: usize,
    ) -> Result<(Vec<Product>, u64), StoreError> {
        let doing = "listing products";
        let page = query(sql::PRODUCTS).bind(account.0).bind(after.0).bind(int(limit));
        let page = self.rows(doing, page).await?;
        let total: i64 = self.value(doing, query(sql::COUNT_PRODUCTS).bind(account.0)).await?;
        Ok((page.iter().map(rows::product).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn register_devices(
        &self,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Vec<Option<DeviceId>>, StoreError> {
        let doing = "registering devices";
        let (no, key, devices) = (product.no, product.new.key.clone(), devices.to_vec());
        // Many at once are a long piece of work, and wait for those that somebody else waits for.
        let lane = if devices.len() > BATCH_MAX { Lane::Expansion } else { Lane::Api };
        let work = self.writer.run(lane, devices.len(), doing, move |tx| {
            Box::pin(async move { register(tx, no, &key, &devices, now).await })
        });
        work.await
    }

    async fn delete_product(&self, no: ProductNo, _: Timestamp) -> Result<(), StoreError> {
        let work = self.writer.run(Lane::Api, 1, "deleting a product", move |tx| {
            Box::pin(async move { deletion::product(tx, no).await })
        });
        work.await
    }

    async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>, StoreError> {
        let asked = query(sql::DEVICES_BY_ID).bind(text::numbers(ids.iter().map(|id| id.0)));
        let found = self.rows("reading devices", asked).await?;
        let found = found.iter().map(rows::device).collect::<Result<Vec<_>, _>>()?;
        let found: BTreeMap<DeviceId, Device> = found.into_iter().map(|device| (device.id, device)).collect();
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn enable_device(&self, id: DeviceId, enabled: bool) -> Result<(), StoreError> {
        let doing = "enabling a device";
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let change = query(deletion_sql::ENABLE).bind(id.0).bind(enabled).execute(&mut tx.conn).await;
                match change.map_err(failed(doing))?.rows_affected() {
                    0 => Err(StoreError::NotFound { what: "device" }),
                    _ => Ok(()),
                }
            })
        });
        work.await
    }

    async fn delete_device(&self, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let work = self.writer.run(Lane::Api, 1, "deleting a device", move |tx| {
            Box::pin(async move { deletion::device(tx, id, now).await })
        });
        work.await
    }

    async fn device(&self, product: ProductNo, name: &DeviceName) -> Result<Option<Device>, StoreError> {
        let one = query(sql::DEVICE).bind(product.0).bind(name.as_str());
        self.row("reading a device", one).await?.as_ref().map(rows::device).transpose()
    }

    async fn device_by_id(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let row = self.row("reading a device", query(sql::DEVICE_BY_ID).bind(id.0)).await?;
        row.as_ref().map(rows::device).transpose()
    }

    async fn devices(
        &self,
        product: ProductNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let after = after.map_or("", DeviceName::as_str);
        let page = query(sql::DEVICES).bind(product.0).bind(after).bind(int(limit));
        self.rows("listing devices", page).await?.iter().map(rows::device).collect()
    }

    async fn module_versions(&self, devices: &[DeviceId]) -> Result<Vec<ModuleVersion>, StoreError> {
        let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        devices.sort_unstable();
        devices.dedup();
        let versions = query(sql::VERSIONS).bind(text::numbers(devices));
        let versions = self.rows("reading versions", versions).await?;
        let mut versions: Vec<_> = versions.iter().map(rows::version).collect::<Result<_, _>>()?;
        versions.sort_by(|a, b| (a.device, &a.module).cmp(&(b.device, &b.module)));
        Ok(versions)
    }

    async fn auth(&self, who: &[(ProductKey, DeviceName)]) -> Result<Vec<Option<AuthRow>>, StoreError> {
        let asked = text::array(who, |out, (key, name)| {
            let _ = write!(out, r#"["{key}","{name}"]"#); // Neither alphabet needs quoting.
        });
        let mut found = vec![None; who.len()];
        for row in self.rows("authenticating devices", query(sql::AUTH).bind(asked)).await? {
            let (place, auth) = rows::auth(&row)?;
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
        let set = text::array(spans, |out, (device, (first, last))| {
            let _ = write!(out, "[{},{},{}]", device.0, first.millis(), last.millis());
        });
        let work = self.writer.run(Lane::Reports, devices.len(), doing, move |tx| {
            Box::pin(async move {
                let noted = query(sql::CONNECTED).bind(set).execute(&mut tx.conn).await;
                noted.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, StoreError> {
        let (first, last) = (DeviceId::new(shard, 0), DeviceId::new(shard, -1));
        let asked = query(sql::SEEN_SINCE).bind(first.0).bind(last.0).bind(since.millis());
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
        let statement = query(sql::RESOLVE)
            .bind(product.0)
            .bind(rows::module_column(module).to_owned())
            .bind(text::texts(order.iter().map(|place| &names[*place])));
        let found: Option<String> = self.value("resolving names", statement).await?;
        let mut candidates = vec![None; names.len()];
        for line in found.as_deref().unwrap_or_default().lines() {
            let (place, rest) = line.split_once(' ').unwrap_or_default();
            let place: usize = place.parse().map_err(|_| corrupt(line))?;
            let candidate = candidate(rest).ok_or_else(|| corrupt(line))?;
            if candidate.device.n() <= upto {
                candidates[*order.get(place).ok_or_else(|| corrupt(line))?] = Some(candidate);
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
        let statement = query(sql::SCAN)
            .bind(product.0)
            .bind(rows::module_column(module).to_owned())
            .bind(after.map_or("", DeviceName::as_str).to_owned())
            .bind(upto)
            .bind(int(limit));
        let found: Option<String> = self.value("scanning devices", statement).await?;
        scanned(found.as_deref())
    }
}

/// Reads lines of id, name, version or nothing.
pub(crate) fn scanned(found: Option<&str>) -> Result<Vec<(DeviceName, Candidate)>, StoreError> {
    let read = |line: &str| {
        let (id, rest) = line.split_once(' ').unwrap_or_default();
        let (name, version) = rest.split_once(' ').unwrap_or_default();
        let name = DeviceName::parse(name).map_err(|_| corrupt(line))?;
        Ok((name, candidate_of(id, version).ok_or_else(|| corrupt(line))?))
    };
    found.unwrap_or_default().lines().map(read).collect()
}

fn corrupt(line: &str) -> StoreError {
    StoreError::Corrupt { table: "device", reason: format!("no candidate: {line:?}") }
}

/// Reads `id version`, where the version may be empty.
fn candidate(text: &str) -> Option<Candidate> {
    let (id, version) = text.split_once(' ')?;
    candidate_of(id, version)
}

fn candidate_of(id: &str, version: &str) -> Option<Candidate> {
    let version = if version.is_empty() { None } else { Some(InformedVersion::parse(version).ok()?) };
    Some(Candidate { device: DeviceId(id.parse().ok()?), version })
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) async fn register(
    tx: &mut Tx,
    product: ProductNo,
    key: &ProductKey,
    devices: &[NewDevice],
    now: Timestamp,
) -> Result<Vec<Option<DeviceId>>, StoreError> {
    let unavailable = failed("registering devices");
    let mut seen = HashSet::with_capacity(devices.len());
    let mut fresh: Vec<usize> = (0..devices.len()).filter(|i| seen.insert(&devices[*i].name)).collect();
    drop(seen);
    fresh.sort_unstable_by(|a, b| devices[*a].name.cmp(&devices[*b].name));

    let mut free = Vec::with_capacity(fresh.len());
    for part in fresh.chunks(REGISTER_ROWS) {
        let names = text::texts(part.iter().map(|i| &devices[*i].name));
        let found = query_scalar(sql::TAKEN_NAMES).bind(product.0).bind(names).fetch_one(&mut tx.conn).await;
        let found: Option<String> = found.map_err(unavailable)?;
        let taken = text::lines::<1>("device", found.as_deref())?;
        let mut taken: Vec<i64> = taken.into_iter().flatten().collect();
        taken.sort_unstable();
        free.extend(
            part.iter().enumerate().filter(|(k, _)| taken.binary_search(&int(*k)).is_err()).map(|(_, i)| *i),
        );
    }

    let mut ids = vec![None; devices.len()];
    let count = query(sql::COUNT_DEVICES).bind(product.0).bind(int(free.len()));
    if count.execute(&mut tx.conn).await.map_err(unavailable)?.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "product" });
    }
    if free.is_empty() {
        return Ok(ids);
    }
    let drawn = query_scalar(sql::DRAW).bind("device").bind(int(free.len())).fetch_one(&mut tx.conn).await;
    let before: i64 = drawn.map_err(unavailable)?;
    // In the caller's order, so that the order of registration is the order of the call.
    free.sort_unstable();
    for (n, i) in (before + 1..).zip(&free) {
        ids[*i] = Some(DeviceId::new(Shard::of(key, &devices[*i].name), n));
    }
    free.sort_unstable_by_key(|i| ids[*i]);
    for part in free.chunks(REGISTER_ROWS) {
        let new = text::array(part, |out, i| row(out, ids[*i], &devices[*i]));
        let new = query(sql::REGISTER).bind(product.0).bind(new).bind(now.millis());
        new.execute(&mut tx.conn).await.map_err(unavailable)?;
    }
    let new: Vec<_> = free.iter().filter_map(|i| Some((ids[*i]?, &devices[*i].name))).collect();
    standing::register(tx, product.0, &new, now).await?;
    Ok(ids)
}

fn row(out: &mut String, id: Option<DeviceId>, device: &NewDevice) {
    let _ = write!(out, r#"[{},"{}",""#, id.map_or(0, |id| id.0), device.name); // A name needs no quoting.
    text::hex(out, &device.sealed_secret);
    out.push_str("\",");
    match &device.nickname {
        Some(nickname) => text::quote(out, nickname),
        None => out.push_str("null"),
    }
    out.push(']');
}
