//! A small tree of values, written as JSON or XML.
//!
//! Nearly every list of this API stands in a wrapper of its own in JSON (`"Tags": {"OtaTagDTO": […]}`); a
//! few do not. In XML both look alike: the items, by their name, in the wrapper.

use serde_json::Value;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Text(String),
    Int(i64),
    Flag(bool),
    Object(Fields),
    /// A list, with the name of its items.
    List {
        item: &'static str,
        wrapped: bool,
        rows: Vec<Node>,
    },
}

/// Named values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(&'static str, Node)>);

impl Fields {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// One value more.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Node>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// One value more, if there is one.
    pub(crate) fn with_some(self, name: &'static str, value: Option<impl Into<Node>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A list in its wrapper: `"name": {"item": […]}`.
    pub(crate) fn wrapped<T: Into<Node>>(
        self,
        name: &'static str,
        item: &'static str,
        rows: impl IntoIterator<Item = T>,
    ) -> Self {
        let rows = rows.into_iter().map(Into::into).collect();
        self.with(name, Node::List { item, wrapped: true, rows })
    }

    /// One of the few lists without a wrapper: `"name": […]`.
    pub(crate) fn plain<T: Into<Node>>(
        self,
        name: &'static str,
        item: &'static str,
        rows: impl IntoIterator<Item = T>,
    ) -> Self {
        let rows = rows.into_iter().map(Into::into).collect();
        self.with(name, Node::List { item, wrapped: false, rows })
    }

    /// These and those.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// As JSON text.
    pub(crate) fn json(&self) -> String {
        let mut text = String::new();
        write_object(self, &mut text);
        text
    }

    /// As an XML document.
    pub(crate) fn xml(&self, root: &str) -> String {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        element(root, &mut text, |text| self.write_xml(text));
        text
    }

    fn write_xml(&self, text: &mut String) {
        for (name, node) in &self.0 {
            element(name, text, |text| node.write_xml(text));
        }
    }
}

impl Node {
    fn write_json(&self, text: &mut String) {
        match self {
            Self::Text(value) => quote(value, text),
            Self::Int(value) => *text += &value.to_string(),
            Self::Flag(value) => *text += if *value { "true" } else { "false" },
            Self::Object(fields) => write_object(fields, text),
            Self::List { item, wrapped: true, rows } => {
                text.push('{');
                quote(item, text);
                text.push(':');
                write_rows(rows, text);
                text.push('}');
            }
            Self::List { wrapped: false, rows, .. } => write_rows(rows, text),
        }
    }

    fn write_xml(&self, text: &mut String) {
        match self {
            Self::Text(value) => escape(value, text),
            Self::Int(value) => *text += &value.to_string(),
            Self::Flag(value) => *text += if *value { "true" } else { "false" },
            Self::Object(fields) => fields.write_xml(text),
            Self::List { item, rows, .. } => {
                for row in rows {
                    element(item, text, |text| row.write_xml(text));
                }
            }
        }
    }
}

fn write_object(fields: &Fields, text: &mut String) {
    text.push('{');
    for (at, (name, node)) in fields.0.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        quote(name, text);
        text.push(':');
        node.write_json(text);
    }
    text.push('}');
}

fn write_rows(rows: &[Node], text: &mut String) {
    text.push('[');
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        row.write_json(text);
    }
    text.push(']');
}

fn quote(value: &str, text: &mut String) {
    *text += &Value::from(value).to_string();
}

fn element(name: &str, text: &mut String, inner: impl FnOnce(&mut String)) {
    *text += &format!("<{name}>");
    inner(text);
    *text += &format!("</{name}>");
}

/// Characters that no XML document may hold become visible as such.
fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '<' => *text += "&lt;",
            '>' => *text += "&gt;",
            '&' => *text += "&amp;",
            '"' => *text += "&quot;",
            '\'' => *text += "&apos;",
            '\r' => *text += "&#13;",
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            c => text.push(c),
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Node {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Node {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u8> for Node {
    fn from(number: u8) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Node {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u64> for Node {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Fields> for Node {
    fn from(fields: Fields) -> Self {
        Self::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Fields {
        let tag = |key: &str| Fields::new().with("Key", key).with("Value", "v\"1\"");
        Fields::new()
            .with("Total", 2_u64)
            .with("Need", true)
            .with_some("Absent", None::<&str>)
            .wrapped("SrcVersions", "SrcVersion", ["1.0", "2.0"])
            .wrapped("Tags", "OtaTagDTO", [tag("a")])
            .plain("MultiFiles", "MultiFile", [tag("b")])
            .wrapped("Empty", "Nothing", Vec::<&str>::new())
    }

    #[test]
    fn lists_are_wrapped_in_json_but_for_the_few_that_are_not() {
        let expected = r#"{"Total":2,"Need":true,"SrcVersions":{"SrcVersion":["1.0","2.0"]},"Tags":{"OtaTagDTO":[{"Key":"a","Value":"v\"1\""}]},"MultiFiles":[{"Key":"b","Value":"v\"1\""}],"Empty":{"Nothing":[]}}"#;
        assert_eq!(tree().json(), expected);
    }

    #[test]
    fn in_xml_items_repeat_in_their_wrapper() {
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R><Total>2</Total><Need>true</Need>\
            <SrcVersions><SrcVersion>1.0</SrcVersion><SrcVersion>2.0</SrcVersion></SrcVersions>\
            <Tags><OtaTagDTO><Key>a</Key><Value>v&quot;1&quot;</Value></OtaTagDTO></Tags>\
            <MultiFiles><MultiFile><Key>b</Key><Value>v&quot;1&quot;</Value></MultiFile></MultiFiles>\
            <Empty></Empty></R>";
        assert_eq!(tree().xml("R"), expected);
    }

    #[test]
    fn no_text_breaks_the_form() {
        let fields = Fields::new().with("T", "<a>&'\"\u{1}\n\r升");
        assert_eq!(fields.json(), "{\"T\":\"<a>&'\\\"\\u0001\\n\\r升\"}");
        assert!(fields.xml("R").ends_with("<T>&lt;a&gt;&amp;&apos;&quot;\u{fffd}\n&#13;升</T></R>"));
    }
}
