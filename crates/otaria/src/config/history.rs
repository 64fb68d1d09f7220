//! Where the server writes down what it decides.

use std::path::PathBuf;

use serde::Deserialize;

/// The history. Off without a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HistorySection {
    /// Where the files go, one row of them for each start of each process.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes after which the next file begins.
    pub(crate) file_bytes: u64,
    /// Files of a row at most; the oldest goes when one more begins.
    pub(crate) files: u32,
}

impl Default for HistorySection {
    fn default() -> Self {
        Self { folder: None, file_bytes: 256 << 20, files: 16 }
    }
}
