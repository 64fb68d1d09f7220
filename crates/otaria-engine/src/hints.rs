//! A set of jobs that some loop should look at soon.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use otaria_core::ids::JobNo;
use otaria_ports::bell::Bell;

/// Jobs to look at. A lost hint costs time, never a job: every loop also looks at all of them now and then.
#[derive(Debug)]
pub struct Hints {
    jobs: Mutex<BTreeSet<JobNo>>,
    bell: Arc<Bell>,
}

impl Hints {
    /// No job; `bell` rings at every hint.
    #[must_use]
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { jobs: Mutex::default(), bell }
    }

    /// Adds jobs.
    pub fn add(&self, jobs: impl IntoIterator<Item = JobNo>) {
        let mut known = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.extend(jobs);
        let grown = known.len() > before;
        drop(known);
        if grown {
            self.bell.ring();
        }
    }

    /// Takes all of them.
    #[must_use]
    pub fn take(&self) -> Vec<JobNo> {
        let mut known = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *known).into_iter().collect()
    }

    /// The bell that rings when a job is added.
    #[must_use]
    pub const fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}
