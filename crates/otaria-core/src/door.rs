//! Who may come in, which topics are theirs, and the last look before a notice is written.
//!
//! The rules of the device gateway without its sockets: [`connect`] reads a CONNECT and checks its
//! password, [`topic`] decides about publishes and subscriptions, [`subscription`] remembers what a
//! session asked for, [`fence`] refuses a notice that came too late or from somebody who lost the right
//! to send it, [`latest`] one whose task was replaced while it waited, [`session`] says which of two logins stays.
//!
//! Invariant: a device reaches only topics that hold its own product key and device name literally.

pub mod connect;
pub mod fence;
pub mod latest;
pub mod session;
pub mod subscription;
pub mod topic;

pub use connect::{BadConnect, ConnectClaim, HmacMethod, SecureMode};
pub use fence::{Fences, Refusal, Stamp};
pub use latest::Latest;
pub use session::{Arrival, SessionSeq};
pub use subscription::Subscriptions;
pub use topic::{BadTopic, Downlink, Downlinks, Own, Uplink};
