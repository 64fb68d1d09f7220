//! What must hold after every operation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Job, Jobs};

use crate::book::{Book, Noted, Source};
use crate::model::{part_of, read_list};
use crate::store::at_once;
use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    /// Looks at everything that moved since the last time.
    pub(crate) fn check(&mut self) {
        let dirty = std::mem::take(&mut self.medium.lock().book.dirty);
        let devices = self.fleet.devices.len();
        for no in dirty {
            let Some(job) = at_once(self.shared.facts.jobs_by_no(&[no])).unwrap_or_default().pop() else {
                continue;
            };
            let tasks = self.tasks(no);
            let counts = at_once(self.shared.facts.task_counts(no)).unwrap_or_default();
            let audit = at_once(self.shared.facts.audit_counts(no)).unwrap_or_default();
            let mut inner = self.medium.lock();
            let book = &mut inner.book;
            tasks.iter().for_each(|task| book.compare(task));
            let Some(noted) = book.jobs.get(&no) else { continue };
            let of = |status: TaskStatus| {
                noted.rows.values().filter(|kept| kept.row.status == status).count() as u64
            };
            let differs = TaskStatus::ALL.into_iter().find(|status| of(*status) != counts.of(*status));
            let (rows, open) =
                (noted.rows.len(), noted.rows.values().filter(|kept| kept.row.is_open()).count());
            let holds = audit.is_empty() && differs.is_none();
            book.check("I9", holds, || format!("counters of {no}: {audit:?}, {differs:?}"));
            let done = job.expansion.complete && open == 0;
            book.check("I22", job.status != JobStatus::Completed || done, || format!("{no} is completed"));
            let expansion = &job.expansion;
            let accounted = expansion.tasks + expansion.skipped + expansion.rejected.total();
            let holds = expansion.lines == accounted && tasks.len() == rows && expansion.tasks == rows as u64;
            book.check("I4", holds, || format!("{no}: {expansion:?}, {} tasks, {rows} rows", tasks.len()));
            check_devices(book, no);
            if job.expansion.complete {
                check_source(book, &job, devices);
            }
            check_pace(book, no);
        }
    }
}

/// I2 and I16, by the rows: they are what the store has, since all of them were compared.
fn check_devices(book: &mut Book, no: JobNo) {
    let noted = &book.jobs[&no];
    let is_dynamic = matches!(noted.spec.source, Source::Standing);
    let open: Vec<DeviceId> =
        noted.rows.iter().filter(|(_, kept)| kept.row.is_open()).map(|(device, _)| *device).collect();
    let mut pushes: BTreeMap<DeviceId, u64> = BTreeMap::new();
    for write in noted.writes.iter().filter(|_| is_dynamic) {
        *pushes.entry(write.key.device).or_default() += 1;
    }
    // A notice of which nobody ever tells cannot be counted.
    let (most, lost) = (pushes.values().copied().max().unwrap_or(0), book.lost_words);
    let beside = open.iter().find(|device| !book.open_beside(no, **device).is_empty()).copied();
    book.check("I2", beside.is_none(), || format!("{beside:?} has two open tasks, one of {no}"));
    if is_dynamic {
        book.check("I16", most <= 10 + lost, || format!("{most} pushes to a device of {no}"));
    }
}

/// Whether the tasks are those that the source asks for (I4, I10, I11).
fn check_source(book: &mut Book, job: &Job, devices: usize) {
    let no = job.no;
    let Some(noted) = book.jobs.get_mut(&no).filter(|noted| !noted.is_read) else { return };
    noted.is_read = true;
    let (source, since) = (noted.spec.source.clone(), noted.created_at);
    let names = |names: &BTreeSet<String>| -> BTreeSet<DeviceId> {
        names.iter().filter_map(|name| book.names.get(name).copied()).collect()
    };
    let rejected = job.expansion.rejected;
    let (lines, asked) = match &source {
        Source::List(text) => {
            let reading = read_list(text, |name| book.names.contains_key(name));
            // A name that nobody knows counts as unknown once in each chunk of the list.
            let found = (rejected.malformed, rejected.unknown + rejected.duplicate);
            let holds = found == (reading.malformed, reading.unknown + reading.duplicate)
                && (reading.lines > 1_000 || rejected.duplicate == reading.duplicate);
            let asked = names(&reading.names);
            let lines = reading.lines;
            book.check("I4", holds, || format!("{no} rejected {rejected:?}, and its list is {reading:?}"));
            (lines, asked)
        }
        Source::Names(named) => (named.len() as u64, names(&named.iter().cloned().collect())),
        Source::All => (devices as u64, book.names.values().copied().collect()),
        Source::Part(thousandths) => {
            let matching = book.jobs[&no].matching.clone();
            let count = part_of(matching.len(), *thousandths);
            let rows: BTreeSet<DeviceId> = book.jobs[&no].rows.keys().copied().collect();
            // Who comes to the version by itself before its turn needs no task, and stays one of the part.
            let (lines, skipped) = (job.expansion.lines, job.expansion.skipped);
            let holds = count > 0
                && lines == count as u64
                && rows.len() as u64 + skipped == lines
                && rows.is_subset(&matching);
            book.check("I11", holds, || {
                format!(
                    "{no} has {} of {} devices at {thousandths}; {count} were due",
                    rows.len(),
                    matching.len()
                )
            });
            return;
        }
        Source::Standing => return,
    };
    let noted = &book.jobs[&no];
    // Who was at the destination all the time is skipped; who was not has a task. Who came or left meanwhile may
    // be either.
    let is_still =
        |device: &DeviceId| book.versions.get(device).is_none_or(|informed| informed.changed < since);
    let is_there = |device: &DeviceId| book.version(*device) == Some(noted.spec.promise.dest.as_str());
    let wrong = asked
        .iter()
        .find(|device| is_still(device) && is_there(device) == noted.rows.contains_key(device))
        .or_else(|| noted.rows.keys().find(|device| !asked.contains(device)))
        .copied();
    let holds = wrong.is_none() && job.expansion.lines == lines;
    book.check("I4", holds, || {
        format!("{no} accounts for {} of {lines} lines; {wrong:?} is wrong", job.expansion.lines)
    });
    let busy = book.jobs[&no]
        .rows
        .values()
        .filter(|kept| kept.row.failed == Some(otaria_core::task::FailureCause::Busy));
    let busy = busy.count() as u64;
    let reopened = book.jobs[&no].reopened;
    book.check("I10", reopened || busy == job.expansion.busy, || {
        format!("{busy} of {no} are busy: {:?}", job.expansion)
    });
}

/// I1, by the true times of the writes: each new one with the minute before it.
fn check_pace(book: &mut Book, no: JobNo) {
    let Some(noted) = book.jobs.get_mut(&no) else { return };
    let (mut looked, mut first, _) = noted.looked;
    let mut over = None;
    while let Some(write) = noted.writes.get(looked) {
        while write.at.since(noted.writes[first].at) >= MINUTE {
            first += 1;
        }
        looked += 1;
        let rate = Book::rate(noted, write.at) as usize;
        if looked - first > rate {
            over = over.or(Some((looked - first, rate, write.at)));
        }
    }
    let anything = looked > noted.looked.0;
    noted.looked = (looked, first, 0);
    if anything {
        book.check("I1", over.is_none(), || format!("{over:?} notices of {no} in a minute"));
    }
}

/// I1 once more, as devices saw it.
pub(crate) fn check_heard(book: &mut Book) {
    let jobs: Vec<JobNo> = book.jobs.keys().copied().collect();
    for no in jobs {
        let over = most_heard(&book.jobs[&no]);
        book.check("I1", over.is_none(), || format!("devices heard {over:?} notices of {no} in a minute"));
    }
}

fn most_heard(noted: &Noted) -> Option<(usize, u32)> {
    let mut heard: Vec<Timestamp> = noted.writes.iter().filter_map(|write| write.heard).collect();
    heard.sort_unstable();
    let mut first = 0;
    for (last, at) in heard.iter().enumerate() {
        while at.since(heard[first]) >= MINUTE {
            first += 1;
        }
        let (count, rate) = (last + 1 - first, Book::rate(noted, *at));
        if count > rate as usize {
            return Some((count, rate));
        }
    }
    None
}
