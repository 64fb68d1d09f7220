//! Messages to values of the domain and back. What the domain cannot hold is handed on as text, so that its
//! rules refuse it and name the parameter.

pub(crate) mod access;
pub(crate) mod apply;
pub(crate) mod device;
pub(crate) mod firmware;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod task;

use std::time::Duration;

use otaria_core::time::Timestamp;
use otaria_proto::v1;

/// An instant.
pub(crate) fn instant(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.millis();
    prost_types::Timestamp {
        seconds: millis.div_euclid(1_000),
        // 0 to 999 million.
        nanos: i32::try_from(millis.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    }
}

/// A count.
pub(crate) fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Whole minutes.
pub(crate) fn minutes(span: Duration) -> i32 {
    i32::try_from(span.as_secs() / 60).unwrap_or(i32::MAX)
}

/// A text that may be empty, for fields that are absent then.
pub(crate) fn unless_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A required text, as the rules take it.
pub(crate) fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// One of an enumeration's names by its number; 0 is not given, and a number that is none of them becomes a
/// text that no rule takes.
fn choice(raw: i32, names: &[&str]) -> Option<String> {
    match usize::try_from(raw) {
        Ok(0) => None,
        Ok(n) => Some(names.get(n - 1).map_or_else(|| raw.to_string(), |name| (*name).to_owned())),
        Err(_) => Some(raw.to_string()),
    }
}

fn tags(tags: &[otaria_core::job::Tag]) -> Vec<v1::Tag> {
    tags.iter().map(|tag| v1::Tag { key: tag.key.clone(), value: tag.value.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_1970_have_positive_nanos() {
        let before = instant(Timestamp::from_millis(-1));
        assert_eq!((before.seconds, before.nanos), (-1, 999_000_000));
        let after = instant(Timestamp::from_millis(1_001));
        assert_eq!((after.seconds, after.nanos), (1, 1_000_000));
    }

    #[test]
    fn a_number_that_is_no_choice_is_left_to_the_rules() {
        assert_eq!(choice(0, &["A", "B"]), None);
        assert_eq!(choice(2, &["A", "B"]).as_deref(), Some("B"));
        assert_eq!(choice(3, &["A", "B"]).as_deref(), Some("3"));
        assert_eq!(choice(-1, &["A", "B"]).as_deref(), Some("-1"));
    }
}
