//! Modules of products.

use async_trait::async_trait;
use otaria_core::ids::{ModuleName, ProductNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{MODULES_MAX, Module, Modules, StoreError};
use sqlx::{query, query_scalar};

use super::sql::devices::HOLD_PRODUCT;
use super::{Lock, PgTx, PostgresStore};
use crate::errors::{failed, taken};
use crate::modules::{found, key};
use crate::rows;
use crate::sql::modules as sql;

#[async_trait]
impl Modules for PostgresStore {
    async fn create_module(&self, module: &Module) -> Result<(), StoreError> {
        let work = self.tx("making a module", |tx| Box::pin(async move { create(tx, module).await }));
        work.await
    }

    async fn update_module(
        &self,
        product: ProductNo,
        name: &ModuleName,
        alias: Option<&str>,
        description: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (doing, key) = ("changing a module", &key(name));
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let change = query(sql::UPDATE).bind(product.0).bind(key).bind(alias).bind(description);
                let change = change.bind(now.millis()).execute(tx.conn()).await;
                found(change.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }

    async fn delete_module(&self, product: ProductNo, name: &ModuleName) -> Result<(), StoreError> {
        let (doing, key) = ("deleting a module", &key(name));
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let delete = query(sql::DELETE).bind(product.0).bind(key).execute(tx.conn()).await;
                found(delete.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }

    async fn modules(&self, product: ProductNo) -> Result<Vec<Module>, StoreError> {
        let modules = self.rows("listing modules", || query(sql::MODULES).bind(product.0)).await?;
        modules.iter().map(rows::ota_module).collect()
    }
}

async fn create(tx: &mut PgTx<'_>, module: &Module) -> Result<(), StoreError> {
    let doing = "making a module";
    tx.share(Lock::Product(module.product)).await?;
    let product = query(HOLD_PRODUCT).bind(module.product.0).fetch_optional(tx.conn()).await;
    product.map_err(failed(doing))?.ok_or(StoreError::NotFound { what: "product" })?;
    let count = query_scalar(sql::COUNT).bind(module.product.0).fetch_one(tx.conn()).await;
    let count: i64 = count.map_err(failed(doing))?;
    let new = query(sql::NEW)
        .bind(module.product.0)
        .bind(key(&module.name))
        .bind(module.name.as_str())
        .bind(&module.alias)
        .bind(&module.description)
        .bind(module.created_at.millis())
        .bind(module.modified_at.millis());
    new.execute(tx.conn()).await.map_err(taken(doing, "module"))?;
    // Asked after the name, so that a name that is taken is told as such.
    if usize::try_from(count).is_ok_and(|count| count < MODULES_MAX) {
        return Ok(());
    }
    Err(StoreError::Conflict { what: "the product's number of modules" })
}
