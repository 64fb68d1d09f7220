//! What goes back: success, a rule of the business, or a refusal at the gate, in JSON or XML.
//!
//! Business errors answer 200 with `Success` false; refusals at the gate answer 4xx and carry the texts of
//! both kinds, since SDKs look for the one or the other.

mod fault;
mod node;

pub(crate) use fault::Fault;
pub(crate) use node::Fields;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use otaria_ports::ids::Ids;

/// Whole milliseconds after which a call may be repeated; the SDKs make a throttling error of it.
const RETRY_AFTER: HeaderName = HeaderName::from_static("x-acs-retry-after");

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Xml,
}

impl Format {
    /// By the `Format` parameter; what is not known is JSON.
    pub(crate) fn read(text: Option<&str>) -> Self {
        if text.is_some_and(|text| text.eq_ignore_ascii_case("xml")) { Self::Xml } else { Self::Json }
    }

    /// What the SDKs compare letter by letter.
    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json;charset=utf-8"),
            Self::Xml => HeaderValue::from_static("text/xml;charset=utf-8"),
        }
    }
}

/// What every answer to one request tells.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) format: Format,
    /// The root of an XML answer is named after it.
    pub(crate) action: &'static str,
    pub(crate) request_id: String,
    /// The host that was addressed.
    pub(crate) host: String,
}

impl Envelope {
    /// The answer of a call that was done.
    pub(crate) fn success(&self, answer: Fields) -> Response {
        let fields = self.head().with("Success", true).and(answer);
        self.write(StatusCode::OK, &format!("{}Response", self.action), fields)
    }

    /// The answer of a call that was not.
    pub(crate) fn failure(&self, fault: &Fault) -> Response {
        let Fault { status, code, message, retry_after } = fault;
        let both = |fields: Fields| {
            fields.with("Success", false).with("Code", code.as_ref()).with("ErrorMessage", message.as_str())
        };
        if *status == StatusCode::OK {
            return self.write(*status, &format!("{}Response", self.action), both(self.head()));
        }
        let fields = both(self.head().with("HostId", self.host.as_str()))
            .with("Message", message.as_str())
            .with("Recommend", "see the action and its parameters in the documentation of this server");
        let mut response = self.write(*status, "Error", fields);
        if let Some(span) = retry_after {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            response.headers_mut().insert(RETRY_AFTER, millis.into());
        }
        response
    }

    fn head(&self) -> Fields {
        Fields::new().with("RequestId", self.request_id.as_str())
    }

    fn write(&self, status: StatusCode, root: &str, fields: Fields) -> Response {
        let text = match self.format {
            Format::Json => fields.json(),
            Format::Xml => fields.xml(root),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, self.format.content_type());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// A fresh UUID of version 4, in upper case.
pub(crate) fn request_id(ids: &dyn Ids) -> String {
    let mut bytes = [0; 16];
    ids.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = crate::hex::hex(&bytes).to_ascii_uppercase();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use otaria_core::rules::{Code, Refusal};
    use otaria_ports::ids::CountingIds;

    use super::*;

    fn envelope(format: Format) -> Envelope {
        Envelope { format, action: "QueryOTAJob", request_id: "R-1".into(), host: "127.0.0.1:8080".into() }
    }

    async fn text(response: Response) -> (u16, String, String) {
        let kind = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn success_carries_the_answer_beside_the_envelope() {
        let answer = Fields::new().with("Data", Fields::new().with("JobId", "j<1"));
        let (status, kind, json) = text(envelope(Format::Json).success(answer.clone())).await;
        assert_eq!((status, kind.as_str()), (200, "application/json;charset=utf-8"));
        assert_eq!(json, r#"{"RequestId":"R-1","Success":true,"Data":{"JobId":"j<1"}}"#);
        let (status, kind, xml) = text(envelope(Format::Xml).success(answer)).await;
        assert_eq!((status, kind.as_str()), (200, "text/xml;charset=utf-8"));
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<QueryOTAJobResponse><RequestId>R-1\
                        </RequestId><Success>true</Success><Data><JobId>j&lt;1</JobId></Data>\
                        </QueryOTAJobResponse>";
        assert_eq!(xml, expected);
    }

    #[tokio::test]
    async fn a_business_error_answers_200() {
        let fault = Fault::code(Code::JobNotFound, "no such job");
        let (status, _, json) = text(envelope(Format::Json).failure(&fault)).await;
        assert_eq!(status, 200);
        let expected = r#"{"RequestId":"R-1","Success":false,"Code":"iot.ota.JobNotFound","ErrorMessage":"no such job"}"#;
        assert_eq!(json, expected);
        let (_, _, xml) = text(envelope(Format::Xml).failure(&fault)).await;
        assert!(xml.contains("<QueryOTAJobResponse>"), "{xml}");
    }

    #[tokio::test]
    async fn a_refusal_at_the_gate_speaks_both_languages() {
        let fault = Fault::from(Refusal::missing("JobId", ""));
        let (status, kind, json) = text(envelope(Format::Json).failure(&fault)).await;
        assert_eq!((status, kind.as_str()), (400, "application/json;charset=utf-8"));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["Code"], "MissingJobId");
        assert_eq!(json["Message"], "JobId is mandatory for this action.");
        assert_eq!(json["ErrorMessage"], json["Message"]);
        assert_eq!((&json["Success"], &json["HostId"]), (&false.into(), &"127.0.0.1:8080".into()));
        assert!(json["Recommend"].is_string());
        let (status, kind, xml) = text(envelope(Format::Xml).failure(&fault)).await;
        assert_eq!((status, kind.as_str()), (400, "text/xml;charset=utf-8"));
        assert!(xml.contains("<Error><RequestId>R-1</RequestId><HostId>"), "{xml}");
    }

    #[tokio::test]
    async fn who_calls_too_often_is_told_in_milliseconds_when_to_come_back() {
        let fault = Fault::too_many(std::time::Duration::from_millis(70));
        let response = envelope(Format::Json).failure(&fault);
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-acs-retry-after"], "70");
    }

    #[test]
    fn a_request_id_is_a_uuid_in_upper_case() {
        let ids = CountingIds::default();
        let (one, two) = (request_id(&ids), request_id(&ids));
        assert_ne!(one, two);
        let groups: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert!(one.bytes().all(|c| c == b'-' || c.is_ascii_digit() || (b'A'..=b'F').contains(&c)), "{one}");
        assert_eq!(one.as_bytes()[14], b'4');
    }
}
