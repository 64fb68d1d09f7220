//! What goes wrong in any store, in the words of the port.

use otaria_ports::BoxError;
use otaria_ports::objects::ObjectError;

pub(crate) fn translated(doing: &'static str, error: object_store::Error) -> ObjectError {
    match error {
        object_store::Error::NotFound { .. } => ObjectError::NotFound,
        other => unavailable(doing, other),
    }
}

pub(crate) fn unavailable(doing: &'static str, source: impl Into<BoxError>) -> ObjectError {
    ObjectError::Unavailable { doing, source: source.into() }
}

/// A mistake of ours: keys are made by the house.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no key of an object")]
pub(crate) struct BadKey(pub(crate) String);
