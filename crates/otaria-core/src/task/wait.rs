//! Why an open task waits: one answer for operators, from what is known anyway.
//!
//! Nothing decides by it; it only explains.

use super::{Delivery, Retry, TaskState};
use crate::job::{JobStatus, NewJob};
use crate::time::Timestamp;

/// What a task waits for that is not final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitReason {
    /// The job's `ScheduleTime`.
    Schedule,
    /// The device to come online.
    Offline,
    /// Its turn in the job's pace.
    Pace,
    /// `ConfirmOTATask`.
    Confirmation,
    /// The retry interval after a failure.
    Retry,
    /// `ResumeOTAJob`.
    Pause,
    /// The device to ask by itself, since the job does not push.
    Request,
    /// The device to report progress or its version.
    Report,
}

impl WaitReason {
    /// The name on every wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "SCHEDULE",
            Self::Offline => "OFFLINE",
            Self::Pace => "PACE",
            Self::Confirmation => "CONFIRMATION",
            Self::Retry => "RETRY",
            Self::Pause => "PAUSE",
            Self::Request => "REQUEST",
            Self::Report => "REPORT",
        }
    }
}

/// Why a task in `state` waits; `None` when it is final, or its notice is on the way.
#[must_use]
pub fn wait_reason(
    state: &TaskState,
    status: JobStatus,
    job: &NewJob,
    online: bool,
    now: Timestamp,
) -> Option<WaitReason> {
    match state {
        TaskState::Confirm => Some(WaitReason::Confirmation),
        TaskState::Queued => Some(before_a_notice(status, job, online, now)),
        TaskState::Notified { delivery, retry, .. } | TaskState::InProgress { delivery, retry, .. } => {
            match (retry, delivery) {
                (Retry::At(due), _) if now < *due => Some(WaitReason::Retry),
                (Retry::At(_) | Retry::Wanted, _) | (Retry::None, Delivery::Wanted) => {
                    Some(before_a_notice(status, job, online, now))
                }
                (Retry::None, Delivery::Claimed { deadline }) if now < *deadline => None,
                (Retry::None, Delivery::Claimed { .. }) => Some(before_a_notice(status, job, online, now)),
                (Retry::None, Delivery::Written { .. } | Delivery::Fetched) => Some(WaitReason::Report),
            }
        }
        TaskState::Succeeded { .. } | TaskState::Failed { .. } | TaskState::Canceled { .. } => None,
    }
}

/// What holds a notice back; an operator's own doing first.
fn before_a_notice(status: JobStatus, job: &NewJob, online: bool, now: Timestamp) -> WaitReason {
    let early = job.schedule.start.is_some_and(|start| now < start);
    match status {
        JobStatus::Paused => WaitReason::Pause,
        JobStatus::Planned => WaitReason::Schedule,
        JobStatus::InProgress | JobStatus::Completed | JobStatus::Canceled if early => WaitReason::Schedule,
        JobStatus::InProgress | JobStatus::Completed | JobStatus::Canceled => {
            match (job.policy.need_push, online) {
                (false, _) => WaitReason::Request,
                (true, false) => WaitReason::Offline,
                (true, true) => WaitReason::Pace,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{JobParams, Limits, StaticUpgradeParams};
    use crate::task::{Attempt, CancelCause, Percent};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn job(need_push: bool) -> NewJob {
        let job = JobParams {
            product_key: Some("pk1".into()),
            firmware_id: Some("fw1".into()),
            need_push: Some(need_push),
            ..JobParams::default()
        };
        let params = StaticUpgradeParams {
            job,
            target_selection: Some("ALL".into()),
            ..StaticUpgradeParams::default()
        };
        params.parse(NOW, &Limits::default()).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(NOW.millis() + millis)
    }

    fn notified(delivery: Delivery, retry: Retry) -> TaskState {
        let attempt = Attempt { number: 1, offered_at: NOW };
        TaskState::Notified { attempt, delivery, offer_deadline: None, retry }
    }

    #[test]
    fn a_queued_task_names_what_holds_its_notice_back() {
        let why = |status, push, online| wait_reason(&TaskState::Queued, status, &job(push), online, NOW);
        assert_eq!(why(JobStatus::Planned, true, true), Some(WaitReason::Schedule));
        assert_eq!(why(JobStatus::Paused, true, false), Some(WaitReason::Pause));
        assert_eq!(why(JobStatus::InProgress, false, true), Some(WaitReason::Request));
        assert_eq!(why(JobStatus::InProgress, true, false), Some(WaitReason::Offline));
        assert_eq!(why(JobStatus::InProgress, true, true), Some(WaitReason::Pace));
    }

    /// A job may run before its `ScheduleTime`: the loop that starts it reads another clock than who asks.
    #[test]
    fn a_schedule_that_has_not_come_is_the_reason_until_its_very_instant() {
        let mut job = job(true);
        job.schedule.start = Some(at(10));
        let why = |now| wait_reason(&TaskState::Queued, JobStatus::InProgress, &job, true, at(now));
        assert_eq!(
            [9, 10, 11].map(why),
            [WaitReason::Schedule, WaitReason::Pace, WaitReason::Pace].map(Some)
        );
    }

    /// Operators filter by these names.
    #[test]
    fn reasons_keep_their_names() {
        use WaitReason as W;
        let reasons =
            [W::Schedule, W::Offline, W::Pace, W::Confirmation, W::Retry, W::Pause, W::Request, W::Report];
        let names = ["SCHEDULE", "OFFLINE", "PACE", "CONFIRMATION", "RETRY", "PAUSE", "REQUEST", "REPORT"];
        assert_eq!(reasons.map(W::as_str), names);
    }

    #[test]
    fn an_offered_task_waits_for_the_device_unless_a_notice_is_wanted_again() {
        let why = |delivery, retry| {
            wait_reason(&notified(delivery, retry), JobStatus::InProgress, &job(true), false, NOW)
        };
        let written = Delivery::Written { at: NOW };
        assert_eq!(why(written, Retry::None), Some(WaitReason::Report));
        assert_eq!(why(Delivery::Claimed { deadline: at(1) }, Retry::None), None);
        assert_eq!(why(Delivery::Claimed { deadline: NOW }, Retry::None), Some(WaitReason::Offline));
        assert_eq!(why(Delivery::Wanted, Retry::None), Some(WaitReason::Offline));
        assert_eq!(why(written, Retry::At(at(1))), Some(WaitReason::Retry));
        assert_eq!(why(written, Retry::At(NOW)), Some(WaitReason::Offline));
    }

    #[test]
    fn a_final_task_waits_for_nothing_and_an_unconfirmed_one_for_its_confirmation() {
        let ended = TaskState::Canceled { attempts: 0, cause: CancelCause::Operator };
        assert_eq!(wait_reason(&ended, JobStatus::InProgress, &job(true), true, NOW), None);
        let why = wait_reason(&TaskState::Confirm, JobStatus::Paused, &job(true), true, NOW);
        assert_eq!(why, Some(WaitReason::Confirmation));
        let attempt = Attempt { number: 1, offered_at: NOW };
        let running = TaskState::InProgress {
            attempt,
            delivery: Delivery::Fetched,
            percent: Percent::new(3).unwrap(),
            timeout_at: None,
            retry: Retry::None,
        };
        let why = wait_reason(&running, JobStatus::Paused, &job(true), true, NOW);
        assert_eq!(why, Some(WaitReason::Report));
    }
}
