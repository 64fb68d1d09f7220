//! Small readers that the rules share.

use super::{Code, Refusal};
use crate::ids::BadName;

/// The text, unless it is absent or empty.
pub(super) fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// The text of a required parameter.
pub(super) fn required<'a>(parameter: &str, text: Option<&'a String>) -> Result<&'a str, Refusal> {
    given(text).ok_or_else(|| Refusal::missing(parameter, ""))
}

/// A name of one of the kinds in [`crate::ids`].
pub(super) fn name<T>(
    parameter: &str,
    code: Code,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, BadName>,
) -> Result<T, Refusal> {
    parse(text).map_err(|bad| Refusal::invalid(code, parameter, format_args!("must be {}", bad.rule)))
}

/// Free text of `min` to `max` characters. Zero bytes are no text: one of the databases keeps none.
pub(super) fn free(
    parameter: &str,
    code: Code,
    text: &str,
    min: usize,
    max: usize,
) -> Result<String, Refusal> {
    if text.contains('\0') {
        return Err(Refusal::invalid(code, parameter, "must not hold zero bytes"));
    }
    // No text has more characters than bytes; long ones are counted only as far as necessary.
    if text.chars().nth(max).is_some() || text.chars().take(min).count() < min {
        let bounds = if min == 0 { format!("at most {max}") } else { format!("{min} to {max}") };
        return Err(Refusal::invalid(code, parameter, format_args!("must have {bounds} characters")));
    }
    Ok(text.to_owned())
}

/// A whole number between two bounds, both allowed.
pub(super) fn between(parameter: &str, code: Code, value: i64, min: i64, max: i64) -> Result<i64, Refusal> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Refusal::invalid(code, parameter, format_args!("must be {min} to {max}, not {value}")))
}

/// One of a few numbers.
pub(super) fn one_of(parameter: &str, code: Code, value: i64, allowed: &[i64]) -> Result<i64, Refusal> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    let list: Vec<String> = allowed.iter().map(i64::to_string).collect();
    Err(Refusal::invalid(code, parameter, format_args!("must be one of {}, not {value}", list.join(", "))))
}

/// At most `max` entries, none of them twice; `parameter` with its place is what an error names.
pub(super) fn distinct<T: Ord>(
    parameter: &str,
    code: Code,
    max: usize,
    texts: &[String],
    parse: impl Fn(&str, &str) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    if texts.len() > max {
        return Err(Refusal::invalid(
            code,
            parameter,
            format_args!("may have at most {max} entries, not {}", texts.len()),
        ));
    }
    let mut entries = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        let place = format!("{parameter}.{}", n + 1);
        let entry = parse(&place, text)?;
        if let Some(first) = entries.iter().position(|other| *other == entry) {
            let first = first + 1;
            return Err(Refusal::invalid(
                code,
                place,
                format_args!("repeats {parameter}.{first}; entries must be unique"),
            ));
        }
        entries.push(entry);
    }
    Ok(entries)
}
