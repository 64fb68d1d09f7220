//! Records in files: which files there are, their lines one after the other, and the evidence once more.
//!
//! A file that does not end with a line's end was cut by a crash: its last line counts if it is whole, and is left
//! out otherwise.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{Checker, Options, Place, Unreadable, Verdict};

/// Longer lines are no lines of a record: a job with 200 names of 32 bytes has some 8 KiB.
const LINE_MAX: u64 = 4 << 20;

/// The files of both records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// All files: those of servers first.
    pub paths: Vec<PathBuf>,
    /// How many of them are servers'.
    pub servers: usize,
    /// Processes that ended without a word, with the microseconds at which they were gone, where that is known.
    pub graves: Vec<(String, u64)>,
}

/// Why the records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is none of the record.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A folder holds no file of a record.
    #[error("{}: no file ends in .ndjson here", path.display())]
    Empty {
        /// Which folder.
        path: PathBuf,
    },
}

impl Files {
    /// Finds the files: a file is taken as it is, of a folder those that end in `.ndjson` or, when they were rotated,
    /// in `.ndjson.` and a number.
    ///
    /// # Errors
    /// When there are none, or they cannot be looked for.
    pub fn find(servers: &Path, devices: &Path) -> Result<Self, FilesError> {
        let mut paths = find(servers)?;
        let servers = paths.len();
        paths.extend(find(devices)?);
        Ok(Self { paths, servers, graves: Vec::new() })
    }

    /// Bytes in all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum()
    }

    /// Reads all files and judges them; tells `progress` of the bytes that were read.
    ///
    /// # Errors
    /// When a file cannot be read, or holds something else.
    pub fn judge(&self, options: Options, mut progress: impl FnMut(u64)) -> Result<Verdict, FilesError> {
        let mut checker = Checker::default();
        for file in 0..self.paths.len() {
            self.each_line(file, &mut progress, |place, text| match place.file() < self.servers {
                true => checker.server_line(place, text),
                false => checker.device_line(place, text),
            })?;
        }
        for (process, at) in &self.graves {
            checker.buried(process, *at);
        }
        checker.judge(options).map_err(|unreadable| self.fault(unreadable))
    }

    /// The path of a line's file.
    #[must_use]
    pub fn path(&self, place: Place) -> &Path {
        self.paths.get(place.file()).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The lines at some places, once more.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn lines(&self, places: &[Place]) -> Result<Vec<String>, FilesError> {
        let mut found = vec![String::new(); places.len()];
        let mut files: Vec<usize> = places.iter().map(|place| place.file()).collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            self.each_line(file, &mut |_| {}, |place, text| {
                for (known, line) in places.iter().zip(&mut found) {
                    if *known == place {
                        text.clone_into(line);
                    }
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// The first line of a file, if it has one.
    pub(crate) fn first_line(&self, file: usize) -> Result<Option<String>, FilesError> {
        let path = &self.paths[file];
        let broken = |source: io::Error| FilesError::Io { path: path.clone(), source };
        let mut line = String::new();
        let mut reader = io::Read::take(BufReader::new(File::open(path).map_err(broken)?), LINE_MAX);
        let read = reader.read_line(&mut line).map_err(broken)?;
        Ok((read > 0).then_some(line))
    }

    /// Reads a file line by line.
    pub(crate) fn each_line(
        &self,
        file: usize,
        progress: &mut impl FnMut(u64),
        mut take: impl FnMut(Place, &str) -> Result<(), Unreadable>,
    ) -> Result<(), FilesError> {
        let path = &self.paths[file];
        let broken = |source: io::Error| FilesError::Io { path: path.clone(), source };
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(broken)?);
        let mut bytes = Vec::new();
        let mut line = 0_u64;
        loop {
            bytes.clear();
            let read = io::Read::take(&mut reader, LINE_MAX).read_until(b'\n', &mut bytes).map_err(broken)?;
            if read == 0 {
                return Ok(());
            }
            line += 1;
            progress(read as u64);
            let place = Place::new(file, line);
            let ended = bytes.last() == Some(&b'\n');
            let fault = |what: String| self.fault(Unreadable { place, what });
            let taken = match std::str::from_utf8(&bytes) {
                Ok(text) if text.trim().is_empty() => Ok(()),
                Ok(text) => take(place, text.trim_end()).map_err(|unreadable| unreadable.what),
                Err(_) => Err("no UTF-8".to_owned()),
            };
            match taken {
                Ok(()) => {}
                // Cut by a crash, if nothing comes after it.
                Err(_) if !ended && reader.fill_buf().map_err(broken)?.is_empty() => return Ok(()),
                Err(what) => return Err(fault(what)),
            }
        }
    }

    fn fault(&self, Unreadable { place, what }: Unreadable) -> FilesError {
        FilesError::Line { path: self.path(place).to_owned(), line: place.line(), what }
    }
}

fn find(path: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let broken = |source: io::Error| FilesError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(broken)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(broken)? {
        let entry = entry.map_err(broken)?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of_record = name.split_once(".ndjson").is_some_and(|(_, rest)| {
            rest.is_empty() || rest.strip_prefix('.').is_some_and(|n| n.parse::<u64>().is_ok())
        });
        if of_record && entry.is_file() {
            paths.push(entry);
        }
    }
    if paths.is_empty() {
        return Err(FilesError::Empty { path: path.to_owned() });
    }
    paths.sort();
    Ok(paths)
}
