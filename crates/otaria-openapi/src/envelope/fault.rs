//! Why a call was not done, as this wire says it. Nothing of the inside is told: causes of internal errors
//! go to the log, once, here.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use otaria_core::rules::{Code, Refusal};
use otaria_engine::CommandError;

/// How long a caller waits before it repeats what was unavailable.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// 200 makes it a business error.
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Fault {
    /// One of the table's codes.
    pub(crate) fn code(code: Code, message: impl Into<String>) -> Self {
        Self { status: status(code), code: code.as_str().into(), message: message.into(), retry_after: None }
    }

    /// The account called too often.
    pub(crate) fn too_many(retry_after: Duration) -> Self {
        let message = "Request was denied due to user flow control.";
        Self { retry_after: Some(retry_after), ..Self::code(Code::ThrottlingUser, message) }
    }

    /// Not now.
    pub(crate) fn busy(message: &str) -> Self {
        Self { retry_after: Some(REPEAT_AFTER), ..Self::code(Code::ServiceUnavailable, message) }
    }

    /// No such action or version.
    pub(crate) fn unknown_action() -> Self {
        let message = "Specified api is not found, please check your url and method.";
        Self::code(Code::InvalidApiNotFound, message)
    }
}

fn status(code: Code) -> StatusCode {
    // The table holds no other numbers.
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::BAD_REQUEST)
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code_text();
        Self { code, message: refusal.rule, ..Self::code(refusal.code, "") }
    }
}

impl From<CommandError> for Fault {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::NotAllowed { code, message } => Self::code(code, message),
            CommandError::Denied { role, needed } => Self {
                status: StatusCode::FORBIDDEN,
                code: "NoPermission".into(),
                message: format!("role {role} may not do this; it needs {needed}"),
                retry_after: None,
            },
            CommandError::NotServed(what) => {
                Self::code(Code::InvalidApiNotFound, format!("{what} is not served yet"))
            }
            CommandError::Unavailable(cause) => {
                tracing::warn!(error = &*cause as &dyn std::error::Error, "call not served: unavailable");
                Self::busy("temporarily unavailable; repeat the call")
            }
            CommandError::Internal(cause) => {
                tracing::error!(error = &*cause as &dyn std::error::Error, "call not served: internal error");
                Self::code(Code::SystemException, "A system exception occurred.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_keeps_its_code_and_status() {
        let of = |refusal: Refusal| {
            let fault = Fault::from(refusal);
            (fault.status.as_u16(), fault.code.into_owned())
        };
        let missing = Refusal::missing("FirmwareId", "");
        assert_eq!(of(missing), (400, "MissingFirmwareId".into()));
        let invalid = Refusal::invalid(Code::InvalidParameter, "Tag.2.Key", "is bad");
        assert_eq!(of(invalid), (400, "InvalidTag".into()));
        let business = Refusal::invalid(Code::InvalidTags, "Tag.2.Key", "is bad");
        assert_eq!(of(business), (200, "iot.ota.InvalidTags".into()));
    }

    #[test]
    fn what_went_wrong_inside_is_not_told() {
        let fault = Fault::from(CommandError::Internal("the disk is on fire".into()));
        assert_eq!((fault.status.as_u16(), fault.code.as_ref()), (200, "iot.system.SystemException"));
        assert!(!fault.message.contains("fire"));
    }
}
