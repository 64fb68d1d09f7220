//! Uploads, and the firmware made of them.

use async_trait::async_trait;
use otaria_core::firmware::{FirmwareStatus, NewFirmware};
use otaria_core::ids::{AccountNo, FirmwareId, FirmwareNo, ProductKey, ProductNo, Version};
use otaria_core::rules::FirmwareChange;
use otaria_core::time::Timestamp;

use super::StoreError;

/// What an upload is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UploadKind {
    /// A package.
    Package,
    /// A device name list.
    NameList,
}

impl UploadKind {
    /// The name in the store and in object keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::NameList => "list",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Package, Self::NameList].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A finished upload. Its URL (`FirmwareUrl`, `FileUrl`) is how callers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUpload {
    /// Unique; only this server issues it.
    pub url: String,
    /// Whose it is.
    pub account: AccountNo,
    /// What for.
    pub kind: UploadKind,
    /// Where its bytes lie in `Objects`.
    pub object: String,
    /// Bytes.
    pub size: u64,
    /// Hex MD5.
    pub md5: String,
    /// Hex SHA-256.
    pub sha256: String,
    /// Lines that are not blank; 0 for packages.
    pub lines: u64,
    /// When it was finished.
    pub created_at: Timestamp,
}

/// One file of a firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// Its name, when the package has several.
    pub name: String,
    /// The URL it was uploaded as.
    pub url: String,
    /// Where its bytes lie in `Objects`.
    pub object: String,
    /// Bytes.
    pub size: u64,
    /// Hex MD5.
    pub md5: String,
    /// Hex SHA-256.
    pub sha256: String,
}

/// A firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Its number.
    pub no: FirmwareNo,
    /// Its public id.
    pub id: FirmwareId,
    /// Whose it is.
    pub account: AccountNo,
    /// Of which product.
    pub product: ProductNo,
    /// That product's key.
    pub product_key: ProductKey,
    /// What it was made as.
    pub new: NewFirmware,
    /// Its files in order; at least one.
    pub files: Vec<PackageFile>,
    /// Where its verification stands.
    pub status: FirmwareStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub modified_at: Timestamp,
}

/// Which firmware to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirmwareFilter {
    /// Of this product.
    pub product: Option<ProductKey>,
    /// Of exactly this destination version.
    pub dest_version: Option<Version>,
}

/// Keeps uploads and firmware.
#[async_trait]
pub trait Firmwares: Send + Sync {
    /// Keeps a finished upload; `Exists` when its URL is taken.
    async fn put_upload(&self, upload: &StoredUpload) -> Result<(), StoreError>;

    /// An account's upload by URL.
    async fn upload(&self, account: AccountNo, url: &str) -> Result<Option<StoredUpload>, StoreError>;

    /// Forgets uploads older than `before` that no firmware and no job of [`super::Jobs::unfinished_jobs`]
    /// uses, oldest first, at most `limit`, and returns them so that their objects can be deleted.
    async fn expire_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<StoredUpload>, StoreError>;

    /// Makes a firmware (`no` and times of the argument are ignored). `Exists` when its name is taken in
    /// the account, `NotFound` when the product is not the account's; `Conflict` when the account has 500
    /// already.
    async fn create_firmware(&self, firmware: &Firmware, now: Timestamp) -> Result<Firmware, StoreError>;

    /// An account's firmware.
    async fn firmware(&self, account: AccountNo, id: &FirmwareId) -> Result<Option<Firmware>, StoreError>;

    /// A firmware by number, also one that was deleted while a job of it is kept.
    async fn firmware_by_no(&self, no: FirmwareNo) -> Result<Option<Firmware>, StoreError>;

    /// Changes a firmware's words and returns it as it is then. `NotFound` when the account has no such
    /// firmware, `Exists` when the name is taken.
    async fn update_firmware(
        &self,
        account: AccountNo,
        id: &FirmwareId,
        change: &FirmwareChange,
        now: Timestamp,
    ) -> Result<Firmware, StoreError>;

    /// Deletes a firmware; `NotFound` when the account has none of this id, `Conflict{what: "jobs"}` while a
    /// job of it is not finished. Jobs that ended stay: they find it by number as long as they are there.
    async fn delete_firmware(&self, account: AccountNo, id: &FirmwareId) -> Result<(), StoreError>;

    /// An account's firmware after `after` by number, at most `limit`; and how many match in all.
    async fn firmwares(
        &self,
        account: AccountNo,
        filter: &FirmwareFilter,
        after: FirmwareNo,
        limit: usize,
    ) -> Result<(Vec<Firmware>, u64), StoreError>;
}
