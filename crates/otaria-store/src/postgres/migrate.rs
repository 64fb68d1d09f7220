//! Brings the schema up to date, and says whether it is.

use otaria_ports::store::StoreError;
use sqlx::{AssertSqlSafe, PgConnection, query_scalar, raw_sql};

use crate::errors::failed;

/// In order; the number of those that ran is kept in `otaria_schema`.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/postgres/0001_first.sql")];

pub(super) const DOING: &str = "bringing the schema up to date";

/// Held by who migrates; an arbitrary number of our own.
const LOCK: &str = "select pg_advisory_xact_lock(7316830247231)";

/// The one row says how many migrations ran.
const TABLE: &str = "
    create table if not exists otaria_schema (version bigint not null);
    insert into otaria_schema select 0 where not exists (select 1 from otaria_schema)";

const VERSION: &str = "select version from otaria_schema";

/// Whether there is a schema at all.
const IS_THERE: &str = "select to_regclass('otaria_schema') is not null";

/// Runs what has not run yet; each migration is a transaction.
pub(super) async fn run(conn: &mut PgConnection) -> Result<(), StoreError> {
    let unavailable = failed(DOING);
    for sql in ["begin", LOCK, TABLE, "commit"] {
        raw_sql(sql).execute(&mut *conn).await.map_err(unavailable)?;
    }
    loop {
        for sql in ["begin", LOCK] {
            raw_sql(sql).execute(&mut *conn).await.map_err(unavailable)?;
        }
        let version = version(conn).await?;
        let Some(migration) = MIGRATIONS.get(version) else {
            return raw_sql("commit").execute(conn).await.map(drop).map_err(unavailable);
        };
        let text = format!("{migration}; update otaria_schema set version = {}; commit", version + 1);
        raw_sql(AssertSqlSafe(text)).execute(&mut *conn).await.map_err(unavailable)?;
    }
}

/// Refuses a schema that is not the one that this program knows.
pub(super) async fn check(conn: &mut PgConnection) -> Result<(), StoreError> {
    let is_there: bool =
        query_scalar(IS_THERE).fetch_one(&mut *conn).await.map_err(failed("reading the schema"))?;
    let found = if is_there { version(conn).await? } else { 0 };
    if found == MIGRATIONS.len() {
        return Ok(());
    }
    let known = MIGRATIONS.len();
    Err(wrong(format!(
        "schema {found} is older than this program, which needs {known}: run `otaria migrate`"
    )))
}

/// Migrations that ran.
async fn version(conn: &mut PgConnection) -> Result<usize, StoreError> {
    let version: i64 = query_scalar(VERSION).fetch_one(conn).await.map_err(failed("reading the schema"))?;
    let known = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(wrong(format!("schema {version} is newer than this program, which knows {known}"))),
    }
}

fn wrong(reason: String) -> StoreError {
    StoreError::Corrupt { table: "the whole database", reason }
}
