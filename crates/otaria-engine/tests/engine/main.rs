//! The engine's loops in a small world: a store in memory, a gateway and devices that only pretend, and a
//! clock that the test moves. No sockets, no disk, no sleeping; chance comes from a seed.

mod attempts;
mod auth;
mod chance;
mod check;
mod crash;
mod create;
mod expand;
mod fleet;
mod gateway;
mod pace;
mod process;
mod stop;
mod walk;
mod world;
