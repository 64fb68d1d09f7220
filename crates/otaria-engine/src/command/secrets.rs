//! Secrets: drawn, sealed for their place, and opened for those who may see them.
//!
//! Never kept in the clear: what leaves this module in the clear goes into one answer.

use std::fmt::Write;

use otaria_core::ids::{AccessKeyId, DeviceName, ProductKey};
use otaria_ports::store::{AccessKey, Device, Product};

use crate::command::Commands;
use crate::error::CommandError;

/// Bytes of a DeviceSecret; shown as twice as many hex digits.
pub(super) const DEVICE_SECRET_BYTES: usize = 16;

impl Commands {
    pub(super) fn seal(&self, context: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; 12];
        self.deps().ids.fill(&mut nonce);
        self.deps().vault.seal(nonce, context, secret)
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, CommandError> {
        self.deps().vault.open(context, sealed).map_err(|error| CommandError::Internal(Box::new(error)))
    }

    /// An access key's secret.
    pub(super) fn open_key_secret(&self, key: &AccessKey) -> Result<Vec<u8>, CommandError> {
        self.open(&key_context(&key.id), &key.sealed_secret)
    }

    /// A ProductSecret. It was text when it was sealed.
    pub(super) fn open_product_secret(&self, product: &Product) -> Result<String, CommandError> {
        let secret = self.open(&product_context(&product.new.key), &product.new.sealed_secret)?;
        String::from_utf8(secret).map_err(|error| CommandError::Internal(Box::new(error)))
    }

    /// A DeviceSecret as devices are given it: 32 hex digits.
    pub(super) fn open_device_secret(
        &self,
        product: &ProductKey,
        device: &Device,
    ) -> Result<String, CommandError> {
        Ok(hex(&self.open(&device_context(product, &device.name), &device.sealed_secret)?))
    }
}

pub(super) fn key_context(id: &AccessKeyId) -> String {
    format!("access-key/{id}")
}

pub(super) fn product_context(key: &ProductKey) -> String {
    format!("product/{key}")
}

pub(super) fn device_context(product: &ProductKey, name: &DeviceName) -> String {
    format!("device/{product}/{name}")
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
