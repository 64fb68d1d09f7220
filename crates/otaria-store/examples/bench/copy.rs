//! A database of the measurement's own, and what a bare `COPY` of the same rows costs in it.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, query, query_scalar, raw_sql};

use crate::measure::{Dice, cpu, say};

const COLUMNS: &str = "device_id, job_no, id, created_at, status, open, module, src_version, cause";

pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    server: String,
    conn: PgConnection,
}

impl Database {
    /// Makes it.
    pub(crate) async fn make(server: &str) -> Self {
        let name = format!("otaria_bench_{}", std::process::id());
        let mut conn = PgConnection::connect(server).await.unwrap();
        raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut conn).await.unwrap();
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let conn = PgConnection::connect(&url).await.unwrap();
        Self { url, name, server: server.to_owned(), conn }
    }

    async fn run(&mut self, sql: impl Into<String>) {
        raw_sql(AssertSqlSafe(sql.into())).execute(&mut self.conn).await.unwrap();
    }

    /// Seconds of processor time of the server's processes that serve this database: other work on the machine
    /// does not distort them.
    pub(crate) async fn cpu(&mut self) -> f64 {
        let pids = "select pid from pg_stat_activity where datname = current_database()";
        let pids: Vec<i32> = query_scalar(pids).fetch_all(&mut self.conn).await.unwrap();
        pids.into_iter().map(|pid| cpu(&pid.to_string())).sum()
    }

    /// Lets what was written before cost the next measurement nothing.
    pub(crate) async fn rest(&mut self) {
        self.run("vacuum (analyze)").await;
        self.run("checkpoint").await;
    }

    /// Copies the job's tasks into a table like theirs, which holds the other jobs' tasks already.
    pub(crate) async fn copy(&mut self, job: i64) {
        let read = format!("copy (select {COLUMNS} from task where job_no = {job} order by id) to stdout");
        let mut rows: Vec<String> = {
            use futures_util::TryStreamExt;
            let stream = self.conn.copy_out_raw(&read).await.unwrap();
            let bytes = stream.try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            });
            String::from_utf8(bytes.await.unwrap()).unwrap().lines().map(str::to_owned).collect()
        };
        let options: Vec<String> =
            query_scalar("select unnest(reloptions) from pg_class where relname = 'task'")
                .fetch_all(&mut self.conn)
                .await
                .unwrap();
        for order in ["as it was written", "as the list was", "as it was written"] {
            if order == "as the list was" {
                Dice(11).shuffle(&mut rows);
            } else {
                rows.sort_by_key(|row| row.split('\t').nth(2).unwrap().parse::<i64>().unwrap());
            }
            self.run("drop table if exists raw_task").await;
            let options = options.join(", ");
            self.run(format!("create table raw_task (like task including all) with ({options})")).await;
            self.run(format!("insert into raw_task select * from task where job_no <> {job}")).await;
            self.run("vacuum (analyze) raw_task").await;
            self.run("checkpoint").await;
            let (begun, before) = (Instant::now(), self.cpu().await);
            let into = format!("copy raw_task ({COLUMNS}) from stdin");
            let mut copy = self.conn.copy_in_raw(&into).await.unwrap();
            for part in rows.chunks(1_000) {
                let mut text = part.join("\n");
                text.push('\n');
                copy.send(text.as_bytes()).await.unwrap();
            }
            copy.finish().await.unwrap();
            say(&format!("bare copy of {} tasks, {order}", rows.len()), rows.len(), begun.elapsed());
            println!("  the server's processes: {:.2} s", self.cpu().await - before);
        }
        self.run("drop table raw_task").await;
        self.run("checkpoint").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// What takes how much room.
    pub(crate) async fn sizes(&mut self) {
        let sizes = "select relname::text, pg_relation_size(oid) as size from pg_class
                      where relkind in ('r', 'i') and relnamespace = 'public'::regnamespace
                        and pg_relation_size(oid) > 8 << 20 order by 2 desc";
        for row in query(sizes).fetch_all(&mut self.conn).await.unwrap() {
            let (name, size): (String, i64) = (row.get(0), row.get(1));
            println!("  {name:<30} {:>8.1} MiB", size as f64 / 1_048_576.0);
        }
    }

    /// Drops it.
    pub(crate) async fn forget(self) {
        self.conn.close().await.unwrap();
        let mut conn = PgConnection::connect(&self.server).await.unwrap();
        let drop = format!("drop database {} with (force)", self.name);
        raw_sql(AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
    }
}
