//! Mistakes of sending: pace, fences, times, epochs, confirmations, topics.

use otaria_history::record::{Fact, Sight};

use super::{SECOND, Spoil, is_notice, of_write};
use crate::history::{Chance, History};

pub(super) const KINDS: &[(&str, &str, Spoil)] = &[
    ("notices beyond the limit in one minute", "I1", burst),
    ("a write shifted into the minute before", "I1", shifted),
    ("a limit that was lower than what went out", "I1", lower_limit),
    ("devices see more than the limit in a minute", "I1", arrivals),
    ("a write after the fence", "I5", after_fence),
    ("a claim during a pause", "I5", claim_in_pause),
    ("a claim of what is being cancelled", "I5", claim_of_cancelled),
    ("an untold notice arrives after the fence", "I5", arrival_after_fence),
    ("a write before ScheduleTime", "I6", before_schedule),
    ("a write after ScheduleFinishTime", "I6", after_finish),
    ("a write under an older epoch after the lease", "I13", old_epoch),
    ("a write under an older epoch after it was raised", "I13", raised),
    ("a claim under an older epoch", "I13", old_claim),
    ("an epoch with two owners", "I13", two_owners),
    ("a claim under another member's epoch", "I13", foreign_epoch),
    ("a push with NeedPush=false", "I15", no_push),
    ("a push before the confirmation", "I15", before_confirm),
    ("an eleventh push", "I16", eleventh),
    ("a topic of another device", "I17", topic),
    ("a notice with another version", "I17", version),
    ("a write that never arrived", "arrived", lost),
    ("a notice that nobody wrote", "arrived", untold),
    ("a notice that arrived before it was written", "arrived", too_soon),
];

fn burst(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = history.a_write(chance, |_| true) else { return false };
    let draft = history.lines[line].clone();
    let (job, ..) = of_write(&draft);
    let Some(facts) = history.job(job).filter(|facts| facts.per_minute <= 100) else { return false };
    for n in 0..u64::from(facts.per_minute) + 1 {
        let mut more = draft.clone();
        more.from += n * 50_000;
        more.at += n * 50_000;
        history.lines.push(more);
    }
    true
}

fn shifted(history: &mut History, chance: &mut Chance) -> bool {
    // A job whose limit is reached: its next notice comes a minute early.
    let writes = history.written();
    let mut found = Vec::new();
    for facts in history.jobs() {
        let of_job: Vec<usize> =
            writes.iter().copied().filter(|n| of_write(&history.lines[*n]).0 == facts.job).collect();
        let limit = facts.per_minute as usize;
        for (n, line) in of_job.iter().enumerate().skip(limit) {
            let first = history.lines[of_job[n - limit]].clone();
            if history.lines[of_job[n - 1]].at - first.from < 58 * SECOND {
                found.push((*line, first.from + 30 * SECOND));
            }
        }
    }
    let Some((line, to)) = chance.pick(&found).copied() else { return false };
    history.shift(line, to);
    true
}

fn lower_limit(history: &mut History, chance: &mut Chance) -> bool {
    let mut found = Vec::new();
    for facts in history.jobs() {
        let changed = history
            .lines
            .iter()
            .any(|line| matches!(line.fact, Fact::JobChanged { job, .. } if job == facts.job));
        let writes: Vec<usize> =
            history.written().into_iter().filter(|n| of_write(&history.lines[*n]).0 == facts.job).collect();
        let most = writes.iter().map(|n| {
            let from = history.lines[*n].from;
            writes
                .iter()
                .filter(|m| history.lines[**m].from >= from && history.lines[**m].at < from + 59 * SECOND)
                .count()
        });
        let most = most.max().unwrap_or(0);
        if most > 1 && !changed {
            found.push((facts.job, most));
        }
    }
    let Some((job, most)) = chance.pick(&found).copied() else { return false };
    history.job_mut(job).unwrap().per_minute = most as u32 - 1;
    true
}

fn arrivals(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = history.a_write(chance, |_| true) else { return false };
    let (job, _, wire) = of_write(&history.lines[line]);
    let Some(facts) = history.job(job).filter(|facts| facts.per_minute <= 100) else { return false };
    let Some(seen) = history.seen.iter().find(|seen| is_notice(seen, wire)).cloned() else { return false };
    for n in 0..=u64::from(facts.per_minute) {
        let mut more = seen.clone();
        more.at += n * 10_000;
        history.seen.push(more);
    }
    true
}

fn after_fence(history: &mut History, chance: &mut Chance) -> bool {
    let fenced = history.line(chance, |line| matches!(line.fact, Fact::Fenced { .. }));
    let Some(fenced) = fenced else { return false };
    let Fact::Fenced { job: of, fence: raised } = history.lines[fenced].fact else { return false };
    let until = history.lines[fenced].at;
    let older = |line: &crate::history::Draft| matches!(line.fact, Fact::Settled { job, fence, .. } if job == of && fence < raised);
    let Some(write) = history.a_write(chance, older) else { return false };
    history.shift(write, until + SECOND + chance.below(5 * SECOND));
    true
}

fn claim_in_pause(history: &mut History, chance: &mut Chance) -> bool {
    let paused =
        |line: &crate::history::Draft| matches!(&line.fact, Fact::JobMoved { to, .. } if to == "PAUSED");
    let Some(pause) = history.line(chance, paused) else { return false };
    let (Fact::JobMoved { job: of, .. }, at) = (history.lines[pause].fact.clone(), history.lines[pause].at)
    else {
        return false;
    };
    let claim = |line: &crate::history::Draft| matches!(line.fact, Fact::Claimed { job, .. } if job == of);
    let Some(claim) = history.line(chance, claim) else { return false };
    history.shift(claim, at + SECOND);
    true
}

fn claim_of_cancelled(history: &mut History, chance: &mut Chance) -> bool {
    let step = history.step(chance, |step, next| {
        let codes = ["CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS"];
        let Some(code) = codes.iter().position(|code| *code == step.status) else { return false };
        next.is_some_and(|next| next.status == "CANCELED" && next.revision == step.revision + 1)
            && held(history, step.job, 1 << code).is_some_and(|at| history.lines[step.line].at < at)
    });
    let Some((step, Some(next))) = step else { return false };
    let at = held(history, step.job, i64::MAX).unwrap_or(0) + SECOND;
    let line = next.line;
    let Fact::Task { revision, .. } = &mut history.lines[line].fact else { return false };
    *revision += 1;
    history.shift(line, at + 2 * SECOND);
    let claim = Fact::Claimed {
        job: step.job,
        device: step.device,
        attempt: step.attempt.max(1),
        revision: step.revision + 1,
        shard: (step.device >> 48) as u8,
        epoch: 99,
        member: 1,
    };
    history.add(at, claim);
    true
}

/// When tasks in one of these statuses were held.
fn held(history: &History, of: i64, wanted: i64) -> Option<u64> {
    history.lines.iter().find_map(|line| match line.fact {
        Fact::Held { job, mask, .. } if job == of && mask & wanted != 0 => Some(line.at),
        _ => None,
    })
}

fn arrival_after_fence(history: &mut History, chance: &mut Chance) -> bool {
    let fenced = history.line(chance, |line| matches!(line.fact, Fact::Fenced { .. }));
    let Some(fenced) = fenced else { return false };
    let Fact::Fenced { job: of, .. } = history.lines[fenced].fact else { return false };
    let until = history.lines[fenced].at;
    let Some(write) = history.a_write(chance, |line| of_write(line).0 == of) else { return false };
    let wire = of_write(&history.lines[write]).2;
    let Some(mut seen) = history.seen.iter().find(|seen| is_notice(seen, wire)).cloned() else {
        return false;
    };
    seen.at = until + 5 * SECOND;
    let Sight::Notice { id, .. } = &mut seen.what else { return false };
    *id += 1_000_000;
    history.seen.push(seen);
    true
}

fn before_schedule(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let (job, ..) = of_write(&history.lines[write]);
    let at = history.lines[write].at;
    history.job_mut(job).unwrap().schedule_us = Some(at + 1 + chance.below(SECOND));
    true
}

fn after_finish(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let (job, ..) = of_write(&history.lines[write]);
    let from = history.lines[write].from;
    history.job_mut(job).unwrap().finish_us = Some(from - chance.below(2));
    true
}

fn old_epoch(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let Fact::Settled { shard, epoch, .. } = history.lines[write].fact else { return false };
    let at = history.lines[write].from - 2 * SECOND;
    history.add(at, Fact::Lease { shard, epoch: epoch + 1, member: 1234 });
    true
}

fn raised(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let Fact::Settled { shard, epoch, .. } = history.lines[write].fact else { return false };
    let at = history.lines[write].from - SECOND;
    history.add(at, Fact::EpochRaised { shard, epoch: epoch + 1 });
    true
}

fn old_claim(history: &mut History, chance: &mut Chance) -> bool {
    let claim = history.line(chance, |line| matches!(line.fact, Fact::Claimed { .. }));
    let Some(claim) = claim else { return false };
    let Fact::Claimed { shard, epoch, .. } = history.lines[claim].fact else { return false };
    let at = history.lines[claim].from - SECOND;
    history.add(at, Fact::Lease { shard, epoch: epoch + 1, member: 1234 });
    true
}

fn two_owners(history: &mut History, chance: &mut Chance) -> bool {
    let lease = history.line(chance, |line| matches!(line.fact, Fact::Lease { .. }));
    let Some(lease) = lease else { return false };
    let Fact::Lease { shard, epoch, member } = history.lines[lease].fact else { return false };
    let at = history.lines[lease].at + SECOND;
    history.add(at, Fact::Lease { shard, epoch, member: member + 1 });
    true
}

fn foreign_epoch(history: &mut History, chance: &mut Chance) -> bool {
    let known: Vec<(u8, i64)> = history
        .lines
        .iter()
        .filter_map(|line| {
            if let Fact::Lease { shard, epoch, .. } = line.fact { Some((shard, epoch)) } else { None }
        })
        .collect();
    let fits = |line: &crate::history::Draft| matches!(line.fact, Fact::Claimed { shard, epoch, .. } if known.contains(&(shard, epoch)));
    let Some(claim) = history.line(chance, fits) else { return false };
    let Fact::Claimed { member, .. } = &mut history.lines[claim].fact else { return false };
    *member += 1;
    true
}

fn no_push(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let (job, ..) = of_write(&history.lines[write]);
    history.job_mut(job).unwrap().need_push = false;
    true
}

fn before_confirm(history: &mut History, chance: &mut Chance) -> bool {
    let step = history.step(chance, |step, next| {
        step.status == "CONFIRM" && next.is_some_and(|next| next.status == "QUEUED")
    });
    let Some((step, Some(next))) = step else { return false };
    let confirmed = history.lines[next.line].from;
    if confirmed - history.lines[step.line].at < 3 * SECOND {
        return false;
    }
    let mine = |line: &crate::history::Draft| of_write(line).0 == step.job && of_write(line).1 == step.device;
    let Some(write) = history.a_write(chance, mine) else { return false };
    history.shift(write, confirmed - SECOND);
    true
}

fn eleventh(history: &mut History, chance: &mut Chance) -> bool {
    let dynamic: Vec<i64> =
        history.jobs().iter().filter(|job| job.job_kind == "DYNAMIC").map(|job| job.job).collect();
    let Some(write) = history.a_write(chance, |line| dynamic.contains(&of_write(line).0)) else {
        return false;
    };
    let draft = history.lines[write].clone();
    let of = of_write(&draft);
    let there = history.written().into_iter().filter(|n| of_write(&history.lines[*n]) == of).count();
    for n in there..11 {
        let mut more = draft.clone();
        more.from += n as u64 * SECOND;
        more.at += n as u64 * SECOND;
        history.lines.push(more);
    }
    true
}

fn topic(history: &mut History, chance: &mut Chance) -> bool {
    let Some(seen) = history.sight(chance, |seen| matches!(seen.what, Sight::Notice { .. })) else {
        return false;
    };
    let Sight::Notice { strange_topic, .. } = &mut history.seen[seen].what else { return false };
    *strange_topic = Some("/ota/device/upgrade/other/device".into());
    true
}

fn version(history: &mut History, chance: &mut Chance) -> bool {
    let Some(seen) = history.sight(chance, |seen| matches!(seen.what, Sight::Notice { .. })) else {
        return false;
    };
    let Sight::Notice { version, .. } = &mut history.seen[seen].what else { return false };
    version.push_str("-other");
    true
}

fn lost(history: &mut History, chance: &mut Chance) -> bool {
    let mut found = Vec::new();
    for write in history.written() {
        let (_, _, wire) = of_write(&history.lines[write]);
        let at = history.lines[write].at;
        let Some(seen) = history.seen.iter().find(|seen| is_notice(seen, wire)) else { continue };
        let own = |other: &&otaria_history::record::Seen| {
            other.device == seen.device && other.product == seen.product
        };
        let breath = |other: &&otaria_history::record::Seen| {
            matches!(other.what, Sight::Online {} | Sight::Offline {})
        };
        let steady = history
            .seen
            .iter()
            .filter(own)
            .filter(breath)
            .all(|other| other.at + 15 * SECOND < at || other.at > at + 40 * SECOND);
        let goes_on = history.seen.iter().filter(own).any(|other| other.at > at + 40 * SECOND);
        if steady && goes_on {
            found.push((wire, seen.device.clone()));
        }
    }
    let Some((wire, device)) = chance.pick(&found).cloned() else { return false };
    history.seen.retain(|seen| !(is_notice(seen, wire) && seen.device == device));
    true
}

fn untold(history: &mut History, chance: &mut Chance) -> bool {
    let fenced: Vec<i64> = history
        .lines
        .iter()
        .filter_map(|line| if let Fact::Fenced { job, .. } = line.fact { Some(job) } else { None })
        .collect();
    let Some(write) = history.a_write(chance, |line| !fenced.contains(&of_write(line).0)) else {
        return false;
    };
    let wire = of_write(&history.lines[write]).2;
    let found = history.seen.iter().find(|seen| is_notice(seen, wire)).cloned();
    let Some(mut seen) = found else { return false };
    seen.at += 3 * SECOND;
    let Sight::Notice { id, .. } = &mut seen.what else { return false };
    *id += 5_000_000;
    history.seen.push(seen);
    true
}

fn too_soon(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let wire = of_write(&history.lines[write]).2;
    let first = history
        .written()
        .into_iter()
        .filter(|n| of_write(&history.lines[*n]).2 == wire)
        .map(|n| history.lines[n].from)
        .min();
    let Some(first) = first else { return false };
    let Some(seen) = history.seen.iter_mut().find(|seen| is_notice(seen, wire)) else { return false };
    seen.at = first - 3 * SECOND;
    true
}
