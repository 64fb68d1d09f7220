//! The rules of `CreateOTAFirmware`.
//!
//! Whether a URL was issued and uploaded to, and whether the upload has the size and digest given, is for
//! those who hold the files.

mod modify;

pub use modify::{FirmwareChange, FirmwareChangeParams};

use std::collections::BTreeSet;

use super::text::{between, free, given, name, required};
use super::{Code, Limits, Refusal};
use crate::firmware::{Digest, FirmwareKind, FirmwareName, NewFile, NewFirmware, SignMethod};
use crate::ids::{ModuleName, ProductKey, Version};

/// Files of one package at most.
const FILES_MAX: usize = 20;

/// `CreateOTAFirmware` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct FirmwareParams {
    pub product_key: Option<String>,
    pub firmware_name: Option<String>,
    pub dest_version: Option<String>,
    /// `Type`.
    pub kind: Option<i64>,
    pub src_version: Option<String>,
    pub module_name: Option<String>,
    pub firmware_desc: Option<String>,
    pub firmware_url: Option<String>,
    pub firmware_size: Option<i64>,
    pub firmware_sign: Option<String>,
    pub multi_files: Vec<MultiFileParams>,
    pub sign_method: Option<String>,
    pub need_to_verify: Option<bool>,
    pub udi: Option<String>,
}

/// One of `MultiFiles`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct MultiFileParams {
    pub name: Option<String>,
    pub url: Option<String>,
    pub size: Option<i64>,
    pub sign_value: Option<String>,
    pub file_md5: Option<String>,
}

impl FirmwareParams {
    /// Makes a valid firmware of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self, limits: &Limits) -> Result<NewFirmware, Refusal> {
        let firmware_name = required("FirmwareName", self.firmware_name.as_ref())?;
        let dest_version = required("DestVersion", self.dest_version.as_ref())?;
        let product = required("ProductKey", self.product_key.as_ref())?;
        let dest_version = name("DestVersion", Code::InvalidParameter, dest_version, Version::parse)?;
        let sign_method = self.sign_method()?;

        Ok(NewFirmware {
            product: name("ProductKey", Code::InvalidProductKey, product, ProductKey::parse)?,
            name: name("FirmwareName", Code::InvalidParameter, firmware_name, FirmwareName::parse)?,
            kind: self.kind(&dest_version)?,
            dest_version,
            module: match given(self.module_name.as_ref()) {
                None => ModuleName::default_module(),
                Some(text) => name("ModuleName", Code::InvalidParameter, text, ModuleName::parse)?,
            },
            description: optional_text("FirmwareDesc", self.firmware_desc.as_ref(), 100)?,
            files: self.files(sign_method, limits)?,
            sign_method,
            need_to_verify: self.need_to_verify.unwrap_or(true),
            udi: optional_text("Udi", self.udi.as_ref(), 4096)?,
        })
    }

    fn sign_method(&self) -> Result<SignMethod, Refusal> {
        let Some(text) = given(self.sign_method.as_ref()) else { return Ok(SignMethod::default()) };
        let unknown = || Refusal::invalid(Code::InvalidParameter, "SignMethod", "must be MD5 or SHA256");
        SignMethod::parse(text).ok_or_else(unknown)
    }

    fn kind(&self, dest_version: &Version) -> Result<FirmwareKind, Refusal> {
        let refuse = |parameter, rule| Err(Refusal::invalid(Code::InvalidParameter, parameter, rule));
        match (self.kind.unwrap_or(0), given(self.src_version.as_ref())) {
            (0, None) => Ok(FirmwareKind::Whole),
            (0, Some(_)) => refuse("SrcVersion", "is only for difference packages (Type 1)"),
            (1, None) => Err(Refusal::missing("SrcVersion", " with Type 1")),
            (1, Some(text)) => {
                let src_version = name("SrcVersion", Code::InvalidSrcVersion, text, Version::parse)?;
                if src_version == *dest_version {
                    return refuse("SrcVersion", "must differ from DestVersion");
                }
                Ok(FirmwareKind::Difference { src_version })
            }
            _ => refuse("Type", "must be 0 (whole) or 1 (difference)"),
        }
    }

    fn files(&self, method: SignMethod, limits: &Limits) -> Result<Vec<NewFile>, Refusal> {
        if self.multi_files.is_empty() {
            return Ok(vec![self.only_file(method, limits)?]);
        }
        let flat = [
            ("FirmwareUrl", given(self.firmware_url.as_ref()).is_some()),
            ("FirmwareSign", given(self.firmware_sign.as_ref()).is_some()),
            ("FirmwareSize", self.firmware_size.is_some()),
        ];
        if let Some((parameter, _)) = flat.into_iter().find(|(_, is_given)| *is_given) {
            return Err(Refusal::invalid(Code::InvalidParameter, parameter, "excludes MultiFiles"));
        }
        if self.multi_files.len() > FILES_MAX {
            let rule = format!("may have at most {FILES_MAX} entries, not {}", self.multi_files.len());
            return Err(Refusal::invalid(Code::InvalidParameter, "MultiFiles", rule));
        }
        let files: Vec<NewFile> = (1..)
            .zip(&self.multi_files)
            .map(|(n, file)| file.parse(&format!("MultiFiles.{n}"), method, limits))
            .collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        match files.iter().position(|file| !seen.insert(&file.name)) {
            None => Ok(files),
            Some(at) => {
                let parameter = format!("MultiFiles.{}.Name", at + 1);
                Err(Refusal::invalid(Code::InvalidParameter, parameter, "must be unique in the package"))
            }
        }
    }

    fn only_file(&self, method: SignMethod, limits: &Limits) -> Result<NewFile, Refusal> {
        let url = given(self.firmware_url.as_ref());
        Ok(NewFile {
            name: None,
            url: url_of(
                "FirmwareUrl",
                url.ok_or_else(|| Refusal::missing("FirmwareUrl", " without MultiFiles"))?,
            )?,
            size_bytes: size_of("FirmwareSize", self.firmware_size, limits)?,
            sign: digest_of("FirmwareSign", method, self.firmware_sign.as_ref())?,
            md5: None,
        })
    }
}

impl MultiFileParams {
    fn parse(&self, place: &str, method: SignMethod, limits: &Limits) -> Result<NewFile, Refusal> {
        let (name, url) = (format!("{place}.Name"), format!("{place}.Url"));
        let (sign_value, file_md5) = (format!("{place}.SignValue"), format!("{place}.FileMd5"));
        let file_name = free(&name, Code::InvalidParameter, required(&name, self.name.as_ref())?, 1, 32)?;
        let sign = digest_of(&sign_value, method, self.sign_value.as_ref())?;
        let md5 = digest_of(&file_md5, SignMethod::Md5, self.file_md5.as_ref())?;
        let (sign, md5) = match (method, sign, md5) {
            // One digest under two names.
            (SignMethod::Md5, Some(sign), Some(md5)) if sign != md5 => {
                return Err(Refusal::invalid(
                    Code::InvalidParameter,
                    file_md5,
                    "must equal SignValue with SignMethod MD5",
                ));
            }
            (SignMethod::Md5, sign, md5) => (sign.or(md5), None),
            (SignMethod::Sha256, sign, md5) => (sign, md5),
        };
        Ok(NewFile {
            name: Some(file_name),
            url: url_of(&url, required(&url, self.url.as_ref())?)?,
            size_bytes: size_of(&format!("{place}.Size"), self.size, limits)?,
            sign,
            md5,
        })
    }
}

fn optional_text(parameter: &str, text: Option<&String>, max: usize) -> Result<String, Refusal> {
    free(parameter, Code::InvalidParameter, text.map(String::as_str).unwrap_or_default(), 0, max)
}

fn url_of(parameter: &str, text: &str) -> Result<String, Refusal> {
    free(parameter, Code::InvalidParameter, text, 1, super::URL_MAX_CHARS)
}

fn size_of(parameter: &str, size: Option<i64>, limits: &Limits) -> Result<Option<u64>, Refusal> {
    let Some(size) = size else { return Ok(None) };
    let max = i64::try_from(limits.firmware_max_bytes).unwrap_or(i64::MAX);
    let size = between(parameter, Code::InvalidParameter, size, 1, max)?;
    Ok(u64::try_from(size).ok())
}

fn digest_of(parameter: &str, method: SignMethod, text: Option<&String>) -> Result<Option<Digest>, Refusal> {
    let Some(text) = given(text) else { return Ok(None) };
    let rule = || format!("must be {} hex digits for {}", method.hex_digits(), method.as_str());
    let digest = Digest::parse(method, text);
    digest.map(Some).ok_or_else(|| Refusal::invalid(Code::InvalidParameter, parameter, rule()))
}

#[cfg(test)]
mod tests;
