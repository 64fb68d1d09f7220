//! What the loops know of jobs: read once, forgotten when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use otaria_core::ids::JobNo;
use otaria_core::task::TaskPolicy;
use otaria_ports::store::{Firmware, Job, Store, StoreError};

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

/// Jobs kept at most; beyond that those with the smallest numbers go and are read again when needed.
const KEPT: usize = 4_096;

/// A cache of jobs. What it says about status and fence may be outdated by a moment: the store checks
/// both again when it matters.
#[derive(Debug, Default)]
pub struct JobBook(Mutex<BTreeMap<JobNo, Arc<JobFacts>>>);

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
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for no in jobs {
                match known.get(no) {
                    Some(facts) => drop(found.insert(*no, Arc::clone(facts))),
                    None => missing.push(*no),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        for job in store.jobs_by_no(&missing).await? {
            let Some(firmware) = store.firmware_by_no(job.firmware).await? else {
                let reason = format!("job {} names firmware {}, which is not there", job.no, job.firmware);
                return Err(StoreError::Corrupt { table: "job", reason });
            };
            let policy = job.new.policy.for_tasks(firmware.new.dest_version.clone());
            found.insert(job.no, Arc::new(JobFacts { job, firmware, policy }));
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(found.iter().map(|(no, facts)| (*no, Arc::clone(facts))));
        while known.len() > KEPT {
            known.pop_first();
        }
        Ok(found)
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }
}
