//! The engine's loops in a small world: a store in memory, a gateway and devices that only pretend, and a
//! clock that the test moves. No sockets, no disk, no sleeping; chance comes from a seed.

mod alarms;
mod attempts;
mod auth;
mod blocks;
mod bulk;
mod by_device;
mod chance;
mod check;
mod contracts;
mod crash;
mod create;
mod dynamic;
mod expand;
mod fleet;
mod gateway;
mod groups;
mod manage;
mod missed;
mod offers;
mod orders;
mod owners;
mod pace;
mod parts;
mod process;
mod standing;
mod stop;
mod survey;
mod update;
mod walk;
mod world;
