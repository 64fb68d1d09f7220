//! I4, I9, I22: whether a job's sums agree with its tasks.

use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;

use super::place::{Place, Stamp};
use super::tables::JobRow;
use super::verdict::Judge;
use super::world::World;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    for job in world.jobs() {
        let row = &world.t.jobs[job as usize];
        expansion(world, judge, job, row);
        completed(world, judge, job, row);
        if !row.counts.is_empty() {
            counts(world, judge, job, row);
        }
        for (stamp, found) in &row.miscounted {
            let what = || format!("an audit of job {} found a kept count of {found}", row.number);
            judge.expect("I9", false, stamp.from, what, [stamp.place]);
        }
    }
}

fn expansion(world: &World, judge: &mut Judge, job: u32, row: &JobRow) {
    for (stamp, _, [lines, tasks, skipped, rejected]) in &row.expanded {
        let what = || {
            let number = row.number;
            format!(
                "job {number}: {lines} lines are not {tasks} tasks + {skipped} skipped + {rejected} rejected"
            )
        };
        let sum = tasks.checked_add(*skipped).and_then(|sum| sum.checked_add(*rejected));
        judge.expect("I4", sum == Some(*lines), stamp.from, what, [stamp.place]);
    }
    let mut made = 0;
    let mut last: Option<Stamp> = None;
    for task in world.tasks_of_job(job) {
        let mut births = world.moves_of(*task).iter().filter(|one| one.previous.is_none());
        if let Some(first) = births.next() {
            made += 1;
            last = last.filter(|last| last.at >= first.stamp.at).or(Some(first.stamp));
            for second in
                births.filter(|second| second.revision != first.revision || second.stamp != first.stamp)
            {
                let what = || format!("{} was made twice", world.name(*task));
                judge.breach("I4", second.stamp.from, what, [first.stamp.place, second.stamp.place]);
            }
        }
    }
    let Some((stamp, facts)) = &row.made else { return };
    let complete =
        row.expanded.iter().filter(|(_, complete, _)| *complete).min_by_key(|(stamp, ..)| stamp.at);
    let Some((end, _, [lines, tasks, skipped, _])) = complete else { return };
    if facts.job_kind == "DYNAMIC" {
        return;
    }
    if !world.holes.spare(stamp.from, end.at) {
        judge.pass("I4");
        return;
    }
    let evidence = [stamp.place, end.place];
    let what = || format!("job {} says it has {tasks} tasks, and {made} were made", row.number);
    judge.expect(
        "I4",
        made == *tasks,
        end.from,
        what,
        evidence.into_iter().chain(last.map(|last| last.place)),
    );
    if !facts.names.is_empty() {
        let named = facts.names.len() as u64;
        let what = || format!("job {} was made for {named} names and accounts for {lines} lines", row.number);
        judge.expect("I4", named == *lines, end.from, what, evidence);
    }
    if let Some((_, _, count)) = &facts.gray {
        let holds = count == lines && tasks.checked_add(*skipped).is_some_and(|sum| sum <= *lines);
        let what = || format!("the part of job {} is {count} devices, and it took {lines}", row.number);
        judge.expect("I11", holds, end.from, what, evidence);
    }
}

fn completed(world: &World, judge: &mut Judge, job: u32, row: &JobRow) {
    for (moved, _) in row.moved.iter().filter(|(_, to)| *to == JobStatus::Completed) {
        let began = row.made.as_ref().map_or(moved.from, |(made, _)| made.from);
        let expanded =
            row.expanded.iter().any(|(stamp, complete, _)| *complete && !world.before(*moved, *stamp));
        if row.made.is_some() && world.holes.spare(began, moved.at) {
            let what = || format!("job {} is COMPLETED, and its expansion was not", row.number);
            judge.expect("I22", expanded, moved.from, what, [moved.place]);
        }
        let mut open = None;
        for task in world.tasks_of_job(job) {
            let life = world.life(*task);
            let span = life.iter().rev().find(|span| {
                let skew = world.between(span.since.place, moved.place);
                span.status.is_open()
                    && span.sure.0.saturating_add(skew) < moved.from
                    && moved.at.saturating_add(skew) < span.sure.1
            });
            if let Some(span) = span {
                open = Some((*task, span.since.place, span.next));
                break;
            }
        }
        let what = || {
            format!(
                "job {} is COMPLETED with an open task: {}",
                row.number,
                open.map_or(String::new(), |(task, ..)| world.name(task))
            )
        };
        let lines = open.into_iter().flat_map(|(_, since, next)| [Some(since), next]).flatten();
        judge.expect("I22", open.is_none(), moved.from, what, [moved.place].into_iter().chain(lines));
    }
}

/// Seven numbers that are surely there, and seven that are perhaps.
type Bounds = [[i64; 7]; 2];

/// A task comes into a status or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at: u64,
    /// Sure or perhaps, which status, in or out.
    what: u8,
}

impl Step {
    fn new(at: u64, kind: u8, status: usize, comes: bool) -> Self {
        Self { at, what: (kind << 4) | ((status as u8) << 1) | u8::from(comes) }
    }

    fn status(self) -> usize {
        usize::from(self.what >> 1 & 7)
    }

    fn apply(self, to: &mut Bounds) {
        let by = if self.what & 1 == 1 { 1 } else { -1 };
        to[usize::from(self.what >> 4)][self.status()] += by;
    }
}

/// The counts that were read, against those that the tasks' lines allow at some instant of the reading.
fn counts(world: &World, judge: &mut Judge, job: u32, row: &JobRow) {
    let Some((made, _)) = &row.made else {
        row.counts.iter().for_each(|_| judge.pass("I9"));
        return;
    };
    let mut readings: Vec<&(Stamp, [u64; 7])> = row.counts.iter().collect();
    readings.sort_by_key(|(stamp, _)| stamp.from);
    let first = readings.first().map_or(0, |(stamp, _)| stamp.from);
    let last = readings.iter().map(|(stamp, _)| stamp.at).max().unwrap_or(0);
    let mut now: Bounds = [[0; 7]; 2];
    let mut steps: Vec<Step> = Vec::new();
    for task in world.tasks_of_job(job) {
        for span in world.life(*task) {
            let status = usize::try_from(span.status.code()).unwrap_or(0);
            let sure = (span.sure.0.saturating_add(world.skew), span.sure.1.saturating_sub(world.skew));
            let maybe =
                (span.maybe.0.saturating_sub(world.skew), span.maybe.1.saturating_add(world.skew + 1));
            for (kind, (from, until)) in [(0_u8, sure), (1, maybe)] {
                // What is over before anybody reads, or begins after that, is counted at once, or never.
                if from >= until || until <= first || from > last {
                    continue;
                }
                if from <= first {
                    now[usize::from(kind)][status] += 1
                } else {
                    steps.push(Step::new(from, kind, status, true))
                }
                if until <= last {
                    steps.push(Step::new(until, kind, status, false));
                }
            }
        }
    }
    steps.sort_unstable();
    let mut done = 0;
    for (stamp, read) in readings {
        while let Some(step) = steps.get(done).filter(|step| step.at <= stamp.from) {
            step.apply(&mut now);
            done += 1;
        }
        if !world.holes.spare(made.from, stamp.at) {
            judge.pass("I9");
            continue;
        }
        let (least, most) = extremes(now, &steps[done..], stamp.at);
        let wrong = (0..7).find(|status| {
            let read = i64::try_from(read[*status]).unwrap_or(i64::MAX);
            read < least[*status] || read > most[*status]
        });
        let what = || {
            let status = wrong.unwrap_or(0);
            let name = TaskStatus::ALL[status].as_str();
            let (read, least, most) = (read[status], least[status], most[status]);
            format!(
                "job {} counts {read} tasks in {name}; by their lines it is {least} to {most}",
                row.number
            )
        };
        judge.expect("I9", wrong.is_none(), stamp.from, what, witnesses(world, job, wrong, *stamp));
    }
}

/// The least that was sure and the most that was possible, from now until an instant.
fn extremes(mut now: Bounds, steps: &[Step], until: u64) -> ([i64; 7], [i64; 7]) {
    let (mut least, mut most) = (now[0], now[1]);
    for step in steps.iter().take_while(|step| step.at <= until) {
        step.apply(&mut now);
        let status = step.status();
        least[status] = least[status].min(now[0][status]);
        most[status] = most[status].max(now[1][status]);
    }
    (least, most)
}

/// The reading, and the lines of some tasks that were in the status that is counted wrongly.
fn witnesses(world: &World, job: u32, wrong: Option<usize>, reading: Stamp) -> Vec<Place> {
    let mut lines = vec![reading.place];
    let Some(status) = wrong else { return lines };
    for task in world.tasks_of_job(job) {
        let there = world.life(*task).into_iter().find(|span| {
            span.status == TaskStatus::ALL[status]
                && span.maybe.0 <= reading.at
                && reading.from <= span.maybe.1
        });
        lines.extend(there.map(|span| span.since.place));
        if lines.len() > 4 {
            break;
        }
    }
    lines
}
