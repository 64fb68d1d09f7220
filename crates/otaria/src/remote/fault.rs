//! A refusal of the server, or its silence, in words that say what to do next.

use std::error::Error;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Explains a refused call.
pub(crate) fn explain(status: &Status) -> anyhow::Error {
    let details = status.get_error_details();
    let mut text = match status.message() {
        "" => format!("refused: {:?}", status.code()),
        message => message.to_owned(),
    };
    if let Some(info) = details.error_info()
        && !info.reason.is_empty()
    {
        text.push_str(&format!(" ({})", info.reason));
    }
    for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
        // With a single one the message often is the rule already.
        if !text.contains(&violation.description) || !text.contains(&violation.field) {
            text.push_str(&format!("\n  {}: {}", violation.field, violation.description));
        }
    }

    let pause = details.retry_info().and_then(|retry| retry.retry_delay);
    // What has a source was not said by a server: the connection broke in the middle of the call.
    let broke = status.source().is_some()
        && matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled);
    let code = if broke { Code::Unavailable } else { status.code() };
    let advice = match (code, pause) {
        (Code::ResourceExhausted, Some(pause)) => Some(format!(
            "try again in {:.1} s; `serve --api-quota off` lifts the quotas",
            pause.as_secs_f64()
        )),
        (_, Some(pause)) => Some(format!("try again in {:.1} s", pause.as_secs_f64())),
        (code, None) => advice(code).map(str::to_owned),
    };
    if let Some(advice) = advice {
        text.push_str(&format!("\n  {advice}"));
    }
    anyhow::anyhow!(text)
}

fn advice(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => Some(
            "the access key was not accepted: give --access-key-id and --access-key-secret, or --data-dir of a server on this machine",
        ),
        Code::PermissionDenied => {
            Some("the access key's role does not allow this: `otaria key list` shows the roles")
        }
        Code::NotFound => Some(
            "nothing has this id, or it belongs to another account: the `list` commands show what is there",
        ),
        Code::Unavailable => Some("the server went away: is it still running? It is safe to try again"),
        Code::Unimplemented => Some("this server does not serve the call yet"),
        Code::ResourceExhausted => Some("a limit of the server is reached: try again in a moment"),
        Code::Internal | Code::DataLoss | Code::Unknown => {
            Some("the server failed, not the request: its log says why")
        }
        _ => None,
    }
}

/// Explains why no connection came about.
pub(crate) fn unreachable(endpoint: &str, error: &tonic::transport::Error) -> anyhow::Error {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    anyhow::anyhow!(
        "cannot reach a server at {endpoint}: {cause}\n  start one with `otaria serve`, or name another with --endpoint or OTARIA_ENDPOINT"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn a_refused_parameter_is_named_with_its_rule_and_the_code() {
        let mut details =
            ErrorDetails::with_bad_request([FieldViolation::new("retry_count", "must be 1, 2 or 5")]);
        details.set_error_info("iot.ota.InvalidParameter", "otaria", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::InvalidArgument, "invalid parameter", details);
        assert_eq!(
            explain(&status).to_string(),
            "invalid parameter (iot.ota.InvalidParameter)\n  retry_count: must be 1, 2 or 5"
        );
    }

    #[test]
    fn a_connection_that_breaks_is_no_failure_of_the_server() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let broken = Status::from_error(Box::new(reset));
        assert_eq!(broken.code(), Code::Unknown);
        assert!(explain(&broken).to_string().ends_with("It is safe to try again"));
        assert!(explain(&Status::unknown("oops")).to_string().ends_with("its log says why"));
    }

    #[test]
    fn a_rule_that_is_the_message_already_is_not_repeated() {
        let details = ErrorDetails::with_bad_request([FieldViolation::new("name", "is empty")]);
        let status = Status::with_error_details(Code::InvalidArgument, "name is empty", details);
        assert_eq!(explain(&status).to_string(), "name is empty");
    }

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let quota = Status::with_error_details(
            Code::ResourceExhausted,
            "too many calls",
            ErrorDetails::with_retry_info(Some(Duration::from_millis(1_500))),
        );
        assert!(explain(&quota).to_string().contains("try again in 1.5 s; `serve --api-quota off`"));
        // A server that is not served by its disk has nothing to do with quotas.
        let away = Status::with_error_details(
            Code::Unavailable,
            "temporarily unavailable",
            ErrorDetails::with_retry_info(Some(Duration::from_secs(1))),
        );
        assert!(explain(&away).to_string().ends_with("try again in 1.0 s"));
        assert!(explain(&Status::unauthenticated("no such key")).to_string().contains("--access-key-id"));
        assert!(explain(&Status::new(Code::NotFound, "")).to_string().starts_with("refused: NotFound"));
    }
}
