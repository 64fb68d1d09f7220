//! The rule of a dynamic group: a condition on what never changes of a device.
//!
//! ```text
//! product_key = "a1Bc2De3Fg4" and (name like "pump%" or name in ("x1", "x2"))
//! ```
//!
//! Since a device keeps its product and its name for life, who belongs to a group follows from the rule alone:
//! nothing is stored for a member, and nothing is to be kept up to date.
//!
//! Invariant: a [`GroupExpression`] parses; its text is what the caller wrote.

use std::fmt;

use crate::ids::{DeviceName, ProductKey};

/// The longest rule, in characters.
pub const EXPRESSION_MAX: usize = 512;

/// A rule that parses. See the module for how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupExpression {
    text: String,
    condition: Condition,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at character {at}")]
pub struct BadExpression {
    /// Where, counted from 1.
    pub at: usize,
    /// What is wrong, and what is expected.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// The field equals one of these.
    Is(Field, Vec<String>),
    /// The field matches a pattern: its parts between `%`.
    Like(Field, Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ProductKey,
    Name,
}

impl GroupExpression {
    /// Reads a rule: comparisons of `product_key` and `name` with `=`, `!=`, `in (…)` and `like` (where `%`
    /// stands for any characters, none among them), joined by `and`, `or`, `not` and parentheses. At most
    /// [`EXPRESSION_MAX`] characters; words in any case; texts in single or double quotes.
    ///
    /// # Errors
    /// Says where it does not parse, and what is expected there.
    pub fn parse(text: &str) -> Result<Self, BadExpression> {
        let length = text.chars().count();
        if length > EXPRESSION_MAX {
            let what = format!("the rule may have at most {EXPRESSION_MAX} characters");
            return Err(BadExpression { at: EXPRESSION_MAX + 1, what });
        }
        let mut parser = Parser { tokens: tokens(text)?, next: 0, end: length + 1 };
        let condition = parser.any()?;
        match parser.peek() {
            None => Ok(Self { text: text.to_owned(), condition }),
            Some(_) => Err(parser.expected("\"and\", \"or\" or the end")),
        }
    }

    /// As the caller wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a device belongs to the group.
    #[must_use]
    pub fn takes(&self, product: &ProductKey, name: &DeviceName) -> bool {
        self.condition.holds(product.as_str(), name.as_str())
    }

    /// The only products that members can be of, when the rule names them; `None` when it leaves them open.
    #[must_use]
    pub fn products(&self) -> Option<Vec<ProductKey>> {
        let products = self.condition.products()?;
        Some(products.iter().filter_map(|key| ProductKey::parse(key).ok()).collect())
    }
}

impl fmt::Display for GroupExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    fn holds(&self, product: &str, name: &str) -> bool {
        let value = |field: &Field| match field {
            Field::ProductKey => product.to_owned(),
            Field::Name => name.to_owned(),
        };
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(product, name)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(product, name)),
            Self::Not(part) => !part.holds(product, name),
            Self::Is(field, values) => values.contains(&value(field)),
            Self::Like(field, pattern) => is_like(&value(field), pattern),
        }
    }

    /// The products to which this is limited, if it is.
    fn products(&self) -> Option<Vec<String>> {
        match self {
            Self::Is(Field::ProductKey, keys) => Some(keys.clone()),
            // Each part alone limits the whole: the narrowest will do.
            Self::All(parts) => parts.iter().filter_map(Self::products).min_by_key(Vec::len),
            Self::Any(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(part.products()?);
                }
                all.sort_unstable();
                all.dedup();
                Some(all)
            }
            Self::Is(Field::Name, _) | Self::Like(..) | Self::Not(_) => None,
        }
    }
}

/// Whether a text is made of these parts in this order, with anything between them and nothing around them.
fn is_like(text: &str, pattern: &[String]) -> bool {
    let [first, middle @ .., last] = pattern else {
        return pattern.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_str())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(&'static str),
}

/// The tokens of a text, each with the character at which it begins, counted from 1.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, BadExpression> {
    let mut found = Vec::new();
    let mut chars = (1..).zip(text.chars()).peekable();
    while let Some((at, c)) = chars.next() {
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Mark("("),
            ')' => Token::Mark(")"),
            ',' => Token::Mark(","),
            '=' => {
                chars.next_if(|(_, c)| *c == '=');
                Token::Mark("=")
            }
            '!' if chars.next_if(|(_, c)| *c == '=').is_some() => Token::Mark("!="),
            '<' if chars.next_if(|(_, c)| *c == '>').is_some() => Token::Mark("!="),
            '"' | '\'' => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        Some((_, end)) if end == c => break Token::Text(value),
                        Some((_, other)) => value.push(other),
                        None => {
                            return Err(BadExpression { at, what: "a text has no closing quote".to_owned() });
                        }
                    }
                }
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some((_, c)) = chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                Token::Word(word.to_ascii_lowercase())
            }
            other => return Err(BadExpression { at, what: format!("{other:?} has no place in a rule") }),
        };
        found.push((at, token));
    }
    Ok(found)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn expected(&self, what: &str) -> BadExpression {
        let at = self.tokens.get(self.next).map_or(self.end, |(at, _)| *at);
        BadExpression { at, what: format!("expected {what}") }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.next += usize::from(found);
        found
    }

    fn take_mark(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Mark(found)) if *found == mark);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Condition, BadExpression> {
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, BadExpression> {
        let mut parts = vec![self.one()?];
        while self.take_word("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, BadExpression> {
        if self.take_word("not") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take_mark("(") {
            let inner = self.any()?;
            return if self.take_mark(")") { Ok(inner) } else { Err(self.expected("\")\"")) };
        }
        let field = if self.take_word("product_key") {
            Field::ProductKey
        } else if self.take_word("name") || self.take_word("device_name") {
            Field::Name
        } else {
            return Err(self.expected("product_key or name"));
        };
        let denied = self.take_word("not");
        let condition = if self.take_word("like") {
            Condition::Like(field, self.text()?.split('%').map(str::to_owned).collect())
        } else if self.take_word("in") {
            Condition::Is(field, self.list()?)
        } else if denied {
            return Err(self.expected("\"like\" or \"in\" after \"not\""));
        } else if self.take_mark("=") {
            Condition::Is(field, vec![self.text()?])
        } else if self.take_mark("!=") {
            Condition::Not(Box::new(Condition::Is(field, vec![self.text()?])))
        } else {
            return Err(self.expected("\"=\", \"!=\", \"like\" or \"in\""));
        };
        Ok(if denied { Condition::Not(Box::new(condition)) } else { condition })
    }

    fn text(&mut self) -> Result<String, BadExpression> {
        let Some(Token::Text(text)) = self.peek() else {
            return Err(self.expected("a text in quotes"));
        };
        let text = text.clone();
        self.next += 1;
        Ok(text)
    }

    fn list(&mut self) -> Result<Vec<String>, BadExpression> {
        if !self.take_mark("(") {
            return Err(self.expected("\"(\""));
        }
        let mut texts = vec![self.text()?];
        while self.take_mark(",") {
            texts.push(self.text()?);
        }
        if self.take_mark(")") { Ok(texts) } else { Err(self.expected("\",\" or \")\"")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn takes(rule: &str, product: &str, name: &str) -> bool {
        let rule = GroupExpression::parse(rule).unwrap();
        rule.takes(&ProductKey::parse(product).unwrap(), &DeviceName::parse(name).unwrap())
    }

    #[test]
    fn rules_mean_what_they_say() {
        let (a, b) = ("a1Bc2De3Fg4", "b1Bc2De3Fg4");
        for (rule, product, name, expected) in [
            (r#"product_key = "a1Bc2De3Fg4""#, a, "pump-1", true),
            (r#"product_key = "a1Bc2De3Fg4""#, b, "pump-1", false),
            (r#"PRODUCT_KEY = "a1Bc2De3Fg4" AND name LIKE "pump%""#, a, "pump-1", true),
            (r#"product_key = "a1Bc2De3Fg4" and name like "pump%""#, a, "1-pump", false),
            (r#"name like "%mp%1""#, a, "pump-1", true),
            (r#"name like "%mp%1""#, a, "pump-12", false),
            (r#"name like "pump-1""#, a, "pump-1", true),
            (r#"name like "pump-1%1""#, a, "pump-1", false),
            (r#"name like "%""#, a, "pump-1", true),
            (r#"name in ('pump-1', "pump-2")"#, a, "pump-2", true),
            (r#"name not in ("pump-1")"#, a, "pump-2", true),
            (r#"name != "pump-1" or product_key <> "b1Bc2De3Fg4""#, a, "pump-1", true),
            (r#"not (name = "pump-1" or name = "pump-2")"#, a, "pump-2", false),
            (r#"name = "x123" or name like "p%" and product_key = "b1Bc2De3Fg4""#, a, "pump-1", false),
        ] {
            assert_eq!(takes(rule, product, name), expected, "{rule}: {product} {name}");
        }
    }

    #[test]
    fn what_does_not_parse_says_where_and_why() {
        for (rule, at, what) in [
            ("", 1, "product_key or name"),
            ("version = \"1\"", 1, "product_key or name"),
            ("name \"x\"", 6, "\"=\", \"!=\", \"like\" or \"in\""),
            ("name = x", 8, "a text in quotes"),
            ("name = \"x", 8, "no closing quote"),
            ("name = \"x\" name", 12, "\"and\", \"or\" or the end"),
            ("(name = \"x\"", 12, "\")\""),
            ("name in (\"x\";", 13, "has no place"),
            ("name not = \"x\"", 10, "after \"not\""),
        ] {
            let bad = GroupExpression::parse(rule).unwrap_err();
            assert_eq!(bad.at, at, "{rule}: {bad}");
            assert!(bad.what.contains(what), "{rule}: {bad}");
        }
        assert!(GroupExpression::parse(&format!("name = \"{}\"", "x".repeat(EXPRESSION_MAX))).is_err());
    }

    #[test]
    fn products_are_known_where_the_rule_limits_them() {
        let products = |rule: &str| {
            let keys = GroupExpression::parse(rule).unwrap().products()?;
            Some(keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(products(r#"name = "x""#), None);
        assert_eq!(products(r#"product_key = "a1Bc2De3Fg4" or name = "x""#), None);
        let both = r#"(product_key = "a1Bc2De3Fg4" or product_key = "b1Bc2De3Fg4") and name like "p%""#;
        assert_eq!(products(both).unwrap(), ["a1Bc2De3Fg4", "b1Bc2De3Fg4"]);
        assert_eq!(products(r#"not product_key = "a1Bc2De3Fg4""#), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(product_key|name|and|or|not|like|in|[()=!<>,%\"' ]|[a-z]){0,60}") {
            if let Ok(rule) = GroupExpression::parse(&text) {
                prop_assert_eq!(rule.as_str(), text);
            }
        }
    }
}
