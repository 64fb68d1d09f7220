//! Witnesses of tasks: what a step, a push or a late word must not be.

use std::time::Duration;

use super::{Broken, Invariant, Terms};
use crate::job::{DYNAMIC_PUSHES_MAX, JobKind, JobPolicy};
use crate::task::{CancelCause, Delivery, FailureCause, Retry, TaskEvent, TaskPolicy, TaskState, TaskStatus};
use crate::time::Timestamp;

/// A notice that was written so long after its task ended was not merely on its way: claims are dated at most 2 s
/// ahead and hold for 0.3 s; the rest is for a database that kept somebody waiting.
const ENDED_FOR: Duration = Duration::from_secs(60);

/// A clock that ran out so long ago was forgotten: they are looked at twice a second, a thousand at a time.
const UNSEEN_FOR: Duration = Duration::from_secs(600);

/// What a step of a task from `before` to `after` breaks.
#[must_use]
pub fn moved(
    before: &TaskState,
    event: &TaskEvent,
    after: &TaskState,
    policy: &TaskPolicy,
    now: Timestamp,
) -> Option<Broken> {
    ended(before, event, after)
        .or_else(|| unasked(before, event, after))
        .or_else(|| success(event, after, policy))
        .or_else(|| attempts(before, after, policy, now))
        .or_else(|| timeout(before, after, policy, now))
}

/// I3.
fn ended(before: &TaskState, event: &TaskEvent, after: &TaskState) -> Option<Broken> {
    let (from, to) = (before.status(), after.status());
    let begins_again = matches!(event, TaskEvent::Reupgraded { .. })
        && matches!(from, TaskStatus::Failed | TaskStatus::Canceled)
        && matches!(to, TaskStatus::Confirm | TaskStatus::Queued);
    let has_ended = matches!(from, TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled);
    (has_ended && !begins_again).then(|| {
        Broken::new(Invariant::Ended, format!("{} became {} by {event:?}", from.as_str(), to.as_str()))
    })
}

/// I15: out of CONFIRM by a confirmation alone, or to its end.
fn unasked(before: &TaskState, event: &TaskEvent, after: &TaskState) -> Option<Broken> {
    let goes_on =
        matches!(after.status(), TaskStatus::Queued | TaskStatus::Notified | TaskStatus::InProgress);
    let confirmed = matches!((event, after), (TaskEvent::Confirmed, TaskState::Queued));
    (before.status() == TaskStatus::Confirm && goes_on && !confirmed).then(|| {
        Broken::new(Invariant::Consent, format!("unconfirmed, and {} by {event:?}", after.status().as_str()))
    })
}

/// I14.
fn success(event: &TaskEvent, after: &TaskState, policy: &TaskPolicy) -> Option<Broken> {
    let reached = match event {
        TaskEvent::Informed { version, .. } => version.as_str() == policy.dest_version.as_str(),
        TaskEvent::Confirmed
        | TaskEvent::Claimed { .. }
        | TaskEvent::Written { .. }
        | TaskEvent::Fetched
        | TaskEvent::Progress { .. }
        | TaskEvent::Refused { .. }
        | TaskEvent::DeadlinePassed
        | TaskEvent::Canceled { .. }
        | TaskEvent::Reupgraded { .. } => false,
    };
    (after.status() == TaskStatus::Succeeded && !reached).then(|| {
        let seen = format!("succeeded by {event:?}, and the destination is {}", policy.dest_version.as_str());
        Broken::new(Invariant::Success, seen)
    })
}

/// I7: how many attempts, how soon after a failure.
fn attempts(before: &TaskState, after: &TaskState, policy: &TaskPolicy, now: Timestamp) -> Option<Broken> {
    let attempt = after.attempt()?.number;
    let granted = policy.retry.map_or(1, |retry| 1 + u16::from(retry.count));
    let broken = |seen: String| Some(Broken::new(Invariant::Attempts, seen));
    if u16::from(attempt) > granted {
        return broken(format!("attempt {attempt}, and {granted} are granted"));
    }
    if let Some(last) = before.attempt().filter(|last| last.number != attempt) {
        let is_due = match retry(before) {
            Some(Retry::Wanted) => true,
            Some(Retry::At(due)) => due <= now,
            Some(Retry::None) | None => false,
        };
        if u16::from(attempt) != u16::from(last.number) + 1 || !is_due {
            return broken(format!("attempt {attempt} after {} with {:?}", last.number, retry(before)));
        }
    }
    match (retry(before), retry(after), policy.retry) {
        (Some(Retry::None), Some(Retry::At(due)), Some(granted)) if due < now + granted.interval => {
            broken(format!("a retry {} ms after the failure", due.since(now).as_millis()))
        }
        _ => None,
    }
}

fn retry(state: &TaskState) -> Option<Retry> {
    match state {
        TaskState::Notified { retry, .. } | TaskState::InProgress { retry, .. } => Some(*retry),
        TaskState::Confirm
        | TaskState::Queued
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Canceled { .. } => None,
    }
}

/// I8: set by the first progress, moved by nothing, and out before it counts.
fn timeout(before: &TaskState, after: &TaskState, policy: &TaskPolicy, now: Timestamp) -> Option<Broken> {
    let broken = |seen: String| Some(Broken::new(Invariant::Timeout, seen));
    match (before, after) {
        (TaskState::InProgress { timeout_at: was, .. }, TaskState::InProgress { timeout_at: is, .. })
            if was != is =>
        {
            broken(format!("the timeout moved from {was:?} to {is:?}"))
        }
        (TaskState::Notified { .. }, TaskState::InProgress { timeout_at, .. })
            if *timeout_at != policy.timeout.map(|span| now + span) =>
        {
            broken(format!("the timeout began as {timeout_at:?} with {:?} at {now:?}", policy.timeout))
        }
        (
            TaskState::InProgress { timeout_at, .. },
            TaskState::Failed { cause: FailureCause::Timeout, .. },
        ) if timeout_at.is_none_or(|at| now < at) => {
            broken(format!("timed out at {now:?}, and the timeout was {timeout_at:?}"))
        }
        _ => None,
    }
}

/// What a push breaks that was claimed for a task: when its token is dated, how many notices were written before.
#[must_use]
pub fn pushed(
    before: &TaskState,
    written_before: u32,
    kind: JobKind,
    policy: &JobPolicy,
    terms: &Terms,
    date: Timestamp,
) -> Option<Broken> {
    if !policy.need_push || before.status() == TaskStatus::Confirm {
        let seen = format!("pushed in {}, NeedPush is {}", before.status().as_str(), policy.need_push);
        return Some(Broken::new(Invariant::Consent, seen));
    }
    if kind == JobKind::Dynamic && written_before >= DYNAMIC_PUSHES_MAX {
        return Some(Broken::new(Invariant::Dynamic, format!("pushed after {written_before} notices")));
    }
    let (start, finish) = (terms.schedule.start, terms.schedule.finish);
    if start.is_some_and(|start| date < start) || finish.is_some_and(|finish| date >= finish) {
        let seen = format!("a token dated {} outside {:?}", date.millis(), terms.schedule);
        return Some(Broken::new(Invariant::Schedule, seen));
    }
    None
}

/// What a gateway's word breaks that a notice was written at `at`, of a task that is in this state since
/// `modified_at` or longer.
#[must_use]
pub fn told(state: &TaskState, modified_at: Timestamp, at: Timestamp) -> Option<Broken> {
    if at.since(modified_at) < ENDED_FOR {
        return None;
    }
    let invariant = match state {
        TaskState::Canceled { cause: CancelCause::FinishTime, .. } => Invariant::Schedule,
        TaskState::Canceled { .. } => Invariant::Stopped,
        TaskState::Failed { cause: FailureCause::Timeout, .. } => Invariant::Attempts,
        TaskState::Confirm => Invariant::Consent,
        TaskState::Queued
        | TaskState::Notified { .. }
        | TaskState::InProgress { .. }
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. } => return None,
    };
    let seen = format!("written {} s after it was {state:?}", at.since(modified_at).as_secs());
    Some(Broken::new(invariant, seen))
}

/// What a task breaks that stands like this at `now`, where somebody has been there to look at it since `since`: I18,
/// a clock of it ran out and nobody dealt with it.
#[must_use]
pub fn stands(state: &TaskState, since: Timestamp, now: Timestamp) -> Option<Broken> {
    let (TaskState::Notified { delivery, retry, .. } | TaskState::InProgress { delivery, retry, .. }) = state
    else {
        return None;
    };
    let silence = match delivery {
        Delivery::Claimed { deadline } => Some(*deadline),
        Delivery::Wanted | Delivery::Written { .. } | Delivery::Fetched => None,
    };
    let again = match retry {
        Retry::At(due) => Some(*due),
        Retry::None | Retry::Wanted => None,
    };
    let end = match state {
        TaskState::Notified { offer_deadline, .. } => *offer_deadline,
        TaskState::InProgress { timeout_at, .. } => *timeout_at,
        TaskState::Confirm
        | TaskState::Queued
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Canceled { .. } => None,
    };
    let late = |clock: &Timestamp| now.since((*clock).max(since)) >= UNSEEN_FOR;
    let clock = [silence, again, end].into_iter().flatten().find(late)?;
    let seen = format!("a clock ran out {} s ago: {state:?}", now.since(clock).as_secs());
    Some(Broken::new(Invariant::Clocks, seen))
}

#[cfg(test)]
mod tests;
