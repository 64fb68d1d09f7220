//! Pages by number, as this wire has them.

use otaria_core::rules::{Code, Refusal};

use crate::envelope::Fields;
use crate::params::Params;

/// Rows of a page when nobody says.
const SIZE_DEFAULT: i64 = 10;
/// How far pages reach. gRPC's tokens reach further.
const REACH: usize = 100_000;

/// What an action allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    /// Rows of a page at most.
    pub(crate) size_max: usize,
    /// Whether both parameters have to be there.
    pub(crate) required: bool,
    /// How the answer calls the page's number.
    pub(crate) number_name: &'static str,
}

impl Paging {
    /// Pages of at most so many rows, under the usual names.
    pub(crate) const fn up_to(size_max: usize) -> Self {
        Self { size_max, required: false, number_name: "CurrentPage" }
    }

    /// The device calls say `Page`.
    pub(crate) const fn of_devices(size_max: usize) -> Self {
        Self { number_name: "Page", ..Self::up_to(size_max) }
    }

    /// Where page number and size must be given.
    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The page that is wanted.
    pub(crate) fn read(self, params: &Params) -> Result<Page, Refusal> {
        let given = |name: &str, default: i64| match params.int(name)? {
            Some(n) => Ok(n),
            None if self.required => Err(Refusal::missing(name, "")),
            None => Ok(default),
        };
        let default = SIZE_DEFAULT.min(i64::try_from(self.size_max).unwrap_or(SIZE_DEFAULT));
        let (number, size) = (given("CurrentPage", 1)?, given("PageSize", default)?);
        let max = self.size_max;
        let fits = |size: &usize| (1..=max).contains(size);
        let size = usize::try_from(size).ok().filter(fits).ok_or_else(|| {
            Refusal::invalid(Code::InvalidPageParams, "PageSize", format_args!("must be 1 to {max}"))
        })?;
        let reaches = |number: &usize| *number >= 1 && number.saturating_mul(size) <= REACH;
        let number = usize::try_from(number).ok().filter(reaches).ok_or_else(|| {
            let rule = format!("must be 1 or more, and times PageSize at most {REACH}");
            Refusal::invalid(Code::InvalidPageParams, "CurrentPage", rule)
        })?;
        Ok(Page { number, size, number_name: self.number_name })
    }
}

/// A page that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    number: usize,
    /// Rows at most.
    pub(crate) size: usize,
    number_name: &'static str,
}

impl Page {
    /// Rows before it.
    pub(crate) const fn skip(self) -> usize {
        (self.number - 1) * self.size
    }

    /// What the answer says about it.
    pub(crate) fn fields(self, total: u64) -> Fields {
        let (number, size) = (self.number as u64, self.size as u64);
        Fields::new()
            .with(self.number_name, number)
            .with("PageSize", size)
            .with("PageCount", total.div_ceil(size))
            .with("Total", total)
    }

    /// Its part of rows that are all there.
    pub(crate) fn cut<T>(self, rows: Vec<T>) -> (Vec<T>, u64) {
        let total = rows.len() as u64;
        (rows.into_iter().skip(self.skip()).take(self.size).collect(), total)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;
    use crate::params::pairs;

    fn read(paging: Paging, query: &str) -> Result<(usize, usize), String> {
        let params = Params::merge(&pairs(query.as_bytes()), &Bytes::new());
        let page = paging.read(&params);
        page.map(|page| (page.skip(), page.size)).map_err(|refusal| refusal.code_text().into_owned())
    }

    #[test]
    fn a_page_has_its_place_and_its_limits() {
        let paging = Paging::up_to(100);
        assert_eq!(read(paging, ""), Ok((0, 10)));
        assert_eq!(read(paging, "CurrentPage=3&PageSize=50"), Ok((100, 50)));
        assert_eq!(read(paging, "CurrentPage=1000&PageSize=100"), Ok((99_900, 100)));
        for bad in ["PageSize=0", "PageSize=101", "CurrentPage=0", "CurrentPage=1001&PageSize=100"] {
            assert_eq!(read(paging, bad), Err("iot.common.InvalidPageParams".into()), "{bad}");
        }
        assert_eq!(read(paging, "PageSize=x"), Err("InvalidPageSize".into()));
        assert_eq!(read(paging.required(), "PageSize=10"), Err("MissingCurrentPage".into()));
        assert_eq!(read(Paging::of_devices(5), ""), Ok((0, 5)));
    }

    #[test]
    fn a_page_past_the_end_is_empty_and_the_count_rounds_up() {
        let page = Page { number: 3, size: 2, number_name: "Page" };
        assert_eq!(page.cut(vec![1, 2, 3, 4, 5]), (vec![5], 5));
        assert_eq!(page.cut(vec![1]), (vec![], 1));
        assert_eq!(page.fields(5).json(), r#"{"Page":3,"PageSize":2,"PageCount":3,"Total":5}"#);
    }
}
