//! What the loops know of jobs: read once, forgotten when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otaria_core::ids::JobNo;
use otaria_core::task::{TaskPolicy, TaskStatus};
use otaria_ports::store::{Firmware, Job, Store, StoreError};

/// What is known of jobs, and which are to be read.
struct Found {
    facts: BTreeMap<JobNo, Arc<JobFacts>>,
    missing: Vec<JobNo>,
    /// How often something had been forgotten when this was looked up.
    forgotten: u64,
}

/// A job with its package and what follows from both.
#[derive(Debug)]
pub struct JobFacts {
    /// The job as it was read.
    pub job: Job,
    /// Its package.
    pub firmware: Firmware,
    /// What it says about each task.
    pub policy: TaskPolicy,
}

impl JobFacts {
    /// Whether tasks in this status are being cancelled.
    #[must_use]
    pub fn is_canceling(&self, status: TaskStatus) -> bool {
        self.job.canceling.is_some_and(|(mask, _)| mask & (1 << status.code()) != 0)
    }
}

/// Jobs kept at most; beyond that those with the smallest numbers go and are read again when needed.
const KEPT: usize = 4_096;

/// A cache of jobs. What it says about status and fence may be outdated by a moment: the store checks
/// both again when it matters.
///
/// Invariant: what was read before a job was forgotten is not kept after it. Otherwise a reader that was
/// under way while the job changed would leave the old facts here for good.
#[derive(Debug, Default)]
pub struct JobBook(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    known: BTreeMap<JobNo, Arc<JobFacts>>,
    /// How often something was forgotten.
    forgotten: u64,
}

impl JobBook {
    /// The jobs asked for, those that exist.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn get(
        &self,
        store: &dyn Store,
        jobs: &BTreeSet<JobNo>,
    ) -> Result<BTreeMap<JobNo, Arc<JobFacts>>, StoreError> {
        let Found { mut facts, missing, forgotten } = self.find(jobs);
        if missing.is_empty() {
            return Ok(facts);
        }
        for job in store.jobs_by_no(&missing).await? {
            let Some(firmware) = store.firmware_by_no(job.firmware).await? else {
                let reason = format!("job {} names firmware {}, which is not there", job.no, job.firmware);
                return Err(StoreError::Corrupt { table: "job", reason });
            };
            let policy = job.new.policy.for_tasks(firmware.new.dest_version.clone());
            facts.insert(job.no, Arc::new(JobFacts { job, firmware, policy }));
        }
        self.keep(&facts, forgotten);
        Ok(facts)
    }

    fn find(&self, jobs: &BTreeSet<JobNo>) -> Found {
        let pages = self.lock();
        let mut found = Found { facts: BTreeMap::new(), missing: Vec::new(), forgotten: pages.forgotten };
        for no in jobs {
            match pages.known.get(no) {
                Some(facts) => drop(found.facts.insert(*no, Arc::clone(facts))),
                None => found.missing.push(*no),
            }
        }
        found
    }

    /// Keeps what was read, unless something was forgotten since then.
    fn keep(&self, facts: &BTreeMap<JobNo, Arc<JobFacts>>, forgotten: u64) {
        let mut pages = self.lock();
        if pages.forgotten != forgotten {
            return;
        }
        pages.known.extend(facts.iter().map(|(no, facts)| (*no, Arc::clone(facts))));
        while pages.known.len() > KEPT {
            pages.known.pop_first();
        }
    }

    /// One job.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn one(&self, store: &dyn Store, job: JobNo) -> Result<Option<Arc<JobFacts>>, StoreError> {
        Ok(self.get(store, &BTreeSet::from([job])).await?.remove(&job))
    }

    /// Forgets a job that changed.
    pub fn forget(&self, job: JobNo) {
        let mut pages = self.lock();
        pages.forgotten += 1;
        pages.known.remove(&job);
    }

    /// Forgets all jobs: whatever change nobody told of is seen then.
    pub fn forget_all(&self) {
        let mut pages = self.lock();
        pages.forgotten += 1;
        pages.known.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // A panic elsewhere cannot leave the pages half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use otaria_ports::events::NoEvents;
    use otaria_ports::store::contract::world::World;
    use otaria_ports::store::memory::MemoryStore;

    use super::*;

    #[test]
    fn what_was_read_before_a_job_changed_is_not_kept_after_it() {
        let store = MemoryStore::new(Arc::new(NoEvents));
        let world = async {
            let world = World::new(&store).await;
            world.job("job1", &[]).await
        };
        let job = world.now_or_never().unwrap().no;
        let book = JobBook::default();
        let asked = BTreeSet::from([job]);
        let read = || book.get(&store, &asked).now_or_never().unwrap().unwrap();

        // A reader is under way while the job changes.
        let before = book.find(&asked);
        let facts = read();
        book.forget(job);
        book.keep(&facts, before.forgotten);
        assert_eq!(book.find(&asked).missing, [job]);

        assert!(Arc::ptr_eq(&read()[&job], &read()[&job]), "otherwise it is kept");
        book.forget_all();
        assert_eq!(book.find(&asked).missing, [job]);
    }
}
