use async_trait::async_trait;
use otaria_core::firmware::FirmwareStatus;
use otaria_core::ids::{AccountNo, FirmwareId, FirmwareNo};
use otaria_core::job::Target;
use otaria_core::rules::FirmwareChange;
use otaria_core::time::Timestamp;

use super::MemoryStore;
use super::tables::Tables;
use crate::store::{Firmware, FirmwareFilter, Firmwares, StoreError, StoredUpload};

/// Firmwares of one account.
const FIRMWARES_MAX: usize = 500;

#[async_trait]
impl Firmwares for MemoryStore {
    async fn put_upload(&self, upload: &StoredUpload) -> Result<(), StoreError> {
        self.transact("keeping an upload", |tables| {
            if tables.uploads.contains_key(&upload.url) {
                return Err(StoreError::Exists { what: "upload" });
            }
            tables.uploads.insert(upload.url.clone(), upload.clone());
            Ok(())
        })
    }

    async fn upload(&self, account: AccountNo, url: &str) -> Result<Option<StoredUpload>, StoreError> {
        self.transact("reading an upload", |tables| {
            Ok(tables.uploads.get(url).filter(|upload| upload.account == account).cloned())
        })
    }

    async fn expire_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<StoredUpload>, StoreError> {
        self.transact("forgetting uploads", |tables| {
            let is_expired = |upload: &&StoredUpload| upload.created_at < before && !tables.uses(&upload.url);
            let mut expired: Vec<StoredUpload> =
                tables.uploads.values().filter(is_expired).cloned().collect();
            expired.sort_by(|a, b| (a.created_at, &a.url).cmp(&(b.created_at, &b.url)));
            expired.truncate(limit);
            for upload in &expired {
                tables.uploads.remove(&upload.url);
            }
            Ok(expired)
        })
    }

    async fn create_firmware(&self, firmware: &Firmware, now: Timestamp) -> Result<Firmware, StoreError> {
        self.transact("making a firmware", |tables| {
            let product = tables.products.get(&firmware.product);
            let product = product.filter(|product| !tables.gone_products.contains(&product.no));
            if product.is_none_or(|product| product.new.account != firmware.account) {
                return Err(StoreError::NotFound { what: "product" });
            }
            let mine = || tables.alive_firmwares().filter(|other| other.account == firmware.account);
            if mine().any(|other| other.new.name == firmware.new.name)
                || tables.firmwares.values().any(|other| other.id == firmware.id)
            {
                return Err(StoreError::Exists { what: "firmware" });
            }
            if mine().count() >= FIRMWARES_MAX {
                return Err(StoreError::Conflict { what: "the account's number of firmwares" });
            }
            let no = FirmwareNo(tables.firmwares.last_key_value().map_or(0, |(no, _)| no.0) + 1);
            let made = Firmware { no, created_at: now, modified_at: now, ..firmware.clone() };
            tables.firmwares.insert(no, made.clone());
            Ok(made)
        })
    }

    async fn firmware(&self, account: AccountNo, id: &FirmwareId) -> Result<Option<Firmware>, StoreError> {
        self.transact("reading a firmware", |tables| Ok(tables.firmware_of(account, id).cloned()))
    }

    async fn firmware_by_no(&self, no: FirmwareNo) -> Result<Option<Firmware>, StoreError> {
        self.transact("reading a firmware", |tables| Ok(tables.firmwares.get(&no).cloned()))
    }

    async fn update_firmware(
        &self,
        account: AccountNo,
        id: &FirmwareId,
        change: &FirmwareChange,
        now: Timestamp,
    ) -> Result<Firmware, StoreError> {
        self.transact("changing a firmware", |tables| tables.update_firmware(account, id, change, now))
    }

    async fn delete_firmware(&self, account: AccountNo, id: &FirmwareId) -> Result<(), StoreError> {
        self.transact("deleting a firmware", |tables| tables.delete_firmware(account, id))
    }

    async fn firmwares(
        &self,
        account: AccountNo,
        filter: &FirmwareFilter,
        after: FirmwareNo,
        limit: usize,
    ) -> Result<(Vec<Firmware>, u64), StoreError> {
        self.transact("reading firmwares", |tables| {
            let is_meant = |firmware: &&Firmware| {
                firmware.account == account
                    && filter.product.as_ref().is_none_or(|product| *product == firmware.product_key)
                    && filter
                        .dest_version
                        .as_ref()
                        .is_none_or(|version| *version == firmware.new.dest_version)
            };
            let meant = || tables.alive_firmwares().filter(is_meant);
            let page = meant().filter(|firmware| firmware.no > after).take(limit).cloned().collect();
            Ok((page, meant().count() as u64))
        })
    }
}

impl Tables {
    pub(super) fn firmware_of(&self, account: AccountNo, id: &FirmwareId) -> Option<&Firmware> {
        self.alive_firmwares().find(|firmware| firmware.account == account && firmware.id == *id)
    }

    fn alive_firmwares(&self) -> impl Iterator<Item = &Firmware> {
        self.firmwares.values().filter(|firmware| !self.gone_firmwares.contains(&firmware.no))
    }

    fn update_firmware(
        &mut self,
        account: AccountNo,
        id: &FirmwareId,
        change: &FirmwareChange,
        now: Timestamp,
    ) -> Result<Firmware, StoreError> {
        let no = self.firmware_of(account, id).ok_or(StoreError::NotFound { what: "firmware" })?.no;
        let takes = |other: &Firmware| {
            other.account == account && other.no != no && Some(&other.new.name) == change.name.as_ref()
        };
        if self.alive_firmwares().any(takes) {
            return Err(StoreError::Exists { what: "firmware" });
        }
        let firmware = self.firmwares.get_mut(&no).ok_or(StoreError::NotFound { what: "firmware" })?;
        let FirmwareChange { name, description, udi } = change.clone();
        let new = &mut firmware.new;
        new.name = name.unwrap_or_else(|| new.name.clone());
        new.description = description.unwrap_or_else(|| new.description.clone());
        new.udi = udi.unwrap_or_else(|| new.udi.clone());
        firmware.modified_at = now;
        Ok(firmware.clone())
    }

    fn delete_firmware(&mut self, account: AccountNo, id: &FirmwareId) -> Result<(), StoreError> {
        let no = self.firmware_of(account, id).ok_or(StoreError::NotFound { what: "firmware" })?.no;
        if self.jobs.values().any(|row| row.job.firmware == no && row.is_unfinished()) {
            return Err(StoreError::Conflict { what: "jobs" });
        }
        self.gone_firmwares.insert(no);
        Ok(())
    }

    /// Refuses when a firmware is not in the status that a change expects.
    pub(super) fn expect_firmware(&self, no: FirmwareNo, status: FirmwareStatus) -> Result<(), StoreError> {
        let is_as_expected = self.firmwares.get(&no).is_some_and(|firmware| firmware.status == status);
        if is_as_expected { Ok(()) } else { Err(StoreError::Conflict { what: "firmware" }) }
    }

    pub(super) fn set_firmware(&mut self, no: FirmwareNo, status: FirmwareStatus, now: Timestamp) {
        if let Some(firmware) = self.firmwares.get_mut(&no).filter(|firmware| firmware.status != status) {
            firmware.status = status;
            firmware.modified_at = now;
        }
    }

    /// Whether a firmware or an unfinished job still needs an upload.
    fn uses(&self, url: &str) -> bool {
        let in_firmware = |firmware: &Firmware| firmware.files.iter().any(|file| file.url == url);
        self.alive_firmwares().any(in_firmware)
            || self
                .jobs
                .values()
                .filter(|row| row.is_unfinished())
                .any(|row| matches!(&row.job.new.target, Target::ListFile { file_url } if file_url == url))
    }
}
