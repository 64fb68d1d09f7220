//! The gRPC face over a real socket, with everything behind it in memory.

mod access;
mod devices;
mod firmware;
mod fleet;
mod jobs;
mod server;
mod tasks;
mod world;
