//! What the observer does with each committed write.

use otaria_core::ids::JobNo;
use otaria_core::job::JobStatus;
use otaria_core::task::{CancelCause, Delivery, Report, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::events::{Event, Happened};
use otaria_ports::pusher::Outcome;
use otaria_ports::store::{
    CreatedJob, Job, JobMove, JobTurn, Member, OwnedShards, ShardLease, Slice, Sweep, TaskChange,
    VersionReport,
};

use crate::book::{Book, Informed, Kept, Noted, Source, Stimulus};
use crate::model::{Claimed, Notice};

impl Book {
    pub(crate) fn saw_created(&mut self, created: &CreatedJob, truly: Timestamp) {
        let CreatedJob::New(job) = created else { return };
        let token = job.new.client_token.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(spec) = self.asked.get(&token).cloned() else { return };
        let mut matching = std::collections::BTreeSet::new();
        if let Source::Part(_) = spec.source {
            let at_dest = |device| self.version(device) == Some(spec.promise.dest.as_str());
            matching = self.names.values().copied().filter(|device| !at_dest(*device)).collect();
            self.count("part");
        }
        if let Source::Standing = spec.source {
            self.count("dynamic");
            let running = self.jobs.iter().find(|(_, noted)| {
                let takes = matches!(noted.status, JobStatus::InProgress | JobStatus::Paused);
                noted.firmware == job.firmware && matches!(noted.spec.source, Source::Standing) && takes
            });
            let running = running.map(|(no, _)| *no);
            self.check("I16", running.is_none(), || format!("{} beside {running:?}", job.no));
        }
        let noted = Noted {
            id: job.id.clone(),
            firmware: job.firmware,
            rates: vec![(job.created_at, spec.rate)],
            spec,
            status: job.status,
            created_at: truly,
            matching,
            rows: std::collections::BTreeMap::new(),
            canceling: 0,
            cancel_cause: CancelCause::Operator,
            paused: None,
            waking: (0, 0),
            token,
            reopened: false,
            writes: Vec::new(),
            looked: (0, 0, 0),
            is_read: false,
        };
        self.jobs.insert(job.no, noted);
        self.dirty.insert(job.no);
    }

    pub(crate) fn saw_expanded(&mut self, slice: &Slice, news: &[Event]) {
        self.count("slice");
        self.saw_made(slice.job, slice.tasks.iter().map(|new| new.device).collect(), news);
    }

    /// Tasks were made: of a static job all that were not there, of a dynamic one those that were told of.
    fn saw_made(&mut self, job: JobNo, wanted: Vec<otaria_core::ids::DeviceId>, news: &[Event]) {
        self.dirty.insert(job);
        let Some(noted) = self.jobs.get(&job) else { return };
        let made: Vec<_> = if matches!(noted.spec.source, Source::Standing) {
            let id = noted.id.clone();
            self.made(news).filter(|(of, _)| *of == id).map(|(_, device)| device).collect()
        } else {
            wanted.into_iter().filter(|device| !noted.rows.contains_key(device)).collect()
        };
        made.into_iter().for_each(|device| self.make(job, device));
    }

    fn made<'a>(
        &'a self,
        news: &'a [Event],
    ) -> impl Iterator<Item = (otaria_core::ids::JobId, otaria_core::ids::DeviceId)> + 'a {
        news.iter().filter_map(|event| match &event.what {
            Happened::Task { device, previous: None, .. } => {
                Some((event.job.clone(), *self.names.get(device.as_str())?))
            }
            Happened::Task { .. } | Happened::Job { .. } => None,
        })
    }

    pub(crate) fn saw_leases(&mut self, taken: &[ShardLease]) {
        for lease in taken {
            let before = self.leases.insert(lease.shard, (lease.member.0, lease.epoch));
            if before.is_some() {
                self.count("take_over");
            }
        }
    }

    pub(crate) fn saw_released(&mut self, member: Member, shards: &[otaria_core::shard::Shard]) {
        for shard in shards {
            if let Some(lease) = self.leases.get_mut(shard).filter(|lease| lease.0 == member.0) {
                lease.0 = 0;
            }
        }
    }

    pub(crate) fn saw_claims(
        &mut self,
        owner: &OwnedShards,
        changes: &[TaskChange],
        written: &[bool],
        now: Timestamp,
    ) {
        for (change, _) in changes.iter().zip(written).filter(|(_, written)| **written) {
            let (key, shard) = (&change.key, change.key.device.shard());
            let believed = owner.epochs.get(&shard).map(|epoch| (owner.member.0, *epoch));
            let lease = self.leases.get(&shard).copied();
            self.check("I13", believed == lease, || {
                format!("{key:?} was claimed under {believed:?}, and the lease is {lease:?}")
            });
            self.dirty.insert(key.job);
            let (TaskState::Notified { attempt, delivery, .. }
            | TaskState::InProgress { attempt, delivery, .. }) = &change.to
            else {
                continue;
            };
            let date = match delivery {
                Delivery::Claimed { deadline } => *deadline - otaria_core::task::DELIVERY_DEADLINE,
                Delivery::Wanted | Delivery::Written { .. } | Delivery::Fetched => now,
            };
            let Some((kept, promise)) = self.kept(key) else { continue };
            let claimed = kept.row.claim(date, now);
            kept.claimed.insert(attempt.number, attempt.offered_at.millis());
            let offers = kept.row.offers;
            self.check("I7", offers <= 1 + promise.retries, || format!("offer {offers} of {key:?}"));
            match claimed {
                Ok(Claimed::First) => self.count("offer"),
                Ok(Claimed::Retry) => self.count("retry"),
                Ok(Claimed::Redelivery) => self.count("redelivery"),
                Ok(Claimed::Repeat) => self.count("repeat"),
                Err(why) => self.check("I7", false, || format!("{key:?}: {why}")),
            }
        }
        if written.iter().any(|written| !written) {
            self.count("claim_refused");
        }
    }

    pub(crate) fn saw_settled(&mut self, changes: &[TaskChange], written: &[bool], now: Timestamp) {
        let stimulus = self.stimulus.clone();
        for (change, _) in changes.iter().zip(written).filter(|(_, written)| **written) {
            self.dirty.insert(change.key.job);
            let Some((kept, promise)) = self.kept(&change.key) else { continue };
            match &stimulus {
                Stimulus::Overdue => {
                    kept.row.pass(now);
                    match kept.row.failed {
                        Some(otaria_core::task::FailureCause::Timeout) => self.count("timeout"),
                        Some(otaria_core::task::FailureCause::OfferTimeout) => self.count("offer_timeout"),
                        _ => {}
                    }
                }
                Stimulus::Settle(words) => {
                    let words = words
                        .iter()
                        .filter(|word| word.key == change.key && word.outcome == Outcome::Written);
                    for word in words {
                        kept.row.written(word.attempt, word.at, &promise);
                        kept.row.notices += 1;
                    }
                }
                Stimulus::Fetch => {
                    kept.row.fetched(&promise, now);
                    self.count("fetch");
                }
                Stimulus::Other
                | Stimulus::Take(_)
                | Stimulus::Confirm
                | Stimulus::Reupgrade
                | Stimulus::Cancel(_) => {}
            }
        }
    }

    pub(crate) fn saw_ordered(&mut self, turns: &[JobTurn], changes: &[TaskChange]) {
        let stimulus = self.stimulus.clone();
        for turn in turns {
            self.dirty.insert(turn.job);
            if let Some(noted) = self.jobs.get_mut(&turn.job) {
                noted.status = turn.to;
            }
        }
        for change in changes {
            let Some(noted) = self.jobs.get_mut(&change.key.job) else { continue };
            let Some(kept) = noted.rows.get_mut(&change.key.device) else { continue };
            match stimulus {
                Stimulus::Confirm => {
                    kept.row.confirm();
                    self.count("confirm");
                }
                Stimulus::Reupgrade => {
                    kept.row.start_again(noted.spec.promise.need_confirm);
                    kept.doomed = None;
                    kept.claimed.clear();
                    noted.reopened = true;
                    self.count("reupgrade");
                }
                Stimulus::Other
                | Stimulus::Overdue
                | Stimulus::Settle(_)
                | Stimulus::Take(_)
                | Stimulus::Fetch
                | Stimulus::Cancel(_) => {}
            }
        }
    }

    pub(crate) fn saw_reports(
        &mut self,
        versions: &[VersionReport],
        changes: &[TaskChange],
        written: &[bool],
        news: &[Event],
        (now, truly): (Timestamp, Timestamp),
    ) {
        for report in versions {
            let order = (report.order.session, report.order.n);
            let said = report.version.version.as_str().to_owned();
            let known = self.versions.get(&report.version.device);
            if known.is_none_or(|known| known.order < order) {
                let is_same = known.is_some_and(|known| known.version == said);
                let changed = if is_same { known.map_or(truly, |known| known.changed) } else { truly };
                self.versions.insert(report.version.device, Informed { version: said, order, changed });
            }
        }
        let Stimulus::Take(reports) = self.stimulus.clone() else { return };
        for (change, _) in changes.iter().zip(written).filter(|(_, written)| **written) {
            self.dirty.insert(change.key.job);
            let last = change.report.map_or((0, 0), |order| (order.session, order.n));
            let canceling = self.jobs.get(&change.key.job).map_or(0, |noted| noted.canceling);
            let missed = self.missed(change.key.device);
            let mut words: Vec<_> =
                reports.iter().filter(|report| report.device == change.key.device).collect();
            words.sort_by_key(|report| report.order);
            words.retain(|word| (word.order.session, word.order.n) <= last);
            let had: Vec<Option<String>> =
                words.iter().map(|word| self.had(change.key.job, word.device, &word.said)).collect();
            let Some((kept, promise)) = self.kept(&change.key) else { continue };
            let told = matches!(kept.row.notice, Notice::Told(_));
            for (word, had) in words.into_iter().zip(had) {
                let order = (word.order.session, word.order.n);
                let elsewhere = word.told.is_some_and(|job| job != change.key.job);
                let before = (had.as_deref(), &missed, elsewhere);
                kept.row.hear(order, (&word.said, word.at), before, &promise, now);
            }
            // A report that takes a task out of what was being cancelled takes it out for good.
            if kept.row.is_open() && canceling & (1 << kept.row.status.code()) == 0 {
                kept.doomed = None;
            }
            if kept.row.status == TaskStatus::Succeeded {
                kept.arrived_at = Some(now);
            }
            let in_doubt = told && matches!(kept.row.notice, Notice::Out(_));
            let (status, device) = (kept.row.status, change.key.device);
            if in_doubt {
                self.count("late_version");
            }
            if status == TaskStatus::Succeeded {
                let version = self.version(device).map(str::to_owned);
                let says = reports.iter().any(|report| {
                    let said = &report.said;
                    report.device == device
                        && matches!(said, otaria_core::task::Said::Version(v) if v.as_str() == promise.dest)
                });
                self.check("I14", says, || format!("{:?} succeeded at {version:?}", change.key));
                self.count("success");
            } else if status == TaskStatus::Failed {
                self.count("failure");
            }
        }
        let standing: Vec<_> = self.made(news).collect();
        for (id, device) in standing {
            let job = self.jobs.iter().find(|(_, noted)| noted.id == id).map(|(no, _)| *no);
            if let Some(job) = job {
                self.count("joined");
                self.make(job, device);
            }
        }
    }

    /// Words were taken: nothing of them is left that would have moved a task.
    pub(crate) fn saw_nothing_left(&mut self, reports: &[Report], now: Timestamp) {
        let mut words: Vec<&Report> = reports.iter().collect();
        words.sort_by_key(|report| report.order);
        let mut passed_over = None;
        for word in words {
            let missed = self.missed(word.device);
            let open =
                self.jobs.iter().filter_map(|(no, noted)| Some((no, noted, noted.rows.get(&word.device)?)));
            // A task that the device joined by these very words was not there when they were said.
            let was_there = |noted: &Noted, kept: &Kept| {
                !matches!(noted.spec.source, Source::Standing) || kept.row.offers > 0
            };
            for (no, noted, kept) in
                open.filter(|(_, noted, kept)| kept.row.is_open() && was_there(noted, kept))
            {
                let had = self.had(*no, word.device, &word.said);
                let before = (had.as_deref(), &missed, word.told.is_some_and(|job| job != *no));
                let order = (word.order.session, word.order.n);
                let mut row = kept.row.clone();
                row.hear(order, (&word.said, word.at), before, &noted.spec.promise, now);
                if row != kept.row {
                    passed_over = Some((*no, word.clone()));
                }
            }
        }
        self.check("model", passed_over.is_none(), || format!("{passed_over:?} moved nothing"));
    }

    pub(crate) fn saw_cancel(&mut self, job: &Job, mask: i64, cause: CancelCause) {
        self.dirty.insert(job.no);
        self.count(if cause == CancelCause::FinishTime { "finish" } else { "cancel" });
        let cancel = match self.stimulus {
            Stimulus::Cancel(cancel) => Some(cancel),
            _ => None,
        };
        let Some(noted) = self.jobs.get_mut(&job.no) else { return };
        noted.canceling |= mask;
        noted.cancel_cause = cause;
        for kept in noted.rows.values_mut() {
            if kept.row.is_open() && mask & (1 << kept.row.status.code()) != 0 && kept.doomed.is_none() {
                kept.doomed = cancel;
            }
        }
    }

    /// A piece of a cancellation is done: those that were told of are gone, and each of them was meant.
    pub(crate) fn saw_sweep(&mut self, job: JobNo, sweep: Sweep, news: &[Event]) {
        self.dirty.insert(job);
        let gone: Vec<_> = news
            .iter()
            .filter_map(|event| match &event.what {
                Happened::Task { device, status: TaskStatus::Canceled, .. } => {
                    self.names.get(device.as_str()).copied()
                }
                Happened::Task { .. } | Happened::Job { .. } => None,
            })
            .collect();
        let Some(noted) = self.jobs.get_mut(&job) else { return };
        let mask = noted.canceling;
        let mut wrong = None;
        for device in gone {
            let Some(kept) = noted.rows.get_mut(&device) else { continue };
            if mask & (1 << kept.row.status.code()) == 0 {
                wrong = Some(device);
            }
            kept.row.cancel(noted.cancel_cause);
        }
        if sweep.done {
            let is_meant = |row: &crate::model::Row| row.is_open() && mask & (1 << row.status.code()) != 0;
            // Who came into such a status behind the sweep is met by the next look of it: reports do that.
            let left =
                noted.rows.values().filter(|kept| kept.doomed.is_some() && is_meant(&kept.row)).count();
            noted.canceling = 0;
            self.check("I5", left == 0, || format!("{left} tasks of {job} are left by a cancellation"));
        }
        self.check("I3", wrong.is_none(), || format!("{wrong:?} in {job} was cancelled and not meant"));
    }

    pub(crate) fn saw_move(&mut self, change: &JobMove) {
        self.dirty.insert(change.job);
        let Some(noted) = self.jobs.get_mut(&change.job) else { return };
        noted.status = change.to;
        let open = noted.rows.values().filter(|kept| kept.row.is_open()).count();
        match change.to {
            JobStatus::Paused => self.count("pause"),
            JobStatus::Completed => {
                self.count("completed");
                self.check("I22", open == 0, || format!("{} completed with {open} open tasks", change.job));
            }
            JobStatus::InProgress => self.count("begin"),
            JobStatus::Planned | JobStatus::Canceled => {}
        }
    }

    pub(crate) fn saw_rate(&mut self, job: &Job, now: Timestamp) {
        self.dirty.insert(job.no);
        self.count("rate");
        let rate = job.new.policy.maximum_per_minute.get();
        if let Some(noted) = self.jobs.get_mut(&job.no) {
            noted.rates.push((now, rate));
        }
    }
}
