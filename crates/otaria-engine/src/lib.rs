//! The logic of Otaria's shell: commands that callers give, and loops that carry jobs forward.
//!
//! Everything here reads the rules of `otaria-core` and acts through the ports; each loop is a
//! `tick(now) -> Wake` that does one bounded piece of work. There is no tokio: no spawn, select, channel,
//! clock, random id or hash seed. The loops that wait live in the binary.
//!
//! Invariant: write down, then act. Every crash between the two looks like an undelivered notice, and
//! those are delivered again by a deadline.

mod audit;
pub mod auth;
mod book;
mod bulk;
pub mod closer;
pub mod command;
pub mod deps;
pub mod dispatcher;
pub mod error;
pub mod expander;
mod hints;
pub mod inbox;
pub mod janitor;
pub mod listener;
mod offers;
pub mod overdue;
pub mod ownership;
pub mod shell;
pub mod streams;
mod wake;
mod witness;

pub use command::{Caller, Commands};
pub use deps::Deps;
pub use error::CommandError;
pub use shell::Shell;
pub use wake::Wake;
