//! What gateways say: reports before anybody looks at them, and what became of notices.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, ModuleName};
use otaria_core::task::{Report, Said};
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::inbox::{Block, BlockAsked, Fetched, Inbox, NoBlock};
use otaria_ports::pusher::{Outcome, Settled};

use super::facts::module_of;
use crate::record::Fact;
use crate::writer::{Draft, History, not_after, not_before};

/// Refused batches of outcomes that are remembered: as many gateways and bridges may ask at the same time.
const REFUSED: usize = 64;

/// Tells what it is given, once.
pub struct RecordedInbox {
    history: Arc<History>,
    inner: Arc<dyn Inbox>,
    /// The first outcomes of batches that were told and not taken: they are said again.
    refused: Mutex<Vec<Settled>>,
}

impl std::fmt::Debug for RecordedInbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedInbox").finish_non_exhaustive()
    }
}

impl RecordedInbox {
    /// Between gateways and the engine.
    #[must_use]
    pub fn new(history: Arc<History>, inner: Arc<dyn Inbox>) -> Arc<Self> {
        Arc::new(Self { history, inner, refused: Mutex::default() })
    }

    /// Whether this batch was told before.
    fn is_told(&self, first: &Settled) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let place = refused.iter().position(|told| told == first);
        place.map(|place| refused.swap_remove(place)).is_some()
    }

    fn remember(&self, first: Settled) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() == REFUSED {
            refused.remove(0);
        }
        refused.push(first);
    }
}

#[async_trait]
impl Inbox for RecordedInbox {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        // Before the engine sees it: so no history holds what it caused and not the report.
        self.history.tell_report(&report);
        self.inner.report(report).await
    }

    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable> {
        self.inner.fetch(device, module, now).await
    }

    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        now: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        self.inner.block(device, asked, now).await
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        let Some(first) = outcomes.first().cloned() else { return self.inner.settled(outcomes).await };
        if !self.is_told(&first) {
            self.history.tell_settled(outcomes.clone());
        }
        let taken = self.inner.settled(outcomes).await;
        if taken.is_err() {
            self.remember(first);
        }
        taken
    }
}

impl History {
    /// Tells what became of notices.
    pub fn tell_settled(&self, outcomes: Vec<Settled>) {
        self.tell(outcomes.into_iter().map(became));
    }

    /// Tells that a report was read and goes to the engine now.
    pub fn tell_report(&self, report: &Report) {
        self.tell_one(report.at, reported(report));
    }
}

fn reported(report: &Report) -> Fact {
    let (version, step) = match &report.said {
        Said::Version(version) => (Some(version.as_str().to_owned()), None),
        Said::Progress { percent, .. } => (None, Some(i16::from(percent.get()))),
        // −1 to −4.
        Said::Refused { step, .. } => (None, i16::try_from(step.code()).ok()),
    };
    Fact::Report { device: report.device.0, module: module_of(&report.module), version, step }
}

fn became(settled: Settled) -> Draft {
    let outcome = match settled.outcome {
        Outcome::Written => "written",
        Outcome::Gone => "gone",
        Outcome::Stale => "stale",
        Outcome::Congested => "congested",
    };
    let fact = Fact::Settled {
        job: settled.key.job.0,
        device: settled.key.device.0,
        attempt: settled.attempt,
        wire_id: settled.wire_id,
        outcome: outcome.to_owned(),
        shard: settled.shard.0.0,
        epoch: settled.shard.1,
        fence: settled.fence,
    };
    Draft { from: not_before(settled.at), at: not_after(settled.until), fact }
}
