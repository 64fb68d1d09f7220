//! The jobs of a run: what is made of each, and what an operator does with it afterwards.

use std::time::Duration;

use super::fault::World;
use super::plan::{POOLS, POOLS_SINGLE, Scale, between};
use crate::clock::Dice;

/// Between two jobs for the same devices, in milliseconds; a job that meets another comes sooner.
const APART_MS: (u64, u64) = (35_000, 60_000);
const SOON_MS: (u64, u64) = (6_000, 14_000);

/// The first jobs of the groups, and the last of all before the end.
const FIRST_MS: (u64, u64) = (1_000, 12_000);
const LAST: Duration = Duration::from_secs(15);

/// Notices a minute.
const LIMITS: &[u32] = &[90, 120, 180, 240, 300];

/// From making a job to what an operator does with it, in milliseconds.
const THEN_MS: (u64, u64) = (6_000, 20_000);
const PAUSE_MS: (u64, u64) = (3_000, 15_000);

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Goes to its end without a word.
    Plain,
    /// Failures are tried again at once.
    Retry,
    /// Comes soon after another for the same devices, and takes its place.
    Replace,
    /// Comes soon after another for the same devices, and leaves it alone.
    Keep,
    /// All of it is cancelled.
    Cancel,
    /// Only what waits is cancelled.
    CancelQueued,
    /// Is paused for a while.
    Pause,
    /// Waits for a confirmation.
    Confirm,
    /// What failed is started again.
    Reupgrade,
    /// Takes all devices of a group, now and later, until its strategy is cancelled.
    Dynamic,
    /// Is for a share of all devices.
    Gray,
    /// Gets another pace.
    Pace,
}

impl Kind {
    pub(super) const ALL: &[Self] = &[
        Self::Plain,
        Self::Retry,
        Self::Replace,
        Self::Keep,
        Self::Cancel,
        Self::CancelQueued,
        Self::Pause,
        Self::Confirm,
        Self::Reupgrade,
        Self::Dynamic,
        Self::Gray,
        Self::Pace,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Retry => "retry",
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Cancel => "cancel",
            Self::CancelQueued => "cancel_queued",
            Self::Pause => "pause",
            Self::Confirm => "confirm",
            Self::Reupgrade => "reupgrade",
            Self::Dynamic => "dynamic",
            Self::Gray => "gray",
            Self::Pace => "pace",
        }
    }
}

/// A job that was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    pub(super) world: World,
    /// From 0 in its world; its version is made of it.
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// From the beginning of the run.
    pub(super) at: Duration,
    /// The group of devices; all for [`Kind::Gray`].
    pub(super) pool: usize,
    pub(super) limit: u32,
    /// The second pace of [`Kind::Pace`].
    pub(super) other_limit: u32,
    /// Percent of [`Kind::Gray`].
    pub(super) percent: u32,
    /// Whether devices get the package over MQTT.
    pub(super) over_mqtt: bool,
    /// From making it to what is done with it.
    pub(super) then: Duration,
    /// How long a pause lasts.
    pub(super) pause: Duration,
}

impl Errand {
    /// The version that the job brings; no two jobs of a world bring the same.
    pub(super) fn version(&self) -> String {
        format!("2.0.{}", self.number)
    }

    pub(super) fn most_a_minute(&self) -> u32 {
        if self.kind == Kind::Pace { self.limit.max(self.other_limit) } else { self.limit }
    }

    pub(super) fn least_a_minute(&self) -> u32 {
        if self.kind == Kind::Pace { self.limit.min(self.other_limit) } else { self.limit }
    }

    /// What it is, for people.
    pub(super) fn told(&self) -> String {
        let Self { kind, limit, pool, .. } = self;
        let whom = match kind {
            Kind::Gray => format!("{} % of all", self.percent),
            _ => format!("group {pool}"),
        };
        let then = self.then.as_secs_f64();
        let after = match kind {
            Kind::Plain | Kind::Retry | Kind::Replace | Kind::Keep | Kind::Gray => String::new(),
            Kind::Cancel => format!(", cancelled after {then:.1} s"),
            Kind::CancelQueued => format!(", what waits cancelled after {then:.1} s"),
            Kind::Pause => {
                format!(", paused after {then:.1} s for {:.1} s", self.pause.as_secs_f64())
            }
            Kind::Confirm => format!(", confirmed after {then:.1} s"),
            Kind::Reupgrade => format!(", what failed started again after {then:.1} s"),
            Kind::Dynamic => format!(", ended after {then:.1} s"),
            Kind::Pace => format!(", {} a minute after {then:.1} s", self.other_limit),
        };
        let way = if self.over_mqtt { ", over MQTT" } else { "" };
        format!("job {} {} for {whom}, {limit} a minute{way}{after}", self.version(), kind.name())
    }
}

/// The jobs of a world.
pub(super) fn draw_jobs(seed: u64, world: World, scale: Scale) -> Vec<Errand> {
    let mut dice = Dice::named(seed, &format!("jobs of the {}", world.name()));
    let end = scale.length().saturating_sub(LAST);
    let pools = pools(world);
    let mut jobs = Vec::new();
    let mut deck: Vec<Kind> = Vec::new();
    for pool in 0..pools {
        let mut at = Duration::from_millis(between(&mut dice, FIRST_MS));
        while at < end {
            if deck.is_empty() {
                deck = Kind::ALL.to_vec();
                dice.shuffle(&mut deck);
            }
            let kind = deck.pop().unwrap_or(Kind::Plain);
            let limits = (LIMITS[dice.place(LIMITS.len())], LIMITS[dice.place(LIMITS.len())]);
            jobs.push(Errand {
                world,
                number: 0,
                kind,
                at,
                pool,
                limit: limits.0,
                other_limit: limits.1,
                percent: u32::try_from(between(&mut dice, (10, 40))).unwrap_or(10),
                over_mqtt: dice.below(4) == 0,
                then: Duration::from_millis(between(&mut dice, THEN_MS)),
                pause: Duration::from_millis(between(&mut dice, PAUSE_MS)),
            });
            let meets = matches!(deck.last(), Some(Kind::Replace | Kind::Keep | Kind::Gray));
            at += Duration::from_millis(between(&mut dice, if meets { SOON_MS } else { APART_MS }));
        }
    }
    jobs.sort_by_key(|job| job.at);
    for (number, job) in jobs.iter_mut().enumerate() {
        job.number = number + 1;
    }
    jobs
}

/// Groups of devices in a world.
pub(super) const fn pools(world: World) -> usize {
    match world {
        World::Cluster => POOLS,
        World::Single => POOLS_SINGLE,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::Size;

    fn drawn(seed: u64, minutes: u32) -> Vec<Errand> {
        let size = Size { apis: 2, dispatchers: 3, gateways: 2 };
        draw_jobs(seed, World::Cluster, Scale { minutes, devices: 400, size })
    }

    #[test]
    fn every_kind_of_job_is_made_within_ten_minutes() {
        for seed in 0..40 {
            let kinds: BTreeSet<Kind> = drawn(seed, 10).iter().map(|job| job.kind).collect();
            assert_eq!(kinds.len(), Kind::ALL.len(), "seed {seed}");
        }
    }

    #[test]
    fn no_two_jobs_bring_the_same_version_and_each_has_time_to_begin() {
        for seed in 0..40 {
            let jobs = drawn(seed, 3);
            let versions: BTreeSet<String> = jobs.iter().map(Errand::version).collect();
            assert_eq!(versions.len(), jobs.len());
            assert!(jobs.len() >= 8, "seed {seed} has {} jobs", jobs.len());
            assert!(jobs.iter().all(|job| job.at + LAST <= Duration::from_secs(180) && job.pool < POOLS));
        }
    }
}
