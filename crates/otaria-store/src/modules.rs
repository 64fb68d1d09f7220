//! Modules of products.

use async_trait::async_trait;
use otaria_core::ids::{ModuleName, ProductNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{MODULES_MAX, Module, Modules, StoreError};
use sqlx::{query, query_scalar};

use crate::rows;
use crate::sql::modules as sql;
use crate::sqlite::errors::{failed, taken};
use crate::sqlite::{Lane, SqliteStore};

/// How a module is found: case makes no difference.
pub(crate) fn key(name: &ModuleName) -> String {
    name.as_str().to_ascii_lowercase()
}

pub(crate) fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotFound { what: "module" }) } else { Ok(()) }
}

#[async_trait]
impl Modules for SqliteStore {
    async fn create_module(&self, module: &Module) -> Result<(), StoreError> {
        let (doing, module) = ("making a module", module.clone());
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let product = query_scalar(sql::PRODUCT_IS_THERE).bind(module.product.0);
                if !product.fetch_one(&mut tx.conn).await.map_err(failed(doing))? {
                    return Err(StoreError::NotFound { what: "product" });
                }
                let count = query_scalar(sql::COUNT).bind(module.product.0).fetch_one(&mut tx.conn).await;
                let count: i64 = count.map_err(failed(doing))?;
                let new = query(sql::NEW)
                    .bind(module.product.0)
                    .bind(key(&module.name))
                    .bind(module.name.as_str())
                    .bind(module.alias)
                    .bind(module.description)
                    .bind(module.created_at.millis())
                    .bind(module.modified_at.millis());
                new.execute(&mut tx.conn).await.map_err(taken(doing, "module"))?;
                // Asked after the name, so that a name that is taken is told as such.
                if usize::try_from(count).is_ok_and(|count| count < MODULES_MAX) {
                    return Ok(());
                }
                Err(StoreError::Conflict { what: "the product's number of modules" })
            })
        });
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
        let (doing, key) = ("changing a module", key(name));
        let (alias, description) = (alias.map(str::to_owned), description.map(str::to_owned));
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let change = query(sql::UPDATE).bind(product.0).bind(key).bind(alias).bind(description);
                let change = change.bind(now.millis()).execute(&mut tx.conn).await;
                found(change.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }

    async fn delete_module(&self, product: ProductNo, name: &ModuleName) -> Result<(), StoreError> {
        let (doing, key) = ("deleting a module", key(name));
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let delete = query(sql::DELETE).bind(product.0).bind(key).execute(&mut tx.conn).await;
                found(delete.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }

    async fn modules(&self, product: ProductNo) -> Result<Vec<Module>, StoreError> {
        let modules = query(sql::MODULES).bind(product.0);
        self.rows("listing modules", modules).await?.iter().map(rows::ota_module).collect()
    }
}
