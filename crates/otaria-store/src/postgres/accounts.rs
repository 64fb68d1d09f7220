//! Accounts and access keys.

use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{AccessKey, Account, Accounts, KeyUpdate, Role, StoreError};
use sqlx::{query, query_scalar};

use super::{PgTx, PostgresStore};
use crate::errors::{failed, taken};
use crate::postgres::sql::devices::HOLD_ACCOUNT;
use crate::rows;
use crate::sql::accounts as sql;

#[async_trait]
impl Accounts for PostgresStore {
    async fn create_account(&self, name: &str, now: Timestamp) -> Result<Account, StoreError> {
        let doing = "making an account";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let made = query(sql::NEW_ACCOUNT).bind(name).bind(now.millis()).fetch_one(tx.conn()).await;
                rows::account(&made.map_err(taken(doing, "account"))?)
            })
        });
        work.await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let all = self.rows("listing accounts", || query(sql::ACCOUNTS)).await?;
        all.iter().map(rows::account).collect()
    }

    async fn put_access_key(&self, key: &AccessKey) -> Result<(), StoreError> {
        let doing = "keeping an access key";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                hold(tx, key.account).await?;
                new_key(tx, key, doing).await
            })
        });
        work.await
    }

    async fn put_first_admin_key(&self, key: &AccessKey) -> Result<bool, StoreError> {
        let doing = "keeping the first admin key";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                hold(tx, key.account).await?;
                // An earlier call of which nobody heard.
                if own_key(tx, key.account, &key.id).await.is_ok_and(|kept| kept == *key) {
                    return Ok(true);
                }
                if other_admins(tx, key).await? > 0 {
                    return Ok(false);
                }
                new_key(tx, key, doing).await.map(|()| true)
            })
        });
        work.await
    }

    async fn access_key(&self, id: &AccessKeyId) -> Result<Option<AccessKey>, StoreError> {
        let row = self.row("reading an access key", || query(sql::KEY).bind(id.as_str())).await?;
        row.as_ref().map(rows::access_key).transpose()
    }

    async fn access_keys(&self, account: AccountNo) -> Result<Vec<AccessKey>, StoreError> {
        let keys = self.rows("listing access keys", || query(sql::KEYS).bind(account.0)).await?;
        keys.iter().map(rows::access_key).collect()
    }

    async fn update_access_key(
        &self,
        account: AccountNo,
        id: &AccessKeyId,
        update: KeyUpdate,
    ) -> Result<AccessKey, StoreError> {
        let doing = "changing an access key";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let mut key = own_key(tx, account, id).await?;
                let was_admin = is_active_admin(&key);
                key.role = update.role.unwrap_or(key.role);
                key.active = update.active.unwrap_or(key.active);
                if was_admin && !is_active_admin(&key) {
                    keep_an_admin(tx, &key).await?;
                }
                let change = query(sql::UPDATE_KEY).bind(id.as_str()).bind(key.role.as_str());
                let change = change.bind(i64::from(key.active)).execute(tx.conn()).await;
                change.map_err(failed(doing))?;
                Ok(key)
            })
        });
        work.await
    }

    async fn delete_access_key(&self, account: AccountNo, id: &AccessKeyId) -> Result<(), StoreError> {
        let doing = "removing an access key";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let key = own_key(tx, account, id).await?;
                if is_active_admin(&key) {
                    keep_an_admin(tx, &key).await?;
                }
                let gone = query(sql::DELETE_KEY).bind(id.as_str()).execute(tx.conn()).await;
                gone.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }
}

fn is_active_admin(key: &AccessKey) -> bool {
    key.active && key.role == Role::Admin
}

/// Holds an account until the transaction ends, so that what is counted in it stands still.
pub(super) async fn hold(tx: &mut PgTx<'_>, account: AccountNo) -> Result<(), StoreError> {
    let held = query(HOLD_ACCOUNT).bind(account.0).fetch_optional(tx.conn()).await;
    let held = held.map_err(failed("looking for an account"))?;
    held.map(drop).ok_or(StoreError::NotFound { what: "account" })
}

async fn own_key(tx: &mut PgTx<'_>, account: AccountNo, id: &AccessKeyId) -> Result<AccessKey, StoreError> {
    let held = query(HOLD_ACCOUNT).bind(account.0).execute(tx.conn()).await;
    held.map_err(failed("looking for an account"))?;
    let found = query(sql::KEY).bind(id.as_str()).fetch_optional(tx.conn()).await;
    let row = found.map_err(failed("reading an access key"))?;
    let key = row.as_ref().map(rows::access_key).transpose()?;
    key.filter(|key| key.account == account).ok_or(StoreError::NotFound { what: "access key" })
}

async fn new_key(tx: &mut PgTx<'_>, key: &AccessKey, doing: &'static str) -> Result<(), StoreError> {
    let new = query(sql::NEW_KEY)
        .bind(key.id.as_str())
        .bind(key.account.0)
        .bind(key.role.as_str())
        .bind(i64::from(key.active))
        .bind(&key.sealed_secret)
        .bind(key.created_at.millis());
    new.execute(tx.conn()).await.map(drop).map_err(taken(doing, "access key"))
}

async fn other_admins(tx: &mut PgTx<'_>, key: &AccessKey) -> Result<i64, StoreError> {
    let others = query_scalar(sql::OTHER_ADMINS).bind(key.account.0).bind(key.id.as_str());
    others.fetch_one(tx.conn()).await.map_err(failed("counting admins"))
}

/// An account never loses its last active admin.
async fn keep_an_admin(tx: &mut PgTx<'_>, key: &AccessKey) -> Result<(), StoreError> {
    let others = other_admins(tx, key).await?;
    if others > 0 { Ok(()) } else { Err(StoreError::Conflict { what: "last active admin" }) }
}
