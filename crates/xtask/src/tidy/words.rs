//! Words that mark unfinished work or a test that proves nothing, and files that grew too long.

use super::{Finding, error, warning};
use crate::repo::Repo;
use crate::source::{line_of, words};

const RULE: &str = "words";

/// In any text of the repository, with what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("TODO(", "do it, or open an issue"),
    ("TODO:", "do it, or open an issue"),
    ("FIXME", "fix it, or open an issue"),
    ("XXX:", "say it in a sentence, or open an issue"),
    ("todo!(", "write it, or answer an error that names what is not served yet"),
    ("unimplemented!(", "write it, or answer an error that names what is not served yet"),
    ("should_panic", "assert on the error that comes back"),
    ("<<<<<<< ", "finish the merge"),
    (">>>>>>> ", "finish the merge"),
];

/// This file has to name them, and the others are not ours to write.
const EXEMPT: &[&str] = &["crates/xtask/src/tidy/words.rs", "Cargo.lock", "LICENSE"];

/// Lines of Rust above which a file is hard to read in one go. Most files stay under 200.
const LINES_MAX: usize = 500;

/// A test is ignored for one reason only, and then the test command runs it.
const IGNORE: &str = "#[ignore";
const IGNORE_REASONS: &[&str] =
    &["PostgreSQL", "Redis", "PostgreSQL and Redis", "an S3-compatible server", "Mosquitto"];
/// A macro takes the reason from whoever uses it.
const IGNORE_OF_A_MACRO: &str = "#[ignore = $why]";
const IGNORE_ADVICE: &str = "say `#[ignore = \"needs PostgreSQL: cargo xtask test runs it\"]` (or another of our services); \
     a long run belongs behind `cargo xtask test --full`; a broken test is repaired or removed";

fn waits_for_a_service(text: &str) -> bool {
    if text.starts_with(IGNORE_OF_A_MACRO) {
        return true;
    }
    let says = |service: &&str| {
        text.starts_with(&format!("{IGNORE} = \"needs {service}: cargo xtask test runs it\"]"))
    };
    IGNORE_REASONS.iter().any(says)
}

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in repo.files.iter().filter(|file| !EXEMPT.contains(&file.path.as_str())) {
        let Some(text) = &file.text else { continue };
        for (word, advice) in FORBIDDEN {
            findings.extend(words(text, word).map(|at| {
                error(RULE, (&file.path, line_of(text, at)), format!("`{}`", word.trim_end()), *advice)
            }));
        }
    }

    for (path, text) in repo.rust().filter(|(path, _)| !EXEMPT.contains(path)) {
        findings.extend(
            words(text, IGNORE)
                .filter(|at| !waits_for_a_service(&text[*at..]))
                .map(|at| error(RULE, (path, line_of(text, at)), format!("`{IGNORE}`"), IGNORE_ADVICE)),
        );
    }

    for (path, text) in repo.rust() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            let what = format!("{lines} lines, more than {LINES_MAX}");
            findings.push(warning(
                "length",
                (path, LINES_MAX + 1),
                what,
                "cut it where it changes its subject",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixtures::{files, places};
    use super::*;

    #[test]
    fn each_forbidden_word_is_found_at_its_line_in_any_text() {
        for (word, _) in FORBIDDEN {
            let text = format!("a line\nanother {word} line\n");
            assert_eq!(places(&check(&files(&[("deploy/a.md", &text)]))), ["deploy/a.md:2 words"], "{word}");
        }
    }

    #[test]
    fn only_a_test_that_needs_a_service_is_ignored() {
        let found = |attribute: &str| check(&files(&[("a.rs", attribute)])).len();
        assert_eq!(found("#[ignore = \"needs PostgreSQL: cargo xtask test runs it\"]"), 0);
        assert_eq!(found("#[ignore = \"needs PostgreSQL and Redis: cargo xtask test runs it\"]"), 0);
        for other in
            ["#[ignore]", "#[ignore = \"slow\"]", "#[ignore = \"needs a rest: cargo xtask test runs it\"]"]
        {
            assert_eq!(found(other), 1, "{other}");
        }
    }

    #[test]
    fn ordinary_words_and_the_texts_of_others_are_fine() {
        assert!(
            check(&files(&[("a.rs", "Status::unimplemented(); let mytodo = 1;"), ("LICENSE", "FIXME")]))
                .is_empty()
        );
    }

    #[test]
    fn a_long_file_is_a_warning() {
        let findings = check(&files(&[("a.rs", &"\n".repeat(501)), ("b.rs", &"\n".repeat(500))]));
        assert_eq!(places(&findings), ["a.rs:501 length"]);
        assert_eq!(findings[0].severity, Severity::Warning);
    }
}
