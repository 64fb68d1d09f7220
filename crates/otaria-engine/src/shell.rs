//! What the loops and commands of one process share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use otaria_core::ids::JobNo;
use otaria_ports::bell::Bell;
use otaria_ports::bus::Signal;

use crate::book::JobBook;
use crate::deps::Deps;
use crate::hints::Hints;
use crate::offers::Offers;
use crate::ownership::Ownership;
use crate::streams::Streams;

/// Ports, and the small memory beside them. Everything in here can be lost at any moment.
pub struct Shell {
    /// The ports.
    pub deps: Deps,
    /// Jobs as they were read last.
    pub book: JobBook,
    /// What jobs offer.
    pub offers: Offers,
    /// Who reads packages over MQTT.
    pub(crate) streams: Streams,
    /// Jobs that want to be expanded.
    pub expand_hints: Hints,
    /// Jobs that may begin, end, or are being cancelled.
    pub close_hints: Hints,
    /// How often something that others told may have been lost.
    pub(crate) losses: AtomicU64,
}

impl Shell {
    /// Over these ports.
    #[must_use]
    pub fn new(deps: Deps) -> Arc<Self> {
        let offers = Offers::new(deps.link_key.clone(), Arc::clone(&deps.download_base));
        Arc::new(Self {
            deps,
            book: JobBook::default(),
            offers,
            streams: Streams::default(),
            expand_hints: Hints::new(Arc::new(Bell::default())),
            close_hints: Hints::new(Arc::new(Bell::default())),
            losses: AtomicU64::new(0),
        })
    }

    /// Those of the jobs that this process carries; the others' carriers are told.
    pub(crate) fn pass_on(&self, jobs: Vec<JobNo>, owned: &Ownership) -> Vec<JobNo> {
        let (ours, theirs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| owned.carries(*job));
        theirs.into_iter().for_each(|job| self.deps.bus.tell(Signal::JobWanted(job)));
        ours
    }

    /// Tells the carriers of jobs for which hints were left here: in a process that carries none.
    pub fn pass_on_hints(&self) {
        let jobs: BTreeSet<JobNo> =
            self.expand_hints.take().into_iter().chain(self.close_hints.take()).collect();
        jobs.into_iter().for_each(|job| self.deps.bus.tell(Signal::JobWanted(job)));
    }

    /// Forgets what was read of a job.
    pub(crate) fn forget(&self, job: JobNo) {
        self.book.forget(job);
        self.streams.forget(job);
    }

    /// Forgets what was read of all jobs, and has them surveyed: something that others told was lost.
    pub(crate) fn forget_all(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        self.book.forget_all();
        self.streams.forget_all();
    }

    /// Takes what others tell, in a process that has no dispatcher to do it.
    pub fn hear(&self) {
        for signal in self.deps.bus.drain(usize::MAX) {
            match signal {
                Signal::JobChanged(job) | Signal::JobOpened(job) => {
                    self.forget(job);
                }
                Signal::Missed => self.forget_all(),
                Signal::TasksReady { .. } | Signal::JobWanted(_) => {}
            }
        }
    }

    /// Makes everybody read a job again that may deliver now and could not before.
    pub fn job_opened(&self, job: JobNo) {
        self.forget(job);
        self.deps.bus.tell(Signal::JobOpened(job));
    }

    /// Makes everybody read a job again.
    pub fn job_changed(&self, job: JobNo) {
        self.forget(job);
        self.deps.bus.tell(Signal::JobChanged(job));
    }
}
