//! I7, I8, I15: how often a task is offered, when, and what ends that.

use otaria_core::task::TaskStatus;

use super::place::{NEVER, Place, Stamp};
use super::tables::{Cause, LookAt, Move, module_name};
use super::verdict::Judge;
use super::world::World;
use crate::record::JobMade;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    for task in world.tasks() {
        let Some((made, job)) = &world.job_of(task).made else {
            judge.pass("I7");
            continue;
        };
        attempts(world, judge, task, *made, job);
        wires(world, judge, task);
        let moves = world.moves_of(task);
        for (one, next) in moves.iter().zip(moves.iter().skip(1)) {
            if one.attempt > 0 && next.attempt > one.attempt && one.status.is_open() && next.status.is_open()
            {
                retry(world, judge, task, job, (one, next));
            }
        }
        timeouts(world, judge, task, job);
        pushes(world, judge, task, *made, job);
    }
}

fn attempts(world: &World, judge: &mut Judge, task: u32, made: Stamp, job: &JobMade) {
    let most = 1 + job.retry.map_or(0, |(count, _)| u16::from(count));
    let moves = world.moves_of(task).iter().map(|one| (one.attempt, one.stamp));
    let claims = world.claims_of(task).iter().map(|claim| (claim.attempt, claim.stamp));
    let writes = world.writes_of(task).iter().map(|write| (write.attempt, write.stamp));
    for (attempt, stamp) in moves.chain(claims).chain(writes) {
        let what = || format!("{} was offered {attempt} times; the job allows {most}", world.name(task));
        judge.expect("I7", u16::from(attempt) <= most, stamp.from, what, [made.place, stamp.place]);
    }
}

/// A notice was claimed as it was written, and an attempt has one id on the wire.
fn wires(world: &World, judge: &mut Judge, task: u32) {
    let (claims, writes) = (world.claims_of(task), world.writes_of(task));
    let started_again = world.is_started_again(task);
    for (n, write) in writes.iter().enumerate() {
        let claimed = claims.iter().any(|claim| {
            (claim.attempt, claim.epoch, claim.shard) == (write.attempt, write.epoch, write.shard)
                && !world.before(write.stamp, claim.stamp)
        });
        // The claim is committed at most some seconds before.
        if !claimed && !world.holes.spare(write.stamp.from.saturating_sub(10_000_000), write.stamp.at) {
            judge.pass("I7");
        } else {
            let what = || {
                let (attempt, epoch) = (write.attempt, write.epoch);
                format!(
                    "a notice to {} was written for attempt {attempt} under epoch {epoch}, and none was claimed so before",
                    world.name(task)
                )
            };
            judge.expect("I7", claimed, write.stamp.from, what, [write.stamp.place]);
        }
        let earlier = &writes[..n];
        let clash = earlier.iter().find(|other| {
            let same_wire = other.wire == write.wire;
            let same_attempt = other.attempt == write.attempt;
            (same_wire && !same_attempt) || (same_attempt && !same_wire && !started_again)
        });
        if let Some(other) = clash {
            if world.holes.spare(other.stamp.from, write.stamp.at) || other.wire == write.wire {
                let what = || {
                    format!(
                        "{}: attempt {} went out as {} and attempt {} as {}",
                        world.name(task),
                        other.attempt,
                        other.wire,
                        write.attempt,
                        write.wire
                    )
                };
                judge.breach("I7", write.stamp.from, what, [other.stamp.place, write.stamp.place]);
            } else {
                judge.pass("I7");
            }
        }
    }
}

/// One more offer: after a failure, and the interval after it.
fn retry(world: &World, judge: &mut Judge, task: u32, job: &JobMade, (one, next): (&Move, &Move)) {
    let Some((_, seconds)) = job.retry else { return };
    let interval = seconds.saturating_mul(1_000_000);
    let row = world.t.tasks[task as usize];
    let module = world.t.words.get(module_name(&job.module));
    let dest = world.t.words.get(&job.dest_version);
    let offered = world
        .moves_of(task)
        .iter()
        .find(|known| known.attempt == one.attempt && known.revision <= one.revision);
    let since = offered.map_or(one.stamp, |offer| offer.stamp);
    let lines = |extra: Option<Place>| [since.place].into_iter().chain(extra).chain([next.stamp.place]);

    let said = world.said_of(row.device).iter().filter(|said| {
        Some(said.module) == module && said.version.is_none_or(|version| Some(version) != dest)
    });
    let mut between =
        said.filter(|said| !world.before(said.stamp, since) && !world.before(next.stamp, said.stamp));
    match between.next() {
        Some(first) => {
            let skew = world.between(first.stamp.place, next.stamp.place);
            let due = first.stamp.from.saturating_add(interval);
            let early = next.stamp.at.saturating_add(skew) < due;
            let what = || {
                format!(
                    "{} was offered again {} us after its failure; RetryInterval is {interval}",
                    world.name(task),
                    next.stamp.at.saturating_sub(first.stamp.from)
                )
            };
            judge.expect("I7", !early, next.stamp.from, what, lines(Some(first.stamp.place)));
        }
        None if world.holes.spare(since.from, next.stamp.at) => {
            let what = || format!("{} was offered again without a failure", world.name(task));
            judge.expect("I7", false, next.stamp.from, what, lines(None));
        }
        None => judge.pass("I7"),
    }

    let Some(witness) = world.witness_of_task(task) else { return };
    let error = world.options.device_clock_error;
    let failures = world.looks_of(witness).iter().filter(|look| match look.what {
        LookAt::Progress { module: of, failed } => failed && Some(of) == module,
        LookAt::Inform { module: of, version } => Some(of) == module && Some(version) != dest,
        LookAt::Online | LookAt::Offline | LookAt::Notice { .. } | LookAt::Fetched => false,
    });
    let mut failures = failures.filter(|look| look.at.saturating_add(error) >= since.from);
    if let Some(first) = failures.next() {
        let due = first.at.saturating_add(interval);
        let early = next.stamp.at.saturating_add(error) < due && first.at <= next.stamp.at;
        let what = || {
            format!(
                "{} was offered again before RetryInterval ({interval} us) after what it reported",
                world.name(task)
            )
        };
        judge.expect("I7", !early, next.stamp.from, what, lines(Some(first.place)));
    }
}

/// From the first progress to the timeout.
fn timeouts(world: &World, judge: &mut Judge, task: u32, job: &JobMade) {
    let row = world.job_of(task);
    let mut begun: Option<&Move> = None;
    for one in world.moves_of(task) {
        let entered = one.status == TaskStatus::InProgress && one.previous != Some(TaskStatus::InProgress);
        if entered {
            begun = Some(one);
        }
        let timed_out = one.status == TaskStatus::Failed && one.cause == Cause::Timeout;
        if timed_out {
            if one.previous != Some(TaskStatus::InProgress) {
                let what = || format!("{} failed by a timeout that had not begun", world.name(task));
                judge.expect("I8", false, one.stamp.from, what, [one.stamp.place]);
                continue;
            }
            let Some(begun) = begun.take() else {
                judge.pass("I8");
                continue;
            };
            let limits = limits(world, row, job, begun);
            let (least, most) = match limits {
                Some(limits) => limits,
                None if world.options.calls_are_kept || world.holes.spare(0, one.stamp.at) => {
                    let what = || format!("{} failed by a timeout, and its job has none", world.name(task));
                    judge.expect("I8", false, one.stamp.from, what, [begun.stamp.place, one.stamp.place]);
                    continue;
                }
                None => {
                    judge.pass("I8");
                    continue;
                }
            };
            let skew = world.between(begun.stamp.place, one.stamp.place);
            let early = one.stamp.at.saturating_add(skew) < begun.stamp.from.saturating_add(least);
            let due = begun.stamp.at.saturating_add(most);
            // A process that was stopped for a while (or a clock that jumped) is late without being wrong: where
            // anything is missing, nobody can tell.
            let whole = world.holes.spare(begun.stamp.from, one.stamp.at);
            let late = overdue(world, due, one.stamp.from) && whole;
            let what = || {
                let took = one.stamp.at.saturating_sub(begun.stamp.from);
                format!(
                    "{} failed by its timeout {took} us after its first progress; the job says {most}",
                    world.name(task)
                )
            };
            judge.expect("I8", !early && !late, one.stamp.from, what, [begun.stamp.place, one.stamp.place]);
        } else if !one.status.is_open() {
            begun = None;
        }
    }
    // Whoever is still in progress ought to have failed by now.
    if let Some(begun) = begun
        && let Some((_, most)) = limits(world, row, job, begun)
        && world.holes.spare(begun.stamp.from, NEVER)
    {
        let end = world.up.iter().map(|(_, end)| *end).max().unwrap_or(0);
        let due = begun.stamp.at.saturating_add(most);
        let what = || {
            format!("{} is IN_PROGRESS {} us after its timeout", world.name(task), end.saturating_sub(due))
        };
        judge.expect("I8", !overdue(world, due, end), due, what, [begun.stamp.place]);
    }
}

/// Whether a clock that was due had long run out by then, while a server was up.
fn overdue(world: &World, due: u64, by: u64) -> bool {
    let latest = due.saturating_add(world.options.late);
    latest < by && world.is_up(due, latest)
}

/// The least and the greatest timeout that a task may have got with its first progress, in microseconds.
fn limits(world: &World, row: &super::tables::JobRow, job: &JobMade, begun: &Move) -> Option<(u64, u64)> {
    let changes = row
        .changed
        .iter()
        .filter(|(stamp, _, timeout)| timeout.is_some() && !world.before(begun.stamp, *stamp));
    let all = job.timeout_s.into_iter().chain(changes.filter_map(|(_, _, timeout)| *timeout));
    let all: Vec<u64> = all.map(|seconds| seconds.saturating_mul(1_000_000)).collect();
    Some((*all.iter().min()?, *all.iter().max()?))
}

/// Nothing is pushed where nothing may be, nor before the confirmation.
fn pushes(world: &World, judge: &mut Judge, task: u32, made: Stamp, job: &JobMade) {
    let claims = world.claims_of(task).iter().map(|claim| claim.stamp);
    let writes = world.writes_of(task).iter().map(|write| write.stamp);
    if !job.need_push {
        for stamp in claims.chain(writes) {
            let what = || format!("a notice went to {}, whose job has NeedPush=false", world.name(task));
            judge.expect("I15", false, stamp.from, what, [made.place, stamp.place]);
        }
        judge.check("I15");
        return;
    }
    if !job.need_confirm {
        return;
    }
    let lives = world.life(task);
    for (n, span) in lives.iter().enumerate().filter(|(_, span)| span.status == TaskStatus::Confirm) {
        // What was claimed in an earlier life may still be on its way for some seconds.
        let settled = span.sure.0.saturating_add(if n > 0 { 10_000_000 } else { 0 });
        for stamp in claims.clone().chain(writes.clone()) {
            let skew = world.between(span.since.place, stamp.place);
            let within =
                settled.saturating_add(skew) < stamp.from && stamp.at.saturating_add(skew) < span.sure.1;
            let what = || format!("a notice to {} went out before its confirmation", world.name(task));
            let lines = [span.since.place, stamp.place].into_iter().chain(span.next);
            judge.expect("I15", !within, stamp.from, what, lines);
        }
    }
}
