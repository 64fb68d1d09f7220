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
use otaria_ports::store::{Role, StoredUpload, UploadKind};
use sha2::{Digest, Sha256};

use super::secrets::hex;
use super::{Caller, Commands};
use crate::deps::Deps;
use crate::error::CommandError;

/// Letters and digits of an address: 178 bits, not to be guessed.
const ADDRESS_CHARS: usize = 30;

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
        caller.needs(Role::Operator)?;
        let limits = &self.deps().limits;
        let max_bytes = match kind {
            UploadKind::Package => limits.firmware_max_bytes,
            UploadKind::NameList => limits.list.max_bytes,
        };
        let announced = params.parse(max_bytes)?;
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
            address: format!("{}/o/{text}", self.deps().download_base),
            object,
            upload,
            md5: Md5::new(),
            sha256: Sha256::new(),
            size: 0,
            lines: Lines { reader: ListReader::new(), count: 0 },
        })
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

    /// Ends the file: checks it, makes it durable and gives it its address.
    ///
    /// # Errors
    /// When it is empty or disagrees with what was announced; nothing is kept then.
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
            // Nobody knows the address: whether this succeeds makes no difference to callers.
            let _ = self.deps.objects.delete(&upload.object).await;
            return Err(error.into());
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
