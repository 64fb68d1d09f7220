//! `otaria key` and `otaria account`.

use clap::{Subcommand, ValueEnum};
use otaria_proto::v1::{
    AccessKeyRole, AccessKeyStatus, CreateAccessKeyRequest, CreateAccountRequest, DeleteAccessKeyRequest,
    ListAccessKeysRequest, ListAccountsRequest, UpdateAccessKeyRequest,
};

use super::link::LinkArgs;
use super::output::{Table, facts, instant, json_line, line, word};
use crate::remote::{Remote, answer};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an access key; its secret is told only now
    #[command(
        after_help = "Examples:\n  otaria key create --role operator\n  otaria key create --role viewer --account ACCOUNT_ID"
    )]
    Create {
        /// What the key may do
        #[arg(long, value_enum)]
        role: RoleArg,
        /// The account that it is for [default: your own]
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
    /// List the access keys of an account, oldest first
    #[command(after_help = "Examples:\n  otaria key list")]
    List {
        /// The account [default: your own]
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
    /// Refuse a key until it is enabled again
    #[command(after_help = "Examples:\n  otaria key disable ACCESS_KEY_ID")]
    Disable {
        /// The key
        id: String,
    },
    /// Let a disabled key in again
    #[command(after_help = "Examples:\n  otaria key enable ACCESS_KEY_ID")]
    Enable {
        /// The key
        id: String,
    },
    /// Delete a key
    #[command(after_help = "Examples:\n  otaria key delete ACCESS_KEY_ID")]
    Delete {
        /// The key
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account
    #[command(after_help = "Examples:\n  otaria account create factory-2")]
    Create {
        /// 1 to 64 characters
        name: String,
    },
    /// List the accounts, oldest first
    #[command(after_help = "Examples:\n  otaria account list")]
    List,
}

/// A role by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    /// Manages accounts and access keys, and all below
    Admin,
    /// Changes the things of its account, and all below
    Operator,
    /// Reads the things of its account
    Viewer,
}

impl From<RoleArg> for AccessKeyRole {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Admin => Self::Admin,
            RoleArg::Operator => Self::Operator,
            RoleArg::Viewer => Self::Viewer,
        }
    }
}

pub(super) async fn run_key(command: KeyCommand, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    match command {
        KeyCommand::Create { role, account } => {
            let request =
                CreateAccessKeyRequest { account_id: account, role: AccessKeyRole::from(role).into() };
            let made = answer(remote.access().create_access_key(request)).await?;
            if link.json {
                return json_line("CreateAccessKeyResponse", &made);
            }
            let key = made.access_key.unwrap_or_default();
            facts(&[("id", key.access_key_id), ("secret", made.access_key_secret)])?;
            line("\nkeep the secret: it is not told again")
        }
        KeyCommand::List { account } => list_keys(account, &remote, link.json).await,
        KeyCommand::Disable { id } => update(id, AccessKeyStatus::Inactive, &remote, link.json).await,
        KeyCommand::Enable { id } => update(id, AccessKeyStatus::Active, &remote, link.json).await,
        KeyCommand::Delete { id } => {
            let request = DeleteAccessKeyRequest { access_key_id: id.clone() };
            let deleted = answer(remote.access().delete_access_key(request)).await?;
            if link.json {
                return json_line("DeleteAccessKeyResponse", &deleted);
            }
            line(&format!("key {id} is deleted"))
        }
    }
}

async fn list_keys(account_id: Option<String>, remote: &Remote, json: bool) -> anyhow::Result<()> {
    let mut request = ListAccessKeysRequest { account_id, ..ListAccessKeysRequest::default() };
    let mut table = Table::new(&["ID", "ROLE", "STATUS", "ACCOUNT", "CREATED"]);
    loop {
        let page = answer(remote.access().list_access_keys(request.clone())).await?;
        for key in &page.access_keys {
            if json {
                json_line("AccessKey", key)?;
                continue;
            }
            table.row([
                key.access_key_id.clone(),
                word(key.role().as_str_name(), "ACCESS_KEY_ROLE_"),
                word(key.status().as_str_name(), "ACCESS_KEY_STATUS_"),
                key.account_id.clone(),
                instant(key.utc_create.as_ref()),
            ]);
        }
        if !json {
            table.print()?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn update(id: String, status: AccessKeyStatus, remote: &Remote, json: bool) -> anyhow::Result<()> {
    let request = UpdateAccessKeyRequest {
        access_key_id: id,
        status: status.into(),
        role: AccessKeyRole::Unspecified.into(),
    };
    let changed = answer(remote.access().update_access_key(request)).await?;
    if json {
        return json_line("UpdateAccessKeyResponse", &changed);
    }
    let key = changed.access_key.unwrap_or_default();
    let status = word(key.status().as_str_name(), "ACCESS_KEY_STATUS_");
    line(&format!("key {} is {status}", key.access_key_id))
}

pub(super) async fn run_account(command: AccountCommand, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    match command {
        AccountCommand::Create { name } => {
            let request = CreateAccountRequest { account_name: name };
            let made = answer(remote.access().create_account(request)).await?;
            if link.json {
                return json_line("CreateAccountResponse", &made);
            }
            let account = made.account.unwrap_or_default();
            line(&format!("account {} is made, its id is {}", account.account_name, account.account_id))?;
            line(&format!("\nnext: otaria key create --role admin --account {}", account.account_id))
        }
        AccountCommand::List => {
            let mut request = ListAccountsRequest::default();
            let mut table = Table::new(&["ID", "NAME", "CREATED"]);
            loop {
                let page = answer(remote.access().list_accounts(request.clone())).await?;
                for account in &page.accounts {
                    if link.json {
                        json_line("Account", account)?;
                        continue;
                    }
                    table.row([
                        account.account_id.clone(),
                        account.account_name.clone(),
                        instant(account.utc_create.as_ref()),
                    ]);
                }
                if !link.json {
                    table.print()?;
                }
                if page.next_page_token.is_empty() {
                    return Ok(());
                }
                request.page_token = page.next_page_token;
            }
        }
    }
}
