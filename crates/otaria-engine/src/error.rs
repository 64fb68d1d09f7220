//! What a command answers when it does not do it. Faces translate; they hold no rule.

use otaria_core::rules::{Code, Refusal};
use otaria_ports::objects::ObjectError;
use otaria_ports::store::StoreError;

/// Why a command was not done. Nothing is half-done then.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A parameter is missing or wrong. Mend the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A rule about the state of things forbids it. The message says what would help.
    #[error("{message}")]
    NotAllowed {
        /// Which rule.
        code: Code,
        /// For people.
        message: String,
    },
    /// The caller's role does not allow it.
    #[error("role {role} may not do this; it needs {needed}")]
    Denied {
        /// The role that the caller has.
        role: &'static str,
        /// The role that it takes.
        needed: &'static str,
    },
    /// Known, but not served by this version.
    #[error("{0} is not served yet")]
    NotServed(&'static str),
    /// Busy or unreachable. Safe to repeat.
    #[error("temporarily unavailable; repeat the call")]
    Unavailable(#[source] otaria_ports::BoxError),
    /// Our fault.
    #[error("internal error")]
    Internal(#[source] otaria_ports::BoxError),
}

impl CommandError {
    /// Shorthand for [`CommandError::NotAllowed`].
    #[must_use]
    pub fn not_allowed(code: Code, message: impl Into<String>) -> Self {
        Self::NotAllowed { code, message: message.into() }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } | StoreError::Conflict { .. } => {
                Self::Unavailable(Box::new(error))
            }
            // Callers that expect one of these look at it before they convert.
            StoreError::Exists { .. } | StoreError::NotFound { .. } | StoreError::Corrupt { .. } => {
                Self::Internal(Box::new(error))
            }
        }
    }
}

impl From<ObjectError> for CommandError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Unavailable { .. } => Self::Unavailable(Box::new(error)),
            ObjectError::NotFound => Self::Internal(Box::new(error)),
        }
    }
}

impl From<otaria_ports::Unavailable> for CommandError {
    fn from(error: otaria_ports::Unavailable) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
