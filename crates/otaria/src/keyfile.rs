//! The file in which the server leaves the access key that it made at its first start, and where commands on
//! the same machine find it.
//!
//! Two lines, `id=…` and `secret=…`, readable by the owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the data directory.
pub(crate) const NAME: &str = "access-key";

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    /// The public half.
    pub(crate) id: String,
    /// The half that nobody else may know.
    pub(crate) secret: String,
}

/// Does not show the secret.
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where the file is in a data directory.
pub(crate) fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Reads the key at `path`; `NotFound` if there is no such file, `InvalidData` if it is not one of ours.
pub(crate) fn read(path: &Path) -> io::Result<AccessKey> {
    parse(&fs::read_to_string(path)?).ok_or_else(|| {
        let what = format!("{} does not hold the lines id=… and secret=…", path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// Writes the key to `path`, which becomes readable by its owner only. An older key there is replaced whole.
pub(crate) fn write(path: &Path, key: &AccessKey) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // A leftover of a crash may have other rights; the new file must not take them over.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&fresh)?;
    write!(file, "id={}\nsecret={}\n", key.id, key.secret)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// Makes files that `options` create readable and writable by their owner only.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn parse(text: &str) -> Option<AccessKey> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let key = AccessKey { id: value("id")?, secret: value("secret")? };
    (!key.id.is_empty() && !key.secret.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        for secret in ["first=1", "second"] {
            let key = AccessKey { id: "OT1".into(), secret: secret.into() };
            write(&path, &key).unwrap();
            assert_eq!(read(&path).unwrap(), key);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_without_a_key_says_what_it_should_hold() {
        for text in ["", "id=a", "secret=b", "id=\nsecret=b", "a:b"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&path_in(folder.path())).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
