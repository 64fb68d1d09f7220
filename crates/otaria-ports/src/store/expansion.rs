//! From a job's source to its tasks: where devices come from, how far that has come, and what is written at a time.

use otaria_core::expression::GroupExpression;
use otaria_core::gray::Last;
use otaria_core::ids::{DeviceId, GroupNo, JobNo};
use otaria_core::job::DynamicMode;
use otaria_core::task::{TaskKey, TaskStatus};

use super::NewTask;

/// Where a job's devices come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Names kept with the job, one a line.
    Names,
    /// An uploaded list: the object's key and size.
    File {
        /// Where its bytes lie in `Objects`.
        object: String,
        /// Bytes.
        size: u64,
    },
    /// The product's devices.
    Product,
    /// A part of the product's devices, drawn among those that match when the job is made.
    Part {
        /// Devices that match. Filled in by [`super::Jobs::create_job`].
        matching: u64,
        /// Devices that are in: at least one. Filled in by [`super::Jobs::create_job`].
        count: u64,
        /// The last one in, once the draw is done: see [`super::Jobs::put_draw`].
        last: Option<Last>,
    },
    /// Those devices of the product that are in a group when the job is made.
    Group {
        /// The group.
        group: GroupNo,
        /// Its membership number then. Filled in by [`super::Jobs::create_job`].
        upto: i64,
    },
    /// The devices of the product that match, of a dynamic job: by their versions, and by the rule of a group
    /// if it is for one. Only [`DynamicMode::NowAndLater`] is expanded, over the devices that are there when
    /// the job is made; who matches later comes with [`super::Tasks::take_reports`] and
    /// [`super::Devices::register_devices`].
    Standing {
        /// Which of them.
        mode: DynamicMode,
        /// The group that it is for.
        group: Option<StandingGroup>,
    },
}

/// The dynamic group of a dynamic job. Its rule is kept with the job, so it outlives the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingGroup {
    /// The group.
    pub no: GroupNo,
    /// Its rule.
    pub expression: GroupExpression,
}

/// How far an expansion has come. Moves in the transaction of the tasks it accounts for.
///
/// A source is read in chunks; a chunk's distinct names, sorted by (shard, name), are written in slices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Where the running chunk begins: a byte offset, or a count of names.
    pub offset: u64,
    /// Slices of that chunk that are written.
    pub slice: u32,
    /// For [`SourceKind::Product`], [`SourceKind::Part`] and [`SourceKind::Standing`]: the name after which to go on; for
    /// [`SourceKind::Group`] the id.
    pub after: Option<String>,
}

/// Why a line made no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectCause {
    /// Not a device name.
    Malformed,
    /// No such device in the product.
    Unknown,
    /// A second or later occurrence.
    Duplicate,
}

impl RejectCause {
    /// The name in the store and in the reject file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Duplicate => "duplicate",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Malformed, Self::Unknown, Self::Duplicate].into_iter().find(|cause| cause.as_str() == text)
    }
}

/// A line that made no task, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// At most 64 printable characters.
    pub text: String,
    /// Why.
    pub cause: RejectCause,
}

/// Counts of rejected lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Not a device name.
    pub malformed: u64,
    /// No such device in the product.
    pub unknown: u64,
    /// Second and later occurrences.
    pub duplicate: u64,
}

impl Rejections {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.malformed + self.unknown + self.duplicate
    }
}

/// What an expansion has done so far. `lines = tasks + skipped + rejected` after every commit (I4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// How far it has come.
    pub cursor: Cursor,
    /// Whether the source is used up.
    pub complete: bool,
    /// Lines (or devices) accounted for.
    pub lines: u64,
    /// Tasks made, the busy ones among them.
    pub tasks: u64,
    /// Devices that need no task: at the destination, or of another source version.
    pub skipped: u64,
    /// Lines that are no device of this product, or came twice.
    pub rejected: Rejections,
    /// Tasks made as `FAILED` since the device had an unfinished one.
    pub busy: u64,
}

/// One slice of an expansion. Written as a whole, with the cursor, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The job.
    pub job: JobNo,
    /// Where the cursor must be.
    pub from: Cursor,
    /// Where it moves.
    pub to: Cursor,
    /// Whether the source is used up with this slice.
    pub complete: bool,
    /// Lines accounted for: tasks wanted + skipped + rejected.
    pub lines: u64,
    /// Devices that get a task, sorted by device. Those that have a task of this job already count as
    /// duplicates; those with an unfinished one of another job are busy or replace it (I2, I10).
    pub tasks: Vec<NewTask>,
    /// Devices that need none. Kept until the expansion is complete: a second occurrence is a duplicate.
    pub skipped: Vec<DeviceId>,
    /// Lines rejected by the caller, by cause.
    pub rejected: Rejections,
    /// The rejected lines themselves, for the reject file. Duplicates found by the store are added with
    /// the device's name.
    pub rejects: Vec<RejectedLine>,
}

/// What became of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceOutcome {
    /// Devices whose tasks may be pushed (`QUEUED`), sorted.
    pub queued: Vec<DeviceId>,
    /// Tasks of other jobs that were cancelled to make room (I10), in no promised order.
    pub replaced: Vec<Replaced>,
    /// The expansion as it is now.
    pub expansion: Expansion,
}

/// A task that made room for another job's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replaced {
    /// The task.
    pub key: TaskKey,
    /// Where it stood until then, as it was read in the transaction that cancelled it.
    pub status: TaskStatus,
}

/// How a store likes a name list cut. A [`Cursor`] counts in it, so a store never changes it while one stands within
/// a chunk: not without a migration that waits for running expansions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicing {
    /// Lines of a chunk after the first one. Sorted by shard, each of a chunk's slices touches a narrow range of
    /// the store's indexes; the longer the chunk, the narrower. 64k names are 2 MB.
    pub chunk_lines: usize,
    /// Names of a slice, at most 20,000.
    pub slice_names: usize,
}

impl Default for Slicing {
    /// A slice is about 25 ms of a single writer.
    fn default() -> Self {
        Self { chunk_lines: 65_536, slice_names: 5_000 }
    }
}
