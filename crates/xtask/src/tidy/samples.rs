//! Every sample config in `deploy/` is TOML.
//!
//! That its keys and values are those of the program is a test of the crate `otaria`, which parses each
//! sample with the program's own parser: this crate knows none of the others.

use super::{Finding, error};
use crate::repo::Repo;
use crate::source::line_of;

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let samples =
        repo.files.iter().filter(|file| file.path.starts_with("deploy/") && file.path.ends_with(".toml"));
    samples
        .filter_map(|file| {
            let Some(text) = &file.text else {
                let what = "is not text".to_owned();
                return Some(error("samples", (&file.path, 1), what, "save it as UTF-8"));
            };
            let wrong = text.parse::<toml::Table>().err()?;
            let line = wrong.span().map_or(1, |span| line_of(text, span.start));
            Some(error("samples", (&file.path, line), wrong.message().to_owned(), "write valid TOML"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{files, places};
    use super::*;

    #[test]
    fn a_broken_sample_is_found_at_its_line() {
        let tree =
            [("deploy/a.toml", "a = 1\nb = = 2\n"), ("deploy/b.toml", "a = 1\n"), ("deploy/c.md", "= =")];
        assert_eq!(places(&check(&files(&tree))), ["deploy/a.toml:2 samples"]);
    }
}
