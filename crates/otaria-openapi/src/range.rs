//! The `Range` header of RFC 9110 §14, as far as one range: what is asked for in several ranges, or in a form
//! nobody knows, is answered whole, as the RFC allows.

use std::ops::Range;

/// What a request wants of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    /// Not empty, and within the file.
    Part(Range<u64>),
    /// One well-formed range of which the file has nothing.
    Unsatisfiable,
}

/// Reads the header's value for a file of `size` bytes.
pub(crate) fn wanted(value: &str, size: u64) -> Wanted {
    let Some((unit, ranges)) = value.split_once('=') else { return Wanted::Whole };
    let Some((first, last)) = ranges.trim_matches([' ', '\t']).split_once('-') else { return Wanted::Whole };
    if !unit.trim_matches([' ', '\t']).eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }

    let range = match (first, last, number(first), number(last)) {
        ("", _, _, Some(suffix)) => size.saturating_sub(suffix)..size,
        (_, "", Some(first), _) => first..size,
        (_, _, Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        _ => return Wanted::Whole,
    };
    if range.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(range) }
}

/// Digits alone; what is too large for us is as large as we can say, which is beyond every file.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_range_is_taken() {
        for (value, range) in [
            ("bytes=0-", 0..100),
            ("bytes=0-0", 0..1),
            ("bytes=10-19", 10..20),
            ("bytes=90-200", 90..100),
            ("bytes=99-", 99..100),
            ("bytes=-1", 99..100),
            ("bytes=-100", 0..100),
            ("bytes=-1000", 0..100),
            ("Bytes= 10-19 ", 10..20),
            ("bytes=5-99999999999999999999999", 5..100),
        ] {
            assert_eq!(wanted(value, 100), Wanted::Part(range), "{value}");
        }
    }

    #[test]
    fn what_the_file_does_not_have_is_unsatisfiable() {
        for value in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(wanted(value, 100), Wanted::Unsatisfiable, "{value}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Unsatisfiable);
        assert_eq!(wanted("bytes=-5", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn what_is_not_one_range_is_answered_whole() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1-0",
            "bytes=0-1,5-6",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=1--2",
            "lines=0-5",
            "0-5",
            "bytes=0x1-2",
        ] {
            assert_eq!(wanted(value, 100), Wanted::Whole, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_outside(value in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Wanted::Part(range) = wanted(&value, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn no_value_makes_it_panic(value in ".{0,40}", size: u64) {
            wanted(&value, size);
        }
    }
}
