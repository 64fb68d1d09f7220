//! The contract of every store on a fresh file, and what only a file can do.

mod contract;
mod file;
mod killed;
