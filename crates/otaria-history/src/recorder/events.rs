//! What the store publishes, in the order of its commits.

use std::sync::Arc;

use otaria_core::ids::AccountNo;
use otaria_ports::events::{Event, Events, Happened};

use crate::record::Fact;
use crate::writer::{Draft, History, not_after, not_before};

/// Tells everything, and passes on what others want.
pub struct RecordedEvents {
    history: Arc<History>,
    inner: Arc<dyn Events>,
}

impl std::fmt::Debug for RecordedEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedEvents").finish_non_exhaustive()
    }
}

impl RecordedEvents {
    /// Between a store and `inner`.
    #[must_use]
    pub fn new(history: Arc<History>, inner: Arc<dyn Events>) -> Arc<Self> {
        Arc::new(Self { history, inner })
    }
}

impl Events for RecordedEvents {
    fn wanted(&self, _: AccountNo) -> bool {
        true
    }

    fn publish(&self, events: Vec<Event>) {
        let heard = events.iter().filter(|event| self.inner.wanted(event.account));
        let heard: Vec<Event> = heard.cloned().collect();
        let at = not_after(self.history.now());
        // An event has the instant at which its work began.
        self.history.tell(events.into_iter().map(move |event| Draft {
            from: not_before(event.at).min(at),
            at,
            fact: fact(event),
        }));
        if !heard.is_empty() {
            self.inner.publish(heard);
        }
    }
}

fn fact(event: Event) -> Fact {
    let job = event.job_no.0;
    match event.what {
        Happened::Task { device, device_id, previous, status, attempt, percent, revision, desc } => {
            Fact::Task {
                job,
                device: device_id.0,
                name: device.to_string(),
                module: String::new(),
                previous: previous.map(|status| status.as_str().to_owned()),
                status: status.as_str().to_owned(),
                attempt,
                percent,
                revision,
                desc,
            }
        }
        Happened::Job { status } => Fact::JobMoved { job, to: status.as_str().to_owned() },
    }
}
