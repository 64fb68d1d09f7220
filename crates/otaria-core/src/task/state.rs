//! The states and the one transition function.

use super::cause::{CancelCause, FailureCause};
use super::offer::{Attempt, DELIVERY_DEADLINE, Delivery, REPEAT_SPACING, Retry};
use super::{Ignored, Percent, TaskEvent, TaskPolicy, TaskStatus};
use crate::ids::JobNo;
use crate::time::{Timestamp, earliest};

/// Where one device stands in one job.
///
/// `Succeeded`, `Failed` and `Canceled` are terminal: only an operator's reupgrade leaves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for the app's confirmation.
    Confirm,
    /// Waits for its schedule, for the device to be online, or for the job's pace.
    Queued,
    /// Offered; see `delivery` for whether the notice reached the socket.
    Notified {
        /// The running offer.
        attempt: Attempt,
        /// Its notice.
        delivery: Delivery,
        /// Failure when the device stays silent until then.
        offer_deadline: Option<Timestamp>,
        /// The next offer, after a failure.
        retry: Retry,
    },
    /// The device reported progress; its timeout runs from that first report and is never moved.
    InProgress {
        /// The running offer.
        attempt: Attempt,
        /// Its notice.
        delivery: Delivery,
        /// The last report.
        percent: Percent,
        /// Failure when the update is not done until then.
        timeout_at: Option<Timestamp>,
        /// The next offer, after a failure.
        retry: Retry,
    },
    /// The destination version is there.
    Succeeded {
        /// Offers made, 0 when the device came to the version by itself.
        attempts: u8,
    },
    /// It is not, and nothing more is tried.
    Failed {
        /// Offers made.
        attempts: u8,
        /// Why.
        cause: FailureCause,
    },
    /// Ended before it was decided.
    Canceled {
        /// Offers made.
        attempts: u8,
        /// Why.
        cause: CancelCause,
    },
}

/// What the dispatcher may do for a task of an online device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The first offer.
    First,
    /// The next offer after a failure.
    Retry,
    /// The notice of the running offer, which was not written.
    Redelivery,
    /// The notice of the running offer once more for a new session, not before this instant.
    Repeat(Timestamp),
    /// Nothing now.
    Nothing,
}

impl TaskState {
    /// The status that the world sees.
    #[must_use]
    pub const fn status(&self) -> TaskStatus {
        match self {
            Self::Confirm => TaskStatus::Confirm,
            Self::Queued => TaskStatus::Queued,
            Self::Notified { .. } => TaskStatus::Notified,
            Self::InProgress { .. } => TaskStatus::InProgress,
            Self::Succeeded { .. } => TaskStatus::Succeeded,
            Self::Failed { .. } => TaskStatus::Failed,
            Self::Canceled { .. } => TaskStatus::Canceled,
        }
    }

    /// Offers made so far.
    #[must_use]
    pub const fn attempts(&self) -> u8 {
        match self {
            Self::Confirm | Self::Queued => 0,
            Self::Notified { attempt, .. } | Self::InProgress { attempt, .. } => attempt.number,
            Self::Succeeded { attempts }
            | Self::Failed { attempts, .. }
            | Self::Canceled { attempts, .. } => *attempts,
        }
    }

    /// The running offer.
    #[must_use]
    pub const fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Notified { attempt, .. } | Self::InProgress { attempt, .. } => Some(*attempt),
            Self::Confirm
            | Self::Queued
            | Self::Succeeded { .. }
            | Self::Failed { .. }
            | Self::Canceled { .. } => None,
        }
    }

    /// The earliest of the task's clocks: the one timer that the store keeps.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Notified { delivery, offer_deadline, retry, .. } => {
                earliest([delivery.deadline(), *offer_deadline, retry.due()])
            }
            Self::InProgress { delivery, timeout_at, retry, .. } => {
                earliest([delivery.deadline(), *timeout_at, retry.due()])
            }
            Self::Confirm
            | Self::Queued
            | Self::Succeeded { .. }
            | Self::Failed { .. }
            | Self::Canceled { .. } => None,
        }
    }

    /// What may be pushed to the device if it is online.
    #[must_use]
    pub fn want(&self, now: Timestamp) -> Want {
        match self {
            Self::Queued => Want::First,
            Self::Notified { delivery, retry, .. } | Self::InProgress { delivery, retry, .. } => {
                match (retry, delivery) {
                    (Retry::Wanted, _) => Want::Retry,
                    (Retry::At(due), _) if *due <= now => Want::Retry,
                    (Retry::At(_), _) => Want::Nothing,
                    (Retry::None, Delivery::Wanted) => Want::Redelivery,
                    (Retry::None, Delivery::Claimed { deadline }) if *deadline <= now => Want::Redelivery,
                    (Retry::None, Delivery::Written { at }) => Want::Repeat(*at + REPEAT_SPACING),
                    (Retry::None, Delivery::Claimed { .. } | Delivery::Fetched) => Want::Nothing,
                }
            }
            Self::Confirm | Self::Succeeded { .. } | Self::Failed { .. } | Self::Canceled { .. } => {
                Want::Nothing
            }
        }
    }

    /// Whether a report can be about this offer, a task's of the job `own`: read at `at` from a session that was told
    /// of the job `told` last. It cannot if that is another job, and the offer's own notice was not written by then,
    /// for all that is known.
    ///
    /// Only what a device runs speaks for itself: the version that the task wants counts whoever asked for it.
    #[must_use]
    pub fn is_meant(&self, told: Option<JobNo>, own: JobNo, at: Timestamp) -> bool {
        if told.is_none_or(|job| job == own) {
            return true;
        }
        match self {
            Self::Notified { delivery, .. } | Self::InProgress { delivery, .. } => delivery.is_out_by(at),
            Self::Confirm
            | Self::Queued
            | Self::Succeeded { .. }
            | Self::Failed { .. }
            | Self::Canceled { .. } => true,
        }
    }

    /// Returns the state after `event`, or the reason why nothing changes.
    ///
    /// # Errors
    /// [`Ignored`] is the normal life of late, double and foreign messages, not an outage.
    pub fn on(&self, event: &TaskEvent, policy: &TaskPolicy, now: Timestamp) -> Result<Self, Ignored> {
        use TaskEvent as E;
        use TaskState as S;

        match (self, event) {
            (S::Failed { .. } | S::Canceled { .. }, E::Reupgraded { need_confirm }) => {
                Ok(if *need_confirm { S::Confirm } else { S::Queued })
            }
            (S::Succeeded { .. } | S::Failed { .. } | S::Canceled { .. }, _) => Err(Ignored::Terminal),
            (_, E::Reupgraded { .. }) => Err(Ignored::OutOfOrder),

            (_, E::Canceled { cause }) => Ok(S::Canceled { attempts: self.attempts(), cause: *cause }),
            // Success is the version that a device informs, whatever it claimed or was offered before.
            (_, E::Informed { version, .. }) if *version == policy.dest_version => {
                Ok(S::Succeeded { attempts: self.attempts() })
            }
            (_, E::Informed { version, source: Some(source), .. }) if version == source => {
                Err(Ignored::OutOfOrder)
            }
            (S::Notified { .. } | S::InProgress { .. }, E::Informed { offered_before: true, .. }) => {
                self.after_earlier_offer()
            }
            (S::InProgress { .. }, E::Informed { source: Some(_), .. }) => {
                self.after_failure(FailureCause::ForeignVersion, policy, now)
            }
            (_, E::Informed { .. }) => Err(Ignored::OutOfOrder),

            (S::Confirm, E::Confirmed) => Ok(S::Queued),
            (_, E::Confirmed) => Err(Ignored::OutOfOrder),

            (S::Queued | S::Notified { .. } | S::InProgress { .. }, E::Claimed { not_before }) => {
                self.claim(*not_before, now)
            }
            (S::Notified { .. } | S::InProgress { .. }, E::Written { attempt }) => {
                self.written(*attempt, policy, now)
            }
            (S::Queued | S::Notified { .. } | S::InProgress { .. }, E::Fetched) => self.fetched(policy, now),
            (S::Notified { .. } | S::InProgress { .. }, E::Progress { percent }) => {
                self.progress(*percent, policy, now)
            }
            (S::Notified { .. } | S::InProgress { .. }, E::Refused { step }) => {
                self.after_failure(FailureCause::Refused(*step), policy, now)
            }
            (S::Notified { .. } | S::InProgress { .. }, E::DeadlinePassed) => self.after_deadline(now),

            (
                S::Confirm,
                E::Claimed { .. }
                | E::Written { .. }
                | E::Fetched
                | E::Progress { .. }
                | E::Refused { .. }
                | E::DeadlinePassed,
            )
            | (S::Queued, E::Written { .. } | E::Progress { .. } | E::Refused { .. } | E::DeadlinePassed) => {
                Err(Ignored::OutOfOrder)
            }
        }
    }

    /// A notice goes out: the first, a retry's, or the running offer's once more.
    fn claim(&self, not_before: Timestamp, now: Timestamp) -> Result<Self, Ignored> {
        let claimed = Delivery::Claimed { deadline: not_before.max(now) + DELIVERY_DEADLINE };
        let same_offer = match self.want(now) {
            Want::Nothing => return Err(Ignored::TooEarly),
            Want::Repeat(from) if now < from => return Err(Ignored::TooEarly),
            Want::First | Want::Retry => false,
            Want::Redelivery | Want::Repeat(_) => true,
        };
        let next = |last: u8| Attempt { number: last.saturating_add(1), offered_at: now };
        Ok(match self {
            Self::Notified { attempt, offer_deadline, .. } if same_offer => Self::Notified {
                attempt: *attempt,
                delivery: claimed,
                offer_deadline: *offer_deadline,
                retry: Retry::None,
            },
            Self::Notified { attempt, .. } => Self::Notified {
                attempt: next(attempt.number),
                delivery: claimed,
                offer_deadline: None,
                retry: Retry::None,
            },
            // A retry after a failure leaves the status and the timeout as they are.
            Self::InProgress { attempt, percent, timeout_at, .. } => Self::InProgress {
                attempt: if same_offer { *attempt } else { next(attempt.number) },
                delivery: claimed,
                percent: *percent,
                timeout_at: *timeout_at,
                retry: Retry::None,
            },
            _ => Self::Notified {
                attempt: next(0),
                delivery: claimed,
                offer_deadline: None,
                retry: Retry::None,
            },
        })
    }

    /// The gateway wrote the notice; from now on the device's silence counts.
    fn written(&self, written: u8, policy: &TaskPolicy, now: Timestamp) -> Result<Self, Ignored> {
        let mut next = self.clone();
        let (Self::Notified { attempt, delivery, .. } | Self::InProgress { attempt, delivery, .. }) =
            &mut next
        else {
            return Err(Ignored::OutOfOrder);
        };
        if attempt.number != written {
            return Err(Ignored::OlderReport);
        }
        match delivery {
            Delivery::Written { .. } | Delivery::Fetched => return Err(Ignored::Duplicate),
            Delivery::Claimed { .. } | Delivery::Wanted => *delivery = Delivery::Written { at: now },
        }
        if let Self::Notified { offer_deadline, retry: Retry::None, .. } = &mut next {
            *offer_deadline = offer_deadline.or(policy.offer_timeout.map(|span| now + span));
        }
        Ok(next)
    }

    /// The device asked by itself: what waits is offered, what runs is only repeated.
    fn fetched(&self, policy: &TaskPolicy, now: Timestamp) -> Result<Self, Ignored> {
        let offer_deadline = policy.offer_timeout.map(|span| now + span);
        let next = |last: u8| Attempt { number: last.saturating_add(1), offered_at: now };
        match (self, self.want(now)) {
            (Self::Queued, _) => Ok(Self::Notified {
                attempt: next(0),
                delivery: Delivery::Fetched,
                offer_deadline,
                retry: Retry::None,
            }),
            (Self::Notified { attempt, .. }, Want::Retry) => Ok(Self::Notified {
                attempt: next(attempt.number),
                delivery: Delivery::Fetched,
                offer_deadline,
                retry: Retry::None,
            }),
            (Self::InProgress { attempt, percent, timeout_at, .. }, Want::Retry) => Ok(Self::InProgress {
                attempt: next(attempt.number),
                delivery: Delivery::Fetched,
                percent: *percent,
                timeout_at: *timeout_at,
                retry: Retry::None,
            }),
            // The reply carries the running offer; nobody needs to push it any more.
            (Self::Notified { delivery: Delivery::Claimed { .. } | Delivery::Wanted, .. }, _)
            | (Self::InProgress { delivery: Delivery::Claimed { .. } | Delivery::Wanted, .. }, _) => {
                self.written(self.attempts(), policy, now)
            }
            _ => Err(Ignored::Duplicate),
        }
    }

    /// The first report of progress starts the timeout; later ones never move it.
    fn progress(&self, percent: Percent, policy: &TaskPolicy, now: Timestamp) -> Result<Self, Ignored> {
        match self {
            Self::Notified { attempt, delivery, retry, .. } => Ok(Self::InProgress {
                attempt: *attempt,
                delivery: delivery.reached(now),
                percent,
                timeout_at: policy.timeout.map(|span| now + span),
                retry: *retry,
            }),
            Self::InProgress { percent: known, delivery, .. }
                if *known == percent && !delivery.is_unheard() =>
            {
                Err(Ignored::Duplicate)
            }
            Self::InProgress { attempt, delivery, timeout_at, retry, .. } => Ok(Self::InProgress {
                attempt: *attempt,
                delivery: delivery.reached(now),
                percent,
                timeout_at: *timeout_at,
                retry: *retry,
            }),
            Self::Confirm
            | Self::Queued
            | Self::Succeeded { .. }
            | Self::Failed { .. }
            | Self::Canceled { .. } => Err(Ignored::OutOfOrder),
        }
    }

    /// The device carried out what an earlier task had offered. It may have had no ear for this offer's notice, and
    /// what was taken for a sign of it may have been none: unless somebody says from now on that it was written, it
    /// goes out once more, no sooner than any repeat. Once only: what was repeated is not doubted again.
    fn after_earlier_offer(&self) -> Result<Self, Ignored> {
        let mut next = self.clone();
        let (Self::Notified { attempt, delivery, retry: Retry::None, .. }
        | Self::InProgress { attempt, delivery, retry: Retry::None, .. }) = &mut next
        else {
            return Err(Ignored::OutOfOrder);
        };
        match *delivery {
            Delivery::Written { at } if at < attempt.offered_at + REPEAT_SPACING => {
                *delivery = Delivery::Claimed { deadline: at + REPEAT_SPACING };
                Ok(next)
            }
            Delivery::Written { .. } | Delivery::Claimed { .. } | Delivery::Wanted | Delivery::Fetched => {
                Err(Ignored::OutOfOrder)
            }
        }
    }

    /// A failure: another offer while the job grants one, the end otherwise.
    fn after_failure(
        &self,
        cause: FailureCause,
        policy: &TaskPolicy,
        now: Timestamp,
    ) -> Result<Self, Ignored> {
        let mut next = self.clone();
        let (Self::Notified { attempt, delivery, retry, .. }
        | Self::InProgress { attempt, delivery, retry, .. }) = &mut next
        else {
            return Err(Ignored::OutOfOrder);
        };
        if *retry != Retry::None {
            return Err(Ignored::Duplicate);
        }
        let Some(granted) = policy.retry.filter(|granted| attempt.number <= granted.count) else {
            return Ok(Self::Failed { attempts: attempt.number, cause });
        };
        *retry = Retry::At(now + granted.interval);
        *delivery = delivery.reached(now);
        if let Self::Notified { offer_deadline, .. } = &mut next {
            *offer_deadline = None;
        }
        Ok(next)
    }

    /// One of the clocks ran out; the gravest wins.
    fn after_deadline(&self, now: Timestamp) -> Result<Self, Ignored> {
        let passed = |due: Option<Timestamp>| due.is_some_and(|due| due <= now);
        let mut next = self.clone();
        let (delivery, retry) = match &mut next {
            Self::InProgress { attempt, timeout_at, .. } if passed(*timeout_at) => {
                return Ok(Self::Failed { attempts: attempt.number, cause: FailureCause::Timeout });
            }
            Self::Notified { attempt, offer_deadline, .. } if passed(*offer_deadline) => {
                return Ok(Self::Failed { attempts: attempt.number, cause: FailureCause::OfferTimeout });
            }
            Self::Notified { delivery, retry, .. } | Self::InProgress { delivery, retry, .. } => {
                (delivery, retry)
            }
            _ => return Err(Ignored::OutOfOrder),
        };
        let (late, again) = (passed(delivery.deadline()), passed(retry.due()));
        if late {
            *delivery = Delivery::Wanted;
        }
        if again {
            *retry = Retry::Wanted;
        }
        if late || again { Ok(next) } else { Err(Ignored::TooEarly) }
    }
}
