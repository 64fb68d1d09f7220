//! Kept counts of a job's tasks by status, and of its notices.
//!
//! A transaction adds to rows of its own backend's slot, so that writers do not wait for each other, and a
//! batch over all shards costs a few rows instead of hundreds. What is read is the sum over the slots.
//!
//! Invariant (I9): they move in the transaction of the tasks that they count, and last: a lock on them is held
//! for the commit only. In the order of the key, so that two writers who share a slot cannot block each other.

use std::collections::BTreeMap;

use otaria_core::ids::JobNo;
use otaria_core::task::TaskStatus;
use otaria_ports::store::StoreError;
use sqlx::query;

use super::PgTx;
use super::sql::jobs as sql;
use crate::counters::NOTICES;
use crate::errors::failed;

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

    pub(crate) async fn write(mut self, tx: &mut PgTx<'_>) -> Result<(), StoreError> {
        self.0.retain(|_, n| *n != 0);
        if self.0.is_empty() {
            return Ok(());
        }
        let (mut jobs, mut statuses, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for ((job, status), n) in self.0 {
            jobs.push(job);
            statuses.push(status);
            numbers.push(n);
        }
        let count = query(sql::COUNT).bind(jobs).bind(statuses).bind(numbers);
        count.execute(tx.conn()).await.map(drop).map_err(failed("counting tasks"))
    }
}
