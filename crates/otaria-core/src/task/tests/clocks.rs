//! Each clock of a task, to its very second, and what an offer keeps or loses when it goes out again.

use super::*;

fn delivery_of(state: &TaskState) -> Delivery {
    match state {
        TaskState::Notified { delivery, .. } | TaskState::InProgress { delivery, .. } => *delivery,
        other => panic!("{other:?} has no offer"),
    }
}

fn attempt(number: u8, seconds: i64) -> Option<Attempt> {
    Some(Attempt { number, offered_at: at(seconds) })
}

const WRITTEN: TaskEvent = TaskEvent::Written { attempt: 1 };
const REST: TaskEvent = TaskEvent::DeadlinePassed;

#[test]
fn the_delivery_deadline_runs_from_the_tokens_date_or_from_now_if_that_is_later() {
    for (date, now) in [(9, 4), (4, 9)] {
        let claimed = TaskState::Queued.on(&claim(date), &policy(), at(now)).unwrap();
        assert_eq!(claimed.due_at(), Some(at(9) + DELIVERY_DEADLINE));
        assert_eq!(claimed.attempt(), attempt(1, now), "an offer is dated by its claim");
    }
}

/// Also where the timer's own event has not come yet: the dispatcher looks by itself.
#[test]
fn an_unwritten_notice_is_wanted_from_its_deadline_on_and_not_before() {
    let claimed = walk(&[(0, claim(0))]);
    assert_eq!(
        [4, 5, 6].map(|now| claimed.want(at(now))),
        [Want::Nothing, Want::Redelivery, Want::Redelivery]
    );
    assert_eq!(claimed.on(&claim(4), &policy(), at(4)), Err(Ignored::TooEarly));
    assert_eq!(claimed.on(&REST, &policy(), at(4)), Err(Ignored::TooEarly));
    let again = claimed.on(&claim(5), &policy(), at(5)).unwrap();
    assert_eq!((again.attempt(), again.due_at()), (attempt(1, 0), Some(at(10))));
}

#[test]
fn a_repeat_goes_out_from_the_spacing_on_and_not_before() {
    let written = TaskState::Notified {
        attempt: Attempt { number: 1, offered_at: at(0) },
        delivery: Delivery::Written { at: at(0) },
        offer_deadline: None,
        retry: Retry::None,
    };
    assert_eq!(written.on(&claim(59), &policy(), at(59)), Err(Ignored::TooEarly));
    assert!(written.on(&claim(60), &policy(), at(60)).is_ok());
}

#[test]
fn a_retry_is_due_after_the_interval_and_its_timer_makes_it_wanted() {
    for progress_before in [false, true] {
        let mut state = walk(&[(0, claim(0)), (1, WRITTEN)]);
        if progress_before {
            state = state.on(&progress(10), &policy(), at(5)).unwrap();
        }
        let failed = state.on(&REFUSED, &policy(), at(6)).unwrap();
        assert_eq!(failed.status(), state.status());
        assert_eq!(failed.due_at(), Some(at(606)), "the offer's own clock stands still");
        assert_eq!([605, 606].map(|now| failed.want(at(now))), [Want::Nothing, Want::Retry]);
        assert_eq!(failed.on(&claim(605), &policy(), at(605)), Err(Ignored::TooEarly));
        assert_eq!(failed.on(&REST, &policy(), at(605)), Err(Ignored::TooEarly));

        let wanted = failed.on(&REST, &policy(), at(606)).unwrap();
        assert_eq!(wanted.want(at(606)), Want::Retry);
        assert_eq!(wanted.due_at(), progress_before.then(|| at(5 + 3600)), "the timer has rung");
    }
}

/// The device saw the first offer; what it says of the second is counted from the second.
#[test]
fn a_retry_is_a_new_offer_with_a_clock_of_its_own() {
    let retried = walk(&[(0, claim(0)), (1, WRITTEN), (6, REFUSED), (606, claim(607))]);
    assert_eq!((retried.status(), retried.attempt()), (TaskStatus::Notified, attempt(2, 606)));
    assert_eq!(retried.due_at(), Some(at(607) + DELIVERY_DEADLINE));
    assert_eq!(retried.on(&WRITTEN, &policy(), at(608)), Err(Ignored::OlderReport));
    let written = retried.on(&TaskEvent::Written { attempt: 2 }, &policy(), at(608)).unwrap();
    assert_eq!(written.due_at(), Some(at(608 + 60)));
}

#[test]
fn a_fetch_before_a_retry_is_due_tells_nothing_new() {
    for state in [
        walk(&[(0, claim(0)), (1, WRITTEN), (6, REFUSED)]),
        walk(&[(0, claim(0)), (1, WRITTEN), (5, progress(10)), (6, REFUSED)]),
        walk(&[(0, TaskEvent::Fetched)]),
    ] {
        assert_eq!(state.on(&TaskEvent::Fetched, &policy(), at(605)), Err(Ignored::Duplicate), "{state:?}");
    }
}

#[test]
fn a_fetch_is_an_offer_whose_silence_counts_at_once() {
    let first = walk(&[(7, TaskEvent::Fetched)]);
    assert_eq!((first.attempt(), first.due_at()), (attempt(1, 7), Some(at(67))));
    assert_eq!(delivery_of(&first), Delivery::Fetched);

    let second = walk(&[(0, claim(0)), (1, WRITTEN), (6, REFUSED), (606, TaskEvent::Fetched)]);
    assert_eq!(second.status(), TaskStatus::Notified);
    assert_eq!((second.attempt(), second.due_at()), (attempt(2, 606), Some(at(666))));
    assert_eq!(delivery_of(&second), Delivery::Fetched);
}

#[test]
fn a_fetched_retry_of_a_running_update_keeps_progress_and_timeout() {
    let failed = [(0, claim(0)), (5, progress(10)), (6, REFUSED)];
    for next in [TaskEvent::Fetched, claim(606)] {
        let again = walk(&failed).on(&next, &policy(), at(606)).unwrap();
        let TaskState::InProgress { attempt: of, percent, timeout_at, retry, .. } = again else {
            panic!("{again:?}")
        };
        assert_eq!((Some(of), percent.get()), (attempt(2, 606), 10));
        assert_eq!((timeout_at, retry), (Some(at(5 + 3600)), Retry::None));
    }
}

/// A fetch while the notice is on its way is the same offer: two offers at once would be two pushes.
#[test]
fn a_fetch_takes_the_place_of_a_notice_that_is_on_its_way() {
    for state in [walk(&[(0, claim(0))]), walk(&[(0, claim(0)), (5, REST)])] {
        let fetched = state.on(&TaskEvent::Fetched, &policy(), at(6)).unwrap();
        assert_eq!(fetched.attempt(), attempt(1, 0));
        assert_eq!(delivery_of(&fetched), Delivery::Written { at: at(6) });
        assert_eq!(fetched.due_at(), Some(at(66)));
    }
}

#[test]
fn the_same_progress_twice_says_nothing_unless_it_answers_a_notice() {
    let running = walk(&[(0, claim(0)), (5, progress(10))]);
    assert_eq!(delivery_of(&running), Delivery::Written { at: at(5) }, "who reports has seen the notice");
    assert_eq!(running.on(&progress(10), &policy(), at(6)), Err(Ignored::Duplicate));
    assert!(running.on(&progress(11), &policy(), at(6)).is_ok());

    let again = walk(&[(0, claim(0)), (5, progress(10)), (6, REFUSED), (606, claim(606))]);
    let answered = again.on(&progress(10), &policy(), at(607)).unwrap();
    assert_eq!(delivery_of(&answered), Delivery::Written { at: at(607) });
}

/// The gateway's own word about the write can be lost; a second notice would start the update again.
#[test]
fn a_device_that_reports_a_failure_has_seen_the_notice() {
    let failed = walk(&[(0, claim(0)), (3, REFUSED)]);
    assert_eq!((delivery_of(&failed), failed.due_at()), (Delivery::Written { at: at(3) }, Some(at(603))));
}

/// A device that tries on by itself after it reported a failure: the job's own retry comes all the same.
#[test]
fn progress_after_a_failure_does_not_call_the_retry_off() {
    let offered = walk(&[(0, claim(0)), (1, WRITTEN), (6, REFUSED)]);
    let running = walk(&[(0, claim(0)), (5, progress(10)), (6, REFUSED)]);
    for failed in [offered, running] {
        let on = failed.on(&progress(20), &policy(), at(7)).unwrap();
        assert_eq!((on.status(), on.due_at()), (TaskStatus::InProgress, Some(at(606))));
        assert_eq!([605, 606].map(|now| on.want(at(now))), [Want::Nothing, Want::Retry]);
    }
}

#[test]
fn a_cancelled_task_tells_how_often_it_was_offered() {
    let cause = CancelCause::Overwritten;
    let retried = walk(&[(0, claim(0)), (6, REFUSED), (606, claim(606))]);
    for (state, attempts) in [(TaskState::Confirm, 0), (TaskState::Queued, 0), (retried, 2)] {
        let ended = state.on(&TaskEvent::Canceled { cause }, &policy(), at(700));
        assert_eq!(ended, Ok(TaskState::Canceled { attempts, cause }));
    }
}

#[test]
fn a_lost_notice_of_a_running_update_is_no_timeout() {
    let again = walk(&[(0, claim(0)), (5, progress(10)), (6, REFUSED), (606, claim(606))]);
    let lost = again.on(&REST, &policy(), at(611)).unwrap();
    assert_eq!((lost.status(), lost.want(at(611))), (TaskStatus::InProgress, Want::Redelivery));
    let late = lost.on(&REST, &policy(), at(5 + 3600)).unwrap();
    assert_eq!(late, TaskState::Failed { attempts: 2, cause: FailureCause::Timeout });
}

/// When several clocks ran out unseen (the owner was away), the one that ends the task wins.
#[test]
fn of_clocks_that_ran_out_together_the_gravest_wins() {
    let failed = walk(&[(0, claim(0)), (5, progress(10)), (6, REFUSED)]);
    let late = failed.on(&REST, &policy(), at(5 + 3600)).unwrap();
    assert_eq!(late, TaskState::Failed { attempts: 1, cause: FailureCause::Timeout });
}

#[test]
fn a_device_that_tells_its_version_by_itself_needs_no_offer() {
    let done = TaskState::Queued.on(&informed("2.0.0"), &policy(), at(1)).unwrap();
    assert_eq!((done.attempts(), done.attempt(), done.due_at()), (0, None, None));
}
