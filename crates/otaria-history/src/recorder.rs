//! Stands between the work and its ports, and tells what went through: [`RecordedStore`], [`RecordedPusher`],
//! [`RecordedInbox`] and [`RecordedEvents`].
//!
//! Never changes what goes through, and never fails it.
//!
//! Invariant: what was not done is not told. What may have been done though its answer was lost is told as that
//! ([`Unsure`](crate::record::Fact::Unsure)).

mod events;
mod facts;
mod inbox;
mod pusher;
mod store;
#[cfg(test)]
mod tests;

pub use events::RecordedEvents;
pub use inbox::RecordedInbox;
pub use pusher::RecordedPusher;
pub use store::RecordedStore;
