//! The gRPC face over a real socket, with everything behind it in memory.

mod access;
mod applies;
mod devices;
mod dynamic;
mod firmware;
mod fleet;
mod groups;
mod jobs;
mod orders;
mod server;
mod tasks;
mod world;
