//! Percentages of a fleet in exact decimals, and which devices make up such a part.
//!
//! Never in binary floating point: 33.333 % of 9 devices is 2, and 29 % of 100 is 29.
//!
//! Invariant: a device's rank in a job is fixed, so the part of a larger percentage holds the part of every
//! smaller one.

mod draw;

pub use draw::{Draw, Last};

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::ids::{DeviceId, JobNo};

/// Thousandths of a percent in the whole.
const WHOLE: u32 = 100_000;

/// A percentage above 0 and up to 100, with at most three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrayPercent {
    thousandths: u32,
}

impl GrayPercent {
    /// Everything.
    pub const ALL: Self = Self { thousandths: WHOLE };

    /// Reads decimal text: digits, and perhaps a point with one to three digits behind it.
    ///
    /// `None` for signs, exponents, blanks, more decimals, zero, and more than 100.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) {
            return None;
        }
        Self::from_thousandths(format!("{whole}{decimals:0<3}").parse().ok()?)
    }

    /// A percentage of so many thousandths, as the store keeps it; `None` for 0 and more than 100 percent.
    #[must_use]
    pub const fn from_thousandths(thousandths: u32) -> Option<Self> {
        if thousandths == 0 || thousandths > WHOLE { None } else { Some(Self { thousandths }) }
    }

    /// Thousandths of a percent: 1 to 100,000.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.thousandths
    }

    /// How many of `devices` this is, rounded down.
    #[must_use]
    pub fn count(self, devices: u64) -> u64 {
        let part = u128::from(devices) * u128::from(self.thousandths) / u128::from(WHOLE);
        // At most 100 percent of a u64.
        u64::try_from(part).unwrap_or(devices)
    }
}

impl fmt::Display for GrayPercent {
    /// Two decimals, or three where they are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.thousandths / 1_000, self.thousandths % 1_000);
        if decimals % 10 == 0 {
            write!(f, "{whole}.{:02}", decimals / 10)
        } else {
            write!(f, "{whole}.{decimals:03}")
        }
    }
}

/// A device's place in the draw of a job: the k devices of the smallest ranks are the part, and of equal
/// ranks the smaller device goes first.
///
/// The hash is fixed: a draw that is interrupted goes on with the same devices.
#[must_use]
pub fn rank(job: JobNo, device: DeviceId) -> u64 {
    let mut hash = SipHasher24::new_with_keys(0, 0);
    hash.write(&job.0.to_le_bytes());
    hash.write(&device.0.to_le_bytes());
    hash.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent(text: &str) -> GrayPercent {
        GrayPercent::parse(text).unwrap()
    }

    #[test]
    fn counts_are_exact() {
        for (text, of, is) in [
            ("33.333", 9, 2),
            ("33.334", 9, 3),
            ("29", 100, 29),
            ("0.001", 99_999, 0),
            ("0.001", 100_000, 1),
            ("100", u64::MAX, u64::MAX),
            ("50", 1, 0),
            ("1.1", 1_000_000, 11_000),
        ] {
            assert_eq!(percent(text).count(of), is, "{text} % of {of}");
        }
    }

    #[test]
    fn it_reads_as_the_wire_shows_it() {
        for (text, shown) in [
            ("50", "50.00"),
            ("50.5", "50.50"),
            ("33.333", "33.333"),
            ("0.01", "0.01"),
            ("100.000", "100.00"),
            ("007", "7.00"),
        ] {
            assert_eq!(percent(text).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for bad in [
            "", "0", "0.000", "100.001", "101", "-1", "+1", "1e1", "1.2345", ".5", "5.", " 5", "5 ", "5%",
            "1.2.3", "NaN", "1000", "٣", "1,5",
        ] {
            assert_eq!(GrayPercent::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_rank_never_changes() {
        assert_eq!(rank(JobNo(1), DeviceId(2)), 16_283_186_116_202_352_693);
    }

    #[test]
    fn the_draw_of_one_job_says_nothing_about_another() {
        let part = |job| {
            let mut devices: Vec<i64> = (0..1_000).collect();
            devices.sort_by_key(|device| (rank(JobNo(job), DeviceId(*device)), *device));
            devices.truncate(500);
            devices.sort_unstable();
            devices
        };
        let first = part(1);
        let both = part(2).iter().filter(|device| first.binary_search(device).is_ok()).count();
        assert!((200..300).contains(&both), "{both}");
    }

    proptest! {
        #[test]
        fn every_percentage_survives_its_text(thousandths in 1_u32..=WHOLE) {
            let percent = GrayPercent::from_thousandths(thousandths).unwrap();
            prop_assert_eq!(percent.thousandths(), thousandths);
            prop_assert_eq!(GrayPercent::parse(&percent.to_string()), Some(percent));
        }

        #[test]
        fn reading_never_panics(text in any::<String>()) {
            let _ = GrayPercent::parse(&text);
        }

        #[test]
        fn a_part_is_the_floor(thousandths in 1_u32..=WHOLE, devices in 0_u64..=10_000_000_000) {
            let count = GrayPercent::from_thousandths(thousandths).unwrap().count(devices);
            let scaled = devices * u64::from(thousandths);
            prop_assert!(count * 100_000 <= scaled && scaled < (count + 1) * 100_000);
        }

        #[test]
        fn a_larger_percentage_is_never_fewer(a in 1_u32..=WHOLE, b in 1_u32..=WHOLE, devices in any::<u64>()) {
            let count = |thousandths| GrayPercent::from_thousandths(thousandths).unwrap().count(devices);
            prop_assert!(count(a.min(b)) <= count(a.max(b)));
        }
    }
}
