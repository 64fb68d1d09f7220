//! A fresh database for each test, on the server of `OTARIA_TEST_POSTGRES`.
//!
//! The schema is made once and copied. The copy's name says what it was made from, so that it is used again by
//! the next run and never by another schema.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use otaria_ports::events::{Events, NoEvents};
use otaria_store::{PostgresClock, PostgresOptions, PostgresStore, migrate};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const SCHEMA: &str = include_str!("../../migrations/postgres/0001_first.sql");

/// A database of one test.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn server() -> String {
    std::env::var("OTARIA_TEST_POSTGRES").expect("OTARIA_TEST_POSTGRES: the server's address")
}

/// The address of a database beside the server's own.
fn beside(name: &str) -> String {
    let server = server();
    let (address, rest) = server.rsplit_once('/').unwrap();
    match rest.split_once('?') {
        Some((_, parameters)) => format!("{address}/{name}?{parameters}"),
        None => format!("{address}/{name}"),
    }
}

pub(crate) async fn by_hand(url: &str, statement: String) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// Reads a number.
pub(crate) async fn number(database: &Database, statement: &'static str) -> i64 {
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let number = sqlx::query_scalar(statement).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    number
}

/// Makes the database that is copied, unless it is there.
fn template() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        SCHEMA.hash(&mut hasher);
        let name = format!("otaria_template_{:016x}", hasher.finish());
        block_on(async {
            let mut conn = PgConnection::connect(&server()).await.unwrap();
            let is_there: bool =
                sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
                    .bind(&name)
                    .fetch_one(&mut conn)
                    .await
                    .unwrap();
            if !is_there {
                let new = format!("otaria_new_{}", std::process::id());
                by_hand(&server(), format!("create database {new}")).await;
                migrate(&beside(&new)).await.unwrap();
                let rename = format!("alter database {new} rename to {name}");
                // Another process may have been faster; then its copy is the same.
                let _ = sqlx::raw_sql(AssertSqlSafe(rename)).execute(&mut conn).await;
                by_hand(&server(), format!("drop database if exists {new}")).await;
            }
            conn.close().await.unwrap();
        });
        name
    })
}

/// Runs a test on a database of its own, and drops that whatever becomes of the test.
pub(crate) fn with_database(test: impl FnOnce(&Database)) {
    with(Some(template()), test);
}

/// The same without a schema.
pub(crate) fn with_empty_database(test: impl FnOnce(&Database)) {
    with(None, test);
}

fn with(template: Option<&str>, test: impl FnOnce(&Database)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("otaria_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let like = template.map(|template| format!(" template {template}")).unwrap_or_default();
    block_on(by_hand(&server(), format!("create database {name}{like}")));
    let database = Database { url: beside(&name), name };
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&database)));
    block_on(by_hand(&server(), format!("drop database {} with (force)", database.name)));
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Options for a test: few connections, and time driven by hand.
pub(crate) fn options() -> PostgresOptions {
    PostgresOptions { writers: 4, readers: 2, clock: PostgresClock::Caller, ..PostgresOptions::default() }
}

impl Database {
    pub(crate) async fn open(&self, events: Arc<dyn Events>) -> PostgresStore {
        PostgresStore::open(&self.url, options(), events).await.unwrap()
    }

    pub(crate) async fn open_silent(&self) -> PostgresStore {
        self.open(Arc::new(NoEvents)).await
    }
}
