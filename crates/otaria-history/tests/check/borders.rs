//! Where certainty begins: what lies on the border of a rule is no breach of it, one step beyond it is.

use otaria_history::check::Options;
use otaria_history::record::{Fact, JobMade, Line, Seen, Sight};

use crate::history::judge;

const SECOND: u64 = 1_000_000;
const DEVICE: i64 = 1;

/// A history of one or two processes, line by line.
struct Book {
    files: Vec<Vec<Line>>,
    seen: Vec<Seen>,
    options: Options,
}

impl Book {
    fn new(processes: usize) -> Self {
        let file = |n| {
            vec![Line {
                n: 1,
                from: 0,
                at: 0,
                fact: Fact::Start { process: format!("p{n}"), version: "0".into() },
            }]
        };
        Self { files: (0..processes).map(file).collect(), seen: Vec::new(), options: Options::default() }
    }

    fn tell(&mut self, process: usize, (from, at): (u64, u64), fact: Fact) {
        let n = self.files[process].len() as u64 + 1;
        self.files[process].push(Line { n, from, at, fact });
    }

    fn job(&mut self, change: impl FnOnce(&mut JobMade)) {
        let number = self.files[0].iter().filter(|line| matches!(line.fact, Fact::Job(_))).count() as i64 + 1;
        let mut made = JobMade {
            job: number,
            account: 1,
            product: "p".into(),
            dest_version: "2".into(),
            job_kind: "STATIC".into(),
            status: "IN_PROGRESS".into(),
            per_minute: 1,
            overwrite: 1,
            need_push: true,
            ..JobMade::default()
        };
        change(&mut made);
        self.tell(0, (1, 1), Fact::Job(Box::new(made)));
    }

    fn task(
        &mut self,
        job: i64,
        span: (u64, u64),
        revision: i64,
        (previous, status): (&str, &str),
        desc: &str,
    ) {
        let fact = Fact::Task {
            job,
            device: DEVICE,
            name: "d".into(),
            module: String::new(),
            previous: (!previous.is_empty()).then(|| previous.to_owned()),
            status: status.into(),
            attempt: u8::from(!matches!(status, "QUEUED" | "CONFIRM")),
            percent: None,
            revision,
            desc: (!desc.is_empty()).then(|| desc.to_owned()),
        };
        self.tell(0, span, fact);
    }

    fn write(&mut self, process: usize, span: (u64, u64), fence: u64, epoch: i64) {
        let (outcome, shard) = ("written".into(), 0);
        let settled =
            Fact::Settled { job: 1, device: DEVICE, attempt: 1, wire_id: 9, outcome, shard, epoch, fence };
        self.tell(process, span, settled);
    }

    /// Whether a rule is broken.
    fn breaks(mut self, rule: &str) -> bool {
        let end = self.files.iter().flatten().map(|line| line.at).max().unwrap();
        for process in 0..self.files.len() {
            self.tell(process, (end, end), Fact::Stop {});
        }
        let verdict = judge(&self.files, &self.seen, self.options);
        verdict.violations.iter().any(|violation| violation.invariant == rule)
    }
}

fn written(spans: [(u64, u64); 2], processes: usize, change: Option<(u64, u32)>) -> bool {
    let mut book = Book::new(processes);
    book.job(|_| {});
    if let Some((at, limit)) = change {
        book.tell(0, (at, at), Fact::JobChanged { job: 1, per_minute: Some(limit), timeout_s: None });
    }
    book.write(0, spans[0], 1, 1);
    book.write(processes - 1, spans[1], 1, 1);
    book.breaks("I1")
}

#[test]
fn a_minute_is_half_open_and_spans_must_lie_in_it() {
    let minute = 60 * SECOND;
    assert!(!written([(1_000, 1_000), (1_000 + minute, 1_000 + minute)], 1, None));
    assert!(written([(1_000, 1_000), (999 + minute, 999 + minute)], 1, None));
    // The first may have been written late, the second early: but perhaps they were not.
    assert!(!written([(1_000, 5_000), (500 + minute, 1_000 + minute)], 1, None));
    // Two clocks differ.
    assert!(!written([(1_000, 1_000), (minute - 190_000, minute - 190_000)], 2, None));
    assert!(written([(1_000, 1_000), (minute - 210_000, minute - 210_000)], 2, None));
}

#[test]
fn a_lower_limit_counts_when_everybody_must_know_of_it() {
    let spans = |at| [(at, at), (at + SECOND, at + SECOND)];
    // Two are allowed until the news of the change is surely out.
    let two = |at| {
        let mut book = Book::new(1);
        book.job(|job| job.per_minute = 2);
        book.tell(
            0,
            (10 * SECOND, 10 * SECOND),
            Fact::JobChanged { job: 1, per_minute: Some(1), timeout_s: None },
        );
        for span in spans(at) {
            book.write(0, span, 1, 1);
        }
        book.breaks("I1")
    };
    assert!(!two(20 * SECOND) && !two(84 * SECOND) && two(87 * SECOND));
    // A higher one counts at once.
    assert!(!written(spans(10 * SECOND), 1, Some((11 * SECOND, 2))));
}

#[test]
fn a_fence_stops_what_is_surely_written_after_it() {
    let after = |write: (u64, u64), processes: usize, fence: u64| {
        let mut book = Book::new(processes);
        book.job(|_| {});
        book.tell(0, (900_000, SECOND), Fact::Fenced { job: 1, fence: 2 });
        book.write(processes - 1, write, fence, 1);
        book.breaks("I5")
    };
    assert!(!after((SECOND, SECOND + 10), 1, 1), "it may have been written at the very instant");
    assert!(after((SECOND + 1, SECOND + 10), 1, 1));
    assert!(!after((SECOND + 1, SECOND + 10), 1, 2), "claimed under the new fence");
    assert!(!after((SECOND + 200_000, SECOND + 300_000), 2, 1), "by another clock");
    assert!(after((SECOND + 200_001, SECOND + 300_000), 2, 1));
}

#[test]
fn a_schedule_is_half_open() {
    let at = |span: (u64, u64)| {
        let mut book = Book::new(1);
        book.job(|job| (job.schedule_us, job.finish_us) = (Some(10 * SECOND), Some(20 * SECOND)));
        book.write(0, span, 1, 1);
        book.breaks("I6")
    };
    assert!(at((9 * SECOND, 10 * SECOND - 1)) && !at((9 * SECOND, 10 * SECOND)));
    assert!(!at((20 * SECOND - 1, 20 * SECOND + 5)) && at((20 * SECOND, 20 * SECOND + 5)));
}

#[test]
fn what_one_transaction_replaces_is_not_open_twice() {
    let beside = |made: (u64, u64), gone: (u64, u64)| {
        let mut book = Book::new(1);
        book.job(|_| {});
        book.job(|job| job.overwrite = 2);
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        book.task(2, made, 1, ("", "QUEUED"), "");
        book.task(1, gone, 2, ("QUEUED", "CANCELED"), "replaced by a later job");
        book.breaks("I2")
    };
    assert!(!beside((100, 200), (100, 200)));
    assert!(!beside((100, 200), (150, 250)));
    assert!(beside((100, 200), (201, 300)));
}

#[test]
fn modules_stand_beside_each_other_only_where_both_jobs_say_so() {
    let beside = |both: bool, module: &str| {
        let mut book = Book::new(1);
        book.job(|job| job.multi_module = true);
        book.job(|job| (job.multi_module, job.module) = (both, module.into()));
        for job in [1, 2] {
            book.task(job, (10, 20), 1, ("", "QUEUED"), "");
        }
        book.tell(0, (500, 500), Fact::Counts { job: 9, by_status: [0; 7], notices: 0 });
        book.breaks("I2")
    };
    assert!(!beside(true, "camera") && beside(true, "") && beside(false, "camera"));
}

#[test]
fn a_retry_waits_from_the_report_of_the_failure() {
    let again = |failed: u64, at: u64| {
        let mut book = Book::new(1);
        book.job(|job| job.retry = Some((1, 60)));
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        book.task(1, (100, 200), 2, ("QUEUED", "NOTIFIED"), "");
        let report = Fact::Report { device: DEVICE, module: String::new(), version: None, step: Some(-1) };
        book.tell(0, (failed, failed + 5), report);
        let next = Fact::Task {
            job: 1,
            device: DEVICE,
            name: "d".into(),
            module: String::new(),
            previous: Some("NOTIFIED".into()),
            status: "NOTIFIED".into(),
            attempt: 2,
            percent: None,
            revision: 4,
            desc: None,
        };
        book.tell(0, (at - 10, at), next);
        book.breaks("I7")
    };
    assert!(!again(1_000, 1_000 + 60 * SECOND) && again(1_000, 999 + 60 * SECOND));
}

#[test]
fn a_timeout_runs_from_the_first_progress() {
    let over = |begun: u64, at: u64, end: u64| {
        let mut book = Book::new(1);
        book.job(|job| job.timeout_s = Some(60));
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        book.task(1, (100, 200), 2, ("QUEUED", "NOTIFIED"), "");
        book.task(1, (begun, begun + 50), 3, ("NOTIFIED", "IN_PROGRESS"), "");
        let why = "the update took longer than TimeoutInMinutes";
        book.task(1, (at - 50, at), 4, ("IN_PROGRESS", "FAILED"), why);
        book.tell(0, (end, end), Fact::Counts { job: 9, by_status: [0; 7], notices: 0 });
        book.breaks("I8")
    };
    let minute = 60 * SECOND;
    assert!(!over(1_000, 1_000 + minute, 400 * SECOND) && over(1_000, 999 + minute, 400 * SECOND));
    // A minute of grace for a server that is busy.
    assert!(!over(1_000, 2 * minute, 400 * SECOND) && over(1_000, 2 * minute + 10_000, 400 * SECOND));
}

#[test]
fn counts_that_are_read_while_tasks_move_may_be_either() {
    let read = |span: (u64, u64), by_status: [u64; 7]| {
        let mut book = Book::new(1);
        book.job(|_| {});
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        book.task(1, (100, 200), 2, ("QUEUED", "CANCELED"), "canceled by an operator");
        book.tell(0, span, Fact::Counts { job: 1, by_status, notices: 0 });
        book.breaks("I9")
    };
    let (queued, canceled) = ([0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]);
    assert!(!read((50, 60), queued) && read((50, 60), canceled));
    assert!(!read((150, 160), queued) && !read((150, 160), canceled));
    assert!(read((300, 310), queued) && !read((300, 310), canceled));
    assert!(read((150, 160), [0; 7]) || read((300, 310), [0; 7]));
}

#[test]
fn a_lost_notice_is_one_of_a_session_that_went_on() {
    let session = |online: u64, offline: Option<u64>, last: u64| {
        let mut book = Book::new(1);
        book.job(|_| {});
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        book.write(0, (100 * SECOND, 100 * SECOND + 10), 1, 1);
        let mut see = |at, what| {
            book.seen.push(Seen { at, product: "p".into(), device: "d".into(), what });
        };
        see(online, Sight::Online {});
        if let Some(at) = offline {
            see(at, Sight::Offline {});
        }
        see(last, Sight::Inform { version: "1".into(), module: String::new() });
        book.breaks("arrived")
    };
    assert!(session(10 * SECOND, None, 200 * SECOND));
    assert!(!session(10 * SECOND, Some(101 * SECOND), 200 * SECOND), "it may have gone with the connection");
    assert!(!session(95 * SECOND, None, 200 * SECOND), "it may have gone to the session before");
    assert!(!session(10 * SECOND, None, 110 * SECOND), "it may still be on its way");
}

#[test]
fn arrivals_count_when_no_network_explains_them() {
    let arrive = |arrivals: [u64; 2], slack: u64| {
        let mut book = Book::new(1);
        book.job(|_| {});
        book.options.arrival_slack = slack;
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        book.write(0, (200 * SECOND, 200 * SECOND), 1, 1);
        for at in arrivals {
            let what =
                Sight::Notice { version: "2".into(), module: String::new(), id: 9, strange_topic: None };
            book.seen.push(Seen { at, product: "p".into(), device: "d".into(), what });
        }
        book.breaks("I1")
    };
    // Two arrivals of which one was written: a device that saw both saw too much.
    assert!(arrive([200 * SECOND, 201 * SECOND], 0));
    assert!(arrive([200 * SECOND, 201 * SECOND], 2 * SECOND));
    assert!(!arrive([200 * SECOND, 201 * SECOND], 60 * SECOND));
}

#[test]
fn a_name_that_was_registered_again_is_another_device() {
    let mut book = Book::new(1);
    book.job(|_| {});
    for device in [1, 2] {
        book.task(1, (10, 20), 1, ("", "QUEUED"), "");
        if let Fact::Task { device: of, .. } = &mut book.files[0].last_mut().unwrap().fact {
            *of = device;
        }
        let at = 100 * SECOND * device as u64;
        book.write(0, (at, at), 1, 1);
        if let Fact::Settled { device: of, wire_id, .. } = &mut book.files[0].last_mut().unwrap().fact {
            (*of, *wire_id) = (device, device);
        }
        let what =
            Sight::Notice { version: "2".into(), module: String::new(), id: device, strange_topic: None };
        book.seen.push(Seen { at: at + 10, product: "p".into(), device: "d".into(), what });
    }
    assert!(!book.breaks("arrived"));
}
