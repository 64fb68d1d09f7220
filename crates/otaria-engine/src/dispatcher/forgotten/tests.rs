use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use otaria_core::ids::ModuleName;
use otaria_core::task::{Attempt, CancelCause, Delivery, ReportOrder, Retry, TaskState};
use otaria_ports::events::NoEvents;
use otaria_ports::store::contract::world::{World, at};
use otaria_ports::store::memory::{Fault, MemoryStore};

use super::super::ready::Order;
use super::*;

fn task(seq: u32) -> Task {
    Task {
        key: TaskKey { device: DeviceId::new(Shard(1), i64::from(seq)), job: JobNo(1), seq },
        module: ModuleName::default_module(),
        state: TaskState::Queued,
        revision: 3,
        report: ReportOrder::default(),
        notices: 0,
        src_version: None,
        desc: None,
        created_at: at(0),
        modified_at: at(0),
    }
}

fn seen(task: &Task) -> Sight {
    Sight {
        place: (7, 1),
        revision: task.revision,
        fence: 1,
        rate_version: 1,
        schedule: Schedule::default(),
        job_modified_at: at(0),
    }
}

/// A sight of the first task.
fn one(sight: &Sight) -> Vec<(TaskKey, Sight)> {
    vec![(task(1).key, sight.clone())]
}

#[test]
fn a_task_is_forgotten_at_the_third_look_and_told_of_once() {
    let (mut forgotten, sight) = (Forgotten::default(), seen(&task(1)));
    let told: Vec<usize> = (0..300).map(|_| forgotten.note(one(&sight)).len()).collect();
    assert_eq!(told[..5], [0, 0, 1, 0, 0]);
    assert_eq!(told.iter().sum::<usize>(), 1);
}

#[test]
fn whatever_changes_between_two_looks_makes_them_count_anew() {
    type Change = fn(&mut Sight);
    let changes: [Change; 7] = [
        |sight| sight.place.0 += 1,
        |sight| sight.place.1 += 1,
        |sight| sight.revision += 1,
        |sight| sight.fence += 1,
        |sight| sight.rate_version += 1,
        |sight| sight.schedule.finish = Some(at(10_000)),
        |sight| sight.job_modified_at = at(1),
    ];
    for change in changes {
        let mut forgotten = Forgotten::default();
        let before = seen(&task(1));
        let mut after = before.clone();
        change(&mut after);
        let looks = [&before, &before, &after, &after, &after];
        assert_eq!(looks.map(|sight| forgotten.note(one(sight)).len()), [0, 0, 0, 0, 1]);
    }
}

#[test]
fn a_look_that_does_not_find_it_makes_the_others_count_anew() {
    let (mut forgotten, sight) = (Forgotten::default(), seen(&task(1)));
    for found in [true, true, false, true, true] {
        let sights = if found { one(&sight) } else { Vec::new() };
        assert_eq!(forgotten.note(sights), []);
    }
}

#[test]
fn a_tick_that_failed_and_a_clock_that_was_put_back_make_looks_count_anew() {
    for (ticks, told) in [
        ([(true, 1), (true, 1), (true, 2)], [0, 0, 1]),
        ([(true, 1), (false, 2), (true, 3)], [0, 0, 0]),
        ([(true, 2), (true, 1), (true, 2)], [0, 0, 0]),
    ] {
        let (mut forgotten, sight) = (Forgotten::default(), seen(&task(1)));
        let looks = ticks.map(|(went_well, now)| {
            let told = forgotten.note(one(&sight));
            forgotten.ticked(went_well, at(now));
            told.len()
        });
        assert_eq!(looks, told, "{ticks:?}");
    }
}

#[test]
fn of_very_many_suspects_those_that_were_found_most_often_are_kept() {
    let mut forgotten = Forgotten::default();
    let sights = |seqs: std::ops::Range<u32>| seqs.map(|seq| (task(seq).key, seen(&task(seq)))).collect();
    forgotten.note(sights(900..1_500));
    forgotten.note(sights(0..1_500));
    assert_eq!(forgotten.suspects.len(), SUSPECTS_MAX);
    let told = forgotten.note(sights(0..1_500));
    assert!(told.into_iter().map(|key| key.seq).eq(900..1_500));
}

#[test]
fn only_what_wants_a_notice_by_itself_is_wanted() {
    let attempt = Attempt { number: 1, offered_at: at(0) };
    let notified = |delivery, retry| TaskState::Notified { attempt, delivery, offer_deadline: None, retry };
    for (state, wanted) in [
        (TaskState::Confirm, false),
        (TaskState::Queued, true),
        (notified(Delivery::Wanted, Retry::None), true),
        (notified(Delivery::Claimed { deadline: at(9) }, Retry::None), true),
        (notified(Delivery::Claimed { deadline: at(11) }, Retry::None), false),
        (notified(Delivery::Fetched, Retry::None), false),
        (notified(Delivery::Fetched, Retry::Wanted), true),
        (notified(Delivery::Fetched, Retry::At(at(10))), true),
        (notified(Delivery::Fetched, Retry::At(at(11))), false),
        (notified(Delivery::Written { at: at(-1_000) }, Retry::None), false),
        (TaskState::Succeeded { attempts: 1 }, false),
    ] {
        assert_eq!(is_wanted(&Task { state: state.clone(), ..task(1) }, at(10)), wanted, "{state:?}");
    }
}

/// A device that is online with an open task, and a dispatcher that has neither in hand.
struct Scene {
    store: MemoryStore,
    job: Job,
    task: Task,
    epochs: BTreeMap<Shard, i64>,
    online: Online,
    ready: BTreeMap<JobNo, Ready>,
    forgotten: Forgotten,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let store = MemoryStore::new(Arc::new(NoEvents));
        let work = async {
            let world = World::new(&store).await;
            let devices = world.devices(0..1).await;
            let job = world.job("job1", &devices).await;
            (world.task(&job, devices[0]).await, job)
        };
        let (task, job) = work.now_or_never().unwrap();
        let epochs = BTreeMap::from([(task.key.device.shard(), 1)]);
        let mut scene = Self {
            store,
            job,
            epochs,
            online: Online::default(),
            ready: BTreeMap::new(),
            forgotten: Forgotten::default(),
            now: at(100),
            task,
        };
        scene.arrive(7);
        scene
    }

    fn device(&self) -> DeviceId {
        self.task.key.device
    }

    /// The device comes, and is looked at, and the dispatcher forgets what it saw.
    fn arrive(&mut self, session: i64) {
        self.online.arrive(self.device(), session);
        self.online.looked_at(self.device(), &BTreeSet::new());
    }

    /// Looks so long after the last time.
    fn find_after(&mut self, span: Duration) -> usize {
        self.now = self.now + span;
        let hands = Hands { epochs: &self.epochs, online: &self.online, ready: &self.ready };
        let found = self.forgotten.find(&self.store, &hands, self.now).now_or_never().unwrap();
        found.len()
    }

    fn find(&mut self) -> usize {
        self.find_after(SWEEP_PERIOD)
    }
}

#[test]
fn a_task_that_was_lost_is_found() {
    let mut scene = Scene::new();
    assert_eq!([0; 5].map(|_| scene.find()), [0, 0, 1, 0, 0]);
}

#[test]
fn what_happens_at_the_second_look_makes_it_silent() {
    type Happens = (&'static str, fn(&mut Scene), fn(&mut Scene));
    let nothing: fn(&mut Scene) = |_| {};
    let happenings: [Happens; 8] = [
        ("it is ready", hold, |scene| scene.ready.clear()),
        ("it is to be looked at", |scene| scene.online.look(scene.device()), |scene| scene.arrive(7)),
        (
            "it is to be looked at later",
            |scene| scene.online.look_at(scene.now + 2 * SWEEP_PERIOD, scene.device()),
            |scene| {
                scene.online.ripen(scene.now + 2 * SWEEP_PERIOD);
                scene.arrive(7);
            },
        ),
        ("it is away", |scene| scene.online.leave(scene.device(), 7), |scene| scene.arrive(7)),
        ("it came again", |scene| scene.arrive(8), nothing),
        (
            "its shard is another's",
            |scene| scene.epochs.clear(),
            |scene| scene.epochs = BTreeMap::from([(scene.device().shard(), 1)]),
        ),
        (
            "its shard came back",
            |scene| scene.epochs = BTreeMap::from([(scene.device().shard(), 2)]),
            nothing,
        ),
        ("the store fails", |scene| scene.store.fail_after(0, Fault::Before), |scene| scene.store.mend()),
    ];
    for (what, happens, ends) in happenings {
        let mut scene = Scene::new();
        scene.find();
        happens(&mut scene);
        assert_eq!(scene.find(), 0, "{what}");
        ends(&mut scene);
        assert_eq!(scene.find(), 0, "{what}");
        assert_eq!([scene.find(), scene.find()].iter().sum::<usize>(), 1, "{what}, and then no more");
    }
}

fn hold(scene: &mut Scene) {
    let mut ready = Ready::new(Order::List);
    ready.add(scene.task.clone(), false, scene.now);
    scene.ready.insert(scene.job.no, ready);
}

#[test]
fn another_task_in_its_place_does_not_stand_for_it() {
    let mut scene = Scene::new();
    let mut other = scene.task.clone();
    other.key.device = DeviceId::new(Shard(9), 9);
    let mut ready = Ready::new(Order::List);
    ready.add(other, false, scene.now);
    scene.ready.insert(scene.job.no, ready);
    assert_eq!([0; 3].map(|_| scene.find()), [0, 0, 1]);
}

#[test]
fn looks_are_a_sweep_apart() {
    let mut scene = Scene::new();
    scene.find();
    for _ in 0..59 {
        assert_eq!(scene.find_after(Duration::from_secs(1)), 0);
    }
    assert_eq!(scene.find_after(Duration::from_secs(1)), 0, "this is the second look");
    assert_eq!(scene.find(), 1);
}

#[test]
fn a_job_that_may_not_push_is_not_looked_at() {
    let Scene { mut job, task, .. } = Scene::new();
    let place = (7, 1);
    let sees = |task: &Task, job: &Job| sight(task, job, place, at(100)).is_some();
    assert!(sees(&task, &job));
    let schedule = |start, finish| Schedule { start, finish };
    for (of, seen) in [
        (schedule(Some(at(100)), Some(at(161))), true),
        (schedule(Some(at(101)), None), false),
        (schedule(None, Some(at(160))), false),
        (schedule(None, Some(at(50))), false),
    ] {
        let mut job = job.clone();
        job.new.schedule = of;
        assert_eq!(sees(&task, &job), seen, "{of:?}");
    }
    for status in [JobStatus::Planned, JobStatus::Paused, JobStatus::Completed, JobStatus::Canceled] {
        assert!(!sees(&task, &Job { status, ..job.clone() }));
    }
    assert!(!sees(&task, &Job { canceling: Some((1, CancelCause::Operator)), ..job.clone() }));
    job.new.kind = JobKind::Dynamic;
    assert!(sees(&Task { notices: 8, ..task.clone() }, &job));
    assert!(!sees(&Task { notices: 9, ..task.clone() }, &job));
    job.new.policy.need_push = false;
    assert!(!sees(&task, &job));
}

#[test]
fn samples_go_over_all_who_are_online_and_take_the_suspects_along() {
    let (mut online, mut forgotten) = (Online::default(), Forgotten::default());
    let (epochs, ready) = (BTreeMap::from([(Shard(1), 1)]), BTreeMap::new());
    for n in 0..2_500 {
        let device = DeviceId::new(Shard(1), n);
        online.arrive(device, 7);
        online.looked_at(device, &BTreeSet::new());
    }
    let hands = Hands { epochs: &epochs, online: &online, ready: &ready };
    let firsts = |forgotten: &mut Forgotten| {
        let sample = forgotten.sample(&hands);
        assert!(sample.len() <= BATCH_MAX);
        (sample.keys().next().unwrap().to_owned(), sample.len())
    };
    let device = |n| DeviceId::new(Shard(1), n);
    assert_eq!(firsts(&mut forgotten), (device(0), 1_000));
    assert_eq!(firsts(&mut forgotten), (device(1_000), 1_000));
    assert_eq!(firsts(&mut forgotten), (device(2_000), 500));
    assert_eq!(firsts(&mut forgotten), (device(0), 1_000));
    forgotten.note(vec![(task(5).key, seen(&task(5)))]);
    assert_eq!(firsts(&mut forgotten), (device(5), 1_000));
    assert_eq!(forgotten.after, Some(device(1_998)));
    forgotten.note((0..1_000).map(|seq| (task(seq).key, seen(&task(seq)))).collect());
    assert_eq!(firsts(&mut forgotten), (device(0), 1_000));
    assert_eq!(forgotten.after, Some(device(1_998)), "there was no room");
}
