//! The end of a run: nothing is done to anybody any more, and the work has to come to its end within a bound.
//!
//! Invariant: the bound follows from the jobs alone; a machine that is slow does not get more.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::job::Kind;
use super::operate::{Desk, OFFER_MINUTES, RETRIES, Story, TIMEOUT_MINUTES, words};
use super::verdict::Ended;
use crate::clock::now;

/// Devices wait longer and longer between two tries to connect.
const RECONNECT: Duration = Duration::from_secs(30);

/// Without its state the pace lets a whole window pass.
const GAP: Duration = Duration::from_secs(61);

/// Between two notices of one offer; also the survey of what nobody told.
const REPEAT: Duration = Duration::from_secs(60);

/// Leases, deadlines of deliveries, the closer.
const SLACK: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_secs(1);

/// A notice that comes after everything is over would be one too many.
const LISTEN: Duration = Duration::from_secs(3);

/// By when the work has to be done: what is left at most, at the pace of the slowest job, with the waits that may
/// come on top, one after the other.
pub(super) fn bound(stories: &[Story]) -> Duration {
    let work = |story: &Story| {
        let devices = u64::try_from(story.ware.names.len()).unwrap_or(0);
        let offers = if story.errand.kind == Kind::Retry { 1 + RETRIES } else { 1 };
        Duration::from_secs(devices * offers * 60 / u64::from(story.errand.least_a_minute().max(1)))
    };
    let longest = stories.iter().map(work).max().unwrap_or_default();
    let waits = Duration::from_secs((OFFER_MINUTES + TIMEOUT_MINUTES) * 60);
    RECONNECT + GAP + REPEAT + waits + longest + SLACK
}

/// Waits until all jobs have ended, and asks for everything about them. `look` is called meanwhile. `Err` where the
/// servers answer nothing.
pub(super) fn end(
    desk: &Desk,
    stories: Vec<Story>,
    bound: Duration,
    mut look: impl FnMut(usize),
) -> Result<Vec<Ended>> {
    let since = now();
    let mut retried = 0;
    let mut open: Vec<&str> = stories.iter().filter_map(|story| story.job.as_deref()).collect();
    while !open.is_empty() && since.elapsed() < bound {
        let mut left = Vec::new();
        for job in open {
            let shown = desk.insist(&words(&["job", "show", job]), &mut retried)?;
            if !is_over(&shown) {
                left.push(job);
            }
        }
        open = left;
        look(open.len());
        std::thread::sleep(PAUSE);
    }
    std::thread::sleep(LISTEN);

    let mut ended = Vec::new();
    for mut story in stories {
        let (mut shown, mut tasks) = (Value::Null, Vec::new());
        if let Some(job) = &story.job {
            shown = desk.insist(&words(&["job", "show", job]), &mut retried)?;
            tasks = desk.insist_on_all(&words(&["task", "list", job]), &mut retried)?;
            if !is_over(&shown) {
                let (status, seconds) = (&shown["job_status"], bound.as_secs());
                story.troubles.push(format!("still {status} {seconds} s after the last fault"));
            }
        }
        ended.push(Ended { story, shown, tasks });
    }
    Ok(ended)
}

/// Whether nothing more can happen to a job by itself.
fn is_over(shown: &Value) -> bool {
    let counts = &shown["task_counts"];
    let open = ["confirm", "queued", "notified", "in_progress"];
    let tasks_are = open.iter().all(|status| counts[status].as_u64() == Some(0));
    let status = shown["job_status"].as_str().unwrap_or_default();
    tasks_are && matches!(status, "JOB_STATUS_COMPLETED" | "JOB_STATUS_CANCELED")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_over_when_it_ended_and_no_task_is_open() {
        let shown = |status: &str, queued: u64| {
            let counts =
                json!({ "confirm": 0, "queued": queued, "notified": 0, "in_progress": 0, "failed": 3 });
            json!({ "job_status": status, "task_counts": counts })
        };
        assert!(is_over(&shown("JOB_STATUS_COMPLETED", 0)));
        assert!(is_over(&shown("JOB_STATUS_CANCELED", 0)));
        assert!(!is_over(&shown("JOB_STATUS_CANCELED", 1)));
        assert!(!is_over(&shown("JOB_STATUS_IN_PROGRESS", 0)));
        assert!(!is_over(&Value::Null));
    }
}
