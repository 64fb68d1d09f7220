//! Sets as one bound text, and sets as one text that comes back.
//!
//! A statement costs a hop to the connection's thread, and a row that crosses it costs about as much as
//! reading it from its page. So a set goes in as one JSON array, and where many small rows come back they
//! come as lines of one text.

use std::fmt::{Display, Write};

use otaria_ports::store::StoreError;
use serde_json::Value;

/// A JSON array of numbers.
pub(crate) fn numbers(items: impl IntoIterator<Item = i64>) -> String {
    array(items, |out, n| {
        let _ = write!(out, "{n}"); // Writing to a String cannot fail.
    })
}

/// A JSON array of texts.
pub(crate) fn texts<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    array(items, |out, text| quote(out, text.as_ref()))
}

/// A JSON array whose elements `each` writes.
pub(crate) fn array<T>(items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) -> String {
    let items = items.into_iter();
    let mut out = String::with_capacity(2 + items.size_hint().0 * 20);
    out.push('[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(&mut out, item);
    }
    out.push(']');
    out
}

/// Writes a JSON text.
pub(crate) fn quote(out: &mut String, text: &str) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\' && b != 0x7f;
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

/// Writes a JSON number or null.
pub(crate) fn optional(out: &mut String, value: Option<impl Display>) {
    match value {
        Some(value) => {
            let _ = write!(out, "{value}"); // Writing to a String cannot fail.
        }
        None => out.push_str("null"),
    }
}

/// Writes hex digits.
pub(crate) fn hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
}

/// Reads lines of blank-separated numbers.
pub(crate) fn lines<const N: usize>(
    table: &'static str,
    packed: Option<&str>,
) -> Result<Vec<[i64; N]>, StoreError> {
    let corrupt = |line: &str| StoreError::Corrupt { table, reason: format!("not {N} numbers: {line:?}") };
    packed
        .unwrap_or_default()
        .lines()
        .map(|line| {
            let mut parts = line.split(' ');
            let mut numbers = [0; N];
            for number in &mut numbers {
                *number = parts.next().and_then(|part| part.parse().ok()).ok_or_else(|| corrupt(line))?;
            }
            Ok(numbers)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_as_json_wants_it() {
        assert_eq!(texts(["a", "b\"\\\n", "ü"]), r#"["a","b\"\\\n","ü"]"#);
        assert_eq!(numbers([1, -2]), "[1,-2]");
        assert_eq!(numbers([]), "[]");
    }

    #[test]
    fn lines_come_back_as_numbers_or_not_at_all() {
        assert_eq!(lines::<2>("t", Some("1 2\n3 4")).unwrap(), [[1, 2], [3, 4]]);
        assert!(lines::<2>("t", None).unwrap().is_empty());
        assert!(lines::<2>("t", Some("1")).is_err());
    }

    #[test]
    fn bytes_become_hex_digits() {
        let mut out = String::new();
        hex(&mut out, &[0, 255, 16]);
        assert_eq!(out, "00ff10");
    }
}
