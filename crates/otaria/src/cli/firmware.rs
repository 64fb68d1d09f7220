//! `otaria firmware`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use otaria_proto::v1::{
    CreateOtaFirmwareRequest, DeleteOtaFirmwareRequest, FirmwareType, ListOtaFirmwareRequest,
    ModifyOtaFirmwareRequest, QueryOtaFirmwareRequest, UploadFirmwareFileHeader, UploadFirmwareFileResponse,
};

use super::link::LinkArgs;
use super::output::{Table, byte_bar, facts, instant, json_line, line, word};
use crate::remote::{self, Remote, answer};

/// Suffixes that say how a package is packed; the longer of two that fit comes first.
const SUFFIXES: &[&str] = &["tar.gz", "tar.xz", "bin", "dav", "apk", "tar", "gz", "zip", "gzip", "pack"];

#[derive(Debug, Subcommand)]
pub(crate) enum FirmwareCommand {
    /// Upload a package file, for `create --url`
    #[command(after_help = "Examples:\n  otaria firmware upload build/pump.bin")]
    Upload {
        /// The file
        file: PathBuf,
    },
    /// Make an update package of a file
    #[command(after_help = "\
Examples:
  otaria firmware create --file pump.bin --product a1B2c3D4e5F --version 2.0.0
  otaria firmware create --file pump.bin --product a1B2c3D4e5F --version 2.0.1 --no-verify")]
    Create(CreateArgs),
    /// List packages, newest first
    #[command(after_help = "Examples:\n  otaria firmware list --product a1B2c3D4e5F")]
    List {
        /// Only of this product
        #[arg(long, value_name = "KEY")]
        product: Option<String>,
        /// Only with this version
        #[arg(long)]
        version: Option<String>,
    },
    /// Tell everything about a package
    #[command(after_help = "Examples:\n  otaria firmware show FIRMWARE_ID")]
    Show {
        /// The package
        id: String,
    },
    /// Change what is said of a package
    #[command(after_help = "Examples:\n  otaria firmware modify FIRMWARE_ID --description 'For hall 3'")]
    Modify {
        /// The package
        id: String,
        /// The new name
        #[arg(long)]
        name: Option<String>,
        /// The new description
        #[arg(long)]
        description: Option<String>,
        /// The new text that is handed to the devices
        #[arg(long, value_name = "TEXT")]
        udi: Option<String>,
    },
    /// Delete a package that no unfinished job uses
    #[command(after_help = "Examples:\n  otaria firmware delete FIRMWARE_ID")]
    Delete {
        /// The package
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["file", "url"]))]
pub(crate) struct CreateArgs {
    /// A file to upload
    #[arg(long)]
    file: Option<PathBuf>,
    /// The address that `firmware upload` told
    #[arg(long)]
    url: Option<String>,
    /// The product
    #[arg(long, value_name = "KEY")]
    product: String,
    /// The version that devices have after the update
    #[arg(long)]
    version: String,
    /// Name of the package [default: made of product and version]
    #[arg(long)]
    name: Option<String>,
    /// What the package is for
    #[arg(long)]
    description: Option<String>,
    /// The module that it is for [default: default]
    #[arg(long)]
    module: Option<String>,
    /// Digest that devices check
    #[arg(long, value_name = "METHOD", default_value = "SHA256", value_parser = ["MD5", "SHA256"])]
    sign_method: String,
    /// The package needs no verify job
    #[arg(long)]
    no_verify: bool,
    /// The package holds only the difference to this version
    #[arg(long, value_name = "VERSION")]
    src_version: Option<String>,
    /// Text that is handed to the devices
    #[arg(long, value_name = "TEXT")]
    udi: Option<String>,
}

pub(super) async fn run(command: FirmwareCommand, link: &LinkArgs) -> anyhow::Result<()> {
    let remote = link.connect().await?;
    match command {
        FirmwareCommand::Upload { file } => {
            let uploaded = upload(&remote, &file).await?;
            if link.json {
                return json_line("UploadFirmwareFileResponse", &uploaded);
            }
            facts(&[
                ("url", uploaded.firmware_url),
                ("size", format!("{} bytes", uploaded.size_bytes)),
                ("md5", uploaded.md5),
                ("sha256", uploaded.sha256),
            ])
        }
        FirmwareCommand::Create(args) => create(args, &remote, link.json).await,
        FirmwareCommand::List { product, version } => list(product, version, &remote, link.json).await,
        FirmwareCommand::Show { id } => show(id, &remote, link.json).await,
        FirmwareCommand::Modify { id, name, description, udi } => {
            let request = ModifyOtaFirmwareRequest {
                firmware_id: id,
                product_key: None,
                firmware_name: name,
                firmware_desc: description,
                firmware_udi: udi,
            };
            answer(remote.firmware().modify_ota_firmware(request)).await.map(drop)
        }
        FirmwareCommand::Delete { id } => {
            let request = DeleteOtaFirmwareRequest { firmware_id: id };
            answer(remote.firmware().delete_ota_firmware(request)).await.map(drop)
        }
    }
}

async fn upload(remote: &Remote, path: &Path) -> anyhow::Result<UploadFirmwareFileResponse> {
    let (file, size_bytes) = remote::open(path).await?;
    let header = UploadFirmwareFileHeader {
        file_suffix: suffix(path).map(str::to_owned),
        size_bytes: i64::try_from(size_bytes).ok(),
        ..UploadFirmwareFileHeader::default()
    };
    let bar = byte_bar(size_bytes, "uploading");
    let shown = bar.clone();
    let sent = move |bytes| shown.inc(u64::try_from(bytes).unwrap_or(0));
    let uploaded = remote.upload_firmware(header, file, sent).await;
    bar.finish_and_clear();
    uploaded
}

/// The suffix of a file if it is one that packages have; without one it passes as `bin`.
fn suffix(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    SUFFIXES.iter().find(|suffix| name.ends_with(&format!(".{suffix}"))).copied()
}

async fn create(args: CreateArgs, remote: &Remote, json: bool) -> anyhow::Result<()> {
    let url = match (&args.file, args.url) {
        (Some(file), _) => upload(remote, file).await?.firmware_url,
        (None, url) => url.unwrap_or_default(),
    };
    let default_name = || format!("{}-{}", args.product, args.version).replace('.', "_");
    let request = CreateOtaFirmwareRequest {
        firmware_name: args.name.unwrap_or_else(default_name),
        dest_version: args.version,
        firmware_url: Some(url),
        product_key: args.product,
        firmware_desc: args.description,
        sign_method: Some(args.sign_method),
        module_name: args.module,
        need_to_verify: args.no_verify.then_some(false),
        r#type: if args.src_version.is_some() { FirmwareType::Difference } else { FirmwareType::Whole }
            .into(),
        src_version: args.src_version,
        udi: args.udi,
        ..CreateOtaFirmwareRequest::default()
    };
    let firmware = answer(remote.firmware().create_ota_firmware(request)).await?;
    if json {
        return json_line("CreateOTAFirmwareResponse", &firmware);
    }
    let id = firmware.firmware_id;
    line(&format!("firmware {id} is made\n"))?;
    if args.no_verify {
        line(&format!("next: otaria job create --firmware {id} --list-file names.txt"))
    } else {
        line(&format!("next: otaria job verify --firmware {id} A_TEST_DEVICE"))
    }
}

async fn list(
    product: Option<String>,
    version: Option<String>,
    remote: &Remote,
    json: bool,
) -> anyhow::Result<()> {
    let mut request = ListOtaFirmwareRequest {
        product_key: product,
        dest_version: version,
        ..ListOtaFirmwareRequest::default()
    };
    let mut table = Table::new(&["ID", "NAME", "VERSION", "MODULE", "PRODUCT", "STATUS", "BYTES", "CREATED"]);
    loop {
        let page = answer(remote.firmware().list_ota_firmware(request.clone())).await?;
        for firmware in &page.firmware {
            if json {
                json_line("SimpleFirmwareInfo", firmware)?;
                continue;
            }
            table.row([
                firmware.firmware_id.clone(),
                firmware.firmware_name.clone(),
                firmware.dest_version.clone(),
                firmware.module_name.clone(),
                firmware.product_key.clone(),
                word(firmware.status().as_str_name(), "FIRMWARE_STATUS_"),
                firmware.firmware_size.map(|size| size.to_string()).unwrap_or_default(),
                instant(firmware.utc_create.as_ref()),
            ]);
        }
        if !json {
            table.print()?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn show(firmware_id: String, remote: &Remote, json: bool) -> anyhow::Result<()> {
    let request = QueryOtaFirmwareRequest { firmware_id };
    let found = answer(remote.firmware().query_ota_firmware(request)).await?;
    if json {
        return json_line("QueryOTAFirmwareResponse", &found);
    }
    let firmware = found.firmware_info.unwrap_or_default();
    facts(&[
        ("id", firmware.firmware_id.clone()),
        ("name", firmware.firmware_name.clone()),
        ("description", firmware.firmware_desc.clone().unwrap_or_default()),
        ("product", format!("{} ({})", firmware.product_key, firmware.product_name)),
        ("version", firmware.dest_version.clone()),
        ("from version", firmware.src_version.clone().unwrap_or_default()),
        ("module", firmware.module_name.clone()),
        ("status", word(firmware.status().as_str_name(), "FIRMWARE_STATUS_")),
        ("verified", format!("{} %", firmware.verify_progress)),
        ("size", firmware.firmware_size.map(|size| format!("{size} bytes")).unwrap_or_default()),
        (
            "digest",
            firmware
                .firmware_sign
                .clone()
                .map_or(String::new(), |sign| format!("{} {sign}", firmware.sign_method)),
        ),
        ("for devices", firmware.udi.clone().unwrap_or_default()),
        ("created", instant(firmware.utc_create.as_ref())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_is_the_longest_that_fits() {
        assert_eq!(suffix(Path::new("a/pump-1.0.tar.gz")), Some("tar.gz"));
        assert_eq!(suffix(Path::new("PUMP.BIN")), Some("bin"));
        assert_eq!(suffix(Path::new("pump")), None);
    }
}
