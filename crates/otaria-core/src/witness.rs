//! Second looks at what was done: each names the invariants that it breaks.
//!
//! The rules of this crate see to it that the invariants hold. A witness looks at the outcome and says in its own few
//! lines what must be true of it; it shares nothing with the rules that it watches, decides nothing and
//! repairs nothing. What it finds is counted and logged by whoever asked it.
//!
//! Invariant: no false alarm. Where an honest look would need more than is at hand, a witness stays silent;
//! `crates/README.md` says who watches what.

mod replaced;
mod task;
mod writes;

pub use replaced::{Rival, replaced};
pub use task::{moved, pushed, stands, told};
pub use writes::{Terms, Writes};

/// The counter of broken invariants, by the label `invariant`. Must stay 0.
pub const COUNTER: &str = "otaria_invariant_violations_total";

/// An invariant that is watched in production. The numbers are those of the table in `crates/README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I1: at most MaximumPerMinute notices of a job in any half-open 60 s.
    Pace,
    /// I2: one open task of a device, or of a device's module.
    OneOpenTask,
    /// I3: a task that has ended does not move.
    Ended,
    /// I4: lines = tasks + skipped + rejected.
    Lines,
    /// I5: nothing of a cancelled or paused job is written.
    Stopped,
    /// I6: nothing outside the schedule is written.
    Schedule,
    /// I7: no more attempts than granted, none too soon.
    Attempts,
    /// I8: the timeout runs from the first progress and is not moved.
    Timeout,
    /// I9: counters = tasks.
    Counters,
    /// I10: a task that is replaced was not in progress, and its successor's job may replace it.
    Replaced,
    /// I11: a part is as large as asked for.
    Part,
    /// I12: a client token stands for one body.
    Token,
    /// I13: two epochs of a shard never both write.
    Epoch,
    /// I14: success only on the destination version.
    Success,
    /// I15: nothing before confirmation, no push where none is wanted.
    Consent,
    /// I16: one dynamic job of a firmware takes devices, and pushes to each at most 10 times.
    Dynamic,
    /// I17: a notice goes to the device it is for.
    Own,
    /// I18: a clock that ran out is dealt with.
    Clocks,
    /// I19: a task that may be pushed to a device that is online is looked at.
    Delivery,
    /// I20: a shard that nobody owns is taken over while somebody is there.
    TakeOver,
    /// I21: a job that wants something gets its turn.
    Turn,
    /// I22: COMPLETED only when the expansion is complete and no task is open.
    Completed,
}

impl Invariant {
    /// All that are watched.
    pub const ALL: [Self; 22] = [
        Self::Pace,
        Self::OneOpenTask,
        Self::Ended,
        Self::Lines,
        Self::Stopped,
        Self::Schedule,
        Self::Attempts,
        Self::Timeout,
        Self::Counters,
        Self::Replaced,
        Self::Part,
        Self::Token,
        Self::Epoch,
        Self::Success,
        Self::Consent,
        Self::Dynamic,
        Self::Own,
        Self::Clocks,
        Self::Delivery,
        Self::TakeOver,
        Self::Turn,
        Self::Completed,
    ];

    /// The label in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pace => "I1",
            Self::OneOpenTask => "I2",
            Self::Ended => "I3",
            Self::Lines => "I4",
            Self::Stopped => "I5",
            Self::Schedule => "I6",
            Self::Attempts => "I7",
            Self::Timeout => "I8",
            Self::Counters => "I9",
            Self::Replaced => "I10",
            Self::Part => "I11",
            Self::Token => "I12",
            Self::Epoch => "I13",
            Self::Success => "I14",
            Self::Consent => "I15",
            Self::Dynamic => "I16",
            Self::Own => "I17",
            Self::Clocks => "I18",
            Self::Delivery => "I19",
            Self::TakeOver => "I20",
            Self::Turn => "I21",
            Self::Completed => "I22",
        }
    }
}

/// What a witness found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The invariant that does not hold.
    pub invariant: Invariant,
    /// What was seen, for the log. No secrets.
    pub seen: String,
}

impl Broken {
    /// This invariant does not hold, because of what was seen.
    #[must_use]
    pub fn new(invariant: Invariant, seen: impl Into<String>) -> Self {
        Self { invariant, seen: seen.into() }
    }
}

/// Which findings are logged: the first ten of an invariant, then each that doubles their number. All are
/// counted; a broken rule can break an invariant with every notice.
#[derive(Debug, Default)]
pub struct Told([u64; Invariant::ALL.len()]);

impl Told {
    /// Nothing was found yet.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; Invariant::ALL.len()])
    }

    /// Counts one more finding; whether it is to be logged.
    pub const fn next(&mut self, invariant: Invariant) -> bool {
        let found = &mut self.0[invariant as usize];
        *found = found.saturating_add(1);
        *found <= 10 || found.is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_has_its_own_place_and_label() {
        for (place, invariant) in Invariant::ALL.into_iter().enumerate() {
            assert_eq!(invariant as usize, place);
            assert_eq!(Invariant::ALL.iter().filter(|other| other.as_str() == invariant.as_str()).count(), 1);
        }
    }

    #[test]
    fn of_many_findings_few_are_logged() {
        let mut told = Told::new();
        let logged = (0..1_000).filter(|_| told.next(Invariant::Pace)).count();
        assert_eq!(logged, 16, "ten, and 16, 32, … 512");
        assert!(told.next(Invariant::Own), "each invariant by itself");
    }
}
