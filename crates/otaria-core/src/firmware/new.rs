//! A firmware as a caller wants it, valid by construction; made by [`crate::rules`].

use std::fmt;

use crate::ids::{BadName, ModuleName, ProductKey, Version};

/// The name of an update package, unique in its account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirmwareName(Box<str>);

impl FirmwareName {
    /// Takes 1–40 letters of any script, digits, `-`, `_`, `(` or `)`, beginning with a letter or digit.
    ///
    /// # Errors
    /// Names the rule when the text is something else.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let starts_well = text.starts_with(char::is_alphanumeric);
        let fits = text.chars().nth(40).is_none();
        if starts_well && fits && text.chars().all(|c| c.is_alphanumeric() || "-_()".contains(c)) {
            return Ok(Self(text.into()));
        }
        let rule = "1-40 letters, digits, `-`, `_`, `(` or `)`, beginning with a letter or digit";
        Err(BadName { what: "FirmwareName", rule })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FirmwareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the digest of a package is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignMethod {
    /// 128 bits; what the seed API has.
    #[default]
    Md5,
    /// 256 bits.
    Sha256,
}

impl SignMethod {
    /// The name in the API and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA256",
        }
    }

    /// The name in notices: device SDKs compare it with case, and it is not the API's.
    #[must_use]
    pub const fn on_device_wire(self) -> &'static str {
        match self {
            Self::Md5 => "Md5",
            Self::Sha256 => "SHA256",
        }
    }

    /// Reads the API's name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|method| method.as_str() == text)
    }

    /// How many hex digits a digest has.
    #[must_use]
    pub const fn hex_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }
}

/// A digest in lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest(Box<str>);

impl Digest {
    /// Takes hex digits of either case, as many as the method makes.
    #[must_use]
    pub fn parse(method: SignMethod, text: &str) -> Option<Self> {
        let is_hex = text.len() == method.hex_digits() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which devices a package applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareKind {
    /// 0: whatever they run now.
    Whole,
    /// 1: those that run one version.
    Difference {
        /// That version; never the package's own.
        src_version: Version,
    },
}

impl FirmwareKind {
    /// The number on the wire and in the store.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self {
            Self::Whole => 0,
            Self::Difference { .. } => 1,
        }
    }

    /// The only version that the package applies to, if there is one.
    #[must_use]
    pub const fn src_version(&self) -> Option<&Version> {
        match self {
            Self::Whole => None,
            Self::Difference { src_version } => Some(src_version),
        }
    }
}

/// One uploaded file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its name, 1–32 characters and unique in the package; the only file of a package may have none.
    pub name: Option<String>,
    /// The `FirmwareUrl` that its upload was answered with.
    pub url: String,
    /// Its bytes, when the caller says so; checked against the upload.
    pub size_bytes: Option<u64>,
    /// Its digest by the package's method, when the caller says so; checked against the upload.
    pub sign: Option<Digest>,
    /// Its MD5, when the caller says so beside another method's digest; checked against the upload.
    pub md5: Option<Digest>,
}

/// A firmware to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFirmware {
    /// Of which product.
    pub product: ProductKey,
    /// What people call it.
    pub name: FirmwareName,
    /// The version that it brings.
    pub dest_version: Version,
    /// Whole or difference.
    pub kind: FirmwareKind,
    /// The module it is for.
    pub module: ModuleName,
    /// Free text, at most 100 characters.
    pub description: String,
    /// 1–20 files.
    pub files: Vec<NewFile>,
    /// How digests are made.
    pub sign_method: SignMethod,
    /// Whether a verify job has to succeed before it is rolled out.
    pub need_to_verify: bool,
    /// Free text for the device, at most 4096 characters.
    pub udi: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_any_script_make_a_name() {
        for good in ["fw", "固件1", "A-b_c(1)", "1", &"x".repeat(40)] {
            assert!(FirmwareName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-fw", "(1)", "a b", "a/b", "a.b", &"x".repeat(41)] {
            assert!(FirmwareName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_has_the_length_of_its_method() {
        let md5 = "D41D8CD98F00B204E9800998ECF8427E";
        assert_eq!(Digest::parse(SignMethod::Md5, md5).unwrap().as_str(), md5.to_lowercase());
        assert_eq!(Digest::parse(SignMethod::Sha256, md5), None);
        assert_eq!(Digest::parse(SignMethod::Md5, &md5.replace('D', "g")), None);
        assert_eq!(SignMethod::parse("Md5"), None);
        assert_eq!(SignMethod::parse("MD5").map(SignMethod::on_device_wire), Some("Md5"));
    }
}
