//! The files of one process's history: `NAME.ndjson`, `NAME.1.ndjson` and so on; the oldest go.
//!
//! Invariant: only the last line of a file can be cut. What was written by half is taken back before anything is
//! written behind it; where that fails as well, the next file begins.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::{HistoryConfig, HistoryError};

/// What lines are appended to.
trait Tail: Write + Send {
    /// Forgets what is beyond so many bytes, and goes on from there.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Tail for File {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.seek(SeekFrom::Start(bytes)).map(drop)
    }
}

pub(super) struct Files {
    config: HistoryConfig,
    /// Of the file that is written, or of the next one.
    number: u32,
    open: Option<Open>,
}

struct Open {
    file: Box<dyn Tail>,
    /// Whole lines, in bytes.
    good: u64,
}

impl Files {
    /// Makes the folder and the first file.
    pub(super) fn open(config: HistoryConfig) -> Result<Self, HistoryError> {
        let failed = |path: PathBuf| move |source| HistoryError::Files { path, source };
        std::fs::create_dir_all(&config.folder).map_err(failed(config.folder.clone()))?;
        let mut files = Self { config, number: 0, open: None };
        files.open = Some(files.create().map_err(failed(files.path(0)))?);
        Ok(files)
    }

    fn path(&self, number: u32) -> PathBuf {
        let process = &self.config.process;
        self.config.folder.join(match number {
            0 => format!("{process}.ndjson"),
            _ => format!("{process}.{number}.ndjson"),
        })
    }

    fn create(&self) -> io::Result<Open> {
        let path = self.path(self.number);
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        if let Some(oldest) = self.number.checked_sub(self.config.files.max(1)) {
            // It may have been taken away already, by whoever keeps histories.
            let _ = std::fs::remove_file(self.path(oldest));
        }
        Ok(Open { file: Box::new(file), good: 0 })
    }

    /// Whether what is written next is the head of a file.
    pub(super) fn begins(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.good == 0)
    }

    /// Writes whole lines, all of them or none.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.create()?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Err(error) = open.file.write_all(lines) {
            if open.file.cut(open.good).is_err() {
                self.next();
            }
            return Err(error);
        }
        open.good += lines.len() as u64;
        if open.good >= self.config.file_bytes {
            self.next();
        }
        Ok(())
    }

    /// The next file is made when there is something to write.
    fn next(&mut self) {
        self.open = None;
        self.number = self.number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a disk that is full after so many more bytes, and where room is made by the first failure.
    struct Filling {
        file: File,
        room: Option<usize>,
    }

    impl Write for Filling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.room {
                Some(0) => {
                    self.room = None;
                    Err(io::ErrorKind::StorageFull.into())
                }
                Some(room) => {
                    let written = self.file.write(&bytes[..room.min(bytes.len())])?;
                    self.room = Some(room - written);
                    Ok(written)
                }
                None => self.file.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Tail for Filling {
        fn cut(&mut self, bytes: u64) -> io::Result<()> {
            self.file.cut(bytes)
        }
    }

    #[test]
    fn a_line_that_was_written_by_half_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files {
            config: HistoryConfig {
                folder: folder.path().to_owned(),
                process: "p1".into(),
                version: "1".into(),
                file_bytes: u64::MAX,
                files: 1,
            },
            number: 0,
            open: None,
        };
        let path = files.path(0);
        let file = File::create(&path).unwrap();
        files.open = Some(Open { file: Box::new(Filling { file, room: Some(6) }), good: 0 });
        files.write(b"one\n").unwrap();
        assert!(files.write(b"two and more\n").is_err());
        files.write(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\nthree\n");
    }
}
