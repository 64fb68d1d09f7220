//! Mistakes of sums and of calls: expansions, counts, parts, tokens, completion.

use otaria_history::record::Fact;

use super::{SECOND, Spoil, is_open, of_write};
use crate::history::{Chance, Draft, History};

pub(super) const KINDS: &[(&str, &str, Spoil)] = &[
    ("an expansion whose sum is off by one", "I4", sum),
    ("a task more than were made", "I4", one_more),
    ("a task that was never made", "I4", one_less),
    ("a device twice in a job", "I4", made_twice),
    ("a line fewer than names", "I4", names),
    ("a count off by one", "I9", count),
    ("a count that an audit found wrong", "I9", audit),
    ("a part that is one too large", "I11", part),
    ("a part of nobody", "I11", nobody),
    ("a part that the expansion does not keep", "I11", part_expanded),
    ("a push to a device outside the job", "I11", outsider),
    ("a task for a device that the list does not name", "I11", unnamed),
    ("another body with the same token", "I12", body),
    ("two jobs with one token", "I12", token),
    ("a repeated call that is refused", "I12", refused),
    ("a job completed with an open task", "I22", completed),
    ("a job completed before its expansion", "I22", unexpanded),
];

fn an_expansion(history: &History, chance: &mut Chance) -> Option<usize> {
    history.line(chance, |line| match line.fact {
        Fact::Expanded { job, complete, .. } => {
            complete && history.job(job).is_some_and(|facts| facts.job_kind != "DYNAMIC")
        }
        _ => false,
    })
}

fn sum(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = an_expansion(history, chance) else { return false };
    let Fact::Expanded { lines, tasks, skipped, rejected, .. } = &mut history.lines[line].fact else {
        return false;
    };
    match chance.below(4) {
        0 => *lines += 1,
        1 => *tasks += 1,
        2 => *skipped += 1,
        _ => *rejected += 1,
    }
    true
}

fn one_more(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = an_expansion(history, chance) else { return false };
    let Fact::Expanded { lines, tasks, .. } = &mut history.lines[line].fact else { return false };
    *lines += 1;
    *tasks += 1;
    true
}

fn one_less(history: &mut History, chance: &mut Chance) -> bool {
    let dynamic: Vec<i64> =
        history.jobs().iter().filter(|job| job.job_kind == "DYNAMIC").map(|job| job.job).collect();
    let Some((step, _)) =
        history.step(chance, |step, _| step.previous.is_none() && !dynamic.contains(&step.job))
    else {
        return false;
    };
    let (job, device) = (step.job, step.device);
    history.lines.retain(|line| !matches!(line.fact, Fact::Task { job: j, device: d, .. } | Fact::Claimed { job: j, device: d, .. } | Fact::Settled { job: j, device: d, .. } if (j, d) == (job, device)));
    true
}

fn made_twice(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, _)) = history.step(chance, |step, _| step.previous.is_none()) else { return false };
    let mut more = history.lines[step.line].clone();
    let Fact::Task { revision, .. } = &mut more.fact else { return false };
    *revision += 50;
    more.from += SECOND;
    more.at += SECOND;
    history.lines.push(more);
    true
}

fn names(history: &mut History, chance: &mut Chance) -> bool {
    let named: Vec<i64> =
        history.jobs().iter().filter(|job| !job.names.is_empty()).map(|job| job.job).collect();
    let Some(job) = chance.pick(&named).copied() else { return false };
    history.job_mut(job).unwrap().names.push("one-more".into());
    true
}

fn count(history: &mut History, chance: &mut Chance) -> bool {
    let counted: Vec<i64> = history.jobs().iter().map(|job| job.job).collect();
    let fits = |line: &Draft| matches!(&line.fact, Fact::Counts { job, by_status, .. } if counted.contains(job) && by_status.iter().any(|n| *n > 0));
    let Some(line) = history.line(chance, fits) else { return false };
    let Fact::Counts { by_status, .. } = &mut history.lines[line].fact else { return false };
    let some = by_status.iter().position(|n| *n > 0).unwrap();
    match chance.below(3) {
        0 => by_status[some] -= 1,
        1 => by_status[some] += 1,
        _ => {
            by_status[some] -= 1;
            by_status[(some + 1) % 7] += 1;
        }
    }
    // What is read while tasks move may be either; this is read a good while later, when nothing does.
    let Fact::Counts { job: of, .. } = history.lines[line].fact else { return false };
    let moving = |line: &Draft, at: u64| match &line.fact {
        Fact::Task { job, .. } => *job == of && line.from <= at + 300_000 && at <= line.at + 300_000,
        _ => false,
    };
    let at = history.lines[line].from;
    !history.lines.iter().any(|other| moving(other, at))
}

fn audit(history: &mut History, chance: &mut Chance) -> bool {
    let jobs = history.jobs();
    let Some(job) = chance.pick(&jobs) else { return false };
    let miscounted = Fact::Miscounted { job: job.job, status: "QUEUED".into(), kept: 3, counted: 4 };
    let at = history.end - SECOND;
    history.add(at, miscounted);
    true
}

fn a_part(history: &History, chance: &mut Chance) -> Option<i64> {
    let parts: Vec<i64> = history.jobs().iter().filter(|job| job.gray.is_some()).map(|job| job.job).collect();
    chance.pick(&parts).copied()
}

fn part(history: &mut History, chance: &mut Chance) -> bool {
    let Some(job) = a_part(history, chance) else { return false };
    let gray = history.job_mut(job).unwrap().gray.as_mut().unwrap();
    if chance.below(2) == 0 {
        gray.2 += 1
    } else {
        gray.0 = "33.4567890123".into()
    };
    true
}

fn nobody(history: &mut History, chance: &mut Chance) -> bool {
    let Some(job) = a_part(history, chance) else { return false };
    history.job_mut(job).unwrap().gray = Some(("0.01".into(), 10, 0));
    true
}

fn part_expanded(history: &mut History, chance: &mut Chance) -> bool {
    let Some(job) = a_part(history, chance) else { return false };
    let gray = history.job_mut(job).unwrap().gray.as_mut().unwrap();
    *gray = ("50".into(), gray.1 + 100, (gray.1 + 100) / 2);
    true
}

fn outsider(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let (of, ..) = of_write(&history.lines[write]);
    let mut more = history.lines[write].clone();
    let Fact::Settled { device, job, attempt, shard, epoch, .. } = &mut more.fact else { return false };
    *device += 5_000;
    let claim = Fact::Claimed {
        job: *job,
        device: *device,
        attempt: *attempt,
        revision: 2,
        shard: *shard,
        epoch: *epoch,
        member: 1,
    };
    let at = more.from - 1_000;
    history.lines.push(more);
    history.add(at, claim);
    history.job(of).is_some()
}

fn unnamed(history: &mut History, chance: &mut Chance) -> bool {
    let named: Vec<i64> =
        history.jobs().iter().filter(|job| !job.names.is_empty()).map(|job| job.job).collect();
    let Some(job) = chance.pick(&named).copied() else { return false };
    let has_task: Vec<String> = history
        .lives()
        .values()
        .flatten()
        .filter(|step| step.job == job)
        .map(|step| step.name.clone())
        .collect();
    let Some(device) = chance.pick(&has_task).cloned() else { return false };
    let facts = history.job_mut(job).unwrap();
    facts.names.iter_mut().filter(|name| **name == device).for_each(|name| *name = "somebody-else".into());
    true
}

fn body(history: &mut History, chance: &mut Chance) -> bool {
    let jobs = history.jobs();
    let Some(job) = chance.pick(&jobs) else { return false };
    let at = history.end - SECOND;
    history.add(at, Fact::JobAgain { job: job.job, digest: "0123".repeat(16) });
    true
}

fn token(history: &mut History, chance: &mut Chance) -> bool {
    let jobs = history.jobs();
    let first = jobs.iter().find(|job| job.token.is_some()).cloned();
    let Some(first) = first.or_else(|| jobs.first().cloned()) else { return false };
    let others: Vec<i64> = jobs
        .iter()
        .filter(|job| job.job != first.job && job.account == first.account)
        .map(|job| job.job)
        .collect();
    let Some(other) = chance.pick(&others).copied() else { return false };
    let token = first.token.clone().unwrap_or_else(|| "some-token".into());
    history.job_mut(first.job).unwrap().token = Some(token.clone());
    history.job_mut(other).unwrap().token = Some(token);
    true
}

fn refused(history: &mut History, chance: &mut Chance) -> bool {
    let jobs = history.jobs();
    let Some(job) = chance.pick(&jobs).cloned() else { return false };
    history.job_mut(job.job).unwrap().token.get_or_insert_with(|| "a-token".into());
    let token = history.job(job.job).unwrap().token;
    let at = history.end - SECOND;
    history.add(at, Fact::TokenRefused { account: job.account, token, digest: job.digest });
    true
}

fn completed(history: &mut History, chance: &mut Chance) -> bool {
    let found = history.step(chance, |step, next| {
        next.is_some_and(|next| {
            !is_open(&next.status) && history.lines[step.line].at + 4 * SECOND < history.lines[next.line].from
        }) && is_open(&step.status)
    });
    let Some((step, Some(next))) = found else { return false };
    let at = history.lines[next.line].from - 2 * SECOND;
    history.add(at, Fact::JobMoved { job: step.job, to: "COMPLETED".into() });
    true
}

fn unexpanded(history: &mut History, chance: &mut Chance) -> bool {
    let is_end = |line: &Draft| matches!(&line.fact, Fact::JobMoved { to, .. } if to == "COMPLETED");
    let Some(line) = history.line(chance, is_end) else { return false };
    let Fact::JobMoved { job: of, .. } = history.lines[line].fact else { return false };
    if history.job(of).is_none() {
        return false;
    }
    history
        .lines
        .retain(|line| !matches!(line.fact, Fact::Expanded { job, complete: true, .. } if job == of));
    true
}
