//! What the judge says: how often each rule was looked at, what was not judged, and the first breach of each.

use std::collections::BTreeMap;

use super::place::Place;

/// What is judged, in the order in which it is printed, and each in a sentence.
pub const RULES: &[(&str, &str)] = &[
    ("I1", "at most MaximumPerMinute notices of a job are written in any half-open 60 s"),
    ("I2", "a device has one open task, with MultiModuleMode one for each module"),
    (
        "I3",
        "a terminal task never moves, unless an operator starts it again; all other moves follow the table",
    ),
    ("I4", "lines = tasks + skipped + rejected, and no device is twice in a job"),
    ("I5", "after a cancel or a pause is answered no notice that was claimed before it is written"),
    ("I6", "no notice before ScheduleTime, none from ScheduleFinishTime on"),
    (
        "I7",
        "at most 1 + RetryCount offers, each RetryInterval after the failure before it, none after a timeout",
    ),
    ("I8", "the timeout runs from the first progress and nothing moves it"),
    ("I9", "the counts of a job are those of its tasks"),
    ("I10", "OverwriteMode 1 keeps the earlier task, 2 replaces it unless it is IN_PROGRESS"),
    ("I11", "a part is floor(n * p / 100) of the devices, and nobody outside the set is pushed"),
    ("I12", "the same token with the same body gives the same job, with another body none"),
    ("I13", "two epochs of a shard never both write"),
    ("I14", "a task succeeds only when its device informed the destination version"),
    ("I15", "nothing is pushed before its confirmation, and never with NeedPush=false"),
    ("I16", "one running dynamic job of a firmware, and at most 10 pushes to a device"),
    ("I17", "a device sees only its own topics, and only jobs of its own product and account"),
    ("I22", "a job is COMPLETED only when its expansion is complete and every task has ended"),
    ("order", "a task's revisions are in the order of time, one move each, and none is missing in between"),
    ("arrived", "what was written to a session that went on arrived, and what arrived was written"),
];

/// The sentence of a rule.
#[must_use]
pub fn rule(name: &str) -> &'static str {
    RULES.iter().find(|(known, _)| *known == name).map_or("", |(_, rule)| rule)
}

/// The first breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule, as in [`RULES`].
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
    /// When, in microseconds since 1970.
    pub at: u64,
    /// The lines that prove it.
    pub evidence: Vec<Place>,
    /// Breaches of this rule in all.
    pub count: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Lines of the servers.
    pub lines: u64,
    /// Lines of the devices.
    pub device_lines: u64,
    /// Jobs that were told of.
    pub jobs: u64,
    /// Tasks that were told of.
    pub tasks: u64,
    /// Processes that wrote.
    pub processes: u64,
    /// Spans of time of which lines are missing.
    pub holes: u64,
    /// Lines that are known to be missing.
    pub lost: u64,
    /// Processes that ended without a word, or still run.
    pub unfinished: u64,
    /// How often each rule was looked at.
    pub checked: BTreeMap<&'static str, u64>,
    /// What could not be judged, since what it depends on may be missing.
    pub not_judged: BTreeMap<&'static str, u64>,
    /// The first breach of each rule, in the order of [`RULES`].
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether lines are missing.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        self.holes > 0
    }
}

/// Collects what the rules find.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    checked: BTreeMap<&'static str, u64>,
    not_judged: BTreeMap<&'static str, u64>,
    violations: BTreeMap<&'static str, Violation>,
}

impl Judge {
    /// A rule was looked at.
    pub(crate) fn check(&mut self, rule: &'static str) {
        *self.checked.entry(rule).or_default() += 1;
    }

    /// A rule could not be looked at, since lines may be missing.
    pub(crate) fn pass(&mut self, rule: &'static str) {
        *self.not_judged.entry(rule).or_default() += 1;
    }

    /// A rule was broken. The earliest breach is kept.
    pub(crate) fn breach(
        &mut self,
        rule: &'static str,
        at: u64,
        what: impl FnOnce() -> String,
        evidence: impl IntoIterator<Item = Place>,
    ) {
        let count = self.violations.get(rule).map_or(0, |known| known.count) + 1;
        if let Some(known) = self.violations.get_mut(rule).filter(|known| known.at <= at) {
            known.count = count;
            return;
        }
        let mut evidence: Vec<Place> = evidence.into_iter().collect();
        evidence.dedup();
        let violation = Violation { invariant: rule, what: what(), at, evidence, count };
        self.violations.insert(rule, violation);
    }

    /// Looks at a rule, and notes its breach if it does not hold.
    pub(crate) fn expect(
        &mut self,
        rule: &'static str,
        holds: bool,
        at: u64,
        what: impl FnOnce() -> String,
        evidence: impl IntoIterator<Item = Place>,
    ) {
        self.check(rule);
        if !holds {
            self.breach(rule, at, what, evidence);
        }
    }

    /// Puts what was found into a verdict.
    pub(crate) fn close(mut self, verdict: &mut Verdict) {
        for (rule, _) in RULES {
            verdict.checked.insert(rule, self.checked.get(rule).copied().unwrap_or(0));
            verdict.violations.extend(self.violations.remove(rule));
        }
        verdict.not_judged = self.not_judged;
    }
}
