//! Carries out one operation.

use std::time::Duration;

use otaria_core::door::topic::{Own, Uplink};
use otaria_core::ids::{JobNo, ModuleName, TaskId};
use otaria_core::job::CancelFlags;
use otaria_core::rules::UpdateJobParams;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_engine::inbox;
use otaria_ports::store::memory::Fault;
use otaria_ports::store::{Task, TaskFilter, Tasks};

use crate::book::Stimulus;
use crate::calls::Pending;
use crate::chance::Chance;
use crate::create::Wish;
use crate::host::{Answer, How, LOOPS};
use crate::medium::{HostNo, Letter};
use crate::op::Op;
use crate::store::at_once;
use crate::world::World;

/// Tasks that one call may name.
const TASKS_MAX: usize = 10;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn calls(calls: u64) -> u32 {
    u32::try_from(calls.min(1_000)).unwrap_or(0)
}

impl World {
    /// Does it; an operation that finds nothing to work on does nothing.
    pub(crate) fn operate(&mut self, op: Op) {
        match op {
            Op::Create { kind, host, devices, rate, retry, rules, salt } => {
                let wish = Wish { kind, devices: devices.clamp(1, 5_000), rate, retry, rules, salt };
                self.create(self.place(host), wish);
            }
            Op::CreateAgain { job, host, other } => self.create_again(job, self.place(host), other == 1),
            Op::EndStrategy { job, host } => self.end_strategy(job, host),
            Op::Cancel { job, host, flags } => self.cancel(job, host, flags),
            Op::Pause { job, host } => self.pause(job, host),
            Op::Resume { job, host } => self.resume(job, host),
            Op::Confirm { job, host, salt } => self.order(job, host, salt, true),
            Op::Reupgrade { job, host, salt } => self.order(job, host, salt, false),
            Op::Rate { job, host, rate } => self.rate(job, host, rate),
            Op::Connect { of, salt } => {
                for place in self.some(of, salt) {
                    self.connect(place);
                }
            }
            Op::Disconnect { of, clean, salt } => {
                for place in self.some(of, salt) {
                    self.disconnect(place, clean == 1);
                }
            }
            Op::Fetch { of, salt } => {
                for place in self.some(of, salt) {
                    self.fetch(place);
                }
            }
            Op::Run { millis: span, salt } => {
                self.salt(salt);
                self.run_until(self.now() + millis(span.min(600_000)));
            }
            Op::Jump { millis: span } => self.jump(millis(span)),
            Op::Tick { host, which } => self.move_loop(host, which, How::default()),
            Op::Hold { host, which, calls: passes, millis: span } => {
                self.move_loop(host, which, How { stop: Some((calls(passes), millis(span))), fault: None });
            }
            Op::Fault { host, which, calls: before, after } => {
                let fault = if after == 1 { Fault::After } else { Fault::Before };
                self.move_loop(host, which, How { stop: None, fault: Some((calls(before), fault)) });
            }
            Op::CrashIn { host, which, calls: passes } => {
                let how = How { stop: Some((calls(passes), millis(1_000_000))), fault: None };
                self.move_loop(host, which, how);
                let host = self.place(host);
                self.crash(host);
            }
            Op::Crash { host } => {
                let host = self.place(host);
                self.crash(host);
            }
            Op::Start { host } => self.start_one(host),
            Op::Freeze { host, millis: span } => {
                let (host, now) = (self.place(host), self.now());
                self.hosts[host].frozen_until = now + millis(span);
                self.medium.lock().book.count("freeze");
            }
            Op::Steal { host, millis: span } => {
                let (host, now) = (self.place(host), self.now());
                if let Some(live) = &self.hosts[host].live {
                    live.gate.renew_not_before(now + millis(span));
                    self.medium.lock().book.count("steal");
                }
            }
            Op::Skew { host, millis: off } => {
                let host = self.place(host);
                // Fifty either way: two clocks differ by a tenth of a second at most.
                let skew = i64::try_from(off.min(100)).unwrap_or(50) - 50;
                self.hosts[host].skew = skew;
                if let Some(records) = &mut self.records {
                    records.skew(host, skew);
                }
                self.medium.lock().book.count("skew");
            }
            Op::Mood { loss, double, delay, jams, stalls, faults } => {
                let at_most = |of: u64| of.min(900);
                let mood = &mut self.medium.lock().mood;
                (mood.loss, mood.double, mood.delay) = (at_most(loss), at_most(double), delay.max(1));
                (mood.jams, mood.stalls, mood.faults) = (at_most(jams), at_most(stalls), at_most(faults));
            }
            Op::Lag { millis } => self.medium.lock().mood.lag = millis,
            Op::Lose { nth } => {
                if let Some((_, letter)) = self.letter(nth) {
                    self.medium.lock().lose(&letter);
                }
            }
            Op::Double { nth } => {
                if let Some((at, letter)) = self.letter(nth) {
                    let mut inner = self.medium.lock();
                    inner.book.count("doubled");
                    inner.put_at(at, letter.clone());
                    inner.put_at(at + millis(7), letter);
                }
            }
            Op::Delay { nth, millis: span } => {
                if let Some((at, letter)) = self.letter(nth) {
                    let mut inner = self.medium.lock();
                    inner.book.count("delayed");
                    inner.put_at(at + millis(span), letter);
                }
            }
            Op::Deliver { nth } => {
                if let Some((_, letter)) = self.letter(nth) {
                    self.medium.lock().book.count("reordered");
                    self.deliver(letter);
                }
            }
            Op::Flush { all } => self.flush(all == 1),
            Op::Trespass { job, host } => self.trespass(job, host),
        }
    }

    pub(crate) fn place(&self, host: u64) -> HostNo {
        usize::try_from(host).unwrap_or(0) % self.hosts.len()
    }

    /// So many of 1,000 devices.
    fn some(&self, of: u64, salt: u64) -> Vec<usize> {
        self.salt(salt);
        let mut chance = Chance::new(salt);
        (0..self.fleet.devices.len()).filter(|_| chance.permille(of)).collect()
    }

    /// A letter on its way over the network, taken out.
    fn letter(&self, nth: u64) -> Option<(Timestamp, Letter)> {
        let mut inner = self.medium.lock();
        let keys: Vec<(Timestamp, u64)> =
            inner.mail.iter().filter(|(_, letter)| letter.is_mail()).map(|(key, _)| *key).collect();
        let place = usize::try_from(nth).ok()?.checked_rem(keys.len())?;
        let letter = inner.mail.remove(&keys[place])?;
        Some((keys[place].0, letter))
    }

    /// Loops of dispatchers move; of others, the next call is run so.
    fn move_loop(&mut self, host: u64, which: u64, how: How) {
        let no = self.place(host);
        let which = usize::try_from(which).unwrap_or(0) % LOOPS;
        let Some(live) = &self.hosts[no].live else { return };
        if live.slots.is_empty() || which == LOOPS - 1 {
            self.hosts[no].next = how;
        } else if !live.is_running(which) || how.stop.is_none() {
            self.turn(no, which, how);
            if let Some(live) = &self.hosts[no].live
                && live.gate.has_failed()
            {
                self.tell(|| "a call failed".to_owned());
            }
        }
    }

    fn start_one(&mut self, host: u64) {
        let down: Vec<HostNo> =
            (0..self.hosts.len()).filter(|host| self.hosts[*host].live.is_none()).collect();
        if let Some(place) = usize::try_from(host).ok().and_then(|host| host.checked_rem(down.len())) {
            self.start(down[place]);
        }
    }

    /// Time passes for nobody, and then for all at once.
    pub(crate) fn jump(&mut self, span: Duration) {
        let mut inner = self.medium.lock();
        inner.now = inner.now + span;
        inner.book.count("jump");
    }

    fn flush(&self, all: bool) {
        let mut inner = self.medium.lock();
        inner.book.count("limiter_lost");
        inner.paces.clear();
        inner.remembers_since = inner.now;
        if all {
            // The log is gone too: who follows it reads on when gateways have announced their sessions again.
            inner.registry.online.clear();
            inner.book.count("presence_lost");
        }
    }

    // What operators do.

    fn with_job<F: Future<Output = Answer> + Send + 'static>(
        &mut self,
        job: u64,
        host: u64,
        (stimulus, pending): (Stimulus, impl FnOnce(&Self, JobNo) -> Pending),
        call: impl FnOnce(otaria_engine::Commands, otaria_engine::Caller, Timestamp, String) -> F,
    ) {
        let Some(no) = self.job(job) else { return };
        let Some(host) = self.caller_host(self.place(host)) else { return };
        let Some(commands) = self.commands(host) else { return };
        let truly = self.now();
        let now = self.hosts[host].clock(truly);
        let id = self.medium.lock().book.jobs[&no].id.to_string();
        let (caller, pending) = (self.caller.clone(), pending(self, no));
        self.call(host, stimulus, pending, call(commands, caller, now, id));
    }

    pub(crate) fn end_strategy(&mut self, job: u64, host: u64) {
        let wakes = |_: &Self, job| Pending::Wakes { job };
        self.with_job(job, host, (Stimulus::Other, wakes), |commands, caller, now, id| async move {
            Answer::Done(commands.cancel_strategy(&caller, now, &id).await)
        });
    }

    pub(crate) fn cancel(&mut self, job: u64, host: u64, flags: u64) {
        let has = |bit: u64| flags & (1 << bit) != 0;
        let flags = match flags {
            15 => CancelFlags::EVERYTHING,
            _ => CancelFlags {
                scheduled: false,
                queued: has(0),
                notified: has(1),
                in_progress: has(2),
                unconfirmed: Some(has(3)),
            },
        };
        let cancel = {
            let cancels = &mut self.medium.lock().book.cancels;
            cancels.push(None);
            cancels.len() - 1
        };
        let pending = |_: &Self, _| Pending::Cancel { cancel };
        self.with_job(
            job,
            host,
            (Stimulus::Cancel(cancel), pending),
            move |commands, caller, now, id| async move {
                Answer::Done(commands.cancel_tasks_by_job(&caller, now, &id, flags).await)
            },
        );
    }

    fn pause(&mut self, job: u64, host: u64) {
        let pending = |world: &Self, job| {
            let waking = world.medium.lock().book.jobs.get(&job).map_or((0, 0), |noted| noted.waking);
            Pending::Pause { job, waking }
        };
        self.with_job(job, host, (Stimulus::Other, pending), |commands, caller, now, id| async move {
            Answer::Done(commands.pause_job(&caller, now, &id).await)
        });
    }

    pub(crate) fn resume(&mut self, job: u64, host: u64) {
        let wakes = |_: &Self, job| Pending::Wakes { job };
        self.with_job(job, host, (Stimulus::Other, wakes), |commands, caller, now, id| async move {
            Answer::Done(commands.resume_job(&caller, now, &id).await)
        });
    }

    fn rate(&mut self, job: u64, host: u64, rate: u64) {
        let params = UpdateJobParams {
            maximum_per_minute: Some(i64::try_from(rate.clamp(10, 10_000)).unwrap_or(10)),
            ..UpdateJobParams::default()
        };
        self.with_job(
            job,
            host,
            (Stimulus::Other, |_: &Self, _| Pending::Other),
            |commands, caller, now, id| async move {
                Answer::Done(commands.update_job(&caller, now, &id, &params).await)
            },
        );
    }

    /// Some tasks of a job are confirmed, or started again.
    pub(crate) fn order(&mut self, job: u64, host: u64, salt: u64, confirms: bool) {
        let Some(no) = self.job(job) else { return };
        let mut chance = Chance::new(salt);
        let fits = |status| match confirms {
            true => status == TaskStatus::Confirm,
            false => matches!(status, TaskStatus::Failed | TaskStatus::Canceled),
        };
        let of_job: Vec<Task> = self.tasks(no).into_iter().filter(|task| fits(task.state.status())).collect();
        let ids: Vec<String> = of_job
            .iter()
            .filter(|_| salt == 0 || chance.permille(500))
            .take(TASKS_MAX)
            .map(|task| TaskId { job: no, seq: task.key.seq }.to_string())
            .collect();
        if ids.is_empty() {
            return;
        }
        if confirms {
            let with = (Stimulus::Confirm, |_: &Self, _| Pending::Other);
            self.with_job(job, host, with, |commands, caller, now, _| async move {
                Answer::Done(commands.confirm_tasks(&caller, now, &ids).await)
            });
        } else {
            let with = (Stimulus::Reupgrade, |_: &Self, job| Pending::Wakes { job });
            self.with_job(job, host, with, |commands, caller, now, id| async move {
                Answer::Done(commands.reupgrade_tasks(&caller, now, &id, &ids).await)
            });
        }
    }

    /// A device asks its gateway for its update.
    pub(crate) fn fetch(&mut self, place: usize) {
        let device = &self.fleet.devices[place];
        let (Some((at, _)), id) = (device.at, device.id) else { return };
        let Some(shell) = self.shell_of(at) else { return };
        let truly = self.now();
        let now = self.hosts[at.host].clock(truly);
        let module = ModuleName::default_module();
        let pending = Pending::Fetch { place };
        let call =
            async move {
                Answer::Fetched(inbox::fetch(&shell, id, &module, now).await.map(|found| {
                    found.map(|found| (found.wire_id, found.job, found.offer.version.to_string()))
                }))
            };
        self.call(at.host, Stimulus::Fetch, pending, call);
    }

    fn trespass(&mut self, job: u64, host: u64) {
        let stranger = self.stranger.clone();
        let with = (Stimulus::Other, |_: &Self, _| Pending::Trespass);
        self.with_job(job, host, with, |commands, _, now, id| async move {
            match commands.query_job(&stranger, now, &id).await {
                Ok(_) => Answer::Done(Ok(())),
                Err(error) => Answer::Done(Err(error)),
            }
        });
        let (mine, theirs) =
            (&self.fleet.devices[0].name, &self.fleet.devices[self.fleet.devices.len() - 1].name);
        let own = Own { product_key: &self.product, device_name: mine };
        let topic = |name: &str| format!("/ota/device/inform/{}/{name}", self.product);
        let holds = matches!(own.publishes(&topic(mine)), Ok(Uplink::Inform))
            && (mine == theirs || own.publishes(&topic(theirs)).is_err());
        let what = format!("{mine} speaks for {theirs}");
        self.medium.lock().book.check("I17", holds, || what);
    }

    /// A job's tasks as they are stored.
    pub(crate) fn tasks(&self, job: JobNo) -> Vec<Task> {
        let (mut tasks, mut after) = (Vec::new(), Some(0));
        while let Some(from) = after {
            let page = at_once(self.shared.facts.list_tasks(job, &TaskFilter::default(), from, 1_000))
                .unwrap_or_default();
            tasks.extend(page.tasks.into_iter().map(|view| view.task));
            after = page.next;
        }
        tasks
    }
}
