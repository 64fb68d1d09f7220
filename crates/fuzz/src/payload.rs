//! What a device publishes: versions, progress, questions for an update, and for a block of a package.

use bytes::Bytes;
use otaria_core::ids::{InformedVersion, ModuleName};
use otaria_core::task::Said;
use otaria_mqtt::untrusted::{Download, fetch, inform, progress};
use otaria_ports::inbox::{BLOCK_MAX, Block};
use serde_json::Value;

/// The device's own words at most, in characters.
const DESC_MAX: usize = 128;

pub(crate) fn run(payload: &[u8]) {
    let informed = inform(payload);
    let progressed = progress(payload);
    said(informed.as_ref());
    said(progressed.as_ref());
    if let Some((_, said)) = &informed {
        assert!(matches!(said, Said::Version(_)));
    }
    if let Some((_, said)) = &progressed {
        assert!(matches!(said, Said::Progress { .. } | Said::Refused { .. }));
    }

    // What kits in C add does not change what is said.
    for odd in oddly_written(payload) {
        assert_eq!(inform(&odd), informed, "a version changed with its spelling");
        assert_eq!(progress(&odd), progressed, "a progress changed with its spelling");
    }
    if let Ok(json) = serde_json::from_slice::<Value>(payload) {
        strictly(&json, informed.as_ref(), progressed.as_ref());
    }
    question(payload);
    block(payload);
}

fn said(read: Option<&(ModuleName, Said)>) {
    let Some((module, said)) = read else { return };
    assert_eq!(ModuleName::parse(module.as_str()).as_ref(), Ok(module));
    match said {
        Said::Version(version) => {
            assert_eq!(InformedVersion::parse(version.as_str()).as_ref(), Ok(version));
        }
        Said::Progress { percent, desc } => {
            assert!(percent.get() <= 100);
            words(desc);
        }
        Said::Refused { step, desc } => {
            assert!((-4..=-1).contains(&step.code()));
            words(desc);
        }
    }
}

fn words(desc: &str) {
    assert!(desc.chars().count() <= DESC_MAX && !desc.contains(char::is_control));
}

/// Other spellings of a payload: blanks around it, closing NULs, and, where it is an object, a comma too many.
fn oddly_written(payload: &[u8]) -> Vec<Vec<u8>> {
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut odd = vec![[payload, b"\0\0"].concat(), [b" \n", payload].concat()];
    odd.push([&payload[..end], b" \r\n\0"].concat());
    if serde_json::from_slice::<Value>(payload).is_ok_and(|json| json.is_object()) {
        let last = payload.iter().rposition(|byte| *byte == b'}').expect("an object is closed");
        odd.push([&payload[..last], b", ", &payload[last..]].concat());
    }
    odd
}

/// What is said is what the JSON holds.
fn strictly(json: &Value, informed: Option<&(ModuleName, Said)>, progressed: Option<&(ModuleName, Said)>) {
    let params = &json["params"];
    for (module, said) in informed.into_iter().chain(progressed) {
        let named = params["module"].as_str().filter(|name| !name.is_empty());
        assert_eq!(module.as_str(), named.unwrap_or(ModuleName::DEFAULT));
        match said {
            Said::Version(version) => {
                let plain = &params["version"];
                let text = plain.as_str().map_or_else(|| plain.to_string(), str::to_owned);
                assert_eq!(version.as_str(), text);
            }
            Said::Progress { percent, .. } => assert_eq!(step(params), Some(i64::from(percent.get()))),
            Said::Refused { step: failed, .. } => assert_eq!(step(params), Some(failed.code())),
        }
    }
}

fn step(params: &Value) -> Option<i64> {
    let step = &params["step"];
    step.as_i64().or_else(|| step.as_str()?.trim().parse().ok())
}

/// A question is answered under its own id, in JSON.
fn question(payload: &[u8]) {
    for data in [None, Some(&br#"{"version":"2"}"#[..])] {
        let Some((module, reply)) = fetch(payload, data) else { return };
        assert_eq!(ModuleName::parse(module.as_str()).as_ref(), Ok(&module));
        let reply: Value = serde_json::from_slice(&reply).expect("an answer in JSON");
        let offered: Value =
            data.map_or_else(Value::default, |data| serde_json::from_slice(data).unwrap_or_default());
        assert_eq!((&reply["code"], &reply["data"]["version"]), (&Value::from(200), &offered["version"]));
        asked_by(payload, &reply["id"]);
    }
}

/// An answer carries the id of its question, number or text.
fn asked_by(payload: &[u8], id: &Value) {
    let Ok(json) = serde_json::from_slice::<Value>(payload) else { return };
    let asked = json.get("id").unwrap_or(&Value::Null);
    match (asked, id) {
        // A fraction, or a number of more than 64 bits, may come back rounded in its last digit.
        (Value::Number(asked), Value::Number(id)) if asked.is_f64() => {
            let (asked, id) = (asked.as_f64().unwrap_or(0.0), id.as_f64().unwrap_or(0.0));
            assert!((asked - id).abs() <= asked.abs() * 1e-12, "{asked} and {id}");
        }
        _ => assert_eq!(asked, id),
    }
}

/// Both answers to a question for a block are frames that a device can take apart.
fn block(payload: &[u8]) {
    const BYTES: &[u8] = b"\0\x01\xfe}\n";
    let Some(question) = Download::parse(payload) else { return };
    if let Some(asked) = question.asked() {
        assert!((1..=BLOCK_MAX).contains(&asked.size));
    }

    let (refusal, rest) = taken_apart(&question.refuse());
    assert_eq!((&refusal["code"], rest.len()), (&Value::from(400), 0));
    asked_by(payload, &refusal["id"]);

    let offset = question.asked().map_or(0, |asked| asked.offset);
    let block = Block { bytes: Bytes::from_static(BYTES), file_size: u64::MAX };
    let (answer, rest) = taken_apart(&question.answer(offset, &block));
    let data = &answer["data"];
    assert_eq!((&answer["code"], &data["bOffset"]), (&Value::from(200), &Value::from(offset)));
    assert_eq!((&data["bSize"], &data["fileLength"]), (&Value::from(BYTES.len()), &Value::from(u64::MAX)));
    assert_eq!(rest, [BYTES, &crc16(BYTES).to_le_bytes()].concat());
    asked_by(payload, &answer["id"]);
}

/// The JSON of a frame, and what follows it.
fn taken_apart(frame: &[u8]) -> (Value, Vec<u8>) {
    let (length, rest) = frame.split_first_chunk().expect("a length");
    let (json, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
    (serde_json::from_slice(json).expect("a frame with JSON"), rest.to_vec())
}

/// CRC-16/ARC, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 })
    })
}
