//! Uploads: bytes in, an address out.
//!
//! Never keeps a file in memory: each piece is counted, hashed and handed on.
//!
//! Invariant: a file exists for callers only once all of it is durable and agrees with what was announced.
//! A sink that is dropped leaves nothing behind.

use bytes::Bytes;
use md5::Md5;
use otaria_core::firmware::Digest as HexDigest;
use otaria_core::ids::AccountNo;
use otaria_core::list::{ListLimits, ListReader};
use otaria_core::rules::{Announced, Code, Refusal, UploadParams};
use otaria_core::time::Timestamp;
use otaria_ports::objects::Upload;
use otaria_ports::store::{Role, StoreError, StoredUpload, UploadKind};
use sha2::{Digest, Sha256};

use super::secrets::hex;
use super::{Caller, Commands};
use crate::deps::Deps;
use crate::error::CommandError;

/// Letters and digits of an address: 178 bits, not to be guessed.
const ADDRESS_CHARS: usize = 30;

/// An address that was given out before its file came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedUpload {
    /// The part of the address that [`Commands::begin_upload_to`] takes.
    pub name: String,
    /// The address that the file will have.
    pub url: String,
    /// What a file of a package is called by; means something for packages only.
    pub suffix: &'static str,
    /// Bytes of the file at most.
    pub max_bytes: u64,
}

/// A file being uploaded.
pub struct UploadSink {
    deps: Deps,
    account: AccountNo,
    kind: UploadKind,
    announced: Announced,
    address: String,
    object: String,
    upload: Box<dyn Upload>,
    md5: Md5,
    sha256: Sha256,
    size: u64,
    lines: Lines,
}

/// Counts the lines of a list as the expansion will read them.
struct Lines {
    reader: ListReader,
    count: u64,
}

impl Commands {
    /// Begins an upload. What is announced is checked here as far as it can be, the rest at the end.
    ///
    /// # Errors
    /// Names the announced part that breaks a rule.
    pub async fn begin_upload(
        &self,
        caller: &Caller,
        kind: UploadKind,
        params: &UploadParams,
    ) -> Result<UploadSink, CommandError> {
        let name = self.deps().ids.text(ADDRESS_CHARS);
        self.begin_upload_to(caller, kind, params, &name).await
    }

    /// Gives out the address of a file that is still to come.
    ///
    /// # Errors
    /// The rule that the suffix breaks.
    pub fn issue_upload(
        &self,
        caller: &Caller,
        kind: UploadKind,
        file_suffix: Option<String>,
    ) -> Result<IssuedUpload, CommandError> {
        caller.needs(Role::Operator)?;
        let max_bytes = self.max_bytes(kind);
        let announced = UploadParams { file_suffix, ..UploadParams::default() }.parse(max_bytes)?;
        let name = self.deps().ids.text(ADDRESS_CHARS);
        Ok(IssuedUpload { url: self.address(&name), name, suffix: announced.suffix, max_bytes })
    }

    /// Begins an upload to an address that was given out. Whether it was is for the caller to know: a name
    /// that [`Commands::issue_upload`] did not draw must never come here.
    ///
    /// # Errors
    /// As [`Commands::begin_upload`].
    pub async fn begin_upload_to(
        &self,
        caller: &Caller,
        kind: UploadKind,
        params: &UploadParams,
        name: &str,
    ) -> Result<UploadSink, CommandError> {
        caller.needs(Role::Operator)?;
        let announced = params.parse(self.max_bytes(kind))?;
        // Drawn again: of two uploads to one address neither may touch the other's bytes.
        let text = self.deps().ids.text(ADDRESS_CHARS);
        let object = match kind {
            UploadKind::Package => format!("{}/{text}.{}", kind.as_str(), announced.suffix),
            UploadKind::NameList => format!("{}/{text}", kind.as_str()),
        };
        let upload = self.deps().objects.begin(&object).await?;
        Ok(UploadSink {
            deps: self.deps().clone(),
            account: caller.account,
            kind,
            announced,
            address: self.address(name),
            object,
            upload,
            md5: Md5::new(),
            sha256: Sha256::new(),
            size: 0,
            lines: Lines { reader: ListReader::new(), count: 0 },
        })
    }

    fn address(&self, name: &str) -> String {
        format!("{}/o/{name}", self.deps().download_base)
    }

    fn max_bytes(&self, kind: UploadKind) -> u64 {
        match kind {
            UploadKind::Package => self.shell.deps.limits.firmware_max_bytes,
            UploadKind::NameList => self.shell.deps.limits.list.max_bytes,
        }
    }
}

impl UploadSink {
    /// Appends bytes.
    ///
    /// # Errors
    /// When the file becomes larger than allowed or announced. The upload is over then: drop it.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), CommandError> {
        self.size += bytes.len() as u64;
        if self.announced.size.is_some_and(|announced| self.size > announced) {
            return Err(self.disagrees("size"));
        }
        match self.kind {
            UploadKind::Package => self.check_package_size()?,
            UploadKind::NameList => {
                let count = &mut self.lines.count;
                self.lines.reader.push(&bytes, |_| *count += 1);
                self.check_list_size()?;
            }
        }
        self.md5.update(&bytes);
        self.sha256.update(&bytes);
        Ok(self.upload.write(bytes).await?)
    }

    /// Ends the file: checks it, makes it durable and gives it its address. A repeat of the same bytes to the
    /// same address is answered with the first one.
    ///
    /// # Errors
    /// When it is empty or disagrees with what was announced, or its address has another file; nothing is
    /// kept then.
    pub async fn finish(mut self, now: Timestamp) -> Result<StoredUpload, CommandError> {
        if self.kind == UploadKind::NameList {
            self.lines.count += u64::from(self.lines.reader.finish().is_some());
            self.check_list_size()?;
        }
        if self.size == 0 || (self.kind == UploadKind::NameList && self.lines.count == 0) {
            return Err(Refusal::invalid(self.file_code(), "File", "must not be empty").into());
        }
        let md5 = hex(&std::mem::take(&mut self.md5).finalize());
        let sha256 = hex(&std::mem::take(&mut self.sha256).finalize());
        let differs = |announced: &Option<HexDigest>, found: &str| {
            announced.as_ref().is_some_and(|digest| digest.as_str() != found)
        };
        if self.announced.size.is_some_and(|announced| announced != self.size) {
            return Err(self.disagrees("size"));
        }
        if differs(&self.announced.md5, &md5) {
            return Err(self.disagrees("MD5"));
        }
        if differs(&self.announced.sha256, &sha256) {
            return Err(self.disagrees("SHA-256"));
        }

        self.upload.finish().await?;
        let upload = StoredUpload {
            url: self.address,
            account: self.account,
            kind: self.kind,
            object: self.object,
            size: self.size,
            md5,
            sha256,
            lines: self.lines.count,
            created_at: now,
        };
        if let Err(error) = self.deps.store.put_upload(&upload).await {
            // No address leads to these bytes: whether this succeeds makes no difference to callers.
            let _ = self.deps.objects.delete(&upload.object).await;
            return match error {
                StoreError::Exists { .. } => repeated(&self.deps, &upload).await,
                other => Err(other.into()),
            };
        }
        Ok(upload)
    }

    fn check_package_size(&self) -> Result<(), CommandError> {
        let max = self.deps.limits.firmware_max_bytes;
        if self.size <= max {
            return Ok(());
        }
        let rule = format!("must have at most {max} bytes");
        Err(Refusal::invalid(Code::InvalidParameter, "File", rule).into())
    }

    fn check_list_size(&self) -> Result<(), CommandError> {
        let ListLimits { max_lines, max_bytes } = self.deps.limits.list;
        self.deps.limits.list.check(self.lines.count, self.size).map_err(|_| {
            let rule = format!("must have at most {max_lines} lines and {max_bytes} bytes");
            Refusal::invalid(Code::DeviceListFileInvalid, "File", rule).into()
        })
    }

    fn disagrees(&self, part: &str) -> CommandError {
        let message = format!("the {part} of the file is not the one that was announced");
        match self.kind {
            UploadKind::Package => CommandError::not_allowed(Code::FirmwareMismatch, message),
            UploadKind::NameList => CommandError::not_allowed(Code::DeviceListFileInvalid, message),
        }
    }

    const fn file_code(&self) -> Code {
        match self.kind {
            UploadKind::Package => Code::InvalidParameter,
            UploadKind::NameList => Code::DeviceListFileInvalid,
        }
    }
}

/// The upload that was first at an address, if it has the same bytes: a caller that lost the answer repeats.
async fn repeated(deps: &Deps, upload: &StoredUpload) -> Result<StoredUpload, CommandError> {
    let first = deps.store.upload(upload.account, &upload.url).await?;
    first.filter(|first| first.kind == upload.kind && first.sha256 == upload.sha256).ok_or_else(|| {
        CommandError::not_allowed(Code::IllegalRequest, "another file was uploaded to this address before")
    })
}
