//! What only a file can do: come back.

use std::path::Path;
use std::sync::Arc;

use otaria_core::ids::{AccountNo, DEFAULT_ACCOUNT, JobId};
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::events::NoEvents;
use otaria_ports::nonces::Nonces;
use otaria_ports::store::contract::world::{World, at, claim, device_name, new_device, new_job};
use otaria_ports::store::{Accounts, Devices, Jobs, Leases, StoreError, TaskFilter, Tasks};
use otaria_store::{SqliteOptions, SqliteStore};
use sqlx::{Connection, SqliteConnection};

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default(), Arc::new(NoEvents)).await.unwrap()
}

async fn by_hand(path: &Path, statement: &'static str) {
    let url = format!("sqlite://{}", path.display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[test]
fn a_store_that_is_dropped_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otaria.db");
    let (job, tasks) = block_on(async {
        let store = open(&path).await;
        let world = World::new(&store).await;
        let devices = world.devices(0..50).await;
        let job = world.job("job1", &devices).await;
        let owner = world.own_everything(at(1)).await;
        let claims: Vec<_> = world.tasks(&job).await.iter().take(20).map(|task| claim(task, at(1))).collect();
        assert_eq!(store.claim(&owner, &claims, at(1)).await.unwrap(), [true; 20]);
        (world.reread(&job).await, world.tasks(&job).await)
        // Dropped with all its connections, as in a panic.
    });

    block_on(async {
        let store = open(&path).await;
        assert_eq!(store.job(DEFAULT_ACCOUNT, &job.id).await.unwrap().as_ref(), Some(&job));
        let page = store.list_tasks(job.no, &TaskFilter::default(), 0, 100).await.unwrap();
        assert_eq!(page.tasks.into_iter().map(|view| view.task).collect::<Vec<_>>(), tasks);
        assert_eq!(store.task_counts(job.no).await.unwrap().of(TaskStatus::Notified), 20);
        assert_eq!(store.audit_counts(job.no).await.unwrap(), []);
        let member = store.join(at(2), std::time::Duration::from_secs(1)).await.unwrap();
        assert!(member.0 > 1, "a start is a new member");

        let product = store.product_by_no(job.product).await.unwrap().unwrap();
        let new = new_device(&device_name(50));
        let ids = store.register_devices(&product, &[new], at(3)).await.unwrap();
        assert_eq!(ids[0].unwrap().n(), 51);
        store.close().await;
        assert!(!path.with_extension("db-wal").exists(), "closing moves the log into the file");
    });
}

#[test]
fn a_closed_store_answers_that_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let store = open(&folder.path().join("otaria.db")).await;
        store.close().await;
        store.close().await;
        let reads = store.accounts().await;
        assert!(matches!(reads, Err(StoreError::Unavailable { .. })), "{reads:?}");
        let writes = store.create_account("late", at(0)).await;
        assert!(matches!(writes, Err(StoreError::Unavailable { .. })), "{writes:?}");
    });
}

#[test]
fn work_that_fails_leaves_the_rest_of_its_transaction_alone() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let store = open(&folder.path().join("otaria.db")).await;
        // All are queued before the writer runs, so they share a transaction.
        let names = ["a", "b", "a", "c", "b", "d"];
        let made = futures_util::future::join_all(names.map(|name| store.create_account(name, at(0)))).await;
        let ok: Vec<bool> = made.iter().map(Result::is_ok).collect();
        assert_eq!(ok, [true, true, false, true, false, true]);
        let kept: Vec<String> =
            store.accounts().await.unwrap().into_iter().map(|account| account.name).collect();
        assert_eq!(kept, ["default", "a", "b", "c", "d"]);
    });
}

#[test]
fn a_job_made_in_vain_leaves_nothing_behind_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let store = open(&folder.path().join("otaria.db")).await;
        let world = World::new(&store).await;
        let good = new_job(&world.firmware, "good");
        let bad =
            otaria_ports::store::CreateJob { account: AccountNo(99), ..new_job(&world.firmware, "bad") };
        let both = futures_util::future::join(store.create_job(&bad, at(0)), store.create_job(&good, at(0)));
        let (bad, good) = both.await;
        assert!(matches!(bad, Err(StoreError::NotFound { .. })), "{bad:?}");
        assert!(good.is_ok(), "{good:?}");
        let jobs = store.jobs(DEFAULT_ACCOUNT, otaria_core::ids::JobNo(0), 10).await.unwrap();
        assert_eq!(
            jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>(),
            [JobId::parse("good").unwrap()]
        );
    });
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otaria.db");
    block_on(async {
        open(&path).await.close().await;
        by_hand(&path, "pragma user_version = 999").await;
        let later = SqliteStore::open(&path, SqliteOptions::default(), Arc::new(NoEvents)).await;
        assert!(matches!(later, Err(StoreError::Corrupt { .. })));
    });
}

#[test]
fn a_path_that_cannot_be_opened_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let path = folder.path().join("no/such/folder/otaria.db");
        let nowhere = SqliteStore::open(&path, SqliteOptions::default(), Arc::new(NoEvents)).await;
        assert!(matches!(nowhere, Err(StoreError::Unavailable { .. })));
    });
}

#[test]
fn a_row_that_cannot_be_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otaria.db");
    block_on(async {
        let store = open(&path).await;
        let world = World::new(&store).await;
        let devices = world.devices(0..1).await;
        let job = world.job("job1", &devices).await;
        by_hand(&path, "update task set status = 9").await;
        let read = store.open_tasks(&devices).await;
        assert!(matches!(read, Err(StoreError::Corrupt { table: "task", .. })), "{read:?}");
        let counted = store.audit_counts(job.no).await.unwrap();
        assert_eq!(counted, [(TaskStatus::Queued, 1, 0)]);
    });
}

#[test]
fn a_listing_by_status_looks_at_a_bounded_number_of_tasks() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let store = open(&folder.path().join("otaria.db")).await;
        let world = World::new(&store).await;
        let devices = world.devices(0..15_000).await;
        let job = world.job("job1", &devices).await;
        let last = store.list_tasks(job.no, &TaskFilter::default(), 14_999, 10).await.unwrap();
        world.put(&last.tasks[0].task, otaria_core::task::TaskState::Succeeded { attempts: 0 }, at(1)).await;

        let filter = TaskFilter { status: Some(TaskStatus::Succeeded), devices: Vec::new() };
        let first = store.list_tasks(job.no, &filter, 0, 10).await.unwrap();
        assert_eq!((first.tasks.len(), first.next), (0, Some(10_000)));
        let second = store.list_tasks(job.no, &filter, 10_000, 10).await.unwrap();
        assert_eq!((second.tasks.len(), second.next), (1, None));
    });
}

#[tokio::test]
async fn a_used_nonce_is_known_to_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otaria.db");
    let at = Timestamp::from_millis;
    for (now, is_fresh) in [(0, true), (99, false), (100, true)] {
        let store = SqliteStore::open(&path, SqliteOptions::default(), Arc::new(NoEvents)).await.unwrap();
        let used = store.use_once("key", "nonce", at(now), at(now + 100)).await.unwrap();
        assert_eq!(used, is_fresh, "{now}");
        store.close().await;
    }
}
