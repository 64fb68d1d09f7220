//! I1: how many notices of a job lie within any 60 s, by the servers' record and by the devices'.
//!
//! A write happened somewhere within its line's span. Notices count together only if their whole spans lie
//! within one half-open minute; then they did so for sure. Where the limit changed, the largest counts that was
//! possibly in force in the window or shortly before it.

use super::place::{Place, Stamp};
use super::tables::{JobRow, LookAt};
use super::verdict::Judge;
use super::world::World;

/// The window, in microseconds.
const MINUTE: u64 = 60_000_000;

/// Whoever was not told of another limit hears of it with the next survey, once a minute, and may have dated
/// tokens before.
const NEWS: u64 = 75_000_000;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    for job in world.jobs() {
        let row = &world.t.jobs[job as usize];
        let Some(limits) = Limits::of(world, row) else {
            judge.pass("I1");
            continue;
        };
        let mut writes: Vec<Stamp> = Vec::new();
        for task in world.tasks_of_job(job) {
            writes.extend(world.writes_of(*task).iter().map(|write| write.stamp));
        }
        count(world, judge, row, &limits, writes, "written");
        count(world, judge, row, &limits, arrivals(world, job), "seen by devices");
    }
}

/// When notices of a job arrived: each was under way since some instant that its record bounds.
fn arrivals(world: &World, job: u32) -> Vec<Stamp> {
    let mut arrivals = Vec::new();
    for task in world.tasks_of_job(job) {
        let Some(witness) = world.witness_of_task(*task) else { continue };
        let writes = world.writes_of(*task);
        for look in world.looks_of(witness) {
            let LookAt::Notice { wire, .. } = look.what else { continue };
            let wire = world.wire(wire);
            let limit = look.at.saturating_add(world.options.device_clock_error);
            let sent = writes.iter().rev().find(|write| write.wire == wire && write.stamp.from <= limit);
            let Some(sent) = sent else { continue };
            // A network that held it back shows in how long it took.
            let took = look.at.saturating_sub(sent.stamp.from).max(world.options.arrival_slack);
            arrivals.push(Stamp { from: look.at.saturating_sub(took), at: look.at, place: look.place });
        }
    }
    arrivals
}

fn count(world: &World, judge: &mut Judge, row: &JobRow, limits: &Limits, mut spans: Vec<Stamp>, how: &str) {
    // What took a minute lies within no minute.
    spans.retain(|span| span.at - span.from < MINUTE);
    spans.sort_unstable_by_key(|span| (span.at, span.place));
    let mut begins: Vec<u64> = spans.iter().map(|span| span.from).collect();
    begins.sort_unstable();
    let window = MINUTE - world.skew;
    let mut end = 0;
    for (before, begin) in begins.iter().enumerate() {
        while end < spans.len() && spans[end].at < begin.saturating_add(window) {
            end += 1;
        }
        let within = end.saturating_sub(before) as u64;
        let (limit, of) = limits.within(*begin, begin + MINUTE);
        judge.check("I1");
        if within <= limit {
            continue;
        }
        if !limits.is_sure(world, begin + MINUTE) {
            judge.pass("I1");
            continue;
        }
        let what = || {
            format!(
                "{within} notices of job {} were {how} within {window} us from {begin} on; the limit is {limit}",
                row.number
            )
        };
        let inside: Vec<Place> =
            spans[..end].iter().filter(|span| span.from >= *begin).map(|span| span.place).collect();
        let ends =
            if inside.len() > 4 { [&inside[..2], &inside[inside.len() - 2..]].concat() } else { inside };
        judge.breach("I1", *begin, what, of.into_iter().chain(ends));
        return;
    }
}

/// The limits of a job, and since when.
struct Limits {
    made: Stamp,
    /// From, surely over by, limit, line.
    rates: Vec<(u64, u64, u64, Place)>,
}

impl Limits {
    fn of(world: &World, row: &JobRow) -> Option<Self> {
        let (made, job) = row.made.as_ref()?;
        let mut rates = vec![(made.from, u64::MAX, u64::from(job.per_minute), made.place)];
        for (stamp, rate, _) in &row.changed {
            let Some(rate) = rate else { continue };
            if let Some(last) = rates.last_mut() {
                last.1 = stamp.at.saturating_add(NEWS + world.skew);
            }
            let from = stamp.from.saturating_sub(world.skew);
            rates.push((from, u64::MAX, u64::from(*rate), stamp.place));
        }
        Some(Self { made: *made, rates })
    }

    /// The largest limit that may have been in force, and the line that says so.
    fn within(&self, from: u64, until: u64) -> (u64, Option<Place>) {
        let there = self.rates.iter().filter(|(begin, end, ..)| *begin <= until && from <= *end);
        there.max_by_key(|rate| rate.2).map_or((u64::MAX, None), |rate| (rate.2, Some(rate.3)))
    }

    /// Whether nobody can have changed the limit without a line.
    fn is_sure(&self, world: &World, until: u64) -> bool {
        world.options.calls_are_kept || world.holes.spare(self.made.from, until)
    }
}
