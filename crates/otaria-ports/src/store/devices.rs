//! Products, devices and the versions that devices informed.

use async_trait::async_trait;
use otaria_core::ids::{
    AccountNo, DeviceId, DeviceName, InformedVersion, JobNo, ModuleName, ProductKey, ProductNo,
};
use otaria_core::shard::Shard;
use otaria_core::task::ReportOrder;
use otaria_core::time::Timestamp;

use super::StoreError;
use crate::auth::SeenDevice;

/// A product to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProduct {
    /// Whose.
    pub account: AccountNo,
    /// Its public key, unique over all accounts.
    pub key: ProductKey,
    /// Unique in the account, 4–30 characters.
    pub name: String,
    /// Free text, at most 100 characters.
    pub description: String,
    /// 0 device, 1 gateway.
    pub node_type: u8,
    /// The ProductSecret, sealed for the context `product/{key}`.
    pub sealed_secret: Vec<u8>,
}

/// A product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its number.
    pub no: ProductNo,
    /// What it was made as.
    pub new: NewProduct,
    /// Registered devices: a kept count.
    pub device_count: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A device to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// Unique in its product.
    pub name: DeviceName,
    /// Free text, at most 64 characters.
    pub nickname: Option<String>,
    /// The DeviceSecret's 16 bytes, sealed for the context `device/{product key}/{name}`.
    pub sealed_secret: Vec<u8>,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its product.
    pub product: ProductNo,
    /// Its name.
    pub name: DeviceName,
    /// Free text.
    pub nickname: Option<String>,
    /// See [`NewDevice::sealed_secret`].
    pub sealed_secret: Vec<u8>,
    /// Whether it may connect.
    pub enabled: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it connected first.
    pub active_at: Option<Timestamp>,
    /// When it connected last.
    pub online_at: Option<Timestamp>,
}

/// The version of one module of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleVersion {
    /// The device.
    pub device: DeviceId,
    /// The module.
    pub module: ModuleName,
    /// What the device informed last.
    pub version: InformedVersion,
    /// When.
    pub at: Timestamp,
}

/// A version that a device informs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionReport {
    /// What to keep.
    pub version: ModuleVersion,
    /// Where it stands among the device's reports; an older one than is kept changes nothing.
    pub order: ReportOrder,
}

/// A device that a job may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The device.
    pub device: DeviceId,
    /// The version of the module in question, if the device ever informed one.
    pub version: Option<InformedVersion>,
}

/// What the gateway needs of a device that connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRow {
    /// The device.
    pub device: DeviceId,
    /// Whose it is.
    pub account: AccountNo,
    /// Whether it may connect.
    pub enabled: bool,
    /// See [`NewDevice::sealed_secret`].
    pub sealed_secret: Vec<u8>,
}

/// A device as a draw sees it: as it was when the job was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its name.
    pub name: DeviceName,
    /// The device, and what it says of its version now.
    pub candidate: Candidate,
    /// The version that it had informed when the job was made.
    pub version_then: Option<InformedVersion>,
    /// Whether it was deleted meanwhile.
    pub gone: bool,
}

/// Keeps products and devices.
#[async_trait]
pub trait Devices: Send + Sync {
    /// Makes a product; `Exists` when its name is taken in the account, or its key anywhere. `NotFound`
    /// when there is no such account.
    async fn create_product(&self, product: &NewProduct, now: Timestamp) -> Result<Product, StoreError>;

    /// A product by its key, whoever owns it; not one that was deleted.
    async fn product(&self, key: &ProductKey) -> Result<Option<Product>, StoreError>;

    /// A product by its number, also one that was deleted.
    async fn product_by_no(&self, no: ProductNo) -> Result<Option<Product>, StoreError>;

    /// An account's products after `after` by number, at most `limit`; and how many there are in all.
    async fn products(
        &self,
        account: AccountNo,
        after: ProductNo,
        limit: usize,
    ) -> Result<(Vec<Product>, u64), StoreError>;

    /// Deletes a product with its modules and firmware; `NotFound` when it is not there,
    /// `Conflict{what: "devices"}` while it has devices, `Conflict{what: "jobs"}` while one of its jobs is
    /// not finished. Jobs that ended stay, and what they show of it; its name is free, its key is not given
    /// again.
    async fn delete_product(&self, no: ProductNo, now: Timestamp) -> Result<(), StoreError>;

    /// Registers devices of one product in one transaction: `None` for a name that is taken (also twice
    /// in the call). At most 20,000 a call. Ids hold the shard of (product key, name) and a growing `n`.
    /// `NotFound` when there is no such product.
    ///
    /// Whoever matches a dynamic job of [`otaria_core::job::DynamicMode::NowAndLater`] without a version joins it,
    /// as by [`super::Tasks::take_reports`].
    async fn register_devices(
        &self,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Vec<Option<DeviceId>>, StoreError>;

    /// A device by name.
    async fn device(&self, product: ProductNo, name: &DeviceName) -> Result<Option<Device>, StoreError>;

    /// A device by id.
    async fn device_by_id(&self, id: DeviceId) -> Result<Option<Device>, StoreError>;

    /// Devices by id, in the order asked; `None` for unknown ones. At most 10,000.
    async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>, StoreError>;

    /// Lets a device connect, or not; `NotFound` when it is not there. Closes no connection.
    async fn enable_device(&self, id: DeviceId, enabled: bool) -> Result<(), StoreError>;

    /// Deletes a device, with its versions and its places in groups; `NotFound` when it is not there. Its
    /// open tasks are cancelled and published in the same transaction; its tasks stay with their jobs, and
    /// show its name. The name may be registered again: that is another device.
    async fn delete_device(&self, id: DeviceId, now: Timestamp) -> Result<(), StoreError>;

    /// A product's devices after a name, in the order of names, at most `limit`.
    async fn devices(
        &self,
        product: ProductNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError>;

    /// The versions of all modules of devices, sorted by device and module, each once.
    async fn module_versions(&self, devices: &[DeviceId]) -> Result<Vec<ModuleVersion>, StoreError>;

    /// What the gateway needs of devices, in the order asked; `None` for unknown ones. At most 1,000.
    async fn auth(&self, who: &[(ProductKey, DeviceName)]) -> Result<Vec<Option<AuthRow>>, StoreError>;

    /// Notes when devices connected: the earliest and the latest are kept, in whatever order they come;
    /// unknown devices are passed over. At most [`super::BATCH_MAX`].
    async fn connected(&self, devices: &[(DeviceId, Timestamp)]) -> Result<(), StoreError>;

    /// The devices of a shard that may connect and did so at `since` or later, by id: for who takes over from
    /// another and finds nobody told. Looks at the whole shard. Does not hold up writers.
    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, StoreError>;

    /// Resolves names of a product for a job, in the order asked: `None` for names that are unknown or
    /// were registered after `upto` (a device's `n`). At most 20,000. Does not hold up writers.
    async fn resolve(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        names: &[DeviceName],
    ) -> Result<Vec<Option<Candidate>>, StoreError>;

    /// Those who were devices of a job's product when it was made, also those deleted since then, whose names
    /// come after `after`, in the order of names, at most `limit`, with the versions that they had then. For
    /// jobs of [`super::SourceKind::Part`] whose expansion is not complete. Does not hold up writers.
    async fn scan_drawn(
        &self,
        job: JobNo,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<Drawn>, StoreError>;

    /// The devices of a product up to `upto` whose names come after `after`, in the order of names, at
    /// most `limit`. Does not hold up writers.
    async fn scan(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Result<Vec<(DeviceName, Candidate)>, StoreError>;
}
