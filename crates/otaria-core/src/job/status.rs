//! The status machine of a job: complete and pure.

use super::JobKind;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobStatus {
    /// Waits for its `ScheduleTime`.
    Planned,
    /// Runs.
    InProgress,
    /// Runs, but delivers nothing new. Reads `IN_PROGRESS` on the Alibaba wire.
    Paused,
    /// Expansion is complete and every task is terminal.
    Completed,
    /// Ended before it began, or its strategy was cancelled.
    Canceled,
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// `ScheduleTime` has come.
    Started,
    /// An operator stops deliveries.
    Paused,
    /// An operator lets them go on.
    Resumed,
    /// Expansion is complete and every task is terminal.
    AllDone,
    /// `CancelScheduledTask` on a planned job.
    CanceledBeforeStart,
    /// `CancelOTAStrategyByJob` on a dynamic job.
    StrategyCanceled,
    /// `ReupgradeOTATask` made a task open again.
    Reopened,
}

/// Why a job does not take an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRefusal {
    /// It has ended.
    Ended,
    /// It does not fit the status.
    OutOfOrder,
}

impl JobStatus {
    /// All statuses in the order of a job's life.
    pub const ALL: [Self; 5] =
        [Self::Planned, Self::InProgress, Self::Paused, Self::Completed, Self::Canceled];

    /// Returns the status after `event`.
    ///
    /// # Errors
    /// When the event does not fit; nothing changes then.
    pub fn on(self, event: JobEvent) -> Result<Self, JobRefusal> {
        use JobEvent as E;
        use JobStatus as S;

        match (self, event) {
            (S::Planned, E::Started) => Ok(S::InProgress),
            (S::Planned, E::CanceledBeforeStart) => Ok(S::Canceled),
            (S::Planned | S::InProgress | S::Paused, E::AllDone) => Ok(S::Completed),
            (S::InProgress, E::Paused) => Ok(S::Paused),
            (S::Paused, E::Resumed) => Ok(S::InProgress),
            (S::InProgress | S::Paused, E::StrategyCanceled) => Ok(S::Canceled),
            (S::Completed | S::Canceled, E::Reopened) => Ok(S::InProgress),

            (S::Completed | S::Canceled, _) => Err(JobRefusal::Ended),
            (S::Planned, E::Paused | E::Resumed | E::StrategyCanceled | E::Reopened)
            | (S::InProgress, E::Started | E::Resumed | E::CanceledBeforeStart | E::Reopened)
            | (S::Paused, E::Started | E::Paused | E::CanceledBeforeStart | E::Reopened) => {
                Err(JobRefusal::OutOfOrder)
            }
        }
    }

    /// The name on every wire (but see [`JobStatus::Paused`]).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::InProgress => "IN_PROGRESS",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Canceled => "CANCELED",
        }
    }

    /// The number in the store: its place in [`JobStatus::ALL`].
    #[must_use]
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// Reads the store's number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether the job has ended.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }

    /// Whether notices of a job of this kind may be claimed, as far as the status is concerned. The tasks of a
    /// dynamic job go on when its strategy is cancelled: there are only no new ones.
    #[must_use]
    pub const fn delivers(self, kind: JobKind) -> bool {
        match self {
            Self::InProgress => true,
            Self::Canceled => matches!(kind, JobKind::Dynamic),
            Self::Planned | Self::Paused | Self::Completed => false,
        }
    }

    /// Whether a dynamic job takes devices.
    #[must_use]
    pub const fn takes_devices(self) -> bool {
        matches!(self, Self::InProgress | Self::Paused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [JobEvent; 7] = [
        JobEvent::Started,
        JobEvent::Paused,
        JobEvent::Resumed,
        JobEvent::AllDone,
        JobEvent::CanceledBeforeStart,
        JobEvent::StrategyCanceled,
        JobEvent::Reopened,
    ];

    /// The whole table once more, as the store and every wire know it: a number, a name, whether the job has
    /// ended, whether it takes devices, and where each event of [`EVENTS`] leads.
    #[test]
    fn statuses_are_what_store_and_wires_know() {
        use JobStatus as S;
        let (late, ended) = (Err(JobRefusal::OutOfOrder), Err(JobRefusal::Ended));
        let [running, paused, done, gone] = [S::InProgress, S::Paused, S::Completed, S::Canceled].map(Ok);
        let reopens = [ended, ended, ended, ended, ended, ended, running];
        let table = [
            (S::Planned, "PLANNED", false, false, [running, late, late, done, gone, late, late]),
            (S::InProgress, "IN_PROGRESS", false, true, [late, paused, late, done, late, gone, late]),
            (S::Paused, "PAUSED", false, true, [late, late, running, done, late, gone, late]),
            (S::Completed, "COMPLETED", true, false, reopens),
            (S::Canceled, "CANCELED", true, false, reopens),
        ];
        for (code, (status, name, is_ended, takes_devices, leads)) in (0..).zip(table) {
            assert_eq!((status.as_str(), status.code(), S::from_code(code)), (name, code, Some(status)));
            assert_eq!((status.is_ended(), status.takes_devices()), (is_ended, takes_devices), "{status:?}");
            assert_eq!(EVENTS.map(|event| status.on(event)), leads, "{status:?}");
        }
        assert_eq!([-1, 5].map(S::from_code), [None; 2]);
    }

    #[test]
    fn an_ended_job_only_reopens() {
        for status in JobStatus::ALL.into_iter().filter(|status| status.is_ended()) {
            for event in EVENTS {
                assert_eq!(status.on(event).is_ok(), event == JobEvent::Reopened, "{status:?} {event:?}");
            }
        }
    }

    #[test]
    fn every_event_moves_or_is_refused_and_never_to_the_same_status() {
        for status in JobStatus::ALL {
            for event in EVENTS {
                assert_ne!(status.on(event), Ok(status), "{event:?}");
            }
        }
    }

    #[test]
    fn a_pause_delivers_nothing_and_a_resume_goes_on() {
        let paused = JobStatus::InProgress.on(JobEvent::Paused).unwrap();
        assert!(!paused.delivers(JobKind::Static));
        assert!(paused.on(JobEvent::Resumed).unwrap().delivers(JobKind::Static));
    }

    #[test]
    fn tasks_outlive_their_strategy() {
        let canceled = JobStatus::InProgress.on(JobEvent::StrategyCanceled).unwrap();
        assert!(canceled.delivers(JobKind::Dynamic) && !canceled.delivers(JobKind::Static));
        assert!(!canceled.takes_devices());
    }
}
