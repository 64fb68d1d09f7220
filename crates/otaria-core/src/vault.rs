//! Secrets at rest: AES-256-GCM under one master key that is named in every ciphertext.
//!
//! A sealed secret is `key id (4 bytes) | nonce (12) | ciphertext and tag`, bound to what it belongs to
//! (`context`), so that a row copied over another one does not open. The nonce is drawn by the caller.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use sha2::{Digest, Sha256};

/// Bytes of the master key.
pub const MASTER_KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;

/// Why a sealed secret did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It was sealed under another master key. Put that key back.
    #[error("sealed under another master key")]
    OtherKey,
    /// It was damaged, or belongs to something else.
    #[error("sealed secret is damaged or out of place")]
    Damaged,
}

/// Seals and opens secrets. Its `Debug` shows nothing of the key.
#[derive(Clone)]
pub struct Vault {
    cipher: Aes256Gcm,
    key_id: [u8; KEY_ID_BYTES],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault under `master`. The key's id is the beginning of its SHA-256.
    #[must_use]
    pub fn new(master: &[u8; MASTER_KEY_BYTES]) -> Self {
        let digest = Sha256::digest(master);
        let mut key_id = [0; KEY_ID_BYTES];
        key_id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Self { cipher: Aes256Gcm::new(&Key::<Aes256Gcm>::from(*master)), key_id }
    }

    /// Seals `secret` for `context`. `nonce` must be fresh: drawn at random for every call.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], context: &str, secret: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: secret, aad: context.as_bytes() };
        // AES-GCM refuses only texts of 64 GiB and more; secrets are bounded far below.
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload).expect("secret below 64 GiB");
        [&self.key_id[..], &nonce[..], &sealed[..]].concat()
    }

    /// Opens what [`Vault::seal`] made for the same `context`.
    ///
    /// # Errors
    /// When it was sealed under another key, damaged, or made for another context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        let (key_id, rest) = sealed.split_at_checked(KEY_ID_BYTES).ok_or(Unopened::Damaged)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or(Unopened::Damaged)?;
        if key_id != self.key_id {
            return Err(Unopened::OtherKey);
        }
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| Unopened::Damaged)?;
        let payload = Payload { msg: text, aad: context.as_bytes() };
        self.cipher.decrypt(&Nonce::from(nonce), payload).map_err(|_| Unopened::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_under_its_key_and_in_its_place() {
        let vault = Vault::new(&[7; 32]);
        let sealed = vault.seal([1; 12], "device 1", b"secret");
        assert_eq!(vault.open("device 1", &sealed).unwrap(), b"secret");
        assert_eq!(vault.open("device 2", &sealed), Err(Unopened::Damaged));
        assert_eq!(Vault::new(&[8; 32]).open("device 1", &sealed), Err(Unopened::OtherKey));
        assert_eq!(vault.open("device 1", &sealed[..9]), Err(Unopened::Damaged));
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
    }
}
