//! A second opinion on what a task must become: small, naive, and written without a look at `otaria_core::task`.
//!
//! One flat record of what is known of a device in a job, and one function per thing that can happen to it.
//! What the store keeps is compared with it after every write.
//!
//! Invariant: nothing of the engine or the core decides here; their types are read for comparison only.

use std::collections::BTreeSet;
use std::time::Duration;

use otaria_core::task::{CancelCause, Delivery, FailureCause, Retry, Said, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::Task;

const SECOND: Duration = Duration::from_secs(1);

/// What a job promises its tasks, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) dest: String,
    pub(crate) retries: u8,
    pub(crate) retry_after: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) offer_timeout: Option<Duration>,
    pub(crate) need_confirm: bool,
}

/// Where the notice of the running offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    None,
    /// Claimed; owed again when nobody says that it was written before then.
    Out(Timestamp),
    Owed,
    Told(Timestamp),
    /// The device came and asked.
    Asked,
}

/// The next offer after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    At(Timestamp),
    Due,
}

/// A device in a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: TaskStatus,
    pub(crate) offers: u8,
    pub(crate) offered_at: Option<Timestamp>,
    pub(crate) notice: Notice,
    pub(crate) again: Again,
    pub(crate) silent_until: Option<Timestamp>,
    pub(crate) done_until: Option<Timestamp>,
    pub(crate) percent: Option<u8>,
    pub(crate) failed: Option<FailureCause>,
    pub(crate) canceled: Option<CancelCause>,
    pub(crate) heard: (i64, u32),
    pub(crate) notices: u32,
}

impl Row {
    /// A task as it is made.
    pub(crate) fn new(need_confirm: bool) -> Self {
        Self {
            status: if need_confirm { TaskStatus::Confirm } else { TaskStatus::Queued },
            offers: 0,
            offered_at: None,
            notice: Notice::None,
            again: Again::No,
            silent_until: None,
            done_until: None,
            percent: None,
            failed: None,
            canceled: None,
            heard: (0, 0),
            notices: 0,
        }
    }

    /// One whose device had another.
    pub(crate) fn busy() -> Self {
        let failed = Some(FailureCause::Busy);
        Self { status: TaskStatus::Failed, failed, ..Self::new(false) }
    }

    /// What the store says.
    pub(crate) fn of(task: &Task) -> Self {
        let mut row = Self::new(false);
        row.status = task.state.status();
        row.offers = task.state.attempts();
        row.heard = (task.report.session, task.report.n);
        row.notices = task.notices;
        if let TaskState::Notified { attempt, delivery, retry, .. }
        | TaskState::InProgress { attempt, delivery, retry, .. } = &task.state
        {
            row.offered_at = Some(attempt.offered_at);
            row.notice = match delivery {
                Delivery::Claimed { deadline } => Notice::Out(*deadline),
                Delivery::Wanted => Notice::Owed,
                Delivery::Written { at } => Notice::Told(*at),
                Delivery::Fetched => Notice::Asked,
            };
            row.again = match retry {
                Retry::None => Again::No,
                Retry::At(at) => Again::At(*at),
                Retry::Wanted => Again::Due,
            };
        }
        match &task.state {
            TaskState::Notified { offer_deadline, .. } => row.silent_until = *offer_deadline,
            TaskState::InProgress { percent, timeout_at, .. } => {
                row.percent = Some(percent.get());
                row.done_until = *timeout_at;
            }
            TaskState::Failed { cause, .. } => row.failed = Some(*cause),
            TaskState::Canceled { cause, .. } => row.canceled = Some(*cause),
            TaskState::Confirm | TaskState::Queued | TaskState::Succeeded { .. } => {}
        }
        row
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.status, TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled)
    }

    fn is_offered(&self) -> bool {
        matches!(self.status, TaskStatus::Notified | TaskStatus::InProgress)
    }

    fn end(&mut self, status: TaskStatus) {
        *self = Self {
            status,
            offers: self.offers,
            heard: self.heard,
            notices: self.notices,
            ..Self::new(false)
        };
    }

    /// Whether another offer is due after a failure.
    fn owes_offer(&self, now: Timestamp) -> bool {
        match self.again {
            Again::No => false,
            Again::At(at) => at <= now,
            Again::Due => true,
        }
    }

    /// A notice is claimed, to be written from `date` on. Says what is wrong with that.
    pub(crate) fn claim(&mut self, date: Timestamp, now: Timestamp) -> Result<Claimed, &'static str> {
        let what = if self.status == TaskStatus::Queued {
            Claimed::First
        } else if !self.is_offered() {
            return Err("a claim of a task that waits for nothing");
        } else if self.again != Again::No {
            if !self.owes_offer(now) {
                return Err("a retry before its time");
            }
            Claimed::Retry
        } else {
            match self.notice {
                Notice::Owed => Claimed::Redelivery,
                Notice::Out(until) if until <= now => Claimed::Redelivery,
                Notice::Told(at) if now.since(at) >= 60 * SECOND => Claimed::Repeat,
                Notice::Told(_) => return Err("a repeat within a minute"),
                Notice::None | Notice::Out(_) | Notice::Asked => return Err("a notice too many"),
            }
        };
        if matches!(what, Claimed::First | Claimed::Retry) {
            self.offers += 1;
            self.offered_at = Some(now);
            self.again = Again::No;
            self.silent_until = None;
        }
        if self.status == TaskStatus::Queued {
            self.status = TaskStatus::Notified;
        }
        self.notice = Notice::Out(date.max(now) + 5 * SECOND);
        Ok(what)
    }

    /// Word came that the notice of an offer was written.
    pub(crate) fn written(&mut self, offer: u8, at: Timestamp, promise: &Promise) {
        if !self.is_offered() || offer != self.offers || !matches!(self.notice, Notice::Out(_) | Notice::Owed)
        {
            return;
        }
        self.notice = Notice::Told(at);
        if self.status == TaskStatus::Notified && self.again == Again::No && self.silent_until.is_none() {
            self.silent_until = promise.offer_timeout.map(|span| at + span);
        }
    }

    /// The device asked by itself.
    pub(crate) fn fetched(&mut self, promise: &Promise, now: Timestamp) {
        let silent_until = promise.offer_timeout.map(|span| now + span);
        if self.status == TaskStatus::Queued || (self.is_offered() && self.owes_offer(now)) {
            if self.status != TaskStatus::InProgress {
                self.status = TaskStatus::Notified;
                self.silent_until = silent_until;
            }
            self.offers += 1;
            self.offered_at = Some(now);
            self.notice = Notice::Asked;
            self.again = Again::No;
        } else {
            self.written(self.offers, now, promise);
        }
    }

    /// The device says something; older words than the last ones say nothing. `missed`: versions that ended tasks
    /// of the device had offered in vain. `elsewhere`: the last that it was told of was another job. `read`: when its
    /// gateway heard it.
    pub(crate) fn hear(
        &mut self,
        order: (i64, u32),
        (said, read): (&Said, Timestamp),
        (source, missed, elsewhere): (Option<&str>, &BTreeSet<String>, bool),
        promise: &Promise,
        now: Timestamp,
    ) {
        if !self.is_open() || (order <= self.heard && self.heard != (0, 0)) {
            return;
        }
        // Until it has this notice it speaks of what it was told before; but where it got to is what counts.
        let is_there = matches!(said, Said::Version(version) if version.as_str() == promise.dest);
        let has_it = match self.notice {
            Notice::Out(_) | Notice::Owed => false,
            Notice::Told(at) => read >= at,
            Notice::None | Notice::Asked => true,
        };
        if elsewhere && !is_there && !has_it {
            return;
        }
        let before = self.clone();
        match said {
            Said::Version(version) if version.as_str() == promise.dest => self.end(TaskStatus::Succeeded),
            Said::Version(version) if source == Some(version.as_str()) => {}
            Said::Version(version) if missed.contains(version.as_str()) => {
                // It did what it was told before, and may not have listened to this notice. Told a second time, it has.
                if let (true, Again::No, Notice::Told(at), Some(first)) =
                    (self.is_offered(), self.again, self.notice, self.offered_at)
                    && at.since(first) < 60 * SECOND
                {
                    self.notice = Notice::Out(at + 60 * SECOND);
                }
            }
            Said::Version(_) => {
                if self.status == TaskStatus::InProgress && source.is_some() {
                    self.fail(FailureCause::ForeignVersion, promise, now);
                }
            }
            Said::Refused { step, .. } => self.fail(FailureCause::Refused(*step), promise, now),
            Said::Progress { percent, .. } if self.is_offered() => {
                if self.status == TaskStatus::Notified {
                    self.status = TaskStatus::InProgress;
                    self.silent_until = None;
                    self.done_until = promise.timeout.map(|span| now + span);
                }
                self.percent = Some(percent.get());
                self.arrived(now);
            }
            Said::Progress { .. } => {}
        }
        if *self != before {
            self.heard = order;
        }
    }

    fn fail(&mut self, cause: FailureCause, promise: &Promise, now: Timestamp) {
        if !self.is_offered() || self.again != Again::No {
            return;
        }
        if self.offers > promise.retries {
            self.end(TaskStatus::Failed);
            self.failed = Some(cause);
            return;
        }
        self.again = Again::At(now + promise.retry_after);
        self.silent_until = None;
        self.arrived(now);
    }

    /// Who speaks has had the notice.
    fn arrived(&mut self, now: Timestamp) {
        if matches!(self.notice, Notice::Out(_) | Notice::Owed) {
            self.notice = Notice::Told(now);
        }
    }

    /// Clocks are looked at.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        let is_over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        if self.status == TaskStatus::InProgress && is_over(self.done_until) {
            self.end(TaskStatus::Failed);
            self.failed = Some(FailureCause::Timeout);
        } else if self.status == TaskStatus::Notified && is_over(self.silent_until) {
            self.end(TaskStatus::Failed);
            self.failed = Some(FailureCause::OfferTimeout);
        } else {
            if matches!(self.notice, Notice::Out(until) if until <= now) {
                self.notice = Notice::Owed;
            }
            if matches!(self.again, Again::At(at) if at <= now) {
                self.again = Again::Due;
            }
        }
    }

    pub(crate) fn cancel(&mut self, cause: CancelCause) {
        if self.is_open() {
            self.end(TaskStatus::Canceled);
            self.canceled = Some(cause);
        }
    }

    pub(crate) fn confirm(&mut self) {
        if self.status == TaskStatus::Confirm {
            self.status = TaskStatus::Queued;
        }
    }

    pub(crate) fn start_again(&mut self, need_confirm: bool) {
        if matches!(self.status, TaskStatus::Failed | TaskStatus::Canceled) {
            *self = Self { heard: self.heard, notices: self.notices, ..Self::new(need_confirm) };
        }
    }
}

/// What a claim was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    First,
    Retry,
    Redelivery,
    Repeat,
}

/// What a list comes to, read line by line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) lines: u64,
    pub(crate) malformed: u64,
    pub(crate) unknown: u64,
    pub(crate) duplicate: u64,
    /// Those that are devices, once each.
    pub(crate) names: BTreeSet<String>,
}

/// Reads a list as a person would.
pub(crate) fn read_list(text: &str, is_known: impl Fn(&str) -> bool) -> Reading {
    let mut reading = Reading::default();
    let mut unknown = BTreeSet::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()) {
        reading.lines += 1;
        let spelled = line.chars().all(|c| c.is_ascii_alphanumeric() || "-_@.:".contains(c));
        if !spelled || !(4..=32).contains(&line.chars().count()) {
            reading.malformed += 1;
        } else if reading.names.contains(line) || unknown.contains(line) {
            reading.duplicate += 1;
        } else if is_known(line) {
            reading.names.insert(line.to_owned());
        } else {
            unknown.insert(line.to_owned());
            reading.unknown += 1;
        }
    }
    reading
}

/// How many of so many are a percentage, given in thousandths of a percent.
pub(crate) fn part_of(matching: usize, thousandths: u64) -> usize {
    usize::try_from(matching as u64 * thousandths / 100_000).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_a_person_reads_it() {
        let text = "\u{feff}dev-1\r\n dev-2 ,dev-1\n\n\t\nno name\nabc\nstranger\nstranger";
        let reading = read_list(text, |name| name.starts_with("dev-"));
        let names = ["dev-1", "dev-2"].map(str::to_owned).into();
        assert_eq!(reading, Reading { lines: 7, malformed: 2, unknown: 1, duplicate: 2, names });
    }

    #[test]
    fn a_part_is_rounded_down() {
        assert_eq!(
            [(9, 33_333), (100, 29_000), (3, 1_000), (7, 100_000)].map(|(n, p)| part_of(n, p)),
            [2, 29, 0, 7]
        );
    }

    #[test]
    fn a_retry_waits_and_a_timeout_ends() {
        let at = |millis| Timestamp::from_millis(millis);
        let promise = Promise {
            dest: "2".into(),
            retries: 1,
            retry_after: SECOND,
            timeout: Some(10 * SECOND),
            offer_timeout: None,
            need_confirm: false,
        };
        let mut row = Row::new(false);
        assert_eq!(row.claim(at(0), at(0)), Ok(Claimed::First));
        row.fail(FailureCause::ForeignVersion, &promise, at(100));
        assert_eq!(row.claim(at(1_000), at(1_000)), Err("a retry before its time"));
        assert_eq!(row.claim(at(1_100), at(1_100)), Ok(Claimed::Retry));
        row.fail(FailureCause::ForeignVersion, &promise, at(2_000));
        assert_eq!((row.status, row.offers), (TaskStatus::Failed, 2));
    }
}
