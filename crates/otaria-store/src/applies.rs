//! Batches of names, and the devices that they became.

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, ApplyNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Applies, Apply, NewApply, NewDevice, Product, StoreError};
use sqlx::{query, query_scalar};

use crate::sql::applies as sql;
use crate::sqlite::errors::failed;
use crate::sqlite::{Lane, SqliteStore, Tx};
use crate::{devices, rows};

#[async_trait]
impl Applies for SqliteStore {
    async fn create_apply(&self, apply: &NewApply, now: Timestamp) -> Result<Apply, StoreError> {
        let (doing, new) = ("keeping names", apply.clone());
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let product = query_scalar(sql::PRODUCT_OF).bind(new.product.0).bind(new.account.0);
                if !product.fetch_one(&mut tx.conn).await.map_err(failed(doing))? {
                    return Err(StoreError::NotFound { what: "product" });
                }
                let insert = query_scalar(sql::NEW)
                    .bind(new.account.0)
                    .bind(new.product.0)
                    .bind(rows::apply_names(&new.names))
                    .bind(rows::refused_names(&new.refused))
                    .bind(now.millis());
                let no = insert.fetch_one(&mut tx.conn).await.map_err(failed(doing))?;
                Ok(Apply { no: ApplyNo(no), new, devices: None, created_at: now })
            })
        });
        work.await
    }

    async fn apply(&self, account: AccountNo, no: ApplyNo) -> Result<Option<Apply>, StoreError> {
        let one = query(sql::APPLY).bind(no.0).bind(account.0);
        self.row("reading names", one).await?.as_ref().map(rows::apply).transpose()
    }

    async fn register_apply(
        &self,
        apply: ApplyNo,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Apply, StoreError> {
        let (product, devices) = (product.clone(), devices.to_vec());
        // A long piece of work: it waits for those that somebody else waits for.
        let work = self.writer.run(Lane::Expansion, devices.len(), "registering names", move |tx| {
            Box::pin(async move { register(tx, apply, &product, &devices, now).await })
        });
        work.await
    }

    async fn purge_applies(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let doing = "forgetting names";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let work = self.writer.run(Lane::Expansion, 100, doing, move |tx| {
            Box::pin(async move {
                let purge = query(sql::PURGE).bind(before.millis()).bind(limit).execute(&mut tx.conn).await;
                Ok(purge.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }
}

async fn register(
    tx: &mut Tx,
    no: ApplyNo,
    product: &Product,
    devices: &[NewDevice],
    now: Timestamp,
) -> Result<Apply, StoreError> {
    let doing = "registering names";
    let kept = query(sql::APPLY).bind(no.0).bind(None::<i64>).fetch_optional(&mut tx.conn).await;
    let kept = kept.map_err(failed(doing))?.as_ref().map(rows::apply).transpose()?;
    let kept = kept.filter(|kept| kept.new.product == product.no);
    let kept = kept.ok_or(StoreError::NotFound { what: "batch of names" })?;
    if kept.devices.is_some() {
        return Ok(kept);
    }
    let ids = devices::register(tx, product.no, &product.new.key, devices, now).await?;
    let registered = query(sql::REGISTERED).bind(no.0).bind(rows::apply_devices(&ids));
    registered.execute(&mut tx.conn).await.map_err(failed(doing))?;
    Ok(Apply { devices: Some(ids), ..kept })
}
