//! Mistakes between jobs: two open tasks of a device, busy and replaced ones, dynamic jobs, products.

use otaria_history::record::{Fact, JobMade};

use super::{SECOND, Spoil, Step, is_open};
use crate::history::{Chance, History};

pub(super) const KINDS: &[(&str, &str, Spoil)] = &[
    ("a second open task of a device", "I2", second_open),
    ("a busy device that has nothing to do", "I10", busy),
    ("a task in progress that was replaced", "I10", replaced_running),
    ("a task replaced by a job that keeps earlier ones", "I10", keeps),
    ("a second dynamic job of a firmware", "I16", second_dynamic),
    ("a device in a job of another product", "I17", other_product),
    ("a product of two accounts", "I17", other_account),
];

/// Another job, as it might have been made at an instant.
fn another(history: &mut History, like: &JobMade, at: u64) -> i64 {
    let number = history.jobs().iter().map(|job| job.job).max().unwrap_or(0) + 1;
    let made = JobMade {
        job: number,
        id: format!("job-{number}"),
        firmware: like.firmware + 1_000,
        job_kind: "STATIC".into(),
        names: Vec::new(),
        gray: None,
        token: None,
        overwrite: 1,
        multi_module: false,
        ..like.clone()
    };
    history.add(at, Fact::Job(Box::new(made)));
    number
}

fn made(step: &Step, job: i64, status: &str, desc: Option<&str>) -> Fact {
    Fact::Task {
        job,
        device: step.device,
        name: step.name.clone(),
        module: String::new(),
        previous: None,
        status: status.to_owned(),
        attempt: 0,
        percent: None,
        revision: 1,
        desc: desc.map(str::to_owned),
    }
}

fn second_open(history: &mut History, chance: &mut Chance) -> bool {
    let found = history.step(chance, |step, next| {
        is_open(&step.status)
            && next
                .is_some_and(|next| history.lines[step.line].at + 3 * SECOND < history.lines[next.line].from)
    });
    let Some((step, Some(next))) = found else { return false };
    let Some(like) = history.job(step.job) else { return false };
    let (begin, end) = (history.lines[step.line].at, history.lines[next.line].from);
    let at = begin + SECOND + chance.below(end - begin - 2 * SECOND);
    let job = another(history, &like, at - SECOND / 2);
    history.add(at, made(&step, job, "QUEUED", None));
    true
}

fn busy(history: &mut History, chance: &mut Chance) -> bool {
    // A device whose last task is over.
    let found = history.step(chance, |step, next| !is_open(&step.status) && next.is_none());
    let Some((step, _)) = found else { return false };
    let Some(like) = history.job(step.job) else { return false };
    let at = history.end - 5 * SECOND;
    let beside = history.lives().into_iter().any(|((_, device), life)| {
        let last =
            life.last().filter(|last| is_open(&last.status) || history.lines[last.line].at + SECOND > at);
        device == step.device && last.is_some()
    });
    if beside {
        return false;
    }
    let job = another(history, &like, at - SECOND);
    history.add(at, made(&step, job, "FAILED", Some("the device has another unfinished task")));
    true
}

/// A task that was replaced.
fn a_replaced(history: &History, chance: &mut Chance) -> Option<usize> {
    history.line(
        chance,
        |line| matches!(&line.fact, Fact::Task { desc: Some(desc), .. } if desc == "replaced by a later job"),
    )
}

fn replaced_running(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = a_replaced(history, chance) else { return false };
    let Fact::Task { previous, .. } = &mut history.lines[line].fact else { return false };
    *previous = Some("IN_PROGRESS".into());
    true
}

fn keeps(history: &mut History, chance: &mut Chance) -> bool {
    let Some(line) = a_replaced(history, chance) else { return false };
    let Fact::Task { device: of, job: gone, .. } = history.lines[line].fact else { return false };
    let others: Vec<i64> = history
        .lives()
        .keys()
        .filter(|(job, device)| *device == of && *job != gone)
        .map(|(job, _)| *job)
        .collect();
    for job in &others {
        if let Some(facts) = history.job_mut(*job) {
            facts.overwrite = 1;
        }
    }
    !others.is_empty()
}

fn second_dynamic(history: &mut History, chance: &mut Chance) -> bool {
    let jobs = history.jobs();
    let Some(like) = chance.pick(&jobs).cloned() else { return false };
    let at = history.end - 10 * SECOND;
    let firmware = like.firmware + 9_000;
    for n in 0..2 {
        let job = another(history, &like, at + n * 2 * SECOND);
        let facts = history.job_mut(job).unwrap();
        facts.job_kind = "DYNAMIC".into();
        facts.status = "IN_PROGRESS".into();
        facts.firmware = firmware;
    }
    true
}

fn other_product(history: &mut History, chance: &mut Chance) -> bool {
    let Some((step, _)) = history.step(chance, |step, next| !is_open(&step.status) && next.is_none()) else {
        return false;
    };
    let Some(mut like) = history.job(step.job) else { return false };
    like.product = "yetAnother".into();
    let at = history.end - 5 * SECOND;
    let job = another(history, &like, at - SECOND);
    history.add(at, made(&step, job, "QUEUED", None));
    true
}

fn other_account(history: &mut History, chance: &mut Chance) -> bool {
    let jobs = history.jobs();
    let Some(like) = chance.pick(&jobs).cloned() else { return false };
    let at = history.end - 5 * SECOND;
    let job = another(history, &like, at);
    history.job_mut(job).unwrap().account += 40;
    true
}
