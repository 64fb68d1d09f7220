//! Products: kinds of devices, each with its key.

use otaria_core::ids::{ProductKey, ProductNo};
use otaria_core::rules::{Code, ProductParams, product_key};
use otaria_core::time::Timestamp;
use otaria_ports::store::{NewProduct, Product, Role, StoreError};

use super::secrets::product_context;
use super::{Caller, Commands, Listed};
use crate::error::CommandError;

/// Letters and digits of a product key: a prefix, and 53 bits.
const KEY_PREFIX: &str = "a1";
const KEY_CHARS: usize = 9;
const SECRET_CHARS: usize = 32;

/// A product, with its secret for those who may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductView {
    /// The product.
    pub product: Product,
    /// Its ProductSecret; `None` for viewers.
    pub secret: Option<String>,
}

impl Commands {
    /// Makes a product.
    ///
    /// # Errors
    /// `ProductNameExisted`, or the rule that a parameter breaks.
    pub async fn create_product(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &ProductParams,
    ) -> Result<ProductView, CommandError> {
        caller.needs(Role::Operator)?;
        let draft = params.parse()?;
        let text = format!("{KEY_PREFIX}{}", self.deps().ids.text(KEY_CHARS));
        let key = ProductKey::parse(&text).map_err(|bad| CommandError::Internal(Box::new(bad)))?;
        let secret = self.deps().ids.text(SECRET_CHARS);
        let new = NewProduct {
            account: caller.account,
            sealed_secret: self.seal(&product_context(&key), secret.as_bytes()),
            key,
            name: draft.name,
            description: draft.description,
            node_type: draft.node_type,
        };
        let product = self.deps().store.create_product(&new, now).await.map_err(|error| match error {
            StoreError::Exists { .. } => {
                CommandError::not_allowed(Code::ProductNameExisted, "a product of this name exists already")
            }
            other => other.into(),
        })?;
        Ok(ProductView { product, secret: Some(secret) })
    }

    /// One product.
    ///
    /// # Errors
    /// `ProductNotFound`.
    pub async fn query_product(&self, caller: &Caller, key: &str) -> Result<ProductView, CommandError> {
        let product = self.product_of(caller, Some(&key.to_owned())).await?;
        let secret = match caller.role {
            Role::Viewer => None,
            Role::Operator | Role::Admin => Some(self.open_product_secret(&product)?),
        };
        Ok(ProductView { product, secret })
    }

    /// Products in the order in which they were made: after `after`, then `skip` more, at most `limit`.
    ///
    /// # Errors
    /// Only when the store has a bad day.
    pub async fn list_products(
        &self,
        caller: &Caller,
        after: Option<ProductNo>,
        mut skip: usize,
        limit: usize,
    ) -> Result<Listed<Product, ProductNo>, CommandError> {
        let store = &self.deps().store;
        let mut after = after.unwrap_or(ProductNo(0));
        while skip > 0 {
            let (passed, total) = store.products(caller.account, after, skip.min(1_000)).await?;
            let Some(last) = passed.last() else {
                return Ok(Listed { rows: Vec::new(), total, next: None });
            };
            (after, skip) = (last.no, skip - passed.len());
        }
        let (rows, total) = store.products(caller.account, after, limit + 1).await?;
        Ok(Listed::cut(rows, total, limit, |last| last.no))
    }

    /// DeleteProduct: with its modules and firmware. Jobs of it that ended stay.
    ///
    /// # Errors
    /// `ProductNotFound`; `ProductInUse` while it has devices or a job of it is not finished.
    pub async fn delete_product(
        &self,
        caller: &Caller,
        now: Timestamp,
        key: Option<&String>,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let product = self.product_of(caller, key).await?;
        self.deps().store.delete_product(product.no, now).await.map_err(|error| match error {
            StoreError::Conflict { what: "devices" } => {
                CommandError::not_allowed(Code::ProductInUse, "the product has devices; delete them first")
            }
            StoreError::Conflict { .. } => CommandError::not_allowed(
                Code::ProductInUse,
                "a job of the product is not finished; cancel it first",
            ),
            StoreError::NotFound { .. } => {
                CommandError::not_allowed(Code::ProductNotFound, "the product was deleted")
            }
            other => other.into(),
        })
    }

    /// The caller's product of this key.
    pub(super) async fn product_of(
        &self,
        caller: &Caller,
        key: Option<&String>,
    ) -> Result<Product, CommandError> {
        self.own_product(caller, &product_key(key)?).await
    }
}
