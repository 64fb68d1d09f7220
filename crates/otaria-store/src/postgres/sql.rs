//! PostgreSQL's own statements, one constant each, with the index that it rides on.
//!
//! What is the same in both dialects is used from [`crate::sql`]. Sets come in as arrays, taken apart by
//! `unnest`; where a set has several columns, as several arrays of one length. `cross join` fixes the order of
//! a join: from the set to the index. Where an index begins with what the whole set has in common, the planner may
//! still read all of that and look through the set for each row; there it is `lateral (… offset 0)`, which is
//! never turned round.

pub(crate) mod bulk;
pub(crate) mod deletion;
pub(crate) mod devices;
pub(crate) mod expand;
pub(crate) mod groups;
pub(crate) mod jobs;
pub(crate) mod leases;
pub(crate) mod part;
#[cfg(test)]
mod plans;
pub(crate) mod retention;
pub(crate) mod standing;
pub(crate) mod tasks;
pub(crate) mod versions;

/// Rides on nothing: the table of locks.
pub(crate) const SHARE: &str = "select pg_advisory_xact_lock_shared($1)";

/// Rides on nothing: the table of locks.
pub(crate) const LOCK: &str = "select pg_advisory_xact_lock($1)";
