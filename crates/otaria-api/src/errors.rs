//! What went wrong, as gRPC says it: a status with the code's name, the parameter and the rule.
//!
//! Nothing of the inside is told: causes of internal errors go to the log, once, here.

use std::collections::HashMap;
use std::time::Duration;

use otaria_core::rules::{Class, Code, Refusal};
use otaria_engine::CommandError;
use otaria_ports::quotas::TooMany;
use tonic::{Code as GrpcCode, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Whose reasons ours are.
pub(crate) const DOMAIN: &str = "otaria";
/// How long a caller waits before it repeats what was unavailable.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// The status for a command that was not done.
pub(crate) fn status_of(error: CommandError) -> Status {
    match error {
        CommandError::Refused(refusal) => refused(&refusal),
        CommandError::NotAllowed { code, message } => plain(grpc_code(code), code.as_str(), message),
        CommandError::Denied { role, needed } => {
            let about = HashMap::from([("role".into(), role.into()), ("needed".into(), needed.into())]);
            let details = ErrorDetails::with_error_info("NoPermission", DOMAIN, about);
            let message = format!("role {role} may not do this; it needs {needed}");
            Status::with_error_details(GrpcCode::PermissionDenied, message, details)
        }
        CommandError::NotServed(what) => {
            let message = format!("{what} is not served yet");
            plain(GrpcCode::Unimplemented, Code::InvalidApiNotFound.as_str(), message)
        }
        CommandError::Unavailable(cause) => {
            tracing::warn!(error = &*cause as &dyn std::error::Error, "call not served: unavailable");
            unavailable("temporarily unavailable; repeat the call")
        }
        CommandError::Internal(cause) => {
            tracing::error!(error = &*cause as &dyn std::error::Error, "call not served: internal error");
            plain(GrpcCode::Internal, Code::SystemException.as_str(), "A system exception occurred.")
        }
    }
}

/// The status for a parameter that breaks a rule.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let about = HashMap::from([("parameter".into(), refusal.parameter.clone())]);
    let mut details = ErrorDetails::with_error_info(refusal.code_text(), DOMAIN, about);
    details.add_bad_request_violation(&refusal.parameter, &refusal.rule);
    Status::with_error_details(grpc_code(refusal.code), &refusal.rule, details)
}

/// The status for a parameter that breaks a rule which only this face has.
pub(crate) fn invalid(parameter: impl Into<String>, rule: impl std::fmt::Display) -> Status {
    refused(&Refusal::invalid(Code::InvalidParameter, parameter, rule))
}

/// The status for a caller whom nobody knows.
pub(crate) fn unauthenticated(error: CommandError) -> Status {
    match error {
        CommandError::NotAllowed { code, message } if code.class() == Class::Unauthenticated => {
            plain(GrpcCode::Unauthenticated, code.as_str(), message)
        }
        other => status_of(other),
    }
}

/// The status for a caller who does not say who it is.
pub(crate) fn no_credentials() -> Status {
    let message = "metadata `authorization: Bearer <AccessKeyId>:<AccessKeySecret>` is required";
    plain(GrpcCode::Unauthenticated, Code::IncompleteSignature.as_str(), message)
}

/// The status for a call too many.
pub(crate) fn too_many(action: &'static str, refused: TooMany) -> Status {
    let about = HashMap::from([("action".into(), action.into())]);
    let mut details = ErrorDetails::with_error_info(Code::ThrottlingUser.as_str(), DOMAIN, about);
    details.set_retry_info(Some(refused.retry_after));
    let message = format!("too many calls of {action}; {refused}");
    Status::with_error_details(GrpcCode::ResourceExhausted, message, details)
}

/// The status for what may be repeated after a moment.
pub(crate) fn unavailable(message: &str) -> Status {
    let reason = Code::ServiceUnavailable.as_str();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(REPEAT_AFTER));
    Status::with_error_details(GrpcCode::Unavailable, message, details)
}

/// The status for a server that has as much to do as it takes.
pub(crate) fn busy(message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(Code::Throttling.as_str(), DOMAIN, HashMap::new());
    details.set_retry_info(Some(REPEAT_AFTER));
    Status::with_error_details(GrpcCode::ResourceExhausted, message, details)
}

/// The status for a method that this server does not serve.
pub(crate) fn not_served(method: &str) -> Status {
    let about = HashMap::from([("method".into(), method.into())]);
    let details = ErrorDetails::with_error_info(Code::InvalidApiNotFound.as_str(), DOMAIN, about);
    let message = format!("{method} is not served by this server");
    Status::with_error_details(GrpcCode::Unimplemented, message, details)
}

fn plain(code: GrpcCode, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// The status code of an error code. Its callers have been let in: what the table calls unauthenticated
/// is then a thing that they named and that is not there.
fn grpc_code(code: Code) -> GrpcCode {
    if code == Code::IdempotentParameterMismatch {
        return GrpcCode::AlreadyExists;
    }
    match code.class() {
        Class::InvalidArgument => GrpcCode::InvalidArgument,
        Class::NotFound | Class::Unauthenticated => GrpcCode::NotFound,
        Class::AlreadyExists => GrpcCode::AlreadyExists,
        Class::FailedPrecondition => GrpcCode::FailedPrecondition,
        Class::ResourceExhausted => GrpcCode::ResourceExhausted,
        Class::Unimplemented => GrpcCode::Unimplemented,
        Class::Unavailable => GrpcCode::Unavailable,
        Class::Internal => GrpcCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_code_parameter_and_rule() {
        let status = status_of(Refusal::missing("JobId", "").into());
        assert_eq!(status.code(), GrpcCode::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "MissingJobId");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "JobId");
        assert_eq!(violation.description, status.message());
    }

    #[test]
    fn the_inside_of_an_internal_error_is_not_told() {
        let status = status_of(CommandError::Internal("row 7 of table x".into()));
        assert_eq!(status.code(), GrpcCode::Internal);
        assert!(!status.message().contains("row 7"));
    }

    #[test]
    fn what_is_unavailable_says_when_to_come_back() {
        let status = status_of(CommandError::Unavailable("locked".into()));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(REPEAT_AFTER));
    }
}
