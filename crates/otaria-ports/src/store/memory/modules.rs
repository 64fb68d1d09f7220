use async_trait::async_trait;
use otaria_core::ids::{ModuleName, ProductNo};
use otaria_core::time::Timestamp;

use super::MemoryStore;
use crate::store::{MODULES_MAX, Module, Modules, StoreError};

const NO_MODULE: StoreError = StoreError::NotFound { what: "module" };

/// How a module is found: case makes no difference.
pub(super) fn key(product: ProductNo, name: &ModuleName) -> (ProductNo, String) {
    (product, name.as_str().to_ascii_lowercase())
}

#[async_trait]
impl Modules for MemoryStore {
    async fn create_module(&self, module: &Module) -> Result<(), StoreError> {
        self.transact("making a module", |tables| {
            if tables.gone_products.contains(&module.product)
                || !tables.products.contains_key(&module.product)
            {
                return Err(StoreError::NotFound { what: "product" });
            }
            let key = key(module.product, &module.name);
            if tables.modules.contains_key(&key) {
                return Err(StoreError::Exists { what: "module" });
            }
            if tables.modules.keys().filter(|(product, _)| *product == module.product).count() >= MODULES_MAX
            {
                return Err(StoreError::Conflict { what: "the product's number of modules" });
            }
            tables.modules.insert(key, module.clone());
            Ok(())
        })
    }

    async fn update_module(
        &self,
        product: ProductNo,
        name: &ModuleName,
        alias: Option<&str>,
        description: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.transact("changing a module", |tables| {
            let module = tables.modules.get_mut(&key(product, name)).ok_or(NO_MODULE)?;
            if let Some(alias) = alias {
                alias.clone_into(&mut module.alias);
            }
            if let Some(description) = description {
                description.clone_into(&mut module.description);
            }
            module.modified_at = now;
            Ok(())
        })
    }

    async fn delete_module(&self, product: ProductNo, name: &ModuleName) -> Result<(), StoreError> {
        self.transact("deleting a module", |tables| {
            tables.modules.remove(&key(product, name)).map(drop).ok_or(NO_MODULE)
        })
    }

    async fn modules(&self, product: ProductNo) -> Result<Vec<Module>, StoreError> {
        self.transact("listing modules", |tables| {
            let of_product = tables.modules.values().filter(|module| module.product == product);
            Ok(of_product.cloned().collect())
        })
    }
}
