//! The history of a server: what it decided, line by line; what its devices saw; and the judge of the two.
//!
//! Never decides anything itself, and never makes the work that it watches wait.
//!
//! Invariant: a line says what was committed or written, so a missing line is a gap and never a lie.

pub mod check;
pub mod cut;
pub mod record;
pub mod recorder;
pub mod writer;
