use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use otaria_core::ids::{
    AccountNo, DeviceId, DeviceName, InformedVersion, JobNo, ModuleName, ProductKey, ProductNo,
};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;

use super::MemoryStore;
use super::tables::Tables;
use crate::auth::SeenDevice;
use crate::store::{
    AuthRow, Candidate, Device, Devices, Drawn, ModuleVersion, NewDevice, NewProduct, Product, StoreError,
    VersionReport,
};

#[async_trait]
impl Devices for MemoryStore {
    async fn create_product(&self, new: &NewProduct, now: Timestamp) -> Result<Product, StoreError> {
        self.transact("making a product", |tables| {
            if !tables.accounts.contains_key(&new.account) {
                return Err(StoreError::NotFound { what: "account" });
            }
            if tables.product_keys.contains_key(&new.key) {
                return Err(StoreError::Exists { what: "product key" });
            }
            let same = |product: &Product| product.new.account == new.account && product.new.name == new.name;
            if tables.alive_products().any(same) {
                return Err(StoreError::Exists { what: "product" });
            }
            let no = ProductNo(tables.products.last_key_value().map_or(0, |(no, _)| no.0) + 1);
            let product = Product { no, new: new.clone(), device_count: 0, created_at: now };
            tables.product_keys.insert(new.key.clone(), no);
            tables.products.insert(no, product.clone());
            Ok(product)
        })
    }

    async fn product(&self, key: &ProductKey) -> Result<Option<Product>, StoreError> {
        self.transact("reading a product", |tables| Ok(tables.product_of_key(key).cloned()))
    }

    async fn product_by_no(&self, no: ProductNo) -> Result<Option<Product>, StoreError> {
        self.transact("reading a product", |tables| Ok(tables.products.get(&no).cloned()))
    }

    async fn products(
        &self,
        account: AccountNo,
        after: ProductNo,
        limit: usize,
    ) -> Result<(Vec<Product>, u64), StoreError> {
        self.transact("reading products", |tables| {
            let mine = || tables.alive_products().filter(|product| product.new.account == account);
            let page = mine().filter(|product| product.no > after).take(limit).cloned().collect();
            Ok((page, mine().count() as u64))
        })
    }

    async fn register_devices(
        &self,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Vec<Option<DeviceId>>, StoreError> {
        self.transact("registering devices", |tables| tables.register_all(product, devices, now))
    }

    async fn delete_product(&self, no: ProductNo, _: Timestamp) -> Result<(), StoreError> {
        self.transact("deleting a product", |tables| tables.delete_product(no))
    }

    async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>, StoreError> {
        self.transact("reading devices", |tables| {
            Ok(ids.iter().map(|id| tables.devices.get(id).cloned()).collect())
        })
    }

    async fn enable_device(&self, id: DeviceId, enabled: bool) -> Result<(), StoreError> {
        self.transact("enabling a device", |tables| {
            let device = tables.devices.get_mut(&id).ok_or(StoreError::NotFound { what: "device" })?;
            device.enabled = enabled;
            Ok(())
        })
    }

    async fn delete_device(&self, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.transact("deleting a device", |tables| tables.delete_device(id, now))
    }

    async fn device(&self, product: ProductNo, name: &DeviceName) -> Result<Option<Device>, StoreError> {
        self.transact("reading a device", |tables| Ok(tables.device_of_name(product, name).cloned()))
    }

    async fn device_by_id(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        self.transact("reading a device", |tables| Ok(tables.devices.get(&id).cloned()))
    }

    async fn devices(
        &self,
        product: ProductNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        self.transact("reading devices", |tables| {
            Ok(tables.devices_after(product, after).take(limit).cloned().collect())
        })
    }

    async fn module_versions(&self, devices: &[DeviceId]) -> Result<Vec<ModuleVersion>, StoreError> {
        self.transact("reading versions", |tables| {
            let devices: BTreeSet<&DeviceId> = devices.iter().collect();
            let reports = devices.into_iter().filter_map(|device| tables.versions.get(device));
            Ok(reports.flat_map(BTreeMap::values).map(|report| report.version.clone()).collect())
        })
    }

    async fn auth(&self, who: &[(ProductKey, DeviceName)]) -> Result<Vec<Option<AuthRow>>, StoreError> {
        self.transact("reading device secrets", |tables| {
            let row = |(key, name): &(ProductKey, DeviceName)| {
                let product = tables.product_of_key(key)?;
                let device = tables.device_of_name(product.no, name)?;
                Some(AuthRow {
                    device: device.id,
                    account: product.new.account,
                    enabled: device.enabled,
                    sealed_secret: device.sealed_secret.clone(),
                })
            };
            Ok(who.iter().map(row).collect())
        })
    }

    async fn connected(&self, devices: &[(DeviceId, Timestamp)]) -> Result<(), StoreError> {
        self.transact("noting connects", |tables| {
            for (device, at) in devices {
                if let Some(device) = tables.devices.get_mut(device) {
                    device.active_at = Some(device.active_at.map_or(*at, |first| first.min(*at)));
                    device.online_at = device.online_at.max(Some(*at));
                }
            }
            Ok(())
        })
    }

    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, StoreError> {
        self.transact("reading who was connected", |tables| {
            let devices = tables.devices.values();
            let meant = devices.filter(|device| device.enabled && device.id.shard() == shard);
            let seen = meant.filter_map(|device| {
                Some(SeenDevice {
                    device: device.id,
                    product_key: tables.products.get(&device.product)?.new.key.clone(),
                    name: device.name.clone(),
                    at: device.online_at.filter(|at| *at >= since)?,
                })
            });
            Ok(seen.collect())
        })
    }

    async fn resolve(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        names: &[DeviceName],
    ) -> Result<Vec<Option<Candidate>>, StoreError> {
        self.transact("resolving names", |tables| {
            let candidate = |name: &DeviceName| {
                let device = tables.device_of_name(product, name).filter(|device| device.id.n() <= upto)?;
                Some(tables.candidate(device, module))
            };
            Ok(names.iter().map(candidate).collect())
        })
    }

    async fn scan_drawn(
        &self,
        job: JobNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Drawn>, StoreError> {
        self.transact("scanning for a draw", |tables| Ok(tables.scan_drawn(job, after, limit)))
    }

    async fn scan(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<(DeviceName, Candidate)>, StoreError> {
        self.transact("scanning devices", |tables| {
            let members = tables.devices_after(product, after).filter(|device| device.id.n() <= upto);
            let row = |device: &Device| (device.name.clone(), tables.candidate(device, module));
            Ok(members.take(limit).map(row).collect())
        })
    }
}

impl Tables {
    pub(super) fn product_of_key(&self, key: &ProductKey) -> Option<&Product> {
        let product = self.products.get(self.product_keys.get(key)?);
        product.filter(|product| !self.gone_products.contains(&product.no))
    }

    fn device_of_name(&self, product: ProductNo, name: &DeviceName) -> Option<&Device> {
        self.devices.get(self.device_names.get(&product)?.get(name)?)
    }

    /// In the order of names.
    pub(super) fn devices_after<'t>(
        &'t self,
        product: ProductNo,
        after: Option<&'t DeviceName>,
    ) -> impl Iterator<Item = &'t Device> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.device_names.get(&product).into_iter();
        names
            .flat_map(move |names| names.range::<DeviceName, _>((from, Bound::Unbounded)))
            .map(|(_, device)| &self.devices[device])
    }

    pub(super) fn candidate(&self, device: &Device, module: &ModuleName) -> Candidate {
        Candidate { device: device.id, version: self.version(device.id, module).cloned() }
    }

    pub(super) fn version(&self, device: DeviceId, module: &ModuleName) -> Option<&InformedVersion> {
        Some(&self.versions.get(&device)?.get(module)?.version.version)
    }

    pub(super) fn register_all(
        &mut self,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Vec<Option<DeviceId>>, StoreError> {
        if self.gone_products.contains(&product.no) || !self.products.contains_key(&product.no) {
            return Err(StoreError::NotFound { what: "product" });
        }
        let ids: Vec<Option<DeviceId>> = devices.iter().map(|new| self.register(product, new, now)).collect();
        self.join_registered(product.no, &ids, now);
        Ok(ids)
    }

    fn register(&mut self, product: &Product, new: &NewDevice, now: Timestamp) -> Option<DeviceId> {
        let names = self.device_names.entry(product.no).or_default();
        if names.contains_key(&new.name) {
            return None;
        }
        self.last_n += 1;
        let id = DeviceId::new(Shard::of(&product.new.key, &new.name), self.last_n);
        let device = Device {
            id,
            product: product.no,
            name: new.name.clone(),
            nickname: new.nickname.clone(),
            sealed_secret: new.sealed_secret.clone(),
            enabled: true,
            created_at: now,
            active_at: None,
            online_at: None,
        };
        names.insert(new.name.clone(), id);
        self.devices.insert(id, device);
        if let Some(product) = self.products.get_mut(&product.no) {
            product.device_count += 1;
        }
        Some(id)
    }

    /// Keeps a version unless a report of the same place or a later one is kept.
    pub(super) fn keep_version(&mut self, report: &VersionReport) {
        let ModuleVersion { device, module, .. } = &report.version;
        if !self.devices.contains_key(device) {
            return;
        }
        let kept = self.versions.get(device).and_then(|modules| modules.get(module));
        if kept.is_none_or(|kept| kept.order < report.order) {
            self.remember_version(*device, Some(module));
            self.versions.entry(*device).or_default().insert(module.clone(), report.clone());
        }
    }
}
