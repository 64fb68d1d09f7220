//! Whether a run went as promised, judged by what the devices wrote down and by what the API answers at the end.
//!
//! Invariant: a task counts as right only if the device's own record explains it; what nobody wrote down is not
//! believed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::job::Kind;
use super::operate::Story;
use super::world::Temper;
use crate::cluster::{Event, MINUTE_US, Record, What, max_in_any};

/// From a write to a socket to the record of the device behind it, on a machine with much to do.
const ON_ITS_WAY_US: u64 = 2_000_000;

/// A device that has the version so soon after its notice was heard in time, whatever happened to the servers.
const SOON_US: u64 = 20_000_000;

const BUSY: &str = "the device has another unfinished task";
const TIMEOUT: &str = "the update took longer than TimeoutInMinutes";
const OFFER_TIMEOUT: &str = "the device had the notice and did not report in time";
const FOREIGN: &str = "the device informed a version that is neither source nor destination";
const REPORTED: &str = "the device reported -";
const BY_OPERATOR: &str = "canceled by an operator";
const OVERWRITTEN: &str = "replaced by a later job";

/// A job at the end of a run.
pub(super) struct Ended {
    pub(super) story: Story,
    /// As `job show` tells it; `Null` if it was never told.
    pub(super) shown: Value,
    /// As `task list` tells them.
    pub(super) tasks: Vec<Value>,
}

/// What was found in one installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) jobs: usize,
    pub(super) tasks: usize,
    pub(super) notices: usize,
    /// Devices whose end state is missing or contradicts their record.
    pub(super) lost: usize,
    pub(super) violations: Vec<String>,
    /// How often each rule was looked at.
    pub(super) checked: BTreeMap<&'static str, u64>,
}

impl Findings {
    fn count(&mut self, rule: &'static str) {
        *self.checked.entry(rule).or_default() += 1;
    }

    fn lose(&mut self, why: String) {
        self.lost += 1;
        self.violations.push(why);
    }
}

/// Judges the jobs of one installation of so many devices.
pub(super) fn judge(jobs: &[Ended], tempers: &BTreeMap<String, Temper>, record: &Record) -> Findings {
    let mut findings = Findings { jobs: jobs.len(), ..Findings::default() };
    let mut sights: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in record.events() {
        findings.notices += usize::from(matches!(event.what, What::Notice { .. }));
        sights.entry(&event.device).or_default().push(event);
    }
    for job in jobs {
        let version = job.story.errand.version();
        findings.violations.extend(job.story.troubles.iter().map(|why| format!("job {version}: {why}")));
        pace(job, record, &mut findings);
        orders(job, record, &mut findings);
        counters(job, tempers, &mut findings);
        let others = Others::of(job, jobs);
        let mut with_task = BTreeSet::new();
        for task in &job.tasks {
            let device = task["device_name"].as_str().unwrap_or_default();
            let first = with_task.insert(device);
            findings.tasks += 1;
            findings.count("end_state");
            if !first {
                findings.violations.push(format!("job {version}: {device} has two tasks"));
            }
            let seen = sights.get(device).map_or(&[][..], Vec::as_slice);
            let temper = tempers.get(device).copied().unwrap_or(Temper::Good);
            if let Err(why) = agrees(task, &version, temper, seen, &others) {
                findings.lose(format!("job {version}: {device} ({temper:?}): {why}"));
            }
        }
        for name in job.story.ware.names.iter().filter(|name| !with_task.contains(name.as_str())) {
            if job.story.job.is_some() {
                findings.lose(format!("job {version}: {name} has no task"));
            }
        }
        let told: BTreeSet<&str> = record.pushes(&version).iter().map(|push| push.device).collect();
        for stranger in told.iter().filter(|device| !with_task.contains(*device)) {
            findings.violations.push(format!("job {version}: {stranger} was told and has no task"));
        }
    }
    findings
}

/// The limit holds in any 60 s, by what devices saw.
fn pace(job: &Ended, record: &Record, findings: &mut Findings) {
    let errand = &job.story.errand;
    let times: Vec<u64> = record.pushes(&errand.version()).iter().map(|push| push.unix_us).collect();
    let (most, limit) = (max_in_any(&times, MINUTE_US), errand.most_a_minute());
    findings.count("pace");
    if most > usize::try_from(limit).unwrap_or(usize::MAX) {
        findings.violations.push(format!(
            "job {}: {most} notices in one window of 60 s, {limit} are allowed",
            errand.version()
        ));
    }
}

/// Nothing of a job arrives after its cancellation or pause was answered.
fn orders(job: &Ended, record: &Record, findings: &mut Findings) {
    let version = job.story.errand.version();
    let cancelled = job.story.cancelled_us.map(|from| (from, u64::MAX, "cancellation"));
    let paused = job.story.paused_us.map(|(from, to)| (from, to, "pause"));
    for (from, to, what) in cancelled.into_iter().chain(paused) {
        findings.count("order");
        let late = record.pushes(&version);
        let late: Vec<_> =
            late.iter().filter(|push| push.unix_us > from + ON_ITS_WAY_US && push.unix_us < to).collect();
        if let Some(first) = late.first() {
            findings.violations.push(format!(
                "job {version}: {} notices after its {what} was answered, the first to {} {} us later",
                late.len(),
                first.device,
                first.unix_us - from
            ));
        }
    }
}

const STATUSES: [(&str, &str); 7] = [
    ("confirm", "TASK_STATUS_CONFIRM"),
    ("queued", "TASK_STATUS_QUEUED"),
    ("notified", "TASK_STATUS_NOTIFIED"),
    ("in_progress", "TASK_STATUS_IN_PROGRESS"),
    ("succeeded", "TASK_STATUS_SUCCEEDED"),
    ("failed", "TASK_STATUS_FAILED"),
    ("canceled", "TASK_STATUS_CANCELED"),
];

/// The counts of a job are those of the list of its tasks, and all of its lines are accounted for.
fn counters(job: &Ended, tempers: &BTreeMap<String, Temper>, findings: &mut Findings) {
    let errand = &job.story.errand;
    let version = errand.version();
    if job.story.job.is_none() {
        return;
    }
    findings.count("counters");
    for (name, status) in STATUSES {
        let listed = job.tasks.iter().filter(|task| task["task_status"] == status).count();
        let counted = job.shown["task_counts"][name].as_u64();
        if counted != u64::try_from(listed).ok() {
            findings
                .violations
                .push(format!("job {version}: {counted:?} tasks {name} by count, {listed} by list"));
        }
    }
    let expansion = &job.shown["expansion"];
    let number = |field: &str| expansion[field].as_u64().unwrap_or(0);
    let (lines, parts) = (number("lines"), number("tasks") + number("skipped") + number("rejected"));
    if errand.kind != Kind::Dynamic && lines != parts {
        findings.violations.push(format!("job {version}: {lines} lines, {parts} accounted for"));
    }
    if errand.kind == Kind::Gray {
        let wanted = tempers.len() * usize::try_from(errand.percent).unwrap_or(0) / 100;
        if job.tasks.len() != wanted {
            let (tasks, percent) = (job.tasks.len(), errand.percent);
            findings.lose(format!("job {version}: {tasks} devices are in {percent} %, not {wanted}"));
        }
    }
}

/// What else may have ended a task.
struct Others {
    /// The whole job was cancelled, or what waited of it.
    cancelled: bool,
    /// A job that came later takes the place of earlier ones.
    replaced: bool,
    /// Another job may have had the device.
    met: bool,
}

impl Others {
    fn of(job: &Ended, jobs: &[Ended]) -> Self {
        let errand = &job.story.errand;
        let shares = |other: &&Ended| {
            let theirs = &other.story.errand;
            theirs.number != errand.number
                && (theirs.pool == errand.pool || theirs.kind == Kind::Gray || errand.kind == Kind::Gray)
        };
        let replaces = |other: &Ended| {
            other.story.errand.kind == Kind::Replace && other.story.errand.number > errand.number
        };
        Self {
            cancelled: matches!(errand.kind, Kind::Cancel | Kind::CancelQueued),
            replaced: jobs.iter().filter(shares).any(replaces),
            met: jobs.iter().any(|other| shares(&other)),
        }
    }
}

/// Whether the end of a task is what its device wrote down, or an operator did.
fn agrees(
    task: &Value,
    version: &str,
    temper: Temper,
    seen: &[&Event],
    others: &Others,
) -> Result<(), String> {
    let at =
        |is: &dyn Fn(&What) -> bool| seen.iter().find(|event| is(&event.what)).map(|event| event.unix_us);
    let told = at(&|what| matches!(what, What::Notice { version: offered, .. } if offered == version));
    let informed = at(&|what| matches!(what, What::Inform { version: has } if has == version));
    let since = told.unwrap_or(u64::MAX);
    let after =
        |is: &dyn Fn(&What) -> bool| seen.iter().any(|event| event.unix_us >= since && is(&event.what));
    let failed = after(&|what| matches!(what, What::Progress { step } if *step < 0));
    let began = after(&|what| matches!(what, What::Progress { .. }));
    let moved_on = after(&|what| matches!(what, What::Notice { version: other, .. } if other != version));
    // What another job had told it to install is no fault of this one's.
    let foreign = seen.iter().any(|event| {
        let What::Inform { version: other } = &event.what else { return false };
        let offered = at(&|what| matches!(what, What::Notice { version: of, .. } if of == other));
        event.unix_us >= since && other != version && offered.is_none_or(|told| told > event.unix_us)
    });
    let was_away = seen.iter().any(|event| event.what == What::Offline);

    // The device's last words follow in brackets.
    let reason = task["task_desc"].as_str().unwrap_or_default();
    let reason = reason.split(" (").next().unwrap_or_default();
    let wrong = |what: &str| Err(format!("{what} ({reason:?})"));
    match task["task_status"].as_str().unwrap_or_default() {
        "TASK_STATUS_SUCCEEDED" if informed.is_some() => Ok(()),
        "TASK_STATUS_SUCCEEDED" => wrong("succeeded, and the device never informed the version"),
        "TASK_STATUS_CANCELED" => match reason {
            BY_OPERATOR if others.cancelled => Ok(()),
            OVERWRITTEN if others.replaced => Ok(()),
            _ => wrong("cancelled by nobody"),
        },
        "TASK_STATUS_FAILED" => {
            if let (Some(told), Some(informed)) = (told, informed)
                && reason != BUSY
                && !failed
                && informed.saturating_sub(told) < SOON_US
            {
                return wrong("the device had the version soon, and the task failed");
            }
            match reason {
                BUSY if others.met => Ok(()),
                TIMEOUT if told.is_some() && (began || moved_on) => match temper {
                    Temper::Good | Temper::Flaky if informed.is_none() && !moved_on && !failed => {
                        wrong("a device that updates began and never ended")
                    }
                    _ => Ok(()),
                },
                // A notice that was written to a connection at its end is read by nobody.
                OFFER_TIMEOUT if told.is_some() || was_away => Ok(()),
                FOREIGN if foreign => Ok(()),
                _ if reason.starts_with(REPORTED) && failed => Ok(()),
                _ => wrong("failed, and the device's record does not say why"),
            }
        }
        other => wrong(&format!("still {other}")),
    }
}

#[cfg(test)]
mod tests;
