//! The parameters of a call: query and form in one table of texts.
//!
//! Reads names and numbers; what a value may be is for the rules. An empty text counts as absent there, so
//! it is kept here: a signature covers it.
//!
//! Invariant: entries of a list come in the order of their numbers, whatever the order on the wire.

use std::collections::BTreeMap;

use axum::body::Bytes;
use otaria_core::rules::{Code, Refusal};

/// Query and form. A name that comes twice is known by its first value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, String>);

/// The members of one entry of a list of structures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Where it stands: `Tag.1`.
    place: String,
    members: BTreeMap<&'a str, &'a str>,
}

/// The pairs of a query or a form, decoded.
pub(crate) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

impl Params {
    /// Merges query and form; the query goes first.
    pub(crate) fn merge(query: &[(String, String)], form: &Bytes) -> Self {
        let mut all = BTreeMap::new();
        for (name, value) in query.iter().cloned().chain(pairs(form)) {
            all.entry(name).or_insert(value);
        }
        Self(all)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// [`Params::text`], as the rules take it.
    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A whole number.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.text(name).map(|text| int(name, text)).transpose()
    }

    /// `true` or `false`, without case.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text {
            text if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            text if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            _ => Err(Refusal::invalid(Code::InvalidParameter, name, "must be true or false")),
        }
    }

    /// `Name.1`, `Name.2`, …
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let mut entries: Vec<(u64, &str)> =
            self.under(name).filter_map(|(rest, value)| Some((rest.parse::<u64>().ok()?, value))).collect();
        entries.sort_by_key(|(n, _)| *n);
        entries.into_iter().map(|(_, value)| value.to_owned()).collect()
    }

    /// `Name.1.Member`, `Name.2.Member`, …
    pub(crate) fn entries(&self, name: &str) -> Vec<Entry<'_>> {
        let mut entries: BTreeMap<u64, Entry<'_>> = BTreeMap::new();
        for (rest, value) in self.under(name) {
            let Some((n, member)) = rest.split_once('.') else { continue };
            let Ok(number) = n.parse::<u64>() else { continue };
            let entry = entries.entry(number).or_default();
            entry.place = format!("{name}.{n}");
            entry.members.insert(member, value);
        }
        entries.into_values().collect()
    }

    /// What follows `name.`, with its values.
    fn under(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{name}.");
        let from = self.0.range(prefix.clone()..);
        from.map_while(move |(key, value)| Some((key.strip_prefix(&prefix)?, value.as_str())))
    }
}

impl Entry<'_> {
    /// A member's text that is not empty.
    pub(crate) fn owned(&self, member: &str) -> Option<String> {
        self.members.get(member).filter(|text| !text.is_empty()).map(|text| (*text).to_owned())
    }

    /// A member's whole number.
    pub(crate) fn int(&self, member: &str) -> Result<Option<i64>, Refusal> {
        let text = self.members.get(member).filter(|text| !text.is_empty());
        text.map(|text| int(&format!("{}.{member}", self.place), text)).transpose()
    }
}

fn int(name: &str, text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(Code::InvalidParameter, name, "must be a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str, form: &'static str) -> Params {
        Params::merge(&pairs(query.as_bytes()), &Bytes::from_static(form.as_bytes()))
    }

    #[test]
    fn query_and_form_are_one_and_blanks_come_as_plus_or_hex() {
        let params = params("A=x+y&B=%E5%8D%87&Empty=", "C=x%20y&A=other");
        assert_eq!(params.text("A"), Some("x y"));
        assert_eq!(params.text("B"), Some("升"));
        assert_eq!(params.text("C"), Some("x y"));
        assert_eq!(params.text("Empty"), None);
        assert_eq!(params.iter().count(), 4);
    }

    #[test]
    fn lists_are_in_the_order_of_their_numbers() {
        let params = params("V.10=j&V.2=b&V.9=i&V.1=a&V.x=no&V=no&Vx.1=no", "V.11=k");
        assert_eq!(params.list("V"), ["a", "b", "i", "j", "k"]);
        assert!(params.list("W").is_empty());
    }

    #[test]
    fn structures_keep_their_members_together() {
        let params =
            params("Tag.2.Value=v2&Tag.1.Key=k1&Tag.1.Value=v%3D1&Tag.10.Key=k10&Tag.2.Key=k2&T=1", "");
        let tags = params.entries("Tag");
        let pairs: Vec<_> = tags.iter().map(|tag| (tag.owned("Key"), tag.owned("Value"))).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(pairs, [(some("k1"), some("v=1")), (some("k2"), some("v2")), (some("k10"), None),]);
    }

    #[test]
    fn numbers_and_flags_name_the_parameter_that_is_none() {
        let params = params("N=12&Bad=1x&Yes=True&No=false&Maybe=1&F.3.Size=y", "");
        assert_eq!(params.int("N").unwrap(), Some(12));
        assert_eq!(params.int("Absent").unwrap(), None);
        assert_eq!(params.int("Bad").unwrap_err().code_text(), "InvalidBad");
        assert_eq!(params.flag("Yes").unwrap(), Some(true));
        assert_eq!(params.flag("No").unwrap(), Some(false));
        assert_eq!(params.flag("Maybe").unwrap_err().code_text(), "InvalidMaybe");
        assert_eq!(params.entries("F")[0].int("Size").unwrap_err().parameter, "F.3.Size");
    }
}
