//! Packages.

use otaria_core::firmware::{FirmwareKind, FirmwareStatus};
use otaria_core::rules::{FirmwareChangeParams, FirmwareParams, MultiFileParams};
use otaria_engine::command::{FirmwareView, sign_of};
use otaria_ports::store::{Firmware, PackageFile};
use otaria_proto::v1;

use super::{count, instant, text, unless_empty};

pub(crate) fn params(request: v1::CreateOtaFirmwareRequest) -> FirmwareParams {
    FirmwareParams {
        product_key: text(request.product_key),
        firmware_name: text(request.firmware_name),
        dest_version: text(request.dest_version),
        // One less than ours: our zero is not given.
        kind: (request.r#type != 0).then(|| i64::from(request.r#type) - 1),
        src_version: request.src_version,
        module_name: request.module_name,
        firmware_desc: request.firmware_desc,
        firmware_url: request.firmware_url,
        firmware_size: request.firmware_size,
        firmware_sign: request.firmware_sign,
        multi_files: request.multi_files.into_iter().map(file_params).collect(),
        sign_method: request.sign_method,
        need_to_verify: request.need_to_verify,
        udi: request.udi,
    }
}

pub(crate) fn change(request: v1::ModifyOtaFirmwareRequest) -> FirmwareChangeParams {
    FirmwareChangeParams {
        product_key: request.product_key,
        firmware_name: request.firmware_name,
        firmware_desc: request.firmware_desc,
        firmware_udi: request.firmware_udi,
    }
}

fn file_params(file: v1::FirmwareFile) -> MultiFileParams {
    MultiFileParams {
        name: text(file.name),
        url: text(file.url),
        size: file.size,
        sign_value: file.sign_value,
        file_md5: file.file_md5,
    }
}

const fn status(status: FirmwareStatus) -> v1::FirmwareStatus {
    match status {
        FirmwareStatus::NoVerificationNeeded => v1::FirmwareStatus::NoVerificationNeeded,
        FirmwareStatus::NotVerified => v1::FirmwareStatus::NotVerified,
        FirmwareStatus::Verified => v1::FirmwareStatus::Verified,
        FirmwareStatus::Verifying => v1::FirmwareStatus::Verifying,
        FirmwareStatus::VerificationFailed => v1::FirmwareStatus::VerificationFailed,
    }
}

const fn kind(kind: &FirmwareKind) -> v1::FirmwareType {
    match kind {
        FirmwareKind::Whole => v1::FirmwareType::Whole,
        FirmwareKind::Difference { .. } => v1::FirmwareType::Difference,
    }
}

/// The file of a package that has one, unnamed.
fn only_file(firmware: &Firmware) -> Option<&PackageFile> {
    match &firmware.files[..] {
        [file] if file.name.is_empty() => Some(file),
        _ => None,
    }
}

fn named_files(firmware: &Firmware) -> Vec<v1::FirmwareFile> {
    let files = firmware.files.iter().filter(|file| !file.name.is_empty());
    files
        .map(|file| v1::FirmwareFile {
            name: file.name.clone(),
            url: file.url.clone(),
            size: Some(count(file.size)),
            sign_value: Some(sign_of(file, firmware.new.sign_method).to_owned()),
            file_md5: Some(file.md5.clone()),
        })
        .collect()
}

pub(crate) fn info(view: FirmwareView) -> v1::FirmwareInfo {
    let firmware = &view.firmware;
    let (new, only) = (&firmware.new, only_file(firmware));
    v1::FirmwareInfo {
        firmware_id: firmware.id.to_string(),
        firmware_name: new.name.to_string(),
        firmware_desc: unless_empty(&new.description),
        firmware_sign: only.map(|file| sign_of(file, new.sign_method).to_owned()),
        firmware_size: only.map(|file| count(file.size)),
        firmware_url: view.download_url.clone().filter(|_| only.is_some()),
        dest_version: new.dest_version.to_string(),
        src_version: new.kind.src_version().map(ToString::to_string),
        module_name: new.module.to_string(),
        multi_files: named_files(firmware),
        product_key: firmware.product_key.to_string(),
        product_name: view.product_name.clone(),
        sign_method: new.sign_method.as_str().into(),
        status: status(firmware.status).into(),
        r#type: kind(&new.kind).into(),
        udi: unless_empty(&new.udi),
        verify_progress: view.verify_progress().into(),
        utc_create: Some(instant(firmware.created_at)),
        utc_modified: Some(instant(firmware.modified_at)),
    }
}

pub(crate) fn simple(view: FirmwareView) -> v1::SimpleFirmwareInfo {
    let info = info(view);
    v1::SimpleFirmwareInfo {
        firmware_id: info.firmware_id,
        firmware_name: info.firmware_name,
        firmware_desc: info.firmware_desc,
        firmware_sign: info.firmware_sign,
        firmware_size: info.firmware_size,
        dest_version: info.dest_version,
        src_version: info.src_version,
        module_name: info.module_name,
        product_key: info.product_key,
        product_name: info.product_name,
        sign_method: info.sign_method,
        status: info.status,
        r#type: info.r#type,
        utc_create: info.utc_create,
        utc_modified: info.utc_modified,
    }
}
