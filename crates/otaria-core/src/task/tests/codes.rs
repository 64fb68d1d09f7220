//! What the store and every wire call things: rows and programs elsewhere rely on each of these pairs, so
//! they stand here once more, and a changed one needs a migration.

use crate::task::*;

#[test]
fn statuses_keep_their_names_and_numbers() {
    let kept = [
        (TaskStatus::Confirm, "CONFIRM", 0, true),
        (TaskStatus::Queued, "QUEUED", 1, true),
        (TaskStatus::Notified, "NOTIFIED", 2, true),
        (TaskStatus::InProgress, "IN_PROGRESS", 3, true),
        (TaskStatus::Succeeded, "SUCCEEDED", 4, false),
        (TaskStatus::Failed, "FAILED", 5, false),
        (TaskStatus::Canceled, "CANCELED", 6, false),
    ];
    assert_eq!(kept.map(|(status, ..)| status), TaskStatus::ALL);
    for (status, name, code, open) in kept {
        assert_eq!((status.as_str(), status.code(), status.is_open()), (name, code, open));
        assert_eq!((TaskStatus::parse(name), TaskStatus::from_code(code)), (Some(status), Some(status)));
    }
    assert_eq!((TaskStatus::from_code(-1), TaskStatus::from_code(7)), (None, None));
    assert_eq!(TaskStatus::parse("queued"), None);
}

#[test]
fn failures_keep_their_names_and_numbers() {
    use FailureCause as F;
    let kept = [
        (F::Busy, "BUSY", 1),
        (F::Refused(FailedStep::Update), "UPDATE_FAILED", 11),
        (F::Refused(FailedStep::Download), "DOWNLOAD_FAILED", 12),
        (F::Refused(FailedStep::Verify), "DIGEST_MISMATCH", 13),
        (F::Refused(FailedStep::Burn), "BURN_FAILED", 14),
        (F::ForeignVersion, "FOREIGN_VERSION", 2),
        (F::Timeout, "TIMEOUT", 3),
        (F::OfferTimeout, "OFFER_TIMEOUT", 4),
    ];
    assert_eq!(kept.map(|(cause, ..)| cause), F::ALL);
    for (cause, name, code) in kept {
        assert_eq!((cause.as_str(), cause.code()), (name, code));
        assert_eq!((F::parse(name), F::from_code(code)), (Some(cause), Some(cause)));
    }
    assert_eq!([0, 5, 10, 15, -1].map(F::from_code), [None; 5]);
    assert_eq!(F::parse("REFUSED"), None);
}

#[test]
fn cancellations_keep_their_numbers() {
    use CancelCause as C;
    let kept = [(C::Operator, 1), (C::Overwritten, 2), (C::FinishTime, 3), (C::DeviceDeleted, 4)];
    for (cause, code) in kept {
        assert_eq!((cause.code(), C::from_code(code)), (code, Some(cause)));
    }
    assert_eq!([0, 5].map(C::from_code), [None; 2]);
}

/// What a device says with a negative step is what the vendor's protocol calls it.
#[test]
fn failed_steps_are_the_wires_negative_numbers() {
    use FailedStep as F;
    for (step, code) in [(F::Update, -1), (F::Download, -2), (F::Verify, -3), (F::Burn, -4)] {
        assert_eq!((step.code(), F::from_code(code)), (code, Some(step)));
    }
    assert_eq!([0, 1, -5].map(F::from_code), [None; 3]);
}

/// Operators read these sentences in `TaskDesc`: each says its own cause.
#[test]
fn each_cause_has_its_own_sentence() {
    let mut sentences = FailureCause::ALL.map(FailureCause::describe).to_vec();
    let canceled = (1..5).map(|code| CancelCause::from_code(code).unwrap().describe());
    sentences.extend(canceled);
    for (place, sentence) in sentences.iter().enumerate() {
        assert!(sentence.contains(' '), "{sentence:?} says something");
        assert!(!sentences[..place].contains(sentence), "{sentence:?} is said of two causes");
    }
}

/// Dashboards and alerts name these labels.
#[test]
fn what_moved_nothing_keeps_its_label() {
    let labels = [
        (Ignored::Terminal, "terminal"),
        (Ignored::OutOfOrder, "out_of_order"),
        (Ignored::OlderReport, "older_report"),
        (Ignored::TooEarly, "too_early"),
        (Ignored::Duplicate, "duplicate"),
        (Ignored::AnotherOffer, "another_offer"),
    ];
    assert_eq!(labels.map(|(why, _)| why.as_str()), labels.map(|(_, label)| label));
}

#[test]
fn a_percentage_is_whole_and_at_most_one_hundred() {
    for value in 0..=100 {
        assert_eq!(Percent::new(value).map(Percent::get).map(i64::from), Some(value));
    }
    assert_eq!([-1, 101, 256, 356].map(Percent::new), [None; 4]);
}
