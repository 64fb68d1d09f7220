//! I3 and the order of revisions: each task's moves against the table.
//!
//! Two neighbouring lines of a task are judged where surely none is missing between them: their revisions follow
//! each other, or no hole lies there. That a succeeded task moves at all needs no such proof.

use otaria_core::task::TaskStatus;

use super::tables::{Cause, Move};
use super::verdict::Judge;
use super::world::World;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    for task in world.tasks() {
        let moves = world.moves_of(task);
        for one in moves {
            table(world, judge, task, one);
        }
        for (one, next) in moves.iter().zip(moves.iter().skip(1)) {
            neighbours(world, judge, task, one, next);
        }
        percent(world, judge, task, moves);
        claims(world, judge, task, moves);
    }
}

/// Whether a move is one that the table has.
fn table(world: &World, judge: &mut Judge, task: u32, one: &Move) {
    use TaskStatus as S;
    let to = one.status;
    let known = match one.previous {
        None => matches!(to, S::Confirm | S::Queued | S::Failed),
        Some(S::Confirm) => matches!(to, S::Queued | S::Succeeded | S::Canceled),
        Some(S::Queued) => matches!(to, S::Notified | S::Succeeded | S::Canceled),
        Some(S::Notified) => {
            matches!(to, S::Notified | S::InProgress | S::Succeeded | S::Failed | S::Canceled)
        }
        Some(S::InProgress) => matches!(to, S::InProgress | S::Succeeded | S::Failed | S::Canceled),
        Some(S::Succeeded) => false,
        Some(S::Failed | S::Canceled) => matches!(to, S::Confirm | S::Queued),
    };
    // What is pushed without its confirmation has a rule of its own.
    let rule = if one.previous == Some(S::Confirm) && to == S::Notified { "I15" } else { "I3" };
    let what = || {
        let from = one.previous.map_or("nothing", TaskStatus::as_str);
        format!("{} went from {from} to {}: the table has no such move", world.name(task), to.as_str())
    };
    judge.expect(rule, known, one.stamp.from, what, [one.stamp.place]);
}

fn neighbours(world: &World, judge: &mut Judge, task: u32, one: &Move, next: &Move) {
    let lines = [one.stamp.place, next.stamp.place];
    let at = next.stamp.from;
    if one.revision == next.revision {
        let same = (one.previous, one.status, one.attempt) == (next.previous, next.status, next.attempt);
        let what = || {
            let (to, other, revision) = (one.status.as_str(), next.status.as_str(), one.revision);
            format!("{} moved twice under revision {revision}: to {to} and to {other}", world.name(task))
        };
        judge.expect("order", same, at, what, lines);
        return;
    }
    let late = world.before(next.stamp, one.stamp);
    let what = || {
        format!(
            "{}: revision {} was written before revision {}",
            world.name(task),
            next.revision,
            one.revision
        )
    };
    judge.expect("order", !late, at, what, lines);

    let is_open = one.status.is_open();
    let continues = next.previous == Some(one.status);
    let reopened = !is_open
        && continues
        && world
            .t
            .again
            .binary_search_by_key(&(task, next.revision), |(task, revision, _)| (*task, *revision))
            .is_ok();
    let starts_again = matches!(one.status, TaskStatus::Failed | TaskStatus::Canceled)
        && continues
        && matches!(next.status, TaskStatus::Confirm | TaskStatus::Queued);
    // An operator's order has a line of its own, right after the move: that may be the one that is missing.
    let sure = match one.status {
        TaskStatus::Succeeded => true,
        _ if starts_again => world.holes.spare(one.stamp.from, next.stamp.at.saturating_add(1_000_000)),
        _ => world.follows(one, next),
    };
    if !is_open {
        if reopened {
            judge.check("I3");
        } else if sure {
            let what = || {
                let (from, to) = (one.status.as_str(), next.status.as_str());
                format!("{} was {from} and became {to}, and no operator started it again", world.name(task))
            };
            judge.check("I3");
            judge.breach(ended_rule(one, next), at, what, lines);
        } else {
            judge.pass("I3");
        }
    } else if next.previous.is_none() {
        // Made twice: I4 looks at that.
    } else if sure {
        let what = || {
            let (known, said) = (one.status.as_str(), next.previous.map_or("", TaskStatus::as_str));
            format!("{} was {known}; the next line says it was {said}", world.name(task))
        };
        judge.expect("order", continues, at, what, lines);
    } else {
        judge.pass("order");
    }
}

/// Which rule forbids that a task goes on after its end.
fn ended_rule(one: &Move, next: &Move) -> &'static str {
    let retried = next.attempt > one.attempt;
    if one.cause == Cause::Timeout && retried { "I7" } else { "I3" }
}

/// A percentage that was told after the end.
fn percent(world: &World, judge: &mut Judge, task: u32, moves: &[Move]) {
    let (revision, stamp) = world.t.tasks[task as usize].percent;
    let before = moves.partition_point(|one| one.revision < revision);
    let Some(one) = before.checked_sub(1).map(|last| &moves[last]) else { return };
    let fits = one.status == TaskStatus::InProgress;
    if !fits && one.status.is_open() && !world.holes.spare(one.stamp.from, stamp.at) {
        judge.pass("I3");
        return;
    }
    if !fits
        && matches!(one.status, TaskStatus::Failed | TaskStatus::Canceled)
        && !world.holes.spare(one.stamp.from, stamp.at)
    {
        judge.pass("I3");
        return;
    }
    let what = || format!("{} was {} and reported progress", world.name(task), one.status.as_str());
    judge.expect("I3", fits, stamp.from, what, [one.stamp.place, stamp.place]);
}

/// A notice that was claimed after the end.
fn claims(world: &World, judge: &mut Judge, task: u32, moves: &[Move]) {
    for claim in world.claims_of(task) {
        let before = moves.partition_point(|one| one.revision < claim.revision);
        let Some(one) = before.checked_sub(1).map(|last| &moves[last]).filter(|one| !one.status.is_open())
        else {
            continue;
        };
        let sure = one.status == TaskStatus::Succeeded
            || claim.revision == one.revision + 1
            || world.holes.spare(one.stamp.from, claim.stamp.at);
        if !sure {
            judge.pass("I3");
            continue;
        }
        let rule = if one.cause == Cause::Timeout { "I7" } else { "I3" };
        judge.check(rule);
        let what = || format!("{} was {} and its notice was claimed", world.name(task), one.status.as_str());
        judge.breach(rule, claim.stamp.from, what, [one.stamp.place, claim.stamp.place]);
    }
}
