//! The rules of products, devices, uploads and accounts: everything around a job that is not a package.

use super::text::{free, given, name, one_of, required};
use super::{Code, Refusal};
use crate::firmware::{Digest, SignMethod};
use crate::ids::{DeviceName, ProductKey};

/// Characters of a product's or an account's own words at most.
const TEXT_MAX_CHARS: usize = 100;

/// What a package file may be called by, as the seed's newer pages list it; the first is the default.
pub const PACKAGE_SUFFIXES: &[&str] =
    &["bin", "dav", "apk", "tar", "gz", "tar.gz", "tar.xz", "zip", "gzip", "pack"];

/// `CreateProduct` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct ProductParams {
    pub product_name: Option<String>,
    pub node_type: Option<i64>,
    pub description: Option<String>,
    pub auth_type: Option<String>,
    pub data_format: Option<i64>,
}

/// A product to be made, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductDraft {
    /// 4–30 characters.
    pub name: String,
    /// Free text, at most 100 characters.
    pub description: String,
    /// 0 device, 1 gateway.
    pub node_type: u8,
}

impl ProductParams {
    /// Makes a valid product of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self) -> Result<ProductDraft, Refusal> {
        let name = required("ProductName", self.product_name.as_ref())?;
        let spelled = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !spelled || !(4..=30).contains(&name.chars().take(31).count()) {
            let rule = "must be 4-30 letters, digits or `_`";
            return Err(Refusal::invalid(Code::InvalidProductName, "ProductName", rule));
        }
        let Some(node_type) = self.node_type else { return Err(Refusal::missing("NodeType", "")) };
        let node_type = one_of("NodeType", Code::InvalidParameter, node_type, &[0, 1])?;
        if given(self.auth_type.as_ref()).is_some_and(|text| text != "secret") {
            return Err(Refusal::invalid(Code::InvalidParameter, "AuthType", "must be secret"));
        }
        one_of("DataFormat", Code::InvalidParameter, self.data_format.unwrap_or(1), &[0, 1])?;
        let description = self.description.as_deref().unwrap_or_default();
        Ok(ProductDraft {
            name: name.to_owned(),
            description: free("Description", Code::InvalidParameter, description, 0, TEXT_MAX_CHARS)?,
            node_type: u8::try_from(node_type).unwrap_or_default(),
        })
    }
}

/// A device to be registered, as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct DeviceParams {
    pub device_name: Option<String>,
    pub nickname: Option<String>,
}

/// A device to be registered, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDraft {
    /// Its name; absent when the server is to make one up.
    pub name: Option<DeviceName>,
    /// 4–64 characters for people.
    pub nickname: Option<String>,
}

impl DeviceParams {
    /// Makes a valid device of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self) -> Result<DeviceDraft, Refusal> {
        Ok(DeviceDraft {
            name: given(self.device_name.as_ref()).map(device_name).transpose()?,
            nickname: given(self.nickname.as_ref())
                .map(|text| free("Nickname", Code::InvalidParameter, text, 4, 64))
                .transpose()?,
        })
    }
}

/// The product that a call names.
///
/// # Errors
/// When none is named, or the text is no product key.
pub fn product_key(text: Option<&String>) -> Result<ProductKey, Refusal> {
    name("ProductKey", Code::InvalidProductKey, required("ProductKey", text)?, ProductKey::parse)
}

/// The device that a call names.
///
/// # Errors
/// When the text is no device name.
pub fn device_name(text: &str) -> Result<DeviceName, Refusal> {
    name("DeviceName", Code::InvalidDeviceName, text, DeviceName::parse)
}

/// The name of an account to be made: 1–64 characters, none of them a control character.
///
/// # Errors
/// When it is missing or something else.
pub fn account_name(text: Option<&String>) -> Result<String, Refusal> {
    let text = required("AccountName", text)?;
    if text.chars().any(char::is_control) {
        let rule = "must not hold control characters";
        return Err(Refusal::invalid(Code::InvalidParameter, "AccountName", rule));
    }
    free("AccountName", Code::InvalidParameter, text, 1, 64)
}

/// What a caller announces of an upload. Absent parts are not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct UploadParams {
    pub file_suffix: Option<String>,
    pub size_bytes: Option<i64>,
    pub md5: Option<String>,
    pub sha256: Option<String>,
}

/// What an upload has to be, valid by construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// One of [`PACKAGE_SUFFIXES`]; means something for packages only.
    pub suffix: &'static str,
    /// Bytes.
    pub size: Option<u64>,
    /// MD5.
    pub md5: Option<Digest>,
    /// SHA-256.
    pub sha256: Option<Digest>,
}

impl UploadParams {
    /// Checks what is announced. `max_bytes` is the largest size allowed.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self, max_bytes: u64) -> Result<Announced, Refusal> {
        Ok(Announced {
            suffix: self.suffix()?,
            size: self.size(max_bytes)?,
            md5: digest("Md5", SignMethod::Md5, self.md5.as_ref())?,
            sha256: digest("Sha256", SignMethod::Sha256, self.sha256.as_ref())?,
        })
    }

    fn suffix(&self) -> Result<&'static str, Refusal> {
        let Some(text) = given(self.file_suffix.as_ref()) else { return Ok(PACKAGE_SUFFIXES[0]) };
        let known = PACKAGE_SUFFIXES.iter().copied().find(|suffix| *suffix == text);
        let rule = || format!("must be one of {}", PACKAGE_SUFFIXES.join(", "));
        known.ok_or_else(|| Refusal::invalid(Code::InvalidParameter, "FileSuffix", rule()))
    }

    fn size(&self, max_bytes: u64) -> Result<Option<u64>, Refusal> {
        let Some(size) = self.size_bytes else { return Ok(None) };
        match u64::try_from(size) {
            Ok(size) if (1..=max_bytes).contains(&size) => Ok(Some(size)),
            Ok(_) | Err(_) => {
                let rule = format!("must be 1 to {max_bytes}, not {size}");
                Err(Refusal::invalid(Code::InvalidParameter, "SizeBytes", rule))
            }
        }
    }
}

fn digest(parameter: &str, method: SignMethod, text: Option<&String>) -> Result<Option<Digest>, Refusal> {
    let Some(text) = given(text) else { return Ok(None) };
    let rule = || format!("must be {} hex digits", method.hex_digits());
    let digest = Digest::parse(method, text);
    digest.map(Some).ok_or_else(|| Refusal::invalid(Code::InvalidParameter, parameter, rule()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(name: &str) -> ProductParams {
        ProductParams { product_name: Some(name.into()), node_type: Some(0), ..ProductParams::default() }
    }

    #[test]
    fn a_product_name_has_4_to_30_letters_digits_and_underscores() {
        for good in ["lamp", "Lamp_2", "智能灯具", &"x".repeat(30)] {
            assert_eq!(product(good).parse().unwrap().name, good);
        }
        for bad in ["abc", "a b c", "lamp-2", &"x".repeat(31)] {
            assert_eq!(product(bad).parse().unwrap_err().code, Code::InvalidProductName, "{bad}");
        }
        assert_eq!(ProductParams::default().parse().unwrap_err().code_text(), "MissingProductName");
        let no_type = ProductParams { node_type: None, ..product("lamp") };
        assert_eq!(no_type.parse().unwrap_err().code_text(), "MissingNodeType");
    }

    #[test]
    fn a_device_needs_no_name_but_a_given_one_must_be_good() {
        let params = |name: &str| DeviceParams { device_name: Some(name.into()), nickname: None };
        assert_eq!(params("").parse().unwrap().name, None);
        assert_eq!(params("dev-1").parse().unwrap().name.unwrap().as_str(), "dev-1");
        assert_eq!(params("a/b/c/d").parse().unwrap_err().code, Code::InvalidDeviceName);
    }

    #[test]
    fn an_announced_upload_names_the_parameter_that_is_wrong() {
        let parameter = |params: UploadParams| params.parse(100).unwrap_err().parameter;
        let of = UploadParams::default;
        assert_eq!(parameter(UploadParams { file_suffix: Some("exe".into()), ..of() }), "FileSuffix");
        assert_eq!(parameter(UploadParams { size_bytes: Some(101), ..of() }), "SizeBytes");
        assert_eq!(parameter(UploadParams { size_bytes: Some(-1), ..of() }), "SizeBytes");
        assert_eq!(parameter(UploadParams { md5: Some("12".into()), ..of() }), "Md5");
        assert_eq!(parameter(UploadParams { sha256: Some("zz".into()), ..of() }), "Sha256");
        assert_eq!(of().parse(100).unwrap(), Announced { suffix: "bin", ..Announced::default() });
    }
}
