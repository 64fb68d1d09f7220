//! The statements, one constant each, with the index that it rides on.
//!
//! They read by index and write what the caller decided; none restates a state machine. Sets come in as
//! one JSON array ([`crate::text`]); `cross join` fixes the order of a join: from the set to the index.

pub(crate) mod accounts;
pub(crate) mod devices;
pub(crate) mod expand;
pub(crate) mod firmwares;
pub(crate) mod jobs;
pub(crate) mod leases;
pub(crate) mod retention;
pub(crate) mod tasks;
