//! The lines of both records. A file is NDJSON: one object a line, fields that are empty left out.
//!
//! A server's file begins with [`Fact::Start`] and names its process there; several processes write a file each,
//! and a rotated file goes on counting where the one before it ended. A line that was cut by a crash is the
//! last one of its file. All instants are microseconds since 1970: a server's by the clock that all processes share,
//! a device's by the clock of its machine.

use serde::{Deserialize, Serialize};

/// One line of a server's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counts the lines of a process, from 1, whether they were kept or not.
    pub n: u64,
    /// Not earlier than this: when the work began that the line tells of.
    pub from: u64,
    /// Not later than this: when it was known to be done. `from..=at` holds the commit, or the write to a socket.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What a server writes down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// A process begins, or its file was rotated.
    Start {
        /// Which process: unique among all that write to the same folder, and new with every start.
        process: String,
        /// The version of the program.
        version: String,
    },
    /// The process ended in order: nothing is missing after this line.
    Stop {},
    /// Lines were lost, because the disk was full or slower than the work.
    Gap {
        /// How many.
        lost: u64,
    },
    /// A job was made.
    Job(Box<JobMade>),
    /// The same call was made again, and answered with a job that was there.
    JobAgain {
        /// The job.
        job: i64,
        /// What was asked for.
        digest: String,
    },
    /// A job changed its parameters: what is absent stayed.
    JobChanged {
        /// The job.
        job: i64,
        /// Notices in any 60 s at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per_minute: Option<u32>,
        /// From the first progress to failure, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_s: Option<u64>,
    },
    /// A job moved.
    JobMoved {
        /// The job.
        job: i64,
        /// To which status.
        to: String,
    },
    /// An expansion moved on: its counts so far.
    Expanded {
        /// The job.
        job: i64,
        /// Whether the source is used up.
        complete: bool,
        /// Lines accounted for.
        lines: u64,
        /// Tasks made, the busy ones among them.
        tasks: u64,
        /// Devices that need none.
        skipped: u64,
        /// Lines that are no device of the product, or came twice.
        rejected: u64,
    },
    /// Some or all tasks of a job are to be cancelled, or the job was paused: committed.
    Held {
        /// The job.
        job: i64,
        /// The fence from then on.
        fence: u64,
        /// Bits `1 << status code` of what is cancelled; 0 for a pause.
        mask: i64,
    },
    /// No process writes a notice of the job with a smaller fence any more: the call can be answered.
    Fenced {
        /// The job.
        job: i64,
        /// The fence.
        fence: u64,
    },
    /// A task came to be or moved, as [`otaria_ports::events`] tells it.
    Task {
        /// The job.
        job: i64,
        /// The device's number.
        device: i64,
        /// The device's name.
        name: String,
        /// The module; left out by servers, since it is its job's.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        module: String,
        /// From which status; absent when it was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
        /// To which. The same as `previous` when only attempt, percentage or words moved.
        status: String,
        /// Offers so far.
        attempt: u8,
        /// Percent, while `IN_PROGRESS`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
        /// Grows with every write of the task, also with those that are not told.
        revision: i64,
        /// Why, for ended tasks; the device's words otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        desc: Option<String>,
    },
    /// An operator's order was written to a task: it was confirmed, or, being terminal, started again. Nothing else
    /// opens a terminal task.
    Reupgraded {
        /// The job.
        job: i64,
        /// The device's number.
        device: i64,
        /// The revision after it.
        revision: i64,
    },
    /// A notice was claimed under a lease: committed.
    Claimed {
        /// The job.
        job: i64,
        /// The device's number.
        device: i64,
        /// Which offer.
        attempt: u8,
        /// The task's revision after it.
        revision: i64,
        /// The shard.
        shard: u8,
        /// The epoch of the lease.
        epoch: i64,
        /// Whose lease.
        member: i64,
    },
    /// What became of a notice at the gateway: `written`, `gone`, `stale`, `congested`. For a written one
    /// `from..=at` is around the write itself.
    Settled {
        /// The job.
        job: i64,
        /// The device's number.
        device: i64,
        /// Which offer.
        attempt: u8,
        /// The `id` on the wire.
        wire_id: i64,
        /// What became of it.
        outcome: String,
        /// The shard and epoch under which it was claimed.
        shard: u8,
        /// See `shard`.
        epoch: i64,
        /// The job's fence when it was claimed.
        fence: u64,
    },
    /// A device's report reached the engine. Told before the engine looks at it: what it causes comes after it in the
    /// same file, and `from..=at` is when it was read. Whether it caused anything is told by what follows.
    Report {
        /// The device's number.
        device: i64,
        /// The module.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        module: String,
        /// The version that it informed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The step of its progress; negative for failures.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<i16>,
    },
    /// A lease was taken, by this process or, found by reading, by another one. No process claims or writes under a
    /// smaller epoch after this line's `at`.
    Lease {
        /// The shard.
        shard: u8,
        /// The new epoch.
        epoch: i64,
        /// Whose.
        member: i64,
    },
    /// Gateways know of the epoch: none of them writes a notice with a smaller one after this line.
    EpochRaised {
        /// The shard.
        shard: u8,
        /// The epoch.
        epoch: i64,
    },
    /// A job's kept counts, as they were read.
    Counts {
        /// The job.
        job: i64,
        /// Tasks by status, in the order of the status codes.
        by_status: [u64; 7],
        /// Notices written.
        notices: u64,
    },
    /// Two requests with one token: the second was refused since its body differs.
    TokenRefused {
        /// Whose.
        account: i64,
        /// The token, as a digest like [`JobMade::token`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// What was asked for the second time.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        digest: String,
    },
    /// A write of the store was not answered: it may be done or not. If it is, the lines that it would have made
    /// (tasks that moved, claims, leases) are missing.
    Unsure {
        /// Which call.
        doing: String,
        /// The jobs that it was about; none when it may have been any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        jobs: Vec<i64>,
    },
    /// An audit found that a kept count differs from a count of the tasks (I9).
    Miscounted {
        /// The job.
        job: i64,
        /// Of which status.
        status: String,
        /// What was kept.
        kept: u64,
        /// What was counted.
        counted: u64,
    },
}

/// A job as it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobMade {
    /// Its number.
    pub job: i64,
    /// Its public id.
    pub id: String,
    /// Whose.
    pub account: i64,
    /// Of which product.
    pub product: String,
    /// Which package.
    pub firmware: i64,
    /// The version to reach.
    pub dest_version: String,
    /// The module.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub module: String,
    /// `VERIFY`, `STATIC` or `DYNAMIC`.
    pub job_kind: String,
    /// `ALL`, `SPECIFIC`, `GRAY` or `GROUP`.
    pub target: String,
    /// For `GRAY`: the percentage as it was given, devices that match, devices that are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gray: Option<(String, u64, u64)>,
    /// Names, where the job was made with a list of names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The status it began in.
    pub status: String,
    /// Notices in any 60 s at most.
    pub per_minute: u32,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_us: Option<u64>,
    /// Not at or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_us: Option<u64>,
    /// Offers after a failure, and seconds between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<(u8, u64)>,
    /// From the first progress to failure, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// 1 keeps the earlier task, 2 replaces it.
    pub overwrite: u8,
    /// One open task per device and module.
    pub multi_module: bool,
    /// Whether notices are pushed.
    pub need_push: bool,
    /// Whether tasks wait for a confirmation.
    pub need_confirm: bool,
    /// The caller's own name for the call, as a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// SHA-256 of what was asked for, in hex.
    pub digest: String,
}

/// One line of a fleet's record: what one device saw or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: u64,
    /// Of which product.
    pub product: String,
    /// Which device.
    pub device: String,
    /// What.
    #[serde(flatten)]
    pub what: Sight,
}

/// What a device writes down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Sight {
    /// The server let it in.
    Online {},
    /// Its connection ended.
    Offline {},
    /// A notice arrived, pushed.
    Notice {
        /// The version that it offers.
        version: String,
        /// The module.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        module: String,
        /// Its `id` on the wire.
        id: i64,
        /// The topic on which it came, if that is not the device's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strange_topic: Option<String>,
    },
    /// It asked and was offered an update.
    Fetched {
        /// The version that it offers.
        version: String,
        /// The module.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        module: String,
    },
    /// It reported progress; failures are negative.
    Progress {
        /// The step.
        step: i16,
        /// The module.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        module: String,
    },
    /// It says which version it runs.
    Inform {
        /// The version.
        version: String,
        /// The module.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        module: String,
    },
}
