//! Where a line stands, which span of time it vouches for, and where lines are missing.
//!
//! Invariant: what is said of a moment is certain. Whatever may lie in a hole is not said.

/// A line of a file: both counted, files from 0 in the order in which they were given, lines from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// The line of a file.
    #[must_use]
    pub const fn new(file: usize, line: u64) -> Self {
        Self(((file as u64) << 40) | line)
    }

    /// Which file.
    #[must_use]
    pub const fn file(self) -> usize {
        (self.0 >> 40) as usize
    }

    /// Which line of it.
    #[must_use]
    pub const fn line(self) -> u64 {
        self.0 & ((1 << 40) - 1)
    }
}

/// The span that holds a commit or a write, and the line that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) from: u64,
    pub(crate) at: u64,
    pub(crate) place: Place,
}

/// Work that a lost line tells of may have begun so long before the last line that was kept.
const UNDER_WAY: u64 = 10_000_000;

/// The end of time, for what never ends.
pub(crate) const NEVER: u64 = u64::MAX;

/// Spans of time of which lines may be missing: disjoint and in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holes {
    spans: Vec<(u64, u64)>,
}

impl Holes {
    /// Notes that lines are missing of what was done after `last` was begun, until `until`.
    pub(crate) fn add(&mut self, last: u64, until: u64) {
        self.spans.push((last.saturating_sub(UNDER_WAY), until));
        self.spans.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.spans.len());
        for (lo, hi) in std::mem::take(&mut self.spans) {
            match joined.last_mut() {
                Some(last) if lo <= last.1 => last.1 = last.1.max(hi),
                _ => joined.push((lo, hi)),
            }
        }
        self.spans = joined;
    }

    /// Whether no line is missing of what was done from `lo` to `hi`.
    pub(crate) fn spare(&self, lo: u64, hi: u64) -> bool {
        let after = self.spans.partition_point(|span| span.1 < lo);
        self.spans.get(after).is_none_or(|span| span.0 > hi)
    }

    /// Until when nothing is missing from `at` on: `at` itself when it lies in a hole.
    pub(crate) fn quiet_until(&self, at: u64) -> u64 {
        let after = self.spans.partition_point(|span| span.1 < at);
        self.spans.get(after).map_or(NEVER, |span| span.0.max(at))
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_takes_along_what_was_under_way_before_it() {
        let mut holes = Holes::default();
        holes.add(30_000_000, 40_000_000);
        holes.add(35_000_000, 50_000_000);
        assert_eq!(holes.len(), 1);
        assert!(holes.spare(0, 19_999_999) && holes.spare(50_000_001, NEVER));
        assert!(!holes.spare(0, 20_000_000) && !holes.spare(45_000_000, 46_000_000));
        assert_eq!(
            [5, 25_000_000, 60_000_000].map(|at| holes.quiet_until(at)),
            [20_000_000, 25_000_000, NEVER]
        );
    }

    #[test]
    fn a_place_keeps_file_and_line() {
        let place = Place::new(70_000, 8_000_000_000);
        assert_eq!((place.file(), place.line()), (70_000, 8_000_000_000));
    }
}
