//! A small disk in memory that can be filled to its last byte, and who takes it away again.
//!
//! Invariant: nothing of it stays mounted when this command is gone, however it went: a process beside it waits
//! for its end.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::run;

/// Large enough for the database of a run, and small enough to be full in a moment.
const SIZE_MIB: u32 = 96;

/// The file that takes all the room.
const FILLER: &str = "filler";

/// A file system of its own. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Makes it in this folder.
    pub(super) fn mount(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m,mode=755"), "otaria-chaos"]).arg(folder);
        run(&mut mount).context("a small disk needs the right to mount")?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Writes until nothing more fits. Returns how many bytes that took.
    pub(super) fn fill(&self) -> Result<u64> {
        let path = self.folder.join(FILLER);
        let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        // Large pieces first, then single pages: a page is the least that a file takes.
        let mut written = 0;
        for piece in [1 << 20, 1 << 12] {
            let piece = vec![0_u8; piece];
            loop {
                match file.write(&piece) {
                    Ok(0) => break,
                    Ok(bytes) => written += u64::try_from(bytes)?,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("filling the disk: {error}"),
                }
            }
        }
        Ok(written)
    }

    /// Gives the room back.
    pub(super) fn empty(&self) -> Result<()> {
        match std::fs::remove_file(self.folder.join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("emptying the disk"),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has a file open there keeps it alive until its end, but nobody finds it any more.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

/// Waits for our end, and then takes away what only the system keeps: mounts below a folder and our networks.
const SCRIPT: &str = r#"
trap "" INT TERM HUP
cat >/dev/null
grep -o " $1/[^ ]* " /proc/mounts | while read -r folder; do umount --lazy "$folder"; done
ip netns list | cut -d" " -f1 | while read -r name; do
    case "$name" in "$2"|"$2"-*) ip netns delete "$name";; esac
done
"#;

/// A process that cleans up after this command, also when it is killed.
#[derive(Debug)]
pub(super) struct Janitor(Child);

impl Janitor {
    /// For the mounts below `folder` and the networks whose names begin so.
    pub(super) fn hire(folder: &Path, networks: &str) -> Result<Self> {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", SCRIPT, "janitor"]).arg(folder).arg(networks);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("cannot run setsid")?))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        // The end of its input is our end.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_to_the_last_byte_until_it_is_emptied_and_goes_with_the_janitor() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let home = std::env::temp_dir().join(format!("xtask-disk-{}", std::process::id()));
        let folder = home.join("disk");
        let Ok(disk) = SmallDisk::mount(&folder) else {
            // Root in a container may lack the right to mount.
            std::fs::remove_dir_all(home).unwrap();
            return;
        };
        std::fs::write(folder.join("before"), [1; 100]).unwrap();
        assert!(disk.fill().unwrap() > u64::from(SIZE_MIB - 1) << 20);
        let full = std::fs::write(folder.join("more"), [1; 100]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        disk.empty().unwrap();
        std::fs::write(folder.join("more"), [1; 100]).unwrap();

        let janitor = Janitor::hire(&home, "otaria-of-no-process").unwrap();
        std::mem::forget(disk);
        drop(janitor);
        assert!(!folder.join("before").exists());
        std::fs::remove_dir_all(home).unwrap();
    }
}
