//! The run itself: faults fall and end when the plan says so, while operators and devices work.
//!
//! Invariant: when it returns, no fault lasts and every process runs, or it says which does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::fault::{Fault, Taken, World};
use super::plan::Plan;
use super::world::Installation;
use crate::cluster::Role;

const PAUSE: Duration = Duration::from_millis(200);

/// How often it is said how far the devices are.
const TELL: Duration = Duration::from_secs(15);

/// Somebody who hears what happens.
pub(super) type Say<'a> = &'a dyn Fn(&str);

/// A run on its way.
pub(super) struct Timeline<'a> {
    pub(super) plan: &'a Plan,
    pub(super) faketime: &'a Path,
    pub(super) begun: Instant,
    pub(super) say: Say<'a>,
    /// When it is said again how far the devices are.
    pub(super) told: Duration,
    /// How often each kind fell.
    pub(super) fell: BTreeMap<&'static str, u64>,
    /// Whatever went wrong.
    pub(super) troubles: Vec<String>,
}

/// A step of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Strike(usize),
    Heal(usize),
}

impl Timeline<'_> {
    /// Plays all faults, until `end` at least.
    pub(super) fn play(&mut self, installations: &mut [Installation], end: Duration) {
        let mut lasting: Vec<Fault> = Vec::new();
        for (at, step) in steps(&self.plan.faults) {
            self.watch_until(at, installations, &lasting);
            let (Step::Strike(place) | Step::Heal(place)) = step;
            let fault = self.plan.faults[place];
            let Some(installation) = installations.iter_mut().find(|one| one.world == fault.world()) else {
                continue;
            };
            let done = if matches!(step, Step::Strike(_)) {
                *self.fell.entry(fault.kind.name()).or_default() += 1;
                self.tell(fault.world(), &fault.told());
                lasting.push(fault);
                installation.strike(&fault, self.faketime)
            } else {
                self.tell(fault.world(), &format!("{} is over", fault.kind.name()));
                let healed = installation.heal(&fault);
                lasting.retain(|other| *other != fault);
                healed
            };
            if let Err(error) = done {
                self.trouble(format!("{}: {error:#}", fault.told()));
            }
        }
        self.watch_until(end, installations, &lasting);
    }

    /// Waits for the moment, and looks whether all run who should.
    pub(super) fn watch_until(
        &mut self,
        at: Duration,
        installations: &mut [Installation],
        lasting: &[Fault],
    ) {
        loop {
            let left = at.saturating_sub(self.begun.elapsed());
            std::thread::sleep(left.min(PAUSE));
            self.look(installations, lasting);
            if left.is_zero() {
                return;
            }
        }
    }

    /// A process that ended by itself is a violation; it is started again, so that the run goes on.
    pub(super) fn look(&mut self, installations: &mut [Installation], lasting: &[Fault]) {
        for installation in installations.iter_mut() {
            let world = installation.world;
            let struck = |role, place| {
                let hits = |fault: &Fault| {
                    fault.world() == world && fault.place == place && fault.takes() == Taken::Process(role)
                };
                lasting.iter().any(hits)
            };
            for (role, place) in installation.fallen(struck) {
                self.trouble(format!("{} {} {place} ended by itself", world.name(), role_name(role)));
                if let Err(error) = installation.raise(role, place, &[]) {
                    self.trouble(format!("{} {place} does not start again: {error:#}", role_name(role)));
                }
            }
        }
        if self.begun.elapsed() >= self.told {
            self.told = self.begun.elapsed() + TELL;
            self.tell_progress(installations);
        }
    }

    fn tell_progress(&self, installations: &mut [Installation]) {
        for installation in installations {
            if let Ok(record) = installation.fleets.record() {
                let notices = record.notices();
                let told = format!("{} devices online, {notices} notices so far", record.online());
                self.tell(installation.world, &told);
            }
        }
    }

    fn tell(&self, world: World, what: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        (self.say)(&format!("{seconds:>7.1} s  {:<8} {what}", world.name()));
    }

    fn trouble(&mut self, what: String) {
        (self.say)(&format!("   {what}"));
        self.troubles.push(what);
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::All => "server",
        Role::Api | Role::Dispatcher | Role::Gateway => role.name(),
    }
}

/// Beginnings and ends in the order of time. What ends at an instant ends before anything begins.
fn steps(faults: &[Fault]) -> Vec<(Duration, Step)> {
    let of = |(place, fault): (usize, &Fault)| {
        [(fault.at, Step::Strike(place)), (fault.ends(), Step::Heal(place))]
    };
    let mut steps: Vec<(Duration, Step)> = faults.iter().enumerate().flat_map(of).collect();
    // A fault without length begins before it ends: the sort is stable.
    steps.sort_by_key(|(at, _)| *at);
    steps
}

#[cfg(test)]
mod tests {
    use super::super::fault::Kind;
    use super::*;

    #[test]
    fn every_fault_ends_after_it_began_and_steps_are_in_order() {
        let fault = |at, lasts, kind| Fault {
            kind,
            at: Duration::from_secs(at),
            lasts: Duration::from_secs(lasts),
            role: None,
            place: 0,
            skew_s: 0,
        };
        let faults =
            [fault(5, 0, Kind::RedisFlush), fault(1, 9, Kind::PostgresCrash), fault(3, 1, Kind::DiskFull)];
        let order: Vec<Step> = steps(&faults).into_iter().map(|(_, step)| step).collect();
        let wanted =
            [Step::Strike(1), Step::Strike(2), Step::Heal(2), Step::Strike(0), Step::Heal(0), Step::Heal(1)];
        assert_eq!(order, wanted);
    }
}
