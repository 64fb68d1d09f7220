//! Accounts and access keys.

use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo};
use otaria_core::time::Timestamp;

use super::StoreError;

/// Owns products, firmware, groups, jobs and quotas. Number 1 exists from the first migration on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number, shown as `account_id`.
    pub no: AccountNo,
    /// Unique, 1–64 characters.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, and works with products, devices, firmware, jobs.
    Operator,
    /// Also manages keys; in account 1 also accounts.
    Admin,
}

impl Role {
    /// The name on every wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "VIEWER",
            Self::Operator => "OPERATOR",
            Self::Admin => "ADMIN",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

/// An access key at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its public half, unique.
    pub id: AccessKeyId,
    /// Whose it is.
    pub account: AccountNo,
    /// What it may do.
    pub role: Role,
    /// Whether it may be used.
    pub active: bool,
    /// The secret, sealed by `core::vault` for the context `access-key/{id}`.
    pub sealed_secret: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A change of a key; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUpdate {
    /// The new role.
    pub role: Option<Role>,
    /// Whether it may be used.
    pub active: Option<bool>,
}

/// Keeps accounts and keys.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Makes an account; `Exists` when the name is taken.
    async fn create_account(&self, name: &str, now: Timestamp) -> Result<Account, StoreError>;

    /// All accounts by number.
    async fn accounts(&self) -> Result<Vec<Account>, StoreError>;

    /// Keeps a key; `Exists` when its id is taken, `NotFound` when there is no such account.
    async fn put_access_key(&self, key: &AccessKey) -> Result<(), StoreError>;

    /// Keeps an active admin's key unless its account has another active admin, in one transaction: of
    /// several processes that begin at the same moment one keeps its key. Returns whether the key is kept,
    /// also when an earlier call kept it. `NotFound` when there is no such account.
    async fn put_first_admin_key(&self, key: &AccessKey) -> Result<bool, StoreError>;

    /// A key by its id.
    async fn access_key(&self, id: &AccessKeyId) -> Result<Option<AccessKey>, StoreError>;

    /// An account's keys by id.
    async fn access_keys(&self, account: AccountNo) -> Result<Vec<AccessKey>, StoreError>;

    /// Changes an account's key and returns it as it is then. `NotFound` when the account has no such
    /// key, `Conflict` when the account would lose its last active admin.
    async fn update_access_key(
        &self,
        account: AccountNo,
        id: &AccessKeyId,
        update: KeyUpdate,
    ) -> Result<AccessKey, StoreError>;

    /// Removes an account's key; the same refusals as [`Accounts::update_access_key`].
    async fn delete_access_key(&self, account: AccountNo, id: &AccessKeyId) -> Result<(), StoreError>;
}
