//! What a database says, in the store's words.

use otaria_ports::store::StoreError;
use sqlx::Error;
use sqlx::error::DatabaseError;

/// Nobody answers: the store is closing, or a call took longer than it may.
#[derive(Debug)]
pub(crate) struct Silence(pub(crate) &'static str);

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Silence {}

/// Nobody answered.
pub(crate) fn silent(doing: &'static str, why: &'static str) -> StoreError {
    StoreError::Unavailable { doing, source: Box::new(Silence(why)) }
}

/// Maps what went wrong in a statement: a column of the wrong kind is a corrupt row; all else (busy, disk
/// full, reading or writing failed, connection or thread gone) may pass.
pub(crate) fn failed(doing: &'static str) -> impl Fn(Error) -> StoreError + Copy {
    move |error| match error {
        Error::ColumnDecode { .. } | Error::ColumnNotFound(_) | Error::ColumnIndexOutOfBounds { .. } => {
            StoreError::Corrupt { table: doing, reason: error.to_string() }
        }
        other => StoreError::Unavailable { doing, source: Box::new(other) },
    }
}

/// The same, where a unique key that is taken says that `what` exists already.
pub(crate) fn taken(doing: &'static str, what: &'static str) -> impl Fn(Error) -> StoreError + Copy {
    move |error| {
        if error.as_database_error().is_some_and(DatabaseError::is_unique_violation) {
            return StoreError::Exists { what };
        }
        failed(doing)(error)
    }
}
