//! The rules of Otaria, values in, values out. What a job or a task becomes, which parameters are valid, how many notices a minute may see, who may
//! read which topic: all of it is decided here by pure functions. This crate never learns about tokio,
//! serde, SQL, sockets, the clock or chance; `now` and drawn numbers come in as values.

pub mod door;
pub mod expression;
pub mod firmware;
pub mod gray;
pub mod ids;
pub mod job;
pub mod link;
pub mod list;
pub mod pace;
pub mod plan;
pub mod rules;
pub mod scope;
pub mod shard;
pub mod task;
pub mod time;
pub mod vault;
pub mod witness;
