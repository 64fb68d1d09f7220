//! The whole run before it begins: which faults fall when on whom, and which jobs are made. Everything is drawn
//! from the seed.
//!
//! Invariant: the same seed, length and sizes give the same plan, whatever machine and day it is.

use std::time::Duration;

use super::fault::{Fault, Kind, World};
use super::job::{Errand, draw_jobs};
use crate::clock::Dice;
use crate::cluster::{Role, Size};

/// Nothing happens before there is work.
const QUIET: Duration = Duration::from_secs(8);

/// The last fault is over so long before the end.
const CALM: Duration = Duration::from_secs(4);

/// Time to recover between faults, in milliseconds.
const REST_MS: (u64, u64) = (4_000, 10_000);
const REST_SINGLE_MS: (u64, u64) = (8_000, 18_000);

/// Of so many faults one is joined by another before it ends.
const OVERLAP_ONE_IN: u64 = 3;

/// How far a skewed clock is off, in seconds.
const SKEW_S: (u64, u64) = (30, 3_600);

/// Devices of one group: each job is for one group or for a share of all.
pub(super) const POOLS: usize = 4;
pub(super) const POOLS_SINGLE: usize = 2;

/// How big everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) minutes: u32,
    /// Devices of the cluster.
    pub(super) devices: u32,
    pub(super) size: Size,
}

impl Scale {
    pub(super) fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }

    /// Devices of a world.
    pub(super) const fn devices(&self, world: World) -> u32 {
        match world {
            World::Cluster => self.devices,
            World::Single => self.devices / 5,
        }
    }
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// In the order of their beginnings.
    pub(super) faults: Vec<Fault>,
    /// In the order of their beginnings, those of both worlds.
    pub(super) jobs: Vec<Errand>,
}

impl Plan {
    pub(super) fn draw(seed: u64, scale: Scale) -> Self {
        let mut faults = Vec::new();
        let mut jobs = Vec::new();
        for world in [World::Cluster, World::Single] {
            faults.extend(draw_faults(seed, world, scale));
            jobs.extend(draw_jobs(seed, world, scale));
        }
        faults.sort_by_key(|fault| (fault.at, fault.kind));
        jobs.sort_by_key(|job: &Errand| (job.at, job.world, job.number));
        Self { seed, faults, jobs }
    }

    /// A line for each thing that happens, in the order of time.
    pub(super) fn told(&self) -> String {
        let faults = self.faults.iter().map(|fault| (fault.at, fault.world(), fault.told()));
        let jobs = self.jobs.iter().map(|job| (job.at, job.world, job.told()));
        let mut all: Vec<_> = faults.chain(jobs).collect();
        all.sort();
        let line = |(at, world, what): &(Duration, World, String)| {
            let minutes = at.as_secs() / 60;
            let seconds = at.as_secs_f64() - f64::from(u32::try_from(minutes).unwrap_or(u32::MAX)) * 60.0;
            format!("{minutes:>3}:{seconds:04.1}  {:<8} {what}\n", world.name())
        };
        all.iter().map(line).collect()
    }
}

/// A number of a range, ends included.
pub(super) fn between(dice: &mut Dice, (from, to): (u64, u64)) -> u64 {
    from + dice.below(to - from + 1)
}

/// Kinds in a drawn order, each once before any comes twice.
struct Deck {
    all: Vec<Kind>,
    left: Vec<Kind>,
}

impl Deck {
    fn new(all: &[Kind]) -> Self {
        Self { all: all.to_vec(), left: Vec::new() }
    }

    /// The next one that is right; `None` if none of this round is.
    fn draw(
        &mut self,
        dice: &mut Dice,
        mut right: impl FnMut(Kind, &mut Dice) -> Option<Fault>,
    ) -> Option<Fault> {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            dice.shuffle(&mut self.left);
        }
        for place in (0..self.left.len()).rev() {
            if let Some(fault) = right(self.left[place], dice) {
                self.left.remove(place);
                return Some(fault);
            }
        }
        None
    }
}

fn draw_faults(seed: u64, world: World, scale: Scale) -> Vec<Fault> {
    let mut dice = Dice::named(seed, world.name());
    let end = scale.length().saturating_sub(CALM);
    let mut deck = Deck::new(Kind::of(world));
    let mut faults: Vec<Fault> = Vec::new();
    let mut at = QUIET;
    let rest_ms = match world {
        World::Cluster => REST_MS,
        World::Single => REST_SINGLE_MS,
    };
    // What does not fit before the end is left out, and something shorter may take its place.
    while let Some(first) = deck.draw(&mut dice, |kind, dice| fitting(kind, at, end, scale, dice)) {
        let mut over = first.ends();
        faults.push(first);
        if world == World::Cluster && dice.below(OVERLAP_ONE_IN) == 0 && !first.lasts.is_zero() {
            let half_ms = u64::try_from(first.lasts.as_millis() / 2).unwrap_or(0);
            let then = first.at + Duration::from_millis(dice.below(half_ms + 1));
            let second = deck.draw(&mut dice, |kind, dice| {
                fitting(kind, then, end, scale, dice).filter(|second| first.may_overlap(second))
            });
            if let Some(second) = second {
                over = over.max(second.ends());
                faults.push(second);
            }
        }
        at = over + Duration::from_millis(between(&mut dice, rest_ms));
    }
    faults
}

/// A fault of this kind that begins then, if it ends in time.
fn fitting(kind: Kind, at: Duration, end: Duration, scale: Scale, dice: &mut Dice) -> Option<Fault> {
    let lasts = Duration::from_millis(between(dice, kind.lasts_ms()));
    let skewed = kind == Kind::ClockSkew;
    let role =
        if skewed { Some([Role::Api, Role::Dispatcher, Role::Gateway][dice.place(3)]) } else { kind.role() };
    let of = match role {
        Some(Role::Api) => scale.size.apis,
        Some(Role::Dispatcher) => scale.size.dispatchers,
        Some(Role::Gateway) => scale.size.gateways,
        Some(Role::All) | None => 1,
    };
    let place = dice.place(of.max(1));
    let skew_s = if skewed {
        let seconds = i64::try_from(between(dice, SKEW_S)).unwrap_or(0);
        if dice.below(2) == 0 { seconds } else { -seconds }
    } else {
        0
    };
    let fault = Fault { kind, at, lasts, role, place, skew_s };
    (fault.ends() <= end).then_some(fault)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SIZE: Size = Size { apis: 2, dispatchers: 3, gateways: 2 };

    const fn scale(minutes: u32) -> Scale {
        Scale { minutes, devices: 400, size: SIZE }
    }

    #[test]
    fn the_same_seed_draws_the_same_plan_and_another_seed_another() {
        let (one, again, other) = (Plan::draw(7, scale(5)), Plan::draw(7, scale(5)), Plan::draw(8, scale(5)));
        assert_eq!(one, again);
        assert_eq!(one.told(), again.told());
        assert_ne!(one.faults, other.faults);
        assert_ne!(one.jobs, other.jobs);
    }

    #[test]
    fn every_kind_of_fault_falls_within_half_an_hour() {
        for seed in 0..40 {
            let plan = Plan::draw(seed, scale(30));
            let kinds: BTreeSet<Kind> = plan.faults.iter().map(|fault| fault.kind).collect();
            for kind in Kind::CLUSTER.iter().chain(Kind::SINGLE) {
                assert!(kinds.contains(kind), "seed {seed} has no {}", kind.name());
            }
        }
    }

    #[test]
    fn faults_are_bounded_and_over_before_the_end() {
        for seed in 0..40 {
            let scale = scale(3);
            let plan = Plan::draw(seed, scale);
            assert!(plan.faults.len() >= 12, "seed {seed} has {} faults", plan.faults.len());
            for fault in &plan.faults {
                let (least, most) = fault.kind.lasts_ms();
                let lasts = u64::try_from(fault.lasts.as_millis()).unwrap();
                assert!((least..=most).contains(&lasts), "{fault:?}");
                assert!(fault.at >= QUIET && fault.ends() + CALM <= scale.length(), "{fault:?}");
                assert!(fault.place < 3 && (fault.kind == Kind::ClockSkew) == (fault.skew_s != 0));
            }
        }
    }

    #[test]
    fn two_faults_at_a_time_leave_one_of_each_role_and_the_stores() {
        let mut together = 0;
        for seed in 0..40 {
            let plan = Plan::draw(seed, scale(30));
            for world in [World::Cluster, World::Single] {
                let faults: Vec<&Fault> = plan.faults.iter().filter(|fault| fault.world() == world).collect();
                for (place, first) in faults.iter().enumerate() {
                    let during: Vec<_> =
                        faults[place + 1..].iter().filter(|later| later.at < first.ends()).collect();
                    assert!(during.len() <= 1, "seed {seed}: {during:?} during {first:?}");
                    assert!(during.iter().all(|later| first.may_overlap(later)), "seed {seed}: {during:?}");
                    together += during.len();
                }
            }
        }
        assert!(together > 100, "only {together} faults fell during others");
    }
}
