//! Accounts and access keys.

/// Rides on nothing: appends.
pub(crate) const NEW_ACCOUNT: &str =
    "insert into account (name, created_at) values ($1, $2) returning no, name, created_at";

/// Rides on the primary key of `account`.
pub(crate) const ACCOUNTS: &str = "select no, name, created_at from account order by no";

/// Rides on the primary key of `account`.
pub(crate) const ACCOUNT_EXISTS: &str = "select exists (select 1 from account where no = $1)";

/// Rides on the primary key of `access_key`.
pub(crate) const NEW_KEY: &str = "
    insert into access_key (id, account_id, role, active, sealed_secret, created_at)
    values ($1, $2, $3, $4, $5, $6)";

/// Rides on the primary key of `access_key`.
pub(crate) const KEY: &str = "
    select id, account_id, role, active, sealed_secret, created_at from access_key where id = $1";

/// Rides on `access_key_account (account_id, id)`.
pub(crate) const KEYS: &str = "
    select id, account_id, role, active, sealed_secret, created_at from access_key
     where account_id = $1 order by id";

/// Rides on `access_key_account (account_id, id)`.
pub(crate) const OTHER_ADMINS: &str = "
    select count(*) from access_key
     where account_id = $1 and id <> $2 and role = 'ADMIN' and active = 1";

/// Rides on the primary key of `access_key`.
pub(crate) const UPDATE_KEY: &str = "update access_key set role = $2, active = $3 where id = $1";

/// Rides on the primary key of `access_key`.
pub(crate) const DELETE_KEY: &str = "delete from access_key where id = $1";
