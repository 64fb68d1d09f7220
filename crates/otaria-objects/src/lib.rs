//! Keeps packages and list files where the `Objects` port wants them: a folder, or a bucket of an S3-compatible
//! store. Knows bytes and keys only; never firmware, jobs or accounts, nor who may read what.

mod errors;
mod folder;
mod key;
mod open;
mod s3;

pub use folder::FolderObjects;
pub use key::KEY_BYTES_MAX;
pub use open::{Links, OpenError, Users, open};
pub use s3::{BadS3, S3Objects};
