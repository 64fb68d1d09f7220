//! The feed of what happened, for platforms.
//!
//! Only the store publishes, in the order of its commits: so a reader sees each task's transitions in
//! order, whoever caused them.

use std::sync::{Mutex, PoisonError};

use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobId, JobNo, ProductKey};
use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;

/// Something that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose it is.
    pub account: AccountNo,
    /// Of which product.
    pub product: ProductKey,
    /// Of which job.
    pub job: JobId,
    /// That job's number.
    pub job_no: JobNo,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happened,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A task came to be or moved.
    Task {
        /// The device.
        device: DeviceName,
        /// Its id.
        device_id: DeviceId,
        /// From where; `None` when the task was made.
        previous: Option<TaskStatus>,
        /// To where. Equal to `previous` when only progress or attempt moved.
        status: TaskStatus,
        /// Offers so far.
        attempt: u8,
        /// Progress, while `IN_PROGRESS`.
        percent: Option<u8>,
        /// Grows with every change of the task.
        revision: i64,
        /// Why, for ended tasks; the device's words otherwise.
        desc: Option<String>,
    },
    /// A job moved.
    Job {
        /// To where.
        status: JobStatus,
    },
}

/// Takes events. Never waits and never fails the work that caused them.
pub trait Events: Send + Sync {
    /// Whether anybody listens to this account; spares the store from looking up names.
    fn wanted(&self, account: AccountNo) -> bool;

    /// Takes events in order.
    fn publish(&self, events: Vec<Event>);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl Events for NoEvents {
    fn wanted(&self, _: AccountNo) -> bool {
        false
    }

    fn publish(&self, _: Vec<Event>) {}
}

/// Keeps what it hears, for tests.
#[derive(Debug, Default)]
pub struct KeptEvents(pub Mutex<Vec<Event>>);

impl Events for KeptEvents {
    fn wanted(&self, _: AccountNo) -> bool {
        true
    }

    fn publish(&self, events: Vec<Event>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
    }
}
