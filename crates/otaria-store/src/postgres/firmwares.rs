//! Uploads, and the firmware made of them.

use async_trait::async_trait;
use otaria_core::firmware::FirmwareName;
use otaria_core::ids::{AccountNo, FirmwareId, FirmwareNo, ProductKey, Version};
use otaria_core::rules::FirmwareChange;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Firmware, FirmwareFilter, Firmwares, StoreError, StoredUpload};
use sqlx::{query, query_scalar};

use super::devices::int;
use super::sql::deletion as own;
use super::{Lock, PgTx, PostgresStore, accounts, deletion};
use crate::errors::{failed, taken};
use crate::firmwares::FIRMWARE_MAX;
use crate::rows;
use crate::sql::firmwares as sql;

#[async_trait]
impl Firmwares for PostgresStore {
    async fn put_upload(&self, upload: &StoredUpload) -> Result<(), StoreError> {
        let doing = "keeping an upload";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let new = query(sql::NEW_UPLOAD)
                    .bind(&upload.url)
                    .bind(upload.account.0)
                    .bind(upload.kind.as_str())
                    .bind(&upload.object)
                    .bind(upload.size.cast_signed())
                    .bind(&upload.md5)
                    .bind(&upload.sha256)
                    .bind(upload.lines.cast_signed())
                    .bind(upload.created_at.millis());
                new.execute(tx.conn()).await.map(drop).map_err(taken(doing, "upload"))
            })
        });
        work.await
    }

    async fn upload(&self, account: AccountNo, url: &str) -> Result<Option<StoredUpload>, StoreError> {
        let one = || query(sql::UPLOAD).bind(url).bind(account.0);
        self.row("reading an upload", one).await?.as_ref().map(rows::upload).transpose()
    }

    async fn expire_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<StoredUpload>, StoreError> {
        let doing = "expiring uploads";
        let work = self.long_tx(doing, |tx| {
            Box::pin(async move {
                let old = query(own::EXPIRE_UPLOADS).bind(before.millis()).bind(int(limit));
                let old = old.fetch_all(tx.conn()).await.map_err(failed(doing))?;
                let mut old: Vec<_> = old.iter().map(rows::upload).collect::<Result<_, _>>()?;
                old.sort_by_key(|upload| upload.created_at);
                Ok(old)
            })
        });
        work.await
    }

    async fn create_firmware(&self, firmware: &Firmware, now: Timestamp) -> Result<Firmware, StoreError> {
        let work =
            self.tx("making a firmware", |tx| Box::pin(async move { create(tx, firmware, now).await }));
        work.await
    }

    async fn firmware(&self, account: AccountNo, id: &FirmwareId) -> Result<Option<Firmware>, StoreError> {
        let one = || query(sql::FIRMWARE).bind(id.as_str()).bind(account.0);
        self.row("reading a firmware", one).await?.as_ref().map(rows::firmware).transpose()
    }

    async fn firmware_by_no(&self, no: FirmwareNo) -> Result<Option<Firmware>, StoreError> {
        let row = self.row("reading a firmware", || query(sql::FIRMWARE_BY_NO).bind(no.0)).await?;
        row.as_ref().map(rows::firmware).transpose()
    }

    async fn update_firmware(
        &self,
        account: AccountNo,
        id: &FirmwareId,
        change: &FirmwareChange,
        now: Timestamp,
    ) -> Result<Firmware, StoreError> {
        let doing = "changing a firmware";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let update = query(sql::UPDATE)
                    .bind(id.as_str())
                    .bind(account.0)
                    .bind(change.name.as_ref().map(FirmwareName::as_str))
                    .bind(change.description.as_deref())
                    .bind(change.udi.as_deref())
                    .bind(now.millis());
                update.execute(tx.conn()).await.map_err(taken(doing, "firmware"))?;
                let row = query(sql::FIRMWARE).bind(id.as_str()).bind(account.0);
                let row = row.fetch_optional(tx.conn()).await.map_err(failed(doing))?;
                rows::firmware(&row.ok_or(StoreError::NotFound { what: "firmware" })?)
            })
        });
        work.await
    }

    async fn delete_firmware(&self, account: AccountNo, id: &FirmwareId) -> Result<(), StoreError> {
        let work = self.tx("deleting a firmware", |tx| {
            Box::pin(async move { deletion::firmware(tx, account, id).await })
        });
        work.await
    }

    async fn firmwares(
        &self,
        account: AccountNo,
        filter: &FirmwareFilter,
        after: FirmwareNo,
        limit: usize,
    ) -> Result<(Vec<Firmware>, u64), StoreError> {
        let doing = "listing firmware";
        let product = filter.product.as_ref().map(ProductKey::as_str);
        let version = filter.dest_version.as_ref().map(Version::as_str);
        let page = || {
            let page = query(sql::FIRMWARES).bind(account.0).bind(after.0).bind(product).bind(version);
            page.bind(int(limit))
        };
        let page = self.rows(doing, page).await?;
        let total = || query(sql::COUNT_MATCHING).bind(account.0).bind(product).bind(version);
        let total: i64 = self.value(doing, total).await?;
        Ok((page.iter().map(rows::firmware).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }
}

async fn create(tx: &mut PgTx<'_>, firmware: &Firmware, now: Timestamp) -> Result<Firmware, StoreError> {
    let unavailable = failed("making a firmware");
    tx.share(Lock::Product(firmware.product)).await?;
    // Two at once would count the same firmware of the account.
    accounts::hold(tx, firmware.account).await?;
    let owned = query_scalar(sql::PRODUCT_OF).bind(firmware.product.0).bind(firmware.account.0);
    if !owned.fetch_one(tx.conn()).await.map_err(unavailable)? {
        return Err(StoreError::NotFound { what: "product" });
    }
    let count = query_scalar(sql::COUNT).bind(firmware.account.0).fetch_one(tx.conn()).await;
    let count: i64 = count.map_err(unavailable)?;
    let Firmware { new, .. } = firmware;
    let insert = query_scalar(sql::NEW_FIRMWARE)
        .bind(firmware.id.as_str())
        .bind(firmware.account.0)
        .bind(firmware.product.0)
        .bind(new.name.as_str())
        .bind(new.dest_version.as_str())
        .bind(new.kind.src_version().map(Version::as_str))
        .bind(rows::module_column(&new.module))
        .bind(new.description.as_str())
        .bind(rows::asked_files(&new.files))
        .bind(rows::files(&firmware.files))
        .bind(new.sign_method.as_str())
        .bind(i64::from(new.need_to_verify))
        .bind(new.udi.as_str())
        .bind(firmware.status.code())
        .bind(now.millis());
    let no: i64 = insert.fetch_one(tx.conn()).await.map_err(taken("making a firmware", "firmware"))?;
    if count >= FIRMWARE_MAX {
        return Err(StoreError::Conflict { what: "number of firmware" });
    }
    let urls: Vec<&str> = firmware.files.iter().map(|file| file.url.as_str()).collect();
    query(own::USE_UPLOADS).bind(urls).bind(no).execute(tx.conn()).await.map_err(unavailable)?;
    Ok(Firmware { no: FirmwareNo(no), created_at: now, modified_at: now, ..firmware.clone() })
}
