use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo};
use otaria_core::time::Timestamp;

use super::MemoryStore;
use super::tables::Tables;
use crate::store::{AccessKey, Account, Accounts, KeyUpdate, Role, StoreError};

#[async_trait]
impl Accounts for MemoryStore {
    async fn create_account(&self, name: &str, now: Timestamp) -> Result<Account, StoreError> {
        self.transact("making an account", |tables| {
            if tables.accounts.values().any(|account| account.name == name) {
                return Err(StoreError::Exists { what: "account" });
            }
            // Account 1 is always there, and none is ever removed.
            let no = AccountNo(tables.accounts.last_key_value().map_or(0, |(no, _)| no.0) + 1);
            let account = Account { no, name: name.to_owned(), created_at: now };
            tables.accounts.insert(no, account.clone());
            Ok(account)
        })
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.transact("reading accounts", |tables| Ok(tables.accounts.values().cloned().collect()))
    }

    async fn put_access_key(&self, key: &AccessKey) -> Result<(), StoreError> {
        self.transact("keeping an access key", |tables| {
            if !tables.accounts.contains_key(&key.account) {
                return Err(StoreError::NotFound { what: "account" });
            }
            if tables.access_keys.contains_key(&key.id) {
                return Err(StoreError::Exists { what: "access key" });
            }
            tables.access_keys.insert(key.id.clone(), key.clone());
            Ok(())
        })
    }

    async fn put_first_admin_key(&self, key: &AccessKey) -> Result<bool, StoreError> {
        self.transact("keeping the first admin key", |tables| {
            if !tables.accounts.contains_key(&key.account) {
                return Err(StoreError::NotFound { what: "account" });
            }
            if tables.access_keys.get(&key.id) == Some(key) {
                return Ok(true);
            }
            let mut own = tables.access_keys.values().filter(|known| known.account == key.account);
            if own.any(is_active_admin) {
                return Ok(false);
            }
            if tables.access_keys.contains_key(&key.id) {
                return Err(StoreError::Exists { what: "access key" });
            }
            tables.access_keys.insert(key.id.clone(), key.clone());
            Ok(true)
        })
    }

    async fn access_key(&self, id: &AccessKeyId) -> Result<Option<AccessKey>, StoreError> {
        self.transact("reading an access key", |tables| Ok(tables.access_keys.get(id).cloned()))
    }

    async fn access_keys(&self, account: AccountNo) -> Result<Vec<AccessKey>, StoreError> {
        self.transact("reading access keys", |tables| {
            Ok(tables.access_keys.values().filter(|key| key.account == account).cloned().collect())
        })
    }

    async fn update_access_key(
        &self,
        account: AccountNo,
        id: &AccessKeyId,
        update: KeyUpdate,
    ) -> Result<AccessKey, StoreError> {
        self.transact("changing an access key", |tables| {
            let known = key_of(tables, account, id)?;
            let changed = AccessKey {
                role: update.role.unwrap_or(known.role),
                active: update.active.unwrap_or(known.active),
                ..known.clone()
            };
            if !is_active_admin(&changed) {
                refuse_without_admin(tables, known)?;
            }
            tables.access_keys.insert(id.clone(), changed.clone());
            Ok(changed)
        })
    }

    async fn delete_access_key(&self, account: AccountNo, id: &AccessKeyId) -> Result<(), StoreError> {
        self.transact("removing an access key", |tables| {
            refuse_without_admin(tables, key_of(tables, account, id)?)?;
            tables.access_keys.remove(id);
            Ok(())
        })
    }
}

fn key_of<'t>(tables: &'t Tables, account: AccountNo, id: &AccessKeyId) -> Result<&'t AccessKey, StoreError> {
    let key = tables.access_keys.get(id).filter(|key| key.account == account);
    key.ok_or(StoreError::NotFound { what: "access key" })
}

fn is_active_admin(key: &AccessKey) -> bool {
    key.active && key.role == Role::Admin
}

/// Refuses to take the last active admin from an account.
fn refuse_without_admin(tables: &Tables, leaving: &AccessKey) -> Result<(), StoreError> {
    let is_other = |key: &&AccessKey| key.account == leaving.account && key.id != leaving.id;
    let another = tables.access_keys.values().filter(is_other).any(is_active_admin);
    if is_active_admin(leaving) && !another {
        return Err(StoreError::Conflict { what: "the account's last active admin" });
    }
    Ok(())
}
