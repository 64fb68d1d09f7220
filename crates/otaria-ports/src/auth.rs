//! Who is at the gateway's door.

use std::collections::HashMap;

use async_trait::async_trait;
use otaria_core::ids::{AccessKeyId, AccountNo, DeviceId, DeviceName, ProductKey};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;

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

/// A device that was connected lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDevice {
    /// The device.
    pub device: DeviceId,
    /// Its product.
    pub product_key: ProductKey,
    /// Its name.
    pub name: DeviceName,
    /// When it connected last.
    pub at: Timestamp,
}

/// Looks up secrets for the gateway.
#[async_trait]
pub trait DeviceAuth: Send + Sync {
    /// The credentials of many devices at once, in the order asked; `None` for unknown ones.
    async fn devices(
        &self,
        who: &[(ProductKey, DeviceName)],
    ) -> Result<Vec<Option<DeviceCredential>>, Unavailable>;

    /// The devices of a shard that may connect and did so at `since` or later, by id. For who cannot see
    /// connections and takes over from another.
    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, Unavailable>;

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
    /// Who was connected before.
    pub seen: Vec<SeenDevice>,
}

#[async_trait]
impl DeviceAuth for FixedAuth {
    async fn devices(
        &self,
        who: &[(ProductKey, DeviceName)],
    ) -> Result<Vec<Option<DeviceCredential>>, Unavailable> {
        Ok(who.iter().map(|who| self.devices.get(who).cloned()).collect())
    }

    async fn seen_since(&self, shard: Shard, since: Timestamp) -> Result<Vec<SeenDevice>, Unavailable> {
        let is_meant = |seen: &&SeenDevice| seen.device.shard() == shard && seen.at >= since;
        Ok(self.seen.iter().filter(is_meant).cloned().collect())
    }

    async fn platform(&self, key: &AccessKeyId, secret: &str) -> Result<Option<AccountNo>, Unavailable> {
        Ok(self.platforms.get(key).filter(|(known, _)| known == secret).map(|(_, account)| *account))
    }

    async fn owner(&self, product: &ProductKey) -> Result<Option<AccountNo>, Unavailable> {
        Ok(self.products.get(product).copied())
    }
}

/// Holds for every [`DeviceAuth`] that knows what [`contract::Known`] says, and nothing else of it.
pub mod contract {
    use super::{AccessKeyId, AccountNo, DeviceAuth, DeviceName, ProductKey};

    /// What is there to be found.
    #[derive(Clone, Debug)]
    pub struct Known {
        /// A product of `account`.
        pub product: ProductKey,
        /// Its devices with their secrets; two at least.
        pub devices: Vec<(DeviceName, String)>,
        /// An active access key of `account`, and its secret.
        pub key: (AccessKeyId, String),
        /// Whose all this is.
        pub account: AccountNo,
    }

    /// Credentials come in the order asked, and unknown devices have none.
    pub async fn credentials_come_in_the_order_asked(auth: &dyn DeviceAuth, known: &Known) {
        let stranger = DeviceName::parse("nobody-knows-me").unwrap();
        let mut names: Vec<DeviceName> = known.devices.iter().rev().map(|(name, _)| name.clone()).collect();
        names.insert(1, stranger);
        let who: Vec<_> = names.into_iter().map(|name| (known.product.clone(), name)).collect();
        let found = auth.devices(&who).await.unwrap();
        assert_eq!(found.len(), who.len());
        assert!(found[1].is_none());
        let secrets: Vec<&str> =
            found.iter().flatten().map(|credential| credential.secret.as_str()).collect();
        let expected: Vec<&str> = known.devices.iter().rev().map(|(_, secret)| secret.as_str()).collect();
        assert_eq!(secrets, expected);
        assert!(found.iter().flatten().all(|credential| credential.enabled));
        assert!(found.iter().flatten().all(|credential| credential.account == known.account));
    }

    /// A secret is not shown where a credential is logged.
    pub async fn a_credential_does_not_show_its_secret(auth: &dyn DeviceAuth, known: &Known) {
        let (name, secret) = known.devices[0].clone();
        let found = auth.devices(&[(known.product.clone(), name)]).await.unwrap();
        assert!(!format!("{found:?}").contains(&secret));
    }

    /// Only the right secret of a known key tells its account.
    pub async fn only_the_right_secret_opens(auth: &dyn DeviceAuth, known: &Known) {
        let (key, secret) = &known.key;
        assert_eq!(auth.platform(key, secret).await.unwrap(), Some(known.account));
        for wrong in ["", "wrong", &secret[1..], &format!("{secret}x")] {
            assert_eq!(auth.platform(key, wrong).await.unwrap(), None, "{wrong}");
        }
        let stranger = AccessKeyId::parse("nobody-knows-me").unwrap();
        assert_eq!(auth.platform(&stranger, secret).await.unwrap(), None);
    }

    /// A product has its owner, and an unknown one has none.
    pub async fn products_have_owners(auth: &dyn DeviceAuth, known: &Known) {
        assert_eq!(auth.owner(&known.product).await.unwrap(), Some(known.account));
        let stranger = ProductKey::parse("nobodyknowsme").unwrap();
        assert_eq!(auth.owner(&stranger).await.unwrap(), None);
    }

    /// All of it.
    pub async fn all(auth: &dyn DeviceAuth, known: &Known) {
        credentials_come_in_the_order_asked(auth, known).await;
        a_credential_does_not_show_its_secret(auth, known).await;
        only_the_right_secret_opens(auth, known).await;
        products_have_owners(auth, known).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use otaria_core::shard::Shard;

    #[test]
    fn the_fixed_one_keeps_the_contract() {
        let product = ProductKey::parse("a1product").unwrap();
        let account = AccountNo(7);
        let key = (AccessKeyId::parse("OTKEY").unwrap(), "a secret of a key".to_owned());
        let mut auth = FixedAuth::default();
        auth.products.insert(product.clone(), account);
        auth.platforms.insert(key.0.clone(), (key.1.clone(), account));
        let devices: Vec<(DeviceName, String)> = (1..=3)
            .map(|n| (DeviceName::parse(&format!("dev-{n}")).unwrap(), format!("secret of {n}")))
            .collect();
        for (n, (name, secret)) in (1..).zip(&devices) {
            let device = DeviceId::new(Shard(0), n);
            let credential = DeviceCredential { device, account, enabled: true, secret: secret.clone() };
            auth.devices.insert((product.clone(), name.clone()), credential);
        }
        let known = contract::Known { product, devices, key, account };
        contract::all(&auth, &known).now_or_never().unwrap();
    }
}
