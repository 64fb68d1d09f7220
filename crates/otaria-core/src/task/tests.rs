//! The table, sentence by sentence, and walks of random events over it.

use proptest::prelude::*;

use super::offer::{DELIVERY_DEADLINE, REPEAT_SPACING};
use super::*;

mod clocks;
mod codes;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn policy() -> TaskPolicy {
    TaskPolicy {
        dest_version: Version::parse("2.0.0").unwrap(),
        retry: Some(RetryPolicy { interval: Duration::from_secs(600), count: 1 }),
        timeout: Some(Duration::from_secs(3600)),
        offer_timeout: Some(Duration::from_secs(60)),
    }
}

fn informed(version: &str) -> TaskEvent {
    TaskEvent::Informed {
        version: InformedVersion::parse(version).unwrap(),
        source: Some(InformedVersion::parse("1.0.0").unwrap()),
        offered_before: false,
    }
}

/// As [`informed`], of what an earlier task had offered.
fn informed_late(version: &str) -> TaskEvent {
    match informed(version) {
        TaskEvent::Informed { version, source, .. } => {
            TaskEvent::Informed { version, source, offered_before: true }
        }
        other => other,
    }
}

fn claim(seconds: i64) -> TaskEvent {
    TaskEvent::Claimed { not_before: at(seconds) }
}

fn progress(percent: i64) -> TaskEvent {
    TaskEvent::Progress { percent: Percent::new(percent).unwrap() }
}

const REFUSED: TaskEvent = TaskEvent::Refused { step: FailedStep::Update };

/// Applies events, each at its second; every one of them must move the task.
fn walk(events: &[(i64, TaskEvent)]) -> TaskState {
    events.iter().fold(TaskState::Queued, |state, (second, event)| {
        state.on(event, &policy(), at(*second)).unwrap_or_else(|why| panic!("{state:?} {event:?}: {why:?}"))
    })
}

#[test]
fn a_second_progress_report_does_not_move_the_timeout() {
    let first = walk(&[(0, claim(0)), (5, progress(10))]);
    let second = first.on(&progress(50), &policy(), at(600)).unwrap();
    assert_eq!(second.due_at(), Some(at(5 + 3600)));
}

#[test]
fn progress_one_hundred_is_no_success_but_the_version_is() {
    let done = walk(&[(0, claim(0)), (5, progress(100))]);
    assert_eq!(done.status(), TaskStatus::InProgress);
    let informed = done.on(&informed("2.0.0"), &policy(), at(6)).unwrap();
    assert_eq!(informed, TaskState::Succeeded { attempts: 1 });
}

#[test]
fn a_device_that_comes_to_the_version_by_itself_succeeds_from_every_open_state() {
    for state in [TaskState::Confirm, TaskState::Queued, walk(&[(0, claim(0))])] {
        assert_eq!(state.on(&informed("2.0.0"), &policy(), at(1)).unwrap().status(), TaskStatus::Succeeded);
    }
}

#[test]
fn an_unwritten_notice_is_wanted_again_under_the_same_attempt() {
    let claimed = walk(&[(0, claim(2))]);
    assert_eq!(claimed.due_at(), Some(at(2) + DELIVERY_DEADLINE));
    let late = claimed.on(&TaskEvent::DeadlinePassed, &policy(), at(7)).unwrap();
    assert_eq!(late.want(at(7)), Want::Redelivery);
    assert_eq!(late.due_at(), None);
    let again = late.on(&claim(9), &policy(), at(8)).unwrap();
    assert_eq!(again.attempt(), claimed.attempt());
}

#[test]
fn a_written_notice_starts_the_offer_clock_and_silence_fails() {
    let written = walk(&[(0, claim(0)), (1, TaskEvent::Written { attempt: 1 })]);
    assert_eq!(written.due_at(), Some(at(61)));
    let failed = written.on(&TaskEvent::DeadlinePassed, &policy(), at(61)).unwrap();
    assert_eq!(failed, TaskState::Failed { attempts: 1, cause: FailureCause::OfferTimeout });
}

#[test]
fn a_reconnect_repeats_only_after_the_spacing() {
    let written = walk(&[(0, claim(0)), (1, TaskEvent::Written { attempt: 1 })]);
    assert_eq!(written.want(at(2)), Want::Repeat(at(1) + REPEAT_SPACING));
    assert_eq!(written.on(&claim(2), &policy(), at(2)), Err(Ignored::TooEarly));
    let repeated = written.on(&claim(61), &policy(), at(61)).unwrap();
    assert_eq!(repeated.attempts(), 1);
    // A repeat does not give a silent device more time.
    let again = repeated.on(&TaskEvent::Written { attempt: 1 }, &policy(), at(61)).unwrap();
    assert_eq!(again.due_at(), Some(at(61)));
}

#[test]
fn a_failure_with_a_retry_left_keeps_the_status_and_waits_the_interval() {
    let failed = walk(&[(0, claim(0)), (5, progress(10)), (6, REFUSED)]);
    assert_eq!(failed.status(), TaskStatus::InProgress);
    assert_eq!(failed.want(at(605)), Want::Nothing);
    assert_eq!(failed.on(&REFUSED, &policy(), at(7)), Err(Ignored::Duplicate));
    let retried = failed.on(&claim(606), &policy(), at(606)).unwrap();
    assert_eq!(retried.attempts(), 2);
    assert_eq!(retried.due_at(), Some(at(611)), "the delivery deadline, long before the timeout");
    let over = retried.on(&REFUSED, &policy(), at(700)).unwrap();
    assert_eq!(over, TaskState::Failed { attempts: 2, cause: FailureCause::Refused(FailedStep::Update) });
}

#[test]
fn a_timeout_is_never_retried() {
    let running = walk(&[(0, claim(0)), (5, progress(10))]);
    let failed = running.on(&TaskEvent::DeadlinePassed, &policy(), at(5 + 3600)).unwrap();
    assert_eq!(failed, TaskState::Failed { attempts: 1, cause: FailureCause::Timeout });
}

#[test]
fn a_foreign_version_fails_only_a_running_update() {
    let running = walk(&[(0, claim(0)), (5, progress(10))]);
    assert!(matches!(
        running.on(&informed("3.0.0"), &policy(), at(6)).unwrap(),
        TaskState::InProgress { retry: Retry::At(_), .. }
    ));
    assert_eq!(running.on(&informed("1.0.0"), &policy(), at(6)), Err(Ignored::OutOfOrder));
    let offered = walk(&[(0, claim(0))]);
    assert_eq!(offered.on(&informed("3.0.0"), &policy(), at(6)), Err(Ignored::OutOfOrder));
}

/// A task took the place of another whose notice was on its way: the device installs the earlier version first, and
/// its reports look as if they were about the later one.
#[test]
fn a_version_that_was_offered_before_fails_nothing_and_the_notice_is_wanted_again() {
    let running = walk(&[(0, claim(2)), (1, progress(10))]);
    assert_eq!(running.due_at(), Some(at(1 + 3600)), "the report passed for a sign of the notice");
    let doubtful = running.on(&informed_late("3.0.0"), &policy(), at(3)).unwrap();
    assert_eq!((doubtful.status(), doubtful.attempts()), (TaskStatus::InProgress, 1));
    assert_eq!(doubtful.due_at(), Some(at(1) + REPEAT_SPACING));
    assert_eq!(doubtful.want(at(60)), Want::Nothing);
    assert_eq!(doubtful.want(at(61)), Want::Redelivery);
    // Said again, it moves nothing: a device that comes back again and again is not told each time.
    assert_eq!(doubtful.on(&informed_late("3.0.0"), &policy(), at(4)), Err(Ignored::OutOfOrder));

    let written = doubtful.on(&TaskEvent::Written { attempt: 1 }, &policy(), at(5)).unwrap();
    assert_eq!(
        written.due_at(),
        Some(at(1 + 3600)),
        "it was on its way: nothing more is wanted, and no timeout moved"
    );
    let done = written.on(&informed("2.0.0"), &policy(), at(9)).unwrap();
    assert_eq!(done, TaskState::Succeeded { attempts: 1 });
}

/// A device that says its version now and then, and stays where it is, is told twice and not every minute.
#[test]
fn a_notice_is_doubted_once() {
    let offered = walk(&[(0, claim(0)), (1, TaskEvent::Written { attempt: 1 })]);
    for state in [offered.clone(), offered.on(&progress(10), &policy(), at(2)).unwrap()] {
        let doubtful = state.on(&informed_late("3.0.0"), &policy(), at(3)).unwrap();
        assert_eq!(doubtful.want(at(61)), Want::Redelivery, "{doubtful:?}");
        assert_eq!(doubtful.status(), state.status());
        let again = doubtful.on(&claim(61), &policy(), at(61)).unwrap();
        let again = again.on(&TaskEvent::Written { attempt: 1 }, &policy(), at(61)).unwrap();
        assert_eq!(again.on(&informed_late("3.0.0"), &policy(), at(62)), Err(Ignored::OutOfOrder));
    }
    // Up to the very instant at which a repeat would be due anyway.
    for (written, doubted) in [(59, true), (60, false)] {
        let late = walk(&[(0, claim(58)), (written, TaskEvent::Written { attempt: 1 })]);
        assert_eq!(late.on(&informed_late("3.0.0"), &policy(), at(61)).is_ok(), doubted);
    }
}

#[test]
fn what_was_offered_before_changes_nothing_where_no_notice_is_in_doubt() {
    let late = informed_late("3.0.0");
    let fetched = walk(&[(0, TaskEvent::Fetched), (1, progress(10))]);
    let failed = walk(&[(0, claim(0)), (1, progress(10)), (2, REFUSED)]);
    let claimed = walk(&[(0, claim(0))]);
    for state in [fetched, failed, claimed, TaskState::Queued, TaskState::Confirm] {
        assert_eq!(state.on(&late, &policy(), at(3)), Err(Ignored::OutOfOrder), "{state:?}");
    }
    // What the device had when the task was made is no news, whoever offered it.
    let running = walk(&[(0, claim(0)), (1, progress(10))]);
    assert_eq!(running.on(&informed_late("1.0.0"), &policy(), at(3)), Err(Ignored::OutOfOrder));
    // Where nobody knows what it had, a version that was not offered says nothing either.
    let version = InformedVersion::parse("3.0.0").unwrap();
    let unknown =
        |offered_before| TaskEvent::Informed { version: version.clone(), source: None, offered_before };
    assert_eq!(running.on(&unknown(false), &policy(), at(3)), Err(Ignored::OutOfOrder));
    assert_eq!(running.on(&unknown(true), &policy(), at(3)).unwrap().due_at(), Some(at(61)));
}

/// Between a claim and its notice what a device says is about what it was told before.
#[test]
fn until_its_notice_is_written_an_offer_is_not_what_a_device_speaks_of_that_was_told_of_another() {
    let (own, other) = (JobNo(2), JobNo(1));
    let claimed = walk(&[(0, claim(2))]);
    let wanted = walk(&[(0, claim(2)), (7, TaskEvent::DeadlinePassed)]);
    let again = walk(&[(0, claim(0)), (1, progress(10)), (2, REFUSED), (602, claim(602))]);
    for state in [claimed, wanted, again] {
        assert!(!state.is_meant(Some(other), own, at(700)), "{state:?}");
        assert!(
            state.is_meant(Some(own), own, at(700)),
            "{state:?}: the word about the notice is on its way"
        );
        assert!(
            state.is_meant(None, own, at(700)),
            "{state:?}: told in an earlier session, for all one knows"
        );
    }
    let written = walk(&[(0, claim(0)), (1, TaskEvent::Written { attempt: 1 })]);
    let begun = walk(&[(0, claim(0)), (1, progress(10))]);
    for state in [written, begun] {
        assert!(state.is_meant(Some(other), own, at(1)), "{state:?}");
        let before = Timestamp::from_millis(999);
        assert!(
            !state.is_meant(Some(other), own, before),
            "{state:?}: its notice overtook the report on its way"
        );
        assert!(state.is_meant(Some(own), own, before), "{state:?}: a repeat of it was");
        assert!(state.is_meant(None, own, before), "{state:?}");
    }
    for state in [walk(&[(0, TaskEvent::Fetched)]), TaskState::Queued, TaskState::Confirm] {
        assert!(state.is_meant(Some(other), own, at(0)), "{state:?}");
    }
}

#[test]
fn a_fetch_offers_what_waits_and_ends_the_wish_to_push() {
    let fetched = walk(&[(0, TaskEvent::Fetched)]);
    assert_eq!(fetched.status(), TaskStatus::Notified);
    assert_eq!(fetched.want(at(100)), Want::Nothing);
    let claimed = walk(&[(0, claim(0)), (1, TaskEvent::Fetched)]);
    assert!(matches!(claimed, TaskState::Notified { delivery: Delivery::Written { .. }, .. }));
}

#[test]
fn only_a_reupgrade_leaves_the_end() {
    let failed = TaskState::Failed { attempts: 2, cause: FailureCause::Timeout };
    assert_eq!(
        failed.on(&TaskEvent::Reupgraded { need_confirm: true }, &policy(), at(0)),
        Ok(TaskState::Confirm)
    );
    let done = TaskState::Succeeded { attempts: 1 };
    assert_eq!(
        done.on(&TaskEvent::Reupgraded { need_confirm: false }, &policy(), at(0)),
        Err(Ignored::Terminal)
    );
}

#[test]
fn causes_survive_the_store() {
    for code in 0..20 {
        if let Some(cause) = FailureCause::from_code(code) {
            assert_eq!(cause.code(), code);
        }
    }
    assert_eq!(
        FailureCause::from_code(FailureCause::Refused(FailedStep::Burn).code()),
        Some(FailureCause::Refused(FailedStep::Burn))
    );
}

fn any_event() -> impl Strategy<Value = TaskEvent> {
    prop_oneof![
        Just(TaskEvent::Confirmed),
        Just(claim(0)),
        (1_u8..4).prop_map(|attempt| TaskEvent::Written { attempt }),
        Just(TaskEvent::Fetched),
        prop_oneof![Just("1.0.0"), Just("2.0.0"), Just("3.0.0")].prop_map(informed),
        prop_oneof![Just("1.0.0"), Just("3.0.0")].prop_map(informed_late),
        (0_i64..=100).prop_map(progress),
        Just(REFUSED),
        Just(TaskEvent::DeadlinePassed),
        Just(TaskEvent::Canceled { cause: CancelCause::Operator }),
    ]
}

proptest! {
    /// I3, I7, I8, I14 on any walk.
    #[test]
    fn any_walk_keeps_the_promises(events in proptest::collection::vec((0_i64..900, any_event()), 0..60)) {
        let mut now = 0;
        let mut state = TaskState::Queued;
        let mut timeout = None;
        let mut last_failure: Option<i64> = None;
        for (step, event) in events {
            now += step;
            let Ok(next) = state.on(&event, &policy(), at(now)) else { continue };
            prop_assert!(state.status().is_open(), "a terminal task moved");
            prop_assert!(next.attempts() <= 2, "more offers than 1 + RetryCount");
            if next.status() == TaskStatus::Succeeded {
                prop_assert_eq!(&event, &informed("2.0.0"));
            }
            if let TaskState::InProgress { timeout_at, .. } = &next {
                prop_assert_eq!(*timeout.get_or_insert(*timeout_at), *timeout_at);
            }
            if next.attempts() == 2 && state.attempts() == 1 {
                let failed = last_failure.expect("a retry follows a failure");
                prop_assert!(now - failed >= 600, "retried before RetryInterval");
            }
            if matches!(&next, TaskState::Notified { retry: Retry::At(_), .. } | TaskState::InProgress { retry: Retry::At(_), .. })
                && !matches!(&state, TaskState::Notified { retry: Retry::At(_), .. } | TaskState::InProgress { retry: Retry::At(_), .. })
            {
                last_failure = Some(now);
            }
            if let Some(due) = next.due_at() {
                prop_assert!(next.status().is_open());
                // Whatever is due can be dealt with: no clock rings for ever.
                let after = next.on(&TaskEvent::DeadlinePassed, &policy(), due).unwrap();
                prop_assert!(after.due_at().is_none_or(|later| later > due));
            }
            state = next;
        }
    }
}
