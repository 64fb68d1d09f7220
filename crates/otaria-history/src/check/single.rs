//! I2 and I10: what tasks of several jobs do to each other at one device.

use otaria_core::task::TaskStatus;

use super::place::Place;
use super::tables::{Cause, Move};
use super::verdict::Judge;
use super::world::{Span, World};
use crate::record::JobMade;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    for device in 0..world.t.devices.len() as u32 {
        let tasks = world.tasks_of_device(device);
        for (n, one) in tasks.iter().enumerate() {
            for other in &tasks[n + 1..] {
                one_open(world, judge, *one, *other);
            }
            for moved in world.moves_of(*one) {
                if moved.previous.is_none() && moved.status == TaskStatus::Failed {
                    busy(world, judge, *one, moved, tasks);
                }
                if moved.status == TaskStatus::Canceled && moved.cause == Cause::Overwritten {
                    replaced(world, judge, *one, moved, tasks);
                }
            }
        }
        if tasks.len() == 1 {
            judge.check("I2");
        }
    }
}

/// Whether a job's task keeps another job's task from being open at the same device.
fn excludes(one: &JobMade, other: &JobMade) -> bool {
    one.module == other.module || !(one.multi_module && other.multi_module)
}

fn one_open(world: &World, judge: &mut Judge, one: u32, other: u32) {
    let (Some(a), Some(b)) = (world.made(one), world.made(other)) else {
        judge.pass("I2");
        return;
    };
    if !excludes(a, b) {
        return;
    }
    let open =
        |task| world.life(task).into_iter().filter(|span| span.status.is_open()).collect::<Vec<Span>>();
    let (first, second) = (open(one), open(other));
    let mut both: Option<(u64, [Place; 2])> = None;
    for a in &first {
        for b in &second {
            let skew = world.between(a.since.place, b.since.place);
            let from = a.sure.0.max(b.sure.0);
            if from.saturating_add(skew) < a.sure.1.min(b.sure.1) && both.is_none_or(|(at, _)| from < at) {
                both = Some((from, [a.since.place, b.since.place]));
            }
        }
    }
    let (at, lines) = both.unwrap_or_default();
    let what = || format!("{} and {} were open at the same time", world.name(one), world.name(other));
    judge.expect("I2", both.is_none(), at, what, lines);
}

/// A task that failed at once, since its device had another one.
fn busy(world: &World, judge: &mut Judge, task: u32, made: &Move, tasks: &[u32]) {
    let Some(job) = world.made(task) else { return };
    // What was open before the record began is not in it.
    if !world.from_the_start || !world.holes.spare(0, made.stamp.at) {
        judge.pass("I10");
        return;
    }
    let mut lines = vec![made.stamp.place];
    let mut in_the_way = false;
    for other in tasks.iter().filter(|other| **other != task) {
        let Some(beside) = world.made(*other).filter(|beside| excludes(job, beside)) else { continue };
        for span in world.life(*other) {
            let skew = world.between(span.since.place, made.stamp.place);
            let there = span.maybe.0 <= made.stamp.at.saturating_add(skew)
                && made.stamp.from <= span.maybe.1.saturating_add(skew);
            if there && span.status.is_open() {
                let makes_room = replaces(job, beside) && span.status != TaskStatus::InProgress;
                in_the_way |= !makes_room;
                lines.push(span.since.place);
            }
        }
    }
    let what = || format!("{} failed as busy, and nothing was in its way", world.name(task));
    judge.expect("I10", in_the_way, made.stamp.from, what, lines);
}

/// Whether a later job takes the place of an earlier one's task that is not in progress.
fn replaces(later: &JobMade, earlier: &JobMade) -> bool {
    let same_module = later.multi_module && later.module == earlier.module;
    let among_dynamic = later.job_kind == "DYNAMIC" && earlier.job_kind == "DYNAMIC";
    later.overwrite == 2 || same_module || among_dynamic
}

/// A task that a later job replaced.
fn replaced(world: &World, judge: &mut Judge, task: u32, gone: &Move, tasks: &[u32]) {
    let lines = [gone.stamp.place];
    let was_running = gone.previous == Some(TaskStatus::InProgress);
    let what = || format!("{} was IN_PROGRESS and was replaced", world.name(task));
    judge.expect("I10", !was_running, gone.stamp.from, what, lines);
    let Some(earlier) = world.made(task) else { return };
    if !world.holes.spare(gone.stamp.from, gone.stamp.at) {
        judge.pass("I10");
        return;
    }
    let mut beside = Vec::new();
    let mut by = false;
    for other in tasks.iter().filter(|other| **other != task) {
        let made = world.moves_of(*other).iter().find(|one| one.previous.is_none());
        let Some(made) = made else { continue };
        // Both are told of by one transaction.
        if world.before(made.stamp, gone.stamp) || world.before(gone.stamp, made.stamp) {
            continue;
        }
        beside.push(made.stamp.place);
        by |= world.made(*other).is_none_or(|later| replaces(later, earlier)) && made.status.is_open();
    }
    let what = || format!("{} was replaced, and no job did so that may", world.name(task));
    judge.expect("I10", by, gone.stamp.from, what, lines.into_iter().chain(beside));
}
