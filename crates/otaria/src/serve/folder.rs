//! The data directory: made private, held by one process at a time, home of the master key.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use otaria_core::vault::MASTER_KEY_BYTES;
use otaria_ports::ids::Ids;

use crate::keyfile::private;

/// A data directory that this process holds until it ends.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, and takes its lock.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        make_private(path).with_context(|| format!("making the data directory {}", path.display()))?;
        let lock_path = path.join("lock");
        let lock = private(OpenOptions::new().create(true).write(true).truncate(false)).open(&lock_path);
        let lock = lock.with_context(|| format!("opening {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another server works in {}; stop it, or choose another folder with --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", lock_path.display()))
            }
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("otaria.db")
    }

    /// Where packages and lists lie.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// The master key; drawn at the first start.
    pub(crate) fn master_key(&self, ids: &dyn Ids) -> anyhow::Result<[u8; MASTER_KEY_BYTES]> {
        let path = self.path.join("master-key");
        match fs::read(&path) {
            Ok(bytes) => bytes.as_slice().try_into().with_context(|| {
                format!(
                    "{} must hold {MASTER_KEY_BYTES} bytes; without the right key no secret opens",
                    path.display()
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A database without its key is a restore that went wrong, not a first start.
                if self.database().exists() {
                    bail!("{} is missing; put back the key of this database", path.display());
                }
                let mut key = [0; MASTER_KEY_BYTES];
                ids.fill(&mut key);
                write_whole(&path, &key).with_context(|| format!("writing {}", path.display()))?;
                Ok(key)
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

/// Reads a master key that several processes share.
pub(crate) fn shared_master_key(path: &Path) -> anyhow::Result<[u8; MASTER_KEY_BYTES]> {
    let bytes = fs::read(path).with_context(|| format!("reading the master key {}", path.display()))?;
    bytes.as_slice().try_into().with_context(|| {
        format!(
            "{} must hold {MASTER_KEY_BYTES} bytes; make one with: head -c {MASTER_KEY_BYTES} /dev/urandom",
            path.display()
        )
    })
}

/// Writes a private file so that it is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = private(OpenOptions::new().create(true).write(true).truncate(true)).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn make_private(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SystemIds;

    #[test]
    fn one_process_at_a_time_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = Folder::open(folder.path()).unwrap();
        assert!(Folder::open(folder.path()).unwrap_err().to_string().contains("another server"));
        drop(held);
        Folder::open(folder.path()).unwrap();
    }

    #[test]
    fn the_master_key_stays_and_is_not_replaced_beside_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let held = Folder::open(folder.path()).unwrap();
        let key = held.master_key(&SystemIds).unwrap();
        assert_eq!(held.master_key(&SystemIds).unwrap(), key);
        fs::write(held.database(), "x").unwrap();
        fs::remove_file(folder.path().join("master-key")).unwrap();
        assert!(held.master_key(&SystemIds).unwrap_err().to_string().contains("put back the key"));
    }
}
