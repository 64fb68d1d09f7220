//! Packages.

use otaria_core::rules::{FirmwareChangeParams, FirmwareParams, MultiFileParams, Refusal};
use otaria_engine::command::{FirmwareListParams, FirmwareView, sign_of};
use otaria_ports::store::PackageFile;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::utc;
use crate::paging::Paging;
use crate::params::{Entry, Params};

pub(super) async fn create(call: &Call<'_>) -> Done {
    let params = firmware_params(&call.params)?;
    let made = call.commands().create_firmware(&call.caller, call.now, &params).await?;
    let data = Fields::new().with("FirmwareId", made.id.as_str()).with("UtcCreate", utc(made.created_at));
    Ok(Fields::new().with("Data", data))
}

pub(crate) fn firmware_params(params: &Params) -> Result<FirmwareParams, Refusal> {
    Ok(FirmwareParams {
        product_key: params.owned("ProductKey"),
        firmware_name: params.owned("FirmwareName"),
        dest_version: params.owned("DestVersion"),
        kind: params.int("Type")?,
        src_version: params.owned("SrcVersion"),
        module_name: params.owned("ModuleName"),
        firmware_desc: params.owned("FirmwareDesc"),
        firmware_url: params.owned("FirmwareUrl"),
        firmware_size: params.int("FirmwareSize")?,
        firmware_sign: params.owned("FirmwareSign"),
        multi_files: params.entries("MultiFiles").iter().map(file).collect::<Result<_, _>>()?,
        sign_method: params.owned("SignMethod"),
        need_to_verify: params.flag("NeedToVerify")?,
        udi: params.owned("Udi"),
    })
}

fn file(entry: &Entry<'_>) -> Result<MultiFileParams, Refusal> {
    Ok(MultiFileParams {
        name: entry.owned("Name"),
        url: entry.owned("Url"),
        size: entry.int("Size")?,
        sign_value: entry.owned("SignValue"),
        file_md5: entry.owned("FileMd5"),
    })
}

pub(super) async fn query(call: &Call<'_>) -> Done {
    let view = call.commands().query_firmware(&call.caller, call.now, call.id("FirmwareId")).await?;
    let method = view.firmware.new.sign_method;
    let named = view.firmware.files.iter().filter(|file| !file.name.is_empty());
    let files = named.map(|file| {
        Fields::new()
            .with("Name", file.name.as_str())
            .with("Url", file.url.as_str())
            .with("Size", file.size)
            .with("SignValue", sign_of(file, method))
            .with("FileMd5", file.md5.as_str())
    });
    let only = only_file(&view);
    let info = row(&view)
        .with_some("FirmwareUrl", view.download_url.as_deref().filter(|_| only.is_some()))
        .plain("MultiFiles", "MultiFile", files)
        .with_some("Udi", Some(view.firmware.new.udi.as_str()).filter(|udi| !udi.is_empty()))
        .with("VerifyProgress", view.verify_progress());
    Ok(Fields::new().with("FirmwareInfo", info))
}

pub(super) async fn list(call: &Call<'_>) -> Done {
    let page = Paging::up_to(100).required().read(&call.params)?;
    let params = FirmwareListParams {
        product_key: call.params.owned("ProductKey"),
        dest_version: call.params.owned("DestVersion"),
    };
    let commands = call.commands();
    let listed = commands.list_firmwares(&call.caller, &params, None, page.skip(), page.size).await?;
    let rows = listed.rows.iter().map(row);
    Ok(page.fields(listed.total).wrapped("FirmwareInfo", "SimpleFirmwareInfo", rows))
}

pub(super) async fn modify(call: &Call<'_>) -> Done {
    let params = FirmwareChangeParams {
        product_key: call.params.owned("ProductKey"),
        firmware_name: call.params.owned("FirmwareName"),
        firmware_desc: call.params.owned("FirmwareDesc"),
        firmware_udi: call.params.owned("FirmwareUdi"),
    };
    call.commands().modify_firmware(&call.caller, call.now, call.id("FirmwareId"), &params).await?;
    Ok(Fields::new())
}

pub(super) async fn delete(call: &Call<'_>) -> Done {
    call.commands().delete_firmware(&call.caller, call.id("FirmwareId")).await?;
    Ok(Fields::new())
}

/// The file of a package that has one, unnamed.
fn only_file(view: &FirmwareView) -> Option<&PackageFile> {
    match &view.firmware.files[..] {
        [file] if file.name.is_empty() => Some(file),
        _ => None,
    }
}

fn row(view: &FirmwareView) -> Fields {
    let firmware = &view.firmware;
    let (new, only) = (&firmware.new, only_file(view));
    Fields::new()
        .with("FirmwareId", firmware.id.as_str())
        .with("FirmwareName", new.name.as_str())
        .with("FirmwareDesc", new.description.as_str())
        .with("DestVersion", new.dest_version.as_str())
        .with_some("SrcVersion", new.kind.src_version().map(ToString::to_string))
        .with("ModuleName", new.module.as_str())
        .with("ProductKey", firmware.product_key.as_str())
        .with("ProductName", view.product_name.as_str())
        .with("SignMethod", new.sign_method.as_str())
        .with_some("FirmwareSign", only.map(|file| sign_of(file, new.sign_method)))
        .with_some("FirmwareSize", only.map(|file| file.size))
        .with("Status", firmware.status.code())
        .with("Type", new.kind.code())
        .with("UtcCreate", utc(firmware.created_at))
        .with("UtcModified", utc(firmware.modified_at))
}
