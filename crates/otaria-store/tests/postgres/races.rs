//! Writers of jobs and tasks that meet: each test tells what must hold whoever comes first.

use std::time::Duration;

use futures_util::future::{join, join_all};
use otaria_core::ids::DeviceId;
use otaria_core::job::{CancelFlags, JobStatus, OverwriteMode};
use otaria_core::shard::Shard;
use otaria_core::task::{CancelCause, TaskState, TaskStatus};
use otaria_ports::store::contract::world::{World, at, claim, new_job, slice, state, to};
use otaria_ports::store::{
    Job, JobMove, JobTurn, Jobs, Leases, OwnedShards, Slice, Store, StoreError, Task, TaskChange, Tasks,
};
use otaria_store::PostgresStore;
use sqlx::{Connection, PgConnection};

use crate::server::{Database, block_on, with_database};

async fn number(database: &Database, statement: &'static str) -> i64 {
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let number = sqlx::query_scalar(statement).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    number
}

/// Deadlocks that the server resolved, once everybody has said what he saw.
async fn deadlocks(database: &Database, stores: impl IntoIterator<Item = PostgresStore>) -> i64 {
    for store in stores {
        store.close().await;
    }
    number(database, "select deadlocks from pg_stat_database where datname = current_database()").await
}

/// Expands a job in slices of 20, from the back or from the front.
async fn expand(store: &dyn Store, job: &Job, devices: &[DeviceId], backwards: bool) {
    let mut parts: Vec<&[DeviceId]> = devices.chunks(20).collect();
    if backwards {
        parts.reverse();
    }
    for (step, part) in (0..).zip(&parts) {
        let complete = usize::try_from(step).unwrap() + 1 == parts.len();
        let slice = Slice { complete, ..slice(job, step, part) };
        store.expand(&slice, at(1)).await.unwrap();
    }
}

/// Two jobs of which one wants the device for itself and one a module of it: no unique key knows of that.
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn two_expansions_that_meet_open_one_task_of_a_device() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let camera = world.firmware_of("camera").await;
            let devices = world.devices(0..200).await;
            let mut all = Vec::new();
            for round in 0..6 {
                let alone = world.make(&new_job(&world.firmware, &format!("alone{round}"))).await;
                let mut create = new_job(&camera, &format!("beside{round}"));
                create.new.policy.multi_module = true;
                if round % 2 == 1 {
                    create.new.policy.overwrite = OverwriteMode::Replace;
                }
                let beside = world.make(&create).await;
                let backwards = round % 3 == 2;
                join(
                    expand(&stores[0], &alone, &devices, backwards),
                    expand(&stores[1], &beside, &devices, false),
                )
                .await;
                let twice = "select count(*) from (select from task where open
                              group by device_id having count(*) > 1) t";
                assert_eq!(number(database, twice).await, 0, "round {round}");
                assert_eq!(number(database, "select count(*) from task where open").await, 200);
                all.extend([alone, beside]);
                // The next round begins on free devices.
                for job in &all {
                    end_all(&world, job).await;
                }
            }
            for job in &all {
                world.check(job).await;
            }
            assert_eq!(deadlocks(database, stores).await, 0);
        });
    });
}

/// Ends the open tasks of a job.
async fn end_all(world: &World<'_>, job: &Job) {
    let open = world.tasks(job).await.into_iter().filter(|task| task.state.status().is_open());
    let end: Vec<TaskChange> = open.map(|task| to(&task, TaskState::Succeeded { attempts: 0 })).collect();
    assert!(world.store.settle(&end, at(2)).await.unwrap().into_iter().all(|written| written));
}

async fn own(store: &dyn Store, now: i64) -> OwnedShards {
    let member = store.join(at(now), Duration::from_secs(10)).await.unwrap();
    let shards: Vec<Shard> = Shard::all().collect();
    let taken = store.take_shards(member, &shards, at(now)).await.unwrap();
    OwnedShards { member, epochs: taken.iter().map(|lease| (lease.shard, lease.epoch)).collect() }
}

/// Claims tasks in small batches; how many were written.
async fn claim_all(store: &dyn Store, owner: &OwnedShards, tasks: &[Task], now: i64) -> usize {
    let mut written = 0;
    for batch in tasks.chunks(4) {
        let claims: Vec<TaskChange> = batch.iter().map(|task| claim(task, at(now))).collect();
        written += store.claim(owner, &claims, at(now)).await.unwrap().into_iter().filter(|w| *w).count();
    }
    written
}

/// From the moment in which a take-over is answered, the one before writes nothing (I13).
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn nothing_is_claimed_behind_a_take_over() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let devices = world.devices(0..200).await;
            let (mut before, mut refused) = (0, 0);
            for round in 0..12 {
                let now = round * 100;
                let job = world.job(&format!("job{round}"), &devices).await;
                let tasks = world.tasks(&job).await;
                let owner = own(&stores[0], now).await;
                assert_eq!(owner.epochs.len(), 256);
                // Four at once, as a dispatcher has batches of several jobs on their way.
                let claims =
                    join_all(tasks.chunks(50).map(|part| claim_all(&stores[0], &owner, part, now + 1)));
                let take_over = async {
                    tokio::time::sleep(Duration::from_millis(u64::try_from(round).unwrap() * 2)).await;
                    let new = own(&stores[1], now + 50).await;
                    (new.epochs.len(), world.count(&job, TaskStatus::Notified).await)
                };
                let (written, (taken, claimed)) = join(claims, take_over).await;
                assert_eq!(taken, 256);
                let written: usize = written.into_iter().sum();
                assert_eq!(
                    written as u64, claimed,
                    "round {round}: claimed after the take-over was answered"
                );
                before += written;
                refused += tasks.len() - written;
                world.check(&job).await;
                end_all(&world, &job).await;
            }
            assert!(before > 0 && refused > 0, "{before} before, {refused} after: nothing met");
        });
    });
}

/// Of two who ask for a shard, one gets it: also when one of them joined after the other's statement began, which
/// does not see it and would take a shard of a living member for free.
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_shard_is_taken_by_one_of_those_who_ask_at_once() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let (shards, ttl) = ([Shard(0), Shard(7)], Duration::from_secs(60));
            let gone = stores[0].join(at(0), ttl).await.unwrap();
            stores[0].take_shards(gone, &shards, at(0)).await.unwrap();
            stores[0].leave(gone).await.unwrap();
            let first = stores[0].join(at(1), ttl).await.unwrap();

            // The first one comes as far as the first shard.
            let mut conn = PgConnection::connect(&database.url).await.unwrap();
            let mut held = conn.begin().await.unwrap();
            let hold = sqlx::query("select 1 from shard_lease where shard = 0 for update");
            hold.execute(&mut *held).await.unwrap();
            let waiting = stores[0].take_shards(first, &shards, at(1));
            let meanwhile = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let second = stores[1].join(at(1), ttl).await.unwrap();
                let release = async {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    held.commit().await.unwrap();
                };
                join(stores[1].take_shards(second, &shards[1..], at(1)), release).await.0.unwrap()
            };
            let (first, second) = join(waiting, meanwhile).await;
            let taken = [first.unwrap(), second].concat();
            let mut once: Vec<Shard> = taken.iter().map(|lease| lease.shard).collect();
            once.sort_unstable();
            assert_eq!(once, shards);
            assert_eq!(stores[0].shard_leases(at(1)).await.unwrap().len(), 2);
        });
    });
}

/// From the moment in which a cancellation is answered, nothing of the job is claimed (I5).
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn nothing_is_claimed_behind_a_cancellation() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let devices = world.devices(0..200).await;
            let (mut before, mut refused) = (0, 0);
            for round in 0..12 {
                let now = round * 100;
                let job = world.job(&format!("job{round}"), &devices).await;
                let tasks = world.tasks(&job).await;
                let owner = own(&stores[0], now).await;
                let claims =
                    join_all(tasks.chunks(50).map(|part| claim_all(&stores[0], &owner, part, now + 1)));
                let queued = CancelFlags { queued: true, ..CancelFlags::default() };
                let cancel = async {
                    tokio::time::sleep(Duration::from_millis(u64::try_from(round).unwrap() * 2)).await;
                    let store = &stores[1];
                    let cause = CancelCause::Operator;
                    let asked = store.request_cancel(job.no, queued.mask(), cause, at(now + 2)).await;
                    let claimed = world.count(&job, TaskStatus::Notified).await;
                    while !store.sweep_cancel(job.no, 30, at(now + 3)).await.unwrap().done {}
                    assert!(asked.unwrap().canceling.is_some());
                    claimed
                };
                let (written, claimed) = join(claims, cancel).await;
                let written: usize = written.into_iter().sum();
                assert_eq!(written as u64, claimed, "round {round}: claimed after the cancellation");
                let canceled = world.count(&job, TaskStatus::Canceled).await;
                assert_eq!(canceled as usize, tasks.len() - written);
                before += written;
                refused += tasks.len() - written;
                world.check(&job).await;
                end_all(&world, &job).await;
            }
            assert!(before > 0 && refused > 0, "{before} before, {refused} after: nothing met");
        });
    });
}

/// A job is not completed while a task of it is opened again, nor a task opened in a job that was (I22).
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_job_is_completed_or_a_task_of_it_opened_again() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let devices = world.devices(0..4).await;
            let (mut completed, mut reopened) = (0, 0);
            for round in 0..40_u64 {
                let job = world.job(&format!("job{round}"), &devices).await;
                for device in &devices {
                    world.put_status(&job, *device, TaskStatus::Failed, at(1)).await;
                }
                let tasks = world.tasks(&job).await;
                let done = JobMove {
                    job: job.no,
                    from: JobStatus::InProgress,
                    to: JobStatus::Completed,
                    only_if_done: true,
                    fence: false,
                    firmware: None,
                };
                let again: Vec<TaskChange> = tasks.iter().map(|task| to(task, TaskState::Queued)).collect();
                let turn = JobTurn { job: job.no, from: JobStatus::InProgress, to: JobStatus::InProgress };
                // Sometimes one is clearly first, mostly they meet.
                let lead = Duration::from_micros([0, 400, 1_200, 50_000][round as usize / 2 % 4]);
                let leads = if round % 2 == 0 { [lead, Duration::ZERO] } else { [Duration::ZERO, lead] };
                let complete = async {
                    tokio::time::sleep(leads[0]).await;
                    stores[1].move_job(&done, at(2)).await.unwrap()
                };
                let order = [turn];
                let reopen = async {
                    tokio::time::sleep(leads[1]).await;
                    stores[0].settle_all(&order, &again, at(2)).await
                };
                let (moved, ordered) = join(complete, reopen).await;
                let open = world.count(&job, TaskStatus::Queued).await;
                let status = world.reread(&job).await.status;
                match ordered {
                    Ok(refused) => {
                        assert_eq!((moved, status, open), (false, JobStatus::InProgress, 4), "{refused:?}");
                        reopened += 1;
                    }
                    Err(StoreError::Conflict { what: "job" }) => {
                        assert_eq!((moved, status, open), (true, JobStatus::Completed, 0));
                        completed += 1;
                    }
                    Err(error) => panic!("{error:?}"),
                }
                world.check(&job).await;
                end_all(&world, &job).await;
            }
            assert!(completed > 0 && reopened > 0, "{completed} completed, {reopened} opened again");
        });
    });
}

/// Of many who write the same tasks in any order each task is written by one, and nobody blocks another.
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn of_many_who_write_a_task_one_does() {
    with_database(|database| {
        block_on(async {
            let stores = [database.open_silent().await, database.open_silent().await];
            let world = World::new(&stores[0]).await;
            let devices = world.devices(0..120).await;
            let jobs = [world.job("job1", &devices[..60]).await, world.job("job2", &devices[60..]).await];
            for round in 0..10_i64 {
                let mut tasks = Vec::new();
                for job in &jobs {
                    tasks.extend(world.tasks(job).await);
                }
                let written = join_all((0..6).map(|writer| {
                    let mut changes: Vec<TaskChange> = tasks
                        .iter()
                        .map(|task| to(task, state(TaskStatus::InProgress, at(round * 10))))
                        .collect();
                    changes.rotate_left(writer * 20);
                    if writer % 2 == 1 {
                        changes.reverse();
                    }
                    let store = &stores[writer % 2];
                    async move {
                        let taken = store.take_reports(&[], &changes, at(round * 10)).await.unwrap();
                        taken.written.into_iter().filter(|written| *written).count()
                    }
                }));
                assert_eq!(written.await.into_iter().sum::<usize>(), tasks.len(), "round {round}");
                for job in &jobs {
                    world.check(job).await;
                }
            }
            assert_eq!(deadlocks(database, stores).await, 0);
        });
    });
}

/// However unevenly deadlines fall on shards, the oldest come first and no more wait behind a short answer.
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn a_shard_with_most_of_the_deadlines_is_not_cut_short() {
    with_database(|database| {
        block_on(async {
            let store = database.open_silent().await;
            let world = World::new(&store).await;
            let devices = world.devices(0..400).await;
            let job = world.job("job1", &devices).await;
            let tasks = world.tasks(&job).await;
            let changes: Vec<TaskChange> = (0..)
                .zip(&tasks)
                .map(|(n, task)| to(task, state(TaskStatus::InProgress, at(n * 7 % 401))))
                .collect();
            store.settle(&changes, at(0)).await.unwrap();
            // All of them into one shard.
            let mut conn = PgConnection::connect(&database.url).await.unwrap();
            sqlx::query("update task_due set shard = 7 where due_at % 7000 <> 0")
                .execute(&mut conn)
                .await
                .unwrap();
            conn.close().await.unwrap();
            let shards: Vec<Shard> = Shard::all().collect();
            let mut deadlines: Vec<_> = changes.iter().filter_map(|change| change.to.due_at()).collect();
            deadlines.sort_unstable();
            for limit in [1, 10, 100, 300, 400, 1_000] {
                let due = store.due(&shards, at(10_000), limit).await.unwrap();
                let found: Vec<_> = due.iter().filter_map(|task| task.state.due_at()).collect();
                assert_eq!(found, deadlines[..limit.min(400)], "at most {limit}");
            }
        });
    });
}
