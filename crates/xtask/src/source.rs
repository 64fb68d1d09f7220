//! Tells Rust code from what only looks like it: comments, strings, and code that is built for tests alone.
//!
//! Not a parser: it knows as much of the grammar as is needed not to be fooled by a word in a comment.
//!
//! Invariant: masked text has the length and the lines of the original; what is hidden becomes spaces.

/// The text with comments and the insides of literals replaced by spaces.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !continues_a_name(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        hide(&mut masked, at, end);
        at = end;
    }
    into_text(masked)
}

/// Code as [`code_only`] left it, without the items under `#[cfg(test)]`; and the names of the modules
/// declared there whose text is in a file of their own.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut masked = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#") {
        let start = from + found;
        from = start + 1;
        let inner = code[start..].starts_with("#![");
        let Some(attribute) = attribute(code, start) else { continue };
        if !is_cfg_test(attribute) {
            continue;
        }

        let end = if inner { code.len() } else { item_end(code, start) };
        let item = code[start..end].trim_end();
        if let Some(head) = item.strip_suffix(';')
            && let Some(name) = head.split_whitespace().last()
            && head.split_whitespace().any(|word| word == "mod")
        {
            modules.push(name.to_owned());
        }
        hide(&mut masked, start, end);
        from = end;
    }
    (into_text(masked), modules)
}

/// Places where `needle` stands as a word of its own, as byte offsets. A needle that ends in a character
/// of punctuation may be followed by anything.
pub(crate) fn words<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(needle).map(|(at, _)| at).filter(move |&at| {
        let bytes = text.as_bytes();
        let ends_in_name = is_name(needle.as_bytes().last());
        let starts_in_name = is_name(needle.as_bytes().first());
        let before = at > 0 && starts_in_name && is_name(bytes.get(at - 1));
        let after = ends_in_name && is_name(bytes.get(at + needle.len()));
        !before && !after
    })
}

/// The number of the line, from 1, that holds the byte at `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn hide(masked: &mut [u8], start: usize, end: usize) {
    for byte in &mut masked[start..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn into_text(masked: Vec<u8>) -> String {
    // Only whole literals and comments were replaced, and only by ASCII, so this is still UTF-8.
    String::from_utf8(masked).expect("masking keeps UTF-8")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None; // A raw identifier such as `r#type`, or simply a name.
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let rest = bytes[open + 1..].windows(close.len()).position(|window| window == close);
    Some(rest.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        let close = bytes.get(start + 3..)?.iter().position(|byte| *byte == b'\'')?;
        return Some(start + 3 + close + 1);
    }
    // One character, of up to four bytes, and the closing quote.
    let width = match bytes.get(start + 1)? {
        0x00..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(start + 1 + width) == Some(&b'\'')).then_some(start + 2 + width)
}

/// Whether the byte before is part of the same word. The `b` of `br"…"` and the `c` of `cr"…"` are not.
fn continues_a_name(bytes: &[u8], at: usize) -> bool {
    let is_name = |at: usize| bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_';
    if at == 0 || !is_name(at - 1) {
        return false;
    }
    let prefix = matches!(bytes[at - 1], b'b' | b'c') && (at == 1 || !is_name(at - 2));
    !prefix
}

/// The inside of the attribute that starts at `start`.
fn attribute(code: &str, start: usize) -> Option<&str> {
    let inside = code[start..].strip_prefix("#[").or_else(|| code[start..].strip_prefix("#!["))?;
    let mut depth = 1;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&inside[..at]);
        }
    }
    None
}

/// `cfg(test)` and `cfg(all(test, …))`. What is also built without tests, as under `any(test, …)`, is not.
fn is_cfg_test(attribute: &str) -> bool {
    let tight: String = attribute.split_whitespace().collect();
    tight == "cfg(test)" || tight.starts_with("cfg(all(test,") || tight.starts_with("cfg(all(test)")
}

/// The end of the item whose first attribute starts at `start`: past its block or its semicolon.
fn item_end(code: &str, start: usize) -> usize {
    let mut nested = 0; // Parentheses and brackets: attributes, arguments, arrays.
    let mut braces = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 && nested == 0 {
                    return at + 1;
                }
            }
            b';' if nested == 0 && braces == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_hidden_and_lines_stay() {
        let text = "a /* x /* y */ z */ b // c\n\"d \\\" e\" r#\"f \" g\"# br\"h\" 'i' '\\'' 'ß' k";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "b", "k"]);
        assert_eq!(line_of(&code, code.find('k').unwrap()), 2);
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        let text = "fn f<'a>(r#type: &'a str, for_r: &'static str) {}";
        assert_eq!(code_only(text), text);
    }

    #[test]
    fn an_unclosed_literal_hides_the_rest_and_does_not_panic() {
        for text in ["\"abc", "r#\"abc", "/* abc", "'\\", "'", "r", "b'"] {
            assert_eq!(code_only(text).len(), text.len());
        }
    }

    #[test]
    fn test_modules_vanish_and_the_code_around_them_stays() {
        let code = "fn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n fn b() { c() }\n}\nfn d() {}\n";
        let (rest, modules) = without_tests(code);
        assert!(rest.contains("fn a()") && rest.contains("fn d()"));
        assert!(!rest.contains('b') && !rest.contains("mod"));
        assert_eq!(rest.lines().count(), code.lines().count());
        assert!(modules.is_empty());
    }

    #[test]
    fn a_test_module_in_its_own_file_is_named() {
        let (rest, modules) = without_tests("#[cfg(test)]\npub(crate) mod contract_tests;\nmod real;\n");
        assert_eq!(modules, ["contract_tests"]);
        assert!(rest.contains("mod real;"));
    }

    #[test]
    fn only_code_for_tests_alone_is_skipped() {
        let code =
            "#[cfg(not(test))] fn a() {}\n#[cfg(any(test, x))] fn b() {}\n#[cfg(all(test, x))] fn c() {}";
        let (rest, _) = without_tests(code);
        assert!(rest.contains("fn a") && rest.contains("fn b") && !rest.contains("fn c"));
    }

    #[test]
    fn a_test_only_import_or_function_ends_where_it_ends() {
        let code = "#[cfg(test)]\nuse a::{b, c};\nfn d(e: [u8; 2]) {}\n#[cfg(test)]\nfn f(g: [u8; 2]) { h }\nfn i() {}";
        let (rest, modules) = without_tests(code);
        assert!(rest.contains("fn d") && rest.contains("fn i") && !rest.contains("fn f"));
        assert!(modules.is_empty());
    }

    #[test]
    fn a_file_that_is_a_test_as_a_whole_is_empty() {
        assert!(without_tests("#![cfg(test)]\nfn a() {}").0.trim().is_empty());
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(
            words("MyInstant::now Instant::now Instant::nower", "Instant::now").collect::<Vec<_>>(),
            [15]
        );
        assert_eq!(words("rand::rng() brand::rng()", "rand::rng(").collect::<Vec<_>>(), [0]);
    }
}
