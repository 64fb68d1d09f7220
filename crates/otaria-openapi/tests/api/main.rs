//! The API on real sockets, over a store in memory.

mod client;
mod devices;
mod dynamic;
mod gate;
mod jobs;
mod recorded;
mod tasks;
mod things;
mod uploads;
mod world;
