//! What the rules need from the world, and nothing of how the world does it. Each port is a trait with an in-process implementation or a fake, and a contract suite that every
//! implementation passes, kept together in one module. No technology is known here: no tokio, SQL, Redis
//! or MQTT; only futures, bytes and the rules.

pub mod auth;
pub mod bell;
pub mod bus;
pub mod clock;
pub mod events;
pub mod ids;
pub mod inbox;
pub mod nonces;
pub mod objects;
pub mod pace;
pub mod presence;
pub mod pusher;
pub mod quotas;
pub mod store;

/// The source of an error whose kind is the adapter's own affair.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Whatever stands behind a port is busy or gone. Safe to repeat later.
#[derive(Debug, thiserror::Error)]
#[error("unavailable while {doing}")]
pub struct Unavailable {
    /// What was tried.
    pub doing: &'static str,
    /// Why it failed.
    #[source]
    pub source: Option<BoxError>,
}

impl Unavailable {
    /// Without a known cause, as when the other side is shutting down.
    #[must_use]
    pub const fn while_doing(doing: &'static str) -> Self {
        Self { doing, source: None }
    }
}
