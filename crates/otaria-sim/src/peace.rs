//! The end of a world: everybody comes up, everybody comes back, nothing gets lost any more. Then everything that
//! has a bound must end within it, and a last job tells how fast deliveries are.

use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::job::JobStatus;
use otaria_core::task::{CancelCause, FailureCause, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::store::Jobs;

use crate::book::{Noted, Source};
use crate::fleet::Temper;
use crate::host::Kind;
use crate::medium::Mood;
use crate::model::{Again, Notice, Row};
use crate::store::at_once;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Notices after which a dynamic job may not push any more: ten, or nine and one that nobody told of.
const PUSHES_MAX: u32 = 9;
/// What it takes at most until everybody knows everything again: a sweep, a gateway that is buried, a lease.
const SETTLED: Duration = Duration::from_secs(75);
/// A notice that may go out is written within this time (I19).
const DELIVERED: Duration = Duration::from_secs(4);
/// A crash delays it by a lease of 3 s, a delivery deadline of 5 s and their periods (I20).
const RESUMED: Duration = Duration::from_secs(13);

impl World {
    /// Ends the world.
    pub(crate) fn make_peace(&mut self, salt: u64) {
        self.salt(salt);
        let now = self.now();
        self.medium.lock().mood = Mood::PEACE;
        for no in 0..self.hosts.len() {
            self.start(no);
            self.hosts[no].frozen_until = now;
            self.hosts[no].next = crate::host::How::default();
            if let Some(live) = &mut self.hosts[no].live {
                live.gate.renew_not_before(now);
                live.go();
            }
        }
        self.run_until(now + 7 * SECOND);
        for place in 0..self.fleet.devices.len() {
            self.fleet.calm(place);
            if self.fleet.devices[place].at.is_none() {
                self.connect(place);
            }
        }
        let jobs = self.job_count();
        for nth in 0..jobs {
            match self.status(nth) {
                JobStatus::Paused => self.resume(nth, 0),
                JobStatus::Planned | JobStatus::InProgress | JobStatus::Completed | JobStatus::Canceled => {}
            }
            if self.is_dynamic(nth) && !self.status(nth).is_ended() {
                self.end_strategy(nth, 0);
            }
        }
        let bound = self.bound();
        self.tell(|| format!("peace, at most until {bound:?}"));
        while !self.is_over() && !self.is_broken() {
            let now = self.now();
            if now > bound {
                let left = self.left();
                self.medium.lock().book.check("I18", false, || format!("not at an end by {bound:?}: {left}"));
                return;
            }
            for nth in 0..jobs {
                // A call names ten at most.
                for _ in 0..self.unconfirmed(nth).div_ceil(10) {
                    self.order(nth, 0, 0, true);
                }
            }
            for place in 0..self.fleet.devices.len() {
                if self.fleet.devices[place].at.is_none() {
                    self.connect(place);
                }
            }
            self.fetch_unpushed();
            self.run_until(now + 5 * SECOND);
            self.check();
            if self.is_only_time() && !self.is_over() {
                self.jump(50 * SECOND);
                self.run_until(self.now() + 5 * SECOND);
            }
        }
        if self.is_broken() {
            return;
        }
        self.medium.lock().book.check("I18", true, String::new);
        self.check_outcomes();
        self.deliver_last();
        self.check();
        let mut inner = self.medium.lock();
        crate::check::check_heard(&mut inner.book);
    }

    /// Whether everything open waits for nothing but a clock of its own.
    fn is_only_time(&self) -> bool {
        let inner = self.medium.lock();
        let waits = |row: &Row| match row.again {
            Again::At(_) => true,
            Again::Due => false,
            Again::No => matches!(row.notice, Notice::Told(_) | Notice::Asked),
        };
        inner.book.jobs.values().all(|noted| {
            let open = noted.rows.values().filter(|kept| kept.row.is_open());
            noted.status == JobStatus::Planned || open.into_iter().all(|kept| waits(&kept.row))
        })
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.medium.lock().book.violations.is_empty()
    }

    fn job_count(&self) -> u64 {
        self.medium.lock().book.jobs.len() as u64
    }

    fn status(&self, nth: u64) -> JobStatus {
        let job = self.job(nth);
        let inner = self.medium.lock();
        job.and_then(|job| inner.book.jobs.get(&job)).map_or(JobStatus::Completed, |noted| noted.status)
    }

    fn unconfirmed(&self, nth: u64) -> usize {
        let job = self.job(nth);
        let inner = self.medium.lock();
        let rows = job.and_then(|job| inner.book.jobs.get(&job)).map(|noted| noted.rows.values());
        rows.into_iter().flatten().filter(|kept| kept.row.status == TaskStatus::Confirm).count()
    }

    fn is_dynamic(&self, nth: u64) -> bool {
        let job = self.job(nth);
        let inner = self.medium.lock();
        job.and_then(|job| inner.book.jobs.get(&job))
            .is_some_and(|noted| matches!(noted.spec.source, Source::Standing))
    }

    /// Whether every job has ended and every task with it.
    fn is_over(&self) -> bool {
        let inner = self.medium.lock();
        inner.book.jobs.values().all(|noted| {
            noted.status.is_ended()
                && noted.canceling == 0
                && noted.rows.values().all(|kept| !kept.row.is_open())
        })
    }

    fn left(&self) -> String {
        let inner = self.medium.lock();
        let mut left = Vec::new();
        for (no, noted) in &inner.book.jobs {
            let open = noted.rows.iter().filter(|(_, kept)| kept.row.is_open());
            let some: Vec<String> =
                open.take(3).map(|(device, kept)| format!("{device:?} {:?}", kept.row)).collect();
            if !some.is_empty() || !noted.status.is_ended() {
                left.push(format!("{no} {:?} canceling {} {some:?}", noted.status, noted.canceling));
            }
        }
        let owned: Vec<(usize, i64)> = self
            .hosts
            .iter()
            .filter_map(|host| host.live.as_ref())
            .map(|live| (live.owned.shards.epochs.len(), live.owned.shards.member.0))
            .filter(|(_, member)| *member > 0)
            .collect();
        format!("{}; owned {owned:?}", left.join("; "))
    }

    /// Until when all must be over: what waits for its schedule, its pace, its retries, its timeouts.
    fn bound(&self) -> Timestamp {
        let now = self.now();
        let inner = self.medium.lock();
        let mut most = Duration::ZERO;
        let is_open = |noted: &&Noted| {
            !noted.status.is_ended()
                || noted.canceling != 0
                || noted.rows.values().any(|kept| kept.row.is_open())
        };
        for noted in inner.book.jobs.values().filter(is_open) {
            let promise = &noted.spec.promise;
            let offers = u32::from(promise.retries) + 1;
            let rate = noted.rates.iter().map(|(_, rate)| *rate).min().unwrap_or(10);
            let tasks = u32::try_from(noted.rows.len().max(1)).unwrap_or(u32::MAX);
            let waits = noted.spec.start.map_or(Duration::ZERO, |start| start.since(now));
            // An offer may be told twice, to the old and to the new session.
            let minutes = (tasks.saturating_mul(2).div_ceil(rate) + 1).saturating_mul(offers);
            let silence = promise.offer_timeout.unwrap_or_default() + promise.timeout.unwrap_or_default();
            // One that lost its notice hears it again in a minute.
            most = most.max(waits + MINUTE * minutes + (silence + promise.retry_after + 2 * MINUTE) * offers);
        }
        now + SETTLED + most
    }

    /// Devices of jobs that push nothing ask by themselves, and so do those that a dynamic job has told ten times
    /// (I16): nothing is pushed to them any more, whatever they are owed.
    fn fetch_unpushed(&mut self) {
        let waiting: Vec<usize> = {
            let inner = self.medium.lock();
            let open = inner.book.jobs.values().flat_map(|noted| {
                let pushes =
                    if matches!(noted.spec.source, Source::Standing) { PUSHES_MAX } else { u32::MAX };
                let left = if noted.spec.need_push { pushes } else { 0 };
                noted.rows.iter().filter(move |(_, kept)| kept.row.is_open() && kept.row.notices >= left)
            });
            open.filter_map(|(device, _)| self.places.get(device).copied()).collect()
        };
        waiting.into_iter().for_each(|place| self.fetch(place));
    }

    /// How each task ended, beside what its device is like.
    fn check_outcomes(&mut self) {
        let mut inner = self.medium.lock();
        let book = &mut inner.book;
        let mut wrong = Vec::new();
        for (no, noted) in &book.jobs {
            for (device, kept) in &noted.rows {
                let temper = self.fleet.devices[self.places[device]].temper;
                let row = &kept.row;
                let excused = matches!(row.failed, Some(FailureCause::Busy)) || row.canceled.is_some();
                let refused = matches!(row.failed, Some(FailureCause::Refused(_)));
                let timed = matches!(row.failed, Some(FailureCause::Timeout | FailureCause::OfferTimeout));
                let holds = match temper {
                    // A timeout meets those who were away; nobody refuses who never does.
                    Temper::Obedient
                    | Temper::Stuttering
                    | Temper::Flapping
                    | Temper::Slow
                    | Temper::Stuck
                    | Temper::Silent => !refused || row.status == TaskStatus::Succeeded,
                    Temper::Rejecting => refused || timed,
                    Temper::Clumsy | Temper::Lying | Temper::Downgrading => true,
                };
                let cancels = matches!(
                    row.canceled,
                    None | Some(CancelCause::Operator | CancelCause::Overwritten | CancelCause::FinishTime)
                );
                if !(holds || excused) || !cancels {
                    wrong.push(format!("{temper:?} {device:?} in {no}: {row:?}"));
                }
            }
        }
        book.check("outcome", wrong.is_empty(), || wrong.join("; "));
    }

    /// Two last jobs side by side, and a third one with a crash: how soon everybody hears of them.
    fn deliver_last(&mut self) {
        // Who was closed from inside comes back first.
        self.run_until(self.now() + 2 * SECOND);
        for place in 0..self.fleet.devices.len() {
            if self.fleet.devices[place].at.is_none() {
                self.connect(place);
            }
        }
        self.run_until(self.now() + 2 * SECOND);
        let open = |world: &Self, place: usize| {
            let device = world.fleet.devices[place].id;
            world.medium.lock().book.open_beside(JobNo(-1), device).is_empty()
        };
        let names: Vec<String> = (0..self.fleet.devices.len())
            .filter(|place| self.fleet.devices[*place].temper == Temper::Obedient && open(self, *place))
            .take(9)
            .map(|place| self.fleet.devices[place].name.clone())
            .collect();
        let third = names.len().div_ceil(3);
        let parts: Vec<&[String]> = names.chunks(third.max(1)).collect();
        if parts.is_empty() {
            return;
        }
        let host = self.caller_host(0).unwrap_or(0);
        let first: Vec<JobNo> =
            parts.iter().take(2).filter_map(|names| self.create_last(host, names)).collect();
        self.expect("I19", &first, DELIVERED);
        self.medium.lock().book.check("I21", true, String::new);
        if let Some(names) = parts.get(2) {
            let last: Vec<JobNo> = self.create_last(host, names).into_iter().collect();
            let wait = self.chance(|chance| chance.below(400));
            self.run_until(self.now() + Duration::from_millis(wait));
            let dispatchers: Vec<usize> =
                (0..self.hosts.len()).filter(|no| self.hosts[*no].kind == Kind::Dispatcher).collect();
            let victim = self.chance(|chance| chance.pick(&dispatchers));
            self.crash(victim);
            if dispatchers.len() == 1 {
                self.start(victim);
            }
            self.expect("I20", &last, RESUMED);
            self.start(victim);
        }
        let over = self.now() + 3 * MINUTE;
        while !self.is_over() && self.now() < over && !self.is_broken() {
            self.run_until(self.now() + SECOND);
        }
        let (is_over, left) = (self.is_over(), self.left());
        self.medium.lock().book.check("I18", is_over, || left);
    }

    /// Everybody in these jobs hears of them in time.
    fn expect(&mut self, invariant: &'static str, jobs: &[JobNo], within: Duration) {
        let until = self.now() + within;
        while self.now() < until && !self.is_broken() && !self.are_told(jobs) {
            self.run_until(self.now() + Duration::from_millis(100));
        }
        let told = self.are_told(jobs);
        let states: Vec<_> = jobs
            .iter()
            .map(|job| at_once(self.shared.facts.task_counts(*job)).unwrap_or_default().by_status)
            .collect();
        self.medium
            .lock()
            .book
            .check(invariant, told, || format!("{jobs:?} not told within {within:?}: {states:?}"));
    }

    fn are_told(&self, jobs: &[JobNo]) -> bool {
        let inner = self.medium.lock();
        jobs.iter().filter_map(|job| inner.book.jobs.get(job)).all(|noted| {
            noted.rows.iter().all(|(device, kept)| {
                !kept.row.is_open()
                    || noted.writes.iter().any(|write| write.key.device == *device && write.heard.is_some())
            })
        })
    }
}
