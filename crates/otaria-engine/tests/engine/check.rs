//! What must hold in every world, looked at from outside: by the store, the events and the devices' record.

use std::collections::{BTreeMap, BTreeSet};

use otaria_core::ids::{DeviceId, JobId, JobNo};
use otaria_core::job::JobStatus;
use otaria_core::task::{FailureCause, TaskState, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::events::Happened;
use otaria_ports::store::{Firmwares, Job, Jobs, Tasks};

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World};

impl World {
    /// Checks everything; names the seed when something does not hold.
    pub(crate) fn check(&self) {
        for job in self.jobs() {
            self.check_pace(&job);
            self.check_lines(&job);
            self.check_schedule(&job);
            self.check_attempts(&job);
            self.check_repeats(&job);
            assert_eq!(run(self.store.audit_counts(job.no)).unwrap(), [], "I9 of {}; {}", job.no, self.seed);
            let done = job.expansion.complete && self.counts(job.no).open() == 0;
            assert!(job.status != JobStatus::Completed || done, "I22 of {}; seed {}", job.no, self.seed);
        }
        self.check_silences();
        self.check_devices();
        self.check_transitions();
    }

    /// The most notices of a job in any half-open minute.
    pub(crate) fn most_in_a_minute(&self, job: JobNo) -> usize {
        let at: Vec<Timestamp> = self.wrote(job).iter().map(|wrote| wrote.at).collect();
        assert!(at.is_sorted());
        let mut first = 0;
        let windows = at.iter().enumerate().map(|(last, now)| {
            while now.since(at[first]) >= MINUTE {
                first += 1;
            }
            last + 1 - first
        });
        windows.max().unwrap_or(0)
    }

    fn check_pace(&self, job: &Job) {
        let (most, rate) = (self.most_in_a_minute(job.no), job.new.policy.maximum_per_minute.get());
        assert!(most <= rate as usize, "I1: {most} of {rate} in a minute of {}; seed {}", job.no, self.seed);
    }

    fn check_lines(&self, job: &Job) {
        let expansion = &job.expansion;
        let accounted = expansion.tasks + expansion.skipped + expansion.rejected.total();
        assert_eq!(expansion.lines, accounted, "I4 of {}; seed {}", job.no, self.seed);
        let tasks = self.tasks(job.no);
        assert_eq!(tasks.len() as u64, expansion.tasks, "I4 of {}; seed {}", job.no, self.seed);
        let devices: std::collections::BTreeSet<DeviceId> =
            tasks.iter().map(|task| task.key.device).collect();
        assert_eq!(devices.len(), tasks.len(), "I4: a device twice in {}; seed {}", job.no, self.seed);
    }

    fn check_schedule(&self, job: &Job) {
        let outside = self.wrote(job.no).into_iter().find(|wrote| !job.new.schedule.is_open(wrote.at));
        assert!(outside.is_none(), "I6: {outside:?} in {:?}; seed {}", job.new.schedule, self.seed);
        let pushes = job.new.policy.need_push || self.wrote(job.no).is_empty();
        assert!(pushes, "I15: a push of {}; seed {}", job.no, self.seed);
    }

    fn check_attempts(&self, job: &Job) {
        let retries = job.new.policy.retry.map_or(0, |retry| retry.count);
        for task in self.tasks(job.no) {
            let of = task.state.attempts();
            assert!(of <= 1 + retries, "I7: {of} offers of {:?}; seed {}", task.key, self.seed);
            if let TaskState::Succeeded { .. } = task.state {
                let firmware = run(self.store.firmware_by_no(job.firmware)).unwrap().unwrap();
                let (dest, informed) = (firmware.new.dest_version, &self.fleet[&task.key.device].informed);
                assert!(informed.contains(dest.as_str()), "I14: {:?}; seed {}", task.key, self.seed);
            }
        }
        if self.reopened.contains(&job.no) {
            return;
        }
        let mut wire_ids: BTreeMap<(DeviceId, u8), i64> = BTreeMap::new();
        for wrote in self.wrote(job.no) {
            let known = *wire_ids.entry((wrote.device, wrote.attempt)).or_insert(wrote.wire_id);
            assert_eq!(known, wrote.wire_id, "one id an offer: {wrote:?}; seed {}", self.seed);
        }
    }

    /// In one session an offer comes twice only when the word about the first notice was lost, or, once, when the
    /// device was at an earlier job's version meanwhile.
    fn check_repeats(&self, job: &Job) {
        if self.lost_outcomes > 0 || self.faults > 0 || self.reopened.contains(&job.no) {
            return;
        }
        let mut heard: BTreeMap<(DeviceId, u8), Vec<(i64, Timestamp)>> = BTreeMap::new();
        for wrote in self.wrote(job.no) {
            heard.entry((wrote.device, wrote.attempt)).or_default().push((wrote.session, wrote.at));
        }
        for (offer, times) in heard {
            let mut doubted = self.fleet[&offer.0].informed.len() < 2;
            for pair in times.windows(2) {
                let called_for = pair[0].0 != pair[1].0 || !std::mem::replace(&mut doubted, true);
                let spaced = called_for && pair[1].1.since(pair[0].1) >= MINUTE;
                assert!(spaced, "a repeat too many: {offer:?} {times:?}; seed {}", self.seed);
            }
        }
    }

    fn check_silences(&self) {
        for silence in &self.silences {
            let until = silence.until.unwrap_or(self.now);
            let wrote = self.wrote(silence.job).into_iter().find(|w| silence.from < w.at && w.at < until);
            assert!(wrote.is_none(), "I5: {wrote:?} after {:?}; seed {}", silence.from, self.seed);
        }
    }

    fn check_devices(&self) {
        let devices: Vec<DeviceId> = self.fleet.keys().copied().collect();
        for devices in devices.chunks(1_000) {
            let open = run(self.store.open_tasks(devices)).unwrap();
            for pair in open.windows(2) {
                let same = pair[0].key.device == pair[1].key.device;
                assert!(!same, "I2: {:?} {:?}; seed {}", pair[0].key, pair[1].key, self.seed);
            }
        }
    }

    /// What was told of each task is one line of transitions that ends with the first terminal status, unless
    /// an operator starts it again.
    fn check_transitions(&self) {
        let reopened: BTreeSet<JobId> = self.reopened.iter().map(|job| self.job(*job).id).collect();
        let mut last = BTreeMap::new();
        for event in self.events.0.lock().unwrap().iter() {
            let Happened::Task { device, previous, status, revision, .. } = &event.what else { continue };
            let told = last.insert((event.job.clone(), device.clone()), (*status, *revision));
            assert_eq!(told.map(|(status, _)| status), *previous, "{event:?}; seed {}", self.seed);
            if let Some((before, last_revision)) = told {
                let again = reopened.contains(&event.job)
                    && before != TaskStatus::Succeeded
                    && matches!(status, TaskStatus::Confirm | TaskStatus::Queued);
                assert!(before.is_open() || again, "I3: {before:?} was final: {event:?}; seed {}", self.seed);
                assert!(last_revision < *revision, "{event:?}; seed {}", self.seed);
            }
        }
    }

    /// Checks that everybody who is online and answers is through with a job.
    pub(crate) fn check_liveness(&self, job: JobNo) {
        for task in self.tasks(job) {
            let device = &self.fleet[&task.key.device];
            if device.session.is_none() {
                continue;
            }
            let refused = matches!(task.state, TaskState::Failed { cause: FailureCause::Refused(_), .. });
            let status = task.state.status();
            let over = match task.state {
                TaskState::Canceled { .. } | TaskState::Failed { cause: FailureCause::Busy, .. } => true,
                TaskState::Failed { cause: FailureCause::Timeout | FailureCause::OfferTimeout, .. } => {
                    device.was_away
                }
                _ => false,
            };
            let as_expected = match device.temper {
                Temper::Obedient | Temper::Stuttering => status == TaskStatus::Succeeded,
                Temper::Failing => refused,
                Temper::Clumsy => status == TaskStatus::Succeeded || refused,
                Temper::Silent | Temper::Stuck | Temper::Downgrading => true,
            };
            assert!(as_expected || over, "{:?} is {task:?}; seed {}", device.temper, self.seed);
        }
    }
}
