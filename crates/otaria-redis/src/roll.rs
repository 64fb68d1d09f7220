//! The roll of gateways: who says every second that it lives.
//!
//! By the server's time, so nobody's clock matters.

use std::collections::BTreeSet;
use std::time::Duration;

use otaria_ports::Unavailable;
use redis::cmd;

use crate::link::RedisLink;
use crate::script::Lua;

/// Between two signs of life.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// Whoever gave none for so long counts as dead.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(5);

/// Answers 1 if the gateway was known and alive.
const SIGN: &str = "
local now = math.floor(time_us() / 1000)
local last = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
redis.call('ZADD', KEYS[1], text(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now - 60000))
return last >= now - tonumber(ARGV[2]) and 1 or 0";

const LIVING: &str = "
local now = math.floor(time_us() / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], text(now - tonumber(ARGV[1])), '+inf')";

/// See the module.
pub(crate) struct Roll {
    sign: Lua,
    living: Lua,
}

impl Roll {
    pub(crate) fn new() -> Self {
        Self { sign: Lua::new(SIGN), living: Lua::new(LIVING) }
    }

    /// Says that a gateway lives; `false` if it counted as dead, or was forgotten.
    pub(crate) async fn sign(&self, link: &RedisLink) -> Result<bool, Unavailable> {
        let keys = [link.keys().roll()];
        let call = self.sign.call(&keys).arg(link.process()).arg(DEAD_AFTER.as_millis());
        link.run(&call, "giving a sign of life").await
    }

    /// Takes a gateway off the roll: it ends.
    pub(crate) async fn leave(&self, link: &RedisLink) -> Result<(), Unavailable> {
        let mut cmd = cmd("ZREM");
        cmd.arg(link.keys().roll()).arg(link.process());
        link.query(&cmd, "leaving the roll of gateways").await
    }

    /// Who lives.
    pub(crate) async fn living(&self, link: &RedisLink) -> Result<BTreeSet<String>, Unavailable> {
        let keys = [link.keys().roll()];
        let call = self.living.call(&keys).arg(DEAD_AFTER.as_millis());
        link.run(&call, "reading the roll of gateways").await
    }
}
