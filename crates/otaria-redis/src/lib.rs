//! What several processes of one Otaria share, on Redis or Valkey: pace, quotas, presence, the way of
//! notices and signals, the relay of events, and the clock. Each stands behind its port. It never keeps a
//! fact: all of it can be lost at any moment and is found again; and it never knows the engine.
//!
//! Two parts of the house stay elsewhere on purpose. Nonces are in the store: a flushed Redis would open the
//! window in which a signed request can be sent again. Outcomes of notices go from the gateway's own `Inbox`
//! to the store: what a gateway wrote to a socket must not be lost with a message.
//!
//! # How a loss is noticed
//!
//! A flush, a restart from an older file, and a failover to a replica that lacks the last writes look the
//! same: the server answers, from an older state. Keys that are missing are easy to see, keys that are old
//! are not. So next to such keys lies an *incarnation*: a number, and the run id of the server process that
//! wrote it. Scripts look at it first. It holds while the run id is that of the answering server and while
//! the number is not below one that the caller has seen; otherwise the script draws a greater number, from
//! the server's time, and whatever carries another number counts as lost.
//!
//! - *Flush:* the incarnation is missing.
//! - *Restart*, from whatever file: the run id is another one.
//! - *Failover:* a promoted replica has its own run id. Should a server come back that once led (its run id
//!   is old, and so may its number be), the callers have seen a greater number from the one in between.
//! - *A mere reconnect* to a server whose incarnation holds lost nothing, so nothing waits for it. A script
//!   whose answer was lost is not sent again: its tokens are lost, and that is safe.
//!
//! The script compares, not the caller, so nothing can happen between the look and the use. What remains is a
//! partition in which an old leader still answers one caller while a new one answers the others: set
//! `min-replicas-to-write 1` and `min-replicas-max-lag 1` where replicas are promoted, which ends it within
//! seconds.
//!
//! # What Redis needs
//!
//! Redis 7 or Valkey, with `maxmemory-policy noeviction`. Files are of no use to it (`save ""`, `appendonly no`):
//! whatever a restart brings back counts as lost, and everything is built up again within seconds. Where users
//! are limited by ACLs, this one needs the prefix's keys and channels, and `INFO` and `TIME` also in scripts.
//!
//! # Clusters
//!
//! All keys of one script lie in one hash tag, so a Redis Cluster works. It has a server, and so an
//! incarnation, per unit. The servers' clocks must agree within [`otaria_core::pace::CLOCK_ERROR`]; NTP does.
//! What is said on channels may get lost between its nodes without a word: then notices wait for their
//! deadline and signals for the next sweep. One server with replicas and sentinels loses less and is enough.

mod bus;
mod clock;
mod config;
mod events;
mod hub;
mod incarnation;
mod keys;
mod lease;
mod link;
mod mail;
mod pace;
mod presence;
mod pusher;
mod quotas;
mod roll;
mod script;
mod server;
mod wire;

#[cfg(test)]
mod tests;

pub use bus::RedisBus;
pub use clock::SharedClock;
pub use config::{BadConfig, RedisConfig};
pub use events::{EventsRelay, RedisEvents};
pub use hub::Hub;
pub use lease::RedisLease;
pub use link::{OpenError, RedisLink};
pub use mail::GatewayMail;
pub use pace::RedisPace;
pub use presence::RedisPresence;
pub use pusher::{Dispatch, RedisPusher};
pub use quotas::RedisQuotas;
