//! What goes through untold: accounts, firmware, groups, modules, nonces; of devices, only what moves tasks is told.

use async_trait::async_trait;
use otaria_core::ids::{
    AccessKeyId, AccountNo, ApplyNo, DeviceId, DeviceName, FirmwareId, FirmwareNo, GroupId, GroupNo, JobNo,
    ModuleName, ProductKey, ProductNo,
};
use otaria_core::rules::FirmwareChange;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::auth::SeenDevice;
use otaria_ports::nonces::Nonces;
use otaria_ports::store::{
    AccessKey, Account, Accounts, AddedToGroup, Applies, Apply, AuthRow, Candidate, Device, Devices, Drawn,
    Firmware, FirmwareFilter, Firmwares, Group, GroupFilter, Groups, KeyUpdate, Module, ModuleVersion,
    Modules, NewApply, NewDevice, NewGroup, NewProduct, Product, StoreError, StoredUpload,
};

use super::{RecordedStore, forward};

forward! { Accounts {}
    fn create_account(&self, name: &str, now: Timestamp) -> Account;
    fn accounts(&self) -> Vec<Account>;
    fn put_access_key(&self, key: &AccessKey) -> ();
    fn put_first_admin_key(&self, key: &AccessKey) -> bool;
    fn access_key(&self, id: &AccessKeyId) -> Option<AccessKey>;
    fn access_keys(&self, account: AccountNo) -> Vec<AccessKey>;
    fn update_access_key(&self, account: AccountNo, id: &AccessKeyId, update: KeyUpdate) -> AccessKey;
    fn delete_access_key(&self, account: AccountNo, id: &AccessKeyId) -> ();
}

forward! { Applies {
    // Who is registered may join a dynamic job.
    async fn register_apply(
        &self,
        apply: ApplyNo,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Apply, StoreError> {
        let from = self.history.now();
        let done = self.inner.register_apply(apply, product, devices, now).await;
        self.known(done, from, "register_apply", [])
    }
}
    fn create_apply(&self, apply: &NewApply, now: Timestamp) -> Apply;
    fn apply(&self, account: AccountNo, no: ApplyNo) -> Option<Apply>;
    fn purge_applies(&self, before: Timestamp, limit: usize) -> u64;
}

forward! { Groups {}
    fn create_group(&self, group: &NewGroup, now: Timestamp) -> Group;
    fn group(&self, account: AccountNo, id: &GroupId) -> Option<Group>;
    fn describe_group(&self, group: GroupNo, description: &str) -> ();
    fn delete_group(&self, group: GroupNo) -> ();
    fn groups(
        &self,
        account: AccountNo,
        filter: &GroupFilter,
        before: Option<GroupNo>,
        skip: usize,
        limit: usize,
    ) -> (Vec<Group>, u64);
    fn add_to_group(&self, group: GroupNo, devices: &[DeviceId]) -> AddedToGroup;
    fn take_from_group(&self, group: GroupNo, devices: &[DeviceId]) -> u64;
    fn devices_of_group(
        &self,
        group: GroupNo,
        after: Option<DeviceId>,
        skip: usize,
        limit: usize,
    ) -> Vec<Device>;
    fn active_in_group(&self, group: GroupNo) -> u64;
    fn groups_of_device(&self, device: DeviceId) -> Vec<Group>;
    fn scan_group(
        &self,
        group: GroupNo,
        upto: i64,
        product: ProductNo,
        module: &ModuleName,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Vec<(DeviceName, Candidate)>;
    fn purge_gone(&self, before: Timestamp, limit: usize) -> u64;
}

forward! { Firmwares {}
    fn put_upload(&self, upload: &StoredUpload) -> ();
    fn upload(&self, account: AccountNo, url: &str) -> Option<StoredUpload>;
    fn expire_uploads(&self, before: Timestamp, limit: usize) -> Vec<StoredUpload>;
    fn create_firmware(&self, firmware: &Firmware, now: Timestamp) -> Firmware;
    fn firmware(&self, account: AccountNo, id: &FirmwareId) -> Option<Firmware>;
    fn firmware_by_no(&self, no: FirmwareNo) -> Option<Firmware>;
    fn update_firmware(
        &self,
        account: AccountNo,
        id: &FirmwareId,
        change: &FirmwareChange,
        now: Timestamp,
    ) -> Firmware;
    fn delete_firmware(&self, account: AccountNo, id: &FirmwareId) -> ();
    fn firmwares(
        &self,
        account: AccountNo,
        filter: &FirmwareFilter,
        after: FirmwareNo,
        limit: usize,
    ) -> (Vec<Firmware>, u64);
}

forward! { Modules {}
    fn create_module(&self, module: &Module) -> ();
    fn update_module(
        &self,
        product: ProductNo,
        name: &ModuleName,
        alias: Option<&str>,
        description: Option<&str>,
        now: Timestamp,
    ) -> ();
    fn delete_module(&self, product: ProductNo, name: &ModuleName) -> ();
    fn modules(&self, product: ProductNo) -> Vec<Module>;
}

forward! { Devices {
    // Who is registered may join a dynamic job.
    async fn register_devices(
        &self,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Vec<Option<DeviceId>>, StoreError> {
        let from = self.history.now();
        let done = self.inner.register_devices(product, devices, now).await;
        self.known(done, from, "register_devices", [])
    }

    async fn delete_device(&self, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let from = self.history.now();
        let done = self.inner.delete_device(id, now).await;
        self.known(done, from, "delete_device", [])
    }
}
    fn create_product(&self, product: &NewProduct, now: Timestamp) -> Product;
    fn product(&self, key: &ProductKey) -> Option<Product>;
    fn product_by_no(&self, no: ProductNo) -> Option<Product>;
    fn products(&self, account: AccountNo, after: ProductNo, limit: usize) -> (Vec<Product>, u64);
    fn delete_product(&self, no: ProductNo, now: Timestamp) -> ();
    fn device(&self, product: ProductNo, name: &DeviceName) -> Option<Device>;
    fn device_by_id(&self, id: DeviceId) -> Option<Device>;
    fn devices_by_id(&self, ids: &[DeviceId]) -> Vec<Option<Device>>;
    fn enable_device(&self, id: DeviceId, enabled: bool) -> ();
    fn devices(&self, product: ProductNo, after: Option<&DeviceName>, limit: usize) -> Vec<Device>;
    fn module_versions(&self, devices: &[DeviceId]) -> Vec<ModuleVersion>;
    fn auth(&self, who: &[(ProductKey, DeviceName)]) -> Vec<Option<AuthRow>>;
    fn connected(&self, devices: &[(DeviceId, Timestamp)]) -> ();
    fn seen_since(&self, shard: Shard, since: Timestamp) -> Vec<SeenDevice>;
    fn resolve(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        names: &[DeviceName],
    ) -> Vec<Option<Candidate>>;
    fn scan_drawn(&self, job: JobNo, after: Option<&DeviceName>, limit: usize) -> Vec<Drawn>;
    fn scan(
        &self,
        product: ProductNo,
        upto: i64,
        module: &ModuleName,
        after: Option<&DeviceName>,
        limit: usize,
    ) -> Vec<(DeviceName, Candidate)>;
}

#[async_trait]
impl Nonces for RecordedStore {
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<bool, Unavailable> {
        self.inner.use_once(key, nonce, now, keep_until).await
    }

    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        self.inner.forget_nonces(now, limit).await
    }
}
