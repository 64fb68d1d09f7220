//! I14, I17 and what arrived: the servers' record against the devices'.
//!
//! A device's file is written in order, so what is missing in it is missing at its end: a device is asked only for
//! what it must have seen before a line that its file still holds.

use std::collections::BTreeMap;

use otaria_core::task::TaskStatus;

use super::place::Place;
use super::tables::{Look, LookAt, Move, Write, module_name};
use super::verdict::Judge;
use super::world::World;

/// A session is surely the one that a notice was written to when it began so long before.
const SETTLED_IN: u64 = 10_000_000;

/// A session that goes on for so long after a write has read what was written.
const READ_BY: u64 = 30_000_000;

pub(crate) fn judge(world: &World, judge: &mut Judge) {
    for task in world.tasks() {
        for moved in world.moves_of(task).iter().filter(|one| one.status == TaskStatus::Succeeded) {
            success(world, judge, task, moved);
        }
        if let Some(witness) = world.witness_of_task(task) {
            let looks = world.looks_of(witness);
            world.writes_of(task).iter().for_each(|write| written(world, judge, task, write, looks));
        }
    }
    for device in 0..world.t.devices.len() as u32 {
        belongs(world, judge, device);
    }
    let products = products(world, judge);
    let sent = Sent::new(world);
    for witness in 0..world.t.witnesses.len() as u32 {
        for look in world.looks_of(witness) {
            if let LookAt::Notice { version, module, wire, strange } = look.what {
                let what = || "a device was spoken to on a topic that is not its own".to_owned();
                judge.expect("I17", !strange, look.at, what, [look.place]);
                let wire = world.wire(wire);
                seen(world, judge, &sent, &products, witness, look, (version, module, wire));
            }
        }
    }
}

/// I14, by both records.
fn success(world: &World, judge: &mut Judge, task: u32, moved: &Move) {
    // A job whose firmware could not be read when it was made says nothing of its version.
    let Some(job) = world.made(task).filter(|job| !job.dest_version.is_empty()) else {
        judge.pass("I14");
        return;
    };
    let row = world.t.tasks[task as usize];
    let (module, dest) = (world.t.words.get(module_name(&job.module)), world.t.words.get(&job.dest_version));
    let told = world.said_of(row.device).iter().any(|said| {
        said.version.is_some()
            && said.version == dest
            && Some(said.module) == module
            && !world.before(moved.stamp, said.stamp)
    });
    let since = world.job_of(task).made.as_ref().map_or(0, |(made, _)| made.from);
    if told || world.holes.spare(since, moved.stamp.at) {
        let what = || {
            format!(
                "{} succeeded, and no report of {:?} was taken before",
                world.name(task),
                job.dest_version
            )
        };
        judge.expect("I14", told, moved.stamp.from, what, [moved.stamp.place]);
    } else {
        judge.pass("I14");
    }

    let Some(witness) = world.witness_of_task(task) else { return };
    let looks = world.looks_of(witness);
    let until = moved.stamp.at.saturating_add(world.options.device_clock_error);
    let informed = looks.iter().any(|look| match look.what {
        LookAt::Inform { version, module: of } => {
            Some(version) == dest && Some(of) == module && look.at <= until
        }
        LookAt::Online
        | LookAt::Offline
        | LookAt::Notice { .. }
        | LookAt::Fetched
        | LookAt::Progress { .. } => false,
    });
    // Whether its record was on before, and goes on after it.
    let begun = looks
        .first()
        .is_some_and(|first| first.at.saturating_add(world.options.device_clock_error) < moved.stamp.from);
    let goes_on = looks
        .iter()
        .any(|look| world.t.device_files.get(&look.place.file()).is_some_and(|last| *last > until));
    if informed || (begun && goes_on) {
        let what = || {
            format!(
                "{} succeeded, and the device never informed {:?} before",
                world.name(task),
                job.dest_version
            )
        };
        judge.expect("I14", informed, moved.stamp.from, what, [moved.stamp.place]);
    } else {
        judge.pass("I14");
    }
}

/// Whether a written notice came to a session that surely took it.
fn written(world: &World, judge: &mut Judge, task: u32, write: &Write, looks: &[Look]) {
    let error = world.options.device_clock_error;
    let begin = write.stamp.from.saturating_sub(error);
    let end = write.stamp.at.saturating_add(error).saturating_add(READ_BY);
    let after = looks.partition_point(|look| look.at < end);
    let goes_on = looks.get(after).is_some_and(|look| look.what != LookAt::Online);
    let before = looks.partition_point(|look| look.at < begin.saturating_sub(SETTLED_IN));
    let is_breath = |look: &Look| matches!(look.what, LookAt::Online | LookAt::Offline);
    let online = looks[..before]
        .iter()
        .rev()
        .find(|look| is_breath(look))
        .is_some_and(|look| look.what == LookAt::Online);
    let steady = online && goes_on && !looks[before..after].iter().any(is_breath);
    // A device that stays silent to the end of its file, in a session that never ended there, proves nothing.
    if !steady {
        return;
    }
    let from = looks.partition_point(|look| look.at < begin);
    let came = looks[from..]
        .iter()
        .any(|look| matches!(look.what, LookAt::Notice { wire, .. } if world.wire(wire) == write.wire));
    let what = || {
        format!(
            "a notice (id {}) to {} was written to a session that went on, and did not arrive",
            write.wire,
            world.name(task)
        )
    };
    judge.expect("arrived", came, write.stamp.from, what, [write.stamp.place]);
}

/// A device belongs to one product, a product to one account.
fn belongs(world: &World, judge: &mut Judge, device: u32) {
    let tasks = world.tasks_of_device(device);
    let made = |task: &u32| world.job_of(*task).made.as_ref();
    let Some((first, job)) = tasks.iter().find_map(made) else { return };
    let other = tasks
        .iter()
        .filter_map(made)
        .find(|(_, other)| (&other.product, other.account) != (&job.product, job.account));
    let lines = [first.place].into_iter().chain(other.map(|(stamp, _)| stamp.place));
    let number = world.t.devices[device as usize].number;
    let what = || format!("device {number} has tasks of two products or accounts");
    judge.expect("I17", other.is_none(), other.map_or(0, |(stamp, _)| stamp.from), what, lines);
}

/// Whose each product is.
fn products<'a>(world: &'a World, judge: &mut Judge) -> BTreeMap<&'a str, i64> {
    let mut products: BTreeMap<&str, (i64, Place)> = BTreeMap::new();
    for (stamp, job) in world.t.jobs.iter().filter_map(|row| row.made.as_ref()) {
        let known = *products.entry(&job.product).or_insert((job.account, stamp.place));
        let what = || {
            format!("jobs of two accounts, {} and {}, are for product {}", known.0, job.account, job.product)
        };
        judge.expect("I17", known.0 == job.account, stamp.from, what, [known.1, stamp.place]);
    }
    products.into_iter().map(|(product, (account, _))| (product, account)).collect()
}

/// When anything was written at all.
struct Sent {
    /// First and last line of all processes.
    up: (u64, u64),
}

impl Sent {
    fn new(world: &World) -> Self {
        let begin = world.up.iter().map(|(begin, _)| *begin).min().unwrap_or(u64::MAX);
        let end = world.up.iter().map(|(_, end)| *end).max().unwrap_or(0);
        Self { up: (begin, end) }
    }
}

/// A notice that arrived was written; if not, the nearest rule that forbade it is named.
fn seen(
    world: &World,
    judge: &mut Judge,
    sent: &Sent,
    products: &BTreeMap<&str, i64>,
    witness: u32,
    look: &Look,
    (version, module, wire): (u32, u32, i64),
) {
    let error = world.options.device_clock_error;
    let (product, _) = world.t.witnesses[witness as usize];
    let tasks = &world.tasks_of_witness(witness)[..];
    let limit = look.at.saturating_add(error);
    let written = tasks.iter().flat_map(|task| world.writes_of(*task)).find(|write| write.wire == wire);
    if let Some(write) = written {
        let early = limit < write.stamp.from;
        let what = || format!("a notice (id {wire}) arrived before it was written");
        // Another notice of the same attempt may have been the one that arrived.
        let first = tasks
            .iter()
            .flat_map(|task| world.writes_of(*task))
            .any(|other| other.wire == wire && other.stamp.from <= limit);
        if early && !first && !world.holes.spare(look.at.saturating_sub(error + 60_000_000), limit) {
            judge.pass("arrived");
        } else {
            judge.expect("arrived", !early || first, look.at, what, [write.stamp.place, look.place]);
        }
        let job = world.made(write.task);
        let fits = job.filter(|job| !job.dest_version.is_empty()).is_none_or(|job| {
            world.t.words.get(&job.dest_version) == Some(version)
                && world.t.words.get(module_name(&job.module)) == Some(module)
                && world.t.words.get(&job.product) == Some(product)
        });
        let made = world.job_of(write.task).made.as_ref().map(|(stamp, _)| stamp.place);
        let what = || {
            format!("{} got a notice that offers another version, module or product", world.name(write.task))
        };
        judge.expect("I17", fits, look.at, what, made.into_iter().chain([write.stamp.place, look.place]));
        return;
    }
    // Before the servers' record begins nothing is known, nor after it ends.
    let covered = sent.up.0.saturating_add(error) < look.at && look.at.saturating_add(error) < sent.up.1;
    // Which number a device has is told with its tasks.
    let since = if !tasks.is_empty() { look.at.saturating_sub(error + 60_000_000) } else { 0 };
    let whole = world.holes.spare(since, limit);
    if !covered || !whole || !world.from_the_start {
        judge.pass("arrived");
        return;
    }
    let offers = |job: &crate::record::JobMade| {
        world.t.words.get(&job.dest_version) == Some(version)
            && world.t.words.get(module_name(&job.module)) == Some(module)
    };
    let mut candidates = tasks.iter().filter(|task| world.made(**task).is_some_and(offers));
    let rule = match candidates.next() {
        Some(task) if world.made(*task).is_some_and(|job| !job.need_push) => "I15",
        Some(task) => {
            let fenced = world
                .job_of(*task)
                .fenced
                .iter()
                .any(|(stamp, _)| stamp.at.saturating_add(world.options.arrival_slack + error) < look.at);
            if fenced { "I5" } else { "arrived" }
        }
        None => {
            let jobs =
                || world.t.jobs.iter().filter_map(|row| row.made.as_ref()).filter(|(_, job)| offers(job));
            let own = jobs().any(|(_, job)| world.t.words.get(&job.product) == Some(product));
            if own || !jobs().any(|(_, job)| products.contains_key(job.product.as_str())) {
                "I11"
            } else {
                "I17"
            }
        }
    };
    let what = || format!("a notice (id {wire}) arrived that no server tells of");
    judge.expect(rule, false, look.at, what, [look.place]);
}
