use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use otaria_core::ids::{ClientToken, DeviceId, InformedVersion, JobNo, ModuleName};
use otaria_core::job::{JobStatus, JobUpdate};
use otaria_core::pace::PerMinute;
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, FailedStep, Report, ReportOrder, Said, TaskEvent, TaskKey, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::clock::ManualClock;
use otaria_ports::events::KeptEvents;
use otaria_ports::inbox::{Block, BlockAsked, Fetched, Inbox, KeptInbox, NoBlock};
use otaria_ports::pusher::{KeptPusher, Outcome, Pusher as _, Settled};
use otaria_ports::store::contract::Case;
use otaria_ports::store::contract::world::{World, at, claim, new_job, next, state};
use otaria_ports::store::memory::{Fault, MemoryStore};
use otaria_ports::store::{
    CreateJob, JobMove, JobTurn, Jobs as _, Leases as _, StoreError, TaskChange, Tasks as _,
};
use tempfile::TempDir;

use super::*;
use crate::record::{Fact, Line};
use crate::writer::{History, HistoryConfig};

/// A recorded store in memory, and its history.
struct Stage {
    memory: Arc<MemoryStore>,
    store: Arc<RecordedStore>,
    events: Arc<KeptEvents>,
    history: Arc<History>,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(at(100)));
        let config = HistoryConfig {
            folder: folder.path().to_owned(),
            process: "p1".into(),
            version: "1".into(),
            file_bytes: u64::MAX,
            files: 1,
        };
        let history = History::open(config, Arc::clone(&clock) as _).unwrap();
        let events = Arc::new(KeptEvents::default());
        let told = RecordedEvents::new(Arc::clone(&history), Arc::clone(&events) as _);
        let memory = Arc::new(MemoryStore::new(told));
        let store = RecordedStore::new(Arc::clone(&history), Arc::clone(&memory) as _);
        Self { memory, store, events, history, clock, folder }
    }

    /// All that was told.
    fn end(self) -> Vec<Line> {
        self.history.close();
        let text = std::fs::read_to_string(self.folder.path().join("p1.ndjson")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All that was told, without leases, head and end.
    fn facts(self) -> Vec<Fact> {
        let facts = self.end().into_iter().map(|line| line.fact);
        facts
            .filter(|fact| !matches!(fact, Fact::Start { .. } | Fact::Stop {} | Fact::Lease { .. }))
            .collect()
    }
}

fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("nothing in memory ever waits")
}

/// A recorded store is as good as the store.
fn run(case: Case) {
    let stage = Stage::new();
    now(case(&*stage.store, &stage.events));
}

mod contract {
    otaria_ports::store_contract!(super::run);
}

/// The kinds of facts, with what tells them apart.
fn told(fact: &Fact) -> String {
    match fact {
        Fact::Job(job) => format!("job {} {} {}", job.id, job.dest_version, job.status),
        Fact::JobMoved { to, .. } => format!("job_moved {to}"),
        Fact::Expanded { complete, lines, tasks, .. } => format!("expanded {complete} {lines} {tasks}"),
        Fact::Task { name, previous, status, attempt, revision, .. } => {
            let from = previous.as_deref().unwrap_or("-");
            format!("task {name} {from}>{status} {attempt} r{revision}")
        }
        Fact::Claimed { attempt, revision, epoch, .. } => format!("claimed {attempt} r{revision} e{epoch}"),
        Fact::Reupgraded { revision, .. } => format!("ordered r{revision}"),
        Fact::Held { fence, mask, .. } => format!("held f{fence} {mask:b}"),
        Fact::Counts { by_status, .. } => format!("counts {by_status:?}"),
        Fact::JobChanged { per_minute, timeout_s, .. } => format!("changed {per_minute:?} {timeout_s:?}"),
        Fact::JobAgain { .. } => "job_again".to_owned(),
        Fact::TokenRefused { .. } => "token_refused".to_owned(),
        Fact::Unsure { doing, jobs } => format!("unsure {doing} {jobs:?}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_jobs_life_is_told() {
    let stage = Stage::new();
    now(async {
        let store = &*stage.store;
        let world = World::new(store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        let owner = world.own_everything(at(0)).await;
        stage.clock.set(at(200));
        let task = world.task(&job, devices[0]).await;
        let claims = [claim(&task, at(1))];
        store.claim(&owner, &claims, at(1)).await.unwrap();
        // Refused, and so not told.
        store.claim(&owner, &claims, at(1)).await.unwrap();
        let task = world.task(&job, devices[0]).await;
        let failed = next(&task, &TaskEvent::Refused { step: FailedStep::Update }, at(2));
        let failed = TaskChange { to: state(TaskStatus::Failed, at(2)), ..failed };
        store.take_reports(&[], &[failed], at(2)).await.unwrap();
        let done = JobMove {
            job: job.no,
            from: JobStatus::InProgress,
            to: JobStatus::Completed,
            only_if_done: true,
            fence: false,
            firmware: None,
        };
        assert!(store.move_job(&done, at(3)).await.unwrap());
        let task = world.task(&job, devices[0]).await;
        let again = next(&task, &TaskEvent::Reupgraded { need_confirm: false }, at(4));
        let turn = JobTurn { job: job.no, from: JobStatus::Completed, to: JobStatus::InProgress };
        assert!(store.settle_all(&[turn], &[again], at(4)).await.unwrap().is_empty());
        let pause = JobMove {
            from: JobStatus::InProgress,
            to: JobStatus::Paused,
            only_if_done: false,
            fence: true,
            ..done
        };
        assert!(store.move_job(&pause, at(5)).await.unwrap());
        store.request_cancel(job.no, 0b10, CancelCause::Operator, at(6)).await.unwrap();
        store.sweep_cancel(job.no, 10, at(7)).await.unwrap();
    });
    let lines: Vec<String> = stage.facts().iter().map(told).collect();
    assert_eq!(
        lines,
        [
            "job_moved IN_PROGRESS",
            "job job1 2.0.0 IN_PROGRESS",
            "task dev-00000 ->QUEUED 0 r1",
            "expanded true 1 1",
            "task dev-00000 QUEUED>NOTIFIED 1 r2",
            "claimed 1 r2 e1",
            "task dev-00000 NOTIFIED>FAILED 1 r3",
            "job_moved COMPLETED",
            "counts [0, 0, 0, 0, 0, 1, 0]",
            "job_moved IN_PROGRESS",
            "task dev-00000 FAILED>QUEUED 0 r4",
            "ordered r4",
            "job_moved PAUSED",
            "held f1 0",
            "held f2 10",
            "task dev-00000 QUEUED>CANCELED 0 r5",
        ]
    );
}

#[test]
fn times_are_around_the_work() {
    let stage = Stage::new();
    now(async {
        let world = World::new(&*stage.store).await;
        world.devices(0..1).await;
        world.make(&new_job(&world.firmware, "job1")).await;
    });
    let lines = stage.end();
    let of = |wanted: fn(&Fact) -> bool| lines.iter().find(|line| wanted(&line.fact)).unwrap();
    let micros = |seconds: i64| u64::try_from(at(seconds).millis()).unwrap() * 1_000;
    let made = of(|fact| matches!(fact, Fact::Job(_)));
    assert_eq!((made.from, made.at), (micros(100), micros(100) + 999));
    // An event's work began when its caller looked at the clock.
    let moved = of(|fact| matches!(fact, Fact::JobMoved { .. }));
    assert_eq!((moved.from, moved.at), (micros(0), micros(100) + 999));
}

#[test]
fn the_same_call_again_and_another_one_under_its_token_are_told_apart() {
    let stage = Stage::new();
    now(async {
        let store = &*stage.store;
        let world = World::new(store).await;
        let mut asked = new_job(&world.firmware, "job1");
        asked.new.client_token = Some(ClientToken::parse("token").unwrap());
        world.make(&asked).await;
        store.create_job(&asked, at(1)).await.unwrap();
        let other = CreateJob { digest: [9; 32], ..asked };
        assert!(matches!(store.create_job(&other, at(2)).await, Err(StoreError::Exists { .. })));
        let rate = JobUpdate { maximum_per_minute: PerMinute::new(60), ..JobUpdate::default() };
        let job = store.jobs_by_no(&[JobNo(1)]).await.unwrap().pop().unwrap();
        store.update_job(job.no, &rate, at(3)).await.unwrap();
    });
    let facts = stage.facts();
    let Fact::Job(made) = &facts[1] else { panic!("{facts:?}") };
    let Fact::TokenRefused { token, digest, .. } = &facts[3] else { panic!("{facts:?}") };
    assert!(made.token.is_some() && made.token == *token && made.digest != *digest);
    assert_eq!(told(&facts[2]), "job_again");
    assert_eq!(told(&facts[4]), "changed Some(60) None");
}

#[test]
fn a_write_whose_answer_is_lost_is_told_as_that() {
    let stage = Stage::new();
    now(async {
        let store = &*stage.store;
        let world = World::new(store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        let owner = world.own_everything(at(0)).await;
        let task = world.task(&job, devices[0]).await;
        stage.memory.fail_next(1, Fault::After);
        assert!(store.claim(&owner, &[claim(&task, at(1))], at(1)).await.is_err());
    });
    let lines: Vec<String> = stage.facts().iter().map(told).collect();
    assert_eq!(lines[lines.len() - 2..], ["task dev-00000 QUEUED>NOTIFIED 1 r2", "unsure claim [1]"]);
}

#[test]
fn leases_are_told_once_also_those_that_are_only_read() {
    let stage = Stage::new();
    now(async {
        let (memory, store) = (&*stage.memory, &*stage.store);
        let (first, second) = (memory.join(at(0), TTL).await.unwrap(), store.join(at(0), TTL).await.unwrap());
        memory.take_shards(first, &[Shard(1)], at(0)).await.unwrap();
        store.take_shards(second, &[Shard(2)], at(0)).await.unwrap();
        for _ in 0..2 {
            store.shard_leases(at(1)).await.unwrap();
        }
        memory.leave(first).await.unwrap();
        store.take_shards(second, &[Shard(1)], at(2)).await.unwrap();
        // Given up: what is left of it is nobody's lease.
        let third = memory.join(at(2), TTL).await.unwrap();
        memory.take_shards(third, &[Shard(3)], at(2)).await.unwrap();
        memory.release_shards(third, &[Shard(3)]).await.unwrap();
        store.shard_leases(at(2)).await.unwrap();
    });
    let leases: Vec<(u8, i64)> = stage
        .end()
        .into_iter()
        .filter_map(|line| match line.fact {
            Fact::Lease { shard, epoch, .. } => Some((shard, epoch)),
            _ => None,
        })
        .collect();
    assert_eq!(leases, [(2, 1), (1, 1), (1, 2)]);
}

const TTL: Duration = Duration::from_secs(10);

#[test]
fn notices_reports_and_fences_are_told() {
    let stage = Stage::new();
    let inbox = RecordedInbox::new(Arc::clone(&stage.history), Arc::new(KeptInbox::default()));
    let pusher = RecordedPusher::new(Arc::clone(&stage.history), Arc::new(KeptPusher::default()));
    let device = DeviceId::new(Shard(3), 1);
    let settled = Settled {
        key: TaskKey { device, job: JobNo(1), seq: 1 },
        attempt: 2,
        wire_id: 77,
        shard: (Shard(3), 4),
        fence: 5,
        outcome: Outcome::Written,
        at: at(1),
        until: at(2),
    };
    now(async {
        let said = Said::Version(InformedVersion::parse("2.0.0").unwrap());
        let (module, order) = (ModuleName::default_module(), ReportOrder { session: 1, n: 1 });
        inbox.report(Report { device, module, order, at: at(1), told: None, said }).await.unwrap();
        inbox.settled(vec![settled]).await.unwrap();
        pusher.fence(JobNo(1), 6).await.unwrap();
        pusher.epoch(Shard(3), 5).await.unwrap();
    });
    let lines = stage.end();
    let micros = |at: Timestamp| u64::try_from(at.millis()).unwrap() * 1_000;
    let facts: Vec<&Fact> = lines.iter().map(|line| &line.fact).collect();
    let report =
        Fact::Report { device: device.0, module: String::new(), version: Some("2.0.0".into()), step: None };
    assert_eq!(*facts[1], report);
    assert_eq!((lines[2].from, lines[2].at), (micros(at(1)), micros(at(2)) + 999));
    let expected = Fact::Settled {
        job: 1,
        device: device.0,
        attempt: 2,
        wire_id: 77,
        outcome: "written".into(),
        shard: 3,
        epoch: 4,
        fence: 5,
    };
    assert_eq!(*facts[2], expected);
    assert_eq!(*facts[3], Fact::Fenced { job: 1, fence: 6 });
    assert_eq!(*facts[4], Fact::EpochRaised { shard: 3, epoch: 5 });
}

/// Refuses the first batch of outcomes.
#[derive(Default)]
struct Busy(KeptInbox, AtomicBool);

#[async_trait::async_trait]
impl Inbox for Busy {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        self.0.report(report).await
    }

    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable> {
        self.0.fetch(device, module, now).await
    }

    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        now: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        self.0.block(device, asked, now).await
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        if !self.1.swap(true, Ordering::SeqCst) {
            return Err(Unavailable::while_doing("a test"));
        }
        self.0.settled(outcomes).await
    }
}

#[test]
fn outcomes_that_are_said_again_are_told_once() {
    let stage = Stage::new();
    let inbox = RecordedInbox::new(Arc::clone(&stage.history), Arc::new(Busy::default()));
    let key = TaskKey { device: DeviceId::new(Shard(3), 1), job: JobNo(1), seq: 1 };
    let settled = |wire_id| Settled {
        key: key.clone(),
        attempt: 1,
        wire_id,
        shard: (Shard(3), 1),
        fence: 0,
        outcome: Outcome::Written,
        at: at(1),
        until: at(1),
    };
    now(async {
        inbox.settled(vec![settled(1), settled(2)]).await.unwrap_err();
        inbox.settled(vec![settled(1), settled(2)]).await.unwrap();
        inbox.settled(vec![settled(3)]).await.unwrap();
    });
    let ids: Vec<i64> = stage
        .facts()
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::Settled { wire_id, .. } => Some(wire_id),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [1, 2, 3]);
}
