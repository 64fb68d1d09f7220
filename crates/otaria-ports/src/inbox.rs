//! What devices and gateways say to the engine.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, ModuleName};
use otaria_core::task::Report;
use otaria_core::time::Timestamp;

use crate::Unavailable;
use crate::pusher::{Offer, Settled};

/// The answer to a device's `thing/ota/firmware/get`.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The `id` that a pushed notice of this attempt would have carried.
    pub wire_id: i64,
    /// What is offered.
    pub offer: Arc<Offer>,
}

/// Takes what gateways read from devices.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Takes one report and returns once it is durable; the device's PUBACK may follow. A gateway awaits
    /// this before it reads more from the same device: that is the back-pressure.
    async fn report(&self, report: Report) -> Result<(), Unavailable>;

    /// Answers a device that asks for its update of `module`; `None` when there is none.
    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable>;

    /// Takes the outcomes of notices, in batches of at most a second's worth. Repeats do no harm.
    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable>;
}

/// Keeps what it hears, for tests of gateways.
#[derive(Debug, Default)]
pub struct KeptInbox {
    /// All reports in order.
    pub reports: Mutex<Vec<Report>>,
    /// All outcomes in order.
    pub outcomes: Mutex<Vec<Settled>>,
    /// What every fetch is answered with.
    pub offer: Mutex<Option<Fetched>>,
}

#[async_trait]
impl Inbox for KeptInbox {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        self.reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(report);
        Ok(())
    }

    async fn fetch(&self, _: DeviceId, _: ModuleName, _: Timestamp) -> Result<Option<Fetched>, Unavailable> {
        Ok(self.offer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        self.outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(outcomes);
        Ok(())
    }
}
