//! Accounts and access keys.

use otaria_ports::store::{AccessKey, Account, Role};
use otaria_proto::v1;
use tonic::Status;

use super::instant;
use crate::errors;

pub(crate) fn account(account: &Account) -> v1::Account {
    v1::Account {
        account_id: account.no.to_string(),
        account_name: account.name.clone(),
        utc_create: Some(instant(account.created_at)),
    }
}

pub(crate) fn key(key: &AccessKey) -> v1::AccessKey {
    let role = match key.role {
        Role::Admin => v1::AccessKeyRole::Admin,
        Role::Operator => v1::AccessKeyRole::Operator,
        Role::Viewer => v1::AccessKeyRole::Viewer,
    };
    let status = if key.active { v1::AccessKeyStatus::Active } else { v1::AccessKeyStatus::Inactive };
    v1::AccessKey {
        access_key_id: key.id.to_string(),
        account_id: key.account.to_string(),
        role: role.into(),
        status: status.into(),
        utc_create: Some(instant(key.created_at)),
    }
}

pub(crate) fn role(raw: i32) -> Result<Option<Role>, Status> {
    match v1::AccessKeyRole::try_from(raw) {
        Ok(v1::AccessKeyRole::Unspecified) => Ok(None),
        Ok(v1::AccessKeyRole::Admin) => Ok(Some(Role::Admin)),
        Ok(v1::AccessKeyRole::Operator) => Ok(Some(Role::Operator)),
        Ok(v1::AccessKeyRole::Viewer) => Ok(Some(Role::Viewer)),
        Err(_) => Err(errors::invalid("Role", "must be ADMIN, OPERATOR or VIEWER")),
    }
}

pub(crate) fn active(raw: i32) -> Result<Option<bool>, Status> {
    match v1::AccessKeyStatus::try_from(raw) {
        Ok(v1::AccessKeyStatus::Unspecified) => Ok(None),
        Ok(v1::AccessKeyStatus::Active) => Ok(Some(true)),
        Ok(v1::AccessKeyStatus::Inactive) => Ok(Some(false)),
        Err(_) => Err(errors::invalid("Status", "must be ACTIVE or INACTIVE")),
    }
}
