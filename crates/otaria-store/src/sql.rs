//! The statements, one constant each, with the index that it rides on.
//!
//! They read by index and write what the caller decided; none restates a state machine. Sets come in as
//! one JSON array ([`crate::text`]); `cross join` fixes the order of a join: from the set to the index.
//! `or fail` spares the copies that SQLite keeps to undo half a statement: work that fails is rolled back as
//! a whole. A test holds the hot ones to their indexes.

pub(crate) mod accounts;
pub(crate) mod applies;
pub(crate) mod bulk;
pub(crate) mod deletion;
pub(crate) mod devices;
pub(crate) mod expand;
pub(crate) mod firmwares;
pub(crate) mod groups;
pub(crate) mod jobs;
pub(crate) mod leases;
pub(crate) mod modules;
pub(crate) mod nonces;
pub(crate) mod part;
pub(crate) mod retention;
pub(crate) mod standing;
pub(crate) mod tasks;
pub(crate) mod versions;

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, Row, SqliteConnection};

    /// Statements that may meet millions of rows, and the only ways in which they touch the large tables.
    const HOT: &[(&str, &[&str])] = &[
        (devices::TAKEN_NAMES, &["SEARCH d USING COVERING INDEX device_name (product_no=? AND name=?)"]),
        (devices::DEVICES, &["SEARCH device USING INDEX device_name (product_no=? AND name>?)"]),
        (devices::VERSIONS, &["SEARCH m USING PRIMARY KEY (device_id=?)"]),
        (devices::AUTH, &["SEARCH d USING INDEX device_name (product_no=? AND name=?)"]),
        (devices::CONNECTED, &["SEARCH device USING INTEGER PRIMARY KEY (rowid=?)"]),
        (
            devices::RESOLVE,
            &[
                "SEARCH d USING COVERING INDEX device_name (product_no=? AND name=?)",
                "SEARCH m USING PRIMARY KEY (device_id=? AND module=?) LEFT-JOIN",
            ],
        ),
        (
            devices::SCAN,
            &[
                "SEARCH device USING COVERING INDEX device_name (product_no=? AND name>?)",
                "SEARCH m USING PRIMARY KEY (device_id=? AND module=?) LEFT-JOIN",
            ],
        ),
        (devices::NAMES, &["SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"]),
        (
            expand::SEEN,
            &[
                "SEARCH t USING COVERING INDEX task_device (device_id=? AND <expr>=?)",
                "SEARCH k USING PRIMARY KEY (job_no=? AND device_id=?)",
            ],
        ),
        (expand::OPEN, &["SEARCH t USING INDEX task_open (device_id=?)"]),
        (expand::REJECT, &["SEARCH job_reject USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]),
        (
            expand::FORGET_SKIPPED,
            &[
                "SEARCH job_skip USING PRIMARY KEY (job_no=? AND device_id=?)",
                "SEARCH job_skip USING PRIMARY KEY (job_no=?)",
            ],
        ),
        (tasks::OPEN, &["SEARCH t USING INDEX task_open (device_id=?)"]),
        (
            tasks::ENDED_OFFERS,
            &[
                "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH task USING COVERING INDEX task_device (device_id=?)",
            ],
        ),
        (tasks::BY_ID, &["SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"]),
        (tasks::DUE, &["SEARCH t USING INDEX task_due (due_at>? AND due_at<?)"]),
        (tasks::NEXT_DUE, &["SEARCH task USING INDEX task_due (due_at>?)"]),
        (tasks::STAND, &["SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"]),
        (tasks::MOVE, &["SEARCH task USING INTEGER PRIMARY KEY (rowid=?)"]),
        (
            tasks::OPEN_BESIDE,
            &[
                "SEARCH o USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH t USING COVERING INDEX task_open (device_id=?)",
            ],
        ),
        (
            tasks::PAGE,
            &[
                "SEARCH task USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
                "SEARCH d USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
            ],
        ),
        (tasks::LOOKED, &["SEARCH task USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]),
        (
            tasks::PAGE_OF,
            &[
                "SEARCH d USING COVERING INDEX device_name (product_no=? AND name=?)",
                "SEARCH t USING INDEX task_device (device_id=? AND <expr>=? AND rowid>?)",
                // Devices that were deleted since.
                "SEARCH t USING INDEX task_device (device_id=? AND <expr>=? AND rowid>?)",
            ],
        ),
        (jobs::COUNT_TASKS, &["SEARCH task USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]),
        (jobs::TO_CANCEL, &["SEARCH task USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]),
        (jobs::CANCEL_TASKS, &["SEARCH task USING INTEGER PRIMARY KEY (rowid=?)"]),
        (jobs::REJECTED, &["SEARCH job_reject USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]),
        (
            retention::TASKS,
            &[
                "SEARCH task USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH task USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            ],
        ),
    ];

    #[test]
    fn every_hot_statement_rides_on_its_index() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
            for migration in crate::sqlite::MIGRATIONS {
                sqlx::raw_sql(*migration).execute(&mut conn).await.unwrap();
            }
            let tables = ["d ", "t ", "o ", "m ", "k ", "device ", "task ", "job_reject ", "job_skip "];
            for (statement, expected) in HOT {
                let plan = sqlx::AssertSqlSafe(format!("explain query plan {statement}"));
                let plan = sqlx::query(plan).fetch_all(&mut conn).await.unwrap();
                let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
                let is_large = |step: &&String| {
                    step.split_once(' ')
                        .is_some_and(|(_, rest)| tables.iter().any(|table| rest.starts_with(table)))
                };
                let large: Vec<&str> = steps.iter().filter(is_large).map(String::as_str).collect();
                assert_eq!(large, *expected, "{statement}: {steps:?}");
            }
        });
    }
}
