//! Tasks: the columns that a state is kept in, and back.

use otaria_core::ids::{DeviceId, InformedVersion, JobNo, Version};
use otaria_core::task::{
    Attempt, CancelCause, Delivery, FailureCause, Percent, ReportOrder, Retry, TaskKey, TaskState, TaskStatus,
};
use otaria_core::time::Timestamp;
use otaria_ports::store::{EndedOffer, StoreError, Task};

use super::{Columns, Of, module};

/// A state as its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateColumns {
    pub(crate) status: i64,
    pub(crate) attempts: i64,
    pub(crate) offered_at: Option<i64>,
    pub(crate) delivery: Option<i64>,
    pub(crate) delivery_at: Option<i64>,
    pub(crate) deadline_at: Option<i64>,
    pub(crate) retry_at: Option<i64>,
    pub(crate) percent: Option<i64>,
    pub(crate) cause: Option<i64>,
}

/// `retry_at` of a retry that waits for device and pace.
const RETRY_WANTED: i64 = 0;

impl StateColumns {
    pub(crate) fn of(state: &TaskState) -> Self {
        let base =
            Self { status: state.status().code(), attempts: i64::from(state.attempts()), ..Self::default() };
        match state {
            TaskState::Confirm | TaskState::Queued | TaskState::Succeeded { .. } => base,
            TaskState::Notified { attempt, delivery, offer_deadline, retry } => Self {
                deadline_at: offer_deadline.map(Timestamp::millis),
                ..base.offer(*attempt, *delivery, *retry)
            },
            TaskState::InProgress { attempt, delivery, percent, timeout_at, retry } => Self {
                deadline_at: timeout_at.map(Timestamp::millis),
                percent: Some(i64::from(percent.get())),
                ..base.offer(*attempt, *delivery, *retry)
            },
            TaskState::Failed { cause, .. } => Self { cause: Some(cause.code()), ..base },
            TaskState::Canceled { cause, .. } => Self { cause: Some(cause.code()), ..base },
        }
    }

    fn offer(self, attempt: Attempt, delivery: Delivery, retry: Retry) -> Self {
        let (delivery, delivery_at) = match delivery {
            Delivery::Claimed { deadline } => (0, Some(deadline.millis())),
            Delivery::Wanted => (1, None),
            Delivery::Written { at } => (2, Some(at.millis())),
            Delivery::Fetched => (3, None),
        };
        let retry_at = match retry {
            Retry::None => None,
            Retry::At(at) => Some(at.millis()),
            Retry::Wanted => Some(RETRY_WANTED),
        };
        let offered_at = Some(attempt.offered_at.millis());
        Self { offered_at, delivery: Some(delivery), delivery_at, retry_at, ..self }
    }

    /// The state that these columns are; `None` when they are none.
    pub(crate) fn state(&self) -> Option<TaskState> {
        let attempts = u8::try_from(self.attempts).ok()?;
        let deadline = self.deadline_at.map(Timestamp::from_millis);
        Some(match TaskStatus::from_code(self.status)? {
            TaskStatus::Confirm => TaskState::Confirm,
            TaskStatus::Queued => TaskState::Queued,
            TaskStatus::Notified => TaskState::Notified {
                attempt: self.attempt(attempts)?,
                delivery: self.delivery()?,
                offer_deadline: deadline,
                retry: self.retry(),
            },
            TaskStatus::InProgress => TaskState::InProgress {
                attempt: self.attempt(attempts)?,
                delivery: self.delivery()?,
                percent: Percent::new(self.percent?)?,
                timeout_at: deadline,
                retry: self.retry(),
            },
            TaskStatus::Succeeded => TaskState::Succeeded { attempts },
            TaskStatus::Failed => {
                TaskState::Failed { attempts, cause: FailureCause::from_code(self.cause?)? }
            }
            TaskStatus::Canceled => {
                TaskState::Canceled { attempts, cause: CancelCause::from_code(self.cause?)? }
            }
        })
    }

    fn attempt(&self, number: u8) -> Option<Attempt> {
        Some(Attempt { number, offered_at: Timestamp::from_millis(self.offered_at?) })
    }

    fn delivery(&self) -> Option<Delivery> {
        let at = self.delivery_at.map(Timestamp::from_millis);
        Some(match self.delivery? {
            0 => Delivery::Claimed { deadline: at? },
            1 => Delivery::Wanted,
            2 => Delivery::Written { at: at? },
            3 => Delivery::Fetched,
            _ => return None,
        })
    }

    fn retry(&self) -> Retry {
        match self.retry_at {
            None => Retry::None,
            Some(RETRY_WANTED) => Retry::Wanted,
            Some(at) => Retry::At(Timestamp::from_millis(at)),
        }
    }
}

pub(crate) fn task(row: &impl Columns) -> Result<Task, StoreError> {
    let of = Of { table: "task", row };
    let id: i64 = of.get("id")?;
    let columns = StateColumns {
        status: of.get("status")?,
        attempts: of.get("attempts")?,
        offered_at: of.get("offered_at")?,
        delivery: of.get("delivery")?,
        delivery_at: of.get("delivery_at")?,
        deadline_at: of.get("deadline_at")?,
        retry_at: of.get("retry_at")?,
        percent: of.get("percent")?,
        cause: of.get("cause")?,
    };
    let created_at = of.at("created_at")?;
    Ok(Task {
        key: TaskKey {
            device: DeviceId(of.get("device_id")?),
            job: JobNo(id >> 32),
            seq: u32::try_from(id & 0xffff_ffff).map_err(|_| of.corrupt("id"))?,
        },
        module: of.parsed("module", module)?,
        state: columns.state().ok_or_else(|| of.corrupt(format!("no state of a task: {columns:?}")))?,
        revision: of.get("revision")?,
        report: ReportOrder {
            session: of.get("report_session")?,
            n: of.parsed("report_n", |n: i64| u32::try_from(n).ok())?,
        },
        notices: of.parsed("notices", |n: i64| u32::try_from(n).ok())?,
        src_version: of.maybe("src_version", |text: &str| InformedVersion::parse(text).ok())?,
        desc: of.get("words")?,
        created_at,
        modified_at: of.maybe_at("modified_at")?.unwrap_or(created_at),
    })
}

/// What an ended task had offered.
pub(crate) fn ended_offer(row: &impl Columns) -> Result<EndedOffer, StoreError> {
    let of = Of { table: "task", row };
    Ok(EndedOffer {
        device: DeviceId(of.get("device_id")?),
        module: of.parsed("module", module)?,
        version: of.parsed("dest_version", |text: &str| Version::parse(text).ok())?,
        succeeded_at: of.maybe_at("succeeded_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use otaria_core::task::FailedStep;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn every_state_survives_its_columns() {
        let attempt = Attempt { number: 3, offered_at: at(77) };
        let mut states = vec![
            TaskState::Confirm,
            TaskState::Queued,
            TaskState::Succeeded { attempts: 0 },
            TaskState::Failed { attempts: 2, cause: FailureCause::Refused(FailedStep::Burn) },
            TaskState::Failed { attempts: 0, cause: FailureCause::Busy },
            TaskState::Canceled { attempts: 1, cause: CancelCause::FinishTime },
        ];
        let deliveries = [
            Delivery::Claimed { deadline: at(5) },
            Delivery::Wanted,
            Delivery::Written { at: at(6) },
            Delivery::Fetched,
        ];
        for delivery in deliveries {
            for retry in [Retry::None, Retry::At(at(9)), Retry::Wanted] {
                for clock in [None, Some(at(10))] {
                    let percent = Percent::new(40).unwrap();
                    states.push(TaskState::Notified { attempt, delivery, offer_deadline: clock, retry });
                    states.push(TaskState::InProgress {
                        attempt,
                        delivery,
                        percent,
                        timeout_at: clock,
                        retry,
                    });
                }
            }
        }
        for state in states {
            assert_eq!(StateColumns::of(&state).state(), Some(state));
        }
    }

    #[test]
    fn columns_that_are_no_state_are_refused() {
        let queued = StateColumns::of(&TaskState::Queued);
        assert_eq!(StateColumns { status: 9, ..queued }.state(), None);
        assert_eq!(StateColumns { status: TaskStatus::Notified.code(), ..queued }.state(), None);
        assert_eq!(
            StateColumns { status: TaskStatus::Failed.code(), cause: Some(99), ..queued }.state(),
            None
        );
    }
}
