//! Who is at the gateway's door.

use std::collections::HashMap;

use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo, DeviceId, DeviceName, ProductKey};

use crate::Unavailable;

/// A device's identity and secret. `Debug` hides the secret.
#[derive(Clone)]
pub struct DeviceCredential {
    /// The device.
    pub device: DeviceId,
    /// Whose it is.
    pub account: AccountNo,
    /// Whether it may connect.
    pub enabled: bool,
    /// The DeviceSecret as the device holds it: the key of its HMAC.
    pub secret: String,
}

impl std::fmt::Debug for DeviceCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceCredential").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Looks up secrets for the gateway.
#[async_trait]
pub trait DeviceAuth: Send + Sync {
    /// The credentials of many devices at once, in the order asked; `None` for unknown ones.
    async fn devices(
        &self,
        who: &[(ProductKey, DeviceName)],
    ) -> Result<Vec<Option<DeviceCredential>>, Unavailable>;

    /// The account of an active access key whose secret is `secret`; `None` otherwise. The comparison
    /// takes the same time wherever the secrets differ.
    async fn platform(&self, key: &AccessKeyId, secret: &str) -> Result<Option<AccountNo>, Unavailable>;

    /// Whose product this is; `None` for an unknown one.
    async fn owner(&self, product: &ProductKey) -> Result<Option<AccountNo>, Unavailable>;
}

/// A fixed set of devices and keys.
#[derive(Debug, Default)]
pub struct FixedAuth {
    /// By product and name.
    pub devices: HashMap<(ProductKey, DeviceName), DeviceCredential>,
    /// Secret and account by key.
    pub platforms: HashMap<AccessKeyId, (String, AccountNo)>,
    /// Owners.
    pub products: HashMap<ProductKey, AccountNo>,
}

#[async_trait]
impl DeviceAuth for FixedAuth {
    async fn devices(
        &self,
        who: &[(ProductKey, DeviceName)],
    ) -> Result<Vec<Option<DeviceCredential>>, Unavailable> {
        Ok(who.iter().map(|who| self.devices.get(who).cloned()).collect())
    }

    async fn platform(&self, key: &AccessKeyId, secret: &str) -> Result<Option<AccountNo>, Unavailable> {
        Ok(self.platforms.get(key).filter(|(known, _)| known == secret).map(|(_, account)| *account))
    }

    async fn owner(&self, product: &ProductKey) -> Result<Option<AccountNo>, Unavailable> {
        Ok(self.products.get(product).copied())
    }
}
