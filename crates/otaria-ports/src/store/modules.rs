//! Modules that products made themselves. `default` is always there and kept nowhere.

use async_trait::async_trait;
use otaria_core::ids::{ModuleName, ProductNo};
use otaria_core::time::Timestamp;

use super::StoreError;

/// Modules of one product at most.
pub const MODULES_MAX: usize = 10;

/// A module of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The product.
    pub product: ProductNo,
    /// Unique in the product without regard to case.
    pub name: ModuleName,
    /// For people, at most 64 characters.
    pub alias: String,
    /// Free text, at most 100 characters.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changed last.
    pub modified_at: Timestamp,
}

/// Keeps modules.
#[async_trait]
pub trait Modules: Send + Sync {
    /// Keeps a module; `Exists` when its name is taken, `Conflict` when the product has
    /// [`MODULES_MAX`] already, `NotFound` when there is no such product.
    async fn create_module(&self, module: &Module) -> Result<(), StoreError>;

    /// Changes what is said of a module, named without regard to case; `None` leaves it. `NotFound` when
    /// there is no such module.
    async fn update_module(
        &self,
        product: ProductNo,
        name: &ModuleName,
        alias: Option<&str>,
        description: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes a module, named without regard to case; `NotFound` when there is none. Firmware and versions
    /// of it stay.
    async fn delete_module(&self, product: ProductNo, name: &ModuleName) -> Result<(), StoreError>;

    /// A product's modules by name.
    async fn modules(&self, product: ProductNo) -> Result<Vec<Module>, StoreError>;
}
