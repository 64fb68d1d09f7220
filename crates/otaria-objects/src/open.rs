//! From what an operator writes down to the store that is meant.

use std::sync::Arc;
use std::time::Duration;

use otaria_ports::objects::{ObjectError, Objects};

use crate::folder::FolderObjects;
use crate::s3::{BadS3, S3Objects};

/// How long an unfinished upload may rest in a folder that others use too. Uploads are bounded to far less by
/// the faces that take them.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Who uses a folder of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// This process alone: an unfinished upload that it finds was left by a crash.
    One,
    /// Other processes besides, now or soon.
    Several,
}

/// Whether a bucket's objects may be had from the store itself, see [`Objects::link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Everything goes through this house.
    Never,
    /// By presigned addresses.
    Presigned,
}

/// Why a place for objects cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration has to be changed.
    #[error("{place:?} is no place for objects")]
    BadPlace {
        /// What was configured.
        place: String,
        /// Why that cannot be.
        #[source]
        source: BadS3,
    },
    /// A folder has no addresses of its own.
    #[error("only objects in a bucket have presigned addresses, and {place:?} is a folder")]
    NoLinks {
        /// What was configured.
        place: String,
    },
    /// The folder cannot be made, read or tidied up.
    #[error("no objects can be kept in {folder:?}")]
    Folder {
        /// Which folder.
        folder: String,
        /// Why not.
        #[source]
        source: ObjectError,
    },
}

/// Opens `s3://bucket/prefix`, or a folder, which is made when it is not there. What crashes left in a folder
/// is removed; in a bucket that is for a lifecycle rule. To be called on a tokio runtime, before the
/// first upload.
///
/// A bucket is not looked at yet, so that a server starts while its store is away; [`Objects::check`] tells.
/// Its keys and endpoint are the process's variables that begin with `AWS_`, see [`S3Objects::new`].
///
/// # Errors
/// When the place cannot be one, or the folder cannot be used.
pub async fn open(place: &str, users: Users, links: Links) -> Result<Arc<dyn Objects>, OpenError> {
    if place.contains("://") {
        let text =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let objects = S3Objects::new(place, text);
        let objects = objects.map_err(|source| OpenError::BadPlace { place: place.to_owned(), source })?;
        return Ok(Arc::new(objects.with_links(links == Links::Presigned)));
    }
    if links == Links::Presigned {
        return Err(OpenError::NoLinks { place: place.to_owned() });
    }

    let failed = |source| OpenError::Folder { folder: place.to_owned(), source };
    let objects = FolderObjects::open(place).await.map_err(failed)?;
    match users {
        Users::One => objects.sweep_unfinished().await,
        Users::Several => objects.sweep_abandoned(ABANDONED_AFTER).await,
    }
    .map_err(failed)?;
    Ok(Arc::new(objects))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_and_a_bucket_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("objects");
        let objects = open(folder.to_str().unwrap(), Users::One, Links::Never).await.unwrap();
        objects.begin("a").await.unwrap().finish().await.unwrap();
        assert!(folder.join("a").is_file());

        // Nothing is asked of the store yet.
        open("s3://bucket/prefix", Users::One, Links::Never).await.unwrap();
    }

    #[tokio::test]
    async fn a_place_of_another_kind_is_refused_and_no_folder_of_that_name_is_made() {
        for place in ["s3://", "s3://bucket/../other", "gs://bucket", "http://127.0.0.1:9000/bucket"] {
            let refused = open(place, Users::One, Links::Never).await.map(drop);
            assert!(matches!(refused, Err(OpenError::BadPlace { .. })), "{place}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_should_have_links_is_refused_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("objects");
        let refused = open(folder.to_str().unwrap(), Users::One, Links::Presigned).await.map(drop);
        assert!(matches!(refused, Err(OpenError::NoLinks { .. })), "{refused:?}");
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn beside_other_users_only_what_is_abandoned_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let living = dir.path().join("living.bin#1");
        std::fs::write(&living, "half").unwrap();
        open(place, Users::Several, Links::Never).await.unwrap();
        assert!(living.exists());
        open(place, Users::One, Links::Never).await.unwrap();
        assert!(!living.exists());
    }
}
