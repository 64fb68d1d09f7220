//! Leave for what only one process may do at a time.
//!
//! By the server's time, so nobody's clock matters. A loss of the server's state frees the lease: then somebody
//! else may get it at once, and the holder hears that at its next renewal.
//!
//! Invariant: the lease of a process that does not ask again runs out.

use std::time::Duration;

use otaria_ports::Unavailable;

use crate::link::RedisLink;
use crate::script::Lua;

/// Answers 1 if the lease is the caller's now.
const TAKE: &str = "
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

const GIVE_UP: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

/// See the module.
pub struct RedisLease {
    link: RedisLink,
    key: [String; 1],
    take: Lua,
    give_up: Lua,
}

impl std::fmt::Debug for RedisLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLease").field("key", &self.key[0]).finish_non_exhaustive()
    }
}

impl RedisLease {
    /// How long it lasts after it was taken or renewed.
    pub const LASTS: Duration = Duration::from_secs(15);

    /// The lease of this name, which nobody asks for yet.
    #[must_use]
    pub fn new(link: RedisLink, name: &str) -> Self {
        let key = [link.keys().lease(name)];
        Self { link, key, take: Lua::new(TAKE), give_up: Lua::new(GIVE_UP) }
    }

    /// Takes or renews the lease; `false` while another process has it.
    ///
    /// # Errors
    /// When Redis does not answer; it may be taken all the same.
    pub async fn take(&self) -> Result<bool, Unavailable> {
        let call = self.take.call(&self.key).arg(self.link.process()).arg(Self::LASTS.as_millis());
        self.link.run(&call, "taking a lease").await
    }

    /// Frees the lease for others, if it is this process's.
    ///
    /// # Errors
    /// When Redis does not answer; then it runs out.
    pub async fn give_up(&self) -> Result<(), Unavailable> {
        let call = self.give_up.call(&self.key).arg(self.link.process());
        self.link.run::<i64>(&call, "giving up a lease").await.map(drop)
    }
}
