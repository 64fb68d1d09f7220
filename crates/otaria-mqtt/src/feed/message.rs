//! An event on its way: as text for the client, framed for the router.

use bytes::Bytes;
use otaria_core::ids::ProductKey;
use otaria_ports::events::{Event, Happened};
use serde::Serialize;

use super::filter::PREFIX;

/// The router's one topic for a product.
pub(crate) fn router_topic(product: &ProductKey) -> String {
    format!("events/{product}")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskEvent<'a> {
    job_id: &'a str,
    device_name: &'a str,
    product_key: &'a str,
    status: &'static str,
    /// Absent when the task was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_status: Option<&'static str>,
    attempt: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<&'a str>,
    revision: i64,
    /// Unix milliseconds.
    utc: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobEvent<'a> {
    job_id: &'a str,
    product_key: &'a str,
    status: &'static str,
    /// Unix milliseconds.
    utc: i64,
}

fn topic(event: &Event) -> String {
    let (product, job) = (&event.product, &event.job);
    match &event.what {
        Happened::Task { device, .. } => format!("{PREFIX}{product}/job/{job}/task/{device}"),
        Happened::Job { .. } => format!("{PREFIX}{product}/job/{job}"),
    }
}

fn payload(event: &Event) -> Vec<u8> {
    let (product_key, job_id, utc) = (event.product.as_str(), event.job.as_str(), event.at.millis());
    let json = match &event.what {
        Happened::Task { device, device_id: _, previous, status, attempt, percent, revision, desc } => {
            serde_json::to_vec(&TaskEvent {
                job_id,
                device_name: device.as_str(),
                product_key,
                status: status.as_str(),
                previous_status: previous.map(|previous| previous.as_str()),
                attempt: *attempt,
                progress: *percent,
                desc: desc.as_deref(),
                revision: *revision,
                utc,
            })
        }
        Happened::Job { status } => {
            serde_json::to_vec(&JobEvent { job_id, product_key, status: status.as_str(), utc })
        }
    };
    // Numbers and texts under text keys always have a JSON form.
    json.unwrap_or_default()
}

/// A message as it passes the router: number, length of the topic, topic, JSON.
pub(crate) fn encode(number: u64, event: &Event) -> Vec<u8> {
    let topic = topic(event);
    // At most 17 + 32 + 5 + 64 + 6 + 32 bytes.
    let length = u8::try_from(topic.len()).unwrap_or(u8::MAX);
    [&number.to_be_bytes()[..], &[length], topic.as_bytes(), &payload(event)].concat()
}

/// A message that came out of the router.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Grows by one from message to message of a product.
    pub(crate) number: u64,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

impl Message {
    /// Reads what [`encode`] wrote; `None` for anything else.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        let length = usize::from(*rest.first()?);
        let topic = std::str::from_utf8(rest.get(1..1 + length)?).ok()?.to_owned();
        let payload = bytes.split_off(9 + length);
        Some(Self { number, topic, payload })
    }
}

#[cfg(test)]
mod tests {
    use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobId, JobNo};
    use otaria_core::task::TaskStatus;
    use otaria_core::time::Timestamp;

    use super::*;

    #[test]
    fn an_event_survives_its_frame() {
        let event = Event {
            account: AccountNo(1),
            product: ProductKey::parse("a1").unwrap(),
            job: JobId::parse("j1").unwrap(),
            job_no: JobNo(1),
            at: Timestamp::from_millis(5),
            what: Happened::Task {
                device: DeviceName::parse("dev_0001").unwrap(),
                device_id: DeviceId(1),
                previous: Some(TaskStatus::Queued),
                status: TaskStatus::Notified,
                attempt: 1,
                percent: None,
                revision: 3,
                desc: None,
            },
        };
        let message = Message::decode(encode(7, &event).into()).unwrap();
        assert_eq!((message.number, &*message.topic), (7, "otaria/v1/events/a1/job/j1/task/dev_0001"));
        let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"jobId": "j1", "deviceName": "dev_0001", "productKey": "a1", "attempt": 1,
                "status": "NOTIFIED", "previousStatus": "QUEUED", "revision": 3, "utc": 5})
        );
        assert_eq!(Message::decode(Bytes::from_static(b"short")), None);
    }
}
