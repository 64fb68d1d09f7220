//! How a device proves who it is at CONNECT, in the manner of the three families of device kits in the field.
//!
//! The password is the HMAC, keyed with the device's secret, over the names and values
//! `clientId… deviceName… productKey… [timestamp…]` in a row.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;

/// How the password is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SignMethod {
    /// MD5
    #[value(name = "hmacmd5")]
    HmacMd5,
    /// SHA-1
    #[value(name = "hmacsha1")]
    HmacSha1,
    /// SHA-256
    #[value(name = "hmacsha256")]
    HmacSha256,
}

impl SignMethod {
    /// As the client id has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HmacMd5 => "hmacmd5",
            Self::HmacSha1 => "hmacsha1",
            Self::HmacSha256 => "hmacsha256",
        }
    }
}

/// A family of device kits: they differ in how they sign, name themselves, number their messages and in the
/// quality of service of their version reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kit {
    /// Python: SHA-1, seconds as timestamp, numbers as message ids, QoS 0
    Python,
    /// C: SHA-256 in upper case, the timestamp 2524608000000, QoS 1
    C,
    /// Node: MD5 here, milliseconds as timestamp, texts as message ids, QoS 0
    Node,
}

impl Kit {
    /// The kit of the n-th device of a fleet: all three are there in equal shares.
    pub(crate) fn of(index: usize) -> Self {
        [Self::Python, Self::C, Self::Node][index % 3]
    }
}

/// What CONNECT carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) password: String,
}

impl Login {
    /// The login of a device that asks the server to subscribe it to the system topics (`_ss=1`).
    pub(crate) fn new(kit: Kit, product_key: &str, device_name: &str, secret: &str, tls: bool) -> Self {
        let mode = if tls { 2 } else { 3 };
        let (id, options, method, timestamp) = match kit {
            Kit::Python => (
                format!("{product_key}&{device_name}"),
                "ext=1,_ss=1,lan=Python,_v=1.2.13",
                SignMethod::HmacSha1,
                "1763712000",
            ),
            Kit::C => (
                format!("{product_key}.{device_name}"),
                "_ss=1,_v=sdk-c-4.1.0,ext=3",
                SignMethod::HmacSha256,
                "2524608000000",
            ),
            Kit::Node => (
                format!("{product_key}&{device_name}"),
                "_ss=1,lan=NodeJS,_v=1.2.8",
                SignMethod::HmacMd5,
                "1763712000250",
            ),
        };
        let mut password = sign(method, secret, &id, device_name, product_key, Some(timestamp));
        if kit == Kit::C {
            password.make_ascii_uppercase();
        }
        let name = method.name();
        // The C kit leaves a comma before the last bar.
        let end = if kit == Kit::C { ",|" } else { "|" };
        let client_id =
            format!("{id}|securemode={mode},signmethod={name},{options},timestamp={timestamp}{end}");
        Self { client_id, user_name: format!("{device_name}&{product_key}"), password }
    }
}

/// The password for the client id `id` (what stands before the first bar), in lower case.
pub(crate) fn sign(
    method: SignMethod,
    secret: &str,
    id: &str,
    device_name: &str,
    product_key: &str,
    timestamp: Option<&str>,
) -> String {
    let mut content = format!("clientId{id}deviceName{device_name}productKey{product_key}");
    if let Some(timestamp) = timestamp {
        content.push_str("timestamp");
        content.push_str(timestamp);
    }
    match method {
        SignMethod::HmacMd5 => digest::<Hmac<Md5>>(secret, &content),
        SignMethod::HmacSha1 => digest::<Hmac<Sha1>>(secret, &content),
        SignMethod::HmacSha256 => digest::<Hmac<Sha256>>(secret, &content),
    }
}

fn digest<M: Mac + KeyInit>(secret: &str, content: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(content.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// Bytes as lower case hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: &str = "a1Le6d0abcd";
    const DEVICE: &str = "dev_0001";
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn passwords_are_those_of_the_kits_in_the_field() {
        use SignMethod::{HmacMd5, HmacSha1, HmacSha256};
        let with_and = "a1Le6d0abcd&dev_0001";
        let with_dot = "a1Le6d0abcd.dev_0001";
        let (python, node, c) = (Some("1763712000"), Some("1763712000250"), Some("2524608000000"));
        for (id, timestamp, method, expected) in [
            (with_and, python, HmacSha1, "4fb869eeed6eb7804207f35505179a63c925ce9a"),
            (with_dot, c, HmacSha256, "196c3d62ed528a3ccc6aaba8a116fd9e1371b43978b901a10508c2edcc649264"),
            (with_and, node, HmacSha1, "308de2fb6f6717a803cceb9079bdeb106094e380"),
            (with_and, python, HmacMd5, "c5e40b0e3c4105395495889242780dc1"),
            (
                with_and,
                python,
                HmacSha256,
                "5811b7ba6c4d597b1f7a944dd09ad4a630ae0b96c04d381041c0e8b17640c4e2",
            ),
            (with_dot, c, HmacMd5, "b26a1e30f244964c1c2123cdb318ed3a"),
            (with_dot, c, HmacSha1, "a1a00ad3a2452fe027bcb24596bb63ea0ad67939"),
            ("12345", None, HmacMd5, "291d5e072f91a850e7b7e1874f0a69ec"),
            ("12345", None, HmacSha1, "f00c63e59059361e01d49316f6aeb67ea4593d76"),
            ("12345", None, HmacSha256, "6a3540faad60b0137e27407982fb66eb3045f42a6fb3efb18d9859ae67704d96"),
        ] {
            assert_eq!(sign(method, SECRET, id, DEVICE, PRODUCT, timestamp), expected, "{id} {method:?}");
        }
    }

    #[test]
    fn a_login_asks_for_the_system_topics_and_names_its_transport() {
        for (index, method) in ["hmacsha1", "hmacsha256", "hmacmd5"].into_iter().enumerate() {
            let login = Login::new(Kit::of(index), PRODUCT, DEVICE, SECRET, false);
            assert_eq!(login.user_name, "dev_0001&a1Le6d0abcd");
            assert!(login.client_id.contains("|securemode=3,"), "{}", login.client_id);
            assert!(login.client_id.contains(&format!(",signmethod={method},")), "{}", login.client_id);
            assert!(login.client_id.contains(",_ss=1,"), "{}", login.client_id);
            assert!(login.client_id.ends_with('|'));
        }
        let tls = Login::new(Kit::Python, PRODUCT, DEVICE, SECRET, true);
        assert!(tls.client_id.contains("|securemode=2,"));
        assert_eq!(tls.password, "4fb869eeed6eb7804207f35505179a63c925ce9a");
    }
}
