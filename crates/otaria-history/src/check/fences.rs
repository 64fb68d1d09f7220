//! I5, I6, I13: what stops a notice between its claim and its write.

use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;

use super::place::Stamp;
use super::tables::{Claim, JobRow};
use super::verdict::Judge;
use super::world::{Successors, World};

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    leases(world, judge);
    for job in world.jobs() {
        let row = &world.t.jobs[job as usize];
        let rank = |fence: u64| i64::try_from(fence).unwrap_or(i64::MAX);
        let fenced = row.fenced.iter().map(|(stamp, fence)| (rank(*fence), *stamp)).collect();
        let fenced = World::successors(fenced);
        let pauses = pauses(row);
        for task in world.tasks_of_job(job) {
            for write in world.writes_of(*task) {
                let fence = fenced.after(rank(write.fence));
                let late = fence.filter(|fence| world.before(*fence, write.stamp));
                let what = || {
                    format!(
                        "a notice to {} was written after the job's fence had risen above {}",
                        world.name(*task),
                        write.fence
                    )
                };
                let lines = late.map(|fence| fence.place).into_iter().chain([write.stamp.place]);
                judge.expect("I5", late.is_none(), write.stamp.from, what, lines);
                schedule(world, judge, row, *task, write.stamp);
            }
            for claim in world.claims_of(*task) {
                paused(world, judge, *task, claim, &pauses);
                held(world, judge, row, *task, claim);
            }
        }
    }
}

fn schedule(world: &World, judge: &mut Judge, row: &JobRow, task: u32, write: Stamp) {
    let Some((made, job)) = &row.made else {
        judge.pass("I6");
        return;
    };
    let lines = [made.place, write.place];
    let early = job.schedule_us.is_some_and(|start| write.at < start);
    let late = job.finish_us.is_some_and(|finish| write.from >= finish);
    let what = || {
        let (when, instant) = if early {
            ("before ScheduleTime", job.schedule_us)
        } else {
            ("after ScheduleFinishTime", job.finish_us)
        };
        format!("a notice to {} was written {when} {}", world.name(task), instant.unwrap_or(0))
    };
    judge.expect("I6", !early && !late, write.from, what, lines);
}

/// When a job was paused: from the pause to what ended it.
fn pauses(row: &JobRow) -> Vec<(Stamp, Option<Stamp>)> {
    let mut pauses = Vec::new();
    for (n, (stamp, to)) in row.moved.iter().enumerate() {
        if *to == JobStatus::Paused {
            pauses.push((*stamp, row.moved.get(n + 1).map(|(next, _)| *next)));
        }
    }
    pauses
}

/// Nothing is claimed of a job that is paused.
fn paused(world: &World, judge: &mut Judge, task: u32, claim: &Claim, pauses: &[(Stamp, Option<Stamp>)]) {
    for (pause, end) in pauses {
        let within =
            world.before(*pause, claim.stamp) && end.is_none_or(|end| world.before(claim.stamp, end));
        if within && !world.holes.spare(pause.from, claim.stamp.at) && !world.options.calls_are_kept {
            judge.pass("I5");
            continue;
        }
        let what = || format!("a notice to {} was claimed while its job was paused", world.name(task));
        let lines = [pause.place, claim.stamp.place].into_iter().chain(end.map(|end| end.place));
        judge.expect("I5", !within, claim.stamp.from, what, lines);
    }
}

/// A task that was meant by a cancellation is not claimed any more, unless a report took it out of it.
fn held(world: &World, judge: &mut Judge, row: &JobRow, task: u32, claim: &Claim) {
    if row.held.iter().all(|(_, _, mask)| *mask == 0) {
        return;
    }
    let moves = world.moves_of(task);
    let before = moves.partition_point(|one| one.revision < claim.revision);
    let Some(one) = before.checked_sub(1).map(|last| &moves[last]) else { return };
    let sure = claim.revision == one.revision + 1 || world.holes.spare(one.stamp.from, claim.stamp.at);
    let means = |mask: i64, status: TaskStatus| status.is_open() && mask & (1 << status.code()) != 0;
    for (held, _, mask) in row.held.iter().filter(|(_, _, mask)| means(*mask, one.status)) {
        let meant = world.before(one.stamp, *held) && world.before(*held, claim.stamp);
        if meant && !sure {
            judge.pass("I5");
            continue;
        }
        let what = || {
            let status = one.status.as_str();
            format!(
                "{} was {status} when the mask {mask} was cancelled, and its notice was claimed later",
                world.name(task)
            )
        };
        let lines = [one.stamp.place, held.place, claim.stamp.place];
        judge.expect("I5", !meant, claim.stamp.from, what, lines);
    }
}

/// I13: epochs of each shard, who has them, and who claims and writes under them.
fn leases(world: &World, judge: &mut Judge) {
    let mut taken: Vec<Successors> = Vec::new();
    let mut raised: Vec<Successors> = Vec::new();
    for shard in 0..=u8::MAX {
        let leases = world.t.leases.get(&shard).map_or(&[][..], Vec::as_slice);
        taken.push(World::successors(leases.iter().map(|(stamp, epoch, _)| (*epoch, *stamp)).collect()));
        let known = world.t.raised.get(&shard).map_or(&[][..], Vec::as_slice);
        raised.push(World::successors(known.iter().map(|(stamp, epoch)| (*epoch, *stamp)).collect()));
        owners(world, judge, shard);
    }
    for task in world.tasks() {
        for claim in world.claims_of(task) {
            let shard = usize::from(claim.shard);
            let later = taken[shard].after(claim.epoch).filter(|lease| world.before(*lease, claim.stamp));
            let what = || {
                format!(
                    "{} was claimed under epoch {} after a greater one was taken",
                    world.name(task),
                    claim.epoch
                )
            };
            let lines = later.map(|lease| lease.place).into_iter().chain([claim.stamp.place]);
            judge.expect("I13", later.is_none(), claim.stamp.from, what, lines);
            let leases = world.t.leases.get(&claim.shard).map_or(&[][..], Vec::as_slice);
            let lease = leases.iter().find(|(_, epoch, _)| *epoch == claim.epoch);
            if let Some((lease, _, member)) = lease.filter(|(_, _, member)| *member != claim.member) {
                let what = || {
                    format!(
                        "member {} claimed {} under epoch {} of member {member}",
                        claim.member,
                        world.name(task),
                        claim.epoch
                    )
                };
                judge.breach("I13", claim.stamp.from, what, [lease.place, claim.stamp.place]);
            }
        }
        for write in world.writes_of(task) {
            let shard = usize::from(write.shard);
            let known = [taken[shard].after(write.epoch), raised[shard].after(write.epoch)];
            let late = known.into_iter().flatten().filter(|line| world.before(*line, write.stamp));
            let late = late.min_by_key(|line| line.at);
            let what = || {
                format!(
                    "a notice to {} was written under epoch {} after a greater one was in force",
                    world.name(task),
                    write.epoch
                )
            };
            let lines = late.map(|line| line.place).into_iter().chain([write.stamp.place]);
            judge.expect("I13", late.is_none(), write.stamp.from, what, lines);
        }
    }
}

/// An epoch has one owner, and a greater one is taken later.
fn owners(world: &World, judge: &mut Judge, shard: u8) {
    let Some(leases) = world.t.leases.get(&shard) else { return };
    let mut order = leases.clone();
    order.sort_by_key(|(stamp, epoch, _)| (*epoch, stamp.at));
    for pair in order.windows(2) {
        let [(one, epoch, member), (next, greater, other)] = pair else { continue };
        let twice = epoch == greater && member != other;
        let turned = epoch < greater && world.before(*next, *one);
        let what = || match twice {
            true => format!("epoch {epoch} of shard {shard} is member {member}'s and member {other}'s"),
            false => format!("epoch {greater} of shard {shard} was taken before epoch {epoch}"),
        };
        judge.expect("I13", !twice && !turned, next.from, what, [one.place, next.place]);
    }
}
