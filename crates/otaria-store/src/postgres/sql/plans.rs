//! Holds every statement to its indexes.
//!
//! The planner is asked with the session's settings, on empty tables and without knowing the sets: the worst that
//! it may have to choose from. No step may walk a table that grows with the fleet, nor the whole of an index of
//! it.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::*;
use crate::postgres::SESSION;
use crate::sql as shared;

/// What grows with the fleet, the jobs or the requests.
const LARGE: &[&str] = &[
    "device",
    "device_module",
    "device_gone",
    "group_member",
    "task",
    "job_skip",
    "job_reject",
    "job_past",
    "nonce",
    "apply",
    "upload",
];

/// All that meet such a table.
const STATEMENTS: &[&str] = &[
    bulk::OF_DEVICES,
    deletion::EXPIRE_UPLOADS,
    deletion::FIRMWARE,
    deletion::GONE,
    deletion::HIDE_FIRMWARE,
    deletion::OPEN_TASKS,
    deletion::PRODUCT_OF_DEVICE,
    deletion::RELEASE_UPLOADS,
    devices::AUTH,
    devices::CONNECTED,
    devices::DEVICES_BY_ID,
    devices::NAMES,
    devices::RESOLVE,
    devices::SCAN,
    devices::TAKEN_NAMES,
    devices::VERSIONS,
    expand::FORGET_SKIPPED,
    expand::OPEN,
    expand::REJECT,
    expand::SEEN,
    expand::SKIP,
    groups::ACTIVE,
    groups::HOLD_DEVICES,
    groups::LEAVE,
    groups::LEAVING,
    groups::SCAN,
    groups::STANDING,
    groups::TAKE,
    jobs::COUNT_OF_DEVICE,
    jobs::COUNT_TASKS,
    jobs::OF_DEVICE,
    jobs::REJECTED,
    jobs::TO_CANCEL,
    part::REMEMBER,
    part::SCAN,
    retention::REJECTS,
    retention::SKIPS_LEFT,
    retention::PAST_LEFT,
    retention::TASKS,
    tasks::BY_ID,
    tasks::CANCEL,
    tasks::DUE,
    tasks::ENDED,
    tasks::ENDED_OFFERS,
    tasks::LOCK_OPEN,
    tasks::LOOKED,
    tasks::MOVE,
    tasks::NEXT_DUE,
    tasks::OPEN,
    tasks::OPEN_BESIDE,
    tasks::PAGE,
    tasks::PAGE_OF,
    tasks::STAND,
    versions::FIRST,
    versions::KEPT,
    versions::REPLACE,
    shared::applies::PURGE,
    shared::deletion::DEVICE,
    shared::deletion::FORGET_VERSIONS,
    shared::devices::DEVICE,
    shared::devices::DEVICES,
    shared::firmwares::FIRMWARE,
    shared::firmwares::UPLOAD,
    shared::groups::DEVICES,
    shared::groups::OF_DEVICE,
    shared::nonces::FORGET,
    shared::part::FORGET_PAST,
    shared::part::JOB,
    shared::part::VERSION_OF,
];

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test runs it"]
fn every_statement_rides_on_its_index() {
    let server = std::env::var("OTARIA_TEST_POSTGRES").expect("OTARIA_TEST_POSTGRES: the server's address");
    let (address, _) = server.rsplit_once('/').unwrap();
    let name = format!("otaria_plans_{}", std::process::id());
    let url = format!("{address}/{name}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wrong = runtime.block_on(async {
        by_hand(&server, format!("create database {name}")).await;
        crate::postgres::migrate(&url).await.unwrap();
        let mut conn = PgConnection::connect(&url).await.unwrap();
        let settings =
            SESSION.iter().map(|(name, value)| format!("set {name} = {value};")).collect::<String>();
        let settings = format!("{settings} set plan_cache_mode = force_generic_plan");
        raw_sql(AssertSqlSafe(settings)).execute(&mut conn).await.unwrap();
        let mut wrong = Vec::new();
        for statement in STATEMENTS {
            let plan = plan(&mut conn, statement).await;
            if let Some(step) = plan.iter().find_map(|step| walks(step)) {
                wrong.push(format!("{step}\nin {statement}\n{}", plan.concat()));
            }
        }
        conn.close().await.unwrap();
        by_hand(&server, format!("drop database {name} with (force)")).await;
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

async fn by_hand(url: &str, statement: String) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// The steps of a plan, each with the lines that belong to it.
async fn plan(conn: &mut PgConnection, statement: &str) -> Vec<String> {
    let binds = (1..).take_while(|n| statement.contains(&format!("${n}"))).count();
    let nulls = if binds == 0 { String::new() } else { format!("({})", vec!["null"; binds].join(", ")) };
    let prepare = format!("prepare p as {statement}");
    raw_sql(AssertSqlSafe(prepare)).execute(&mut *conn).await.unwrap_or_else(|e| panic!("{e}: {statement}"));
    let explain = AssertSqlSafe(format!("explain (costs off) execute p{nulls}"));
    let lines = raw_sql(explain).fetch_all(&mut *conn).await.unwrap();
    raw_sql("deallocate p").execute(conn).await.unwrap();
    let mut steps: Vec<String> = Vec::new();
    for line in &lines {
        let line: String = line.get(0);
        match steps.last_mut() {
            Some(step) if !line.contains("->") => *step += &format!("{line}\n"),
            _ => steps.push(format!("{line}\n")),
        }
    }
    steps
}

/// The step's first line, if it walks a large table.
fn walks(step: &str) -> Option<&str> {
    let first = step.lines().next()?;
    // Then it is the set that is looked through for each row of the table.
    if step.contains("Join Filter") && !first.contains("Left Join") {
        return Some(first);
    }
    let table = first.split_once(" on ")?.1.split(' ').next()?;
    let is_walk = first.contains("Seq Scan") || (first.contains("Scan") && !step.contains(" Cond: "));
    (LARGE.contains(&table) && is_walk).then_some(first)
}
