//! Pages: by token, without a ceiling, and by number for small lists.
//!
//! A token is a fingerprint of the list it belongs to and the place after which to go on. It is no secret
//! and proves nothing: whoever makes one up reads its own list from another place.

use otaria_core::rules::{Code, Refusal};
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::errors;

/// Rows of a page at most.
pub(crate) const PAGE_SIZE_MAX: usize = 1_000;
const PAGE_SIZE_DEFAULT: usize = 100;
/// How far pages by number reach.
const BY_NUMBER_REACH: usize = 100_000;
const FINGERPRINT_CHARS: usize = 16;

/// What a request says about the page that it wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) size: Option<i32>,
    pub(crate) token: &'a str,
    pub(crate) number: Option<i32>,
    /// Rows of a page by number at most.
    pub(crate) by_number_max: usize,
}

/// The page that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page<C> {
    /// Rows at most.
    pub(crate) size: usize,
    /// Where it begins.
    pub(crate) after: Option<C>,
    /// Rows to pass over from there: pages by number.
    pub(crate) skip: usize,
    /// Its number, if it was asked for by number.
    pub(crate) number: Option<i32>,
    fingerprint: String,
}

/// What an answer says about its page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) next_page_token: String,
    pub(crate) current_page: Option<i32>,
    pub(crate) page_size: i32,
    pub(crate) page_count: i32,
    pub(crate) total: i64,
}

impl<C> Page<C> {
    /// Reads what is asked of `list`: its method and filters. `cursor` reads a token's place.
    pub(crate) fn read(
        asked: Asked<'_>,
        list: &[&str],
        cursor: impl FnOnce(&str) -> Option<C>,
    ) -> Result<Self, Status> {
        let fingerprint = fingerprint(list);
        let number = asked.number.filter(|_| asked.token.is_empty());
        let max = if number.is_some() { asked.by_number_max } else { PAGE_SIZE_MAX };
        let size = match asked.size {
            None => PAGE_SIZE_DEFAULT.min(max),
            Some(size) => usize::try_from(size)
                .ok()
                .filter(|size| (1..=max).contains(size))
                .ok_or_else(|| wrong("PageSize", format_args!("must be 1 to {max}, not {size}")))?,
        };
        let skip = match number {
            None => 0,
            Some(number) => usize::try_from(number)
                .ok()
                .filter(|number| *number >= 1 && number.saturating_mul(size) <= BY_NUMBER_REACH)
                .map(|number| (number - 1) * size)
                .ok_or_else(|| {
                    let rule = "must be 1 or more, and times PageSize at most 100000; tokens reach further";
                    wrong("CurrentPage", rule)
                })?,
        };
        let after = match asked.token {
            "" => None,
            token => {
                let place = token.strip_prefix(&fingerprint).and_then(cursor);
                let rule = "must be the next_page_token of an answer to the same call with the same filters";
                Some(place.ok_or_else(|| wrong("PageToken", rule))?)
            }
        };
        Ok(Self { size, after, skip, number, fingerprint })
    }

    /// What the answer says; `next` is where the next page begins.
    pub(crate) fn answer(&self, total: u64, next: Option<impl std::fmt::Display>) -> Answered {
        let pages = total.div_ceil(self.size as u64);
        Answered {
            next_page_token: next.map(|place| format!("{}{place}", self.fingerprint)).unwrap_or_default(),
            current_page: self.number,
            page_size: i32::try_from(self.size).unwrap_or(i32::MAX),
            page_count: i32::try_from(pages).unwrap_or(i32::MAX),
            total: i64::try_from(total).unwrap_or(i64::MAX),
        }
    }
}

fn wrong(parameter: &str, rule: impl std::fmt::Display) -> Status {
    errors::refused(&Refusal::invalid(Code::InvalidPageParams, parameter, rule))
}

fn fingerprint(list: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in list {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut text: String = digest[..FINGERPRINT_CHARS / 2].iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(FINGERPRINT_CHARS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(size: Option<i32>, token: &str, number: Option<i32>) -> Asked<'_> {
        Asked { size, token, number, by_number_max: 50 }
    }

    fn read(asked: Asked<'_>, list: &[&str]) -> Result<Page<u32>, Status> {
        Page::read(asked, list, |text| text.parse().ok())
    }

    #[test]
    fn a_token_leads_on_in_its_own_list_only() {
        let first = read(asked(None, "", None), &["List", "a"]).unwrap();
        assert_eq!((first.size, first.after, first.skip), (100, None, 0));
        let token = first.answer(250, Some(100)).next_page_token;
        assert_eq!(read(asked(None, &token, None), &["List", "a"]).unwrap().after, Some(100));
        assert!(read(asked(None, &token, None), &["List", "b"]).is_err());
        assert!(read(asked(None, "nonsense", None), &["List", "a"]).is_err());
    }

    #[test]
    fn a_page_by_number_has_its_own_limits() {
        let page = |size, number| read(asked(size, "", Some(number)), &["List"]);
        assert_eq!(page(Some(50), 3).unwrap().skip, 100);
        assert_eq!(page(None, 1).unwrap().size, 50);
        assert!(page(Some(51), 1).is_err());
        assert!(page(Some(50), 0).is_err());
        assert!(page(Some(50), 2_001).is_err());
        assert!(page(Some(50), i32::MAX).is_err());
    }

    #[test]
    fn sizes_are_bounded_and_pages_counted() {
        for size in [0, -1, 1_001] {
            assert!(read(asked(Some(size), "", None), &["List"]).is_err(), "{size}");
        }
        let page = read(asked(Some(100), "", None), &["List"]).unwrap();
        assert_eq!(page.answer(201, None::<u32>).page_count, 3);
        assert_eq!(page.answer(0, None::<u32>).page_count, 0);
        assert_eq!(page.answer(0, None::<u32>).next_page_token, "");
    }
}
