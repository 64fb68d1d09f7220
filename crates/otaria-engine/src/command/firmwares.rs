//! Firmware: packages made of uploads.
//!
//! Invariant: a firmware's size and digests are those of the bytes that were uploaded, never only what a
//! caller said about them.

use std::collections::BTreeMap;
use std::time::Duration;

use otaria_core::firmware::{FirmwareStatus, NewFile, NewFirmware, SignMethod};
use otaria_core::ids::{FirmwareId, FirmwareNo, ProductKey, ProductNo, Version};
use otaria_core::link::{Link, Linked, sign};
use otaria_core::rules::{Code, FirmwareChangeParams, FirmwareParams, Refusal, product_key};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    BATCH_MAX, Firmware, FirmwareFilter, PackageFile, Role, StoreError, StoredUpload, UploadKind,
};

use super::{Caller, Commands, Listed};
use crate::error::CommandError;

/// Packages of an account at most: the store keeps no more, so a list reads them all.
const FIRMWARES_MAX: usize = 500;
/// Letters and digits of a firmware's id.
const ID_CHARS: usize = 22;
/// How long a platform's download link answers.
const LINK_LIFE: Duration = Duration::from_secs(3_600);

/// And one of the store of objects itself, which nobody can take back: time to begin a download.
const DIRECT_LINK_LIFE: Duration = Duration::from_secs(15 * 60);

/// A firmware as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareView {
    /// The firmware.
    pub firmware: Firmware,
    /// Its product's name.
    pub product_name: String,
    /// Where its only file can be downloaded for a while; `None` when it has several, and in lists.
    pub download_url: Option<String>,
}

impl FirmwareView {
    /// Progress of the verification: all or nothing.
    #[must_use]
    pub const fn verify_progress(&self) -> u8 {
        match self.firmware.status {
            FirmwareStatus::Verified => 100,
            FirmwareStatus::NoVerificationNeeded
            | FirmwareStatus::NotVerified
            | FirmwareStatus::Verifying
            | FirmwareStatus::VerificationFailed => 0,
        }
    }
}

/// A file's digest by the package's method.
#[must_use]
pub fn sign_of(file: &PackageFile, method: SignMethod) -> &str {
    match method {
        SignMethod::Md5 => &file.md5,
        SignMethod::Sha256 => &file.sha256,
    }
}

/// Which firmware to list, as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct FirmwareListParams {
    pub product_key: Option<String>,
    pub dest_version: Option<String>,
}

impl Commands {
    /// Makes a firmware of uploads of the same account.
    ///
    /// # Errors
    /// `FirmwareNameExisted`, `FirmwareMismatch` when size or digest are not those of the upload,
    /// `TooManyFirmwares`, `ProductNotFound`, or the rule that a parameter breaks.
    pub async fn create_firmware(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &FirmwareParams,
    ) -> Result<Firmware, CommandError> {
        caller.needs(Role::Operator)?;
        let new = params.parse(&self.deps().limits)?;
        let product = self.product_of(caller, params.product_key.as_ref()).await?;
        let files = self.files_of(caller, &new).await?;
        let id = FirmwareId::parse(&self.deps().ids.text(ID_CHARS))
            .map_err(|bad| CommandError::Internal(Box::new(bad)))?;
        let firmware = Firmware {
            no: FirmwareNo(0),
            id,
            account: caller.account,
            product: product.no,
            product_key: product.new.key,
            status: FirmwareStatus::first(new.need_to_verify),
            new,
            files,
            created_at: now,
            modified_at: now,
        };
        self.deps().store.create_firmware(&firmware, now).await.map_err(|error| match error {
            StoreError::Exists { .. } => {
                CommandError::not_allowed(Code::FirmwareNameExisted, "a firmware of this name exists already")
            }
            StoreError::Conflict { .. } => CommandError::not_allowed(
                Code::TooManyFirmwares,
                format!("an account has at most {FIRMWARES_MAX} firmwares; delete some first"),
            ),
            other => other.into(),
        })
    }

    /// One firmware.
    ///
    /// # Errors
    /// `FirmwareNotFound`.
    pub async fn query_firmware(
        &self,
        caller: &Caller,
        now: Timestamp,
        id: &str,
    ) -> Result<FirmwareView, CommandError> {
        let firmware = self.firmware_of(caller, id).await?;
        let product_name = self.product_name(firmware.product).await?;
        let download_url = (firmware.files.len() == 1).then(|| {
            let to = Linked::PackageFile { firmware: firmware.no, file: 0 };
            let link = Link { to, expires_at: now + LINK_LIFE };
            format!("{}/d/{}", self.deps().download_base, sign(&self.deps().link_key, link))
        });
        Ok(FirmwareView { firmware, product_name, download_url })
    }

    /// The same, with the address of the store of objects itself where the server gives those out. For platforms
    /// that log in, never for what a device is told.
    ///
    /// # Errors
    /// As [`Commands::query_firmware`].
    pub async fn query_firmware_directly(
        &self,
        caller: &Caller,
        now: Timestamp,
        id: &str,
    ) -> Result<FirmwareView, CommandError> {
        let mut view = self.query_firmware(caller, now, id).await?;
        if let [file] = &view.firmware.files[..]
            && let Some(url) = self.deps().objects.link(&file.object, DIRECT_LINK_LIFE).await?
        {
            view.download_url = Some(url);
        }
        Ok(view)
    }

    /// Firmware, newest first: made before `before`, then without the first `skip`, at most `limit`.
    ///
    /// # Errors
    /// Names the filter that breaks a rule.
    pub async fn list_firmwares(
        &self,
        caller: &Caller,
        params: &FirmwareListParams,
        before: Option<FirmwareNo>,
        skip: usize,
        limit: usize,
    ) -> Result<Listed<FirmwareView, FirmwareNo>, CommandError> {
        let filter = params.parse()?;
        let (mut all, total) =
            self.deps().store.firmwares(caller.account, &filter, FirmwareNo(0), FIRMWARES_MAX).await?;
        all.reverse();
        let rest = all.into_iter().filter(|firmware| before.is_none_or(|before| firmware.no < before));
        let rows: Vec<Firmware> = rest.skip(skip).take(limit + 1).collect();
        let Listed { rows, next, .. } = Listed::cut(rows, total, limit, |last| last.no);

        let mut names: BTreeMap<ProductNo, String> = BTreeMap::new();
        let mut views = Vec::with_capacity(rows.len());
        for firmware in rows {
            let product_name = match names.get(&firmware.product) {
                Some(name) => name.clone(),
                None => self.product_name(firmware.product).await?,
            };
            names.insert(firmware.product, product_name.clone());
            views.push(FirmwareView { firmware, product_name, download_url: None });
        }
        Ok(Listed { rows: views, total, next })
    }

    /// ModifyOTAFirmware: name, description and UDI; what is absent stays.
    ///
    /// # Errors
    /// `FirmwareNotFound`, `FirmwareNameExisted`, or the rule that a parameter breaks.
    pub async fn modify_firmware(
        &self,
        caller: &Caller,
        now: Timestamp,
        id: &str,
        params: &FirmwareChangeParams,
    ) -> Result<Firmware, CommandError> {
        caller.needs(Role::Operator)?;
        let change = params.parse()?;
        let firmware = self.firmware_of(caller, id).await?;
        let named = params.product_key.as_ref().filter(|key| !key.is_empty());
        if named.is_some_and(|key| *key != firmware.product_key.as_str()) {
            let rule = "names another product than the firmware's";
            return Err(Refusal::invalid(Code::FirmwareNotFound, "ProductKey", rule).into());
        }
        self.deps().store.update_firmware(caller.account, &firmware.id, &change, now).await.map_err(|error| {
            match error {
                StoreError::Exists { .. } => CommandError::not_allowed(
                    Code::FirmwareNameExisted,
                    "a firmware of this name exists already",
                ),
                other => deleted(other),
            }
        })
    }

    /// DeleteOTAFirmware. Jobs of it that ended stay, and show what they rolled out.
    ///
    /// # Errors
    /// `FirmwareNotFound`; `FirmwareInUse` while a job of it is not finished.
    pub async fn delete_firmware(&self, caller: &Caller, id: &str) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let firmware = self.firmware_of(caller, id).await?;
        let in_use = || {
            let message = "a job of the firmware is not finished; cancel it first";
            CommandError::not_allowed(Code::FirmwareInUse, message)
        };
        // No device joins them any more: only a reupgrade in this very moment could overtake the look.
        if self.outlives_its_strategy(&firmware).await? {
            return Err(in_use());
        }
        self.deps().store.delete_firmware(caller.account, &firmware.id).await.map_err(|error| match error {
            StoreError::Conflict { .. } => in_use(),
            other => deleted(other),
        })
    }

    /// Whether a dynamic job of the firmware has ended and its tasks go on: they need the package.
    async fn outlives_its_strategy(&self, firmware: &Firmware) -> Result<bool, CommandError> {
        let (store, mut before) = (&self.deps().store, None);
        loop {
            let (jobs, _) = store.jobs_of_firmware(firmware.no, before, 0, BATCH_MAX).await?;
            for job in jobs.iter().filter(|job| job.status.is_ended() && job.status.delivers(job.new.kind)) {
                if store.task_counts(job.no).await?.open() > 0 {
                    return Ok(true);
                }
            }
            before = jobs.last().map(|last| last.no);
            if jobs.len() < BATCH_MAX {
                return Ok(false);
            }
        }
    }

    /// The caller's firmware of this id.
    pub(super) async fn firmware_of(&self, caller: &Caller, id: &str) -> Result<Firmware, CommandError> {
        if id.is_empty() {
            return Err(Refusal::missing("FirmwareId", "").into());
        }
        // A text that is no id cannot be that of a firmware.
        let id = FirmwareId::parse(id).map_err(|_| {
            CommandError::not_allowed(Code::FirmwareNotFound, "there is no such firmware in this account")
        })?;
        self.own_firmware(caller, &id).await
    }

    /// The name of a product that something refers to.
    pub(super) async fn product_name(&self, no: ProductNo) -> Result<String, CommandError> {
        let product = self.deps().store.product_by_no(no).await?;
        Ok(product.map(|product| product.new.name).unwrap_or_default())
    }

    /// The uploads that a firmware is made of, found and checked.
    async fn files_of(&self, caller: &Caller, new: &NewFirmware) -> Result<Vec<PackageFile>, CommandError> {
        let mut files = Vec::with_capacity(new.files.len());
        for (n, file) in new.files.iter().enumerate() {
            let parameter = match file.name {
                Some(_) => format!("MultiFiles.{}.Url", n + 1),
                None => "FirmwareUrl".to_owned(),
            };
            let upload = self.deps().store.upload(caller.account, &file.url).await?;
            let Some(upload) = upload.filter(|upload| upload.kind == UploadKind::Package) else {
                let rule = "must be the address of a package file that was uploaded";
                return Err(Refusal::invalid(Code::InvalidParameter, parameter, rule).into());
            };
            check(file, new.sign_method, &upload)?;
            files.push(PackageFile {
                name: file.name.clone().unwrap_or_default(),
                url: upload.url,
                object: upload.object,
                size: upload.size,
                md5: upload.md5,
                sha256: upload.sha256,
            });
        }
        Ok(files)
    }
}

impl FirmwareListParams {
    fn parse(&self) -> Result<FirmwareFilter, Refusal> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let product: Option<ProductKey> =
            given(&self.product_key).map(|text| product_key(Some(&text))).transpose()?;
        let dest_version = given(&self.dest_version).map(|text| {
            Version::parse(&text).map_err(|bad| {
                let rule = format!("must be {}", bad.rule);
                Refusal::invalid(Code::InvalidParameter, "DestVersion", rule)
            })
        });
        Ok(FirmwareFilter { product, dest_version: dest_version.transpose()? })
    }
}

/// What the store says of a firmware that was deleted since it was read.
fn deleted(error: StoreError) -> CommandError {
    match error {
        StoreError::NotFound { .. } => {
            CommandError::not_allowed(Code::FirmwareNotFound, "the firmware was deleted")
        }
        other => other.into(),
    }
}

/// Compares what a caller says of a file with what was uploaded.
fn check(file: &NewFile, method: SignMethod, upload: &StoredUpload) -> Result<(), CommandError> {
    let kept = match method {
        SignMethod::Md5 => &upload.md5,
        SignMethod::Sha256 => &upload.sha256,
    };
    let part = if file.size_bytes.is_some_and(|size| size != upload.size) {
        "size"
    } else if file.sign.as_ref().is_some_and(|sign| sign.as_str() != kept) {
        "digest"
    } else if file.md5.as_ref().is_some_and(|md5| md5.as_str() != upload.md5) {
        "MD5"
    } else {
        return Ok(());
    };
    let message = format!("the {part} given is not that of the file uploaded as {}", upload.url);
    Err(CommandError::not_allowed(Code::FirmwareMismatch, message))
}
