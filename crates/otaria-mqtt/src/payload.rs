//! What devices send, read with patience: numbers as text, commas too many, closing NULs.
//!
//! A payload that cannot be read is dropped and counted; it never ends a connection.

use otaria_core::ids::{InformedVersion, ModuleName};
use otaria_core::task::{FailedStep, Percent, Said};
use serde_json::Value;

/// The device's own words at most, in characters.
const DESC_MAX: usize = 128;
/// The longest `id` of a request that is answered, in bytes of JSON.
const ID_MAX: usize = 128;

/// Why a payload is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPayload {
    /// It is no JSON object.
    Json,
    /// A field is missing or has no sense.
    Field,
}

/// A request that wants an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// As the device wrote it, number or text; `null` when it wrote none.
    pub(crate) id: Value,
    pub(crate) module: ModuleName,
}

/// The version that a device informs.
pub(crate) fn inform(payload: &[u8]) -> Result<(ModuleName, Said), BadPayload> {
    let root = parse(payload)?;
    let params = root.get("params").ok_or(BadPayload::Field)?;
    let version = match params.get("version").ok_or(BadPayload::Field)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(BadPayload::Field),
    };
    let version = InformedVersion::parse(&version).map_err(|_| BadPayload::Field)?;
    Ok((module(params)?, Said::Version(version)))
}

/// How far a device is, or why it failed.
pub(crate) fn progress(payload: &[u8]) -> Result<(ModuleName, Said), BadPayload> {
    let root = parse(payload)?;
    let params = root.get("params").ok_or(BadPayload::Field)?;
    let step = match params.get("step").ok_or(BadPayload::Field)? {
        Value::String(text) => text.trim().parse().map_err(|_| BadPayload::Field)?,
        Value::Number(number) => number.as_i64().ok_or(BadPayload::Field)?,
        _ => return Err(BadPayload::Field),
    };
    let desc = desc(params);
    let said = match (Percent::new(step), FailedStep::from_code(step)) {
        (Some(percent), _) => Said::Progress { percent, desc },
        (None, Some(step)) => Said::Refused { step, desc },
        (None, None) => return Err(BadPayload::Field),
    };
    Ok((module(params)?, said))
}

/// A device asks for its update.
pub(crate) fn request(payload: &[u8]) -> Result<Request, BadPayload> {
    let root = parse(payload)?;
    let none = Value::Null;
    let module = module(root.get("params").unwrap_or(&none))?;
    Ok(Request { id: id(&root)?, module })
}

/// The `id` of a request, in the form the device gave it.
pub(crate) fn id(root: &Value) -> Result<Value, BadPayload> {
    match root.get("id") {
        None => Ok(Value::Null),
        Some(id @ Value::Number(_)) => Ok(id.clone()),
        Some(id @ Value::String(text)) if text.len() <= ID_MAX => Ok(id.clone()),
        Some(_) => Err(BadPayload::Field),
    }
}

fn module(params: &Value) -> Result<ModuleName, BadPayload> {
    match params.get("module") {
        None | Some(Value::Null) => Ok(ModuleName::default_module()),
        Some(Value::String(name)) if name.is_empty() => Ok(ModuleName::default_module()),
        Some(Value::String(name)) => ModuleName::parse(name).map_err(|_| BadPayload::Field),
        Some(_) => Err(BadPayload::Field),
    }
}

fn desc(params: &Value) -> String {
    let text = params.get("desc").and_then(Value::as_str).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(DESC_MAX).collect()
}

/// A JSON object, read with patience.
pub(crate) fn parse(payload: &[u8]) -> Result<Value, BadPayload> {
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let payload = &payload[..end];
    let value: Result<Value, _> = serde_json::from_slice(payload);
    let value = value.or_else(|_| serde_json::from_slice(&without_trailing_commas(payload)));
    value.ok().filter(Value::is_object).ok_or(BadPayload::Json)
}

/// Leaves out commas before a closing brace or bracket, which a C SDK in the field writes.
fn without_trailing_commas(json: &[u8]) -> Vec<u8> {
    let mut kept: Vec<u8> = Vec::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for &byte in json {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            in_text = byte == b'"';
            if matches!(byte, b'}' | b']')
                && let Some(last) = kept.iter().rposition(|kept| !kept.is_ascii_whitespace())
                && kept[last] == b','
            {
                kept.truncate(last);
            }
        }
        kept.push(byte);
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn default() -> ModuleName {
        ModuleName::default_module()
    }

    #[test]
    fn versions_are_read_in_all_forms() {
        let version = |text: &str| Said::Version(InformedVersion::parse(text).unwrap());
        for (payload, module, text) in [
            (r#"{"id":"1","params":{"version":"1.0.0"}}"#, "default", "1.0.0"),
            (r#"{"id":1,"params":{"version":"1.0.0","module":""}}"#, "default", "1.0.0"),
            (r#"{"id":1,"params":{"version":"1.0.0","module":"mcu",},}"#, "mcu", "1.0.0"),
            ("{\"params\":{\"version\":7}}\0", "default", "7"),
        ] {
            assert_eq!(inform(payload.as_bytes()), Ok((ModuleName::parse(module).unwrap(), version(text))));
        }
    }

    #[test]
    fn steps_are_read_as_number_and_text_within_their_range() {
        let read = |step: Value| {
            let payload = json!({"id": 1, "params": {"step": step, "desc": "x\u{7}y"}}).to_string();
            progress(payload.as_bytes()).map(|(_, said)| said)
        };
        let desc = || "xy".to_owned();
        let done = |n| Ok(Said::Progress { percent: Percent::new(n).unwrap(), desc: desc() });
        assert_eq!(read(json!("0")), done(0));
        assert_eq!(read(json!(100)), done(100));
        assert_eq!(read(json!("-1")), Ok(Said::Refused { step: FailedStep::Update, desc: desc() }));
        assert_eq!(read(json!(-4)), Ok(Said::Refused { step: FailedStep::Burn, desc: desc() }));
        for bad in [json!(-5), json!(101), json!("x"), json!(1.5), json!(null), json!([1])] {
            assert_eq!(read(bad), Err(BadPayload::Field));
        }
    }

    #[test]
    fn the_devices_words_are_cut() {
        let payload = json!({"params": {"step": 1, "desc": "ü".repeat(500)}}).to_string();
        let Ok((_, Said::Progress { desc, .. })) = progress(payload.as_bytes()) else { panic!() };
        assert_eq!(desc.chars().count(), DESC_MAX);
    }

    #[test]
    fn an_id_keeps_its_form() {
        let ask = |payload: &str| request(payload.as_bytes());
        assert_eq!(ask(r#"{"id":"7"}"#), Ok(Request { id: json!("7"), module: default() }));
        assert_eq!(ask(r#"{"id":7,"params":{}}"#), Ok(Request { id: json!(7), module: default() }));
        assert_eq!(ask(r#"{"id":{"a":1}}"#), Err(BadPayload::Field));
    }

    #[test]
    fn a_comma_too_many_is_left_out_but_not_from_texts() {
        let odd = br#"{"a":[1,2, ],"b":",}\",]",} "#;
        let value: Value = serde_json::from_slice(&without_trailing_commas(odd)).unwrap();
        assert_eq!(value, json!({"a": [1, 2], "b": ",}\",]"}));
    }

    #[test]
    fn rubbish_is_no_json() {
        let deep = "[".repeat(60_000);
        for bad in ["", "{", "null", "[]", "\u{0}", "{\"params\":", "ü", &deep] {
            assert_eq!(inform(bad.as_bytes()), Err(BadPayload::Json), "{bad:.20}");
        }
        assert_eq!(inform(&[0xff, 0xfe]), Err(BadPayload::Json));
        assert_eq!(inform(br#"{"params":7}"#), Err(BadPayload::Field));
    }
}
