//! Batches of registrations: names that were checked, and the devices that they became.

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, ApplyNo, DeviceId, DeviceName, ProductNo};
use otaria_core::time::Timestamp;

use super::{NewDevice, Product, StoreError};

/// A name that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyName {
    /// The name.
    pub name: DeviceName,
    /// For people.
    pub nickname: Option<String>,
}

/// A name that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedName {
    /// As it came, at most 64 characters.
    pub name: String,
    /// As it came, at most 64 characters.
    pub nickname: Option<String>,
    /// Why.
    pub reason: String,
}

/// A batch to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApply {
    /// Whose.
    pub account: AccountNo,
    /// Of which product.
    pub product: ProductNo,
    /// At most 10,000, each once.
    pub names: Vec<ApplyName>,
    /// Those that were refused.
    pub refused: Vec<RefusedName>,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Its number.
    pub no: ApplyNo,
    /// What it was made as.
    pub new: NewApply,
    /// In the order of its names: the device, or `None` where the name was taken meanwhile. `None`
    /// altogether while it is not registered.
    pub devices: Option<Vec<Option<DeviceId>>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keeps batches of registrations.
#[async_trait]
pub trait Applies: Send + Sync {
    /// Keeps checked names. `NotFound` when the product is not the account's.
    async fn create_apply(&self, apply: &NewApply, now: Timestamp) -> Result<Apply, StoreError>;

    /// An account's batch.
    async fn apply(&self, account: AccountNo, no: ApplyNo) -> Result<Option<Apply>, StoreError>;

    /// Registers a batch: `devices` are its names in order. All of them in one transaction with what the
    /// batch says of itself, so a repeat registers nobody twice: it answers what the first call did.
    /// `NotFound` when there is no such batch or product.
    async fn register_apply(
        &self,
        apply: ApplyNo,
        product: &Product,
        devices: &[NewDevice],
        now: Timestamp,
    ) -> Result<Apply, StoreError>;

    /// Forgets batches made before `before`, at most `limit`; how many. Their devices stay.
    async fn purge_applies(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError>;
}
