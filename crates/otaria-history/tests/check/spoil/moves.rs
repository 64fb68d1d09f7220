//! Mistakes of a task's life: ends that are none, offers, timeouts, successes.

use otaria_history::record::{Fact, Sight};

use super::{SECOND, Spoil, is_open, of_write};
use crate::history::{Chance, Draft, History};

pub(super) const KINDS: &[(&str, &str, Spoil)] = &[
    ("a terminal task is open again", "I3", reopened),
    ("a succeeded task fails", "I3", fails_after_all),
    ("progress after the end", "I3", progress_after),
    ("a claim after the end", "I3", claim_after),
    ("a move that the table does not have", "I3", no_such_move),
    ("one offer too many", "I7", too_many),
    ("a retry before its interval", "I7", early_retry),
    ("a retry without a failure", "I7", no_failure),
    ("a retry after the timeout", "I7", after_timeout),
    ("a notice that nobody claimed", "I7", unclaimed),
    ("two wire ids for one offer", "I7", two_wires),
    ("a timeout that comes early", "I8", early_timeout),
    ("a timeout that was moved", "I8", moved_timeout),
    ("a timeout without progress", "I8", no_progress),
    ("a success without its inform in the devices' record", "I14", not_informed),
    ("a success without its report in the servers' record", "I14", not_reported),
    ("a success on another version", "I14", other_version),
    ("two moves under one revision", "order", twice),
    ("a move that nobody told", "order", missing),
    ("revisions against the order of time", "order", backwards),
];

fn reopened(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, _)) = history.step(chance, |step, next| !is_open(&step.status) && next.is_none()) else {
        return false;
    };
    let at = history.lines[step.line].at + SECOND;
    let fact = history.next(&step, "QUEUED", None);
    history.add(at, fact);
    true
}

fn fails_after_all(history: &mut History, chance: &mut Chance) -> bool {
    let Some((mut step, _)) = history.step(chance, |step, _| step.status == "SUCCEEDED") else {
        return false;
    };
    let at = history.lines[step.line].at + SECOND;
    step.status = "IN_PROGRESS".into();
    let fact = history.next(&step, "FAILED", Some("the device reported -1: update failed"));
    history.add(at, fact);
    true
}

fn progress_after(history: &mut History, chance: &mut Chance) -> bool {
    let Some((mut step, _)) = history.step(chance, |step, next| !is_open(&step.status) && next.is_none())
    else {
        return false;
    };
    let at = history.lines[step.line].at + SECOND;
    step.status = "IN_PROGRESS".into();
    let mut fact = history.next(&step, "IN_PROGRESS", None);
    if let Fact::Task { percent, .. } = &mut fact {
        *percent = Some(70);
    }
    history.add(at, fact);
    true
}

fn claim_after(history: &mut History, chance: &mut Chance) -> bool {
    let ended = |step: &super::Step, next: Option<&super::Step>| {
        let timed_out = matches!(&history.lines[step.line].fact, Fact::Task { desc: Some(desc), .. } if desc.contains("TimeoutInMinutes"));
        !is_open(&step.status) && next.is_none() && !timed_out
    };
    let Some((step, _)) = history.step(chance, ended) else { return false };
    let at = history.lines[step.line].at + SECOND;
    let (attempt, shard) = (step.attempt.max(1), (step.device >> 48) as u8);
    let (job, device, revision) = (step.job, step.device, step.revision + 1);
    history.add(at, Fact::Claimed { job, device, attempt, revision, shard, epoch: 99, member: 1 });
    true
}

fn no_such_move(history: &mut History, chance: &mut Chance) -> bool {
    let Some((_, Some(next))) = history.step(chance, |step, next| step.status == "QUEUED" && next.is_some())
    else {
        return false;
    };
    let Fact::Task { status, .. } = &mut history.lines[next.line].fact else { return false };
    *status = "IN_PROGRESS".into();
    true
}

fn too_many(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = history.line(chance, |line| matches!(line.fact, Fact::Claimed { .. })) else {
        return false;
    };
    let Fact::Claimed { job, attempt, .. } = &mut history.lines[line].fact else { return false };
    let (job, raised) = (*job, attempt);
    *raised += 5;
    history.job(job).is_some_and(|facts| facts.retry.is_none_or(|(count, _)| count < 5))
}

/// The step that offers a task once more after a failure.
fn a_retry(history: &History, chance: &mut Chance) -> Option<(super::Step, super::Step)> {
    let found = history.step(chance, |step, next| {
        step.attempt > 0
            && is_open(&step.status)
            && next.is_some_and(|next| next.attempt > step.attempt && is_open(&next.status))
    });
    found.and_then(|(step, next)| Some((step, next?)))
}

fn early_retry(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, next)) = a_retry(history, chance) else { return false };
    let Some((_, seconds)) = history.job(step.job).and_then(|facts| facts.retry) else { return false };
    let since = history.lines[step.line].from;
    let failure = history.lines.iter().filter(|line| {
        matches!(line.fact, Fact::Report { device, step: Some(code), .. } if device == step.device && code < 0)
            && line.from >= since
    });
    let Some(failed) = failure.map(|line| line.at).min() else { return false };
    if seconds < 5 {
        return false;
    }
    let to = failed + seconds * SECOND / 2;
    history.shift(next.line, to);
    for line in 0..history.lines.len() {
        let mine = matches!(history.lines[line].fact, Fact::Claimed { job, device, attempt, .. } if (job, device, attempt) == (step.job, step.device, next.attempt));
        if mine {
            history.shift(line, to);
        }
    }
    true
}

fn no_failure(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, _)) = a_retry(history, chance) else { return false };
    history.lines.retain(|line| !matches!(line.fact, Fact::Report { device, step: Some(code), .. } if device == step.device && code < 0));
    true
}

fn after_timeout(history: &mut History, chance: &mut Chance) -> bool {
    let timed_out = |step: &super::Step, next: Option<&super::Step>| {
        next.is_none()
            && matches!(&history.lines[step.line].fact, Fact::Task { desc: Some(desc), .. } if desc.contains("TimeoutInMinutes"))
    };
    let Some((step, _)) = history.step(chance, timed_out) else { return false };
    let at = history.lines[step.line].at + SECOND;
    let mut fact = history.next(&step, "NOTIFIED", None);
    if let Fact::Task { attempt, .. } = &mut fact {
        *attempt += 1;
    }
    history.add(at, fact);
    true
}

fn unclaimed(history: &mut History, chance: &mut Chance) -> bool {
    let Some(write) = history.a_write(chance, |_| true) else { return false };
    let (of_job, of_device, _) = of_write(&history.lines[write]);
    history.lines.retain(|line| !matches!(line.fact, Fact::Claimed { job, device, .. } if (job, device) == (of_job, of_device)));
    true
}

fn two_wires(history: &mut History, chance: &mut Chance) -> bool {
    let again: Vec<(i64, i64)> = history
        .lines
        .iter()
        .filter_map(|line| {
            if let Fact::Reupgraded { job, device, .. } = line.fact { Some((job, device)) } else { None }
        })
        .collect();
    let fresh = |line: &Draft| !again.contains(&(of_write(line).0, of_write(line).1));
    let Some(write) = history.a_write(chance, fresh) else { return false };
    let mut more = history.lines[write].clone();
    if let Fact::Settled { wire_id, .. } = &mut more.fact {
        *wire_id += 77;
    }
    more.from += SECOND;
    more.at += SECOND;
    history.lines.push(more);
    true
}

fn a_timeout(history: &History, chance: &mut Chance) -> Option<usize> {
    history.line(chance, |line| {
        matches!(&line.fact, Fact::Task { status, desc: Some(desc), .. } if status == "FAILED" && desc.contains("TimeoutInMinutes"))
    })
}

fn early_timeout(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = a_timeout(history, chance) else { return false };
    let from = history.lines[line].from;
    history.shift(line, from - 20 * SECOND);
    true
}

fn moved_timeout(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = a_timeout(history, chance) else { return false };
    let from = history.lines[line].from;
    history.shift(line, from + 100 * SECOND);
    history.end = history.end.max(from + 200 * SECOND);
    true
}

fn no_progress(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = a_timeout(history, chance) else { return false };
    let Fact::Task { previous, .. } = &mut history.lines[line].fact else { return false };
    *previous = Some("NOTIFIED".into());
    true
}

/// A success of a device that has a record which goes on after it.
fn a_success(history: &History, chance: &mut Chance) -> Option<(super::Step, String, u64)> {
    let last = history.seen.iter().map(|seen| seen.at).max()?;
    let (step, _) = history.step(chance, |step, _| {
        let at = history.lines[step.line].at;
        step.status == "SUCCEEDED"
            && at + 2 * SECOND < last
            && history.seen.iter().any(|seen| seen.device == step.name && seen.at + 2 * SECOND < at)
    })?;
    let dest = history.job(step.job)?.dest_version;
    let at = history.lines[step.line].at;
    Some((step, dest, at))
}

fn not_informed(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, dest, _)) = a_success(history, chance) else { return false };
    history.seen.retain(|seen| {
        !(seen.device == step.name && matches!(&seen.what, Sight::Inform { version, .. } if *version == dest))
    });
    true
}

fn not_reported(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, dest, _)) = a_success(history, chance) else { return false };
    history.lines.retain(|line| !matches!(&line.fact, Fact::Report { device, version: Some(version), .. } if *device == step.device && *version == dest));
    true
}

fn other_version(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, dest, _)) = a_success(history, chance) else { return false };
    for seen in history.seen.iter_mut().filter(|seen| seen.device == step.name) {
        if let Sight::Inform { version, .. } = &mut seen.what
            && *version == dest
        {
            version.push('x');
        }
    }
    for line in &mut history.lines {
        if let Fact::Report { device, version: Some(version), .. } = &mut line.fact
            && *device == step.device
            && *version == dest
        {
            version.push('x');
        }
    }
    true
}

fn twice(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, Some(next))) = history.step(chance, |step, next| {
        is_open(&step.status) && next.is_some_and(|next| next.status != step.status)
    }) else {
        return false;
    };
    let mut other = history.lines[next.line].clone();
    if let Fact::Task { status, attempt, percent, .. } = &mut other.fact {
        *percent = None;
        *attempt = step.attempt;
        *status = if status == "CANCELED" { "SUCCEEDED".into() } else { "CANCELED".into() };
    }
    history.lines.push(other);
    true
}

fn missing(history: &mut History, chance: &mut Chance) -> bool {
    // In between, so that the line after it says otherwise than the one before it.
    let found = history.step(chance, |step, next| {
        step.previous.as_ref().is_some_and(|previous| *previous != step.status && is_open(previous))
            && next.is_some()
            && is_open(&step.status)
    });
    let Some((step, Some(_))) = found else { return false };
    history.lines.remove(step.line);
    true
}

fn backwards(history: &mut History, chance: &mut Chance) -> bool {
    // A percentage that only grew is not compared.
    let grew =
        |step: &super::Step| step.previous.as_deref() == Some("IN_PROGRESS") && step.status == "IN_PROGRESS";
    let found = history.step(chance, |step, next| !grew(step) && next.is_some_and(|next| !grew(next)));
    let Some((step, Some(next))) = found else { return false };
    let from = history.lines[step.line].from;
    history.shift(next.line, from - SECOND);
    true
}
