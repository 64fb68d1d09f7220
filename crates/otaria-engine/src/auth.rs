//! Opens secrets for the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo, DeviceName, ProductKey};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::auth::{DeviceAuth, DeviceCredential, SeenDevice};
use otaria_ports::store::StoreError;

use crate::command::Commands;
use crate::error::CommandError;
use crate::shell::Shell;

/// Credentials from the store, opened with the vault.
pub struct StoreAuth {
    shell: Arc<Shell>,
    commands: Commands,
}

impl StoreAuth {
    /// Over what the process shares.
    #[must_use]
    pub fn new(shell: Arc<Shell>) -> Self {
        Self { commands: Commands::new(Arc::clone(&shell)), shell }
    }
}

/// What a device's secret is bound to when it is sealed.
#[must_use]
pub fn device_context(product: &ProductKey, name: &DeviceName) -> String {
    format!("device/{product}/{name}")
}

/// The DeviceSecret as devices hold it: 32 hex digits.
#[must_use]
pub fn secret_text(secret: &[u8]) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unavailable(doing: &'static str) -> impl FnOnce(StoreError) -> Unavailable {
    move |error| Unavailable { doing, source: Some(Box::new(error)) }
}

#[async_trait]
impl DeviceAuth for StoreAuth {
    async fn devices(
        &self,
        who: &[(ProductKey, DeviceName)],
    ) -> Result<Vec<Option<DeviceCredential>>, Unavailable> {
        let rows = self.shell.deps.store.auth(who).await.map_err(unavailable("looking up devices"))?;
        let opened = who.iter().zip(rows).map(|((product, name), row)| {
            let row = row?;
            match self.shell.deps.vault.open(&device_context(product, name), &row.sealed_secret) {
                Ok(secret) => Some(DeviceCredential {
                    device: row.device,
                    account: row.account,
                    enabled: row.enabled,
                    secret: secret_text(&secret),
                }),
                Err(why) => {
                    tracing::error!(device.id = row.device.0, %why, "a device's secret does not open");
                    None
                }
            }
        });
        Ok(opened.collect())
    }

    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, Unavailable> {
        let seen = self.shell.deps.store.seen_since(shard, since).await;
        seen.map_err(unavailable("reading who was connected"))
    }

    async fn platform(&self, key: &AccessKeyId, secret: &str) -> Result<Option<AccountNo>, Unavailable> {
        match self.commands.authenticate(key.as_str(), secret).await {
            Ok(caller) => Ok(Some(caller.account)),
            Err(CommandError::Unavailable(source)) => {
                Err(Unavailable { doing: "looking up an access key", source: Some(source) })
            }
            Err(_) => Ok(None),
        }
    }

    async fn owner(&self, product: &ProductKey) -> Result<Option<AccountNo>, Unavailable> {
        let product = self.shell.deps.store.product(product).await;
        Ok(product.map_err(unavailable("looking up a product"))?.map(|product| product.new.account))
    }
}
