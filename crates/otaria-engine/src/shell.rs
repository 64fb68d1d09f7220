//! What the loops and commands of one process share.

use std::sync::Arc;

use otaria_core::ids::JobNo;
use otaria_ports::bell::Bell;
use otaria_ports::bus::Signal;

use crate::book::JobBook;
use crate::deps::Deps;
use crate::hints::Hints;
use crate::offers::Offers;
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
        })
    }

    /// Makes everybody read a job again that may deliver now and could not before.
    pub fn job_opened(&self, job: JobNo) {
        self.book.forget(job);
        self.streams.forget(job);
        self.deps.bus.tell(Signal::JobOpened(job));
    }

    /// Makes everybody read a job again.
    pub fn job_changed(&self, job: JobNo) {
        self.book.forget(job);
        self.streams.forget(job);
        self.deps.bus.tell(Signal::JobChanged(job));
    }
}
