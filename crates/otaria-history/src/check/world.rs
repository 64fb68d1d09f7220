//! The tables in order, with what every rule asks of them: a task's life, who was before whom, what is sure.
//!
//! Never judges. Orders between processes follow only from spans that do not overlap, with the error of their
//! clocks in between, and from the revisions of one task.

use std::collections::HashMap;

use otaria_core::task::TaskStatus;

use super::Options;
use super::place::{Holes, NEVER, Place, Stamp};
use super::tables::{Claim, JobRow, Look, Move, Said, Tables, Write};
use crate::record::JobMade;

/// A task in one status: surely there within `sure`, and nowhere outside `maybe`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) status: TaskStatus,
    pub(crate) since: Stamp,
    pub(crate) sure: (u64, u64),
    pub(crate) maybe: (u64, u64),
    /// The line that ends it.
    pub(crate) next: Option<Place>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) t: Tables,
    pub(crate) options: Options,
    pub(crate) holes: Holes,
    /// First and last instant of each process.
    pub(crate) up: Vec<(u64, u64)>,
    /// What two processes' clocks may differ by; none when there is one process.
    pub(crate) skew: u64,
    /// Whether the record begins with the store itself: its first job is there.
    pub(crate) from_the_start: bool,
    moves: Ranges,
    claims: Ranges,
    writes: Ranges,
    looks: Ranges,
    said: Ranges,
    by_job: (Vec<u32>, Ranges),
    by_device: (Vec<u32>, Ranges),
    /// The witness of each device.
    witness: Vec<Option<u32>>,
    /// The device of each witness.
    device: Vec<Option<u32>>,
    /// Further devices of a witness: a name that was deleted and registered again is another device.
    namesakes: HashMap<u32, Vec<u32>>,
}

/// Where the rows of each key begin, in a table that is sorted by it.
#[derive(Debug, Default)]
struct Ranges(Vec<u32>);

impl Ranges {
    fn new(keys: usize, of: impl Iterator<Item = u32>) -> Self {
        let mut ends = vec![0_u32; keys + 1];
        of.for_each(|key| ends[key as usize + 1] += 1);
        for key in 0..keys {
            ends[key + 1] += ends[key];
        }
        Self(ends)
    }

    fn of<'a, T>(&self, key: u32, rows: &'a [T]) -> &'a [T] {
        let key = key as usize;
        &rows[self.0[key] as usize..self.0[key + 1] as usize]
    }
}

impl World {
    /// Puts the tables in order.
    pub(crate) fn new(mut t: Tables, holes: Holes, up: Vec<(u64, u64)>, options: Options) -> Self {
        t.moves.sort_unstable_by_key(|row| (row.task, row.revision, row.stamp.place));
        t.claims.sort_unstable_by_key(|row| (row.task, row.revision, row.stamp.place));
        t.writes.sort_unstable_by_key(|row| (row.task, row.stamp.at, row.stamp.place));
        // A gateway whose words were not taken says them again.
        t.writes
            .dedup_by_key(|row| (row.task, row.stamp.from, row.stamp.at, row.wire, row.attempt, row.epoch));
        t.looks.sort_unstable_by_key(|row| (row.witness, row.at, row.place));
        t.said.sort_unstable_by_key(|row| (row.device, row.stamp.at, row.stamp.place));
        t.again.sort_unstable();
        for row in &mut t.jobs {
            row.changed.sort_by_key(|(stamp, ..)| (stamp.at, stamp.place));
            row.moved.sort_by_key(|(stamp, _)| (stamp.at, stamp.place));
        }
        let (tasks, devices) = (t.tasks.len(), t.devices.len());
        let sorted = |key: fn(&super::tables::TaskRow) -> u32, keys: usize| {
            let mut order: Vec<u32> = (0..tasks as u32).collect();
            order.sort_unstable_by_key(|task| (key(&t.tasks[*task as usize]), *task));
            let ranges = Ranges::new(keys, t.tasks.iter().map(key));
            (order, ranges)
        };
        let by_job = sorted(|task| task.job, t.jobs.len());
        let by_device = sorted(|task| task.device, devices);
        let skew = if t.processes.len() > 1 { options.clock_error } else { 0 };
        let mut world = Self {
            moves: Ranges::new(tasks, t.moves.iter().map(|row| row.task)),
            claims: Ranges::new(tasks, t.claims.iter().map(|row| row.task)),
            writes: Ranges::new(tasks, t.writes.iter().map(|row| row.task)),
            looks: Ranges::new(t.witnesses.len(), t.looks.iter().map(|row| row.witness)),
            said: Ranges::new(devices, t.said.iter().map(|row| row.device)),
            from_the_start: t.jobs.iter().any(|job| job.number == 1 && job.made.is_some()),
            by_job,
            by_device,
            witness: vec![None; devices],
            device: vec![None; t.witnesses.len()],
            namesakes: HashMap::new(),
            t,
            options,
            holes,
            up,
            skew,
        };
        world.meet();
        world
    }

    /// Finds the record of each device, by the product of its tasks and its name.
    fn meet(&mut self) {
        for device in 0..self.t.devices.len() as u32 {
            let Some(name) = self.t.devices[device as usize].name else { continue };
            let product =
                self.tasks_of_device(device).iter().find_map(|task| Some(&self.made(*task)?.product));
            let Some(witness) = product.and_then(|product| self.t.witness_of(product, name)) else {
                continue;
            };
            self.witness[device as usize] = Some(witness);
            match &mut self.device[witness as usize] {
                Some(_) => self.namesakes.entry(witness).or_default().push(device),
                none => *none = Some(device),
            }
        }
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.t.tasks.len() as u32
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.t.jobs.len() as u32
    }

    pub(crate) fn job_of(&self, task: u32) -> &JobRow {
        &self.t.jobs[self.t.tasks[task as usize].job as usize]
    }

    /// The job of a task as it was made.
    pub(crate) fn made(&self, task: u32) -> Option<&JobMade> {
        self.job_of(task).made.as_ref().map(|(_, made)| &**made)
    }

    pub(crate) fn moves_of(&self, task: u32) -> &[Move] {
        self.moves.of(task, &self.t.moves)
    }

    pub(crate) fn claims_of(&self, task: u32) -> &[Claim] {
        self.claims.of(task, &self.t.claims)
    }

    pub(crate) fn writes_of(&self, task: u32) -> &[Write] {
        self.writes.of(task, &self.t.writes)
    }

    pub(crate) fn said_of(&self, device: u32) -> &[Said] {
        self.said.of(device, &self.t.said)
    }

    /// What a device saw, in order.
    pub(crate) fn looks_of(&self, witness: u32) -> &[Look] {
        self.looks.of(witness, &self.t.looks)
    }

    /// The id of a notice that arrived.
    pub(crate) fn wire(&self, place: u32) -> i64 {
        self.t.wires[place as usize]
    }

    /// Forgets what devices saw, once nobody asks any more: what comes then needs room.
    pub(crate) fn forget_devices(&mut self) {
        self.t.looks = Vec::new();
        self.t.wires = Vec::new();
        self.t.said = Vec::new();
    }

    pub(crate) fn tasks_of_job(&self, job: u32) -> &[u32] {
        self.by_job.1.of(job, &self.by_job.0)
    }

    pub(crate) fn tasks_of_device(&self, device: u32) -> &[u32] {
        self.by_device.1.of(device, &self.by_device.0)
    }

    pub(crate) fn witness_of_task(&self, task: u32) -> Option<u32> {
        self.witness[self.t.tasks[task as usize].device as usize]
    }

    /// The tasks of whoever wrote a record.
    pub(crate) fn tasks_of_witness(&self, witness: u32) -> Vec<u32> {
        let first = self.device[witness as usize].into_iter();
        let more = self.namesakes.get(&witness).into_iter().flatten().copied();
        first.chain(more).flat_map(|device| self.tasks_of_device(device)).copied().collect()
    }

    /// Whether an operator ever started a task again, as far as its moves tell.
    pub(crate) fn is_started_again(&self, task: u32) -> bool {
        self.moves_of(task).iter().any(|one| one.previous.is_some_and(|status| !status.is_open()))
    }

    /// A task in words.
    pub(crate) fn name(&self, task: u32) -> String {
        let row = self.t.tasks[task as usize];
        let (job, device) = (&self.t.jobs[row.job as usize], &self.t.devices[row.device as usize]);
        format!("device {} in job {}", device.number, job.number)
    }

    /// What two lines' clocks may differ by.
    pub(crate) fn between(&self, one: Place, other: Place) -> u64 {
        if self.t.processes.same(one, other) { 0 } else { self.skew }
    }

    /// Whether one thing was done before another was begun.
    pub(crate) fn before(&self, one: Stamp, other: Stamp) -> bool {
        one.at.saturating_add(self.between(one.place, other.place)) < other.from
    }

    /// Whether the line that follows a move is really the next one.
    pub(crate) fn follows(&self, one: &Move, next: &Move) -> bool {
        next.revision == one.revision + 1 || self.holes.spare(one.stamp.from, next.stamp.at)
    }

    /// The life of a task, status by status.
    pub(crate) fn life(&self, task: u32) -> Vec<Span> {
        let moves = self.moves_of(task);
        let mut life = Vec::with_capacity(moves.len());
        for (n, one) in moves.iter().enumerate() {
            let since = one.stamp;
            let next = moves.get(n + 1);
            let (sure, maybe) = match next {
                Some(next) if next.previous == Some(one.status) && self.follows(one, next) => {
                    (next.stamp.from, next.stamp.at)
                }
                Some(next) => (since.at, next.stamp.at),
                None => (self.holes.quiet_until(since.at), NEVER),
            };
            life.push(Span {
                status: one.status,
                since,
                sure: (since.at, sure),
                maybe: (since.from, maybe),
                next: next.map(|next| next.stamp.place),
            });
        }
        life
    }

    /// Whether some process wrote lines before and after a span of time.
    pub(crate) fn is_up(&self, from: u64, until: u64) -> bool {
        self.up.iter().any(|(begin, end)| *begin <= from && until <= *end)
    }

    /// The earliest line of each rank that is greater: `after(rank)` is the first of them to be done.
    pub(crate) fn successors(mut ranks: Vec<(i64, Stamp)>) -> Successors {
        ranks.sort_by_key(|(rank, stamp)| (*rank, stamp.at));
        let mut first: Option<Stamp> = None;
        for (_, stamp) in ranks.iter_mut().rev() {
            let earliest = first.filter(|first| first.at <= stamp.at).unwrap_or(*stamp);
            first = Some(earliest);
            *stamp = earliest;
        }
        Successors(ranks)
    }
}

/// See [`World::successors`].
#[derive(Debug, Default)]
pub(crate) struct Successors(Vec<(i64, Stamp)>);

impl Successors {
    /// The line that was done first among those of a greater rank.
    pub(crate) fn after(&self, rank: i64) -> Option<Stamp> {
        let next = self.0.partition_point(|(known, _)| *known <= rank);
        self.0.get(next).map(|(_, stamp)| *stamp)
    }
}
