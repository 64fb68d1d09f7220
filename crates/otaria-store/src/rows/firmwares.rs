//! Uploads and firmware.

use otaria_core::firmware::{
    Digest, FirmwareKind, FirmwareName, FirmwareStatus, NewFile, NewFirmware, SignMethod,
};
use otaria_core::ids::{AccountNo, FirmwareId, FirmwareNo, ProductKey, ProductNo, Version};
use otaria_ports::store::{Firmware, PackageFile, StoreError, StoredUpload, UploadKind};
use serde_json::{Value, json};

use super::{Columns, Of, module};

pub(crate) fn upload(row: &impl Columns) -> Result<StoredUpload, StoreError> {
    let of = Of { table: "upload", row };
    Ok(StoredUpload {
        url: of.get("url")?,
        account: AccountNo(of.get("account_id")?),
        kind: of.parsed("kind", UploadKind::parse)?,
        object: of.get("object")?,
        size: of.count("size")?,
        md5: of.get("md5")?,
        sha256: of.get("sha256")?,
        lines: of.count("lines")?,
        created_at: of.at("created_at")?,
    })
}

pub(crate) fn firmware(row: &impl Columns) -> Result<Firmware, StoreError> {
    let of = Of { table: "firmware", row };
    let version = |text: &str| Version::parse(text).ok();
    let product_key = of.parsed("key", |text: &str| ProductKey::parse(text).ok())?;
    let sign_method = of.parsed("sign_method", SignMethod::parse)?;
    Ok(Firmware {
        no: FirmwareNo(of.get("no")?),
        id: of.parsed("id", |text: &str| FirmwareId::parse(text).ok())?,
        account: AccountNo(of.get("account_id")?),
        product: ProductNo(of.get("product_no")?),
        new: NewFirmware {
            product: product_key.clone(),
            name: of.parsed("name", |text: &str| FirmwareName::parse(text).ok())?,
            dest_version: of.parsed("dest_version", version)?,
            kind: match of.maybe("src_version", version)? {
                Some(src_version) => FirmwareKind::Difference { src_version },
                None => FirmwareKind::Whole,
            },
            module: of.parsed("module", module)?,
            description: of.get("description")?,
            files: of.parsed("asked_files", |text| read_asked_files(text, sign_method))?,
            sign_method,
            need_to_verify: of.get::<i64>("need_to_verify")? == 1,
            udi: of.get("udi")?,
        },
        product_key,
        files: of.parsed("files", read_files)?,
        status: of.parsed("status", FirmwareStatus::from_code)?,
        created_at: of.at("created_at")?,
        modified_at: of.at("modified_at")?,
    })
}

/// The files as they were asked for, as one text.
pub(crate) fn asked_files(files: &[NewFile]) -> String {
    let files = files.iter().map(|file| {
        json!({
            "name": file.name,
            "url": file.url,
            "size": file.size_bytes,
            "sign": file.sign.as_ref().map(Digest::as_str),
            "md5": file.md5.as_ref().map(Digest::as_str),
        })
    });
    Value::Array(files.collect()).to_string()
}

fn read_asked_files(text: &str, method: SignMethod) -> Option<Vec<NewFile>> {
    let file = |file: &Value| {
        let digest = |name: &str, method| match &file[name] {
            Value::Null => Some(None),
            digest => Digest::parse(method, digest.as_str()?).map(Some),
        };
        Some(NewFile {
            name: file["name"].as_str().map(str::to_owned),
            url: file["url"].as_str()?.to_owned(),
            size_bytes: file["size"].as_u64(),
            sign: digest("sign", method)?,
            md5: digest("md5", SignMethod::Md5)?,
        })
    };
    serde_json::from_str::<Value>(text).ok()?.as_array()?.iter().map(file).collect()
}

/// The files as they are, as one text.
pub(crate) fn files(files: &[PackageFile]) -> String {
    let files = files.iter().map(|file| {
        json!({
            "name": file.name,
            "url": file.url,
            "object": file.object,
            "size": file.size,
            "md5": file.md5,
            "sha256": file.sha256,
        })
    });
    Value::Array(files.collect()).to_string()
}

fn read_files(text: &str) -> Option<Vec<PackageFile>> {
    let file = |file: &Value| {
        let text = |name: &str| file[name].as_str().map(str::to_owned);
        Some(PackageFile {
            name: text("name")?,
            url: text("url")?,
            object: text("object")?,
            size: file["size"].as_u64()?,
            md5: text("md5")?,
            sha256: text("sha256")?,
        })
    };
    serde_json::from_str::<Value>(text).ok()?.as_array()?.iter().map(file).collect()
}
