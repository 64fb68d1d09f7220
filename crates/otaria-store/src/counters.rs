//! Kept counts of a job's tasks by status, and of its notices.
//!
//! The table has room for the shard, so that many writers need not meet in one row; here one task writes, and
//! all goes to shard 0: two rows a transaction instead of hundreds.
//!
//! Invariant (I9): they move in the transaction of the tasks that they count, and last.

use std::collections::BTreeMap;
use std::fmt::Write;

use otaria_core::ids::JobNo;
use otaria_core::task::TaskStatus;
use otaria_ports::store::StoreError;
use sqlx::query;

use crate::sql::jobs as sql;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::text;

/// The status under which notices are counted.
pub(crate) const NOTICES: i64 = 7;

/// What a transaction changes in the counts.
#[derive(Default)]
pub(crate) struct Counters(BTreeMap<(i64, i64), i64>);

impl Counters {
    pub(crate) fn add(&mut self, job: JobNo, status: TaskStatus, n: i64) {
        *self.0.entry((job.0, status.code())).or_default() += n;
    }

    pub(crate) fn moved(&mut self, job: JobNo, from: TaskStatus, to: TaskStatus) {
        self.add(job, from, -1);
        self.add(job, to, 1);
    }

    pub(crate) fn notices(&mut self, job: JobNo, n: u32) {
        *self.0.entry((job.0, NOTICES)).or_default() += i64::from(n);
    }

    pub(crate) async fn write(mut self, tx: &mut Tx) -> Result<(), StoreError> {
        self.0.retain(|_, n| *n != 0);
        if self.0.is_empty() {
            return Ok(());
        }
        let moves = text::array(self.0, |out, ((job, status), n)| {
            let _ = write!(out, "[{job},{status},{n}]"); // Writing to a String cannot fail.
        });
        let moved = query(sql::COUNT).bind(moves).execute(&mut tx.conn).await;
        moved.map(drop).map_err(failed("counting tasks"))
    }
}
