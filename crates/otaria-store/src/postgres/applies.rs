//! Batches of names, and the devices that they became.

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, ApplyNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Applies, Apply, NewApply, NewDevice, Product, StoreError};
use sqlx::{query, query_scalar};

use super::{Lock, PgTx, PostgresStore, register};
use crate::errors::failed;
use crate::rows;
use crate::sql::applies as sql;

/// Rides on the primary key of `apply`. Held, so that a repeat at the same moment waits for the first.
const HOLD: &str = "select no from apply where no = $1 for no key update";

#[async_trait]
impl Applies for PostgresStore {
    async fn create_apply(&self, apply: &NewApply, now: Timestamp) -> Result<Apply, StoreError> {
        let doing = "keeping names";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let product = query_scalar(sql::PRODUCT_OF).bind(apply.product.0).bind(apply.account.0);
                if !product.fetch_one(tx.conn()).await.map_err(failed(doing))? {
                    return Err(StoreError::NotFound { what: "product" });
                }
                let insert = query_scalar(sql::NEW)
                    .bind(apply.account.0)
                    .bind(apply.product.0)
                    .bind(rows::apply_names(&apply.names))
                    .bind(rows::refused_names(&apply.refused))
                    .bind(now.millis());
                let no = insert.fetch_one(tx.conn()).await.map_err(failed(doing))?;
                Ok(Apply { no: ApplyNo(no), new: apply.clone(), devices: None, created_at: now })
            })
        });
        work.await
    }

    async fn apply(&self, account: AccountNo, no: ApplyNo) -> Result<Option<Apply>, StoreError> {
        let row = self.row("reading names", || query(sql::APPLY).bind(no.0).bind(account.0)).await?;
        row.as_ref().map(rows::apply).transpose()
    }

    async fn register_apply(
        &self,
        apply: ApplyNo,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Apply, StoreError> {
        let work = self.long_tx("registering names", |tx| {
            Box::pin(async move { become_devices(tx, apply, product, devices, now).await })
        });
        work.await
    }

    async fn purge_applies(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let doing = "forgetting names";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let work = self.long_tx(doing, |tx| {
            Box::pin(async move {
                let purge = query(sql::PURGE).bind(before.millis()).bind(limit).execute(tx.conn()).await;
                Ok(purge.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }
}

async fn become_devices(
    tx: &mut PgTx<'_>,
    no: ApplyNo,
    product: &Product,
    devices: &[NewDevice],
    now: Timestamp,
) -> Result<Apply, StoreError> {
    let unavailable = failed("registering names");
    tx.share(Lock::Product(product.no)).await?;
    query(HOLD).bind(no.0).execute(tx.conn()).await.map_err(unavailable)?;
    let kept = query(sql::APPLY).bind(no.0).bind(None::<i64>).fetch_optional(tx.conn()).await;
    let kept = kept.map_err(unavailable)?.as_ref().map(rows::apply).transpose()?;
    let kept = kept.filter(|kept| kept.new.product == product.no);
    let kept = kept.ok_or(StoreError::NotFound { what: "batch of names" })?;
    if kept.devices.is_some() {
        return Ok(kept);
    }
    let ids = register::register(tx, product, devices, now).await?;
    let registered = query(sql::REGISTERED).bind(no.0).bind(rows::apply_devices(&ids));
    registered.execute(tx.conn()).await.map_err(unavailable)?;
    Ok(Apply { devices: Some(ids), ..kept })
}
