//! The live feed of events for platform clients.
use crate::gate::Gate;
use crate::intake::Intake;
use crate::login::PlatformIdentity;
use crate::meters::CloseReason;
use crate::session::Peer;
use otaria_core::ids::AccountNo;
use otaria_ports::events::{Event, Events};
use std::sync::Arc;

/// feed
#[derive(Debug)]
pub struct EventFeed;
impl EventFeed {
    /// start
    #[must_use]
    pub fn start() -> Arc<Self> {
        Arc::new(Self)
    }
}
impl Events for EventFeed {
    fn wanted(&self, _: AccountNo) -> bool {
        false
    }
    fn publish(&self, _: Vec<Event>) {}
}
pub(crate) struct Platforms;
impl Platforms {
    pub(crate) fn new(_: Arc<EventFeed>, _: u32) -> Self {
        Self
    }
    pub(crate) fn pass_tick(&self, _: u32) {}
    pub(crate) fn close_all(&self) {}
}
pub(crate) async fn serve(_: &Gate, _: &Peer, _: PlatformIdentity, _: Intake) -> CloseReason {
    CloseReason::Feed
}
