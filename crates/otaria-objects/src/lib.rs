//! Keeps packages and list files where the `Objects` port wants them: a folder on this machine. Knows
//! bytes and keys only; never firmware, jobs or accounts, nor who may read what.

mod folder;
mod key;

pub use folder::FolderObjects;
pub use key::KEY_BYTES_MAX;
