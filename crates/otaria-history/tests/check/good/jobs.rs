//! The jobs of a good history, one after the other.

use otaria_history::record::{Fact, JobMade, Sight};

use super::{BEGIN, Pen, SECOND, name, number};
use crate::history::Draft;

impl Pen {
    /// A list at six a minute: retries, a timeout, a last failure.
    pub(super) fn list(&mut self) {
        let at = BEGIN + 20 * SECOND;
        let devices: Vec<i64> = (0..12).collect();
        let job = self.job(
            at,
            JobMade {
                names: devices.iter().map(|device| name(*device)).chain(["no-such-device".into()]).collect(),
                per_minute: 6,
                retry: Some((1, 30)),
                timeout_s: Some(120),
                token: Some("token-1".into()),
                ..JobMade::default()
            },
        );
        self.expand(job, at + SECOND, &devices, 0);
        // The name that nobody has.
        if let Some(Draft { fact: Fact::Expanded { lines, rejected, .. }, .. }) =
            self.lines.iter_mut().rev().find(|line| matches!(line.fact, Fact::Expanded { .. }))
        {
            *lines += 1;
            *rejected = 1;
        }
        let digest = self.jobs[0].digest.clone();
        self.tell(0, at + 4 * SECOND, Fact::JobAgain { job, digest });
        let other = "f".repeat(64);
        self.tell(
            0,
            at + 5 * SECOND,
            Fact::TokenRefused { account: 1, token: Some("token-1".into()), digest: other },
        );
        let mut end = at;
        for device in devices {
            end = end.max(match device {
                // Fails once and is offered again.
                0..2 => {
                    let arrived = self.push(job, device, at + 2 * SECOND);
                    let begun = self.progress(job, device, arrived + SECOND, 10);
                    let failed = self.progress(job, device, begun + SECOND, -2);
                    let again = self.push(job, device, failed + 31 * SECOND);
                    self.inform(job, device, again + 5 * SECOND)
                }
                // Fails twice.
                2 => {
                    let arrived = self.push(job, device, at + 2 * SECOND);
                    let failed = self.progress(job, device, arrived + SECOND, -1);
                    let again = self.push(job, device, failed + 31 * SECOND);
                    let failed = self.progress(job, device, again + SECOND, -1);
                    self.turn(job, device, failed, "FAILED", Some("the device reported -1: update failed"));
                    failed
                }
                // Takes too long.
                3 | 4 => {
                    let arrived = self.push(job, device, at + 2 * SECOND);
                    let begun = self.progress(job, device, arrived + SECOND, 10);
                    let over = begun + 120 * SECOND + self.chance.below(SECOND);
                    let why = "the update took longer than TimeoutInMinutes";
                    self.turn(job, device, over, "FAILED", Some(why));
                    over
                }
                // Its notice is lost once, and delivered again.
                5 => {
                    self.push(job, device, at + 2 * SECOND);
                    self.update_again(job, device, at + 70 * SECOND)
                }
                _ => self.update(job, device, at + 2 * SECOND),
            });
        }
        self.finished(job, end + SECOND);
    }

    /// The same offer goes out once more.
    fn update_again(&mut self, job: i64, device: i64, at: u64) -> u64 {
        let arrived = self.push(job, device, at);
        self.inform(job, device, arrived + 3 * SECOND)
    }

    /// A part of the devices, each to be confirmed.
    pub(super) fn part(&mut self) {
        let at = BEGIN + 30 * SECOND;
        let devices: Vec<i64> = (12..15).collect();
        let job = self.job(
            at,
            JobMade {
                target: "GRAY".into(),
                gray: Some(("33.3".into(), 10, 3)),
                per_minute: 600,
                need_confirm: true,
                ..JobMade::default()
            },
        );
        self.expand(job, at + SECOND, &devices, 0);
        let mut end = at;
        for device in devices {
            self.turn(job, device, at + 20 * SECOND, "QUEUED", None);
            end = end.max(self.update(job, device, at + 22 * SECOND));
        }
        self.finished(job, end);
    }

    /// One job replaces another's tasks; a third finds a device busy.
    pub(super) fn replacing(&mut self) {
        let at = BEGIN + 40 * SECOND;
        let earlier = self.job(at, JobMade { per_minute: 60, ..JobMade::default() });
        self.expand(earlier, at + SECOND, &[16, 17, 18], 0);
        let arrived = self.push(earlier, 18, at + 3 * SECOND);
        let begun = self.progress(earlier, 18, arrived + SECOND, 10);
        let later =
            self.job(at + 20 * SECOND, JobMade { per_minute: 60, overwrite: 2, ..JobMade::default() });
        let replaced = at + 21 * SECOND;
        for device in [16, 17] {
            self.turn(earlier, device, replaced, "CANCELED", Some("replaced by a later job"));
            self.turn(later, device, replaced, "QUEUED", None);
        }
        self.turn(later, 18, replaced, "FAILED", Some("the device has another unfinished task"));
        self.expand(later, replaced, &[16, 17, 18], 0);
        let done = self.inform(earlier, 18, begun + 60 * SECOND);
        self.finished(earlier, done);
        let end =
            [16, 17].map(|device| self.update(later, device, at + 25 * SECOND)).into_iter().max().unwrap();
        self.finished(later, end);
    }

    /// Devices that ask by themselves.
    pub(super) fn fetching(&mut self) {
        let at = BEGIN + 50 * SECOND;
        let job = self.job(at, JobMade { per_minute: 60, need_push: false, ..JobMade::default() });
        self.expand(job, at + SECOND, &[20, 21], 0);
        let mut end = at;
        for device in [20, 21] {
            let asked = at + 10 * SECOND + self.chance.below(SECOND);
            let version = self.jobs[job as usize - 1].dest_version.clone();
            self.see(device, asked, Sight::Fetched { version, module: String::new() });
            self.task(job, device).attempt = 1;
            self.turn(job, device, asked, "NOTIFIED", None);
            end = end.max(self.inform(job, device, asked + 10 * SECOND));
        }
        self.finished(job, end);
    }

    /// A dynamic job that pushes ten times to one device, then another for the same firmware.
    pub(super) fn dynamic(&mut self) {
        let at = BEGIN + 60 * SECOND;
        let facts = JobMade {
            job_kind: "DYNAMIC".into(),
            target: "ALL".into(),
            firmware: 500,
            per_minute: 600,
            ..JobMade::default()
        };
        let job = self.job(at, facts.clone());
        for device in [24, 25] {
            self.turn(job, device, at + 2 * SECOND, "QUEUED", None);
        }
        self.update(job, 25, at + 3 * SECOND);
        let mut arrived = at;
        for push in 0..10 {
            arrived = self.push(job, 24, at + 3 * SECOND + push * 61 * SECOND);
        }
        self.inform(job, 24, arrived + SECOND);
        self.moved(job, at + 620 * SECOND, "CANCELED");
        let next = self.job(at + 630 * SECOND, facts);
        self.turn(next, 26, at + 640 * SECOND, "QUEUED", None);
        self.update(next, 26, at + 641 * SECOND);
        self.moved(next, at + 700 * SECOND, "CANCELED");
    }

    fn hold(&mut self, job: i64, at: u64, mask: i64) {
        let fence = self.fences[&job] + 1;
        self.fences.insert(job, fence);
        self.tell(0, at, Fact::Held { job, fence, mask });
        self.tell(0, at + 800_000, Fact::Fenced { job, fence });
    }

    /// A pause, and a cancellation of what waits.
    pub(super) fn held(&mut self) {
        let at = BEGIN + 70 * SECOND;
        let job = self.job(at, JobMade { per_minute: 60, timeout_s: Some(600), ..JobMade::default() });
        self.expand(job, at + SECOND, &[28, 29, 30, 31, 32], 0);
        let done = self.update(job, 28, at + 3 * SECOND);
        self.moved(job, done + SECOND, "PAUSED");
        self.hold(job, done + SECOND, 0);
        self.moved(job, done + 30 * SECOND, "IN_PROGRESS");
        self.tokens.insert(job, done + 31 * SECOND);
        self.tell(0, done + 31 * SECOND, Fact::JobChanged { job, per_minute: Some(30), timeout_s: None });
        self.jobs[job as usize - 1].per_minute = 30;
        let done = self.update(job, 29, done + 33 * SECOND);
        let arrived = self.push(job, 30, done);
        self.hold(job, arrived + SECOND, 0b11);
        for device in [31, 32] {
            self.turn(job, device, arrived + 2 * SECOND, "CANCELED", Some("canceled by an operator"));
        }
        let done = self.inform(job, 30, arrived + 10 * SECOND);
        self.finished(job, done);
    }

    /// From ScheduleTime to ScheduleFinishTime.
    pub(super) fn scheduled(&mut self) {
        let at = BEGIN + 80 * SECOND;
        let (start, finish) = (at + 60 * SECOND, at + 100 * SECOND);
        let job = self.job(
            at,
            JobMade {
                per_minute: 10,
                schedule_us: Some(start),
                finish_us: Some(finish),
                status: "PLANNED".into(),
                ..JobMade::default()
            },
        );
        self.expand(job, at + SECOND, &[34, 35, 36], 0);
        self.moved(job, start, "IN_PROGRESS");
        self.update(job, 34, start + SECOND);
        self.update(job, 35, start + SECOND);
        self.hold(job, finish, 0b1111);
        self.turn(job, 36, finish + SECOND, "CANCELED", Some("the job's ScheduleFinishTime came"));
        self.finished(job, finish + 2 * SECOND);
    }

    /// A task that failed is started again.
    pub(super) fn again(&mut self) {
        let at = BEGIN + 90 * SECOND;
        let job = self.job(at, JobMade { per_minute: 60, ..JobMade::default() });
        self.expand(job, at + SECOND, &[38], 0);
        let arrived = self.push(job, 38, at + 2 * SECOND);
        let failed = self.progress(job, 38, arrived + SECOND, -1);
        self.turn(job, 38, failed, "FAILED", Some("the device reported -1: update failed"));
        self.finished(job, failed);
        let again = failed + 60 * SECOND;
        self.moved(job, again, "IN_PROGRESS");
        self.task(job, 38).attempt = 0;
        self.turn(job, 38, again, "QUEUED", None);
        let revision = self.task(job, 38).revision;
        self.tell(0, again, Fact::Reupgraded { job, device: number(38), revision });
        let done = self.update(job, 38, again + SECOND);
        self.finished(job, done);
    }

    /// A product of another account.
    pub(super) fn strangers(&mut self) {
        let at = BEGIN + 100 * SECOND;
        let job = self.job(
            at,
            JobMade { account: 2, product: "otherProd".into(), per_minute: 60, ..JobMade::default() },
        );
        self.expand(job, at + SECOND, &[90, 91, 92], 1);
        let end =
            [90, 91, 92].map(|device| self.update(job, device, at + 3 * SECOND)).into_iter().max().unwrap();
        self.finished(job, end);
    }
}
