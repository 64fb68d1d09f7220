//! Percent-encoding as signatures want it: all but RFC 3986's unreserved characters, in upper-case hex.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One name or value.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `name=value` of sorted pairs, joined by `&`. A name that comes twice keeps the order of its values: the first
/// one is read, so a signature has to tell which that was.
pub(crate) fn joined<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by_key(|(name, _)| *name);
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("AZaz09-_.~"), "AZaz09-_.~");
        assert_eq!(encode(" *+/:%\"升"), "%20%2A%2B%2F%3A%25%22%E5%8D%87");
    }

    #[test]
    fn pairs_are_sorted_by_their_raw_names() {
        let pairs = [("b", "1"), ("B", "2"), ("a.10", ""), ("a.9", "x y")];
        assert_eq!(joined(pairs.into_iter()), "B=2&a.10=&a.9=x%20y&b=1");
    }

    #[test]
    fn the_values_of_a_name_stay_in_their_order() {
        assert_eq!(joined([("a", "2"), ("b", ""), ("a", "1")].into_iter()), "a=2&a=1&b=");
    }
}
