//! The store: everything that must survive, in one SQLite file, or in a PostgreSQL database that several processes
//! share. Implements `otaria_ports::store`; never decides what a job or task becomes, never reads the clock, and
//! knows nothing of pace, presence or the wire.
//!
//! What both have is written once: how rows become values (`rows`), what follows from them, and the statements
//! that are the same in both (`sql`). What differs lies beside it: SQLite's in this folder and `sqlite`,
//! PostgreSQL's in `postgres`.
//!
//! Invariant: a caller hears of success only after the commit reached the disk.

mod accounts;
mod applies;
mod bulk;
mod cancel;
mod changes;
mod counters;
mod deletion;
mod devices;
mod errors;
mod expand;
mod feed;
mod firmwares;
mod groups;
mod jobs;
mod leases;
mod listing;
mod modules;
mod names;
mod nonces;
mod part;
mod postgres;
mod retention;
mod rows;
mod source;
mod sql;
mod sqlite;
mod standing;
mod tasks;
mod text;
mod versions;

pub use postgres::{PostgresClock, PostgresOptions, PostgresStore, migrate};
pub use sqlite::{SqliteOptions, SqliteStore};
