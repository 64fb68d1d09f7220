//! Modules: parts of a product's devices that are updated on their own.

use otaria_core::ids::ModuleName;
use otaria_core::rules::{Code, ModuleDraft, ModuleParams, own_module};
use otaria_core::time::Timestamp;
use otaria_ports::store::{MODULES_MAX, Module, Product, Role, StoreError};

use super::{Caller, Commands};
use crate::error::CommandError;

impl Commands {
    /// CreateOTAModule.
    ///
    /// # Errors
    /// `ModuleNameExisted`, `TooManyModules`, `ProductNotFound`, or the rule that a parameter breaks.
    pub async fn create_module(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &ModuleParams,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let ModuleDraft { name, alias, description } = params.parse()?;
        let product = self.product_of(caller, params.product_key.as_ref()).await?;
        let module = Module {
            product: product.no,
            name,
            alias: alias.unwrap_or_default(),
            description: description.unwrap_or_default(),
            created_at: now,
            modified_at: now,
        };
        self.deps().store.create_module(&module).await.map_err(|error| match error {
            StoreError::Exists { .. } => {
                let message = "the product has a module of this name already; case makes no difference";
                CommandError::not_allowed(Code::ModuleNameExisted, message)
            }
            StoreError::Conflict { .. } => CommandError::not_allowed(
                Code::TooManyModules,
                format!("a product has at most {MODULES_MAX} modules of its own; delete some first"),
            ),
            StoreError::NotFound { .. } => {
                CommandError::not_allowed(Code::ProductNotFound, "the product was deleted")
            }
            other => other.into(),
        })
    }

    /// UpdateOTAModule: what is absent stays as it is.
    ///
    /// # Errors
    /// `ModuleNotFound`, `ProductNotFound`, or the rule that a parameter breaks.
    pub async fn update_module(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &ModuleParams,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let ModuleDraft { name, alias, description } = params.parse()?;
        let product = self.product_of(caller, params.product_key.as_ref()).await?;
        let (alias, description) = (alias.as_deref(), description.as_deref());
        let update = self.deps().store.update_module(product.no, &name, alias, description, now).await;
        update.map_err(unknown)
    }

    /// DeleteOTAModule. Firmware of the module and versions that devices informed stay.
    ///
    /// # Errors
    /// `ModuleNotFound`, `ProductNotFound`, or the rule that a parameter breaks.
    pub async fn delete_module(
        &self,
        caller: &Caller,
        product_key: Option<&String>,
        module_name: Option<&String>,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let name = own_module(module_name)?;
        let product = self.product_of(caller, product_key).await?;
        self.deps().store.delete_module(product.no, &name).await.map_err(unknown)
    }

    /// ListOTAModuleByProduct: `default`, which is always there, and then the product's own by name.
    ///
    /// # Errors
    /// `ProductNotFound`.
    pub async fn modules(
        &self,
        caller: &Caller,
        product_key: Option<&String>,
    ) -> Result<(Product, Vec<Module>), CommandError> {
        let product = self.product_of(caller, product_key).await?;
        let mut modules = vec![Module {
            product: product.no,
            name: ModuleName::default_module(),
            alias: String::new(),
            description: String::new(),
            created_at: product.created_at,
            modified_at: product.created_at,
        }];
        modules.extend(self.deps().store.modules(product.no).await?);
        Ok((product, modules))
    }
}

fn unknown(error: StoreError) -> CommandError {
    match error {
        StoreError::NotFound { .. } => {
            CommandError::not_allowed(Code::ModuleNotFound, "the product has no such module")
        }
        other => other.into(),
    }
}
