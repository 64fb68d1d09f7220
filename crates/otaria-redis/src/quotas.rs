//! API quotas that hold for all processes together: so many calls of an action a second, per account.
//!
//! The same answers as a governor in one process: a cell that fills within a second and holds a second's
//! worth, measured by the server's time. While Redis does not answer, the limits given as `fallback` decide:
//! they are this process's own, so an account may get as many times its quota as there are processes, and
//! nobody is locked out. After a flush everybody has a full second's worth again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::AccountNo;
use otaria_ports::Unavailable;
use otaria_ports::quotas::{Quotas, TooMany};
use tokio::time::timeout;

use crate::link::RedisLink;
use crate::script::Lua;

/// A call does not wait longer than this to be counted.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long to wait in microseconds; 0 is a call that was counted.
const TAKE: &str = "
local step = math.ceil(1000000 / tonumber(ARGV[1]))
local full = step * tonumber(ARGV[1])
local now = time_us()
-- A server whose clock went back would hold an account for that long.
local filled = math.min(tonumber(redis.call('GET', KEYS[1]) or 0), now + full)
local next = math.max(filled, now) + step
if next - full > now then return next - full - now end
redis.call('SET', KEYS[1], text(next), 'PX', math.ceil((next - now) / 1000))
return 0";

/// See the module.
pub struct RedisQuotas {
    link: RedisLink,
    take: Lua,
    per_second: BTreeMap<&'static str, u32>,
    fallback: Arc<dyn Quotas>,
}

impl std::fmt::Debug for RedisQuotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisQuotas").field("per_second", &self.per_second).finish_non_exhaustive()
    }
}

impl RedisQuotas {
    /// So many calls a second of each of these actions; others always pass. `fallback` has the same table.
    #[must_use]
    pub fn new(link: RedisLink, table: &[(u32, &[&'static str])], fallback: Arc<dyn Quotas>) -> Self {
        let rows = table
            .iter()
            .flat_map(|(per_second, actions)| actions.iter().map(|action| (*action, (*per_second).max(1))));
        Self { link, take: Lua::new(TAKE), per_second: rows.collect(), fallback }
    }
}

#[async_trait]
impl Quotas for RedisQuotas {
    async fn take(
        &self,
        account: AccountNo,
        action: &'static str,
    ) -> Result<Result<(), TooMany>, Unavailable> {
        let Some(per_second) = self.per_second.get(action) else { return Ok(Ok(())) };
        let keys = [self.link.keys().quota(account, action)];
        let call = self.take.call(&keys).arg(per_second);
        match timeout(PATIENCE, self.link.run::<u64>(&call, "counting calls")).await {
            Ok(Ok(0)) => Ok(Ok(())),
            Ok(Ok(micros)) => {
                // A wait that is rounded down would be refused again.
                Ok(Err(TooMany { retry_after: Duration::from_millis(micros.div_ceil(1_000)) }))
            }
            Ok(Err(_)) | Err(_) => {
                metrics::counter!("otaria_redis_quota_fallbacks_total").increment(1);
                self.fallback.take(account, action).await
            }
        }
    }
}
