//! The one place where facts live: accounts, devices, firmware, jobs, tasks, leases.
//!
//! Every method is one transaction. Batches come in and results go out in the same order. The store never
//! decides what a task becomes: it keeps what the rules decided, by compare-and-set, and it is the only
//! publisher of [`crate::events`], in the order of its commits.
//!
//! Invariant: whatever a method wrote before it failed or the process died is nothing or all.

mod accounts;
mod applies;
pub mod contract;
mod devices;
mod expansion;
mod firmwares;
mod groups;
mod jobs;
mod leases;
pub mod memory;
mod modules;
mod tasks;

pub use accounts::{AccessKey, Account, Accounts, KeyUpdate, Role};
pub use applies::{Applies, Apply, ApplyName, NewApply, RefusedName};
pub use devices::{
    AuthRow, Candidate, Device, Devices, Drawn, ModuleVersion, NewDevice, NewProduct, Product, VersionReport,
};
pub use expansion::{
    Cursor, Expansion, RejectCause, RejectedLine, Rejections, Replaced, Slice, SliceOutcome, Slicing,
    SourceKind, StandingGroup,
};
pub use firmwares::{Firmware, FirmwareFilter, Firmwares, PackageFile, StoredUpload, UploadKind};
pub use groups::{AddedToGroup, GROUPS_OF_DEVICE_MAX, Group, GroupFilter, Groups, NewGroup};
pub use jobs::{Bulk, BulkStep, CreateJob, CreatedJob, Job, JobMove, Jobs, Sweep, TaskCounts};
pub use leases::{Leases, Member, OwnedShards, ShardLease};
pub use modules::{MODULES_MAX, Module, Modules};
pub use tasks::{
    EndedOffer, JobTurn, LAST_TASKS, NewTask, ReportsTaken, Task, TaskChange, TaskFilter, TaskPage, TaskView,
    Tasks,
};

use crate::BoxError;
use crate::nonces::Nonces;

/// Rows per store call. 1,000 rows × 16 binds stay below SQLite's limit of 32,766 binds
/// (<https://sqlite.org/limits.html#max_variable_number>) and PostgreSQL's of 65,535; the SQLite adapter
/// binds one JSON text anyway.
pub const BATCH_MAX: usize = 1_000;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row moved since it was read. Read again and decide anew.
    #[error("{what} changed meanwhile")]
    Conflict {
        /// What moved.
        what: &'static str,
    },
    /// There is one of this name already.
    #[error("{what} exists already")]
    Exists {
        /// What exists.
        what: &'static str,
    },
    /// What the call refers to is not there (any more), or belongs to somebody else.
    #[error("{what} not found")]
    NotFound {
        /// What is missing.
        what: &'static str,
    },
    /// Busy or unreachable. Safe to repeat, even when the first try did commit.
    #[error("store unavailable while {doing}")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
    /// A row breaks an invariant of the domain. Never repeated, always alerted.
    #[error("corrupt row in {table}: {reason}")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// How.
        reason: String,
    },
}

/// All of the store. Used nonces are facts too: a replay must be refused after a restart as well.
pub trait Store:
    Accounts + Devices + Applies + Groups + Firmwares + Modules + Jobs + Tasks + Leases + Nonces
{
}

impl<T> Store for T where
    T: Accounts + Devices + Applies + Groups + Firmwares + Modules + Jobs + Tasks + Leases + Nonces
{
}
