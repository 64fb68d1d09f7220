//! Both records as tables: one small row for each line that a rule looks at.
//!
//! Never judges. A name is kept as its hash, since evidence shows the lines themselves; a percentage that only
//! grew is kept as its last one. So a task of an ordinary life costs some 500 bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;

use super::place::{Place, Stamp};
use super::processes::Processes;
use crate::record::{Fact, JobMade, Line, Seen, Sight};

/// A name, as two hashes of it.
pub(crate) type Name = [u64; 2];

pub(crate) fn name_of(text: &str) -> Name {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        hasher.finish()
    };
    [hash(1), hash(2)]
}

/// A job as it was made, and how it went on.
#[derive(Debug, Default)]
pub(crate) struct JobRow {
    pub(crate) number: i64,
    pub(crate) made: Option<(Stamp, Box<JobMade>)>,
    pub(crate) changed: Vec<(Stamp, Option<u32>, Option<u64>)>,
    pub(crate) moved: Vec<(Stamp, JobStatus)>,
    pub(crate) expanded: Vec<(Stamp, bool, [u64; 4])>,
    pub(crate) held: Vec<(Stamp, u64, i64)>,
    pub(crate) fenced: Vec<(Stamp, u64)>,
    pub(crate) again: Vec<(Stamp, String)>,
    pub(crate) counts: Vec<(Stamp, [u64; 7])>,
    pub(crate) miscounted: Vec<(Stamp, String)>,
}

/// A device in a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskRow {
    pub(crate) job: u32,
    pub(crate) device: u32,
    /// The last line that told of nothing but a percentage, with its revision.
    pub(crate) percent: (i64, Stamp),
}

/// A device as servers know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceRow {
    pub(crate) number: i64,
    pub(crate) name: Option<Name>,
}

/// A task came to be or moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub(crate) task: u32,
    pub(crate) revision: i64,
    pub(crate) stamp: Stamp,
    pub(crate) previous: Option<TaskStatus>,
    pub(crate) status: TaskStatus,
    pub(crate) attempt: u8,
    pub(crate) cause: Cause,
}

/// Why a task ended, as far as a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Other,
    Busy,
    Timeout,
    Overwritten,
}

/// A notice was claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) task: u32,
    pub(crate) revision: i64,
    pub(crate) stamp: Stamp,
    pub(crate) attempt: u8,
    pub(crate) shard: u8,
    pub(crate) epoch: i64,
    pub(crate) member: i64,
}

/// A notice was written to a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) task: u32,
    pub(crate) stamp: Stamp,
    pub(crate) wire: i64,
    pub(crate) epoch: i64,
    pub(crate) fence: u64,
    pub(crate) shard: u8,
    pub(crate) attempt: u8,
}

/// A report that was taken: a failure, or a version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) device: u32,
    pub(crate) stamp: Stamp,
    pub(crate) module: u32,
    /// `None` for a failure.
    pub(crate) version: Option<u32>,
}

/// What a device saw or did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Which of the devices that wrote a record.
    pub(crate) witness: u32,
    pub(crate) at: u64,
    pub(crate) place: Place,
    pub(crate) what: LookAt,
}

/// See [`Look`]. Modules and versions by their numbers in [`Tables::words`], ids by their places in [`Tables::wires`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookAt {
    Online,
    Offline,
    Notice {
        version: u32,
        module: u32,
        wire: u32,
        strange: bool,
    },
    Fetched,
    /// The first progress after a notice, or a failure.
    Progress {
        module: u32,
        failed: bool,
    },
    Inform {
        version: u32,
        module: u32,
    },
}

/// A lease was taken: epoch, member.
pub(crate) type Lease = (Stamp, i64, i64);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) lines: u64,
    pub(crate) device_lines: u64,
    pub(crate) processes: Processes,
    pub(crate) jobs: Vec<JobRow>,
    pub(crate) tasks: Vec<TaskRow>,
    pub(crate) devices: Vec<DeviceRow>,
    pub(crate) moves: Vec<Move>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) writes: Vec<Write>,
    pub(crate) said: Vec<Said>,
    /// Task, revision, and the line.
    pub(crate) again: Vec<(u32, i64, Place)>,
    /// Account, token and body of calls that were refused.
    pub(crate) refused: Vec<(Stamp, i64, String, String)>,
    pub(crate) leases: BTreeMap<u8, Vec<Lease>>,
    pub(crate) raised: BTreeMap<u8, Vec<(Stamp, i64)>>,
    pub(crate) looks: Vec<Look>,
    /// The ids of the notices that arrived.
    pub(crate) wires: Vec<i64>,
    /// Product and name of each device that wrote a record.
    pub(crate) witnesses: Vec<(u32, Name)>,
    /// The last instant in each file of devices.
    pub(crate) device_files: BTreeMap<usize, u64>,
    pub(crate) words: Words,
    job_of: HashMap<i64, u32>,
    task_of: HashMap<(u32, u32), u32>,
    device_of: HashMap<i64, u32>,
    witness_of: HashMap<(u32, Name), u32>,
    /// Witnesses that reported progress since their last notice.
    progressing: HashSet<u32>,
}

/// Texts that come again and again, by number. Number 0 is the empty text.
#[derive(Debug)]
pub(crate) struct Words {
    of: HashMap<String, u32>,
}

impl Default for Words {
    fn default() -> Self {
        Self { of: HashMap::from([(String::new(), 0)]) }
    }
}

impl Words {
    fn put(&mut self, text: &str) -> u32 {
        if let Some(known) = self.of.get(text) {
            return *known;
        }
        let next = u32::try_from(self.of.len()).unwrap_or(u32::MAX);
        self.of.insert(text.to_owned(), next);
        next
    }

    /// The number of a text, if it was met.
    pub(crate) fn get(&self, text: &str) -> Option<u32> {
        self.of.get(text).copied()
    }
}

/// A module's name as it is compared: the default has none.
pub(crate) fn module_name(text: &str) -> &str {
    if text == "default" { "" } else { text }
}

fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Tables {
    fn job(&mut self, number: i64) -> u32 {
        let next = index(self.jobs.len());
        let found = *self.job_of.entry(number).or_insert(next);
        if found == next {
            self.jobs.push(JobRow { number, ..JobRow::default() });
        }
        found
    }

    fn row(&mut self, number: i64) -> &mut JobRow {
        let job = self.job(number);
        &mut self.jobs[job as usize]
    }

    fn device(&mut self, number: i64) -> u32 {
        let next = index(self.devices.len());
        let found = *self.device_of.entry(number).or_insert(next);
        if found == next {
            self.devices.push(DeviceRow { number, name: None });
        }
        found
    }

    fn task(&mut self, job: i64, device: i64) -> u32 {
        let (job, device) = (self.job(job), self.device(device));
        let next = index(self.tasks.len());
        let found = *self.task_of.entry((job, device)).or_insert(next);
        if found == next {
            self.tasks.push(TaskRow { job, device, percent: (i64::MIN, Stamp::default()) });
        }
        found
    }

    /// Takes a line of a server.
    pub(crate) fn take(&mut self, place: Place, line: Line) -> Result<(), String> {
        let Line { n, from, at, fact } = line;
        if from > at {
            return Err(format!("the line ends at {at}, before it begins at {from}"));
        }
        let stamp = Stamp { from, at, place };
        self.lines += 1;
        self.processes.take(n, stamp, &fact)?;
        match fact {
            // What these say of missing lines is kept by `processes`.
            Fact::Start { .. } | Fact::Stop {} | Fact::Gap { .. } | Fact::Unsure { .. } => {}
            Fact::TokenRefused { account, token, digest } => {
                if let Some(token) = token.filter(|_| !digest.is_empty()) {
                    self.refused.push((stamp, account, token, digest));
                }
            }
            Fact::Miscounted { job, status, kept, counted } => {
                self.row(job)
                    .miscounted
                    .push((stamp, format!("{kept} in {status}, and {counted} are there")));
            }
            Fact::Job(made) => {
                let row = self.row(made.job);
                if let Some((known, _)) = &row.made {
                    let line = known.place.line();
                    return Err(format!(
                        "line {line} made job {} already: is the file here twice?",
                        made.job
                    ));
                }
                row.made = Some((stamp, made));
            }
            Fact::JobAgain { job, digest } => self.row(job).again.push((stamp, digest)),
            Fact::JobChanged { job, per_minute, timeout_s } => {
                self.row(job).changed.push((stamp, per_minute, timeout_s));
            }
            Fact::JobMoved { job, to } => {
                let status = JobStatus::ALL.into_iter().find(|status| status.as_str() == to);
                let status = status.ok_or_else(|| format!("{to:?} is no status of a job"))?;
                self.row(job).moved.push((stamp, status));
            }
            Fact::Expanded { job, complete, lines, tasks, skipped, rejected } => {
                self.row(job).expanded.push((stamp, complete, [lines, tasks, skipped, rejected]));
            }
            Fact::Held { job, fence, mask } => self.row(job).held.push((stamp, fence, mask)),
            Fact::Fenced { job, fence } => self.row(job).fenced.push((stamp, fence)),
            Fact::Counts { job, by_status, notices: _ } => self.row(job).counts.push((stamp, by_status)),
            Fact::Lease { shard, epoch, member } => {
                self.leases.entry(shard).or_default().push((stamp, epoch, member));
            }
            Fact::EpochRaised { shard, epoch } => self.raised.entry(shard).or_default().push((stamp, epoch)),
            Fact::Reupgraded { job, device, revision } => {
                let task = self.task(job, device);
                self.again.push((task, revision, place));
            }
            Fact::Claimed { job, device, attempt, revision, shard, epoch, member } => {
                let task = self.task(job, device);
                self.claims.push(Claim { task, revision, stamp, attempt, shard, epoch, member });
            }
            Fact::Settled { job, device, attempt, wire_id, outcome, shard, epoch, fence } => {
                let task = self.task(job, device);
                match outcome.as_str() {
                    "written" => {
                        self.writes.push(Write { task, stamp, wire: wire_id, epoch, fence, shard, attempt });
                    }
                    "gone" | "stale" | "congested" => {}
                    other => return Err(format!("{other:?} is no outcome of a notice")),
                }
            }
            Fact::Report { device, module, version, step } => {
                let device = self.device(device);
                let module = self.words.put(module_name(&module));
                if let Some(version) = version {
                    let version = Some(self.words.put(&version));
                    self.said.push(Said { device, stamp, module, version });
                } else if step.is_some_and(|step| step < 0) {
                    self.said.push(Said { device, stamp, module, version: None });
                }
            }
            Fact::Task {
                job,
                device,
                name,
                module: _,
                previous,
                status,
                attempt,
                percent,
                revision,
                desc,
            } => {
                let task = self.task(job, device);
                let number = self.tasks[task as usize].device;
                self.devices[number as usize].name.get_or_insert_with(|| name_of(&name));
                let of = |text: &str| {
                    TaskStatus::parse(text).ok_or_else(|| format!("{text:?} is no status of a task"))
                };
                let (previous, status) = (previous.as_deref().map(of).transpose()?, of(&status)?);
                let grew = previous == Some(status) && percent.is_some() && attempt <= 1;
                if grew {
                    let last = &mut self.tasks[task as usize].percent;
                    if last.0 < revision {
                        *last = (revision, stamp);
                    }
                    return Ok(());
                }
                let cause = cause_of(desc.as_deref().unwrap_or_default());
                self.moves.push(Move { task, revision, stamp, previous, status, attempt, cause });
            }
        }
        Ok(())
    }

    /// Takes a line of a device.
    pub(crate) fn see(&mut self, place: Place, seen: &Seen) {
        self.device_lines += 1;
        let last = self.device_files.entry(place.file()).or_default();
        *last = seen.at.max(*last);
        let key = (self.words.put(&seen.product), name_of(&seen.device));
        let next = index(self.witnesses.len());
        let witness = *self.witness_of.entry(key).or_insert(next);
        if witness == next {
            self.witnesses.push(key);
        }
        let what = match &seen.what {
            Sight::Online {} => LookAt::Online,
            Sight::Offline {} => LookAt::Offline,
            Sight::Notice { version, module, id, strange_topic } => {
                self.progressing.remove(&witness);
                let (version, module) = (self.words.put(version), self.words.put(module_name(module)));
                let wire = index(self.wires.len());
                self.wires.push(*id);
                LookAt::Notice { version, module, wire, strange: strange_topic.is_some() }
            }
            Sight::Fetched { .. } => {
                self.progressing.remove(&witness);
                LookAt::Fetched
            }
            Sight::Progress { step, module } => {
                if !self.progressing.insert(witness) && *step >= 0 {
                    return;
                }
                LookAt::Progress { module: self.words.put(module_name(module)), failed: *step < 0 }
            }
            Sight::Inform { version, module } => {
                let (version, module) = (self.words.put(version), self.words.put(module_name(module)));
                LookAt::Inform { version, module }
            }
        };
        self.looks.push(Look { witness, at: seen.at, place, what });
    }

    pub(crate) fn witness_of(&self, product: &str, name: Name) -> Option<u32> {
        self.witness_of.get(&(self.words.get(product)?, name)).copied()
    }
}

/// The sentences are those that every wire shows; see `otaria_core::task`.
fn cause_of(desc: &str) -> Cause {
    use otaria_core::task::{CancelCause, FailureCause};
    if desc.starts_with(FailureCause::Busy.describe()) {
        Cause::Busy
    } else if desc.starts_with(FailureCause::Timeout.describe()) {
        Cause::Timeout
    } else if desc.starts_with(CancelCause::Overwritten.describe()) {
        Cause::Overwritten
    } else {
        Cause::Other
    }
}
