//! Follows a job: a bar with the counts on a terminal, seldom a line elsewhere, each item as JSON if asked.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar};
use otaria_proto::v1::{Bulk, JobStatus, TaskCounts, WatchOtaJobRequest, WatchOtaJobResponse};
use tonic::{Code, Status};

use super::output::{json_line, line, with_template, word};
use crate::remote::{Remote, answer, explain};
use crate::stopwatch::Stopwatch;

/// A watch that is cut off is begun again so often, a second apart; any item starts the count anew.
const TRIES: u32 = 30;

/// Between two lines where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(5);

/// Shows the job until it ended.
pub(super) async fn follow(remote: &Remote, job_id: &str, json: bool) -> anyhow::Result<()> {
    let mut show = Show::new(json);
    let mut tries = 0;
    loop {
        let cut = match watch(remote, job_id, &mut show, &mut tries).await {
            Ok(Cut::Ended) => return show.end(),
            Ok(Cut::Off(status)) => status,
            Err(error) => return Err(error),
        };
        tries += 1;
        if tries > TRIES {
            return Err(explain(&cut));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

enum Cut {
    Ended,
    Off(Status),
}

async fn watch(remote: &Remote, job_id: &str, show: &mut Show, tries: &mut u32) -> anyhow::Result<Cut> {
    let request = WatchOtaJobRequest { job_id: job_id.to_owned() };
    let mut items = if *tries == 0 {
        answer(remote.jobs().watch_ota_job(request)).await?
    } else {
        match remote.jobs().watch_ota_job(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return cut(status),
        }
    };
    loop {
        match items.message().await {
            Ok(Some(item)) => {
                *tries = 0;
                let ended = has_ended(&item);
                show.item(item)?;
                if ended {
                    return Ok(Cut::Ended);
                }
            }
            Ok(None) => return Ok(Cut::Off(Status::unavailable("the server ended the watch"))),
            Err(status) => return cut(status),
        }
    }
}

/// Whether a watch may be begun again.
fn cut(status: Status) -> anyhow::Result<Cut> {
    let again = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled);
    if again { Ok(Cut::Off(status)) } else { Err(explain(&status)) }
}

/// Whether a job is over: the tasks of a cancelled one may go on, and are followed.
pub(crate) fn has_ended(item: &WatchOtaJobResponse) -> bool {
    let open = item.task_counts.map_or(0, |of| of.confirm + of.queued + of.notified + of.in_progress);
    match item.job_status() {
        JobStatus::Completed => true,
        JobStatus::Canceled => open == 0,
        JobStatus::Unspecified | JobStatus::Planned | JobStatus::InProgress | JobStatus::Paused => false,
    }
}

/// The counts that are not zero, in words.
pub(super) fn describe(counts: &TaskCounts) -> String {
    let parts = [
        (counts.confirm, "to confirm"),
        (counts.queued, "queued"),
        (counts.notified, "notified"),
        (counts.in_progress, "in progress"),
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.canceled, "canceled"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts = parts.map(|(count, name)| format!("{} {name}", HumanCount(unsigned(*count))));
    parts.collect::<Vec<_>>().join(", ")
}

/// How far an action on many tasks has come, in words.
pub(super) fn describe_bulk(bulk: &Bulk) -> String {
    let action = word(bulk.action().as_str_name(), "BULK_ACTION_").to_lowercase();
    let how_far = if bulk.done { "done" } else { "under way" };
    let [looked_at, moved, passed] =
        [bulk.looked_at, bulk.moved, bulk.passed_over].map(|count| HumanCount(unsigned(count)));
    format!("{action} {how_far}: {looked_at} looked at, {moved} moved, {passed} passed over")
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

struct Show {
    json: bool,
    bar: ProgressBar,
    last: Option<WatchOtaJobResponse>,
    last_line: Option<Stopwatch>,
}

impl Show {
    fn new(json: bool) -> Self {
        let template = "{msg}\n{wide_bar} {human_pos}/{human_len}  {elapsed}  {rate}";
        let bar = if json { ProgressBar::hidden() } else { with_template(ProgressBar::new(0), template) };
        Self { json, bar, last: None, last_line: None }
    }

    fn item(&mut self, item: WatchOtaJobResponse) -> anyhow::Result<()> {
        if self.json {
            return json_line("WatchOTAJobResponse", &item);
        }
        let counts = item.task_counts.unwrap_or_default();
        let expansion = item.expansion.clone().unwrap_or_default();
        self.bar.set_length(unsigned(expansion.tasks));
        self.bar.set_position(unsigned(counts.succeeded + counts.failed + counts.canceled));
        self.bar.set_message(describe(&counts));
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_PAUSE);
        if self.bar.is_hidden() && due && self.last.as_ref().map(without_time) != Some(without_time(&item)) {
            self.last_line = Some(Stopwatch::start());
            line(&describe(&counts))?;
        }
        self.last = Some(item);
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let Some(item) = self.last else { return Ok(()) };
        let status = word(item.job_status().as_str_name(), "JOB_STATUS_");
        let counts = item.task_counts.unwrap_or_default();
        line(&format!("job {} is {status}: {}", item.job_id, describe(&counts)))
    }
}

fn without_time(item: &WatchOtaJobResponse) -> WatchOtaJobResponse {
    WatchOtaJobResponse { utc_read: None, ..item.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_without_the_zeros() {
        let counts = TaskCounts { queued: 1_500, succeeded: 7, ..TaskCounts::default() };
        assert_eq!(describe(&counts), "1,500 queued, 7 succeeded");
        assert_eq!(describe(&TaskCounts::default()), "");
    }
}
