//! Accounts and access keys: who may call, and as what.
//!
//! A key's secret is told once, when it is made. Keys are read from the store on every call: a disabled one
//! is refused from the next call on, in every process.

use otaria_core::ids::{AccessKeyId, AccountNo, DEFAULT_ACCOUNT};
use otaria_core::rules::{Code, Refusal, account_name};
use otaria_core::time::Timestamp;
use otaria_ports::store::{AccessKey, Account, KeyUpdate, Role, StoreError};
use subtle::ConstantTimeEq;

use super::secrets::key_context;
use super::{Caller, Commands};
use crate::error::CommandError;

/// Letters and digits of a secret: 238 bits.
const SECRET_CHARS: usize = 40;
/// Letters and digits of a key's id behind its prefix.
const KEY_ID_CHARS: usize = 20;
const KEY_ID_PREFIX: &str = "OTK";
/// A secret that an operator chooses is at least so long, and no longer than what a header carries well.
const CHOSEN_SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=128;

/// A key that was just made, with the secret that is told only now.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAccessKey {
    /// The key.
    pub key: AccessKey,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for NewAccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccessKey").field("id", &self.key.id).finish_non_exhaustive()
    }
}

impl Commands {
    /// Makes an account; for admins of account 1.
    ///
    /// # Errors
    /// `AccountNameExisted`, or the rule that the name breaks.
    pub async fn create_account(
        &self,
        caller: &Caller,
        now: Timestamp,
        name: &str,
    ) -> Result<Account, CommandError> {
        manages_accounts(caller)?;
        let name = account_name(Some(&name.to_owned()))?;
        let account = self.deps().store.create_account(&name, now).await;
        account.map_err(|error| match error {
            StoreError::Exists { .. } => {
                CommandError::not_allowed(Code::AccountNameExisted, "an account of this name exists already")
            }
            other => other.into(),
        })
    }

    /// All accounts by number; for admins of account 1.
    ///
    /// # Errors
    /// `Denied` for everybody else.
    pub async fn list_accounts(&self, caller: &Caller) -> Result<Vec<Account>, CommandError> {
        manages_accounts(caller)?;
        Ok(self.deps().store.accounts().await?)
    }

    /// Makes a key for the caller's account, or, for admins of account 1, for any.
    ///
    /// # Errors
    /// `Denied` for roles below admin; `InvalidTenant` for an account that the caller does not see.
    pub async fn create_access_key(
        &self,
        caller: &Caller,
        now: Timestamp,
        account: Option<&str>,
        role: Option<Role>,
    ) -> Result<NewAccessKey, CommandError> {
        caller.needs(Role::Admin)?;
        let account = account_of(caller, account)?;
        let role = role.ok_or_else(|| Refusal::missing("Role", ""))?;
        self.make_key(account, role, now).await
    }

    /// The keys of the caller's account, or, for admins of account 1, of any.
    ///
    /// # Errors
    /// As [`Commands::create_access_key`].
    pub async fn list_access_keys(
        &self,
        caller: &Caller,
        account: Option<&str>,
    ) -> Result<Vec<AccessKey>, CommandError> {
        caller.needs(Role::Admin)?;
        let account = account_of(caller, account)?;
        Ok(self.deps().store.access_keys(account).await?)
    }

    /// Changes a key's role or status and returns it as it is then.
    ///
    /// # Errors
    /// `AccessKeyNotFound`; `LastAdminAccessKey` when the account would lose its last active admin.
    pub async fn update_access_key(
        &self,
        caller: &Caller,
        id: &str,
        update: KeyUpdate,
    ) -> Result<AccessKey, CommandError> {
        let (account, id) = self.managed_key(caller, id).await?;
        self.deps().store.update_access_key(account, &id, update).await.map_err(key_error)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Commands::update_access_key`].
    pub async fn delete_access_key(&self, caller: &Caller, id: &str) -> Result<(), CommandError> {
        let (account, id) = self.managed_key(caller, id).await?;
        self.deps().store.delete_access_key(account, &id).await.map_err(key_error)
    }

    /// Who holds this key and secret.
    ///
    /// # Errors
    /// `AccessKeyNotFound`, `SignatureDoesNotMatch` for a wrong secret, `AccessKeyInactive` for a right one
    /// of a disabled key.
    pub async fn authenticate(&self, id: &str, secret: &str) -> Result<Caller, CommandError> {
        let key = self.known_key(id).await?;
        let kept = self.open_key_secret(&key)?;
        if !bool::from(kept.ct_eq(secret.as_bytes())) {
            let message = "the access key's secret is wrong";
            return Err(CommandError::not_allowed(Code::SignatureDoesNotMatch, message));
        }
        active(key)
    }

    /// Who holds this key, and its secret, for faces whose callers sign instead of telling it.
    ///
    /// # Errors
    /// `AccessKeyNotFound`, `AccessKeyInactive`.
    pub async fn signing_key(&self, id: &str) -> Result<(Caller, Vec<u8>), CommandError> {
        let key = self.known_key(id).await?;
        let secret = self.open_key_secret(&key)?;
        Ok((active(key)?, secret))
    }

    /// Makes sure that account 1 has an active admin key: the chosen one (id and secret), or, when it has
    /// none at all, a new one. Returns what it made, to be told once: of several processes that begin at the
    /// same moment one has something to tell.
    ///
    /// # Errors
    /// When a chosen key is no good, or exists with another secret or for something else.
    pub async fn ensure_admin_key(
        &self,
        now: Timestamp,
        chosen: Option<(&str, &str)>,
    ) -> Result<Option<(AccessKeyId, String)>, CommandError> {
        if let Some((id, secret)) = chosen {
            return self.ensure_chosen(id, secret, now).await;
        }
        let keys = self.deps().store.access_keys(DEFAULT_ACCOUNT).await?;
        if keys.iter().any(|key| key.active && key.role == Role::Admin) {
            return Ok(None);
        }
        let made = self.new_key(DEFAULT_ACCOUNT, Role::Admin, now)?;
        let kept = self.deps().store.put_first_admin_key(&made.key).await?;
        Ok(kept.then_some((made.key.id, made.secret)))
    }

    async fn ensure_chosen(
        &self,
        id: &str,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<(AccessKeyId, String)>, CommandError> {
        let id = key_id(id)?;
        let is_plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || !CHOSEN_SECRET_CHARS.contains(&secret.len()) {
            let rule = "must be 16-128 printable ASCII characters without blanks";
            return Err(Refusal::invalid(Code::InvalidParameter, "AccessKeySecret", rule).into());
        }
        if self.has_chosen(&id, secret).await? {
            return Ok(None);
        }
        let key = self.sealed_key(id.clone(), DEFAULT_ACCOUNT, Role::Admin, secret, now);
        let kept = self.keep_key(&key).await;
        // Of several processes that start at the same moment one makes the key.
        if kept.is_err() && self.has_chosen(&id, secret).await? {
            return Ok(None);
        }
        kept?;
        Ok(Some((id, secret.to_owned())))
    }

    /// Whether the chosen key is there; refuses another one of its id.
    async fn has_chosen(&self, id: &AccessKeyId, secret: &str) -> Result<bool, CommandError> {
        let Some(key) = self.deps().store.access_key(id).await? else { return Ok(false) };
        let same = bool::from(self.open_key_secret(&key)?.ct_eq(secret.as_bytes()));
        if same && key.account == DEFAULT_ACCOUNT && key.role == Role::Admin && key.active {
            return Ok(true);
        }
        let rule = "names a key that exists with another secret, account, role or status";
        Err(Refusal::invalid(Code::InvalidParameter, "AccessKeyId", rule).into())
    }

    async fn make_key(
        &self,
        account: AccountNo,
        role: Role,
        now: Timestamp,
    ) -> Result<NewAccessKey, CommandError> {
        let made = self.new_key(account, role, now)?;
        self.keep_key(&made.key).await?;
        Ok(made)
    }

    /// A key that nobody keeps yet.
    fn new_key(&self, account: AccountNo, role: Role, now: Timestamp) -> Result<NewAccessKey, CommandError> {
        let id = key_id(&format!("{KEY_ID_PREFIX}{}", self.deps().ids.text(KEY_ID_CHARS)))?;
        let secret = self.deps().ids.text(SECRET_CHARS);
        let key = self.sealed_key(id, account, role, &secret, now);
        Ok(NewAccessKey { key, secret })
    }

    fn sealed_key(
        &self,
        id: AccessKeyId,
        account: AccountNo,
        role: Role,
        secret: &str,
        now: Timestamp,
    ) -> AccessKey {
        let sealed_secret = self.seal(&key_context(&id), secret.as_bytes());
        AccessKey { id, account, role, active: true, sealed_secret, created_at: now }
    }

    async fn keep_key(&self, key: &AccessKey) -> Result<(), CommandError> {
        self.deps().store.put_access_key(key).await.map_err(|error| match error {
            StoreError::NotFound { .. } => unknown_account(),
            other => other.into(),
        })
    }

    async fn known_key(&self, id: &str) -> Result<AccessKey, CommandError> {
        // A text that is no id cannot be that of a key.
        let id = AccessKeyId::parse(id).map_err(|_| unknown_key())?;
        self.deps().store.access_key(&id).await?.ok_or_else(unknown_key)
    }

    /// A key that the caller manages, and its account: its own, or any for admins of account 1.
    async fn managed_key(&self, caller: &Caller, id: &str) -> Result<(AccountNo, AccessKeyId), CommandError> {
        caller.needs(Role::Admin)?;
        let id = key_id(id)?;
        if caller.account != DEFAULT_ACCOUNT {
            return Ok((caller.account, id));
        }
        let key = self.deps().store.access_key(&id).await?.ok_or_else(unknown_key)?;
        Ok((key.account, id))
    }
}

fn active(key: AccessKey) -> Result<Caller, CommandError> {
    if key.active {
        return Ok(Caller { account: key.account, key: key.id, role: key.role });
    }
    Err(CommandError::not_allowed(Code::AccessKeyInactive, "the access key is disabled"))
}

fn manages_accounts(caller: &Caller) -> Result<(), CommandError> {
    caller.needs(Role::Admin)?;
    if caller.account == DEFAULT_ACCOUNT {
        return Ok(());
    }
    Err(CommandError::Denied { role: "ADMIN of another account", needed: "ADMIN of account 1" })
}

/// The account that is meant: the caller's own unless another one is named.
fn account_of(caller: &Caller, named: Option<&str>) -> Result<AccountNo, CommandError> {
    let Some(text) = named.filter(|text| !text.is_empty()) else { return Ok(caller.account) };
    let no = text.parse().map(AccountNo).map_err(|_| unknown_account())?;
    if no == caller.account || caller.account == DEFAULT_ACCOUNT {
        return Ok(no);
    }
    Err(unknown_account())
}

fn key_id(text: &str) -> Result<AccessKeyId, CommandError> {
    if text.is_empty() {
        return Err(Refusal::missing("AccessKeyId", "").into());
    }
    AccessKeyId::parse(text).map_err(|bad| {
        let rule = format!("must be {}", bad.rule);
        Refusal::invalid(Code::InvalidParameter, "AccessKeyId", rule).into()
    })
}

fn key_error(error: StoreError) -> CommandError {
    match error {
        StoreError::NotFound { .. } => unknown_key(),
        StoreError::Conflict { .. } => CommandError::not_allowed(
            Code::LastAdminAccessKey,
            "this is the account's last active key of role ADMIN; make another one first",
        ),
        other => other.into(),
    }
}

fn unknown_key() -> CommandError {
    CommandError::not_allowed(Code::AccessKeyNotFound, "there is no such access key")
}

fn unknown_account() -> CommandError {
    CommandError::not_allowed(Code::InvalidTenant, "there is no such account")
}
