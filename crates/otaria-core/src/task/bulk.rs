//! One action on many tasks of a job: which of them it means, and what happens to those.
//!
//! Never walks over the tasks: the engine does that, in pieces that survive it.

use super::{FailureCause, TaskEvent, TaskState, TaskStatus};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BulkAction {
    /// ConfirmOTATask.
    Confirm,
    /// ReupgradeOTATask.
    Reupgrade,
}

impl BulkAction {
    /// The number in the store.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Confirm => 0,
            Self::Reupgrade => 1,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Confirm),
            1 => Some(Self::Reupgrade),
            _ => None,
        }
    }

    /// Whether a task in this status can be meant at all.
    #[must_use]
    pub const fn takes(self, status: TaskStatus) -> bool {
        match self {
            Self::Confirm => matches!(status, TaskStatus::Confirm),
            Self::Reupgrade => matches!(status, TaskStatus::Failed | TaskStatus::Canceled),
        }
    }
}

/// Which tasks are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkFilter {
    /// What is done to them.
    pub action: BulkAction,
    /// In one of these statuses: those that the action takes, each once, in order. Not empty.
    pub statuses: Vec<TaskStatus>,
    /// Of those that failed only these causes; of any cause when empty.
    pub causes: Vec<FailureCause>,
}

impl BulkFilter {
    /// Every task that waits for its confirmation.
    #[must_use]
    pub fn confirm() -> Self {
        Self { action: BulkAction::Confirm, statuses: vec![TaskStatus::Confirm], causes: Vec::new() }
    }

    /// Whether a task is meant.
    #[must_use]
    pub fn covers(&self, state: &TaskState) -> bool {
        if !self.statuses.contains(&state.status()) {
            return false;
        }
        match state {
            TaskState::Failed { cause, .. } => self.causes.is_empty() || self.causes.contains(cause),
            TaskState::Confirm
            | TaskState::Queued
            | TaskState::Notified { .. }
            | TaskState::InProgress { .. }
            | TaskState::Succeeded { .. }
            | TaskState::Canceled { .. } => true,
        }
    }

    /// What happens to a task that is meant.
    #[must_use]
    pub const fn event(&self, need_confirm: bool) -> TaskEvent {
        match self.action {
            BulkAction::Confirm => TaskEvent::Confirmed,
            BulkAction::Reupgrade => TaskEvent::Reupgraded { need_confirm },
        }
    }

    /// The statuses as a set of store codes (bit `1 << code`).
    #[must_use]
    pub fn mask(&self) -> i64 {
        self.statuses.iter().map(|status| 1 << status.code()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::CancelCause;

    #[test]
    fn a_cause_narrows_failures_and_nothing_else() {
        let filter = BulkFilter {
            action: BulkAction::Reupgrade,
            statuses: vec![TaskStatus::Failed, TaskStatus::Canceled],
            causes: vec![FailureCause::Timeout],
        };
        let failed = |cause| TaskState::Failed { attempts: 1, cause };
        assert!(filter.covers(&failed(FailureCause::Timeout)));
        assert!(!filter.covers(&failed(FailureCause::Busy)));
        assert!(filter.covers(&TaskState::Canceled { attempts: 0, cause: CancelCause::Operator }));
        assert!(!filter.covers(&TaskState::Succeeded { attempts: 1 }));
        assert_eq!(filter.mask(), 0b110_0000);
    }

    #[test]
    fn an_action_takes_only_what_the_state_machine_lets_it() {
        for status in TaskStatus::ALL {
            let confirm = BulkAction::Confirm.takes(status);
            assert_eq!(confirm, status == TaskStatus::Confirm);
            assert!(!(confirm && BulkAction::Reupgrade.takes(status)));
        }
        for action in [BulkAction::Confirm, BulkAction::Reupgrade] {
            assert_eq!(BulkAction::from_code(action.code()), Some(action));
        }
        assert_eq!(BulkAction::from_code(2), None);
    }
}
