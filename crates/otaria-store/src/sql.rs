//! The statements, one constant each, with the index that it rides on.
//!
//! They read by index and write what the caller decided; none restates a state machine. Sets come in as
//! one JSON array ([`crate::text`]); `cross join` fixes the order of a join: from the set to the index.

pub(crate) mod accounts;
pub(crate) mod applies;
pub(crate) mod bulk;
pub(crate) mod deletion;
pub(crate) mod devices;
pub(crate) mod expand;
pub(crate) mod firmwares;
pub(crate) mod groups;
pub(crate) mod jobs;
pub(crate) mod leases;
pub(crate) mod modules;
pub(crate) mod nonces;
pub(crate) mod part;
pub(crate) mod retention;
pub(crate) mod tasks;
pub(crate) mod versions;
