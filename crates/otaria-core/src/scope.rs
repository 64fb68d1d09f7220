//! Which of the devices that a job names it is for: those of the right versions.

use crate::ids::{InformedVersion, Version};

/// The versions that a job is for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    dest: &'a Version,
    sources: &'a [Version],
    package_source: Option<&'a Version>,
}

impl<'a> Scope<'a> {
    /// Of a package that brings `dest`; of these source versions only, when any is named; of the one that a
    /// difference package is made for.
    #[must_use]
    pub const fn new(dest: &'a Version, sources: &'a [Version], package_source: Option<&'a Version>) -> Self {
        Self { dest, sources, package_source }
    }

    /// Whether a device of this version is meant: not one at the destination, and one of a source version
    /// where one is asked for. A device that never informed a version is, unless a version is asked for.
    #[must_use]
    pub fn takes(&self, version: Option<&InformedVersion>) -> bool {
        match version {
            Some(version) if *version == *self.dest => false,
            Some(version) => {
                (self.sources.is_empty() || self.sources.iter().any(|source| *version == *source))
                    && self.package_source.is_none_or(|source| *version == *source)
            }
            None => self.sources.is_empty() && self.package_source.is_none(),
        }
    }

    /// How many of `devices` are meant, of which so many informed each version.
    #[must_use]
    pub fn count<'v>(
        &self,
        devices: u64,
        by_version: impl IntoIterator<Item = (&'v InformedVersion, u64)>,
    ) -> u64 {
        let (mut informed, mut meant) = (0, 0);
        for (version, count) in by_version {
            informed += count;
            meant += if self.takes(Some(version)) { count } else { 0 };
        }
        meant + if self.takes(None) { devices.saturating_sub(informed) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn informed(text: &str) -> InformedVersion {
        InformedVersion::parse(text).unwrap()
    }

    #[test]
    fn who_is_at_the_destination_is_never_meant() {
        let (dest, one) = (version("2"), version("1"));
        let all = Scope::new(&dest, &[], None);
        assert!(!all.takes(Some(&informed("2"))));
        assert!(all.takes(Some(&informed("1"))) && all.takes(None));
        let both = [one.clone(), dest.clone()];
        let some = Scope::new(&dest, &both, None);
        assert!(!some.takes(Some(&informed("2"))) && !some.takes(None));
        assert!(some.takes(Some(&informed("1"))) && !some.takes(Some(&informed("1.1"))));
        let difference = Scope::new(&dest, &[], Some(&one));
        assert!(difference.takes(Some(&informed("1"))) && !difference.takes(None));
        assert!(!difference.takes(Some(&informed("0"))));
    }

    #[test]
    fn counting_versions_is_counting_devices() {
        let (dest, one) = (version("2"), version("1"));
        let kept = [(informed("1"), 5), (informed("2"), 3), (informed("0"), 2)];
        let count = |scope: Scope<'_>| scope.count(14, kept.iter().map(|(version, n)| (version, *n)));
        assert_eq!(count(Scope::new(&dest, &[], None)), 5 + 2 + 4);
        assert_eq!(count(Scope::new(&dest, std::slice::from_ref(&one), None)), 5);
        assert_eq!(count(Scope::new(&dest, &[], Some(&one))), 5);
    }
}
