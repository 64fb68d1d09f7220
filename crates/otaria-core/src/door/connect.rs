//! What a device says when it connects, and whether its password proves it.
//!
//! The client id is `{id}|key=value,key=value,…|`, the user name `{deviceName}&{productKey}`, and the
//! password the hexadecimal HMAC, keyed with the device's secret, over
//! `clientId{id}deviceName{dn}productKey{pk}`, followed by `timestamp{ts}` where the client id has one.
//! The timestamp is text to us: devices without a clock send a constant.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::ids::{DeviceName, ProductKey};

/// Longest client id in bytes. The longest one in the field is about 130.
pub const CLIENT_ID_MAX: usize = 256;
/// Longest `{id}` in bytes.
const ID_MAX: usize = 64;
/// Longest timestamp in digits; milliseconds need 13.
const TIMESTAMP_MAX: usize = 20;
/// Hexadecimal digits of the longest digest.
const PASSWORD_MAX: usize = 64;

/// Why a CONNECT is refused before anybody looks for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConnect {
    /// The client id is not of the known form.
    #[error("client id {0}")]
    ClientId(&'static str),
    /// The user name is not `{deviceName}&{productKey}`.
    #[error("user name must be deviceName&productKey")]
    UserName,
    /// The client id asks for registration on the way in, which this gateway does not serve.
    #[error("registration by CONNECT is not served")]
    Registration,
}

/// The digest under a device's password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HmacMethod {
    /// `hmacmd5`, meant when no method is named.
    #[default]
    Md5,
    /// `hmacsha1`.
    Sha1,
    /// `hmacsha256`.
    Sha256,
}

/// How a device says that it reached us. Told, not proven: a proxy may have ended the TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureMode {
    /// `securemode=2`.
    Tls,
    /// `securemode=3`.
    Plain,
}

/// A well-formed CONNECT of a device. Nothing of it is proven before [`ConnectClaim::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectClaim {
    /// The product named by the user name.
    pub product_key: ProductKey,
    /// The device named by the user name.
    pub device_name: DeviceName,
    /// What stands before the first bar of the client id.
    pub id: Box<str>,
    /// The digest of the password.
    pub sign_method: HmacMethod,
    /// The timestamp as it was written.
    pub timestamp: Option<Box<str>>,
    /// How the device says that it came.
    pub secure_mode: Option<SecureMode>,
    /// `_ss=1`: the gateway subscribes the device to its own topics.
    pub server_subscribes: bool,
}

/// Whether a user name is a platform client's: an access key id, which never holds an ampersand.
#[must_use]
pub fn is_platform(user_name: &str) -> bool {
    !user_name.contains('&')
}

impl ConnectClaim {
    /// Reads client id and user name.
    ///
    /// # Errors
    /// Says which of the two is not of the known form.
    pub fn parse(client_id: &str, user_name: &str) -> Result<Self, BadConnect> {
        let (device_name, product_key) = user_name.split_once('&').ok_or(BadConnect::UserName)?;
        let device_name = DeviceName::parse(device_name).map_err(|_| BadConnect::UserName)?;
        let product_key = ProductKey::parse(product_key).map_err(|_| BadConnect::UserName)?;

        if client_id.len() > CLIENT_ID_MAX {
            return Err(BadConnect::ClientId("must be at most 256 bytes"));
        }
        let (id, rest) = client_id.split_once('|').ok_or(BadConnect::ClientId("must hold two bars"))?;
        let pairs = rest.strip_suffix('|').ok_or(BadConnect::ClientId("must end with a bar"))?;
        if id.is_empty() || id.len() > ID_MAX {
            return Err(BadConnect::ClientId("must begin with 1-64 bytes"));
        }
        let mut claim = Self {
            product_key,
            device_name,
            id: id.into(),
            sign_method: HmacMethod::default(),
            timestamp: None,
            secure_mode: None,
            server_subscribes: false,
        };
        claim.read_pairs(pairs)?;
        Ok(claim)
    }

    fn read_pairs(&mut self, pairs: &str) -> Result<(), BadConnect> {
        let mut method = None;
        // Some clients leave a comma before the last bar.
        for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or(BadConnect::ClientId("must hold key=value pairs"))?;
            match key {
                "signmethod" if method.is_none() => method = Some(parse_method(value)?),
                "timestamp" if self.timestamp.is_none() => self.timestamp = Some(parse_timestamp(value)?),
                "securemode" if self.secure_mode.is_none() => self.secure_mode = Some(parse_mode(value)?),
                // Twice the same key would leave open which one was signed.
                "signmethod" | "timestamp" | "securemode" => {
                    return Err(BadConnect::ClientId("must name each key once"));
                }
                "_ss" => self.server_subscribes = value == "1",
                "authType" => return Err(BadConnect::Registration),
                _ => {}
            }
        }
        self.sign_method = method.unwrap_or_default();
        Ok(())
    }

    /// Whether `password` proves that the other side knows `secret`.
    ///
    /// The digests are compared in constant time, hexadecimal digits without case.
    #[must_use]
    pub fn verify(&self, secret: &[u8], password: &[u8]) -> bool {
        let Some(given) = parse_hex(password) else { return false };
        let expected = self.digest(secret);
        expected.len() == given.len() && bool::from(expected.ct_eq(&given))
    }

    /// The password that [`ConnectClaim::verify`] accepts, in lower case: for simulated devices.
    #[must_use]
    pub fn password(&self, secret: &[u8]) -> String {
        use std::fmt::Write;
        self.digest(secret).iter().fold(String::with_capacity(PASSWORD_MAX), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // Writing to a String never fails.
            hex
        })
    }

    fn digest(&self, secret: &[u8]) -> Vec<u8> {
        match self.sign_method {
            HmacMethod::Md5 => self.sign(Hmac::<Md5>::new_from_slice(secret)),
            HmacMethod::Sha1 => self.sign(Hmac::<Sha1>::new_from_slice(secret)),
            HmacMethod::Sha256 => self.sign(Hmac::<Sha256>::new_from_slice(secret)),
        }
    }

    fn sign<M: Mac, E: std::fmt::Debug>(&self, mac: Result<M, E>) -> Vec<u8> {
        // HMAC takes keys of every length.
        let mut mac = mac.expect("an HMAC key of any length");
        let (id, dn, pk) = (&*self.id, self.device_name.as_str(), self.product_key.as_str());
        for part in ["clientId", id, "deviceName", dn, "productKey", pk] {
            mac.update(part.as_bytes());
        }
        if let Some(timestamp) = &self.timestamp {
            mac.update(b"timestamp");
            mac.update(timestamp.as_bytes());
        }
        mac.finalize().into_bytes().to_vec()
    }
}

fn parse_method(value: &str) -> Result<HmacMethod, BadConnect> {
    [("hmacmd5", HmacMethod::Md5), ("hmacsha1", HmacMethod::Sha1), ("hmacsha256", HmacMethod::Sha256)]
        .into_iter()
        .find_map(|(name, method)| value.eq_ignore_ascii_case(name).then_some(method))
        .ok_or(BadConnect::ClientId("must name hmacmd5, hmacsha1 or hmacsha256 as signmethod"))
}

fn parse_timestamp(value: &str) -> Result<Box<str>, BadConnect> {
    let ok = (1..=TIMESTAMP_MAX).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    if ok { Ok(value.into()) } else { Err(BadConnect::ClientId("must have digits as timestamp")) }
}

fn parse_mode(value: &str) -> Result<SecureMode, BadConnect> {
    match value {
        "2" => Ok(SecureMode::Tls),
        "3" => Ok(SecureMode::Plain),
        _ => Err(BadConnect::ClientId("must have securemode 2 or 3")),
    }
}

fn parse_hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > PASSWORD_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
