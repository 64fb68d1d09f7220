//! The contract of every store on a fresh PostgreSQL database, and what only several writers can do.

mod contract;
mod crowd;
mod outage;
mod proxy;
mod races;
mod server;
mod writers;
