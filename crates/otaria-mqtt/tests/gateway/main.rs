//! The gateway from outside, met by a third party's MQTT client and by hostile sockets.

mod acl;
mod broker;
mod client;
mod contract;
mod downloads;
mod drain;
mod fences;
mod hostile;
mod login;
mod platform;
mod reports;
mod tls;
mod world;
