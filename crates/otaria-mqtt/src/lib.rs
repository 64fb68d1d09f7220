//! The device gateway and the event feed: MQTT in front, the engine's ports behind.
//!
//! Devices get a lean session each: a socket, a small task, no buffers while idle; notices are written to
//! the socket directly, and the store is the offline queue. Platform clients come in by the same door and
//! are linked to one embedded rumqttd router, which carries the live feed of events.
//!
//! Never learns what a job is, decides no transition and knows no database. What is right or wrong at the
//! door (passwords, topics, fences) is decided in `otaria_core::door`; this crate moves bytes.
//!
//! ```text
//! let pusher = NoticePusher::new(clock.clone());     // the engine's Pusher
//! let feed = EventFeed::start();                     // the store's Events
//! let ports = Ports { auth, inbox, presence, clock, pusher, feed };
//! let gateway = Gateway::bind(GatewayConfig::default(), ports)?;
//! gateway.run(until_stopped).await;
//! ```

mod acceptor;
mod block;
mod broker;
mod config;
mod credentials;
mod device;
mod feed;
mod gate;
mod gateway;
mod held;
mod intake;
mod link;
mod login;
mod meters;
mod notice;
mod payload;
mod pusher;
mod registry;
mod session;
mod settler;
pub mod untrusted;
mod uplink;
mod wire;
mod witness;

pub use broker::{BrokerConfig, BrokerPorts, BrokerPusher, serve_broker};
pub use config::{BadTls, GatewayConfig, TlsConfig};
pub use feed::EventFeed;
pub use gateway::{Gateway, Ports};
pub use pusher::NoticePusher;
