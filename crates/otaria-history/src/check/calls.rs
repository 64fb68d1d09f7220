//! I11, I12, I16: what a job was asked to be, and which devices it may push to.

use std::collections::{BTreeMap, HashSet};

use otaria_core::job::JobStatus;

use super::place::{NEVER, Place, Stamp};
use super::tables::{JobRow, Name, name_of};
use super::verdict::Judge;
use super::world::World;
use crate::record::JobMade;

/// Pushes of a dynamic job to one device.
const PUSHES_MAX: u64 = 10;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    tokens(world, judge);
    firmwares(world, judge);
    for job in world.jobs() {
        let row = &world.t.jobs[job as usize];
        let Some((made, facts)) = &row.made else {
            judge.pass("I11");
            continue;
        };
        part(judge, *made, facts);
        members(world, judge, job, *made, facts);
        if facts.job_kind == "DYNAMIC" {
            pushes(world, judge, job, *made);
        }
    }
}

/// `floor(n * p / 100)` with the decimals of `p` as they were written; `None` for what is no number.
pub(crate) fn part_of(n: u64, percent: &str) -> Option<u64> {
    let (whole, decimals) = percent.trim().split_once('.').unwrap_or((percent.trim(), ""));
    if whole.is_empty() && decimals.is_empty() || decimals.len() > 9 {
        return None;
    }
    let digits: String = whole.chars().chain(decimals.chars()).collect();
    let digits: u128 = digits.parse().ok()?;
    let scale = 100 * 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    u64::try_from(u128::from(n) * digits / scale).ok()
}

fn part(judge: &mut Judge, made: Stamp, job: &JobMade) {
    let Some((percent, matching, count)) = &job.gray else { return };
    let due = part_of(*matching, percent);
    let what = || {
        let due = due.map_or("no number".to_owned(), |due| due.to_string());
        format!("job {} takes {count} of {matching} devices at {percent} %; that is {due}", job.job)
    };
    judge.expect("I11", due == Some(*count) && *count > 0, made.from, what, [made.place]);
}

/// Every notice goes to a device that is in the job, and in a list only those are that it names.
fn members(world: &World, judge: &mut Judge, job: u32, made: Stamp, facts: &JobMade) {
    let named: HashSet<Name> = facts.names.iter().map(|name| name_of(name)).collect();
    for task in world.tasks_of_job(job) {
        let birth = world.moves_of(*task).first();
        if let Some(birth) = birth.filter(|_| !named.is_empty()) {
            let device = world.t.tasks[*task as usize].device;
            let name = world.t.devices[device as usize].name;
            let what = || format!("{} has a task, and the job does not name it", world.name(*task));
            let inside = name.is_none_or(|name| named.contains(&name));
            judge.expect("I11", inside, birth.stamp.from, what, [made.place, birth.stamp.place]);
        }
        let claims = world.claims_of(*task).iter().map(|claim| claim.stamp);
        let writes = world.writes_of(*task).iter().map(|write| write.stamp);
        let Some(first) = claims.chain(writes).min_by_key(|stamp| stamp.at) else { continue };
        if birth.is_none() && !world.holes.spare(made.from, first.at) {
            judge.pass("I11");
            continue;
        }
        let what = || format!("{} was pushed and is not in the job", world.name(*task));
        judge.expect("I11", birth.is_some(), first.from, what, [made.place, first.place]);
    }
}

/// I12.
fn tokens(world: &World, judge: &mut Judge) {
    let mut known: BTreeMap<(i64, &str), (Stamp, i64)> = BTreeMap::new();
    for job in world.jobs() {
        let row = &world.t.jobs[job as usize];
        let Some((made, facts)) = &row.made else {
            row.again.iter().for_each(|_| judge.pass("I12"));
            continue;
        };
        if let Some(token) = &facts.token {
            let other = known.insert((facts.account, token), (*made, row.number));
            let lines = other.map(|(stamp, _)| stamp.place).into_iter().chain([made.place]);
            let what = || {
                let other = other.map_or(0, |(_, number)| number);
                format!("jobs {other} and {} were made with one token", row.number)
            };
            judge.expect("I12", other.is_none(), made.from, what, lines);
        }
        for (again, digest) in &row.again {
            let what = || format!("another body with the same token was answered with job {}", row.number);
            judge.expect("I12", *digest == facts.digest, again.from, what, [made.place, again.place]);
        }
    }
    refused(world, judge, &known);
}

/// The same call is answered with its job, not refused.
fn refused(world: &World, judge: &mut Judge, known: &BTreeMap<(i64, &str), (Stamp, i64)>) {
    for (stamp, account, token, digest) in &world.t.refused {
        let Some((made, number)) = known.get(&(*account, token.as_str())) else { continue };
        let rows = world.t.jobs.iter().filter_map(|row| row.made.as_ref());
        let same = rows.filter(|(_, facts)| facts.job == *number).any(|(_, facts)| facts.digest == *digest);
        let what = || format!("the call that made job {number} was refused when it came again");
        judge.expect("I12", !same, stamp.from, what, [made.place, stamp.place]);
    }
}

/// A dynamic job that takes devices: surely within this span.
struct Running {
    number: i64,
    since: Stamp,
    until: u64,
}

/// I16: two dynamic jobs of a firmware never take devices at the same time.
fn firmwares(world: &World, judge: &mut Judge) {
    let mut running: BTreeMap<i64, Vec<Running>> = BTreeMap::new();
    for row in &world.t.jobs {
        let Some((made, facts)) = row.made.as_ref().filter(|(_, facts)| facts.job_kind == "DYNAMIC") else {
            continue;
        };
        let spans = running.entry(facts.firmware).or_default();
        spans.extend(takes(world, row, *made, &facts.status));
    }
    for (firmware, mut spans) in running {
        spans.sort_by_key(|span| span.since.at);
        for (n, one) in spans.iter().enumerate() {
            judge.check("I16");
            let others = spans[n + 1..].iter().filter(|other| other.number != one.number);
            let mut beside = others.filter(|other| {
                let skew = world.between(one.since.place, other.since.place);
                other.since.at.saturating_add(skew) < one.until.min(other.until)
            });
            if let Some(other) = beside.next() {
                let what = || {
                    format!(
                        "jobs {} and {} of firmware {firmware} take devices at the same time",
                        one.number, other.number
                    )
                };
                judge.breach("I16", other.since.from, what, [one.since.place, other.since.place]);
            }
        }
    }
}

fn takes(world: &World, row: &JobRow, made: Stamp, status: &str) -> Vec<Running> {
    let mut spans = Vec::new();
    let first = (made, JobStatus::ALL.into_iter().find(|known| known.as_str() == status));
    let steps: Vec<(Stamp, Option<JobStatus>)> =
        [first].into_iter().chain(row.moved.iter().map(|(stamp, to)| (*stamp, Some(*to)))).collect();
    for (n, (since, status)) in steps.iter().enumerate() {
        if !status.is_some_and(JobStatus::takes_devices) {
            continue;
        }
        let next = steps.get(n + 1).map(|(stamp, _)| *stamp);
        let quiet = if world.options.calls_are_kept { NEVER } else { world.holes.quiet_until(since.at) };
        let until = next.map_or(quiet, |next| next.from.min(quiet));
        spans.push(Running { number: row.number, since: *since, until });
    }
    spans
}

/// I16: a dynamic job pushes to a device ten times at most. The word of a notice that was written right before its
/// process was killed is lost, so each such process may hide one.
fn pushes(world: &World, judge: &mut Judge, job: u32, made: Stamp) {
    let most = PUSHES_MAX + world.holes.len() as u64;
    for task in world.tasks_of_job(job) {
        let writes = world.writes_of(*task);
        let over = writes.get(usize::try_from(most).unwrap_or(usize::MAX));
        let what = || format!("{} was pushed {} times", world.name(*task), writes.len());
        let lines: Vec<Place> = over.map(|write| write.stamp.place).into_iter().chain([made.place]).collect();
        judge.expect("I16", over.is_none(), over.map_or(0, |write| write.stamp.from), what, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::part_of;

    #[test]
    fn a_part_is_rounded_down_in_exact_decimals() {
        assert_eq!(part_of(1_000, "10"), Some(100));
        assert_eq!(part_of(999, "33.3"), Some(332));
        assert_eq!(part_of(29, "0.1"), Some(0));
        assert_eq!(part_of(u64::MAX, "100.00"), Some(u64::MAX));
        assert_eq!(part_of(10, "x"), None);
        assert_eq!(part_of(10, "."), None);
    }
}
