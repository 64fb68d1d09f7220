//! What lists have in common.

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// Rows in all, on every page together.
    pub total: u64,
    /// Where the next page begins: after this one. `None` on the last page.
    pub next: Option<C>,
}

impl<T, C> Listed<T, C> {
    /// A page of `limit` rows, of which one more was read to see whether the list goes on.
    pub(super) fn cut(mut rows: Vec<T>, total: u64, limit: usize, cursor: impl FnOnce(&T) -> C) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self { rows, total, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_only_when_there_is_more() {
        let page = |rows| Listed::cut(rows, 9, 2, |n: &i32| *n);
        assert_eq!(page(vec![1, 2, 3]), Listed { rows: vec![1, 2], total: 9, next: Some(2) });
        assert_eq!(page(vec![1, 2]), Listed { rows: vec![1, 2], total: 9, next: None });
        assert_eq!(page(vec![]).next, None);
    }
}
