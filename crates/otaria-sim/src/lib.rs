//! A seeded world that runs the real core, engine and door of Otaria on fakes that fail: virtual time, one seed,
//! several dispatchers and gateways, devices with tempers. Never knows a network, a disk, a runtime or a clock.
//!
//! A seed makes a list of operations ([`Scenario`]), and running it tells whether something that must hold did
//! not ([`run`]). A failing list can be cut down ([`shrink`]) and kept as a regression: it is plain text.

mod book;
mod calls;
mod chance;
mod check;
mod create;
mod door;
mod fleet;
mod gate;
mod host;
mod mail;
mod medium;
mod model;
mod op;
mod operate;
mod peace;
mod plant;
mod ports;
mod records;
mod run;
mod shrink;
mod store;
mod watch;
mod world;

pub use op::{Op, Scenario, Setup};
pub use plant::Plant;
pub use records::Recorded;
pub use run::{Outcome, record, run};
pub use shrink::shrink;
