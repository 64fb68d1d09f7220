//! A database full of open tasks, and what can be asked of its server.

use otaria_core::ids::DeviceId;
use otaria_store::migrate;
use sqlx::{AssertSqlSafe, Connection, PgConnection, query_scalar, raw_sql};

/// Tasks of a job that waits, about.
const BACKLOG: u64 = 100_000;

/// Makes the schema and the rows, unless they are there; returns the devices of the job that is to be pushed, in
/// their order.
pub(crate) async fn fill(url: &str, tasks: u64, pushed: u64) -> Vec<DeviceId> {
    migrate(url).await.unwrap();
    let mut conn = PgConnection::connect(url).await.unwrap();
    let is_filled: bool = query_scalar("select exists (select from job)").fetch_one(&mut conn).await.unwrap();
    if !is_filled {
        make(&mut conn, tasks, pushed).await;
    }
    let of_last = "select device_id from task where job_no = (select max(no) from job) order by device_id";
    let devices: Vec<i64> = query_scalar(of_last).fetch_all(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    devices.into_iter().map(DeviceId).collect()
}

async fn make(conn: &mut PgConnection, tasks: u64, pushed: u64) {
    let script = include_str!("fill.sql")
        .replace("FLEET", &format!("{tasks}::bigint"))
        .replace("BACKLOG", &BACKLOG.min(tasks).to_string())
        .replace("PUSHED", &pushed.to_string());
    // One at a time: several in one message are one transaction, and a vacuum is in none.
    let script: String =
        script.lines().filter(|line| !line.starts_with("--")).flat_map(|line| [line, "\n"]).collect();
    for statement in script.split(';').filter(|statement| !statement.trim().is_empty()) {
        raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *conn).await.unwrap();
    }
}

/// Seconds of processor time of the server's processes that serve this database.
pub(crate) async fn cpu(url: &str) -> f64 {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let pids = "select pid from pg_stat_activity where application_name = 'otaria'";
    let pids: Vec<i32> = query_scalar(pids).fetch_all(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    pids.into_iter().map(of_process).sum()
}

fn of_process(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The size of the database.
pub(crate) async fn mib(url: &str) -> i64 {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let size = "select pg_database_size(current_database()) / 1048576";
    let mib = query_scalar(size).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    mib
}
