//! Good histories, written by a seed: some jobs of every kind on some devices, as a server and its devices would
//! have told of them.

mod jobs;

use std::collections::BTreeMap;

use otaria_history::record::{Fact, JobMade, Seen, Sight};

use crate::history::{Chance, Draft, History};

pub(crate) const SECOND: u64 = 1_000_000;
const BEGIN: u64 = 1_700_000_000 * SECOND;
/// When all is over.
pub(crate) const END: u64 = BEGIN + 1_500 * SECOND;

/// Writes a history of one process, or of two.
pub(crate) fn good(seed: u64) -> History {
    let mut pen = Pen::new(seed);
    pen.leases();
    pen.devices();
    pen.list();
    pen.part();
    pen.replacing();
    pen.fetching();
    pen.dynamic();
    pen.held();
    pen.scheduled();
    pen.again();
    pen.strangers();
    pen.finish()
}

struct Task {
    job: i64,
    device: i64,
    status: &'static str,
    attempt: u8,
    revision: i64,
    wire: i64,
    /// Whether the running offer failed.
    failed: bool,
}

struct Pen {
    chance: Chance,
    processes: usize,
    lines: Vec<Draft>,
    seen: Vec<Seen>,
    jobs: Vec<JobMade>,
    /// The next token of each job.
    tokens: BTreeMap<i64, u64>,
    fences: BTreeMap<i64, u64>,
    tasks: Vec<Task>,
}

/// When shards go to another member.
const TAKEN_OVER: u64 = BEGIN + 200 * SECOND;

fn number(device: i64) -> i64 {
    ((device % 4) << 48) | (device + 1)
}

fn name(device: i64) -> String {
    format!("dev-{device:03}")
}

const fn product(device: i64) -> &'static str {
    if device >= 90 { "otherProd" } else { "thisProd" }
}

impl Pen {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let processes = 1 + chance.below(2) as usize;
        Self {
            chance,
            processes,
            lines: Vec::new(),
            seen: Vec::new(),
            jobs: Vec::new(),
            tokens: Default::default(),
            fences: Default::default(),
            tasks: Vec::new(),
        }
    }

    /// A line about something that was done around an instant. Returns when it is known to be done.
    fn tell(&mut self, process: usize, at: u64, fact: Fact) -> u64 {
        let (from, until) = (at, at + 1_000 + self.chance.below(4_000));
        self.lines.push(Draft { process: process % self.processes, from, at: until, fact });
        until
    }

    fn see(&mut self, device: i64, at: u64, what: Sight) {
        self.seen.push(Seen { at, product: product(device).to_owned(), device: name(device), what });
    }

    fn leases(&mut self) {
        for shard in 0..4 {
            self.tell(0, BEGIN, Fact::Lease { shard, epoch: 1, member: 7 });
        }
        for shard in 0..2 {
            self.tell(1, TAKEN_OVER, Fact::Lease { shard, epoch: 2, member: 8 });
            self.tell(1, TAKEN_OVER + 5_000, Fact::EpochRaised { shard, epoch: 2 });
        }
    }

    fn devices(&mut self) {
        for device in (0..60).chain(90..94) {
            let at = BEGIN + SECOND + self.chance.below(10 * SECOND);
            self.see(device, at, Sight::Online {});
            self.see(device, at + 1_000, Sight::Inform { version: "1.0".into(), module: String::new() });
            let report = Fact::Report {
                device: number(device),
                module: String::new(),
                version: Some("1.0".into()),
                step: None,
            };
            self.tell(0, at + 2_000, report);
            let left = END + self.chance.below(SECOND);
            self.see(device, left, Sight::Offline {});
        }
    }

    fn job(&mut self, at: u64, facts: JobMade) -> i64 {
        let job = self.jobs.len() as i64 + 1;
        let facts = JobMade {
            job,
            id: format!("job-{job}"),
            account: if facts.account == 0 { 1 } else { facts.account },
            product: if facts.product.is_empty() { "thisProd".into() } else { facts.product },
            dest_version: format!("2.{job}"),
            job_kind: if facts.job_kind.is_empty() { "STATIC".into() } else { facts.job_kind },
            target: if facts.target.is_empty() { "SPECIFIC".into() } else { facts.target },
            status: if facts.status.is_empty() { "IN_PROGRESS".into() } else { facts.status },
            per_minute: facts.per_minute.max(1),
            firmware: if facts.firmware == 0 { 100 + job } else { facts.firmware },
            overwrite: facts.overwrite.max(1),
            digest: format!("{job:064x}"),
            ..facts
        };
        self.tell(0, at, Fact::Job(Box::new(facts.clone())));
        self.tokens.insert(job, at + SECOND);
        self.fences.insert(job, 1);
        self.jobs.push(facts);
        job
    }

    fn moved(&mut self, job: i64, at: u64, to: &str) {
        self.tell(0, at, Fact::JobMoved { job, to: to.to_owned() });
    }

    fn task(&mut self, job: i64, device: i64) -> &mut Task {
        let found = self.tasks.iter().position(|task| task.job == job && task.device == device);
        let place = found.unwrap_or_else(|| {
            self.tasks.push(Task {
                job,
                device,
                status: "",
                attempt: 0,
                revision: 0,
                wire: 0,
                failed: false,
            });
            self.tasks.len() - 1
        });
        &mut self.tasks[place]
    }

    /// A task moves.
    fn turn(&mut self, job: i64, device: i64, at: u64, status: &'static str, desc: Option<&str>) {
        let task = self.task(job, device);
        let previous = (!task.status.is_empty()).then(|| task.status.to_owned());
        task.revision += 1;
        task.status = status;
        let fact = Fact::Task {
            job,
            device: number(device),
            name: name(device),
            module: String::new(),
            previous,
            status: status.to_owned(),
            attempt: task.attempt,
            percent: (status == "IN_PROGRESS").then_some(10),
            revision: task.revision,
            desc: desc.map(str::to_owned),
        };
        self.tell(device as usize, at, fact);
    }

    /// Tasks are made, and the expansion is told.
    fn expand(&mut self, job: i64, at: u64, devices: &[i64], skipped: u64) {
        let first = if self.jobs[job as usize - 1].need_confirm { "CONFIRM" } else { "QUEUED" };
        for device in devices {
            if self.task(job, *device).status.is_empty() {
                self.turn(job, *device, at, first, None);
            }
        }
        let tasks = devices.len() as u64;
        let expanded =
            Fact::Expanded { job, complete: true, lines: tasks + skipped, tasks, skipped, rejected: 0 };
        self.tell(0, at, expanded);
        self.count(job, at + SECOND);
    }

    /// The counts are read. What they are is filled in when everything is told.
    fn count(&mut self, job: i64, at: u64) {
        self.tell(0, at, Fact::Counts { job, by_status: [0; 7], notices: 0 });
    }

    /// How many tasks of a job are in each status at an instant.
    fn counts(&self, job: i64, at: u64) -> [u64; 7] {
        let order = ["CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELED"];
        let mut last: BTreeMap<i64, (i64, &str)> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.at <= at) {
            if let Fact::Task { job: of, device, revision, status, .. } = &line.fact
                && *of == job
                && last.get(device).is_none_or(|known| known.0 < *revision)
            {
                last.insert(*device, (*revision, status));
            }
        }
        let mut by_status = [0; 7];
        for (_, status) in last.values() {
            by_status[order.iter().position(|known| known == status).unwrap()] += 1;
        }
        by_status
    }

    /// The token of a job's next notice, not before an instant.
    fn token(&mut self, job: i64, at: u64) -> u64 {
        let limit = u64::from(self.jobs[job as usize - 1].per_minute);
        let next = self.tokens.get_mut(&job).unwrap();
        let token = at.max(*next);
        *next = token + 60_500_000 / limit + 1_000;
        token
    }

    fn epoch(&self, device: i64, at: u64) -> (i64, i64) {
        if device % 4 < 2 && at >= TAKEN_OVER { (2, 8) } else { (1, 7) }
    }

    /// A notice is claimed, written, and arrives. Returns when.
    fn push(&mut self, job: i64, device: i64, at: u64) -> u64 {
        let at = self.token(job, at);
        // Nothing is claimed while a shard changes hands.
        let at =
            if at.abs_diff(TAKEN_OVER) < 5 * SECOND { self.token(job, TAKEN_OVER + 5 * SECOND) } else { at };
        let claimed_at = at - 300_000;
        let (epoch, member) = self.epoch(device, at);
        let task = self.task(job, device);
        let same_offer = task.status == "NOTIFIED" && !task.failed;
        task.failed = false;
        if same_offer {
            self.task(job, device).revision += 1;
        } else {
            let task = self.task(job, device);
            task.attempt += 1;
            task.wire = (claimed_at / 1_000) as i64;
            let status = if task.status == "IN_PROGRESS" { "IN_PROGRESS" } else { "NOTIFIED" };
            self.turn(job, device, claimed_at, status, None);
        }
        let Task { attempt, revision, wire, .. } = *self.task(job, device);
        let (shard, number) = ((device % 4) as u8, number(device));
        let claim = Fact::Claimed { job, device: number, attempt, revision, shard, epoch, member };
        self.tell(device as usize, claimed_at, claim);
        self.write(job, device, at, (attempt, wire, epoch))
    }

    fn write(&mut self, job: i64, device: i64, at: u64, (attempt, wire_id, epoch): (u8, i64, i64)) -> u64 {
        let settled = Fact::Settled {
            job,
            device: number(device),
            attempt,
            wire_id,
            outcome: "written".into(),
            shard: (device % 4) as u8,
            epoch,
            fence: self.fences[&job],
        };
        self.tell(device as usize + 1, at, settled);
        let facts = &self.jobs[job as usize - 1];
        let (version, module) = (facts.dest_version.clone(), facts.module.clone());
        let arrived = at + 10_000 + self.chance.below(50_000);
        self.see(device, arrived, Sight::Notice { version, module, id: wire_id, strange_topic: None });
        arrived
    }

    fn progress(&mut self, job: i64, device: i64, at: u64, step: i16) -> u64 {
        self.see(device, at, Sight::Progress { step, module: String::new() });
        let report =
            Fact::Report { device: number(device), module: String::new(), version: None, step: Some(step) };
        self.tell(device as usize, at + 2_000, report);
        if step >= 0 {
            self.turn(job, device, at + 3_000, "IN_PROGRESS", None);
        } else {
            self.task(job, device).failed = true;
        }
        at + 3_000
    }

    fn inform(&mut self, job: i64, device: i64, at: u64) -> u64 {
        let version = self.jobs[job as usize - 1].dest_version.clone();
        self.see(device, at, Sight::Inform { version: version.clone(), module: String::new() });
        let report = Fact::Report {
            device: number(device),
            module: String::new(),
            version: Some(version),
            step: None,
        };
        self.tell(device as usize, at + 2_000, report);
        self.turn(job, device, at + 3_000, "SUCCEEDED", None);
        at + 3_000
    }

    /// A device updates as it should. Returns when it is done.
    fn update(&mut self, job: i64, device: i64, at: u64) -> u64 {
        let arrived = self.push(job, device, at);
        let begun = self.progress(job, device, arrived + SECOND, 10);
        for step in 0..self.chance.below(3) {
            self.progress(job, device, begun + (step + 1) * SECOND, 20);
        }
        let done = begun + 5 * SECOND + self.chance.below(SECOND);
        self.inform(job, device, done)
    }

    fn finished(&mut self, job: i64, at: u64) {
        self.moved(job, at + SECOND, "COMPLETED");
        self.count(job, at + 2 * SECOND);
    }

    fn finish(mut self) -> History {
        for place in 0..self.lines.len() {
            if let Fact::Counts { job, .. } = self.lines[place].fact {
                let read = self.counts(job, self.lines[place].from);
                if let Fact::Counts { by_status, .. } = &mut self.lines[place].fact {
                    *by_status = read;
                }
            }
        }
        for line in &mut self.lines {
            // Every job pushes but the one whose devices ask.
            if let Fact::Job(facts) = &mut line.fact {
                facts.need_push = facts.job != FETCHING;
            }
        }
        let mut history =
            History { processes: self.processes, lines: self.lines, seen: self.seen, end: END + 5 * SECOND };
        history.sort();
        history
    }
}

/// The job whose devices ask by themselves.
const FETCHING: i64 = 5;
