use super::*;
use crate::ids::{InformedVersion, Version};
use crate::job::{DownloadProtocol, OverwriteMode, Schedule};
use crate::pace::PerMinute;
use crate::task::{Attempt, Delivery, FailedStep, Percent, RetryPolicy};

const INTERVAL: Duration = Duration::from_secs(60);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn policy() -> TaskPolicy {
    TaskPolicy {
        dest_version: Version::parse("2").unwrap(),
        retry: Some(RetryPolicy { interval: INTERVAL, count: 2 }),
        timeout: Some(Duration::from_secs(600)),
        offer_timeout: None,
    }
}

fn notified(number: u8, retry: Retry) -> TaskState {
    TaskState::Notified {
        attempt: Attempt { number, offered_at: at(0) },
        delivery: Delivery::Wanted,
        offer_deadline: None,
        retry,
    }
}

fn in_progress(timeout_at: Option<i64>) -> TaskState {
    TaskState::InProgress {
        attempt: Attempt { number: 1, offered_at: at(0) },
        delivery: Delivery::Wanted,
        percent: Percent::new(1).unwrap(),
        timeout_at: timeout_at.map(at),
        retry: Retry::None,
    }
}

fn seen(before: &TaskState, event: &TaskEvent, after: &TaskState, now: i64) -> Option<Invariant> {
    moved(before, event, after, &policy(), at(now)).map(|broken| broken.invariant)
}

fn informed(version: &str) -> TaskEvent {
    TaskEvent::Informed {
        version: InformedVersion::parse(version).unwrap(),
        source: None,
        offered_before: false,
    }
}

fn progress() -> TaskEvent {
    TaskEvent::Progress { percent: Percent::new(1).unwrap() }
}

const CLAIMED: TaskEvent = TaskEvent::Claimed { not_before: Timestamp::EPOCH };
const REFUSED: TaskEvent = TaskEvent::Refused { step: FailedStep::Burn };
const SUCCEEDED: TaskState = TaskState::Succeeded { attempts: 1 };
const TIMED_OUT: TaskState = TaskState::Failed { attempts: 1, cause: FailureCause::Timeout };
const CANCELED: TaskState = TaskState::Canceled { attempts: 1, cause: CancelCause::Operator };

#[test]
fn a_task_that_had_ended_and_moved_is_seen() {
    let again = TaskEvent::Reupgraded { need_confirm: false };
    assert_eq!(seen(&CANCELED, &again, &TaskState::Queued, 0), None);
    assert_eq!(seen(&TIMED_OUT, &again, &TaskState::Confirm, 0), None);
    assert_eq!(seen(&SUCCEEDED, &again, &TaskState::Queued, 0), Some(Invariant::Ended));
    assert_eq!(seen(&CANCELED, &CLAIMED, &notified(1, Retry::None), 0), Some(Invariant::Ended));
    assert_eq!(seen(&CANCELED, &informed("2"), &SUCCEEDED, 0), Some(Invariant::Ended));
    assert_eq!(seen(&SUCCEEDED, &REFUSED, &TIMED_OUT, 0), Some(Invariant::Ended));
}

#[test]
fn success_without_the_destination_version_is_seen() {
    let before = in_progress(None);
    assert_eq!(seen(&before, &informed("2"), &SUCCEEDED, 0), None);
    assert_eq!(seen(&before, &informed("2.0"), &SUCCEEDED, 0), Some(Invariant::Success));
    assert_eq!(seen(&before, &progress(), &SUCCEEDED, 0), Some(Invariant::Success), "100 % is no success");
}

#[test]
fn an_unconfirmed_task_that_goes_on_is_seen() {
    assert_eq!(seen(&TaskState::Confirm, &TaskEvent::Confirmed, &TaskState::Queued, 0), None);
    assert_eq!(seen(&TaskState::Confirm, &informed("2"), &SUCCEEDED, 0), None);
    let offered = notified(1, Retry::None);
    for event in [CLAIMED, TaskEvent::Fetched, TaskEvent::Confirmed] {
        assert_eq!(seen(&TaskState::Confirm, &event, &offered, 0), Some(Invariant::Consent));
    }
}

#[test]
fn an_attempt_too_many_or_too_soon_is_seen() {
    let last = notified(2, Retry::At(at(60_000)));
    let next = notified(3, Retry::None);
    assert_eq!(seen(&last, &CLAIMED, &next, 60_000), None);
    assert_eq!(seen(&last, &CLAIMED, &next, 59_999), Some(Invariant::Attempts));
    assert_eq!(seen(&notified(2, Retry::Wanted), &CLAIMED, &next, 0), None);
    assert_eq!(seen(&notified(2, Retry::None), &CLAIMED, &next, 0), Some(Invariant::Attempts), "no failure");
    let fourth = notified(4, Retry::None);
    assert_eq!(seen(&notified(3, Retry::Wanted), &CLAIMED, &fourth, 0), Some(Invariant::Attempts));
    assert_eq!(
        seen(&notified(1, Retry::Wanted), &CLAIMED, &next, 0),
        Some(Invariant::Attempts),
        "one skipped"
    );
    assert_eq!(seen(&notified(2, Retry::None), &CLAIMED, &notified(2, Retry::None), 0), None, "a repeat");
}

#[test]
fn a_retry_that_is_due_too_soon_is_seen() {
    let before = notified(1, Retry::None);
    assert_eq!(seen(&before, &REFUSED, &notified(1, Retry::At(at(60_005))), 5), None);
    assert_eq!(seen(&before, &REFUSED, &notified(1, Retry::At(at(60_004))), 5), Some(Invariant::Attempts));
}

#[test]
fn a_timeout_that_moves_or_begins_wrongly_is_seen() {
    let running = in_progress(Some(600_000));
    assert_eq!(seen(&running, &progress(), &running, 9), None);
    assert_eq!(seen(&running, &progress(), &in_progress(Some(600_009)), 9), Some(Invariant::Timeout));
    assert_eq!(seen(&running, &progress(), &in_progress(None), 9), Some(Invariant::Timeout));
    let offered = notified(1, Retry::None);
    assert_eq!(seen(&offered, &progress(), &in_progress(Some(600_009)), 9), None);
    assert_eq!(seen(&offered, &progress(), &running, 9), Some(Invariant::Timeout));
    assert_eq!(seen(&running, &TaskEvent::DeadlinePassed, &TIMED_OUT, 600_000), None);
    assert_eq!(seen(&running, &TaskEvent::DeadlinePassed, &TIMED_OUT, 599_999), Some(Invariant::Timeout));
}

#[test]
fn a_push_that_nobody_may_make_is_seen() {
    let job = JobPolicy {
        maximum_per_minute: PerMinute::DEFAULT,
        retry: None,
        timeout: None,
        offer_timeout: None,
        overwrite: OverwriteMode::Keep,
        multi_module: false,
        need_push: true,
        need_confirm: false,
        download_protocol: DownloadProtocol::Https,
    };
    let schedule = Schedule { start: Some(at(100)), finish: Some(at(200)) };
    let terms = Terms { rate: PerMinute::DEFAULT, schedule };
    let queued = TaskState::Queued;
    let look = |state: &TaskState, before, kind, policy: &JobPolicy, date| {
        pushed(state, before, kind, policy, &terms, at(date)).map(|broken| broken.invariant)
    };
    assert_eq!(look(&queued, 50, JobKind::Static, &job, 100), None);
    assert_eq!(look(&queued, 9, JobKind::Dynamic, &job, 199), None);
    assert_eq!(look(&queued, 10, JobKind::Dynamic, &job, 199), Some(Invariant::Dynamic));
    assert_eq!(look(&queued, 0, JobKind::Static, &job, 99), Some(Invariant::Schedule));
    assert_eq!(look(&queued, 0, JobKind::Static, &job, 200), Some(Invariant::Schedule));
    assert_eq!(look(&TaskState::Confirm, 0, JobKind::Static, &job, 100), Some(Invariant::Consent));
    let silent = JobPolicy { need_push: false, ..job };
    assert_eq!(look(&queued, 0, JobKind::Static, &silent, 100), Some(Invariant::Consent));
}

#[test]
fn a_notice_that_was_written_long_after_its_task_ended_is_seen() {
    let look =
        |state: &TaskState, written| told(state, at(1_000), at(written)).map(|broken| broken.invariant);
    assert_eq!(look(&CANCELED, 60_999), None, "it may have been on its way");
    assert_eq!(look(&CANCELED, 61_000), Some(Invariant::Stopped));
    let late = TaskState::Canceled { attempts: 1, cause: CancelCause::FinishTime };
    assert_eq!(look(&late, 61_000), Some(Invariant::Schedule));
    assert_eq!(look(&TIMED_OUT, 61_000), Some(Invariant::Attempts));
    assert_eq!(look(&TaskState::Confirm, 61_000), Some(Invariant::Consent));
    assert_eq!(look(&SUCCEEDED, 61_000), None);
    assert_eq!(look(&notified(1, Retry::None), 61_000), None);
    assert_eq!(look(&CANCELED, 0), None);
}

#[test]
fn a_clock_that_ran_out_long_ago_is_seen() {
    let seen = |state: &TaskState, now| stands(state, at(0), at(now)).map(|broken| broken.invariant);
    let claimed = |deadline| {
        let attempt = Attempt { number: 1, offered_at: at(0) };
        let delivery = Delivery::Claimed { deadline: at(deadline) };
        TaskState::Notified { attempt, delivery, offer_deadline: None, retry: Retry::None }
    };
    let silent = |offer_deadline| {
        let attempt = Attempt { number: 1, offered_at: at(0) };
        let (delivery, retry) = (Delivery::Written { at: at(0) }, Retry::None);
        TaskState::Notified { attempt, delivery, offer_deadline: Some(at(offer_deadline)), retry }
    };
    for late in [claimed(1_000), silent(1_000), notified(1, Retry::At(at(1_000))), in_progress(Some(1_000))] {
        assert_eq!(seen(&late, 600_999), None, "{late:?}");
        assert_eq!(seen(&late, 601_000), Some(Invariant::Clocks), "{late:?}");
        assert_eq!(stands(&late, at(2_000), at(601_999)), None, "nobody was there when it ran out: {late:?}");
        assert!(stands(&late, at(2_000), at(602_000)).is_some(), "{late:?}");
    }
    for idle in [
        notified(1, Retry::None),
        notified(1, Retry::Wanted),
        in_progress(None),
        TaskState::Confirm,
        TaskState::Queued,
        TIMED_OUT,
    ] {
        assert_eq!(seen(&idle, 1_000_000_000), None, "{idle:?}");
    }
}
